\set first random(1, 41)
SELECT checker.complain(checker.differences(:first));
