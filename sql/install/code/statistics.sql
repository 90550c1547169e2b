-- What administrators look at.

CREATE OR REPLACE FUNCTION rolecall.cache_statistics(
    OUT bytes bigint, OUT entries bigint, OUT live_bytes bigint, OUT dead_bytes bigint, OUT evictions bigint,
    OUT hits bigint, OUT misses bigint, OUT installs bigint,
    OUT bypassed_off bigint, OUT bypassed_recovery bigint, OUT bypassed_snapshot bigint,
    OUT bypassed_serializable bigint, OUT bypassed_own_writes bigint,
    OUT not_installed_own_id bigint, OUT not_installed_ddl bigint, OUT not_installed_unwatched bigint,
    OUT not_installed_writers bigint, OUT not_installed_size bigint)
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_cache_statistics';
COMMENT ON FUNCTION rolecall.cache_statistics() IS 'counters of the cache, over all databases, since the server started';

CREATE OR REPLACE VIEW rolecall.stat_cache AS SELECT * FROM rolecall.cache_statistics();
COMMENT ON VIEW rolecall.stat_cache IS 'what is cached, and how reads were answered, over all databases, since the server started';

CREATE OR REPLACE FUNCTION rolecall.projection_statistics(
    ids bigint[], OUT id bigint, OUT entries bigint, OUT bytes bigint, OUT hits bigint, OUT misses bigint,
    OUT bypassed_off bigint, OUT bypassed_recovery bigint, OUT bypassed_snapshot bigint,
    OUT bypassed_serializable bigint, OUT bypassed_own_writes bigint,
    OUT not_installed_own_id bigint, OUT not_installed_ddl bigint, OUT not_installed_unwatched bigint,
    OUT not_installed_writers bigint, OUT not_installed_size bigint,
    OUT loads bigint, OUT evictions bigint, OUT load_ms double precision, OUT invalidations bigint, OUT invalidated_by text)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'rolecall_projection_statistics';
COMMENT ON FUNCTION rolecall.projection_statistics(bigint[]) IS 'counters of projections of this database, by id, since the server started; walks the cache';

CREATE OR REPLACE VIEW rolecall.stat_projection AS
SELECT p.name AS projection, p.builtin, s.entries, s.bytes, s.hits, s.misses, s.loads, s.load_ms, s.evictions,
       s.bypassed_off, s.bypassed_recovery, s.bypassed_snapshot, s.bypassed_serializable, s.bypassed_own_writes,
       s.not_installed_own_id, s.not_installed_ddl, s.not_installed_unwatched, s.not_installed_writers, s.not_installed_size,
       s.invalidations, s.invalidated_by
FROM rolecall.projections p
JOIN rolecall.projection_statistics(ARRAY(SELECT q.id FROM rolecall.projections q)) s ON s.id = p.id;
COMMENT ON VIEW rolecall.stat_projection IS 'for each projection of this database: what is cached, and how reads were answered, since the server started';
COMMENT ON COLUMN rolecall.stat_projection.invalidations IS 'how often a change of definitions made all its documents unusable';
COMMENT ON COLUMN rolecall.stat_projection.invalidated_by IS 'the statement that did so last';

