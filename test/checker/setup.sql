-- The world of the checker: few users, so that everything collides.
CREATE SCHEMA checker;

CREATE FUNCTION checker.complain(differences bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF differences > 0 THEN
        RAISE EXCEPTION '% documents differ from their query', differences USING ERRCODE = 'RC900';
    END IF;
END $$;

INSERT INTO rolecall.tenants (slug, name) SELECT 't' || g, 'Tenant ' || g FROM generate_series(1, 3) g;
INSERT INTO rolecall.roles (name, priority) SELECT 'role' || g, g FROM generate_series(1, 6) g;
INSERT INTO rolecall.units (id, institutional_id, name) SELECT g, 'unit' || g, 'Unit ' || g FROM generate_series(1, 5) g;
INSERT INTO rolecall.users (id, email, tenant_id)
SELECT g, 'user' || g || '@example.org', (SELECT id FROM rolecall.tenants WHERE slug = 't' || (1 + g % 3)) FROM generate_series(1, 40) g;
INSERT INTO rolecall.user_roles (user_id, role) SELECT g, 'role' || (1 + g % 6) FROM generate_series(1, 40) g;
INSERT INTO rolecall.user_units SELECT g, 1 + g % 5, 'role' || (1 + g % 6) FROM generate_series(1, 40) g;

-- Keys of other types, over the same tables: uuids; text, which changes, and belongs to several rows.
CREATE VIEW checker.tenant_view AS
SELECT t.id AS uid, jsonb_build_object('name', t.name, 'users', (SELECT jsonb_agg(u.email ORDER BY u.id) FROM rolecall.users u WHERE u.tenant_id = t.id)) AS doc
FROM rolecall.tenants t;
CREATE VIEW checker.name_view AS
SELECT u.display_name AS uid, jsonb_agg(u.id ORDER BY u.id) AS doc FROM rolecall.users u GROUP BY u.display_name;
SELECT rolecall.create_projection('tenants', 'checker.tenant_view', 'uid', 'doc', watches => '{"rolecall.tenants": "id", "rolecall.users": "tenant_id"}');
SELECT rolecall.create_projection('names', 'checker.name_view', 'uid', 'doc', watches => '{"rolecall.users": "display_name"}');
CREATE FUNCTION checker.other_keys(number bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM (
        SELECT rolecall.project('tenants', uid::text) IS DISTINCT FROM doc FROM checker.tenant_view
        UNION ALL
        SELECT rolecall.project('names', name) IS DISTINCT FROM (SELECT v.doc FROM checker.name_view v WHERE v.uid = name)
        FROM unnest(ARRAY['nobody', (SELECT u.display_name FROM rolecall.users u WHERE u.id = number)]) name
        WHERE name IS NOT NULL
    ) compared(differs) WHERE differs
$$;

-- Ten documents, each compared with the projection's own query in the same statement: as jsonb, as text, and by
-- a role check, which has copies of its own in each backend.
CREATE FUNCTION checker.differences(first bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT checker.other_keys(first) + count(*) FROM generate_series(first, first + 9) uid
    CROSS JOIN LATERAL (SELECT (SELECT v.doc FROM rolecall.me_view v WHERE v.uid = uid.uid) AS doc OFFSET 0) v
    WHERE rolecall.me(uid) IS DISTINCT FROM v.doc
       OR rolecall.me_json(uid)::jsonb IS DISTINCT FROM v.doc
       OR rolecall.has_role(uid, 'role' || (1 + uid % 6)) IS DISTINCT FROM
          coalesce((v.doc ->> 'is_active')::boolean
                   AND v.doc -> 'roles' @> jsonb_build_array(jsonb_build_object('role', 'role' || (1 + uid % 6))), false)
$$;

-- Users that come and go: uids 41 to 50.
CREATE FUNCTION checker.many_subtransactions(uid bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 80 LOOP
        BEGIN
            UPDATE rolecall.users SET function = 'subtransaction ' || i WHERE id = uid;
            IF i % 10 = 0 THEN
                RAISE EXCEPTION 'rolled back';
            END IF;
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
    END LOOP;
END $$;

-- What a statement reads of what it writes: by functions of each volatility, in subtransactions, in triggers.
CREATE FUNCTION checker.differs(uid bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (rolecall.me(uid) IS DISTINCT FROM (SELECT v.doc FROM rolecall.me_view v WHERE v.uid = differs.uid))::int::bigint
$$;
CREATE FUNCTION checker.write_and_compare(uid bigint, n bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    differences bigint := checker.differs(uid);
BEGIN
    UPDATE rolecall.users SET display_name = 'nested ' || n WHERE id = uid AND n % 3 = 0;
    differences := differences + checker.differs(uid) + checker.differs(uid % 40 + 1);
    BEGIN
        UPDATE rolecall.users SET function = 'nested ' || n WHERE id = uid AND n % 2 = 0;
        differences := differences + checker.differs(uid);
        IF n % 5 < 2 THEN
            RAISE EXCEPTION 'rolled back';
        END IF;
    EXCEPTION WHEN raise_exception THEN NULL;
    END;
    RETURN differences + checker.differs(uid) + checker.differs(uid % 40 + 1);
END $$;
CREATE FUNCTION checker.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM checker.complain(checker.differs(NEW.id) + checker.differs(NEW.id % 40 + 1));
    RETURN NEW;
END $$;
CREATE TRIGGER looks_before BEFORE UPDATE ON rolecall.users FOR EACH ROW WHEN (NEW.function LIKE 'looked%') EXECUTE FUNCTION checker.look();
CREATE TRIGGER a_looks_after AFTER UPDATE ON rolecall.users FOR EACH ROW WHEN (NEW.function LIKE 'looked%') EXECUTE FUNCTION checker.look();
CREATE TRIGGER z_looks_after AFTER UPDATE ON rolecall.users FOR EACH ROW WHEN (NEW.function LIKE 'looked%') EXECUTE FUNCTION checker.look();
