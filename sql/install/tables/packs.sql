-- Packs: objects that functions of the extension have made in schemas of their own, over the tables of a known product.

CREATE TABLE rolecall.packs (
    schema name PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('supertokens')),
    options jsonb NOT NULL,
    projection name NOT NULL,
    owner name NOT NULL,
    is_installed boolean NOT NULL DEFAULT true,
    found jsonb NOT NULL DEFAULT '{}',
    given text[] NOT NULL DEFAULT '{}',
    grants text[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE rolecall.packs IS 'packs that were installed; the objects of each are in a schema of its own, and belong to the application';
COMMENT ON COLUMN rolecall.packs.options IS 'the arguments it was installed with, for reinstall_pack()';
COMMENT ON COLUMN rolecall.packs.is_installed IS 'false after uninstall_pack(), until reinstall_pack()';
COMMENT ON COLUMN rolecall.packs.found IS 'the tables and the layout that were found';
COMMENT ON COLUMN rolecall.packs.given IS 'rights on the extension''s own objects that its owner has only because of packs';
COMMENT ON COLUMN rolecall.packs.grants IS 'rights on its objects when it was taken off, which reinstall_pack() grants again';
