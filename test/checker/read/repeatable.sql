\set a random(1, 41)
\set b random(1, 41)
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT checker.complain(checker.differences(:a));
SELECT checker.complain(checker.differences(:b));
SELECT checker.complain(checker.differences(:a));
COMMIT;
