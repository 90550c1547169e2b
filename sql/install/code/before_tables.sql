-- Functions that come before the tables: defaults, first rows and the foreign-data wrapper call them.

CREATE OR REPLACE FUNCTION rolecall.random_id() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ('x' || encode(substring(uuid_send(gen_random_uuid()) FOR 8), 'hex'))::bit(64)::bigint
$$;
COMMENT ON FUNCTION rolecall.random_id() IS 'an id that was never used before';

-- A restore brings the audit and the sync state along itself, and so does replication. A restore is recognized by all that
-- pg_dump's scripts and pg_restore set in their session, or declared by rolecall.restoring (src/provider/home.cpp).
CREATE OR REPLACE FUNCTION rolecall.is_restore() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'rolecall_is_restore';
COMMENT ON FUNCTION rolecall.is_restore() IS 'is this session restoring a dump? For functions that run as the extension''s owner';

CREATE OR REPLACE FUNCTION rolecall.provider_validator(options text[], catalog oid) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_provider_validator';
COMMENT ON FUNCTION rolecall.provider_validator(text[], oid) IS 'checks the options of providers and their user mappings';
