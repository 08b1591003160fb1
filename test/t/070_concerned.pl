# A batch locks and looks at the views that it has changes for, and at no others.  Whatever happens
# to the others between its locks and its snapshot, when it commits each view equals its query or
# says why it does not.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('concerned', conf => "pg_derive.batch_interval = 0\npg_derive.time_resolution = '1h'\npg_derive.cleanup_interval = '1h'\nautovacuum = off\n");
plan skip_all => 'a release build has no debug points' unless has_debug_points($node);

$node->safe_psql('postgres', q{
CREATE TABLE a (id serial PRIMARY KEY, g int DEFAULT 1);
CREATE TABLE b (id serial PRIMARY KEY, g int DEFAULT 1, unused int DEFAULT 5);
CREATE TABLE c (id serial PRIMARY KEY, g int DEFAULT 1);
CREATE TABLE late (y int) INHERITS (c);
ALTER TABLE late NO INHERIT c;
CREATE TABLE p (k int, v int) PARTITION BY LIST (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
CREATE TABLE p2 (k int, v int);
CREATE TABLE h (id serial PRIMARY KEY, g int DEFAULT 1);
CREATE TABLE t (id serial PRIMARY KEY, at timestamptz DEFAULT now());
CREATE FUNCTION twice(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN i * 2; END';
INSERT INTO b (g) SELECT i % 3 FROM generate_series(1, 30) i;
INSERT INTO c (g) SELECT i % 3 FROM generate_series(1, 30) i;
INSERT INTO late (g) VALUES (7);
INSERT INTO p SELECT 1, i FROM generate_series(1, 5) i;
INSERT INTO p2 SELECT 2, i FROM generate_series(1, 5) i;
INSERT INTO h (g) VALUES (1), (2);
INSERT INTO t DEFAULT VALUES;
SELECT derive.create_view('va', 'SELECT g, count(*) AS n FROM a GROUP BY g');
SELECT derive.create_view('vb', 'SELECT g, count(*) AS n FROM b GROUP BY g');
SELECT derive.create_view('vb_over', 'SELECT n, count(*) AS m FROM vb GROUP BY n');
SELECT derive.create_view('vb_joined', 'SELECT b.id, vb.n FROM b JOIN vb USING (g)');
SELECT derive.create_view('vb_ranked', 'SELECT id, ntile(3) OVER (ORDER BY id) AS r FROM b');
SELECT derive.create_view('vc', 'SELECT g, count(*) AS n FROM c GROUP BY g');
SELECT derive.create_view('vc_twice', 'SELECT id, twice(g) AS g FROM c');
SELECT derive.create_view('vp', 'SELECT k, count(*) AS n FROM p GROUP BY k');
SELECT derive.create_view('vt', $$SELECT id FROM t WHERE at > now() - interval '10 minutes'$$);
SELECT derive.create_view('versions', derivation => 'history', sources => ARRAY['h'::regclass]);
CREATE FUNCTION problems() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	v record;
	n bigint;
	result text := '';
BEGIN
	FOR v IN SELECT view, state, error, waiting_for FROM derive.views WHERE view <> 'versions'::regclass LOOP
		-- the slow lane will compute it
		CONTINUE WHEN EXISTS (SELECT FROM derive_state.stale s WHERE s.view = v.view);
		IF v.state = 'ready' THEN
			n := oracle(v.view);
			IF n <> 0 THEN
				result := result || format('%s differs in %s rows; ', v.view, n);
			END IF;
		ELSIF v.state NOT IN ('rebuilding', 'building', 'catching up', 'waiting', 'recomputing', 'queued')
			AND coalesce(v.error, v.waiting_for, '') = '' THEN
			result := result || format('%s is %s and does not say why; ', v.view, v.state);
		END IF;
	END LOOP;
	IF (SELECT state FROM derive.views WHERE view = 'versions'::regclass) = 'ready' AND
		EXISTS (SELECT id, g FROM h EXCEPT SELECT id, g FROM versions WHERE until_lsn IS NULL) THEN
		result := result || 'versions lacks rows; ';
	END IF;
	RETURN result;
END $$;
});
wait_derived($node, 'built');

my $holder = background($node);
my $session = background($node);

sub all_exact
{
	my ($label) = @_;
	wait_derived($node, "$label: caught up");
	$node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM derive.views WHERE state <> 'ready')})
	  or diag($node->safe_psql('postgres', 'SELECT * FROM derive.views'));
	is($node->safe_psql('postgres', 'SELECT problems()'), '', "$label: every view equals its query");
	is($node->safe_psql('postgres', 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	return;
}

# Batches of view va only, until all others are forgotten.
sub cool_down
{
	$node->safe_psql('postgres', q{
DO $$ BEGIN FOR i IN 1..20 LOOP INSERT INTO a DEFAULT VALUES; COMMIT; PERFORM derive.wait('va'); END LOOP; END $$});
	return;
}

# Stop a batch that has a change of a, after its locks; do something else; and stop it again when it has
# committed.  Returns which relations it had locked.
sub race
{
	my ($label, $sql) = @_;
	cool_down();
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-locked')), pg_advisory_lock(hashtext('batch-committed'))});
	set_debug_point($node, 'batch-locked:wait,batch-committed:wait');
	$node->safe_psql('postgres', 'INSERT INTO a DEFAULT VALUES');
	my $pid = waits_at($node, 'batch-locked');
	my $locked = $node->safe_psql('postgres', qq{
SELECT string_agg(DISTINCT relation::regclass::text, ' ' ORDER BY relation::regclass::text) FROM pg_locks
WHERE pid = $pid AND locktype = 'relation' AND relation::regclass::text ~ '^(a|b|c|h|p|p1|t|v.*)\$'});
	is($locked, 'a va', "$label: the batch has locked what it has changes for");
	$session->query_safe('SET lock_timeout = 0');
	$session->query_safe($sql);
	$holder->query_safe(q{SELECT pg_advisory_unlock(hashtext('batch-locked'))});
	waits_at($node, 'batch-committed');
	is($node->safe_psql('postgres', 'SELECT problems()'), '', "$label: exact when the batch has committed");
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	all_exact($label);
	return;
}

# What a session does while the batch is between its locks and its snapshot.  None of it waits.
my @races = (
	['a change of another table', 'INSERT INTO b DEFAULT VALUES'],
	['TRUNCATE', 'TRUNCATE b'],
	['TRUNCATE and rows', 'BEGIN; TRUNCATE b; INSERT INTO b (g) SELECT i % 4 FROM generate_series(1, 20) i; COMMIT'],
	['a rewrite', 'BEGIN; INSERT INTO b (g) VALUES (9); ALTER TABLE b ALTER unused TYPE bigint; COMMIT'],
	['a rewrite without changes', 'ALTER TABLE b ALTER unused TYPE int'],
	['VACUUM FULL', 'VACUUM FULL b'],
	['a change of two tables', 'WITH x AS (INSERT INTO b DEFAULT VALUES) INSERT INTO c DEFAULT VALUES'],
	['a history', 'UPDATE h SET g = g + 1'],
	['a view that depends on the time', 'INSERT INTO t DEFAULT VALUES'],
	['ATTACH PARTITION', 'ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2)'],
	['a row of it', 'INSERT INTO p VALUES (2, 2)'],
	['DETACH PARTITION', 'ALTER TABLE p DETACH PARTITION p2'],
	['a first child', 'ALTER TABLE late INHERIT c'],
	['no child', 'ALTER TABLE late NO INHERIT c'],
	['ADD COLUMN', 'ALTER TABLE b ADD more int DEFAULT 3'],
	['another function', q{CREATE OR REPLACE FUNCTION twice(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN i * 2 + 1; END'}],
	['ALTER of the view', 'BEGIN; ALTER MATERIALIZED VIEW vb_joined SET (fillfactor = 80); INSERT INTO b DEFAULT VALUES; COMMIT'],
	['DELETE', q{DELETE FROM b WHERE id % 7 = 0}],
	['CREATE INDEX', 'CREATE INDEX ON vb (n)'],
	['DROP', 'DROP MATERIALIZED VIEW vb_ranked; INSERT INTO b DEFAULT VALUES'],
	['a new view', q{SELECT derive.create_view('vb_new', 'SELECT n FROM vb'); UPDATE b SET g = g + 1 WHERE id % 2 = 0}],
);
race(@$_) for @races;

# A view that is paused, or stands still, is looked at, and its tables are not locked.
$node->safe_psql('postgres', q{SELECT derive.pause('vc')});
cool_down();
$session->query_safe('BEGIN; LOCK TABLE c IN ACCESS EXCLUSIVE MODE; CREATE INDEX ON vc_twice (id)');
$node->safe_psql('postgres', 'INSERT INTO a DEFAULT VALUES');
is($node->safe_psql('postgres', q{SELECT derive.wait('va', timeout => '180 s')}), 't', 'locks of other tables do not matter');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.views WHERE state NOT IN ('ready', 'paused')}), '0', 'and nothing is set aside for them');
$session->query_safe('INSERT INTO c DEFAULT VALUES; COMMIT');
$node->safe_psql('postgres', q{SELECT derive.resume('vc')});
all_exact('locks of others');

# A transaction that nobody sees yet, since it waits for a standby, is decoded; and then seen without being decoded again.
for my $late (['ATTACH PARTITION', 'ALTER TABLE p ATTACH PARTITION p2 FOR VALUES IN (2)', 'ALTER TABLE p DETACH PARTITION p2'],
	['a first child', 'ALTER TABLE late INHERIT c', 'ALTER TABLE late NO INHERIT c'],
	['rows', 'INSERT INTO b (g) SELECT i FROM generate_series(1, 2000) i', 'DELETE FROM b WHERE id % 2 = 0'])
{
	my ($label, $do, $undo) = @$late;
	cool_down();
	$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
	my $waiter = background($node);
	$waiter->query_safe('SET synchronous_commit = on');
	$waiter->query_until(qr/sent/, "\\echo sent\n$do;\n");
	$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')});
	$node->safe_psql('postgres', q{SET synchronous_commit = local; INSERT INTO a DEFAULT VALUES});
	$node->safe_psql('postgres', q{SET synchronous_commit = local; DO $$ BEGIN FOR i IN 1..20 LOOP INSERT INTO a DEFAULT VALUES; COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$});
	ok($node->poll_query_until('postgres', q{SELECT oracle('va') = 0}), "$label: decoded");
	is($node->safe_psql('postgres', 'SELECT problems()'), '', "$label: exact before it is seen");
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-locked')), pg_advisory_lock(hashtext('batch-committed'))});
	set_debug_point($node, 'batch-locked:wait,batch-committed:wait');
	$node->safe_psql('postgres', 'SET synchronous_commit = local; INSERT INTO a DEFAULT VALUES');
	waits_at($node, 'batch-locked');
	$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
	$node->reload;
	$waiter->query_safe('SELECT 1');
	$holder->query_safe(q{SELECT pg_advisory_unlock(hashtext('batch-locked'))});
	waits_at($node, 'batch-committed');
	is($node->safe_psql('postgres', 'SELECT problems()'), '', "$label: exact when a batch sees it");
	set_debug_point($node, '');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	all_exact("$label, late");
	$waiter->query_safe($undo);
	$waiter->quit;
	all_exact("$label, late and undone");
}

# Something else changes in each round: in the end the batch has all locks, and comes to its end.
cool_down();
$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-locked'))});
set_debug_point($node, 'batch-locked:wait');
$node->safe_psql('postgres', 'INSERT INTO a DEFAULT VALUES');
for my $sql ('INSERT INTO b DEFAULT VALUES', 'INSERT INTO c DEFAULT VALUES', 'INSERT INTO p VALUES (1, 1)', 'INSERT INTO h DEFAULT VALUES')
{
	waits_at($node, 'batch-locked');
	$session->query_safe($sql);
	# the next one stops there again
	my $second = background($node);
	$second->query_until(qr/sent/, "\\echo sent\nSELECT pg_advisory_lock(hashtext('batch-locked'));\n");
	$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted});
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	$holder->quit;
	# only when it has the lock can nobody but the worker wait for it
	$second->query_safe('SELECT 1');
	$holder = $second;
}
my $pid = waits_at($node, 'batch-locked');
is($node->safe_psql('postgres', qq{SELECT count(DISTINCT relation) FROM pg_locks WHERE pid = $pid AND relation IN (SELECT view FROM derive.views)}),
	$node->safe_psql('postgres', 'SELECT count(*) FROM derive.views'), 'after some rounds all views are locked');
set_debug_point($node, '');
$holder->query_safe('SELECT 1; SELECT pg_advisory_unlock_all()');
all_exact('round after round');

# The worker ends with a batch that has been left.
cool_down();
$session->quit;
$holder->quit;
for my $point ('batch-selected:once', 'batch-decoded:once', 'batch-applied:once', 'batch-selected:kill', 'batch-applied:kill')
{
	set_debug_point($node, $point);
	eval { $node->psql('postgres', 'INSERT INTO a DEFAULT VALUES; INSERT INTO b DEFAULT VALUES') };
	my ($name, $action) = split /:/, $point;
	$node->poll_query_until('postgres', 'SELECT pg_sleep(0.1) IS NOT NULL') if $action eq 'once';
	if ($action eq 'kill')
	{
		eval { $node->psql('postgres', 'SELECT pg_sleep(1)') };
	}
	set_debug_point($node, '');
	comes_back($node);
	resume_failed($node);
	all_exact($point);
}
done_testing();
