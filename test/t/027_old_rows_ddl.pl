# DDL between changes of one batch: what tables were before it is read from old row
# versions where that is still right, and otherwise the views are computed anew, which
# the log says.  They are exact in either case.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('old_ddl', conf => "log_min_messages = debug1\nautovacuum = off\nfsync = off\nwal_level = logical\n");
my $fallback = qr/recomputing (?:an operator of )?view|undoing changes of a join|is (?:built|computed) anew/;

sub fresh
{
	$node->safe_psql('postgres', q{
SET client_min_messages = warning;
DROP TABLE IF EXISTS a, b, c, i, i2, p, p2, p3 CASCADE;
CREATE TABLE a (id int PRIMARY KEY, k int, v int, u int) WITH (fillfactor = 60);
CREATE TABLE b (id int PRIMARY KEY, k int, w int NOT NULL);
CREATE TABLE p (id int PRIMARY KEY, k int, v int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (-100000) TO (1000);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1000) TO (100000);
CREATE TABLE p3 (id int NOT NULL, k int, v int);
INSERT INTO a SELECT i, i, CASE WHEN i % 100 = 5 THEN NULL ELSE i END, i FROM generate_series(1, 2000) i;
INSERT INTO b SELECT i, (i + 1) / 2, i FROM generate_series(1, 2000) i;
INSERT INTO p SELECT i, i % 50, i FROM generate_series(1, 2000) i;
INSERT INTO p3 SELECT i, i % 50, i FROM generate_series(200000, 200100) i;
VACUUM ANALYZE a; VACUUM ANALYZE b; VACUUM ANALYZE p;
SELECT derive.create_view('plain', 'SELECT id, k, v FROM a');
SELECT derive.create_view('joined', 'SELECT a.id, a.v, b.id AS b, b.w, p.v AS pv FROM a JOIN b ON b.k = a.k JOIN p ON p.id = a.id');
SELECT derive.create_view('nulls', 'SELECT a.id, b.w FROM b JOIN a ON a.id = b.id WHERE a.v IS NULL OR a.v < 30');
SELECT derive.create_view('grouped', 'SELECT p.k, count(*), sum(p.v), max(a.v) FROM p JOIN a ON a.id = p.id GROUP BY p.k');
SELECT derive.create_view('over', 'SELECT v.k, count(*), sum(v.v), sum(b.w) AS w FROM plain v JOIN b ON b.id = v.id GROUP BY v.k');
});
	wait_derived($node, 'built');
	$node->safe_psql('postgres', 'UPDATE a SET v = v + 1 WHERE id = 1990; UPDATE b SET w = w + 1 WHERE id = 1990; UPDATE p SET v = v + 1 WHERE id = 1990');
	wait_derived($node, 'first batch');
	return;
}

# Everything that can happen to rows, of some ids.
sub changes
{
	my ($n) = @_;
	my $sql = '';
	for my $table (qw(a b p))
	{
		my $value = $table eq 'b' ? 'w' : 'v';
		$sql .= "UPDATE $table SET $value = $value + 1000 WHERE id BETWEEN $n + 1 AND $n + 10;"
		  . "UPDATE $table SET k = k + 1 WHERE id BETWEEN $n + 8 AND $n + 20;"
		  . "DELETE FROM $table WHERE id BETWEEN $n + 21 AND $n + 30;"
		  . "INSERT INTO $table (id, k, $value) SELECT i, i, 7 FROM generate_series($n + 25, $n + 27) i;"
		  . "UPDATE $table SET id = id + 10000 WHERE id BETWEEN $n + 31 AND $n + 40;"
		  . "INSERT INTO $table (id, k, $value) SELECT i, i, 8 FROM generate_series($n + 20000, $n + 20009) i;"
		  . "UPDATE $table SET k = 4 WHERE id BETWEEN $n + 20000 AND $n + 20004;"
		  . "DELETE FROM $table WHERE id = $n + 20009;";
	}
	return $sql;
}

# Views whose rows are found by keys depend on the constraint.
my $no_keys = 'DROP MATERIALIZED VIEW plain, over, joined, nulls';

