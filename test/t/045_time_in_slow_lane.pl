# Views whose queries compare with now() and that are computed as a whole: they stand at a
# time of their own, in the slow lane, and are exact at it, whoever dies meanwhile.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('time_lane', conf => "pg_derive.time_resolution = 50ms\npg_derive.recompute_share = 1\n");
plan skip_all => 'a release build has no clock of its own' unless has_debug_points($node);

my $whole = join(',', map { "incremental-$_:skip" } qw(recent sums));
my ($hours, $id) = (0, 1000);

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub point { return set_debug_point($node, join(',', $whole, @_)) }

sub set_clock
{
	($hours) = @_;
	$node->append_conf('postgresql.conf', 'pg_derive.debug_clock_offset = ' . int($hours * 3600) . "\n");
	$node->reload if defined $node->{_pid};
	return;
}

sub change
{
	$id++;
	sql("BEGIN; INSERT INTO e VALUES ($id, $id % 5, now() + interval '$hours hours 10 minutes'); UPDATE e SET g = (g + 1) % 5 WHERE id % 50 = $id % 50; DELETE FROM e WHERE id = $id - 5; COMMIT");
	return;
}

point();
sql(q{
CREATE TABLE e (id int PRIMARY KEY, g int, at timestamptz);
CREATE INDEX ON e (at);
INSERT INTO e SELECT i, i % 5, now() + i * interval '1 hour' + interval '30 minutes' FROM generate_series(-200, 199) i;
SELECT derive.create_view('recent', $$SELECT id, g, at FROM e WHERE at > now() - interval '4 hours' AND at <= now()$$);
SELECT derive.create_view('sums', $$SELECT g, count(*) AS n, max(at) AS m FROM e WHERE at > now() - interval '24 hours' GROUP BY g HAVING max(at) > now()$$);
SELECT derive.create_view('over', 'SELECT g, count(*) AS n FROM recent GROUP BY g');
SELECT derive.create_view('moving', $$SELECT id, at FROM e WHERE at > now() - interval '4 hours' AND at <= now()$$);
SELECT derive.create_view('timeless', 'SELECT g, count(*) AS n FROM e GROUP BY g')});
wait_derived($node, 'built');
is(sql('SELECT string_agg(view::regclass::text, $$ $$ ORDER BY view::regclass::text) FROM derive_state.lane'), 'over recent sums', 'these are in the lane');

# A view's query, with the time at which the view says that it stands in place of now().
sub differs
{
	my ($view) = @_;
	my $at = "(SELECT as_of FROM derive.views WHERE view = '$view'::regclass)";
	my $query = sql("SELECT rtrim(pg_get_viewdef('$view'::regclass), ';')") =~ s/now\(\)/$at/gr;
	return sql("SELECT count(*) FROM ((TABLE $view EXCEPT ALL ($query)) UNION ALL (($query) EXCEPT ALL TABLE $view)) d");
}

sub all_exact
{
	my ($label) = @_;
	for my $view (qw(recent sums moving))
	{
		ok( $node->poll_query_until('postgres',
				"SELECT state = 'ready' AND coalesce(abs(extract(epoch FROM as_of - now()) / 3600 - $hours) < 0.3, false) FROM derive.views WHERE view = '$view'::regclass"),
			"$label: $view goes by the clock");
	}
	wait_derived($node, $label);
	is(differs($_), '0', "$label: $_ is its query at its time") for qw(recent sums moving);
	is(sql(q{SELECT string_agg(concat_ws(' ', view, missing, extra), ', ') FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', "$label: derive.verify()");
	is(sql(q{SELECT string_agg(concat_ws(' ', view, state, error), ', ') FROM derive.views WHERE state <> 'ready' OR error IS NOT NULL}), '', "$label: all are ready");
	return;
}

all_exact('at first');
for my $clock (3, 50, -20)
{
	set_clock($clock);
	change();
	all_exact("clock $clock");
}

# The lane is held while the others go on: it stands at its old time, and says so.
my $holder = background($node);
for my $at (qw(lane-locked lane-snapshot lane-computed lane-before-commit))
{
	$holder->query_safe("SELECT pg_advisory_lock(hashtext('$at'))");
	point("$at:wait");
	change();
	ok(waits_at($node, $at), "$at: the lane waits");
	set_clock($hours + 30);
	change();
	ok($node->poll_query_until('postgres', "SELECT coalesce(abs(extract(epoch FROM as_of - now()) / 3600 - $hours) < 0.3, false) FROM derive.views WHERE view = 'moving'::regclass"),
		"$at: the others have gone on");
	is(differs($_), '0', "$at: $_ is its query at its time") for qw(moving);

	# it stands at its table's rows of then, too
	is(sql(q{SELECT DISTINCT as_of < (SELECT as_of FROM derive.views WHERE view = 'moving'::regclass) - interval '20 hours' FROM derive.views WHERE view IN ('recent'::regclass, 'sums'::regclass)}),
		't', "$at: those in the lane say that they have not");
	change();
	point();
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	all_exact("$at: let go");
}
$holder->quit;

# The lane dies at each step, and the worker while the lane computes.
for my $at (qw(lane-locked lane-snapshot lane-computed lane-before-commit lane-committed batch-applied batch-committed))
{
	my $offset = -s $node->logfile;
	point("$at:kill");
	set_clock($hours - 17);
	eval { change() };
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if slurp_file($node->logfile, $offset) =~ /was terminated by signal 9/;
		usleep(100_000);
	}
	like(slurp_file($node->logfile, $offset), qr/was terminated by signal 9/, "$at: killed");
	point();
	comes_back($node);
	resume_failed($node);
	change();
	all_exact("$at: killed");
}

# All of the server, while time goes on without it.
for my $mode (qw(immediate fast))
{
	change();
	$node->stop($mode);
	set_clock($hours + 40);
	$node->start;
	change();
	all_exact("stop $mode");
}

my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC:|TRAP:|problem in alloc set|signal (?:6|11)\b|its contents were not as expected/, 'server log');
$node->stop;
done_testing();
