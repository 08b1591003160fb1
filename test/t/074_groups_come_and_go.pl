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

# The worker of a group that has just lost its last view gives back its place a moment later.
sub when_free
{
	my ($sql) = @_;
	until (eval { sql($sql); 1 })
	{
		die $@ unless $@ =~ /too many (?:databases|groups)/;
		usleep(10_000);
	}
	return;
}

sub create
{
	my ($view, $group) = @_;
	when_free("SET pg_derive.default_group = '$group'; SELECT derive.create_view('$view', 'SELECT id, x FROM t WHERE k < 4')");
	sql("SELECT derive.wait('$view')");
	return;
}

sub all_right
{
	my ($label) = @_;
	sql('UPDATE t SET x = x + 1 WHERE id % 5 = 0');
	wait_derived($node, "$label: caught up");
	is(sql(q{WITH o AS MATERIALIZED (SELECT view, oracle(view) FROM derive.views WHERE view::text <> 'h_a') SELECT * FROM o WHERE oracle <> 0}), '', "$label: every view equals its query");
	is(sql('SELECT count(*) FILTER (WHERE missing <> 0 OR extra <> 0), count(*) > 0 FROM derive.verify()'), '0|t', "$label: derive.verify()");
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
	my $wait = start(q{SELECT derive.wait(NULL, '180 s')});
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
	my $wait = start(q{SELECT derive.wait(NULL, '180 s')});
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
	is(sql(q{SET SESSION AUTHORIZATION reader; SELECT derive.wait(NULL, '180 s')}), 't', 'a group of which one may read nothing');
	is(sql(q{SET client_min_messages = error; SELECT derive.wait(NULL, '300 ms')}), 'f', 'who may read it waits');
	let_go_on($pid);
	sql(q{SELECT derive.wait(); SELECT derive.pause('v')});
	stop_worker($node, $pid);
	sql('INSERT INTO t SELECT max(id) + 1, 1, 1 FROM t');
	is(sql(q{SET client_min_messages = error; SELECT derive.wait(NULL, '180 s')}), 't', 'a group in which all stands still');
	let_go_on($pid);
	sql(q{SELECT derive.resume('v')});
	all_right('resumed');
	sql('DROP MATERIALIZED VIEW v');
}

# ---- requests to a group whose last view moves, and whose place is another one's

SKIP:
{
	skip 'no debug points in a release build', 1 unless has_debug_points($node);
	for ([ q{SELECT derive.move('v', 'default'); SELECT derive.wait_moved('v')}, qr/^v\|0\|0$/ ],
		[ 'DROP MATERIALIZED VIEW v', qr/^d\|0\|0\nd2\|0\|0$/, '' ],
		[ 'DROP MATERIALIZED VIEW v', qr/^ERROR:  the view is no longer maintained$/m ])
	{
		my ($end, $says, $which) = @$_;
		$which //= q{'v'};
		create('v', 'a') if sql(q{SELECT to_regclass('v') IS NULL}) eq 't';
		my $holder = background($node);
		$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('request-submit'))});
		my $verify = start(qq{SET pg_derive.debug_point = 'request-submit:wait'; SELECT * FROM derive.verify($which) ORDER BY view::text});
		waits_at($node, 'request-submit');
		sql($_) for split /; /, $end;
		create('w', 'b');		# there is no other place than that of the group that v was in
		$holder->quit;
		like(finish($verify), $says, "a request to a group that is left: $end");
		sql('DROP MATERIALIZED VIEW w');
		when_free(q{SELECT derive.move('v', 'a')}) if $end =~ /move/;
		sql(q{SELECT derive.wait_moved('v')}) if $end =~ /move/;
	}
}
all_right('requests');

# ---- a replica identity that views of two groups need no more

sub identity_of
{
	my ($table) = @_;
	return sql("SELECT relreplident FROM pg_class WHERE oid = '$table'::regclass");
}

sub gets_identity
{
	my ($table, $identity) = @_;
	return $node->poll_query_until('postgres', "SELECT relreplident = '$identity' FROM pg_class WHERE oid = '$table'::regclass");
}

