-- What takes strong locks or touches every document.
\set n random(1, 3)
\if :n = 1
BEGIN;
TRUNCATE rolecall.user_units;
INSERT INTO rolecall.user_units SELECT g, 1 + g % 5, 'role' || (1 + g % 6) FROM generate_series(1, 40) g;
COMMIT;
\elif :n = 2
BEGIN;
UPDATE rolecall.roles SET name = CASE name WHEN 'role6' THEN 'role7' ELSE 'role6' END WHERE name IN ('role6', 'role7');
UPDATE rolecall.roles SET name = 'role6' WHERE name = 'role7';
COMMIT;
\else
ALTER TABLE rolecall.user_units DISABLE TRIGGER ALL;
UPDATE rolecall.user_units SET role = 'role2' WHERE user_id <= 20;
ALTER TABLE rolecall.user_units ENABLE TRIGGER ALL;
SELECT rolecall.put_watch_triggers(id) FROM rolecall.watches WHERE relation = 'rolecall.user_units'::regclass;
\endif
