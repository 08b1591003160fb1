# Commits are put together while batches take more than their share of a processor, no longer than
# pg_derive.batch_interval, and not while a session waits for the views.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = derive_node('pace', conf => "pg_derive.batch_share = 0.001\npg_derive.batch_interval = 10s\n");

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub batches { return sql("SELECT batches FROM derive.stats WHERE view = 'sums'::regclass") }

sub set
{
	my ($settings) = @_;
	$node->append_conf('postgresql.conf', $settings);
	$node->reload;
	return;
}

sub exact
{
	my ($label) = @_;
	wait_derived($node, $label);
	is(sql(q{SELECT string_agg(concat_ws(' ', view, missing, extra), ', ') FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', "$label: the view is its query");
	return;
}

# Whatever the worker may have saved up, this takes more, so that it owes as much as it ever can.
sub load { sql('INSERT INTO t SELECT i, i % 10 FROM generate_series(1, 100000) i'); return wait_derived($node, 'a large batch') }

sql(q{CREATE TABLE t (n int, g int);
	SELECT derive.create_view('sums', 'SELECT g, count(*), sum(n) FROM t GROUP BY g')});
wait_derived($node, 'built');

# A machine that stops for a while makes a wait longer, but not each time.
my ($soon, $passed);
for my $try (1 .. 5)
{
	# the rest counts from the beginning of the batch before it
	my $begin = time();
	load();
	my $since = time();
	sql("INSERT INTO t VALUES ($_, 100 * $try + $_)") for 1 .. 6;
	my $seen = sql("SELECT count(*) FROM sums WHERE g > 100 * $try");
	$passed = time() - $since;
	ok($seen == 0 || time() - $begin > 9, 'commits after a batch that took more than its share come together');
	$since = time();
	wait_derived($node, 'waiting ends the rest');
	$soon = time() - $since < 9 - $passed;
	last if $soon;
}
ok($soon || $passed > 8, 'who waits does not wait for the rest');
exact('after that');

load();
sql("INSERT INTO t VALUES (1, 1000)");
ok($node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM sums WHERE g = 1000)"), 'the rest ends by itself');

my $group = 2000;

# Each of these is seen before the next one, by a session that does not wait for the view.
for my $settings ("pg_derive.batch_share = 1\n", "pg_derive.batch_share = 0.001\npg_derive.batch_interval = 0\n")
{
	load();
	set($settings);
	$group++;
	my $before = batches();
	for my $n (1 .. 5)
	{
		sql("INSERT INTO t VALUES ($n, $group)");
		$node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM sums WHERE g = $group AND count = $n)") or die 'not seen';
	}
	# they are counted after what they have done can be seen
	ok( $node->poll_query_until('postgres', "SELECT batches - $before >= 5 FROM derive.stats WHERE view = 'sums'::regclass"),
		'each commit has a batch of its own with ' . $settings =~ s/\n/ /gr);
}
exact('in the end');
done_testing();
