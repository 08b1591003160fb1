# Two crashes over one view, which may be kills by an operator or for want of memory, fail
# it, and it comes back by itself.  One that crashes the server does so later and later.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('crashed', conf => "pg_derive.recompute_share = 1\n");
unless (has_debug_points($node))
{
	$node->stop;
	plan skip_all => 'debug points are not compiled in';
}
my $whole = 'incremental-median:skip';

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub crashes
{
	my ($offset) = @_;
	my @found = slurp_file($node->logfile, $offset) =~ /terminated by signal/g;
	return scalar @found;
}

# As if the time had come at which the view is tried again, and somebody changed something.
sub let_time_pass
{
	my ($view) = @_;
	# at once: a builder that began between them would leave the change to the slow lane
	eval { $node->psql('postgres', qq{
BEGIN;
UPDATE pg_class SET relkind = 'r', relhasrules = false WHERE oid = 'derive_state.views'::regclass;
UPDATE derive_state.views SET retry_at = now() - interval '1 second' WHERE relid = '$view'::regclass;
UPDATE pg_class SET relkind = 'm', relhasrules = true WHERE oid = 'derive_state.views'::regclass;
UPDATE accounts SET balance = balance + 1 WHERE id = 3;
COMMIT}) };
	return;
}

# It has failed by a crash, the n-th time in a row, and will be tried again after so many minutes.
sub stands
{
	my ($view, $n, $minutes, $offset, $label) = @_;
	my $ok = $node->poll_query_until('postgres', qq{
		SELECT state = 'f' AND crashes = $n AND retry_at - now() BETWEEN '$minutes min'::interval - '90 s'::interval AND '$minutes min'
		FROM derive_state.views WHERE relid = '$view'::regclass});
	ok($ok, "$label: it has failed the ${n}th time, and waits $minutes min") or BAIL_OUT(sql('SELECT * FROM derive_state.views'));
	like(sql("SELECT state || ' ' || waiting_for || ' ' || error FROM derive_state.view_states WHERE name = '$view'"),
		qr/^failed another try at 20\S+ \S+ the .*process.* crashed(?: \d times in a row)?, while/, "$label: which is said");
	like(($node->psql('postgres', "SELECT derive.wait('$view')"))[2], qr/has failed\n.*\nHINT:  Remove the cause; the view is tried again at 20\S+ \S+, or by derive\.repair\(\)/,
		"$label: by derive.wait(), too");
	is(sql(qq{SELECT derive.wait('by_branch', timeout => '180 s'), sum(missing + extra) FROM derive.verify('by_branch')}), 't|0', "$label: others go on");
	return;
}

set_debug_point($node, $whole);
load_tables($node);
sql(q{SELECT derive.create_view('median', 'SELECT branch, percentile_cont(0.5) WITHIN GROUP (ORDER BY balance) FROM accounts GROUP BY 1')});
wait_derived($node, 'built');
is_exact($node, 'at the start');

# Of each view: the point at which a process kills itself, what brings it there, and by how many crashes it fails.
my @kinds = (
	[ 'loaded by the worker', 'joined', 'load-joined', 'ALTER TABLE history ADD COLUMN note text', 3 ],
	[ 'that no builder can compute', 'totals', 'load-totals', 'ALTER MATERIALIZED VIEW totals SET (fillfactor = 90)', 3 ],
	[ 'computed by the slow lane', 'median', 'lane-computed-median', 'UPDATE accounts SET balance = balance + 1 WHERE id = 5', 2 ],
	[ 'built', 'young', 'build-before-fill', q{SELECT derive.create_view('young', 'SELECT branch, max(balance) FROM accounts GROUP BY 1')}, 2 ]);

