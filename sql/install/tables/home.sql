-- Where providers are called from.

-- Not dumped: a restored database has no row, one that was copied has that of the other. pg_upgrade, standbys and backups of
-- files bring it along, and the number of the database with it.
CREATE TABLE rolecall.home (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    database oid NOT NULL,
    held_because text
);
COMMENT ON TABLE rolecall.home IS 'the database that may call providers: this one, unless it was restored or copied';
COMMENT ON COLUMN rolecall.home.held_because IS 'why it must not for the time being: a sentence';

-- An extension that a restore creates calls nobody.
INSERT INTO rolecall.home (database)
SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database() AND NOT rolecall.is_restore();
