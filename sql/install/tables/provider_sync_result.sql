CREATE TYPE rolecall.provider_sync_result AS (
    listed bigint,
    unknown bigint,
    changed bigint,
    unchanged bigint,
    missing bigint,
    complete boolean
);
COMMENT ON TYPE rolecall.provider_sync_result IS 'what a pass through a provider''s list came to';
