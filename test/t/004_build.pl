# Building views: under load, killed half-way, dropped half-way, twice at once,
# rolled back; writers are never blocked.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('build');
my ($rc, $out, $err);

$node->safe_psql('postgres', q{
CREATE TABLE big (id int PRIMARY KEY, g int, v bigint, t text);
INSERT INTO big SELECT i, i % 1000, i, md5(i::text) FROM generate_series(1, 200000) i;
CREATE TABLE dim (g int PRIMARY KEY, name text);
INSERT INTO dim SELECT i, 'g' || i % 50 FROM generate_series(0, 999) i;
});

# Several builds at once while writers write.
load_tables($node);
wait_derived($node);
my $load = start_load($node, 5, 'before');
$load->finish;
# a writer that waits for a lock for long is in the log
my $offset = -s $node->logfile;
$node->append_conf('postgresql.conf', "log_lock_waits = on\ndeadlock_timeout = 5s\n");
$node->reload;
$load = start_load($node, 120, 'during');
$node->safe_psql('postgres', q{
SELECT derive.create_view('b1', 'SELECT g, count(*), sum(v), max(t) FROM big GROUP BY g');
SELECT derive.create_view('b2', 'SELECT d.name, count(*), sum(b.v) FROM big b JOIN dim d USING (g) GROUP BY d.name');
SELECT derive.create_view('b3', 'SELECT id, t FROM big WHERE v % 7 = 0');
SELECT derive.create_view('b4', 'SELECT a.branch, count(*), sum(h.delta) FROM accounts a JOIN history h ON h.account = a.id GROUP BY a.branch');
});
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', "SET lock_timeout = '10s'; UPDATE big SET g = (g + $i) % 1000 WHERE id % 100 = $i; DELETE FROM big WHERE id = $i * 77; INSERT INTO big VALUES (1000000 + $i, 5, 5, NULL)");
}
wait_derived($node, 'four builds under load');
stop_load($load, 'during');
for my $when ('before', 'during')
{
	note(sprintf('writers %s the builds: median %s ms, p99 %s ms, maximum %s ms, %d transactions', $when, latencies($when)));
}
unlike(slurp_file($node->logfile, $offset), qr/client backend .* still waiting for \w+ on relation/, 'no writer was blocked');
$node->append_conf('postgresql.conf', "log_lock_waits = off\ndeadlock_timeout = 1s\n");
$node->reload;
wait_derived($node);
is_exact($node, 'builds under load');

# In a transaction: table, rows and view together; and rolled back.
$node->safe_psql('postgres', q{
BEGIN; CREATE TABLE together (a int, b text); INSERT INTO together VALUES (1, 'x'), (1, 'y');
SELECT derive.create_view('together_v', 'SELECT a, count(*), string_agg(b, '','' ORDER BY b) FROM together GROUP BY a');
INSERT INTO together VALUES (2, 'z'); COMMIT; INSERT INTO together VALUES (2, 'zz');
BEGIN; SELECT derive.create_view('never', 'SELECT a FROM together'); ROLLBACK;
BEGIN; SAVEPOINT s; SELECT derive.create_view('never', 'SELECT a FROM together'); ROLLBACK TO s; COMMIT;
});
wait_derived($node, 'table, rows and view in one transaction');
is_exact($node, 'one transaction');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive_state.view_states WHERE name::text = 'never'}), '0', 'rolled back declaration');

# The same view twice, one after the other
($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.create_view('b1', 'SELECT 1 AS one FROM big')});
isnt($rc, 0, 'a name that exists is refused');
like($err, qr/already exists/, 'and the reason');
($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.maintain('b1')});
isnt($rc, 0, 'maintained twice is refused');

# Taking over existing materialized views, populated or not; giving back.
$node->safe_psql('postgres', q{
CREATE MATERIALIZED VIEW mine AS SELECT g, count(*) AS n FROM big GROUP BY g;
CREATE UNIQUE INDEX mine_g ON mine (g);
CREATE MATERIALIZED VIEW empty AS SELECT name FROM dim WITH NO DATA;
UPDATE big SET g = 1 WHERE id < 100;
SELECT derive.maintain('mine'); SELECT derive.maintain('empty');
});
wait_derived($node, 'taken over');
is_exact($node, 'taken over');
$node->safe_psql('postgres', q{SELECT derive.release('mine'); DELETE FROM big WHERE g = 1});
wait_derived($node);
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive_state.view_states WHERE name::text LIKE '%mine'}), '0', 'released');
is($node->safe_psql('postgres', q{SELECT n > 0 FROM mine WHERE g = 1}), 't', 'the released view stands still');
$node->safe_psql('postgres', 'REFRESH MATERIALIZED VIEW CONCURRENTLY mine; DROP MATERIALIZED VIEW mine');

