-- Projections, and the watches over the tables behind them.

CREATE TABLE rolecall.projections (
    name name NOT NULL,
    builtin boolean NOT NULL DEFAULT false,
    id bigint NOT NULL UNIQUE DEFAULT rolecall.random_id() CHECK (id <> 0),
    view regclass NOT NULL,
    key_column name NOT NULL,
    doc_column name NOT NULL,
    ttl interval CHECK (ttl > interval '0'),
    query text NOT NULL,
    view_schema name,
    view_name name,
    view_owner name,
    PRIMARY KEY (name, builtin)
);
COMMENT ON TABLE rolecall.projections IS 'views whose documents are held in shared memory, one document per key';
COMMENT ON COLUMN rolecall.projections.builtin IS 'made by the extension; one of the application''s with the same name takes its place';
COMMENT ON COLUMN rolecall.projections.id IS 'random and never reused, so that nothing of a dropped projection is ever shown';
COMMENT ON COLUMN rolecall.projections.query IS 'what a document is: one column, with $1 as the key; kept by a trigger';
COMMENT ON COLUMN rolecall.projections.view_schema IS 'kept by a trigger, as view_name and view_owner: a view that is made anew is found by its name, if its owner is the same';

CREATE TABLE rolecall.watches (
    projection name NOT NULL,
    builtin boolean NOT NULL DEFAULT false,
    id bigint PRIMARY KEY DEFAULT rolecall.random_id(),
    relation regclass NOT NULL,
    is_lookup boolean NOT NULL DEFAULT false,
    key_column name,
    key_number smallint,
    FOREIGN KEY (projection, builtin) REFERENCES rolecall.projections ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT watches_key_column_check CHECK (is_lookup OR key_column IS NOT NULL)
);
COMMENT ON TABLE rolecall.watches IS 'the tables behind each projection''s view';
COMMENT ON COLUMN rolecall.watches.id IS 'random and never reused: names the groups of a lookup';
COMMENT ON COLUMN rolecall.watches.is_lookup IS 'a row may belong to many documents';
COMMENT ON COLUMN rolecall.watches.key_column IS 'the column that holds the key of the document a row belongs to; of a lookup: what those documents'' rows refer to, or NULL: a row belongs to all documents';
COMMENT ON COLUMN rolecall.watches.key_number IS 'the number of that column, which stays when names change places; kept by a trigger';

CREATE UNIQUE INDEX watches_key ON rolecall.watches (projection, builtin, relation, is_lookup, coalesce(key_column, ''));
