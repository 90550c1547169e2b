-- Grants move between users, expire, and are merged in; some of it is rolled back.
\set a random(1, 40)
\set b random(1, 40)
\set r random(1, 6)
\set ms random(0, 20)
BEGIN;
-- Two who give one user the same grant at once would violate its key; other users' are written meanwhile.
SELECT pg_advisory_xact_lock(least(:a, :b)), pg_advisory_xact_lock(greatest(:a, :b));
UPDATE rolecall.user_roles SET user_id = :b WHERE user_id = :a AND role = 'role' || :r
    AND NOT EXISTS (SELECT FROM rolecall.user_roles WHERE user_id = :b AND role = 'role' || :r);
SAVEPOINT s;
MERGE INTO rolecall.user_roles g USING (SELECT :a::bigint AS user_id, 'role' || :r AS role) w ON g.user_id = w.user_id AND g.role = w.role
WHEN MATCHED THEN UPDATE SET expires_at = clock_timestamp() + :ms * interval '1 ms'
WHEN NOT MATCHED THEN INSERT (user_id, role) VALUES (w.user_id, w.role);
\if :ms > 10
ROLLBACK TO s;
\endif
COMMIT;
