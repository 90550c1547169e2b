-- A transaction that is prepared and decided later, possibly by somebody else.
\set a random(1, 40)
\set n random(1, 1000000000)
\set keep random(1, 100)
BEGIN;
UPDATE rolecall.users SET function = 'prepared ' || :n WHERE id = :a;
PREPARE TRANSACTION 'checker_:client_id_:n';
\if :keep % 2 = 0
COMMIT PREPARED 'checker_:client_id_:n';
\else
ROLLBACK PREPARED 'checker_:client_id_:n';
\endif
