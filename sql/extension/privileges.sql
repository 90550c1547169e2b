-- Nothing is granted to PUBLIC. Recipes for roles stand in docs/operations.md.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rolecall FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA rolecall FROM PUBLIC;

GRANT USAGE ON SCHEMA rolecall TO pg_monitor;
GRANT SELECT ON rolecall.stat_cache, rolecall.stat_held_up, rolecall.stat_slots, rolecall.stat_progress, rolecall.stat_projection, rolecall.stat_provider, rolecall.stat_sync, rolecall.sync_metrics TO pg_monitor;
GRANT EXECUTE ON FUNCTION rolecall.cache_statistics(), rolecall.held_up(), rolecall.load_progress(), rolecall.slot_statistics(), rolecall.why_no_calls(), rolecall.projection_statistics(bigint[]), rolecall.provider_statistics(), rolecall.queue_statistics() TO pg_monitor;
