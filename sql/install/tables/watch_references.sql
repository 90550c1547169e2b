CREATE TABLE rolecall.watch_references (
    watch bigint NOT NULL REFERENCES rolecall.watches ON DELETE CASCADE,
    builtin boolean NOT NULL DEFAULT false,
    relation regclass NOT NULL,
    column_name name NOT NULL,
    column_number smallint,
    PRIMARY KEY (watch, relation, column_name)
);
COMMENT ON TABLE rolecall.watch_references IS 'how documents refer to rows of a lookup: by which columns of their own rows';
COMMENT ON COLUMN rolecall.watch_references.relation IS 'a watched table, whose rows belong to one document each';
COMMENT ON COLUMN rolecall.watch_references.column_number IS 'the number of that column; kept by a trigger';