for my $kind (@kinds)
{
	my ($label, $view, $point, $change, $n) = @$kind;

	my $offset = -s $node->logfile;
	set_debug_point($node, "$whole,$point:kill");
	eval { $node->psql('postgres', $change) };
	log_says($node, qr/maintenance of view "$view" has failed: the .*process.* crashed 2 times in a row, while [^\n]*\n[^\n]*HINT:  Remove the cause\. The view is tried again at 20\S+ \S+, or at once by derive\.repair\(\)/,
		$offset, "$label: it fails");
	comes_back($node);
	stands($view, 1, 10, $offset, $label);
	is(crashes($offset), $n, "$label: after two crashes, and that of one that was well");

	# each try costs one crash, and changes cost none
	for my $try ([ 2, 40 ], [ 3, 160 ])
	{
		$offset = -s $node->logfile;
		let_time_pass($view);
		if ($view eq 'median')
		{
			# a builder computes it, and then the slow lane when something has changed
			derive_wait_state($node, $view, 'ready', "$label: built");
			eval { $node->psql('postgres', $change) };
		}
		log_says($node, qr/terminated by signal/, $offset, "$label: tried again");
		comes_back($node);
		sql('UPDATE accounts SET balance = balance + 1; INSERT INTO history VALUES (1, 1)');
		stands($view, @$try, $offset, "$label, tried again");
		is(crashes($offset), 1, "$label: one crash");
	}

	set_debug_point($node, $whole);
	let_time_pass($view);
	derive_wait_state($node, $view, 'ready', "$label: it comes back by itself");
	wait_derived($node, "$label: caught up");
	is_exact($node, "$label: come back");

	# not well for long enough: the series goes on; and ends when a person asks for it
	next if $view eq 'young';
	$offset = -s $node->logfile;
	set_debug_point($node, "$whole,$point:kill");
	$change =~ s/COLUMN \w+|90/$& eq '90' ? '80' : 'COLUMN another'/e;
	eval { $node->psql('postgres', $change) };
	log_says($node, qr/maintenance of view "$view" has failed/, $offset, "$label: it fails again soon after");
	comes_back($node);
	set_debug_point($node, $whole);
	is(crashes($offset), $n - 1, "$label: by one crash less");
	ok($node->poll_query_until('postgres', "SELECT crashes = 4 FROM derive_state.views WHERE relid = '$view'::regclass"), "$label: which continues the series");
	sql("SELECT derive.repair('$view')");
	wait_derived($node, "$label: repaired");
	is(sql("SELECT crashes, retry_at IS NULL FROM derive_state.views WHERE relid = '$view'::regclass"), '0|t', "$label: a person has ended the series");
	is_exact($node, "$label: repaired");
}

# ---- what only the log has is not lost by kills: the worker stays away before a topic fails

my $offset = -s $node->logfile;
sql(q{CREATE DATABASE topics});
$node->safe_psql('topics', q{CREATE EXTENSION pg_derive; SELECT derive.create_topic('events', 'n int'); SELECT derive.wait()});
# it comes back once, and then not before it is told to
set_debug_point($node, "$whole,batch-view-applied:kill,come-back-2:skip");
eval { $node->psql('topics', q{SELECT derive.append('events', ROW(1))}) };
log_says($node, qr/pg_derive stays away from database "topics" for 5 s: the worker process crashed 2 times in a row, while changing the view/, $offset, 'a topic: the worker stays away');
comes_back($node);
$node->safe_psql('topics', q{SELECT derive.append('events', ROW(2))});
set_debug_point($node, $whole);
$node->poll_query_until('topics', 'SELECT state = $$ready$$ FROM derive.views') or die 'not back';
wait_derived($node, 'a topic: goes on', 'topics');
is($node->safe_psql('topics', 'SELECT string_agg(event_id || $$:$$ || n, $$ $$ ORDER BY event_id) FROM events'), '1:1 2:2', 'a topic: no event is lost');
unlike(slurp_file($node->logfile, $offset), qr/view "events" has failed/, 'a topic: it has not failed');

log_is_clean($node);
$node->stop;
done_testing();
