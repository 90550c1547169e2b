\set a random(1, 40)
\set n random(1, 1000)
UPDATE rolecall.users SET display_name = 'name ' || :n, is_active = (:n % 5 <> 0) WHERE id = :a;