CREATE OR REPLACE FUNCTION rolecall.load_progress(
    OUT projection bigint, OUT phase text, OUT pid integer, OUT documents_total bigint, OUT documents_read bigint,
    OUT documents_loaded bigint, OUT documents_failed bigint, OUT requested_at timestamptz, OUT started_at timestamptz,
    OUT ended_at timestamptz, OUT message text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_load_progress';
COMMENT ON FUNCTION rolecall.load_progress() IS 'loads of whole projections of this database: under way, and the last of each';

CREATE OR REPLACE VIEW rolecall.stat_progress AS
SELECT p.name AS projection, p.builtin, l.phase, l.pid, l.documents_total, l.documents_read, l.documents_loaded,
       l.documents_failed, l.requested_at, l.started_at, l.ended_at, l.message
FROM rolecall.load_progress() l
JOIN rolecall.projections p ON p.id = l.projection;
COMMENT ON VIEW rolecall.stat_progress IS 'for each projection of this database that is or was loaded as a whole: how far, and how the last load ended';
COMMENT ON COLUMN rolecall.stat_progress.documents_total IS 'as the planner estimates';
COMMENT ON COLUMN rolecall.stat_progress.message IS 'why not every document was loaded';

CREATE OR REPLACE FUNCTION rolecall.provider_statistics(
    OUT server oid, OUT changed bigint, OUT unchanged bigint, OUT skipped bigint, OUT failed bigint, OUT in_flight bigint,
    OUT breaker text, OUT failures_in_a_row integer, OUT next_attempt_at timestamptz,
    OUT last_success_at timestamptz, OUT last_error_at timestamptz, OUT last_error text,
    OUT duration_seconds double precision, OUT duration_bounds double precision[], OUT duration_counts bigint[])
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'rolecall_provider_statistics';
COMMENT ON FUNCTION rolecall.provider_statistics() IS 'counters of syncs in this database, for each provider, since the server started';

-- What is here answers at once, whatever is locked: functions read the tables, for a statement that names a table waits for
-- it before it can ask.
CREATE OR REPLACE FUNCTION rolecall.try_read_lock(tab regclass) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_try_read_lock';
COMMENT ON FUNCTION rolecall.try_read_lock(regclass) IS 'can a table be read without waiting for somebody? If so, until the end of the transaction';

CREATE OR REPLACE FUNCTION rolecall.servers() RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT f.srvname::text FROM pg_foreign_server f JOIN pg_foreign_data_wrapper w ON w.oid = f.srvfdw AND w.fdwname = 'rolecall'
$$;
COMMENT ON FUNCTION rolecall.servers() IS 'the providers that there are, whether or not users have them';

-- What the queue holds, for those who may not read the tables. Each part by an index of its own: what waits is counted, not
-- everybody.
CREATE OR REPLACE FUNCTION rolecall.queue_statistics(
    OUT provider text, OUT due bigint, OUT oldest_due timestamptz, OUT requested bigint, OUT failing bigint)
RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    reads_state CONSTANT boolean = rolecall.try_read_lock('rolecall.sync_state'::regclass);
    reads_requests CONSTANT boolean = rolecall.try_read_lock('rolecall.sync_requests'::regclass);
BEGIN
    IF NOT reads_state THEN
        RETURN QUERY SELECT n.name, NULL::bigint, NULL::timestamptz, NULL::bigint, NULL::bigint FROM rolecall.servers() n(name);
        RETURN;
    END IF;
    FOR provider IN SELECT q.name FROM rolecall.queued_providers() q(name) LOOP
        SELECT count(*), min(s.next_sync_at) INTO due, oldest_due FROM rolecall.sync_state s
        WHERE s.provider = queue_statistics.provider AND s.next_sync_at <= now();
        SELECT count(*) INTO failing FROM rolecall.sync_state s WHERE s.provider = queue_statistics.provider AND s.attempts > 0;
        IF reads_requests THEN
            SELECT count(DISTINCT w.user_id) INTO requested FROM (
                SELECT s.user_id FROM rolecall.sync_state s WHERE s.provider = queue_statistics.provider AND s.requested_at IS NOT NULL
                UNION ALL
                SELECT r.user_id FROM rolecall.sync_requests r JOIN rolecall.sync_state s ON s.user_id = r.user_id
                WHERE s.provider = queue_statistics.provider) w;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION rolecall.queue_statistics() IS 'how many users of each provider wait for a sync; NULL: the table is locked';

-- ---- What is held up ------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION rolecall.sync_locks(
    OUT kind text, OUT key bigint, OUT pid integer, OUT xid xid, OUT stops_reads boolean, OUT waits boolean, OUT waits_since timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'rolecall_sync_locks';
COMMENT ON FUNCTION rolecall.sync_locks() IS 'the locks of syncs that other transactions of this database hold, and the tables that they keep from being written';

CREATE OR REPLACE FUNCTION rolecall.sync_lock_key(provider text) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_sync_lock_key';
COMMENT ON FUNCTION rolecall.sync_lock_key(text) IS 'by which sync_locks() names a provider';

CREATE OR REPLACE FUNCTION rolecall.row_holders(uid bigint, OUT relation text, OUT pid integer, OUT xid xid) RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1 AS 'MODULE_PATHNAME', 'rolecall_row_holders';
COMMENT ON FUNCTION rolecall.row_holders(bigint) IS 'the transactions that hold rows of a user';

-- Of users, those who have waited longest are looked at. What cannot be read is left out, and its table named.
CREATE OR REPLACE FUNCTION rolecall.lock_holders(
    OUT provider text, OUT user_id bigint, OUT held text, OUT pid integer, OUT xid xid, OUT waits_since timestamptz, OUT is_unread boolean)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    users CONSTANT oid = 'rolecall.users'::regclass;
    state CONSTANT oid = 'rolecall.sync_state'::regclass;
    written CONSTANT oid[] = ARRAY[users, state] || ARRAY['rolecall.roles', 'rolecall.user_roles', 'rolecall.user_units', 'rolecall.sync_requests',
        'rolecall.revocations', 'rolecall.open_revocations', 'rolecall.role_changes', 'rolecall.stopped_providers']::regclass[]::oid[];
    only_read CONSTANT oid[] = ARRAY['rolecall.units', 'rolecall.home']::regclass[]::oid[];
    readable CONSTANT oid[] = ARRAY(SELECT t FROM unnest(written || only_read) t WHERE rolecall.try_read_lock(t::regclass));
    queues text[] = ARRAY(SELECT n.name FROM rolecall.servers() n(name));
BEGIN
    IF state = ANY (readable) THEN
        queues = ARRAY(SELECT q.name FROM rolecall.queued_providers() q(name));
    END IF;
    RETURN QUERY
    SELECT q.name, NULL::bigint, CASE WHEN l.kind = 'provider' THEN 'the syncs of all users'
                                      WHEN l.kind = 'revocations' THEN 'the counting of revocations'
                                      ELSE CASE WHEN l.waits THEN 'a place in the line for ' ELSE '' END || 'table ' || l.key::oid::regclass END,
           l.pid, l.xid, l.waits_since, l.kind = 'table' AND l.key::oid <> ALL (readable)
    FROM unnest(queues) q(name), rolecall.sync_locks() l
    WHERE CASE WHEN l.kind IN ('provider', 'revocations') THEN l.key = rolecall.sync_lock_key(q.name)
               WHEN l.kind = 'table' THEN l.key::oid = ANY (written) OR (l.stops_reads AND l.key::oid = ANY (only_read)) END;
    IF users = ANY (readable) THEN
        RETURN QUERY
        SELECT u.provider, u.id, 'the sync of a user', l.pid, l.xid, l.waits_since, false
        FROM rolecall.sync_locks() l JOIN rolecall.users u ON u.id = l.key WHERE l.kind = 'user' AND u.provider IS NOT NULL;
    END IF;
    IF state = ANY (readable) THEN
        RETURN QUERY
        SELECT w.name, w.user_id, 'a row of ' || h.relation, h.pid, h.xid, NULL::timestamptz, false
        FROM (
            SELECT q.name, w.user_id FROM unnest(queues) q(name), LATERAL (
                (SELECT s.user_id FROM rolecall.sync_state s WHERE s.provider = q.name AND s.requested_at IS NOT NULL
                 ORDER BY s.force DESC, s.requested_at LIMIT 20)
                UNION
                (SELECT s.user_id FROM rolecall.sync_state s WHERE s.provider = q.name AND s.next_sync_at <= now()
                 ORDER BY s.next_sync_at LIMIT 20)) w
        ) w, LATERAL rolecall.row_holders(w.user_id) h;
    END IF;
END
$$;
COMMENT ON FUNCTION rolecall.lock_holders() IS 'what transactions hold, or wait for, that holds up syncs';

CREATE OR REPLACE FUNCTION rolecall.held_up(OUT provider text, OUT user_id bigint, OUT held text, OUT pid integer, OUT gid text, OUT since timestamptz)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL RESTRICTED ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT h.provider, h.user_id, h.held, coalesce(a.pid, h.pid), x.gid, coalesce(h.waits_since, a.xact_start, x.prepared)
    FROM rolecall.lock_holders() h
    LEFT JOIN pg_stat_activity a ON a.pid = h.pid
    LEFT JOIN pg_prepared_xacts x ON x.transaction = h.xid
    WHERE (h.is_unread OR coalesce(h.waits_since, a.xact_start, x.prepared) < clock_timestamp() - interval '1 second')
      AND a.backend_type IS DISTINCT FROM 'rolecall sync worker' AND a.pid IS DISTINCT FROM pg_backend_pid()
$$;
COMMENT ON FUNCTION rolecall.held_up() IS 'transactions that have held up syncs for a second, or may when those are due, and whatever keeps tables from being read';

CREATE OR REPLACE VIEW rolecall.stat_held_up AS SELECT DISTINCT h.provider, h.user_id, h.held, h.pid, h.gid, h.since FROM rolecall.held_up() h;
COMMENT ON VIEW rolecall.stat_held_up IS 'what other transactions hold, so that syncs are passed by and taken up later: since when, and who';
COMMENT ON COLUMN rolecall.stat_held_up.gid IS 'of a prepared transaction, which has no pid';

CREATE OR REPLACE FUNCTION rolecall.slot_statistics(OUT name text, OUT slots bigint, OUT used bigint, OUT evicted bigint, OUT refused bigint)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rolecall_slot_statistics';
COMMENT ON FUNCTION rolecall.slot_statistics() IS 'how full the fixed tables in shared memory are';

CREATE OR REPLACE VIEW rolecall.stat_slots AS SELECT s.name, s.slots, s.used, s.evicted, s.refused FROM rolecall.slot_statistics() s;
COMMENT ON VIEW rolecall.stat_slots IS 'the fixed tables of the server: how full each is, what made room for others, and how often there was none';

CREATE OR REPLACE FUNCTION rolecall.provider_states(OUT provider text, OUT stopped_at timestamptz, OUT stopped_because text, OUT not_called_because text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    because text = 'Table rolecall.home is locked.';
BEGIN
    IF rolecall.try_read_lock('rolecall.home'::regclass) THEN
        because = rolecall.why_no_calls();
    END IF;
    IF NOT rolecall.try_read_lock('rolecall.stopped_providers'::regclass) THEN
        RETURN QUERY SELECT n.name, NULL::timestamptz, NULL::text, because FROM rolecall.servers() n(name);
        RETURN;
    END IF;
    RETURN QUERY
    SELECT n.name, s.stopped_at,
           CASE WHEN s.provider IS NOT NULL THEN
               format('%s users would have lost %s of %s grants; %s of %s users would have been deactivated',
                      s.users_affected, s.grants_revoked, s.grants, s.users_deactivated, s.users)
           END, because
    FROM rolecall.servers() n(name) LEFT JOIN rolecall.stopped_providers s ON s.provider = n.name;
END
$$;
COMMENT ON FUNCTION rolecall.provider_states() IS 'for each provider: is it stopped, is it called? Both for those who may not read the tables';

-- What is not known, because a table is locked, is NULL.
CREATE OR REPLACE VIEW rolecall.stat_provider AS
SELECT f.srvname AS provider, CASE WHEN q.provider IS NULL THEN 0 ELSE q.due END AS due, q.oldest_due,
       CASE WHEN q.provider IS NULL THEN 0 ELSE q.requested END AS requested,
       CASE WHEN q.provider IS NULL THEN 0 ELSE q.failing END AS failing,
       coalesce(p.in_flight, 0) AS in_flight, coalesce(p.changed, 0) AS changed, coalesce(p.unchanged, 0) AS unchanged,
       coalesce(p.skipped, 0) AS skipped, coalesce(p.failed, 0) AS failed,
       coalesce(p.breaker, 'closed') AS breaker, coalesce(p.failures_in_a_row, 0) AS failures_in_a_row, p.next_attempt_at,
       p.last_success_at, p.last_error_at, p.last_error,
       p.duration_seconds, p.duration_bounds, p.duration_counts,
       s.stopped_at, s.stopped_because, s.not_called_because,
       h.held AS held_up, h.since AS held_up_since, h.pid AS held_up_by_pid, h.gid AS held_up_by_gid
FROM pg_catalog.pg_foreign_server f
JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = f.srvfdw AND w.fdwname = 'rolecall'
LEFT JOIN rolecall.provider_statistics() p ON p.server = f.oid
LEFT JOIN rolecall.queue_statistics() q ON q.provider = f.srvname::text
LEFT JOIN rolecall.provider_states() s ON s.provider = f.srvname::text
LEFT JOIN (SELECT DISTINCT ON (o.provider) o.provider, o.held, o.since, o.pid, o.gid FROM rolecall.held_up() o ORDER BY o.provider, o.since) h
    ON h.provider = f.srvname::text;
COMMENT ON VIEW rolecall.stat_provider IS 'for each provider: what waits, what was done since the server started, and whether it may be asked';

CREATE OR REPLACE VIEW rolecall.stat_sync AS
SELECT coalesce(sum(changed), 0)::bigint AS changed, coalesce(sum(unchanged), 0)::bigint AS unchanged,
       coalesce(sum(skipped), 0)::bigint AS skipped, coalesce(sum(failed), 0)::bigint AS failed,
       coalesce(sum(in_flight), 0)::bigint AS in_flight,
       CASE WHEN count(due) = count(*) THEN coalesce(sum(due), 0)::bigint END AS due, min(oldest_due) AS oldest_due,
       CASE WHEN count(requested) = count(*) THEN coalesce(sum(requested), 0)::bigint END AS requested,
       CASE WHEN count(failing) = count(*) THEN coalesce(sum(failing), 0)::bigint END AS failing,
       max(last_success_at) AS last_success_at, max(last_error_at) AS last_error_at,
       (array_agg(last_error ORDER BY last_error_at DESC NULLS LAST))[1] AS last_error,
       coalesce(sum(duration_seconds), 0) AS duration_seconds
FROM rolecall.stat_provider;
COMMENT ON VIEW rolecall.stat_sync IS 'stat_provider, added up';

-- 000-24, in the words of Prometheus: role_sync_total{has_changed} and role_sync_duration_seconds, a histogram.
CREATE OR REPLACE VIEW rolecall.sync_metrics AS
SELECT 'role_sync_total' AS metric, jsonb_build_object('provider', provider, 'has_changed', has_changed) AS labels, value::double precision
FROM rolecall.stat_provider, LATERAL (VALUES (true, changed), (false, unchanged)) v(has_changed, value)
UNION ALL
SELECT 'role_sync_duration_seconds_bucket',
       jsonb_build_object('provider', provider, 'le', coalesce(duration_bounds[n]::text, '+Inf')),
       (SELECT sum(c) FROM unnest(duration_counts[1:n]) c)
FROM rolecall.stat_provider, generate_series(1, cardinality(duration_counts)) n
UNION ALL
SELECT 'role_sync_duration_seconds_sum', jsonb_build_object('provider', provider), duration_seconds
FROM rolecall.stat_provider WHERE duration_seconds IS NOT NULL
UNION ALL
SELECT 'role_sync_duration_seconds_count', jsonb_build_object('provider', provider), (SELECT sum(c) FROM unnest(duration_counts) c)
FROM rolecall.stat_provider WHERE duration_counts IS NOT NULL;
COMMENT ON VIEW rolecall.sync_metrics IS 'counters and the histogram of durations, as a metrics exporter wants them';

