# Views whose functions sleep, wait, loop, or do not let themselves be cancelled:
# each stops itself only.  The others go on, and what is too slow can be dropped.
# It waits for minutes, and so runs beside others.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('slow');
my ($rc, $out, $err);

$node->safe_psql('postgres', q{
CREATE ROLE alice; CREATE ROLE bob;
CREATE SCHEMA a AUTHORIZATION alice; CREATE SCHEMA b AUTHORIZATION bob;
GRANT USAGE ON SCHEMA b TO alice;
SET ROLE alice;
CREATE TABLE a.t (id int PRIMARY KEY, g int);
SELECT derive.create_view('a.v', 'SELECT g, count(*) AS n FROM a.t GROUP BY g');
SELECT derive.create_view('a.vv', 'SELECT sum(n) AS n FROM a.v');
SET ROLE bob;
CREATE TABLE b.u (id int PRIMARY KEY, what text);
INSERT INTO b.u VALUES (1, '');
CREATE TABLE b.w (id int PRIMARY KEY);
-- what a row asks for
CREATE FUNCTION b.f(i int, what text) RETURNS int LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog AS $$
BEGIN
	IF what = 'sleep' THEN PERFORM pg_sleep(100000);
	ELSIF what = 'nap' THEN PERFORM pg_sleep(3);
	ELSIF what = 'lock' THEN PERFORM pg_advisory_xact_lock(4711);
	ELSIF what = 'wait' THEN PERFORM derive.wait();
	ELSIF what = 'verify' THEN PERFORM derive.verify();
	ELSIF what = 'loop' THEN LOOP i := i; END LOOP;
	ELSIF what = 'deaf' THEN
		LOOP
			BEGIN
				PERFORM pg_sleep(100000);
			EXCEPTION WHEN query_canceled THEN NULL;
			END;
		END LOOP;
	END IF;
	RETURN i;
END $$;
SELECT derive.create_view('b.v', 'SELECT id, b.f(id, what) AS f FROM b.u');
SELECT derive.create_view('b.vv', 'SELECT count(*) AS n FROM b.v JOIN b.w USING (id)');
});
wait_derived($node, 'built');

# After a change of both owners' tables in one transaction, the others' views are
# right while the one is not, and it comes back when the row is gone.
my $id = 10;

sub others_go_on
{
	my ($what, $limit) = @_;
	$id++;
	$node->safe_psql('postgres', qq{BEGIN; INSERT INTO b.u VALUES ($id, '$what'); INSERT INTO a.t SELECT $id * 100 + i, i % 3 FROM generate_series(1, 5) i; COMMIT});
	is($node->safe_psql('postgres', qq{SELECT derive.wait('a.vv', timeout => '$limit')}), 't', "$what: the others go on");
	is($node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM a.t) = (SELECT n FROM a.vv)}), 't', "$what: and are right");
	$node->safe_psql('postgres', qq{DELETE FROM a.t WHERE id = $id * 100 + 1});
	is($node->safe_psql('postgres', q{SELECT derive.wait('a.vv', timeout => '180 s')}), 't', "$what: again");
	return;
}

sub state_of { return $node->safe_psql('postgres', qq{SELECT state FROM derive.views WHERE view = '$_[0]'::regclass}); }

sub comes_back_without
{
	my ($what, $label) = @_;
	$node->safe_psql('postgres', qq{DELETE FROM b.u WHERE what = '$what'});
	$node->safe_psql('postgres', q{SELECT derive.resume(view) FROM derive.views WHERE state = 'failed' OR error IS NOT NULL});
	is($node->safe_psql('postgres', q{SELECT derive.wait(timeout => '180s')}), 't', "$label: it comes back");
	is_exact($node, $label);
	return;
}

# what waits goes to a builder, and fails if that waits, too
for my $what (qw(sleep lock))
{
	my $locker = background($node);
	$locker->query_safe('SELECT pg_advisory_lock(4711)');
	others_go_on($what, '60s');
	is($node->safe_psql('postgres', q{SELECT bool_or(state = CASE view WHEN 'b.vv'::regclass THEN 'waiting' ELSE 'failed' END) FROM derive.views WHERE view IN ('b.v'::regclass, 'b.vv'::regclass)}),
		't', "$what: a view over it is set aside, as long as that has not failed");
	derive_wait_state($node, 'b.v', 'failed', "$what: a builder does not get further either");
	like($node->safe_psql('postgres', q{SELECT error FROM derive.views WHERE view = 'b.v'::regclass}),
		qr/a function that it calls, which waits/, "$what: and it says why");
	others_go_on($what, '60s');
	$locker->quit;
	comes_back_without($what, $what);
}

# a builder has more patience
others_go_on('nap', '60s');
is($node->safe_psql('postgres', q{SELECT derive.wait('b.v', timeout => '180 s')}), 't', 'nap: a builder takes the time that it needs');
wait_derived($node, 'after the nap');
is_exact($node, 'after the nap');

