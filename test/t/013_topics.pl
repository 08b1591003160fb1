# Topics under concurrent writers, with kill -9 again and again: every event that
# was committed is there once, in its place, and none of the others.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = $ENV{DERIVE_TEST_KILLS} || 8;
my $node = derive_node('topics', conf => "fsync = on\nwork_mem = 64kB\npg_derive.cleanup_interval = 50\n");

# What a table says was sent is what should be in the topics.
$node->safe_psql('postgres', q{
CREATE SEQUENCE ids;
CREATE TABLE sent (id bigint PRIMARY KEY, k integer, xid xid8 DEFAULT pg_current_xact_id(), n serial);
CREATE TABLE names (k integer PRIMARY KEY, name text);
INSERT INTO names SELECT i, 'name ' || i FROM generate_series(0, 19) i;
SELECT derive.create_topic('events', 'id bigint, k int, xid xid8, n int');
SELECT derive.create_topic('newest', 'id bigint, k int', key => '{k}', options => '{"compact": true}');
SELECT derive.create_topic('few', 'id bigint', options => '{"retention_rows": 100}');
});
wait_derived($node, 'topics are ready');
$node->safe_psql('postgres', q{
SELECT derive.create_view('by_name', 'SELECT m.name, count(*), max(e.id) FROM events e JOIN names m ON m.k = e.k GROUP BY m.name');
SELECT derive.create_view('per_key', 'SELECT k, count(*) AS n, min(event_id) FROM events GROUP BY k');
SELECT derive.create_view('newest_sum', 'SELECT count(*), sum(id) FROM newest');
SELECT derive.create_view('few_sum', 'SELECT count(*), sum(id) FROM few');
});
wait_derived($node, 'views are built');

my $script = q{
\set k random(0, 19)
\set d random(1, 100)
BEGIN;
WITH s AS (INSERT INTO sent (id, k) SELECT nextval('ids'), :k FROM generate_series(1, 1 + :d % 3) RETURNING *)
SELECT derive.append('events', ROW(id, k, xid, n)), derive.append('newest', ROW(id, k)), derive.append('few', ROW(id)) FROM s;
SAVEPOINT a;
SELECT derive.append('events', '{"id": -1}');
UPDATE names SET name = 'never' WHERE k = :k;
ROLLBACK TO a;
UPDATE names SET name = 'name ' || :d % 10 WHERE k = :k AND :d < 5;
SAVEPOINT b;
WITH s AS (INSERT INTO sent (id, k) VALUES (nextval('ids'), :k) RETURNING *)
SELECT derive.append('events', to_jsonb(s)), derive.append('newest', ROW(id, k)), derive.append('few', ROW(id)) FROM s;
RELEASE b;
COMMIT;
BEGIN;
SELECT derive.append('events', '{"id": -2}');
ROLLBACK;
};

sub start_writers
{
	my ($seconds) = @_;
	return start_load($node, $seconds, undef, $script);
}

my $check = q{
SELECT (SELECT count(*) FROM (SELECT id, k, xid, n FROM events EXCEPT ALL SELECT id, k, xid, n FROM sent) d) || ' too many, '
	|| (SELECT count(*) FROM (SELECT id, k, xid, n FROM sent EXCEPT ALL SELECT id, k, xid, n FROM events) d) || ' missing, '
	|| (SELECT count(*) - max(event_id) FROM events) || ' gaps, '
	|| (SELECT count(*) FROM (SELECT event_lsn, n, lag(event_lsn) OVER w AS before, lag(n) OVER w AS before_n FROM events
		WINDOW w AS (PARTITION BY xid ORDER BY event_id)) d WHERE event_lsn <= before OR n <= before_n) || ' out of order, '
	|| (SELECT count(*) FROM (SELECT xid, max(event_id) - min(event_id) + 1 - count(*) AS others FROM events GROUP BY xid) d WHERE others <> 0)
	|| ' transactions torn';
};

# The last event of each key, and the last 100, in the order of commits.
my $newest = q{
WITH last AS (SELECT DISTINCT ON (k) id, k FROM events ORDER BY k, event_id DESC)
SELECT (SELECT count(*) FROM ((TABLE last EXCEPT ALL SELECT id, k FROM newest) UNION ALL (SELECT id, k FROM newest EXCEPT ALL TABLE last)) d)
	|| ' wrong keys, ' || (SELECT max(event_id) FROM newest) - (SELECT max(event_id) FROM events) || ' behind';
};
my $few = q{
WITH last AS (SELECT id FROM events ORDER BY event_id DESC LIMIT 100)
SELECT count(*) FROM ((TABLE last EXCEPT ALL SELECT id FROM few) UNION ALL (SELECT id FROM few EXCEPT ALL TABLE last)) d
};

