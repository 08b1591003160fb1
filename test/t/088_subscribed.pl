# A node maintains views over tables that two other servers publish, which have nothing but a
# publication.  Both write to the same tables there: one partitioned by the server, one not.  Under
# load every process that can be is killed.  A transaction of a publisher moves money, so sums never
# change: who reads the views meanwhile must never see half of one.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ReplicationTest;
use Test::More;
use Time::HiRes qw(usleep);

sub tables
{
	my ($site) = @_;
	return qq{
CREATE TABLE accounts (site text, id int, branch int, balance bigint NOT NULL, PRIMARY KEY (site, id));
CREATE TABLE entries (site text, account int, delta int);
CREATE TABLE limits (site text, id int, v int, PRIMARY KEY (site, id));
ALTER TABLE entries REPLICA IDENTITY FULL;
INSERT INTO accounts SELECT '$site', i, i % 10, 100 FROM generate_series(1, 2000) i;
INSERT INTO limits SELECT '$site', i, 0 FROM generate_series(1, 100) i};
}

my $transfer = q{
\set a random(1, 1000)
\set b random(1001, 2000)
\set d random(-50, 50)
\set l random(1, 100)
BEGIN;
UPDATE accounts SET balance = balance + :d WHERE id = :a;
INSERT INTO entries SELECT site, id, :d FROM accounts WHERE id = :a;
SAVEPOINT s;
UPDATE accounts SET balance = 0 WHERE id = :b;
ROLLBACK TO s;
UPDATE accounts SET balance = balance - :d, branch = (branch + :d) % 10 WHERE id = :b;
INSERT INTO entries SELECT site, id, 0 - :d FROM accounts WHERE id = :b;
UPDATE limits SET v = v + 1 WHERE id = :l;
COMMIT;
};

my $alpha = publisher('alpha', tables('alpha'));
my $beta = publisher('beta', tables('beta'));
my $node = derive_node('node', conf => "wal_retrieve_retry_interval = 200ms\nmax_logical_replication_workers = 8\n");

