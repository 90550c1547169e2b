\set a random(1, 41)
\set b random(1, 41)
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT checker.complain(checker.differences(:a));
SELECT checker.complain(checker.differences(:b));
COMMIT;