# An empty table, a view of 200 columns, names that need quotes, a row of many MB.
$node->safe_psql('postgres', 'CREATE TABLE nothing (a int, b text); '
	  . q{SELECT derive.create_view('nothing_n', 'SELECT count(*), sum(a), max(b) FROM nothing'); }
	  . q{SELECT derive.create_view('wide', 'SELECT } . join(', ', map { "a + $_ AS c$_" } 1 .. 200) . q{ FROM nothing'); }
	  . q{CREATE SCHEMA "Mixed Case"; CREATE TABLE "Mixed Case"."the ""table""" ("Key" int PRIMARY KEY, "a b" text); }
	  . q{SELECT derive.create_view('"Mixed Case"."My ""view"""', 'SELECT "a b", count(*) AS "N" FROM "Mixed Case"."the ""table""" GROUP BY "a b"');});
$node->safe_psql('postgres', q{
INSERT INTO "Mixed Case"."the ""table""" VALUES (1, 'x'), (2, 'x'), (3, NULL);
SELECT derive.create_view('long', 'SELECT a, b FROM nothing WHERE length(b) > 1000000');
INSERT INTO nothing SELECT 1, string_agg(md5(i::text), '') FROM generate_series(1, 640000) i;
INSERT INTO nothing VALUES (2, 'short');
UPDATE nothing SET a = a + 1;
});
wait_derived($node, 'odd shapes');
is_exact($node, 'odd shapes');
$node->safe_psql('postgres', 'DELETE FROM nothing WHERE length(b) > 1000000');
wait_derived($node);
is_exact($node, 'a large row is gone');

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);

	# Stopped before it fills: writers go on, the view can be dropped, the builder can be killed.
	my $holder = background($node);
	for my $point (qw(build-before-identity build-before-fill build-after-fill))
	{
		$holder->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
		set_debug_point($node, "$point:wait");
		$node->safe_psql('postgres', q{SELECT derive.create_view('stopped', 'SELECT g % 10 AS g, count(*) FROM big GROUP BY 1')});
		my $pid = waits_at($node, $point);
		$node->safe_psql('postgres', q{SET lock_timeout = '5s'; UPDATE big SET g = g + 1 WHERE id % 50 = 0; INSERT INTO big VALUES (-1, 3, 3, 'new'); DELETE FROM big WHERE id = -1});
		pass("$point: writers are not blocked");
		is($node->safe_psql('postgres', q{SELECT state FROM derive.views WHERE view = 'stopped'::regclass}), 'building', "$point: state");
		isnt($node->safe_psql('postgres', q{SELECT count(*) FROM derive.progress}), '0', "$point: progress");
		is($node->safe_psql('postgres', q{SELECT derive.wait('b1', '180 s')}), 't', "$point: other views go on");

		# ended by an administrator: built again by itself
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
		set_debug_point($node, '');
		$holder->query_safe("SELECT pg_advisory_unlock_all()");
		wait_derived($node, "$point: built after its builder was ended");
		is_exact($node, "$point: builder ended");
		$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW stopped');

		# kill -9 half-way
		$holder->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
		set_debug_point($node, "$point:wait");
		$node->safe_psql('postgres', q{SELECT derive.create_view('stopped', 'SELECT g % 10 AS g, count(*) FROM big GROUP BY 1')});
		$pid = waits_at($node, $point);
		kill_process($pid);
		comes_back($node);
		$holder->reconnect_and_clear;
		set_debug_point($node, '');
		wait_derived($node, "$point: built after kill -9");
		is_exact($node, "$point: kill -9");
		$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW stopped');

		# released and maintained again half-way: the builder is none of this one
		$holder->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
		set_debug_point($node, "$point:wait");
		$node->safe_psql('postgres', q{SELECT derive.create_view('stopped', 'SELECT g % 10 AS g, count(*) FROM big GROUP BY 1')});
		waits_at($node, $point);
		my $again = background($node);
		$again->query_until(qr/go/, "\\echo go\nSELECT derive.release('stopped');\nSELECT pg_advisory_lock(1);\nSELECT derive.maintain('stopped');\n");
		$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_locks WHERE (locktype = 'advisory' AND objid = 1 AND granted) OR (relation = 'stopped'::regclass AND NOT granted)});
		$node->safe_psql('postgres', q{UPDATE big SET g = g + 1 WHERE id % 70 = 0; INSERT INTO big VALUES (-2, 4, 4, 'meanwhile')});
		set_debug_point($node, '');
		$holder->query_safe('SELECT pg_advisory_unlock_all()');
		$again->quit;
		$node->safe_psql('postgres', q{UPDATE big SET g = g + 1 WHERE id % 90 = 0; DELETE FROM big WHERE id = -2});
		wait_derived($node, "$point: built after it was released and maintained again");
		is_exact($node, "$point: released and maintained again");
		$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW stopped');

		# dropped half-way
		$holder->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
		set_debug_point($node, "$point:wait");
		$node->safe_psql('postgres', q{SELECT derive.create_view('stopped', 'SELECT g % 10 AS g, count(*) FROM big GROUP BY 1')});
		waits_at($node, $point);
		my $dropper = background($node);
		$dropper->query_until(qr/go/, "\\echo go\nDROP MATERIALIZED VIEW stopped;\n");
		$holder->query_safe('SELECT pg_advisory_unlock_all()');
		set_debug_point($node, '');
		$dropper->quit;
		is($node->safe_psql('postgres', q{SELECT to_regclass('stopped') IS NULL}), 't', "$point: dropped while it was built");
		wait_derived($node);
		is_exact($node, "$point: the others after the drop");
	}
	$holder->quit;
}