$node->safe_psql('postgres', q{
CREATE TABLE accounts (site text, id int, branch int, balance bigint NOT NULL, PRIMARY KEY (site, id)) PARTITION BY LIST (site);
CREATE TABLE accounts_alpha PARTITION OF accounts FOR VALUES IN ('alpha');
CREATE TABLE accounts_beta PARTITION OF accounts FOR VALUES IN ('beta');
CREATE TABLE entries (site text, account int, delta int);
CREATE INDEX ON entries (site, account);
CREATE TABLE limits (site text, id int, v int, PRIMARY KEY (site, id));
SELECT derive.create_view('by_site', 'SELECT site, count(*) AS n, sum(balance) AS balance FROM accounts GROUP BY site');
SELECT derive.create_view('by_branch', 'SELECT branch, count(*) AS n, sum(balance), min(balance), max(id) FROM accounts GROUP BY branch');
SELECT derive.create_view('flow', 'SELECT site, sum(delta) AS balance FROM entries GROUP BY site');
SELECT derive.create_view('wrong', 'SELECT a.site, a.id, a.balance, e.delta FROM accounts a
	LEFT JOIN (SELECT site, account, sum(delta) AS delta FROM entries GROUP BY site, account) e ON e.site = a.site AND e.account = a.id
	WHERE a.balance <> 100 + coalesce(e.delta, 0)');
SELECT derive.create_view('grand', 'SELECT sum(n) AS n, sum(balance) AS balance FROM by_site');
SELECT derive.create_view('limits_history', 'history', '{limits}');
SELECT derive.wait()});
subscribe($node, 'from_alpha', $alpha);
subscribe($node, 'from_beta', $beta);
wait_derived($node, 'the initial copies');
is_exact($node, 'the initial copies', undef, 'limits_history');

# What somebody sees who reads the views while all of that goes on.
my $look = q{SELECT 1 / (count(*) = 0)::int FROM (
	SELECT 1 FROM by_site WHERE n <> 2000 OR balance <> 200000
	UNION ALL SELECT 1 FROM flow WHERE balance <> 0
	UNION ALL SELECT 1 FROM wrong
	UNION ALL SELECT 1 FROM grand WHERE n <> 4000 OR balance <> 400000) x;
};
my ($looked, $complaints) = ('', '');

sub start_looking
{
	my $file = "$PostgreSQL::Test::Utils::tmp_check/look.sql";
	open my $out, '>', $file or die $!;
	print $out $look;
	close $out;
	$complaints = '';
	return start_client($node,
		[ $node->installed_command('pgbench'), '-n', '-c', '1', '-R', '50', '-T', '600', '-f', $file, '-h', $node->host, '-p', $node->port, 'postgres' ],
		'<' => \'', '>' => \$looked, '2>' => \$complaints);
}

sub stop_looking
{
	my ($looking, $label) = @_;
	stop_client($looking);
	unlike($complaints, qr/division by zero/, "$label: nobody saw half a transaction");
	return;
}

# So many more transactions of a site have been applied.
sub wait_for_traffic
{
	my ($site) = @_;
	my $count = sub { my ($rc, $out) = eval { $node->psql('postgres', "SELECT count(*) FROM entries WHERE site = '$site'") }; return $out || 0 };
	my $before = $count->();

	for my $i (1 .. 600)
	{
		return if $count->() >= $before + 200;
		usleep(100_000);
	}
	die "nothing arrives from $site";
}

my %kills = (
	'the process that applies' => sub { kill_process(apply_pid($node, 'from_alpha')); comes_back($node) },
	'the worker' => sub { kill_process(worker_pid($node)); comes_back($node) },
	'both' => sub { kill('KILL', apply_pid($node, 'from_beta'), worker_pid($node)); comes_back($node) },
	'the node' => sub { $node->kill9; start_again($node) },
	'a publisher' => sub { $alpha->kill9; start_again($alpha) },
	'the node, immediately after it came back' => sub { $node->kill9; start_again($node); $node->kill9; start_again($node) },
	'the applying process, by an administrator' => sub { $node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . apply_pid($node, 'from_alpha') . ')') });

foreach my $what (sort keys %kills)
{
	my @loads = map { start_load($_, 600, undef, $transfer) } $alpha, $beta;
	my $looking = start_looking();
	wait_for_traffic($_) for 'alpha', 'beta';
	stop_looking($looking, "before $what dies");
	$kills{$what}->();
	$loads[0] = start_load($alpha, 600, undef, $transfer) if $what =~ /publisher/;
	$looking = start_looking();
	wait_for_traffic($_) for 'alpha', 'beta';
	stop_looking($looking, "after $what died");
	stop_load($_) for @loads;
	wait_applied($node, 'from_alpha', $alpha);
	wait_applied($node, 'from_beta', $beta);
	resume_failed($node);
	wait_derived($node, $what);
	is_exact($node, $what, undef, 'limits_history');
	foreach ([ $alpha, 'alpha' ], [ $beta, 'beta' ])
	{
		my ($publisher, $site) = @$_;
		is_copied($publisher, $node, $what, map { "SELECT * FROM $_ WHERE site = '$site'" } 'accounts', 'entries', 'limits');
	}
	is($node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM wrong), (SELECT string_agg(site || ' ' || balance, ', ' ORDER BY site) FROM by_site)}),
		'0|alpha 200000, beta 200000', "$what: nothing got lost");
}

# Each version of a row is one transaction of its publisher.
is( $node->safe_psql('postgres', q{SELECT (SELECT sum(v) FROM limits) = (SELECT count(*) - 200 FROM limits_history)}),
	't', 'the history has every version');
log_is_clean($node);
$_->stop foreach $node, $alpha, $beta;
done_testing();
