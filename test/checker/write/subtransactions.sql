-- More subtransactions than a snapshot holds, so that it overflows.
\set a random(1, 40)
SELECT checker.many_subtransactions(:a);
