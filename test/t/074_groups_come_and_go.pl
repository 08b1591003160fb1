# Groups that lose their views, their workers or their places while others look at them, wait for
# them, or rely on them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('come_and_go', conf => "pg_derive.max_databases = 2\n");
my ($rc, $out, $err);

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sql(q{
CREATE TABLE t (id int PRIMARY KEY, k int, x int);
INSERT INTO t SELECT i, i % 7, i FROM generate_series(1, 100) i;
SELECT derive.create_group('a'), derive.create_group('b'), derive.create_group('c');
SELECT derive.create_view('d', 'SELECT k, count(*), sum(x) FROM t GROUP BY k');
SELECT derive.create_view('d2', 'SELECT max(x) FROM t');
CREATE ROLE reader;
GRANT SELECT ON d TO reader});

sub create
{
	my ($view, $group) = @_;
	sql("SET pg_derive.default_group = '$group'; SELECT derive.create_view('$view', 'SELECT id, x FROM t WHERE k < 4'); SELECT derive.wait('$view')");
	return;
}

sub all_right
{
	my ($label) = @_;
	sql('UPDATE t SET x = x + 1 WHERE id % 5 = 0');
	wait_derived($node, "$label: caught up");
	is_exact($node, $label);
	return;
}

# Stop the worker of a group while it sleeps between two batches.
sub stop_worker_of
{
	my ($group) = @_;
	my $sql = "SELECT pid FROM derive.worker WHERE group_name = '$group' AND pid IS NOT NULL";
	$node->poll_query_until('postgres', "SELECT EXISTS ($sql)") or die "no worker of $group";
	return stop_worker($node, sql($sql));
}

# It has no views.
sub has_left
{
	my ($group) = @_;
	$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM derive.worker WHERE group_name = '$group')") or die "worker of $group";
	return;
}

# A call in a session of its own; its output, errors included, is what finish() returns.
sub start
{
	my ($sql) = @_;
	my %call = (in => '', out => '');
	$call{h} = IPC::Run::start([ $node->installed_command('psql'), '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ],
		'<' => \$call{in}, '>' => \$call{out}, '2>&1', IPC::Run::timer(300));
	return \%call;
}

sub finish
{
	my ($call) = @_;
	$call->{h}->finish;
	return $call->{out} =~ s/\n\z//r;
}

sub is_waited
{
	my ($what) = @_;
	$node->poll_query_until('postgres', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%$what%' AND pid <> pg_backend_pid() AND wait_event_type IN ('Extension', 'IPC'))") or die "nobody waits for $what";
	return;
}

create('v', 'a');
all_right('two groups');

# ---- the last view of a group goes while others wait for all

{
	my $pid = stop_worker_of('default');
	sql('INSERT INTO t VALUES (1000, 1, 1)');
	my $wait = start(q{SELECT derive.wait(NULL, '60 s')});
	is_waited('derive.wait(NULL');
	sql('DROP MATERIALIZED VIEW v');
	has_left('a');
	let_go_on($pid);
	is(finish($wait), 't', 'a group is left before its turn');
	all_right('left');
}

# the same in its turn
for my $how ('DROP MATERIALIZED VIEW v', 'SELECT derive.release(\'v\'); DROP MATERIALIZED VIEW v')
{
	create('v', 'a');
	my $pid = stop_worker_of('a');
	sql('INSERT INTO t SELECT max(id) + 1, 1, 1 FROM t');
	my $wait = start(q{SELECT derive.wait(NULL, '60 s')});
	is_waited('derive.wait(NULL');
	sql($how);
	is(finish($wait), 't', "a group is left in its turn: $how");
	let_go_on($pid);
	has_left('a');
}

# ---- groups in which one may read nothing, or in which all stands still

{
	create('v', 'a');
	my $pid = stop_worker_of('a');
	sql('INSERT INTO t SELECT max(id) + 1, 1, 1 FROM t');
	is(sql(q{SET SESSION AUTHORIZATION reader; SELECT derive.wait(NULL, '60 s')}), 't', 'a group of which one may read nothing');
	is(sql(q{SET client_min_messages = error; SELECT derive.wait(NULL, '300 ms')}), 'f', 'who may read it waits');
	let_go_on($pid);
	sql(q{SELECT derive.wait(); SELECT derive.pause('v')});
	stop_worker($node, $pid);
	sql('INSERT INTO t SELECT max(id) + 1, 1, 1 FROM t');
	is(sql(q{SET client_min_messages = error; SELECT derive.wait(NULL, '60 s')}), 't', 'a group in which all stands still');
	let_go_on($pid);
	sql(q{SELECT derive.resume('v')});
	all_right('resumed');
	sql('DROP MATERIALIZED VIEW v');
}

# ---- requests to a group whose last view moves, and whose place is another one's

SKIP:
{
	skip 'no debug points in a release build', 1 unless has_debug_points($node);
	create('v', 'a');
	for ([ q{SELECT derive.move('v', 'default'); SELECT derive.wait_moved('v')}, qr/^v\|0\|0$/ ],
		[ 'DROP MATERIALIZED VIEW v', qr/^ERROR:  the view is no longer maintained$/m ])
	{
		my ($end, $says) = @$_;
		my $holder = background($node);
		$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('request-submit'))});
		my $verify = start(q{SET pg_derive.debug_point = 'request-submit:wait'; SELECT * FROM derive.verify('v')});
		waits_at($node, 'request-submit');
		sql($_) for split /; /, $end;
		create('w', 'b');		# there is no other place than that of the group that v was in
		$holder->quit;
		like(finish($verify), $says, "a request to a group that is left: $end");
		sql('DROP MATERIALIZED VIEW w');
		sql(q{SELECT derive.move('v', 'a')}) if $end =~ /move/;
		sql(q{SELECT derive.wait_moved('v')}) if $end =~ /move/;
	}
}
all_right('requests');

log_is_clean($node);
$node->stop;
done_testing();
