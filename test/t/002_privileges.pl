# Who may do what: a stranger, an owner and a superuser call everything; and a
# view whose function tries to become superuser.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('rights');
my ($rc, $out, $err);

$node->safe_psql('postgres', q{
CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE reader LOGIN;
CREATE SCHEMA a AUTHORIZATION alice; CREATE SCHEMA b AUTHORIZATION bob;
CREATE TABLE secret (x int); INSERT INTO secret VALUES (42);
});

# as(role, SQL)
sub as
{
	my ($role, $sql) = @_;
	($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ]);
	return $rc;
}

is(as('alice', q{CREATE TABLE a.t (id int PRIMARY KEY, v int); INSERT INTO a.t SELECT i, i FROM generate_series(1, 10) i;
				 SELECT derive.create_view('a.mine', 'SELECT v % 2 AS odd, count(*) FROM a.t GROUP BY 1')}), 0,
	'an ordinary role declares a view') or diag($err);
is(as('alice', q{SELECT derive.wait('a.mine', '180 s')}), 0, 'and waits for it') or diag($err);
is($node->safe_psql('postgres', q{SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'a.mine'::regclass}), 'alice', 'and owns it');
is(as('alice', 'SELECT * FROM derive.views'), 0, 'and sees derive.views') or diag($err);
is(as('alice', 'SELECT * FROM derive.stats'), 0, 'and derive.stats') or diag($err);
is(as('alice', 'SELECT * FROM derive.progress'), 0, 'and derive.progress') or diag($err);

# The stranger
for my $call (
	q{SELECT derive.release('a.mine')}, q{SELECT derive.pause('a.mine')}, q{SELECT derive.resume('a.mine')},
	q{SELECT derive.repair('a.mine')}, q{REFRESH MATERIALIZED VIEW a.mine}, q{DROP MATERIALIZED VIEW a.mine},
	q{SELECT derive.maintain('a.mine')})
{
	isnt(as('bob', $call), 0, "stranger: $call fails");
	like($err, qr/must be owner|permission denied/, 'stranger: and says why');
}
isnt(as('bob', q{SELECT derive.create_view('b.s', 'SELECT x FROM public.secret')}), 0, 'no view over a table one may not read');
like($err, qr/permission denied/, 'and the reason');
isnt(as('bob', q{SELECT derive.create_view('a.foreign', 'SELECT 1 AS x')}), 0, 'no view in a schema one may not create in');
isnt(as('bob', 'SELECT * FROM derive_state.views'), 0, 'the state schema is closed');

# A table that bob may read but does not own: with a key that is enough, and nothing of the table is altered.
$node->safe_psql('postgres', 'CREATE TABLE keyed (id int PRIMARY KEY, v int); INSERT INTO keyed VALUES (1, 1), (2, 2); GRANT SELECT ON keyed TO bob');
is(as('bob', q{SELECT derive.create_view('b.k', 'SELECT id, v FROM public.keyed'); SELECT derive.wait('b.k', '180 s')}), 0,
	'a view over a table with a key that is not mine') or diag($err);
$node->safe_psql('postgres', 'UPDATE keyed SET v = 3 WHERE id = 1; DELETE FROM keyed WHERE id = 2');
wait_derived($node);
is($node->safe_psql('postgres', 'TABLE b.k'), '1|3', 'which follows it');
is($node->safe_psql('postgres', q{SELECT relreplident FROM pg_class WHERE relname = 'keyed'}), 'd', 'its replica identity is what it was');

# Without a key it must have REPLICA IDENTITY FULL, which is not his to set.
$node->safe_psql('postgres', 'CREATE TABLE shared (id int); GRANT SELECT ON shared TO bob');
$rc = as('bob', q{SELECT derive.create_view('b.s', 'SELECT id FROM public.shared')});
isnt($rc, 0, 'a source without REPLICA IDENTITY FULL that is not mine: an error');
like($err, qr/REPLICA IDENTITY/, 'which names it');
$node->safe_psql('postgres', 'ALTER TABLE shared REPLICA IDENTITY FULL; INSERT INTO shared VALUES (1)');
is(as('bob', q{SELECT derive.create_view('b.s', 'SELECT id FROM public.shared'); SELECT derive.wait('b.s', '180 s')}), 0,
	'with it set by the owner it works') or diag($err);

# The owner and the superuser
for my $role (qw(alice postgres))
{
	wait_derived($node);
	for my $call (
		q{SELECT derive.pause('a.mine')}, q{SELECT derive.resume('a.mine')}, q{SELECT derive.repair('a.mine')},
		q{REFRESH MATERIALIZED VIEW a.mine}, q{SELECT * FROM derive.verify('a.mine')}, q{SELECT derive.explain('a.mine')},
		q{SELECT derive.release('a.mine')}, q{SELECT derive.maintain('a.mine')})
	{
		is($role eq 'postgres' ? ($node->psql('postgres', $call))[0] : as($role, $call), 0, "$role: $call") or diag($err);
	}
}
wait_derived($node);

