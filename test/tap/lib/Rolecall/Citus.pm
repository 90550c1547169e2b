# A stand-in for Citus, for which there is no package: an extension of that name with Citus' catalogs, and functions
# that do to tables what Citus does, as far as the server can see it. Rows stay where they are, because no query is
# routed to shards.
package Rolecall::Citus;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;

our @EXPORT = qw(install_citus remove_citus);

my $control = "default_version = '13.0'\nrelocatable = false\nschema = pg_catalog\n";
my $script = <<'SQL';
CREATE SCHEMA citus;
CREATE TABLE citus.pg_dist_partition (logicalrelid regclass NOT NULL, partmethod "char" NOT NULL, partkey text, colocationid integer NOT NULL DEFAULT 0,
    repmodel "char" NOT NULL DEFAULT 'c', autoconverted boolean NOT NULL DEFAULT false);
CREATE UNIQUE INDEX pg_dist_partition_logical_relid_index ON citus.pg_dist_partition USING btree (logicalrelid);
ALTER TABLE citus.pg_dist_partition SET SCHEMA pg_catalog;
CREATE TABLE citus.pg_dist_shard (logicalrelid regclass NOT NULL, shardid bigint NOT NULL UNIQUE, shardstorage "char" NOT NULL, shardminvalue text, shardmaxvalue text);
ALTER TABLE citus.pg_dist_shard SET SCHEMA pg_catalog;
CREATE TABLE citus.pg_dist_placement (placementid bigint PRIMARY KEY, shardid bigint NOT NULL, shardstate integer NOT NULL DEFAULT 1,
    shardlength bigint NOT NULL DEFAULT 0, groupid integer NOT NULL);
ALTER TABLE citus.pg_dist_placement SET SCHEMA pg_catalog;
CREATE TABLE citus.pg_dist_node (nodeid integer PRIMARY KEY, groupid integer NOT NULL, nodename text NOT NULL DEFAULT 'localhost', nodeport integer NOT NULL DEFAULT 5432);
ALTER TABLE citus.pg_dist_node SET SCHEMA pg_catalog;
CREATE TABLE citus.pg_dist_local_group (groupid integer NOT NULL PRIMARY KEY);
INSERT INTO citus.pg_dist_local_group VALUES (0);
ALTER TABLE citus.pg_dist_local_group SET SCHEMA pg_catalog;

-- As CitusInvalidateRelcacheByRelid(): what a change of the tuple in pg_class sends.
CREATE FUNCTION citus.invalidate(relation regclass) RETURNS void LANGUAGE sql AS 'UPDATE pg_class SET relname = relname WHERE oid = relation';

CREATE FUNCTION citus.invalidate_local_group() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM citus.invalidate('pg_catalog.pg_dist_local_group'); RETURN NULL; END $$;
CREATE TRIGGER dist_local_group_cache_invalidate AFTER INSERT OR UPDATE OR DELETE ON pg_catalog.pg_dist_local_group
FOR EACH ROW EXECUTE FUNCTION citus.invalidate_local_group();

CREATE FUNCTION citus.truncate_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';

-- How it says what kind of table it is: partmethod, repmodel, and a colocation of its own for tables of one shard.
CREATE FUNCTION citus.manage(relation regclass, method "char", model "char", colocation integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO pg_dist_partition VALUES (relation, method, CASE WHEN method = 'h' THEN 'a key' END, colocation, model);
    PERFORM citus.invalidate(relation);
    EXECUTE format('CREATE TRIGGER truncate_trigger_%s AFTER TRUNCATE ON %s EXECUTE FUNCTION citus.truncate_trigger()', relation::oid, relation);
END $$;
CREATE FUNCTION create_distributed_table(relation regclass, distribution_column text) RETURNS void LANGUAGE sql AS $$ SELECT citus.manage(relation, 'h', 's', 1) $$;
CREATE FUNCTION create_reference_table(relation regclass) RETURNS void LANGUAGE sql AS $$ SELECT citus.manage(relation, 'n', 't', 2) $$;
CREATE FUNCTION citus_schema_distribute(schema regnamespace) RETURNS void LANGUAGE sql AS
$$ SELECT citus.manage(oid, 'n', 's', 3) FROM pg_class WHERE relnamespace = schema AND relkind = 'r' ORDER BY oid $$;

-- Triggers of users are refused on all but local tables.
CREATE FUNCTION citus.refuses_triggers(relation oid) RETURNS boolean LANGUAGE sql AS
$$ SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = relation AND colocationid > 0) $$;
CREATE FUNCTION citus.refuse_create_trigger() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c JOIN pg_trigger t ON t.oid = c.objid
               WHERE c.classid = 'pg_trigger'::regclass AND t.tgname NOT LIKE 'truncate\_trigger\_%' AND citus.refuses_triggers(t.tgrelid)) THEN
        RAISE EXCEPTION 'triggers are not supported on distributed tables';
    END IF;
