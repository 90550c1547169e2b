# The freshness rule, sentence by sentence: each interleaving comes out right as the code is, and wrong when its
# sentence is broken on purpose.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib 'test/tap/lib', 'test/checker';
use Rolecall::Test;
use MemoScenarios;
use RuleScenarios;
use Scenarios;

# Some of them only: ROLECALL_FAULTS='7 45'.
my %wanted = map { $_ => 1 } split ' ', $ENV{ROLECALL_FAULTS} // '';
my @all = grep { !%wanted || $wanted{ $_->{fault} } } @scenarios, @memo_scenarios, @rule_scenarios;

# The numbers in the code, in the table and in the tests are the same.
my $root = $Rolecall::Test::root;
my %code = map { $_ => 1 } slurp_file("$root/src/pg/testing.h") =~ /^    [a-z_]+ = ([1-9]\d*),$/mg;
my (%table, @missing);
for my $row (grep { /^\| *\d/ } split /\n/, slurp_file("$root/test/checker/README.md")) {
	my ($numbers, $by) = $row =~ /^\| *([\d, ]+?) *\|.*\| *(.*?) *\|$/;
	for my $number (split /, */, $numbers) {
		$table{$number} = 1;
		my $found = $by =~ /\.pm/ ? grep { $_->{fault} == $number } @scenarios, @memo_scenarios, @rule_scenarios : slurp_file("$root/test/tap/" . ($by =~ /(\w+\.pl)/)[0]) =~ /\b$number\b/;
		push @missing, "$number in $by" if !$found;
	}
}
is_deeply([ sort keys %table ], [ sort keys %code ], 'the table of test/checker/README.md has the faults of src/pg/testing.h');
is_deeply(\@missing, [], '... and says where they are caught');

my $node = new_node('faults');

sub run_scenario {
	my ($scenario, $fault) = @_;
	$node->safe_psql('postgres', 'DROP EXTENSION IF EXISTS rolecall CASCADE; DROP SCHEMA IF EXISTS test CASCADE');
	create_extension($node);
	if ($scenario->{decorated}) {
		$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION test.decorate(t text) RETURNS text IMMUTABLE LANGUAGE sql RETURN t || ' decorated';
CREATE OR REPLACE VIEW rolecall.me_view AS
SELECT p.user_id AS uid, jsonb_build_object('email', test.decorate(p.email)) AS doc, p.valid_from, p.valid_until, p.email, p.tenant_id FROM rolecall.user_profile p;
SQL
	}
	$node->append_conf('postgresql.conf', "rolecall.seeded_fault = $fault\n");
	if ($scenario->{restarts}) { $node->restart } else { $node->reload }
	$node->poll_query_until('postgres', "SELECT current_setting('rolecall.seeded_fault') = '$fault'");
	my @wrong = $scenario->{run}->($node);
	$node->append_conf('postgresql.conf', "rolecall.seeded_fault = 0\n");
	if ($scenario->{restarts}) { $node->restart } else { $node->reload }
	$node->poll_query_until('postgres', "SELECT current_setting('rolecall.seeded_fault') = '0'");
	return @wrong;
}

for my $scenario (@all) {
	is_deeply([ run_scenario($scenario, 0) ], [], "as the code is: nothing wrong where $scenario->{name}");
	my @wrong = run_scenario($scenario, $scenario->{fault});
	cmp_ok(scalar(@wrong), '>', 0, "seeded fault $scenario->{fault} is caught: $scenario->{name}") and note(@wrong);
}
$node->stop;

done_testing();
