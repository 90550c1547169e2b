-- Grants that expire. The boundary in time, with readers on both sides of it, is test/isolation/specs/expiry.spec.
INSERT INTO rolecall.users (id, email) VALUES (50, 'temp@example.org');
INSERT INTO rolecall.user_roles (user_id, role) VALUES (50, 'reader');
INSERT INTO rolecall.user_roles (user_id, role, expires_at) VALUES (50, 'editor', 'infinity'), (50, 'admin', now() - interval '1 hour');
SELECT rolecall.me(50) -> 'roles' AS roles;
SELECT hits('SELECT rolecall.me(50)') AS hit;

-- Every row of the view carries the time in which it holds.
SELECT valid_from < now() AS since_the_last_expiry, valid_until FROM rolecall.me_view WHERE uid = 50;
UPDATE rolecall.user_roles SET expires_at = now() + interval '1 day' WHERE user_id = 50 AND role = 'admin';
SELECT rolecall.has_role(50, 'admin') AS not_yet, fresh(50);
UPDATE rolecall.user_roles SET expires_at = now() WHERE user_id = 50 AND role = 'admin';
SELECT rolecall.has_role(50, 'admin') AS expired, fresh(50);
UPDATE rolecall.user_roles SET expires_at = NULL WHERE user_id = 50 AND role = 'admin';
SELECT rolecall.has_role(50, 'admin') AS without_end, fresh(50);
DELETE FROM rolecall.users WHERE id = 50;
