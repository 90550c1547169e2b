-- From 0.1.0 to 0.2.0: tables, types, data, and what is gone. Afterwards the database is as after CREATE EXTENSION
-- (test/tap/020_upgrade.pl), but for the order of columns.

-- ---- What is gone -----------------------------------------------------------------------------------------------------

-- The library hears of changes of definitions by itself.
DROP EVENT TRIGGER rolecall_ddl_start;
DROP EVENT TRIGGER rolecall_ddl_end;
DROP EVENT TRIGGER rolecall_drop;
DROP FUNCTION rolecall.on_ddl_start(), rolecall.on_ddl_end(), rolecall.on_drop(), rolecall.announce_ddl(oid, oid),
    rolecall.dependency_closure(regclass), rolecall.raise_floor(bigint), rolecall.put_watch_triggers(bigint, regclass, name);

-- ---- Sync -------------------------------------------------------------------------------------------------------------

ALTER TABLE rolecall.sync_state ADD COLUMN last_revocation_at timestamptz, ADD COLUMN last_modified text, ADD COLUMN fingerprint bigint, ADD COLUMN active_at timestamptz;
COMMENT ON COLUMN rolecall.sync_state.next_sync_at IS 'when roles are due again; for new users at once; infinity: when the user is active again';
COMMENT ON COLUMN rolecall.sync_state.last_revocation_at IS 'the last time a sync took something away: counted once in each window of the brake';
COMMENT ON COLUMN rolecall.sync_state.active_at IS 'when the user was last there, to within five minutes: touch_user(), and syncs that were asked for';
COMMENT ON COLUMN rolecall.sync_state.etag IS 'of the answer that was applied last: the provider is asked for another one only; so is last_modified';
COMMENT ON COLUMN rolecall.sync_state.fingerprint IS 'of what was made of that answer: etag and last_modified do not count when it no longer fits';

\ir ../install/tables/home.sql
\ir ../install/tables/safety.sql
\ir ../install/tables/provider_sync_result.sql

-- When a user's document changes by itself: asked with each, and mostly nothing.
CREATE INDEX user_roles_expires_at_idx ON rolecall.user_roles (user_id, expires_at) WHERE expires_at IS NOT NULL;

-- Replication fires them as well.
ALTER TABLE rolecall.users ENABLE ALWAYS TRIGGER schedule_inserts, ENABLE ALWAYS TRIGGER schedule_updates, ENABLE ALWAYS TRIGGER end_logins;
ALTER TABLE rolecall.user_roles ENABLE ALWAYS TRIGGER record_inserts, ENABLE ALWAYS TRIGGER record_updates, ENABLE ALWAYS TRIGGER record_deletes;

-- ---- The audit --------------------------------------------------------------------------------------------------------

-- Why older grants were given is not known.
ALTER TABLE rolecall.role_changes ALTER COLUMN changed_by DROP DEFAULT, ADD COLUMN cause text NOT NULL DEFAULT 'unknown',
    ADD COLUMN provider text, ADD COLUMN request_id text;
ALTER TABLE rolecall.role_changes ALTER COLUMN cause DROP DEFAULT;
COMMENT ON TABLE rolecall.role_changes IS 'the audit: each grant that was added or removed, when, by whom, and why';
COMMENT ON COLUMN rolecall.role_changes.changed_by IS 'the user of the session, or ''rolecall sync worker''';
COMMENT ON COLUMN rolecall.role_changes.cause IS '''sql'': an ordinary statement; ''sync'': the provider was asked; ''given'': roles given in SQL; ''bulk'', ''event'': sync_provider(), apply_provider_event()';
COMMENT ON COLUMN rolecall.role_changes.provider IS 'whose answer it was; NULL for ordinary statements';
COMMENT ON COLUMN rolecall.role_changes.request_id IS 'what the application set as rolecall.request_id, or what the provider was sent as X-Request-Id';

-- ---- Projections and watches ------------------------------------------------------------------------------------------

ALTER TABLE rolecall.watches DROP CONSTRAINT watches_projection_fkey;
ALTER TABLE rolecall.projections DROP CONSTRAINT projections_pkey, ADD CONSTRAINT projections_pkey PRIMARY KEY (name, builtin),
    ALTER COLUMN id SET DEFAULT rolecall.random_id();
COMMENT ON COLUMN rolecall.projections.builtin IS 'made by the extension; one of the application''s with the same name takes its place';

-- The view of a projection is found again by its name.
ALTER TABLE rolecall.projections ADD COLUMN view_schema name, ADD COLUMN view_name name, ADD COLUMN view_owner name;
COMMENT ON COLUMN rolecall.projections.view_schema IS 'kept by a trigger, as view_name and view_owner: a view that is made anew is found by its name, if its owner is the same';
UPDATE rolecall.projections p SET view_schema = n.nspname, view_name = c.relname, view_owner = pg_get_userbyid(c.relowner)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = p.view;

DROP INDEX rolecall.watches_key;
ALTER TABLE rolecall.watches ADD COLUMN id bigint PRIMARY KEY DEFAULT rolecall.random_id(),
    ADD COLUMN is_lookup boolean NOT NULL DEFAULT false,
    ADD COLUMN key_number smallint;
-- A lookup belonged to all documents, and goes on to.
UPDATE rolecall.watches w SET is_lookup = w.key_column IS NULL, builtin = p.builtin,
    key_number = (SELECT a.attnum FROM pg_attribute a WHERE a.attrelid = w.relation AND a.attname = w.key_column AND a.attnum > 0 AND NOT a.attisdropped)
FROM rolecall.projections p WHERE p.name = w.projection;
ALTER TABLE rolecall.watches ADD FOREIGN KEY (projection, builtin) REFERENCES rolecall.projections ON UPDATE CASCADE ON DELETE CASCADE,
    ADD CONSTRAINT watches_key_column_check CHECK (is_lookup OR key_column IS NOT NULL);
COMMENT ON COLUMN rolecall.watches.id IS 'random and never reused: names the groups of a lookup';
COMMENT ON COLUMN rolecall.watches.is_lookup IS 'a row may belong to many documents';
COMMENT ON COLUMN rolecall.watches.key_column IS 'the column that holds the key of the document a row belongs to; of a lookup: what those documents'' rows refer to, or NULL: a row belongs to all documents';
COMMENT ON COLUMN rolecall.watches.key_number IS 'the number of that column, which stays when names change places; kept by a trigger';

CREATE UNIQUE INDEX watches_key ON rolecall.watches (projection, builtin, relation, is_lookup, coalesce(key_column, ''));

\ir ../install/tables/watch_references.sql
\ir ../install/tables/packs.sql

-- ---- Privileges -------------------------------------------------------------------------------------------------------

-- Types were open to everybody.
REVOKE ALL ON TYPE rolecall.oauth_state, rolecall.issued_token, rolecall.role_sync_result FROM PUBLIC;
