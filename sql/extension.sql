-- What CREATE EXTENSION makes.
CREATE EXTENSION rolecall;

SELECT extname, n.nspname AS schema, extrelocatable
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'rolecall';

-- 002-3, 002-4, 002-15
SELECT indexname, regexp_replace(indexdef, '^CREATE (UNIQUE )?INDEX \S+ ON rolecall\.', '\1') AS definition
FROM pg_indexes WHERE schemaname = 'rolecall' AND indexname LIKE 'idx\_%' ORDER BY indexname COLLATE "C";

-- 002-4
SELECT column_name, data_type, character_maximum_length AS length, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'rolecall' AND table_name = 'oauth_states' ORDER BY ordinal_position;

-- Everything public has a comment.
SELECT c.oid::regclass AS without_comment
FROM pg_class c
WHERE c.relnamespace = 'rolecall'::regnamespace AND c.relkind IN ('r', 'v', 'c')
  AND obj_description(CASE WHEN c.relkind = 'c' THEN c.reltype ELSE c.oid END,
                      CASE WHEN c.relkind = 'c' THEN 'pg_type' ELSE 'pg_class' END) IS NULL;
SELECT p.oid::regprocedure AS without_comment
FROM pg_proc p
WHERE p.pronamespace = 'rolecall'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL;

-- Functions that are not written in C pin their search_path.
SELECT p.oid::regprocedure AS without_search_path
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'rolecall'::regnamespace AND l.lanname <> 'c'
  AND NOT coalesce(p.proconfig, '{}') @> ARRAY['search_path=pg_catalog, pg_temp'];

-- Nothing is granted to PUBLIC.
SELECT p.oid::regprocedure AS granted_to_public
FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'rolecall'::regnamespace AND a.grantee = 0;
SELECT c.oid::regclass AS granted_to_public
FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
WHERE c.relnamespace = 'rolecall'::regnamespace AND a.grantee = 0;
SELECT nspname AS granted_to_public
FROM pg_namespace n, aclexplode(n.nspacl) a WHERE nspname = 'rolecall' AND a.grantee = 0;
SELECT fdwname AS granted_to_public
FROM pg_foreign_data_wrapper w, aclexplode(coalesce(w.fdwacl, acldefault('F', w.fdwowner))) a
WHERE fdwname = 'rolecall' AND a.grantee = 0;

-- Every foreign key has an index to check it by.
SELECT k.conrelid::regclass AS relation, k.conname AS without_index
FROM pg_constraint k
WHERE k.contype = 'f' AND k.connamespace = 'rolecall'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indkey[0] = k.conkey[1]);

-- The built-in projection.
SELECT name, builtin, view, key_column, doc_column, ttl, query FROM rolecall.projections;
SELECT projection, builtin, relation, key_column FROM rolecall.watches ORDER BY relation::text COLLATE "C";
SELECT tgrelid::regclass AS relation, regexp_replace(tgname, '^rolecall_[0-9a-f]+', 'rolecall_ID') AS trigger, tgenabled
FROM pg_trigger WHERE tgname LIKE 'rolecall\_%' ORDER BY tgrelid::regclass::text COLLATE "C", 2;