# One batch: changes, DDL, changes.  $expect: 1 = by old rows, 0 = falls back, undef =
# either.  Options: before => SQL instead of the first changes, after => the last ones.
sub one_batch
{
	my ($label, $ddl, $expect, %opt) = @_;
	fresh();
	$node->safe_psql('postgres', $opt{setup}) if $opt{setup};
	wait_derived($node, "$label: set up") if $opt{setup};
	my $worker = stop_worker($node);
	my $offset = -s $node->logfile;
	$node->safe_psql('postgres', $opt{before} // changes(0));
	$node->safe_psql('postgres', $_) for ref $ddl ? @$ddl : grep { /\S/ } split /;/, "$ddl; VACUUM a; VACUUM b; VACUUM p";
	$node->safe_psql('postgres', $opt{after} // (changes(100) . 'UPDATE a SET v = v + 1 WHERE id <= 12; DELETE FROM b WHERE id <= 4; UPDATE p SET k = k + 3 WHERE id BETWEEN 5 AND 7'));
	let_go_on($worker);
	wait_derived($node, "$label: caught up");
	is_exact($node, $label);
	my $log = slurp_file($node->logfile, $offset);
	like($log, $fallback, "$label: falls back") if defined $expect && !$expect;
	unlike($log, $fallback, "$label: by old rows") if $expect;
	note("$label: " . ($log =~ $fallback ? 'fell back' : 'by old rows')) unless defined $expect;
	unlike($log, qr/contents were not as expected/, "$label: nothing diverged");

	# the next batch, by old rows again
	$offset = -s $node->logfile;
	$worker = stop_worker($node);
	$node->safe_psql('postgres', $opt{next} // changes(200));
	let_go_on($worker);
	wait_derived($node, "$label: next batch");
	is_exact($node, "$label: next batch");
	unlike(slurp_file($node->logfile, $offset), $fallback, "$label: by old rows again") unless $opt{for_good};
	return;
}

one_batch('nothing', '', 1);
one_batch('ADD COLUMN', 'ALTER TABLE a ADD COLUMN z int DEFAULT 7', 1);
one_batch('TRUNCATE', 'TRUNCATE a; INSERT INTO a SELECT i, 5, 5, 5 FROM generate_series(1, 300) i', 0);
one_batch('TRUNCATE and COPY FREEZE', [ q{BEGIN; TRUNCATE a; COPY a (id) FROM PROGRAM 'seq 1 300' (FREEZE); COMMIT}, 'VACUUM a' ], 0);
one_batch('rewrite of a column', 'ALTER TABLE a ALTER COLUMN u TYPE bigint', 0);
one_batch('SET NOT NULL', 'ALTER TABLE a ALTER v SET NOT NULL', 0, before => changes(0) . 'UPDATE a SET v = 3 WHERE v IS NULL');
one_batch('DROP NOT NULL', 'ALTER TABLE b ALTER w DROP NOT NULL', 1);
one_batch('CLUSTER', 'CLUSTER a USING a_pkey', 0);
one_batch('VACUUM FULL', 'VACUUM FULL a', 0);
one_batch('SET UNLOGGED and LOGGED', 'ALTER TABLE a SET UNLOGGED; ALTER TABLE a SET LOGGED', 0);
one_batch('CREATE INDEX', 'CREATE INDEX a_k ON a (k); CREATE INDEX b_k ON b (k); ANALYZE b', 1);
one_batch('CREATE INDEX CONCURRENTLY', 'CREATE INDEX CONCURRENTLY a_k ON a (k); CREATE INDEX CONCURRENTLY b_k ON b (k); ANALYZE a; ANALYZE b', 1);
one_batch('REINDEX', 'REINDEX TABLE a', 1);
one_batch('REINDEX CONCURRENTLY', 'REINDEX TABLE CONCURRENTLY a', 0);
one_batch('REINDEX CONCURRENTLY of partitions', 'REINDEX TABLE CONCURRENTLY p', 0);
one_batch('the same primary key', 'ALTER TABLE a DROP CONSTRAINT a_pkey; ALTER TABLE a ADD PRIMARY KEY (id)', 0, setup => $no_keys);
one_batch('another primary key', 'ALTER TABLE b DROP CONSTRAINT b_pkey; ALTER TABLE b ADD PRIMARY KEY (id, w)', 0,
	setup => "$no_keys; SELECT derive.create_view('sums', 'SELECT k, sum(w) FROM b GROUP BY k')");
one_batch('a key of another type', 'ALTER TABLE b ALTER id TYPE bigint', 0,
	setup => "$no_keys; SELECT derive.create_view('sums', 'SELECT k, sum(w) FROM b GROUP BY k')");
one_batch('a key of another type, the same bits', q{ALTER TABLE c ALTER id TYPE text COLLATE "C"}, 0,
	setup => "CREATE TABLE c (id varchar PRIMARY KEY, v int); INSERT INTO c SELECT i, i FROM generate_series(1, 200) i; SELECT derive.create_view('sums', 'SELECT v % 7 AS g, sum(v) FROM c GROUP BY 1')",
	before => q{UPDATE c SET v = v + 1 WHERE id > '3'; DELETE FROM c WHERE id < '12'}, after => q{UPDATE c SET v = v + 1 WHERE id > '7'; UPDATE c SET id = 'x' || id WHERE id < '3'},
	next => q{UPDATE c SET v = v + 1 WHERE id > '8'});
one_batch('primary key USING INDEX', 'CREATE UNIQUE INDEX CONCURRENTLY a_new ON a (id); ALTER TABLE a DROP CONSTRAINT a_pkey, ADD PRIMARY KEY USING INDEX a_new', 0, setup => $no_keys);
one_batch('GRANT', 'GRANT SELECT ON a TO public; REVOKE SELECT ON a FROM public', 1);
one_batch('ANALYZE', 'ANALYZE a; ANALYZE b; ANALYZE p', 1);
one_batch('a column of the same name', 'ALTER TABLE a DROP COLUMN u; ALTER TABLE a ADD u int DEFAULT 9', 0);
one_batch('a unique index after duplicates', 'CREATE UNIQUE INDEX b_k ON b (k); ANALYZE b', 1,
	before => changes(0) . 'DELETE FROM b WHERE id % 2 = 0; DELETE FROM b WHERE ctid NOT IN (SELECT min(ctid) FROM b GROUP BY k)',
	after => 'UPDATE a SET v = v + 1 WHERE id < 500', next => 'UPDATE a SET v = v + 1 WHERE id < 200; UPDATE b SET w = w + 1 WHERE id < 200');
one_batch('a CHECK constraint', 'ALTER TABLE p1 ADD CHECK (v < 5000); ALTER TABLE a ADD CHECK (v < 100000)', 1,
	setup => q{UPDATE p SET v = 6000 WHERE id BETWEEN 41 AND 60; UPDATE a SET v = 200000 WHERE id < 50; ALTER SYSTEM SET constraint_exclusion = on; SELECT pg_reload_conf()},
	before => changes(0) . 'UPDATE p SET v = 1 WHERE v >= 5000; UPDATE a SET v = 2 WHERE v > 50000',
	after => 'UPDATE a SET k = k + 1 WHERE id < 200', next => 'UPDATE b SET w = w + 1 WHERE id < 200; UPDATE p SET v = v + 1 WHERE id < 90');
$node->safe_psql('postgres', 'ALTER SYSTEM RESET constraint_exclusion; SELECT pg_reload_conf()');

# The replica identity in the middle of the changes.
one_batch('identity FULL', 'ALTER TABLE a REPLICA IDENTITY FULL; ALTER TABLE p1 REPLICA IDENTITY FULL', 1);
one_batch('identity FULL no more', 'ALTER TABLE a REPLICA IDENTITY DEFAULT; ALTER TABLE p1 REPLICA IDENTITY DEFAULT', 1,
	setup => 'ALTER TABLE a REPLICA IDENTITY FULL; ALTER TABLE p1 REPLICA IDENTITY FULL; UPDATE a SET v = v + 1 WHERE id = 1');
one_batch('identity NOTHING', 'ALTER TABLE a REPLICA IDENTITY NOTHING', 0, for_good => 1);
one_batch('identity USING INDEX', 'ALTER TABLE a REPLICA IDENTITY USING INDEX a_u', 0,
	setup => 'UPDATE a SET u = id; ALTER TABLE a ALTER u SET NOT NULL; CREATE SEQUENCE IF NOT EXISTS us START 1000000; ALTER TABLE a ALTER u SET DEFAULT nextval($$us$$); CREATE UNIQUE INDEX a_u ON a (u)');
one_batch('identity from an index to the key', 'ALTER TABLE a REPLICA IDENTITY DEFAULT', 0,
	setup => 'UPDATE a SET u = id; ALTER TABLE a ALTER u SET NOT NULL; CREATE SEQUENCE IF NOT EXISTS us START 1000000; ALTER TABLE a ALTER u SET DEFAULT nextval($$us$$); CREATE UNIQUE INDEX a_u ON a (u); ALTER TABLE a REPLICA IDENTITY USING INDEX a_u; UPDATE a SET v = v + 1 WHERE id = 1');
one_batch('identity there and back', 'ALTER TABLE a REPLICA IDENTITY NOTHING; UPDATE a SET v = v + 5 WHERE id BETWEEN 300 AND 310; DELETE FROM a WHERE id = 311; ALTER TABLE a REPLICA IDENTITY DEFAULT', 0);

# Partitions.
one_batch('ATTACH', 'DELETE FROM p3 WHERE id < 200010; ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (200000) TO (300000); UPDATE p SET v = 1 WHERE id > 200050', 0);
one_batch('DETACH', 'ALTER TABLE p DETACH PARTITION p2', 0, next => 'UPDATE p SET v = v + 1 WHERE id < 300', after => 'UPDATE p SET v = v + 1 WHERE id < 300');
one_batch('DETACH CONCURRENTLY', 'ALTER TABLE p DETACH PARTITION p2 CONCURRENTLY', 0, next => 'UPDATE p SET v = v + 1 WHERE id < 300', after => 'UPDATE p SET v = v + 1 WHERE id < 300');
one_batch('DETACH and ATTACH', 'ALTER TABLE p DETACH PARTITION p1; UPDATE p1 SET v = v + 1 WHERE id < 50; ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (-100000) TO (1000)', 0);
one_batch('other bounds', 'ALTER TABLE p DETACH PARTITION p1; DELETE FROM p1 WHERE id >= 500; ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (-100000) TO (500); CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (500) TO (1000); INSERT INTO p SELECT i, 3, 3 FROM generate_series(500, 600) i', 0);
one_batch('rows that move', 'UPDATE p SET id = id + 1500 WHERE id BETWEEN 600 AND 640; UPDATE p SET id = id - 1500 WHERE id BETWEEN 2120 AND 2140', 1);

# Children: equal keys in several tables, other keys, none.
my $family = q{
CREATE TABLE i (id int PRIMARY KEY, k int, v int);
CREATE TABLE i1 (PRIMARY KEY (id)) INHERITS (i);
CREATE TABLE i2 (more text, PRIMARY KEY (id)) INHERITS (i);
INSERT INTO i SELECT g, g, g FROM generate_series(1, 100) g;
INSERT INTO i1 SELECT g, g, g FROM generate_series(1, 100) g;
INSERT INTO i2 SELECT g, g, g, repeat('x', g * 50) FROM generate_series(50, 150) g;
};
my $family_views = q{
SELECT derive.create_view('family', 'SELECT k, count(*), sum(v), min(v) FROM i GROUP BY k');
SELECT derive.create_view('family_join', 'SELECT i.v, a.v AS av, count(*) FROM i JOIN a ON a.id = i.k GROUP BY i.v, a.v');
};
my $family_changes = q{
DELETE FROM ONLY i WHERE id < 20; INSERT INTO i1 SELECT g, 1, 1 FROM generate_series(101, 110) g;
UPDATE i SET v = v + 100 WHERE id BETWEEN 15 AND 60; UPDATE ONLY i SET k = 3 WHERE id = 70;
DELETE FROM i1 WHERE id BETWEEN 80 AND 90; INSERT INTO i1 SELECT g, 2, 2 FROM generate_series(80, 85) g; UPDATE i1 SET v = 9 WHERE id = 81;
UPDATE i2 SET id = id + 1000, more = 'y' WHERE id > 140; UPDATE i SET v = 8, k = k + 1 WHERE id IN (21, 91, 92, 1150); UPDATE a SET v = v + 1 WHERE id < 50
};
my %of_family = (before => $family_changes, after => 'UPDATE i SET v = v + 1, k = k + 2 WHERE id BETWEEN 40 AND 99; DELETE FROM i WHERE id = 95; INSERT INTO i VALUES (95, 9, 9)', next => 'UPDATE i SET v = v + 1; UPDATE a SET v = v + 1 WHERE id < 50');
one_batch('children', 'ANALYZE i', 1, setup => $family . $family_views, %of_family);
one_batch('children, one with whole rows', 'ALTER TABLE i1 REPLICA IDENTITY DEFAULT', 1, setup => "$family ALTER TABLE i1 REPLICA IDENTITY FULL; $family_views", %of_family);
one_batch('children with other keys', 'ANALYZE i', 1, setup => "$family ALTER TABLE i2 DROP CONSTRAINT i2_pkey; ALTER TABLE i2 ADD PRIMARY KEY (id, k); $family_views", %of_family);
one_batch('children without key', 'ANALYZE i', 1, setup => "$family ALTER TABLE i2 DROP CONSTRAINT i2_pkey; $family_views", %of_family);
one_batch('a new child', 'CREATE TABLE i3 (PRIMARY KEY (id)) INHERITS (i); INSERT INTO i3 SELECT g, 5, 5 FROM generate_series(1, 30) g', 0, setup => $family . $family_views, %of_family);
one_batch('a child that leaves', 'ALTER TABLE i2 NO INHERIT i', 0, setup => $family . $family_views, %of_family);
one_batch('a child that leaves and returns', 'ALTER TABLE i2 NO INHERIT i; UPDATE i2 SET v = 77 WHERE id < 60; ALTER TABLE i2 INHERIT i', 0, setup => $family . $family_views, %of_family);

log_is_clean($node);
done_testing();
