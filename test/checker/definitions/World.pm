# The world of the definitions checker: kits. A kit is a schema with tables, a view, a projection over it, and what may
# happen to them: writes of rows, and units of DDL. Whatever happens, the projection must answer what the view answers.
package World;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(pick number one_of %kits @kits kit create_projection build_kit checker_sql oracle_sql units_of);

our (%kits, @kits);

sub pick { my @of = @_; return $of[ int(rand(@of)) ]; }
sub number { my ($most) = @_; return int(rand($most)); }
sub one_of { my ($kit) = @_; return pick(@{ $kit->{keys} }); }

# kit(name => ..., key => type, keys => [...], owner => role, roles => [...], setup => SQL, view => SQL, watches => JSON,
# tables => { table => key column }, rows => [ sub ... ], ddl => [ [ name, sub ... ], ... ], alone => [ ... ])
# A unit returns a list of statements. Those in `alone` cannot run in a transaction block.
sub kit {
	my (%kit) = @_;
	$kit{owner} //= 'postgres';
	$kit{project} //= "rolecall.project('$kit{name}', k)";
	$kits{ $kit{name} } = \%kit;
	push @kits, \%kit;
	return;
}

sub create_projection {
	my ($kit) = @_;
	return "SELECT rolecall.create_projection('$kit->{name}', '$kit->{name}.v', 'uid', 'doc', watches => '$kit->{watches}')";
}

# Takes the kit away and makes it anew.
sub build_kit {
	my ($kit) = @_;
	return '' if $kit->{builtin};
	my $name = $kit->{name};
	my $owner = $kit->{owner} eq 'postgres' ? '' : "ALTER VIEW $name.v OWNER TO $kit->{owner};";
	return join "\n", "SELECT rolecall.drop_projection(name) FROM rolecall.projections WHERE name = '$name' AND NOT builtin;",
	  "DROP SCHEMA IF EXISTS $name CASCADE;", "CREATE SCHEMA $name;", $kit->{setup}, "$kit->{view};", $owner, create_projection($kit) . ';', oracle_sql($kit);
}