sub topics_are_right
{
	my ($label) = @_;
	wait_derived($node, "$label: caught up");
	is($node->safe_psql('postgres', $check), '0 too many, 0 missing, 0 gaps, 0 out of order, 0 transactions torn', "$label: events");
	is($node->safe_psql('postgres', $newest), '0 wrong keys, 0 behind', "$label: newest events of keys");
	$node->poll_query_until('postgres', 'SELECT count(*) <= 100 FROM few') or die 'retention';
	is($node->safe_psql('postgres', $few), '0', "$label: newest events");
	for my $view ('by_name', 'per_key', 'newest_sum', 'few_sum')
	{
		is($node->safe_psql('postgres', "SELECT oracle('$view')"), '0', "$label: view $view");
	}
	is($node->safe_psql('postgres', 'SELECT sum(missing + extra) FROM derive.verify() v WHERE missing IS NOT NULL'), '0', "$label: derive.verify()");
	return;
}

for my $i (1 .. $rounds)
{
	# In the second half a crash also takes back what clients were told is committed.
	if ($i == int($rounds / 2) + 1)
	{
		$node->append_conf('postgresql.conf', "synchronous_commit = off\nwal_writer_delay = 10s\n");
		$node->reload;
	}
	my $load = start_writers(600);
	my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM sent');
	$node->poll_query_until('postgres', "SELECT count(*) > $n + 50 FROM sent") or die 'no load';
	$node->safe_psql('postgres', qq{
BEGIN;
WITH s AS (INSERT INTO sent (id, k) VALUES (nextval('ids'), 5) RETURNING *)
SELECT derive.append('events', ROW(id, k, xid, n)), derive.append('newest', ROW(id, k)), derive.append('few', ROW(id)) FROM s;
PREPARE TRANSACTION 'p$i';
});
	usleep(rand 300_000);
	my $how = crash($node, $i);
	stop_load($load);
	$node->safe_psql('postgres', ($i % 2 ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'p$i'");
	topics_are_right("kill $i ($how)");
}

# Topics that are being made while others append to them: nobody's event is lost.
my $load = start_writers(5);
for my $i (1 .. 5)
{
	$node->safe_psql('postgres', "SELECT derive.create_topic('young$i', 'a int')");
	my @sessions = map { background($node) } 1 .. 3;
	$_->{stdin} .= "SELECT count(derive.append('young$i', ROW(g))) FROM generate_series(1, 10) g;\n" for @sessions;
	$_->quit for @sessions;
}
stop_load($load);
wait_derived($node, 'young topics');
is($node->safe_psql('postgres', join ' UNION ALL ', map { "SELECT count(*) FROM young$_" } 1 .. 5), join("\n", (30) x 5), 'young topics have all events');

# A dump has the definition of a topic, not its events.
my $dump = "$PostgreSQL::Test::Utils::tmp_check/topics.dump";
command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
$node->safe_psql('restored', q{SELECT derive.maintain(c.oid) FROM pg_class c WHERE relname IN ('events', 'newest') AND NOT EXISTS (SELECT FROM derive.views WHERE view = c.oid)});
wait_derived($node, 'restored topics', 'restored');
$node->safe_psql('restored', q{SELECT derive.append('events', ROW(1, 2, NULL::xid8, 3)), derive.append('newest', ROW(1, 2))});
wait_derived($node, 'appended to restored topics', 'restored');
is($node->safe_psql('restored', 'SELECT event_id, id, k, n FROM events'), '1|1|2|3', 'restored topic');
$node->safe_psql('restored', 'DROP EXTENSION pg_derive CASCADE');

# Where nobody would ever read the log, appending is refused.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
my ($rc, $stdout, $stderr) = $node->psql('postgres', q{SELECT derive.append('events', '{}')});
like($stderr, qr/shared_preload_libraries/, 'no appending without the service');

# The log is lost: topics keep what they have, and go on; a number is left out.
my $before = $node->safe_psql('postgres', q{
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE plugin = 'pg_derive' AND database = 'postgres';
SELECT max(event_id) FROM events;
});
$before =~ s/^\n*//;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
$node->restart;
wait_derived($node, 'after the loss of the log');
is($node->safe_psql('postgres', 'SELECT max(event_id), count(*) FROM events'), "$before|$before", 'events are still there');
$node->safe_psql('postgres', q{SELECT derive.append('events', '{}')});
wait_derived($node, 'one more');
is($node->safe_psql('postgres', 'SELECT max(event_id), count(*) FROM events'), ($before + 2) . '|' . ($before + 1), 'the topic goes on');

log_is_clean($node);
$node->stop;
done_testing();
