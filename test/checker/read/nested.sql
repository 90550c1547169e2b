-- What a statement sees of what functions and triggers of its own write, in either kind of transaction.
\set a random(1, 40)
\set first random(1, 31)
\set n random(1, 1000)
\if :n % 2 = 0
BEGIN ISOLATION LEVEL SERIALIZABLE;
\else
BEGIN;
\endif
SELECT checker.complain((count(*) FILTER (WHERE rolecall.me(v.uid) IS DISTINCT FROM v.doc)
                         + sum(checker.write_and_compare(v.uid, v.uid + :n))
                         + count(*) FILTER (WHERE rolecall.me(v.uid) IS DISTINCT FROM v.doc))::bigint)
FROM rolecall.me_view v WHERE v.uid BETWEEN :first AND :first + 4;
UPDATE rolecall.users SET function = 'looked ' || :n WHERE id BETWEEN :a AND :a + 2;
SELECT checker.complain(checker.differences(:first));
\if :n % 3 = 0
ROLLBACK;
\else
COMMIT;
\endif