# The view's own answers, asked as the projection asks: as the view's owner, with pinned settings. EXECUTE, because a kept
# plan may have folded a function that was replaced since.
sub oracle_sql {
	my ($kit) = @_;
	my ($name, $type, $view) = (@{$kit}{qw(name key)}, $kit->{oracle} // "$kit->{name}.v");
	my $settings = q(SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres' SET bytea_output = 'hex' SET extra_float_digits = 1 SET row_security = on SET max_parallel_workers_per_gather = 0);
	my $attributes = "STABLE PARALLEL SAFE SECURITY DEFINER LANGUAGE plpgsql $settings";
	my $sql = <<"SQL";
CREATE OR REPLACE FUNCTION checker.own_$name(keys text[]) RETURNS TABLE (k text, doc jsonb) $attributes AS \$own\$
BEGIN RETURN QUERY EXECUTE 'SELECT v.uid::text, v.doc FROM $view v WHERE v.uid = ANY (\$1::${type}[])' USING keys; END \$own\$;
CREATE OR REPLACE FUNCTION checker.own1_$name(k text) RETURNS jsonb $attributes AS \$own\$
DECLARE answer jsonb;
BEGIN EXECUTE 'SELECT (SELECT v.doc FROM $view v WHERE v.uid = \$1::$type)' INTO answer USING k; RETURN answer; END \$own\$;
SQL
	return $sql . "ALTER FUNCTION checker.own_$name OWNER TO $kit->{owner}; ALTER FUNCTION checker.own1_$name OWNER TO $kit->{owner};\n";
}

# What is there once: roles, helpers.
sub checker_sql {
	my $sql = <<'SQL';
CREATE SCHEMA checker;
GRANT USAGE ON SCHEMA checker TO PUBLIC;
-- Statements inside a function.
CREATE FUNCTION checker.run(statements text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE statement text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP EXECUTE statement; END LOOP;
END $$;
-- Tables by name, whose triggers are gone or disabled.
CREATE FUNCTION checker.each_trigger(relation regclass, template text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE name name;
BEGIN
    FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal AND tgname LIKE 'rolecall%' LOOP
        EXECUTE format(template, name, relation, name || '_' || left(md5(random()::text), 4));
    END LOOP;
END $$;
-- Each side by itself, under one snapshot: an error of the one must be an error of the other.
CREATE FUNCTION checker.careful(kit text, keys text[])
RETURNS TABLE (k text, cached jsonb, own jsonb, cached_error text, own_error text) STABLE LANGUAGE plpgsql AS $$
BEGIN
    FOREACH k IN ARRAY keys LOOP
        cached := NULL; own := NULL; cached_error := NULL; own_error := NULL;
        BEGIN
            IF kit = 'me' THEN cached := rolecall.me(k::bigint); ELSE cached := rolecall.project(kit, k); END IF;
        EXCEPTION WHEN OTHERS THEN cached_error := SQLSTATE || ': ' || SQLERRM;
        END;
        BEGIN
            EXECUTE format('SELECT checker.own1_%s($1)', kit) INTO own USING k;
        EXCEPTION WHEN OTHERS THEN own_error := SQLSTATE || ': ' || SQLERRM;
        END;
        RETURN NEXT;
    END LOOP;
END $$;
-- Keys as a table, for parallel scans.
CREATE TABLE checker.keys (kit text, k text);
SQL
	for my $kit (@kits) {
		$sql .= "CREATE ROLE $_;\n" for @{ $kit->{roles} // [] };
		$sql .= "INSERT INTO checker.keys SELECT '$kit->{name}', unnest(ARRAY[" . join(', ', map { "'$_'" } @{ $kit->{keys} }) . "]);\n";
	}
	return $sql . "ANALYZE checker.keys;\n";
}

# What may happen to any table of a kit: its watch triggers are off while rows change, it is emptied, rewritten, ...
sub table_units {
	my ($kit) = @_;
	my $name = $kit->{name};
	my $table = sub { pick(sort keys %{ $kit->{tables} }) };
	my $rows = sub { my $rows = pick(@{ $kit->{rows} }); return $rows->($kit) };
	my @units = (
		[ 'triggers disabled, rows, enabled', sub { my $t = $table->(); ("ALTER TABLE $t DISABLE TRIGGER USER", $rows->(), $rows->(), "ALTER TABLE $t ENABLE TRIGGER USER") } ],
		[ 'all triggers disabled, rows, enabled always', sub { my $t = $table->(); ("ALTER TABLE $t DISABLE TRIGGER ALL", $rows->(), $rows->(), "ALTER TABLE $t ENABLE TRIGGER ALL",
			"SELECT checker.each_trigger('$t', 'ALTER TABLE %2\$s ENABLE ALWAYS TRIGGER %1\$I')") } ],
		[ 'triggers disabled, rows', sub { my $t = $table->(); ("ALTER TABLE $t DISABLE TRIGGER USER", $rows->(), $rows->()) } ],
		[ 'triggers enabled, rows', sub { my $t = $table->(); ("ALTER TABLE $t ENABLE TRIGGER ALL", $rows->()) } ],
		[ 'triggers dropped, rows', sub { my $t = $table->(); ("SELECT checker.each_trigger('$t', 'DROP TRIGGER %1\$I ON %2\$s')", $rows->(), $rows->()) } ],
		[ 'triggers renamed, rows', sub { my $t = $table->(); ("SELECT checker.each_trigger('$t', 'ALTER TRIGGER %1\$I ON %2\$s RENAME TO %3\$I')", $rows->(), $rows->()) } ],
		[ 'rows as a replica', sub { ('SET session_replication_role = replica', $rows->(), $rows->(), 'SET session_replication_role = origin') } ],
		[ 'truncate', sub { my $t = $table->(); ("TRUNCATE $t CASCADE", $rows->()) } ],
		[ 'copied away, truncated, filled', sub { my $t = $table->(); ("COPY (SELECT * FROM $t) TO '/tmp/checker_$name.copy'", "TRUNCATE $t CASCADE", "COPY $t FROM '/tmp/checker_$name.copy'") } ],
		[ 'index', sub { my $t = $table->(); ("CREATE INDEX ON $t ((1))") } ],
		[ 'unlogged and logged', sub { my $t = $table->(); ("ALTER TABLE $t SET UNLOGGED", "ALTER TABLE $t SET LOGGED") } ],
		[ 'trigger of the application', sub { my $t = $table->(); ("CREATE OR REPLACE TRIGGER aaa BEFORE UPDATE ON $t FOR EACH ROW EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger()") } ],
		[ 'comment', sub { my $t = $table->(); ("COMMENT ON TABLE $t IS 'comment'", "ANALYZE $t") } ],
		[ 'a column more', sub { my $t = $table->(); ("ALTER TABLE $t ADD COLUMN IF NOT EXISTS more int DEFAULT " . number(9)) } ],
		[ 'a column less', sub { my $t = $table->(); ("ALTER TABLE $t DROP COLUMN IF EXISTS more") } ]);
	push @units, (
		[ 'repair', sub { ("SELECT rolecall.repair_projection('$name')") } ],
		[ 'projection made again', sub { ("SELECT rolecall.drop_projection('$name')", create_projection($kit)) } ],
		[ 'view and projection made again', sub { ("SELECT rolecall.drop_projection('$name')", "DROP VIEW $name.v", $kit->{view},
			"ALTER VIEW $name.v OWNER TO $kit->{owner}", create_projection($kit)) } ]) unless $kit->{builtin};
	push @units, [ 'reload', sub { ("SELECT rolecall.reload('$name')") } ];
	return @units;
}

sub units_of { my ($kit) = @_; return (@{ $kit->{ddl} // [] }, table_units($kit)); }

1;
