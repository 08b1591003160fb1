# Publications that do not go with REPLICA IDENTITY FULL: writers of a table never find that out because of a view.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Who changes a publication tries ten times to get each lock, which a machine may take from a writer for seconds.
my $node = derive_node('published', conf => "log_min_messages = log\npg_derive.lock_timeout = 3s\ndeadlock_timeout = 10s\n");
my $generated = $node->pg_version >= 18;

sub sql
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql);
}

sub refused
{
	my ($sql, $pattern, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql);
	isnt($rc, 0, "$what is refused");
	like($err, $pattern, "$what: why");
	return;
}

# By name: d = default, n = nothing, i = index, f = full
my $identities = q{SELECT string_agg(format('%s:%s', relname, relreplident), ' ' ORDER BY relname) FROM pg_class
	WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace};

# The worker has looked at everything that was committed, and tables are what they shall be.
sub identities_are
{
	my ($wanted, $what) = @_;
	$node->poll_query_until('postgres', $identities, $wanted);
	wait_derived($node, $what);
	is(sql($identities), $wanted, $what);
	return;
}

# While there are writers
sub verified
{
	my ($what) = @_;
	is(sql('SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$what: verified");
	return;
}

# The others should be what their queries say, and the present rows of histories those of their tables.
sub all_equal
{
	my ($what) = @_;
	is(sql(q{SELECT view, oracle(view) FROM derive.views WHERE view::text !~ '^h_' AND oracle(view) <> 0}), '', "$what: views");
	for my $h (split /\n/, sql(q{SELECT substr(view::text, 3) FROM derive.views WHERE view::text ~ '^h_'}))
	{
		my $columns = sql("SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$h'::regclass AND attnum > 0
			AND attname IN (SELECT attname FROM pg_attribute WHERE attrelid = 'h_$h'::regclass)");
		is(sql("(SELECT $columns FROM $h EXCEPT ALL SELECT $columns FROM h_$h WHERE until_lsn IS NULL)
			UNION ALL (SELECT $columns FROM h_$h WHERE until_lsn IS NULL EXCEPT ALL SELECT $columns FROM $h)"), '', "$what: history of $h");
	}
	return;
}

sql(q{
CREATE TABLE keyed (id int PRIMARY KEY, a int, b int);
CREATE TABLE bare (id int, a int, b int);
CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, a int, b int);
CREATE TABLE parts (id int PRIMARY KEY, a int, b int) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);
CREATE TABLE part_2 PARTITION OF parts FOR VALUES FROM (50) TO (200);
INSERT INTO keyed SELECT i, i, i FROM generate_series(1, 100) i;
INSERT INTO bare SELECT * FROM keyed;
INSERT INTO late SELECT * FROM keyed;
INSERT INTO parts SELECT * FROM keyed;
});

# Writers, of several tables in one transaction, all the time; rows 41 to 50 and from 91 on are ours
my $writers = start_load($node, 600, undef, q{
\set id random(1, 40)
BEGIN;
UPDATE keyed SET a = a + 1 WHERE id = :id;
UPDATE parts SET b = b + 1 WHERE id = :id;
DELETE FROM keyed WHERE id = 50 + :id;
INSERT INTO keyed VALUES (50 + :id, 1, 1) ON CONFLICT DO NOTHING;
DELETE FROM parts WHERE id = 50 + :id;
INSERT INTO parts VALUES (50 + :id, 1, 1) ON CONFLICT DO NOTHING;
COMMIT;
});

# ---- At declaration
sql('CREATE PUBLICATION cols FOR TABLE keyed (id, a) WITH (publish_via_partition_root = true)');
refused(q{SELECT derive.create_view('h_keyed', 'history', 'keyed')},
	qr/ERROR:  table "keyed" cannot get replica identity FULL, since publication "cols" has a list of columns for it.*DETAIL:  .*UPDATE and DELETE.*HINT:  Have the publication/s,
	'a history');
sql('CREATE PUBLICATION bare FOR TABLE bare (id, a)');
refused(q{SELECT derive.create_view('v_bare', 'SELECT a, count(*) AS n FROM bare GROUP BY a')},
	qr/ERROR:  table "bare" cannot get .* publication "bare" has .*HINT:  Add a primary key; or: Have/s, 'a SELECT over a table without a key');
sql('CREATE MATERIALIZED VIEW v_bare AS SELECT a, count(*) AS n FROM bare GROUP BY a');
refused(q{SELECT derive.maintain('v_bare')}, qr/table "bare" cannot get/, 'derive.maintain()');
sql('DROP MATERIALIZED VIEW v_bare');
# by key nothing is needed
sql(q{SELECT derive.create_view('v_keyed', 'SELECT b, count(*) AS n, sum(a) AS a FROM keyed GROUP BY b')});
sql(q{SELECT derive.create_view('v_parts', 'SELECT b, count(*) AS n, sum(a) AS a FROM parts GROUP BY b')});
sql(q{SELECT derive.create_view('h_parts', 'history', 'parts')});
identities_are('bare:d keyed:d late:d part_1:f part_2:f', 'lists of columns');
verified('lists of columns');

# ---- Later
sql('ALTER PUBLICATION cols ADD TABLE parts (id, a)');
is(sql($identities), 'bare:d keyed:d late:d part_1:d part_2:d', 'at once, as partitions of a root with a list');
sql('UPDATE parts SET a = a + 1 WHERE id IN (45, 95); DELETE FROM parts WHERE id = 46; UPDATE keyed SET a = 0 WHERE id = 45');
identities_are('bare:d keyed:d late:d part_1:d part_2:d', 'and so it stays');
verified('without old rows');
like(sql(q{SELECT derive.explain('h_parts')}), qr/Old rows of public.part_1 are not in the log, since publication "cols" has a list of columns/, 'explain says so');
like(slurp_file($node->logfile), qr/LOG:  table "part_1" cannot get replica identity FULL, since publication "cols"/, 'and the log');
sql('CREATE TABLE part_3 PARTITION OF parts FOR VALUES FROM (200) TO (300); INSERT INTO parts VALUES (201, 1, 1)');
identities_are('bare:d keyed:d late:d part_1:d part_2:d part_3:d', 'a new partition');
sql('UPDATE parts SET a = a + 1 WHERE id > 200');

# it goes, and comes back
sql('ALTER PUBLICATION cols DROP TABLE parts');
identities_are('bare:d keyed:d late:d part_1:f part_2:f part_3:f', 'no longer published');
sql('CREATE PUBLICATION leaf FOR TABLE part_2 (id, b) WITH (publish = $$insert, update$$)');
is(sql($identities), 'bare:d keyed:d late:d part_1:f part_2:d part_3:f', 'CREATE PUBLICATION of one partition');
sql('UPDATE parts SET a = a + 1 WHERE id IN (45, 95)');
sql('ALTER PUBLICATION leaf SET (publish = $$insert$$)');
identities_are('bare:d keyed:d late:d part_1:f part_2:f part_3:f', 'only INSERT is published');
sql('ALTER PUBLICATION leaf SET (publish = $$insert, delete$$)');
is(sql($identities), 'bare:d keyed:d late:d part_1:f part_2:d part_3:f', 'DELETE is published');
sql('ALTER PUBLICATION leaf SET TABLE part_2 WHERE (a > 0)');
identities_are('bare:d keyed:d late:d part_1:f part_2:f part_3:f', 'a row filter is no harm');
sql('BEGIN; ALTER PUBLICATION leaf SET TABLE part_2 (id); UPDATE parts SET a = a + 1 WHERE id IN (45, 95); ROLLBACK');
identities_are('bare:d keyed:d late:d part_1:f part_2:f part_3:f', 'rolled back');
# in the order in which the writers lock them
sql('BEGIN; ALTER PUBLICATION leaf SET TABLE part_1 (id); ALTER PUBLICATION leaf SET TABLE part_2 (id); UPDATE parts SET a = a + 1 WHERE id IN (45, 95); COMMIT');
identities_are('bare:d keyed:d late:d part_1:f part_2:d part_3:f', 'the other one in the end');
verified('several in one transaction');
sql('DROP PUBLICATION leaf');
identities_are('bare:d keyed:d late:d part_1:f part_2:f part_3:f', 'dropped');

# ---- Attached to a root that is published with a list, by levels; the publication is another one's
sql(q{
CREATE TABLE alone (id int NOT NULL, a int, b int) PARTITION BY RANGE (id);
CREATE TABLE alone_1 PARTITION OF alone FOR VALUES FROM (400) TO (500);
INSERT INTO alone SELECT i, i, i FROM generate_series(400, 450) i;
SELECT derive.create_view('h_alone', 'history', 'alone');
CREATE ROLE publisher; GRANT CREATE ON DATABASE postgres TO publisher; GRANT CREATE, USAGE ON SCHEMA public TO publisher;
});
identities_are('alone_1:f bare:d keyed:d late:d part_1:f part_2:f part_3:f', 'another table');
sql(q{
DROP MATERIALIZED VIEW h_parts, v_parts;
ALTER PUBLICATION cols ADD TABLE parts (id, a);
ALTER TABLE parts ATTACH PARTITION alone FOR VALUES FROM (400) TO (500);
UPDATE parts SET a = a + 1 WHERE id > 400;
});
like(sql($identities), qr/^alone_1:d/, 'ATTACH PARTITION');
verified('ATTACH PARTITION');
sql('ALTER TABLE parts DETACH PARTITION alone');
identities_are('alone_1:f bare:d keyed:d late:d part_1:d part_2:d part_3:d', 'DETACH PARTITION');
sql('CREATE PUBLICATION theirs FOR TABLE alone_1 (id, a) WITH (publish = $$insert$$); ALTER PUBLICATION theirs OWNER TO publisher; UPDATE alone SET a = a + 1');
is(sql($identities), 'alone_1:f bare:d keyed:d late:d part_1:d part_2:d part_3:d', 'only INSERT');
sql('SET ROLE publisher; ALTER PUBLICATION theirs SET (publish = $$insert, update$$)');
like(sql($identities), qr/^alone_1:d/, 'by who does not own the table');
wait_derived($node, 'by who does not own the table');
verified('by who does not own the table');

# ---- Somebody has the table locked for long: the statement gives up, and nobody is kept waiting
sql('DROP PUBLICATION theirs');
identities_are('alone_1:f bare:d keyed:d late:d part_1:d part_2:d part_3:d', 'once more');
my $reader = background($node);
$reader->query_safe('BEGIN; SELECT count(*) FROM alone');
refused('CREATE PUBLICATION busy FOR TABLE alone_1 (id)', qr/ERROR:  could not lock table "alone_1" to give it its former replica identity back.*HINT:  Try again/s, 'a table that is in use');
sql('UPDATE alone SET a = a + 1');
$reader->query_safe('COMMIT');
$reader->quit;

# ---- What it had cannot be had any more
sql(q{
CREATE TABLE by_index (id int NOT NULL, a int NOT NULL);
CREATE UNIQUE INDEX by_index_a ON by_index (a);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a;
INSERT INTO by_index SELECT i, i FROM generate_series(1, 10) i;
SELECT derive.create_view('h_by_index', 'history', 'by_index');
});
identities_are('alone_1:f bare:d by_index:f keyed:d late:d part_1:d part_2:d part_3:d', 'an index was the identity');
sql('DROP INDEX by_index_a; ALTER TABLE by_index ADD PRIMARY KEY (id); CREATE PUBLICATION one FOR TABLE by_index (id)');
is(sql(q{SELECT relreplident FROM pg_class WHERE relname = 'by_index'}), 'd', 'the default instead');
sql('UPDATE by_index SET a = a + 1; DELETE FROM by_index WHERE id = 1');
wait_derived($node, 'the default instead');
verified('the default instead');

# ---- The worker finds a table so: as after an earlier version, or where two did not see each other
sql('DROP PUBLICATION one');
identities_are('alone_1:f bare:d by_index:f keyed:d late:d part_1:d part_2:d part_3:d', 'FULL again');
$reader = background($node);
$reader->query_safe('BEGIN; SELECT count(*) FROM by_index');
sql(q{
SET allow_system_table_mods = on;
CREATE PUBLICATION one FOR TABLE by_index;
UPDATE pg_publication_rel SET prattrs = '1' WHERE prrelid = 'by_index'::regclass;
COMMENT ON TABLE by_index IS 'nothing else';
UPDATE pg_class SET relname = relname WHERE relname = 'by_index';
});
is(sql(q{BEGIN; SELECT FROM by_index LIMIT 0; ALTER TABLE keyed ADD COLUMN c int; COMMIT; SELECT relreplident FROM pg_class WHERE relname = 'by_index'}), 'f', 'who alters another table has nothing to do with it');
$reader->query_safe('COMMIT');
$reader->quit;
identities_are('alone_1:f bare:d by_index:d keyed:d late:d part_1:d part_2:d part_3:d', 'the worker gives it back');
sql('UPDATE by_index SET a = a + 1');

# ---- Generated columns: 18 and later
SKIP:
{
	skip 'only 18 and later publish generated columns', 1 unless $generated;
	sql(q{
CREATE SCHEMA apart;
CREATE TABLE stored (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE temporal (id int4range, valid int4range, a int, g int GENERATED ALWAYS AS (a * 2), PRIMARY KEY (id, valid WITHOUT OVERLAPS));
CREATE TABLE plain (id int PRIMARY KEY, a int);
CREATE TABLE moved (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED);
INSERT INTO stored SELECT i, i FROM generate_series(1, 10) i;
INSERT INTO temporal SELECT int4range(i, i + 1), '[1,2)', i FROM generate_series(1, 10) i;
INSERT INTO plain SELECT i, i FROM generate_series(1, 10) i;
INSERT INTO moved SELECT i, i FROM generate_series(1, 10) i;
CREATE PUBLICATION gen FOR TABLE stored, temporal;
});
	refused(q{SELECT derive.create_view('h_stored', 'history', 'stored')},
		qr/ERROR:  table "stored" cannot get replica identity FULL, since publication "gen" does not publish its generated columns.*HINT:  Set publish_generated_columns = stored/s, 'a stored column');
	refused(q{SELECT derive.create_view('v_temporal', 'SELECT id, valid, a FROM temporal')},
		qr/ERROR:  table "temporal" cannot get .* does not publish its generated columns.*HINT:  Add a primary key; or: Take the table out/s, 'a virtual column');
	sql('ALTER PUBLICATION gen SET (publish_generated_columns = stored)');
	refused(q{SELECT derive.create_view('v_temporal', 'SELECT id, valid, a FROM temporal')}, qr/table "temporal" cannot get/, 'a virtual column still');
	sql('ALTER PUBLICATION gen DROP TABLE temporal');
	sql(q{SELECT derive.create_view('h_stored', 'history', 'stored'); SELECT derive.create_view('v_temporal', 'SELECT id, valid, a FROM temporal');
SELECT derive.create_view('h_plain', 'history', 'plain'); SELECT derive.create_view('h_moved', 'history', 'moved')});
	my $of = q{SELECT string_agg(format('%s:%s', relname, relreplident), ' ' ORDER BY relname) FROM pg_class WHERE relname IN ('stored', 'temporal', 'plain', 'moved')};
	$node->poll_query_until('postgres', $of, 'moved:f plain:f stored:f temporal:f');
	sql('ALTER PUBLICATION gen SET (publish_generated_columns = none); UPDATE stored SET a = a + 1; DELETE FROM stored WHERE id = 1');
	is(sql($of), 'moved:f plain:f stored:d temporal:f', 'publish_generated_columns = none');
	sql('CREATE PUBLICATION whole FOR TABLES IN SCHEMA apart; ALTER TABLE moved SET SCHEMA apart; UPDATE apart.moved SET a = a + 1; ALTER TABLE apart.moved SET SCHEMA public');
	$node->poll_query_until('postgres', $of, 'moved:f plain:f stored:d temporal:f');
	sql('ALTER TABLE moved SET SCHEMA apart; UPDATE apart.moved SET a = a + 1');
	is(sql($of), 'moved:d plain:f stored:d temporal:f', 'SET SCHEMA');
	sql(q{
CREATE TABLE rooted (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED) PARTITION BY RANGE (id);
CREATE TABLE rooted_1 PARTITION OF rooted FOR VALUES FROM (0) TO (50);
INSERT INTO rooted SELECT i, i FROM generate_series(1, 10) i;
SELECT derive.create_view('h_rooted', 'history', 'rooted')});
	my $partition = q{SELECT relreplident FROM pg_class WHERE relname = 'rooted_1'};
	$node->poll_query_until('postgres', $partition, 'f');
	sql('ALTER TABLE rooted SET SCHEMA apart; UPDATE apart.rooted SET a = a + 1');
	is(sql($partition), 'd', 'SET SCHEMA of a root');
	sql('ALTER TABLE apart.rooted SET SCHEMA public; DROP MATERIALIZED VIEW h_rooted; DROP TABLE rooted');
	sql('CREATE PUBLICATION everything FOR ALL TABLES; UPDATE temporal SET a = 0 WHERE a = 3; UPDATE plain SET a = a + 1');
	is(sql($of), 'moved:d plain:f stored:d temporal:d', 'FOR ALL TABLES');
	sql('ALTER TABLE plain ADD COLUMN g int GENERATED ALWAYS AS (a * 2) STORED; UPDATE plain SET a = a + 1; DELETE FROM plain WHERE id = 2');
	is(sql($of), 'moved:d plain:d stored:d temporal:d', 'ADD COLUMN');
	sql('ALTER TABLE apart.moved SET SCHEMA public');
	wait_derived($node, 'generated columns');
	is(sql($of), 'moved:d plain:d stored:d temporal:d', 'and so it stays');
	verified('generated columns');
	sql('DROP PUBLICATION everything; DROP PUBLICATION gen; DROP PUBLICATION whole');
	$node->poll_query_until('postgres', $of, 'moved:f plain:f stored:f temporal:f');
	sql('UPDATE plain SET a = a + 1; DELETE FROM stored WHERE id = 2; UPDATE temporal SET a = a + 1; UPDATE moved SET a = 5');
	wait_derived($node, 'old rows again');
	verified('old rows again');
}

# ---- No writer ever had an error.
stop_load($writers);
wait_derived($node, 'the end');
all_equal('the end');
is(sql(q{SELECT view, state, waiting_for, error FROM derive.views WHERE state <> 'ready'}), '', 'no view has failed');
unlike(slurp_file($node->logfile), qr/cannot (update|delete from) table/, 'nobody could not write');
log_is_clean($node);
$node->stop;
done_testing();