{
	sql(q{
		CREATE TABLE n (k int NOT NULL, x int); INSERT INTO n SELECT i, i FROM generate_series(1, 50) i;
		CREATE TABLE p (k int NOT NULL, x int) PARTITION BY LIST (k); CREATE TABLE p1 PARTITION OF p DEFAULT;
		CREATE TABLE h (k int NOT NULL, x int);
		INSERT INTO p SELECT * FROM n; INSERT INTO h SELECT * FROM n;
		SELECT derive.create_view('n_default', 'SELECT k, x FROM n'), derive.create_view('p_default', 'SELECT sum(x) FROM p'),
			derive.create_view('h_default', 'SELECT max(x) FROM h');
		SET pg_derive.default_group = 'a';
		SELECT derive.create_view('n_a', 'SELECT count(*), max(x) FROM n'), derive.create_view('p_a', 'SELECT k, x FROM p'),
			derive.create_view('h_a', 'history', 'h', key => '{k}')});
	all_right('tables without a key');
	is(identity_of('n') . identity_of('p1') . identity_of('h'), 'fff', 'they log old rows');
	sql('ALTER TABLE n ADD PRIMARY KEY (k); ALTER TABLE p ADD PRIMARY KEY (k); ALTER TABLE h ADD PRIMARY KEY (k)');
	ok(gets_identity('n', 'd'), 'two SELECTs in two groups need the key only');
	ok(gets_identity('p1', 'd'), 'a partition likewise');
	sql('UPDATE n SET x = x + 1 WHERE k % 3 = 0; DELETE FROM p WHERE k % 4 = 0; UPDATE h SET x = x - 1 WHERE k % 5 = 0');
	all_right('tables with a key');
	is(identity_of('h'), 'f', 'a history in another group needs more');
	sql('DROP MATERIALIZED VIEW h_a');
	ok(gets_identity('h', 'd'), 'until it is dropped');
	sql('DROP TABLE n, p, h CASCADE');
	has_left('a');
}

# ---- what belongs to views that are gone, while the worker of the lowest group is away

{
	create('v', 'a');
	create('w', 'a');
	sql(q{SELECT derive.wait(); SELECT derive.subscribe('v', 'one'); SELECT count(*) FROM derive.poll('one', timeout => '60 s'); UPDATE t SET x = x + 1; SELECT derive.wait()});
	my $pid = stop_worker_of('default');
	when_free(q{SELECT derive.move('v', 'default')});
	is(sql(q{SELECT count(*) FROM derive_state.moves m WHERE m.view = 'v'::regclass}), '1', 'a move that is planned');
	sql('DROP MATERIALIZED VIEW v');
	for my $table ('moves', 'changes')
	{
		ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM derive_state.$table)"), "nothing of a view that is gone is in $table");
	}
	let_go_on($pid);
	sql('DROP MATERIALIZED VIEW w');
	all_right('swept');
	has_left('a');
}

# ---- no more groups than are allowed

sub wrong
{
	return sql(q{SELECT coalesce(string_agg(setting, ' ' ORDER BY setting), '') FROM derive.check() WHERE NOT ok});
}

# derive.check() looks for the launcher, too.
sub restart
{
	$node->restart;
	$node->poll_query_until('postgres', q{SELECT ok FROM derive.check() WHERE setting = 'max_worker_processes'}) or die 'no launcher';
	return;
}

$node->append_conf('postgresql.conf', "pg_derive.max_databases = 6\npg_derive.max_groups = 3\n");
restart();
create($_->[0], $_->[1]) for [ 'v', 'a' ], [ 'w', 'b' ];
is(wrong(), '', 'as many as are allowed');
($rc, $out, $err) = $node->psql('postgres', q{SET pg_derive.default_group = 'c'; SELECT derive.create_view('u', 'SELECT min(x) FROM t')});
like($err, qr/ERROR:  too many groups with maintained views in database "postgres"\nDETAIL:  "pg_derive\.max_groups" must .*; it is "3"\.\nHINT:  .*"pg_derive\.max_groups"/, 'a view in one more');
($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.move('v', 'c')});
like($err, qr/ERROR:  too many groups with maintained views/, 'a move to one more');
sql('CREATE DATABASE other');
is($node->safe_psql('other', q{SET client_min_messages = error; CREATE EXTENSION pg_derive; CREATE TABLE t AS SELECT 1 AS a; SELECT derive.create_view('v', 'SELECT count(*) FROM t'); SELECT derive.wait()}),
	"v\nt", 'other databases have their places');
