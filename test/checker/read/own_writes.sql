-- Reads between own writes, in savepoints that are released and rolled back.
\set a random(1, 40)
\set first random(1, 41)
\set n random(1, 1000)
BEGIN;
SELECT checker.complain(checker.differences(:first));
UPDATE rolecall.users SET display_name = 'own ' || :n WHERE id = :a;
SELECT checker.complain(checker.differences(:first));
SAVEPOINT s;
UPDATE rolecall.users SET function = 'savepoint ' || :n WHERE id = :a;
SELECT checker.complain(checker.differences(:first));
ROLLBACK TO s;
SELECT checker.complain(checker.differences(:first));
COMMIT;
SELECT checker.complain(checker.differences(:first));
