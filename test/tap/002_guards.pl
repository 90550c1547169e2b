# The crossing between C++ exceptions and PostgreSQL errors, in both directions.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib';
use Rolecall::Test;

my $node = new_node('guards');
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION throw(kind text) RETURNS text LANGUAGE c STRICT AS 'rolecall', 'rolecall_test_throw';
CREATE FUNCTION witnessed() RETURNS boolean LANGUAGE c AS 'rolecall', 'rolecall_test_witnessed';
SQL

my %expected = (
	error => qr/ERROR:  RC999: a message\nDETAIL:  A detail\.\nHINT:  A hint\./,
	bad_alloc => qr/ERROR:  53200: out of memory/,
	exception => qr/ERROR:  XX000: a runtime error/,
	unknown => qr/ERROR:  XX000: unknown C\+\+ exception/,
	postgres => qr/ERROR:  22012: a message of PostgreSQL\nDETAIL:  A detail of PostgreSQL\.\nHINT:  A hint of PostgreSQL\./,
);
for my $kind (sort keys %expected) {
	like(error_of($node, "SELECT throw('$kind')"), $expected{$kind}, "$kind: SQLSTATE, message, detail and hint");
	is( $node->safe_psql('postgres',
			"DO \$\$ BEGIN PERFORM throw('$kind'); EXCEPTION WHEN OTHERS THEN NULL; END \$\$; SELECT witnessed()"),
		't', "$kind: destructors ran");
}
like(error_of($node, "SELECT throw('long')"), qr/ERROR:  RC999: m{3000}\nDETAIL:  d{3000}\nHINT:  h{3000}\n/, 'nothing is cut');
like(error_of($node, "SELECT throw('error')"), qr/LOCATION: .*testing\.cpp:\d+/, 'an error says where it was thrown');
is($node->safe_psql('postgres', "SELECT throw('nothing')"), 'nothing thrown', 'nothing thrown');

# The session is in order afterwards: a subtransaction caught each, memory does not grow without bounds.
is( $node->safe_psql('postgres', <<'SQL'),
DO $$
BEGIN
    FOR i IN 1 .. 2000 LOOP
        BEGIN
            PERFORM throw(CASE i % 5 WHEN 0 THEN 'error' WHEN 1 THEN 'exception' WHEN 2 THEN 'unknown' WHEN 3 THEN 'postgres' ELSE 'bad_alloc' END);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $$;
SELECT sum(total_bytes) < 100 * 1024 * 1024 FROM pg_backend_memory_contexts;
SQL
	't', 'ten thousand errors later');
$node->stop;

done_testing();