sql('DROP MATERIALIZED VIEW w');
create('u', 'c');
all_right('one of them left');
$node->append_conf('postgresql.conf', "pg_derive.max_groups = 1\n");
restart();
is(wrong(), 'pg_derive.max_groups', 'fewer are allowed');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM derive.worker WHERE pid IS NOT NULL}) or die;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM derive.worker WHERE activity = 'waiting for a place among the groups of this database (pg_derive.max_groups)'}), 'what the others wait for')
  or diag(sql('SELECT * FROM derive.worker'));
is($node->safe_psql('other', q{INSERT INTO t VALUES (2); SELECT derive.wait(NULL, '180 s'); TABLE v}), "t\n2", 'which is nothing to other databases');
$node->append_conf('postgresql.conf', "pg_derive.max_groups = 3\n");
$node->reload;
all_right('more are allowed again');

# As many places as there are groups, those included into which views are about to move.
{
	my $pid = stop_worker_of('a');
	sql('DROP MATERIALIZED VIEW u');
	has_left('c');
	when_free(q{SELECT derive.move('v', 'b')});
	$node->stop('immediate');
	$node->append_conf('postgresql.conf', "max_worker_processes = 0\npg_derive.max_databases = 2\npg_derive.max_groups = 2\n");
	$node->start;
	is(wrong(), 'max_worker_processes pg_derive.max_databases pg_derive.max_groups', 'three groups need three places');
	$node->append_conf('postgresql.conf', "max_worker_processes = 24\npg_derive.max_databases = 6\npg_derive.max_groups = 4\n");
	$node->restart;
	is(sql(q{SELECT derive.wait_moved('v', '180 s')}), 't', 'and the view moves');
	all_right('at the end');
}

# A worker that is told to end stores where it is; its group has been dropped meanwhile.
sql(q{SELECT derive.create_group('short')});
create('last', 'short');
sql('CREATE TABLE nobody_reads (i int)');
for my $i (1 .. 5)
{
	sql("INSERT INTO nobody_reads VALUES ($i)");
	usleep(20_000);
}
my $pid = stop_worker($node, sql(q{SELECT active_pid FROM pg_replication_slots JOIN derive.groups ON slot = slot_name WHERE group_name = 'short'}));
sql(q{DROP MATERIALIZED VIEW last; SELECT derive.drop_group('short')});
sql("SELECT pg_terminate_backend($pid)");
let_go_on($pid);
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), 'a worker whose group was dropped ends');
all_right('without the group');

# The same of a group whose worker is just storing where it is, which a session can do as well.
sql(q{SELECT derive.create_group('shorter')});
create('last', 'shorter');
sql('DROP MATERIALIZED VIEW last');
has_left('shorter');
my $writer = background($node);
my $kind = q{UPDATE pg_class SET relkind = '%s', relhasrules = %s WHERE oid = 'derive_state.position'::regclass};
$writer->query_safe('BEGIN; ' . sprintf($kind, 'r', 'false'));
$writer->query_safe(q{UPDATE derive_state.position p SET committed_at = now() FROM derive_state.groups g WHERE g.number = p.of_group AND g.name = 'shorter'});
$writer->query_safe(sprintf($kind, 'm', 'true'));
my $drop = start(q{SELECT derive.drop_group('shorter')});
$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%drop_group%' AND pid <> pg_backend_pid() AND wait_event_type = 'Lock')}) or die 'nobody drops the group';
$writer->query_safe('COMMIT');
is(finish($drop), '', 'it can be dropped');
$writer->quit;
all_right('without that one');

log_is_clean($node);
$node->stop;
done_testing();