END $$;
CREATE EVENT TRIGGER citus_create_trigger ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER') EXECUTE FUNCTION citus.refuse_create_trigger();
CREATE FUNCTION citus.refuse_drop_trigger() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() d WHERE d.object_type = 'trigger'
               AND citus.refuses_triggers(to_regclass(format('%I.%I', d.address_names[1], d.address_names[2])))) THEN
        RAISE EXCEPTION 'triggers are not supported on distributed tables';
    END IF;
END $$;
CREATE EVENT TRIGGER citus_drop_trigger ON sql_drop WHEN TAG IN ('DROP TRIGGER') EXECUTE FUNCTION citus.refuse_drop_trigger();

-- Views over a table are dropped and made anew, with their owners.
CREATE FUNCTION citus.views_over(relation regclass) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT DISTINCT format('CREATE VIEW %s AS %s', c.oid::regclass, pg_get_viewdef(c.oid)) || format('; ALTER VIEW %s OWNER TO %I', c.oid::regclass, pg_get_userbyid(c.relowner))
    FROM pg_depend d JOIN pg_rewrite r ON (d.classid, d.objid) = ('pg_rewrite'::regclass, r.oid) JOIN pg_class c ON c.oid = r.ev_class AND c.relkind = 'v'
    WHERE (d.refclassid, d.refobjid) = ('pg_class'::regclass, relation)
$$;
CREATE FUNCTION citus.drop_views(definitions text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE d text;
BEGIN FOREACH d IN ARRAY definitions LOOP EXECUTE 'DROP VIEW ' || substring(d FROM 'CREATE VIEW (\S+) AS'); END LOOP; END $$;
CREATE FUNCTION citus.make_views(definitions text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE d text;
BEGIN FOREACH d IN ARRAY definitions LOOP EXECUTE d; END LOOP; END $$;

-- The table becomes a shard, its triggers with it, and a shell takes its name.
CREATE FUNCTION citus_add_local_table_to_metadata(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named text := relation::text;
    short text := (SELECT relname FROM pg_class WHERE oid = relation);
    triggers text[] := ARRAY(SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal);
    views text[] := ARRAY(SELECT * FROM citus.views_over(relation));
    t record;
    d text;
BEGIN
    PERFORM citus.drop_views(views);
    FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal LOOP
        EXECUTE format('ALTER TRIGGER %I ON %s RENAME TO %I', t.tgname, named, t.tgname || '_102008');
    END LOOP;
    EXECUTE format('ALTER TABLE %s RENAME TO %I', named, short || '_102008');
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', named, named || '_102008');
    FOREACH d IN ARRAY triggers LOOP EXECUTE d; END LOOP;
    PERFORM citus.make_views(views);
    PERFORM citus.manage(named, 'n', 's', 0);
END $$;

-- Another table takes the place of the one there is.
CREATE FUNCTION undistribute_table(relation regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named text := relation::text;
    short text := (SELECT relname FROM pg_class WHERE oid = relation);
    views text[] := ARRAY(SELECT * FROM citus.views_over(relation));
BEGIN
    DELETE FROM pg_dist_partition WHERE logicalrelid = relation;
    PERFORM citus.invalidate(relation);
    PERFORM citus.drop_views(views);
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', named || '_new', named);
    EXECUTE format('INSERT INTO %s SELECT * FROM %s', named || '_new', named);
    EXECUTE format('DROP TABLE %s', named);
    EXECUTE format('ALTER TABLE %s RENAME TO %I', named || '_new', short);
    PERFORM citus.make_views(views);
END $$;
SQL

my @files;

# Installs the files among the server's other extensions; CREATE EXTENSION citus then works.
sub install_citus {
	my ($node) = @_;
	my $share = $node->config_data('--sharedir') . '/extension';
	@files = ("$share/citus.control", "$share/citus--13.0.sql");
	unlink @files;
	append_to_file($files[0], $control);
	append_to_file($files[1], $script);
	return;
}

sub remove_citus { return unlink @files; }

1;
