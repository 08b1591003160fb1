# Tables get REPLICA IDENTITY FULL only where a view needs it, and get back what they had when none does.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('identity', conf => "pg_derive.lock_timeout = '100ms'\nlog_min_messages = log\n");

# By name: d = default, n = nothing, i = index, f = full
sub identities
{
	my ($db) = @_;
	return $node->safe_psql($db // 'postgres',
		q{SELECT string_agg(format('%s:%s', relname, relreplident), ' ' ORDER BY relname) FROM pg_class
		  WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace});
}

sub identities_become
{
	my ($wanted, $what, $db) = @_;
	my $query = q{SELECT string_agg(format('%s:%s', relname, relreplident), ' ' ORDER BY relname) FROM pg_class
		WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace};
	$node->poll_query_until($db // 'postgres', $query, $wanted);
	is(identities($db), $wanted, $what);
}

# All but the histories, which are no query of the present
sub queries_equal
{
	my ($what) = @_;
	is($node->safe_psql('postgres', q{SELECT view, oracle(view) FROM derive.views WHERE view::text !~ '^h_' AND oracle(view) <> 0}), '', $what);
	return;
}

my $tables = q{
CREATE TABLE plain (x int);
CREATE TABLE none (id int PRIMARY KEY, x int);
ALTER TABLE none REPLICA IDENTITY NOTHING;
CREATE TABLE by_index (id int NOT NULL, x int NOT NULL);
CREATE UNIQUE INDEX by_index_x ON by_index (x);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_x;
CREATE TABLE kept (id int PRIMARY KEY, x int);
CREATE TABLE parts (id int, x int) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE whole (x int);
ALTER TABLE whole REPLICA IDENTITY FULL;
INSERT INTO plain SELECT generate_series(1, 5);
INSERT INTO none SELECT i, i FROM generate_series(1, 5) i;
INSERT INTO by_index SELECT i, i FROM generate_series(1, 5) i;
INSERT INTO kept SELECT i, i FROM generate_series(1, 5) i;
INSERT INTO parts VALUES (1, 1);
INSERT INTO whole VALUES (1);
};
my $before = 'by_index:i kept:d none:n part_1:d plain:d whole:f';

$node->safe_psql('postgres', $tables);
is(identities(), $before, 'before any view');
$node->safe_psql('postgres', q{
SELECT derive.create_view('v_plain', 'SELECT x, count(*) FROM plain GROUP BY x');
SELECT derive.create_view('v_plain_2', 'SELECT x FROM plain');
SELECT derive.create_view('v_none', 'SELECT x FROM none');
SELECT derive.create_view('v_index', 'SELECT x FROM by_index');
SELECT derive.create_view('v_kept', 'SELECT x FROM kept');
SELECT derive.create_view('h_kept', 'history', ARRAY['kept'::regclass]);
SELECT derive.create_view('h_index', 'history', ARRAY['by_index'::regclass]);
SELECT derive.create_view('v_parts', 'SELECT x FROM parts');
SELECT derive.create_view('v_whole', 'SELECT x FROM whole');
});
wait_derived($node, 'built');
is(identities(), 'by_index:f kept:f none:f part_1:f plain:f whole:f', 'views that need old rows in full');

# One of two views that need it goes, the other moves.
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW v_plain');
$node->safe_psql('postgres', 'UPDATE plain SET x = x + 1');
wait_derived($node, 'one view less');
is(identities(), 'by_index:f kept:f none:f part_1:f plain:f whole:f', 'the other view still needs it');

# A table whose log names rows by a key again, for the views that remain; and the index of one
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW h_kept');
identities_become('by_index:f kept:d none:f part_1:f plain:f whole:f', 'a history goes, a view by key remains');
$node->safe_psql('postgres', 'UPDATE kept SET x = x + 1 WHERE id < 3; DELETE FROM kept WHERE id = 4; UPDATE plain SET x = 0 WHERE x = 3');
wait_derived($node, 'by key');
queries_equal('by key');

# A primary key comes.
$node->safe_psql('postgres', 'ALTER TABLE plain ADD COLUMN id serial PRIMARY KEY');
identities_become('by_index:f kept:d none:f part_1:f plain:d whole:f', 'a table gets a primary key');
$node->safe_psql('postgres', 'UPDATE plain SET x = x + 1 WHERE id < 3');
wait_derived($node, 'by the new key');
queries_equal('by the new key');

# What a paused view reads is not known: nothing is set back meanwhile.  An identity that people set stays.
$node->safe_psql('postgres', q{SELECT derive.pause('v_none'); SELECT derive.release('v_parts'); INSERT INTO none VALUES (7, 7)});
is($node->safe_psql('postgres', q{SELECT derive.wait('v_kept', '180 s')}), 't', 'with a paused view');
is(identities(), 'by_index:f kept:d none:f part_1:f plain:d whole:f', 'while a view is paused');
$node->safe_psql('postgres', q{ALTER TABLE part_1 REPLICA IDENTITY NOTHING; SELECT derive.resume('v_none')});
wait_derived($node, 'resumed');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW v_none, v_index, h_index');
identities_become('by_index:i kept:d none:n part_1:n plain:d whole:f', 'what was set by hand stays');

# Somebody holds a lock on the table: it is tried again, also after the last view is gone; the slot does not wait.
$node->safe_psql('postgres', q{ALTER TABLE part_1 REPLICA IDENTITY DEFAULT; SELECT derive.create_view('v_parts_2', 'SELECT x FROM parts')});
wait_derived($node, 'parts again');
my $session = background($node);
$session->query_safe('BEGIN; LOCK TABLE part_1 IN ROW EXCLUSIVE MODE');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW v_plain_2, v_kept, v_whole, v_parts_2');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_replication_slots});
is(identities(), 'by_index:i kept:d none:n part_1:f plain:d whole:f', 'a table that somebody has locked');
# a view that comes meanwhile is maintained
$node->safe_psql('postgres', q{SELECT derive.create_view('meanwhile', 'SELECT x FROM kept')});
wait_derived($node, 'a view that comes meanwhile');
$session->query_safe('COMMIT');
$session->quit;
identities_become('by_index:i kept:d none:n part_1:d plain:d whole:f', 'and is unlocked');
is_exact($node, 'meanwhile');
$node->safe_psql('postgres', 'DROP MATERIALIZED VIEW meanwhile');
is($node->safe_psql('postgres', 'SELECT count(*) FROM derive_state.identities'), '0', 'nothing is remembered any more');

# DROP EXTENSION gives back everything, and a ROLLBACK of it nothing.
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', "CREATE EXTENSION pg_derive; $tables" . q{
SELECT derive.create_view('v_plain', 'SELECT x, count(*) FROM plain GROUP BY x');
SELECT derive.create_view('v_none', 'SELECT x FROM none');
SELECT derive.create_view('h_kept', 'history', ARRAY['kept'::regclass]);
SELECT derive.create_view('h_index', 'history', ARRAY['by_index'::regclass]);
SELECT derive.wait()});
is(identities('other'), 'by_index:f kept:f none:f part_1:d plain:f whole:f', 'another database');
$node->safe_psql('other', 'BEGIN; DROP EXTENSION pg_derive CASCADE; ROLLBACK; UPDATE plain SET x = 0; SELECT derive.wait()');
is(identities('other'), 'by_index:f kept:f none:f part_1:d plain:f whole:f', 'DROP EXTENSION was rolled back');
$node->safe_psql('other', 'CREATE ROLE somebody');
my ($rc, $out, $err) = $node->psql('other', 'SET ROLE somebody; DROP EXTENSION pg_derive CASCADE');
like($err, qr/must be owner of extension pg_derive/, 'DROP EXTENSION by somebody who may not');
$node->safe_psql('other', 'DROP EXTENSION pg_derive CASCADE');
is(identities('other'), $before, 'DROP EXTENSION leaves tables as they were');

