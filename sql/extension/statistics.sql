-- What administrators look at.

CREATE FUNCTION rolecall.cache_statistics(
    OUT bytes bigint, OUT entries bigint, OUT live_bytes bigint, OUT dead_bytes bigint, OUT evictions bigint,
    OUT hits bigint, OUT misses bigint, OUT installs bigint,
    OUT bypassed_off bigint, OUT bypassed_recovery bigint, OUT bypassed_snapshot bigint,
    OUT bypassed_serializable bigint, OUT bypassed_own_writes bigint,
    OUT not_installed_own_id bigint, OUT not_installed_ddl bigint, OUT not_installed_unwatched bigint,
    OUT not_installed_writers bigint, OUT not_installed_size bigint)
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_cache_statistics';
COMMENT ON FUNCTION rolecall.cache_statistics() IS 'counters of the cache, over all databases, since the server started';

CREATE VIEW rolecall.stat_cache AS SELECT * FROM rolecall.cache_statistics();
COMMENT ON VIEW rolecall.stat_cache IS 'what is cached, and how reads were answered, over all databases, since the server started';

