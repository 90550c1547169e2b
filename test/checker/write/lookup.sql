-- What many documents share, and links to it, in one transaction or in several at once.
\set u random(1, 5)
\set a random(1, 40)
\set n random(1, 1000)
\set r random(1, 6)
BEGIN;
INSERT INTO rolecall.user_units VALUES (:a, :u, 'role' || :r) ON CONFLICT (user_id, unit_id) DO UPDATE SET role = excluded.role;
\if :n % 3 = 0
UPDATE rolecall.units SET name = 'Unit ' || :n WHERE id = :u;
\endif
\if :n % 7 = 0
UPDATE rolecall.roles SET priority = :n WHERE name = 'role' || :r;
\endif
\if :n % 11 = 0
UPDATE rolecall.tenants SET is_active = NOT is_active WHERE slug = 't' || (1 + :n % 3);
\endif
\if :n % 13 = 0
DELETE FROM rolecall.user_units WHERE user_id = :a;
\endif
\if :n % 5 = 0
ROLLBACK;
\else
COMMIT;
\endif
