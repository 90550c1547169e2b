\set a random(41, 50)
BEGIN;
DELETE FROM rolecall.users WHERE id = :a;
INSERT INTO rolecall.users (id, email) VALUES (:a, 'new' || :a) ON CONFLICT (id) DO UPDATE SET email = 'conflict' || :a;
INSERT INTO rolecall.user_roles (user_id, role) VALUES (:a, 'role1') ON CONFLICT DO NOTHING;
COMMIT;
\set b random(41, 50)
DELETE FROM rolecall.users WHERE id = :b;
