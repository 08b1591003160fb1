# kill -9 of the worker and of the postmaster, and immediate shutdown, under
# load, again and again: every view exact afterwards, nothing done by hand.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{DERIVE_TEST_KILLS} || 20;
my $node = derive_node('crash', conf => "fsync = on\n");

load_tables($node);
wait_derived($node, 'built');
is_exact($node, 'at the start');

my @young = (
	'SELECT account, count(*), sum(delta) FROM history GROUP BY account',
	'SELECT a.id, h.delta FROM accounts a JOIN history h ON h.account = a.id WHERE a.branch < 5',
	'SELECT n % 7 AS k, count(*) FROM by_branch GROUP BY 1',
	'SELECT DISTINCT note FROM accounts');
for my $i (1 .. $rounds)
{
	# In the second half a crash also takes back what clients were told is committed.
	if ($i == int($rounds / 2) + 1)
	{
		$node->append_conf('postgresql.conf', "synchronous_commit = off\nwal_writer_delay = 10s\n");
		$node->reload;
	}
	my $load = start_load($node, 600);
	# until the load has changed something
	my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM history');
	$node->poll_query_until('postgres', "SELECT count(*) > $n + 20 FROM history") or die 'no load';

	# a view that is being built, or handed over, or just ready when it happens
	$node->safe_psql('postgres', "SELECT derive.create_view('young', '$young[ $i % @young ]')") if $i % 3;
	usleep(rand 400_000);
	my $how = crash($node, $i);
	stop_load($load);
	wait_derived($node, "kill $i ($how): caught up");
	is_exact($node, "kill $i ($how)");
	$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW IF EXISTS young');
}

# A backlog: the server goes down fast while writers are busy; and one is
# written while the worker cannot run.
my $load = start_load($node, 10);
usleep(1_000_000);
$node->restart;
stop_load($load);
wait_derived($node, 'fast restart');
is_exact($node, 'fast restart');

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$node->safe_psql('postgres', q{
UPDATE accounts SET balance = balance + id;
INSERT INTO history SELECT i, i FROM generate_series(1, 5000) i;
DELETE FROM accounts WHERE id % 10 = 3;
UPDATE branches SET branch = branch + 1;
});
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
$node->restart;
wait_derived($node, 'backlog of the time without the library');
is_exact($node, 'backlog');

my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC:|TRAP:|problem in alloc set|signal (?:6|11)\b/, 'nothing in the log but our kills');
$node->stop;
done_testing();