# A function inside a view that tries to become superuser while it is built and maintained.
is(as('alice', q{
CREATE TABLE a.log (who text, what text);
CREATE FUNCTION a.evil(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	BEGIN EXECUTE 'ALTER ROLE alice SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'RESET ROLE'; EXECUTE 'ALTER ROLE alice SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'SET SESSION AUTHORIZATION postgres'; EXECUTE 'ALTER ROLE alice SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
	BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXECUTE 'ALTER ROLE alice SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
	IF current_user <> 'alice' THEN RETURN -1; END IF;
	RETURN x;
END $$;
SELECT derive.create_view('a.trap', 'SELECT a.evil(v) AS v, count(*) FROM a.t GROUP BY 1');
}), 0, 'a view with a function that has plans') or diag($err);
wait_derived($node);
is(as('alice', 'INSERT INTO a.t VALUES (11, 11), (12, 12); UPDATE a.t SET v = v + 1; DELETE FROM a.t WHERE id = 3'), 0, 'changes for it');
wait_derived($node);
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify('a.trap') WHERE missing + extra > 0}), '', 'verified');
is($node->safe_psql('postgres', q{REFRESH MATERIALIZED VIEW a.trap}), '', 'refreshed by the superuser');
wait_derived($node);
is($node->safe_psql('postgres', q{SELECT rolsuper FROM pg_roles WHERE rolname = 'alice'}), 'f', 'alice did not become superuser');
is($node->safe_psql('postgres', q{SELECT count(*) FROM a.trap WHERE v = -1}), '0', 'the function always ran as the owner');

# A search_path of the owner's must not replace operators or functions.
is(as('alice', q{
CREATE FUNCTION a.count_evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO a.log VALUES (current_user, 'trigger'); RETURN NEW; END $$;
CREATE TRIGGER t AFTER INSERT ON a.t FOR EACH ROW EXECUTE FUNCTION a.count_evil();
ALTER ROLE alice SET search_path = a, public;
INSERT INTO a.t VALUES (20, 20)}), 0, 'a trigger on the base table') or diag($err);
wait_derived($node);
is($node->safe_psql('postgres', q{SELECT DISTINCT who FROM a.log}), 'alice', 'fired for the writer only');

# Changing hands
$node->safe_psql('postgres', q{GRANT CREATE, USAGE ON SCHEMA a TO bob; GRANT SELECT ON a.t TO bob; ALTER MATERIALIZED VIEW a.mine OWNER TO bob});
is(as('bob', q{SELECT derive.pause('a.mine'); SELECT derive.resume('a.mine')}), 0, 'the new owner may') or diag($err);
isnt(as('alice', q{SELECT derive.pause('a.mine')}), 0, 'the old owner may not');
as('alice', 'INSERT INTO a.t VALUES (30, 30)');
wait_derived($node);
is($node->safe_psql('postgres', q{SELECT * FROM derive.verify() WHERE missing + extra > 0}), '', 'exact under the new owner');

# The right to read is lost: the view fails, says why, and the others go on.
$node->safe_psql('postgres', 'REVOKE SELECT ON a.t FROM bob; INSERT INTO a.t VALUES (31, 31)');
is($node->safe_psql('postgres', q{SELECT derive.wait('a.trap', '180 s')}), 't', 'the other views go on');

# Everybody may wait, nobody learns the rows by it.
is(as('reader', q{SELECT derive.wait('a.trap', '10s')}) == 0 || $err =~ /permission denied/ ? 1 : 0, 1, 'a stranger waits or is refused');
isnt(as('reader', 'SELECT * FROM a.trap'), 0, 'and cannot read the view');

# Functions that would end our processes, or have them write as much as they like: their view fails, and nothing else.
$node->safe_psql('postgres', q{
CREATE TABLE of_others (id int PRIMARY KEY); INSERT INTO of_others VALUES (1);
SELECT derive.create_view('unharmed', 'SELECT count(*) FROM of_others')});
wait_derived($node, 'a view of somebody else');
my $hostile_worker = worker_pid($node);
my $hostile_offset = -s $node->logfile;
my %hostile = (
	exits => [ q{PERFORM set_config('exit_on_error', 'on', false); RAISE 'over'}, qr/"exit_on_error" cannot be changed/ ],
	terminates => [ q{PERFORM pg_terminate_backend(pg_backend_pid())}, qr/must be a superuser to terminate|permission denied to terminate/ ],
	cancels => [ q{PERFORM pg_cancel_backend(pg_backend_pid())}, qr/must be a superuser to cancel|permission denied to cancel/ ],
	recurses => [ q{PERFORM a.recurses(i + 1)}, qr/stack depth limit exceeded/ ],
	shouts => [ q{RAISE '%', repeat('x', 50000000) USING HINT = repeat('y', 50000000)}, qr/^x{8000,8200}\.\.\.$/ ]);
$hostile{takes_long} = [ q{PERFORM set_config('transaction_timeout', '1', false), pg_sleep(0.1); RAISE 'over'}, qr/"transaction_timeout" cannot be changed/ ]
  if $node->pg_version >= 17;
for my $name (sort keys %hostile)
{
	my ($body, $error) = @{ $hostile{$name} };
	is(as('alice', qq{CREATE FUNCTION a.$name(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS \$f\$BEGIN $body; RETURN i; END\$f\$;
		CREATE TABLE a.of_$name (id int PRIMARY KEY);
		SELECT derive.create_view('a.$name', 'SELECT CASE WHEN id > 0 THEN a.$name(id) END AS x FROM a.of_$name');
		SELECT derive.wait('a.$name', '180 s');
		INSERT INTO a.of_$name VALUES (1)}), 0, "$name: a view with such a function") or diag($err);
	derive_wait_state($node, "a.$name", 'failed', "$name: it has failed");
	like($node->safe_psql('postgres', "SELECT error FROM derive.views WHERE view = 'a.$name'::regclass"), $error, "$name: and why");
	$node->safe_psql('postgres', 'INSERT INTO of_others SELECT max(id) + 1 FROM of_others');
	is($node->safe_psql('postgres', q{SELECT derive.wait('unharmed', timeout => '180 s'), oracle('unharmed')}), 't|0', "$name: others go on");
}
is(worker_pid($node), $hostile_worker, 'in the same process');
cmp_ok(-s $node->logfile, '<', $hostile_offset + 10_000_000, 'the log has not grown much');

log_is_clean($node);
$node->stop;
done_testing();