# A builder that may take little of a processor rests, until it may take more.
$node->safe_psql('postgres', 'ALTER SYSTEM SET pg_derive.build_share = 0.01; SELECT pg_reload_conf()');
wait_derived($node);
$node->safe_psql('postgres', q{SELECT derive.create_view('rested', 'SELECT x.g, count(*) AS n FROM generate_series(1, 1000) s(i) CROSS JOIN big x WHERE x.id < 3000 GROUP BY x.g')});
my $event = $node->pg_version >= 17 ? 'DeriveBuildPause' : 'Extension';
ok($node->poll_query_until('postgres', qq{SELECT count(*) = 1 FROM pg_stat_activity, derive.progress WHERE backend_type = 'pg_derive builder' AND wait_event = '$event' AND phase = 'filling the view'}), 'a builder rests');
$node->safe_psql('postgres', 'UPDATE big SET g = g + 1 WHERE id < 10');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET pg_derive.build_share; SELECT pg_reload_conf()');
wait_derived($node, 'built after a rest');
is_exact($node, 'built after a rest');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW rested');

# A build keeps to the server's limit of temporary files, so that a query cannot fill the disk: a recursion, say.
$node->safe_psql('postgres', q{
CREATE TABLE edge (a int, b int, PRIMARY KEY (a, b));
INSERT INTO edge VALUES (1, 2), (2, 1)});
my $offset_of_limit = -s $node->logfile;
$node->append_conf('postgresql.conf', "temp_file_limit = '4MB'\nwork_mem = '64kB'\n");
$node->reload;
$node->safe_psql('postgres', q{SELECT derive.create_view('endless',
	'WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT b FROM r JOIN edge ON a = n) SELECT n FROM r')});
ok($node->wait_for_log(qr/could not build view "endless": temporary file size exceeds "?temp_file_limit"?.*could not build view "endless": temporary/s, $offset_of_limit),
	'a query without end gives up at the limit, each time, and it is said why');
$node->append_conf('postgresql.conf', "temp_file_limit = -1\nwork_mem = '4MB'\n");
$node->reload;
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW endless; DROP TABLE edge');
wait_derived($node, 'after a limit of temporary files');
is_exact($node, 'after a limit of temporary files');

# Nothing is left behind by all of this.
$node->safe_psql('postgres', q{DROP TABLE big, dim, accounts, history, branches, together, nothing CASCADE; DROP SCHEMA "Mixed Case" CASCADE});
is($node->safe_psql('postgres', 'SELECT count(*) FROM derive.views'), '0', 'dropped tables take their views along');
is($node->safe_psql('postgres', 'SELECT count(*) FROM derive_state.relations'), '0', 'and the internal tables');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM pg_class c WHERE relnamespace = 'derive_state'::regnamespace AND relkind IN ('r', 'm')
	AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')}),
	'0', 'no table is left in the state schema');

log_is_clean($node);
$node->stop;
done_testing();