# An index that was the identity is gone: the table stays as it is, and the log says so.
$node->safe_psql('postgres', q{SELECT derive.create_view('h_index', 'history', ARRAY['by_index'::regclass]); SELECT derive.wait()});
$node->safe_psql('postgres', q{DROP INDEX by_index_x; DROP MATERIALIZED VIEW h_index});
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM derive_state.identities');
is(identities(), 'by_index:f kept:d none:n part_1:d plain:d whole:f', 'an index that is gone');
like(slurp_file($node->logfile), qr/replica identity of table "by_index" stays FULL: the index that was its replica identity no longer exists/, 'and the log says so');

# What it had cannot be had any more, which must not stop the worker, nor DROP EXTENSION.
for my $how ('the worker', 'DROP EXTENSION')
{
	my $db = $how eq 'the worker' ? 'postgres' : 'other';
	$node->safe_psql($db, q{
CREATE EXTENSION IF NOT EXISTS pg_derive;
CREATE TABLE parent (a int NOT NULL, b text);
CREATE TABLE child (c int NOT NULL) INHERITS (parent);
CREATE UNIQUE INDEX child_c ON child (c);
ALTER TABLE child REPLICA IDENTITY USING INDEX child_c;
CREATE TABLE another (id int PRIMARY KEY);
SELECT derive.create_view('of_parent', 'SELECT b, count(*) AS n FROM parent GROUP BY b');
SELECT derive.create_view('of_another', 'SELECT count(*) AS n FROM another');
SELECT derive.wait();
ALTER TABLE child ALTER c DROP NOT NULL});
	if ($how eq 'the worker')
	{
		$node->safe_psql($db, q{DROP MATERIALIZED VIEW of_parent; INSERT INTO another SELECT generate_series(1, 10)});
		wait_derived($node, "$how: it goes on");
		is($node->safe_psql($db, 'SELECT n FROM of_another'), '10', "$how: with the other views");
		$node->poll_query_until($db, q{SELECT count(*) = 0 FROM derive_state.identities WHERE relid = 'child'::regclass});
	}
	else
	{
		is(($node->psql($db, 'DROP EXTENSION pg_derive'))[0], 0, "$how: it is dropped");
	}
	is($node->safe_psql($db, q{SELECT relreplident FROM pg_class WHERE relname = 'child'}), 'f', "$how: the table stays as it is");
	like(slurp_file($node->logfile), qr/replica identity of table "child" stays FULL: index "child_c" cannot be used as replica identity/, "$how: and the log says why");
}

log_is_clean($node);
$node->stop;
done_testing();
