-- A cursor with an older snapshot, and newer statements beside it.
\set first random(1, 31)
\set n random(1, 1000)
BEGIN;
DECLARE c CURSOR FOR SELECT checker.complain((rolecall.me(v.uid) IS DISTINCT FROM v.doc)::int::bigint) FROM rolecall.me_view v WHERE v.uid BETWEEN :first AND :first + 9;
FETCH 3 c;
SELECT checker.complain(checker.differences(:first));
FETCH 3 c;
SELECT checker.complain(checker.differences(:first));
FETCH ALL c;
COMMIT;