# functions of ours that wait refuse to be called in the worker
for my $what (qw(wait verify))
{
	others_go_on($what, '60s');
	derive_wait_state($node, 'b.v', 'failed');
	like($node->safe_psql('postgres', q{SELECT error FROM derive.views WHERE view = 'b.v'::regclass}),
		qr/a maintained view cannot wait for maintained views/, "$what: is refused");
	comes_back_without($what, $what);
}

# slow, but not waiting: in the end a builder of its own takes it over
$node->safe_psql('postgres', q{ALTER SYSTEM SET pg_derive.view_timeout = '300ms'; SELECT pg_reload_conf()});
others_go_on('loop', '60s');
derive_wait_state($node, 'b.v', 'rebuilding', 'loop: a builder takes it over');
is($node->safe_psql('postgres', q{SELECT count(*) FROM b.v WHERE f = 1}), '1', 'loop: what it contains stays readable');
others_go_on('', '60s');
($rc, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '20s'; BEGIN; DROP MATERIALIZED VIEW b.vv, b.v; ROLLBACK});
is($rc, 0, 'loop: DROP gets through, also while it is built');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET pg_derive.view_timeout; SELECT pg_reload_conf()});
# first the row: a builder that has just begun would loop over it for ever
$node->safe_psql('postgres', q{DELETE FROM b.u WHERE what = 'loop'});
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_derive builder'});
comes_back_without('loop', 'loop');

# one that does not let itself be cancelled costs the worker's life, once
others_go_on('deaf', '60s');
derive_wait_state($node, 'b.v', 'failed');
like($node->safe_psql('postgres', q{SELECT error FROM derive.views WHERE view = 'b.v'::regclass}),
	qr/did not stop when it was cancelled/, 'deaf: it has failed, and says why');
comes_back_without('deaf', 'deaf');

# a build that does nothing but wait fails, and leaves its place to others
$node->safe_psql('postgres', q{ALTER SYSTEM SET pg_derive.max_builds = 1; SELECT pg_reload_conf();
INSERT INTO b.w VALUES (1), (2)});
$node->safe_psql('postgres', q{SET ROLE bob; SELECT derive.create_view('b.sleeper', 'SELECT b.f(id, ''sleep'') FROM b.w')});
$node->safe_psql('postgres', q{SELECT derive.create_view('other', 'SELECT count(*) FROM b.w')});
is($node->safe_psql('postgres', q{SELECT derive.wait('other', timeout => '180 s')}), 't', 'a build that waits leaves its place');
derive_wait_state($node, 'b.sleeper', 'failed');
like($node->safe_psql('postgres', q{SELECT error FROM derive.views WHERE view = 'b.sleeper'::regclass}), qr/which waits/, 'and says why');
$node->safe_psql('postgres', q{SET statement_timeout = '20s'; DROP MATERIALIZED VIEW b.sleeper});
wait_derived($node, 'without it');
is_exact($node, 'without it');

# a batch gives way to somebody who waits for one of its locks, for the sake of those
# who queue behind him
$node->safe_psql('postgres', q{
CREATE TABLE c (id int PRIMARY KEY);
SELECT derive.create_view('c' || n, 'SELECT c.id FROM c JOIN b.w USING (id)') FROM generate_series(1, 8) n;
});
wait_derived($node, 'built');
SKIP:
{
	skip 'no debug points in a release build', 1 unless has_debug_points($node);
	my ($holder, $truncates) = map { background($node) } 1, 2;
	my $offset = -s $node->logfile;
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('batch-view-applied'))});
	$node->append_conf('postgresql.conf', 'log_min_messages = debug1');
	set_debug_point($node, 'batch-view-applied:wait');
	$node->safe_psql('postgres', 'INSERT INTO c VALUES (2)');
	waits_at($node, 'batch-view-applied');
	$truncates->query_until(qr/go/, "\\echo go\nBEGIN; TRUNCATE b.w; INSERT INTO b.w VALUES (1), (2), (3); COMMIT;\n");
	# the worker looks for waiters once pg_derive.lock_timeout is over
	ok($node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM pg_locks
			WHERE relation = 'b.w'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted AND clock_timestamp() - waitstart > '400 ms')}),
		'in a batch of several views TRUNCATE waits');
	$holder->query_safe('SELECT pg_advisory_unlock_all()');
	log_says($node, qr/is set aside; it waits for: its turn, since a session waits for a lock/, $offset, 'it gives way to TRUNCATE');
	$truncates->query_safe('SELECT 1');
	$node->append_conf('postgresql.conf', 'log_min_messages = warning');
	set_debug_point($node, '');
	$_->quit for $holder, $truncates;
}
is($node->safe_psql('postgres', q{SELECT derive.wait(timeout => '180s')}), 't', 'and goes on with the others afterwards');
is_exact($node, 'after the batch gave way');

$node->stop;
log_is_clean($node);
done_testing();
