# Everything that a subscription can do to a table which maintained views read: initial copies while the
# publisher writes, row filters, column lists, TRUNCATE, tables that come later, large transactions that
# are sent before they commit, prepared ones, transactions that are skipped, triggers for replicas, keys
# of another kind, and tables that have a different shape on each side.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ReplicationTest;
use Test::More;

# a filter needs its columns in the replica identity, and a column list all of that
my $pub = publisher('pub', q{
CREATE TABLE orders (id int PRIMARY KEY, customer int, amount numeric NOT NULL, note text, secret text);
CREATE UNIQUE INDEX orders_filter ON orders (id, amount);
ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_filter;
CREATE TABLE customers (id int PRIMARY KEY, region text);
CREATE TABLE lines (customer int, n int);
ALTER TABLE lines REPLICA IDENTITY FULL;
INSERT INTO customers SELECT i, 'region ' || i % 4 FROM generate_series(1, 100) i;
INSERT INTO orders SELECT i, i % 120, i % 50, 'note ' || i % 7, 'secret' FROM generate_series(1, 1000) i;
INSERT INTO lines SELECT i % 100, i % 5 FROM generate_series(1, 500) i},
	publication => q{CREATE PUBLICATION shop FOR TABLE customers, lines, orders (id, customer, amount, note) WHERE (id % 10 <> 0 AND amount > 5)},
	conf => "logical_decoding_work_mem = 64kB\nmax_prepared_transactions = 5\n");
my $node = derive_node('node', conf => "wal_retrieve_retry_interval = 200ms\n");
my @histories = qw(order_history tags_history parts_history);
my $sub = 'shop';

# The column "note" is elsewhere, "origin" is the node's own, "double" is computed there.
$node->safe_psql('postgres', q{
CREATE TABLE orders (note text, id int PRIMARY KEY, amount numeric, origin text DEFAULT 'shop', customer int, double numeric GENERATED ALWAYS AS (amount * 2) STORED);
CREATE TABLE customers (id int PRIMARY KEY, region text);
CREATE TABLE lines (customer int, n int);
SELECT derive.create_view('by_region', 'SELECT region, count(*) AS n, sum(amount), max(note), sum(double) AS double FROM orders o JOIN customers c ON c.id = o.customer GROUP BY region');
SELECT derive.create_view('all_customers', 'SELECT c.id, region, o.id AS order_id, n FROM customers c LEFT JOIN orders o ON o.customer = c.id FULL JOIN lines l ON l.customer = c.id');
SELECT derive.create_view('ranks', 'SELECT id, customer, rank() OVER (PARTITION BY customer ORDER BY amount DESC, id) FROM orders');
SELECT derive.create_view('first_ten', 'SELECT id, amount, origin FROM orders ORDER BY amount DESC, id LIMIT 10');
SELECT derive.create_view('line_sums', 'SELECT customer, sum(n), count(*) FROM lines GROUP BY customer');
SELECT derive.create_view('order_history', 'history', '{orders}');
SELECT derive.wait()});

my @published = (
	'SELECT id, customer, amount, note FROM orders WHERE id % 10 <> 0 AND amount > 5', 'SELECT id, region FROM customers', 'SELECT customer, n FROM lines');

sub all_is_well
{
	my ($label, @more) = @_;
	wait_applied($node, $sub, $pub);
	wait_derived($node, $label);
	is_exact($node, $label, undef, @histories);
	is_copied($pub, $node, $label, @published, @more);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT note, id, amount, origin, customer, double FROM order_history WHERE until_lsn IS NULL EXCEPT TABLE orders) x'),
		0, "$label: the history ends with the rows that there are");
	return;
}

sub write_on_publisher
{
	$pub->safe_psql('postgres', $_) for @_;
	return;
}

# ---- initial copies, while the publisher writes on

# each copy waits for its table
my $lock = background($node);
$lock->query_safe('BEGIN; LOCK TABLE orders, customers, lines IN EXCLUSIVE MODE');
my $conninfo = $pub->connstr('postgres') =~ s/'/''/gr;
$node->safe_psql('postgres', "CREATE SUBSCRIPTION $sub CONNECTION '$conninfo' PUBLICATION shop");
$node->poll_query_until('postgres', q{SELECT count(*) >= 2 FROM pg_stat_activity WHERE backend_type ~ 'logical replication' AND wait_event_type = 'Lock'}) or die 'no copy waits';
write_on_publisher(
	'UPDATE orders SET amount = amount + 1 WHERE id < 300',
	"INSERT INTO customers SELECT i, 'region ' || i % 3 FROM generate_series(101, 130) i",
	'DELETE FROM lines WHERE n = 3');
$lock->query_safe('COMMIT');
wait_synced($node);
write_on_publisher('UPDATE orders SET customer = customer + 1 WHERE id % 4 = 0', 'INSERT INTO lines VALUES (1, 1), (1, 1), (NULL, 7)');
all_is_well('initial copies');

# ---- rows that enter and leave by the filter

write_on_publisher(
	'UPDATE orders SET amount = 1 WHERE id BETWEEN 20 AND 60',
	'UPDATE orders SET amount = 70 WHERE id BETWEEN 40 AND 80',
	"UPDATE orders SET secret = 'other' WHERE id < 100",
	'UPDATE orders SET id = id + 5001 WHERE id % 10 = 0 AND id < 400',
	'BEGIN; UPDATE orders SET amount = 2 WHERE id = 61; UPDATE orders SET amount = 80 WHERE id = 61; DELETE FROM orders WHERE id = 62; COMMIT');
all_is_well('row filters and column lists');

# ---- TRUNCATE, alone and with what comes after it in the same transaction

write_on_publisher('TRUNCATE lines');
all_is_well('TRUNCATE');
write_on_publisher(q{
BEGIN;
TRUNCATE orders, lines;
INSERT INTO lines SELECT i % 9, i % 5 FROM generate_series(1, 100) i;
INSERT INTO orders SELECT i, i % 120, i % 40, 'note ' || i % 7 FROM generate_series(1, 900) i;
DELETE FROM orders WHERE id < 30;
COMMIT});
all_is_well('TRUNCATE and rows after it');
$pub->safe_psql('postgres', q{ALTER PUBLICATION shop SET (publish = 'insert, update, delete')});
write_on_publisher('TRUNCATE lines', 'INSERT INTO lines VALUES (5, 5)');
@published = grep { !/lines/ } @published;
all_is_well('TRUNCATE that is not published');
is($node->safe_psql('postgres', 'SELECT count(*) FROM lines'), 101, 'the rows stay');
$node->safe_psql('postgres', 'DELETE FROM lines');
$pub->safe_psql('postgres', q{TRUNCATE lines; ALTER PUBLICATION shop SET (publish = 'insert, update, delete, truncate')});
push @published, 'SELECT customer, n FROM lines';
all_is_well('rows that the node deleted itself');

# ---- a table that is published later, one that is taken away, and a whole schema's change of both sides

$pub->safe_psql('postgres', q{
CREATE TABLE returns (id int PRIMARY KEY, order_id int);
INSERT INTO returns SELECT i, i * 3 FROM generate_series(1, 100) i;
ALTER PUBLICATION shop ADD TABLE returns});
$node->safe_psql('postgres', q{
CREATE TABLE returns (id int PRIMARY KEY, order_id int);
SELECT derive.create_view('returned', 'SELECT customer, count(*) FROM orders o JOIN returns r ON r.order_id = o.id GROUP BY customer');
SELECT derive.wait();
ALTER SUBSCRIPTION shop REFRESH PUBLICATION});
write_on_publisher('INSERT INTO returns VALUES (101, 31), (102, 32)', 'DELETE FROM returns WHERE id = 12');
wait_synced($node);
all_is_well('REFRESH PUBLICATION', 'SELECT id, order_id FROM returns');
$pub->safe_psql('postgres', 'ALTER PUBLICATION shop DROP TABLE returns');
$node->safe_psql('postgres', 'ALTER SUBSCRIPTION shop REFRESH PUBLICATION; DELETE FROM returns WHERE id > 50');
all_is_well('a table that is not published any more');
$node->safe_psql('postgres', q{ALTER TABLE customers ADD COLUMN city text});
$pub->safe_psql('postgres', q{ALTER TABLE customers ADD COLUMN city text});
$node->safe_psql('postgres', q{SELECT derive.create_view('cities', 'SELECT city, count(*) FROM customers GROUP BY city')});
write_on_publisher(q{UPDATE customers SET city = 'city ' || id % 3 WHERE id < 50});
all_is_well('a new column', 'SELECT id, city FROM customers');

# ---- transactions that are sent before they commit, with parts that are rolled back

foreach my $streaming ('off', 'on', $node->pg_version >= 16 ? 'parallel' : ())
{
	$node->safe_psql('postgres', "ALTER SUBSCRIPTION shop SET (streaming = $streaming)");
	write_on_publisher(q{
BEGIN;
INSERT INTO lines SELECT i % 50, i % 7 FROM generate_series(1, 5000) i;
SAVEPOINT a;
DELETE FROM lines WHERE n = 2;
UPDATE orders SET amount = amount + 1000;
ROLLBACK TO a;
UPDATE orders SET amount = amount + 1, customer = 3 WHERE id % 7 = 1;
SAVEPOINT b;
DELETE FROM lines WHERE n = 4;
RELEASE b;
COMMIT}, q{
BEGIN;
INSERT INTO lines SELECT i % 50, i % 7 FROM generate_series(1, 5000) i;
ROLLBACK});
	all_is_well("streaming = $streaming");
}

# ---- prepared transactions

$node->safe_psql('postgres', 'ALTER SUBSCRIPTION shop DISABLE');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_subscription WHERE pid IS NOT NULL}) or die;
$node->safe_psql('postgres', qq{
ALTER SUBSCRIPTION shop SET (slot_name = NONE);
DROP SUBSCRIPTION shop});
$pub->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_replication_slots WHERE active}) or die;
$pub->safe_psql('postgres', q{SELECT pg_drop_replication_slot('shop')});
$node->safe_psql('postgres', 'TRUNCATE orders, customers, lines');
$sub = 'prepared';
subscribe($node, $sub, $pub, 'two_phase = on, binary = true');
all_is_well('a copy that replaces the rows of before');
$node->poll_query_until('postgres', q{SELECT subtwophasestate = 'e' FROM pg_subscription WHERE subname = 'prepared'}) or die 'two_phase is not enabled';
write_on_publisher(q{BEGIN; INSERT INTO lines SELECT 77, i FROM generate_series(1, 10) i; UPDATE customers SET region = 'prepared' WHERE id < 20; PREPARE TRANSACTION 'kept'},
	q{BEGIN; DELETE FROM lines; PREPARE TRANSACTION 'undone'});
wait_applied($node, $sub, $pub);
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 2, 'they are prepared on the node');
write_on_publisher('INSERT INTO lines VALUES (78, 1)');
all_is_well('prepared');
is($node->safe_psql('postgres', q{SELECT count(*) FROM line_sums WHERE customer IN (77, 78)}), 1, 'what is prepared is not there');
write_on_publisher(q{COMMIT PREPARED 'kept'}, q{ROLLBACK PREPARED 'undone'});
all_is_well('committed and rolled back');
is($node->safe_psql('postgres', q{SELECT count(*) FROM line_sums WHERE customer IN (77, 78)}), 2, 'now it is');

# ---- a conflict: nothing of the transaction is there, until it is skipped or there is no conflict

$node->safe_psql('postgres', q{INSERT INTO customers VALUES (500, 'the node''s own')});
my $offset = -s $node->logfile;
write_on_publisher(q{BEGIN; INSERT INTO lines VALUES (500, 1); INSERT INTO customers VALUES (500, 'shop'); COMMIT});
my $log = log_says($node, qr/ERROR:  .*duplicate key|conflict detected/, $offset, 'a conflict');
wait_derived($node, 'a conflict');
is_exact($node, 'a conflict', undef, @histories);
is($node->safe_psql('postgres', 'SELECT count(*) FROM line_sums WHERE customer = 500'), 0, 'no part of its transaction is in a view');
$node->safe_psql('postgres', 'DELETE FROM customers WHERE id = 500');
all_is_well('a conflict that was mended');
$node->safe_psql('postgres', q{INSERT INTO customers VALUES (501, 'the node''s own')});
$offset = -s $node->logfile;
write_on_publisher(q{BEGIN; INSERT INTO lines VALUES (501, 1); INSERT INTO customers VALUES (501, 'shop'); COMMIT});
$log = log_says($node, qr/finished at [0-9A-F]+\/[0-9A-F]+/, $offset, 'a conflict says where');
my ($lsn) = $log =~ /finished at ([0-9A-F]+\/[0-9A-F]+)/;
$node->safe_psql('postgres', "ALTER SUBSCRIPTION prepared SKIP (lsn = '$lsn')");
write_on_publisher(q{DELETE FROM lines WHERE customer = 501; UPDATE customers SET region = region || '!' WHERE id = 501});
$node->safe_psql('postgres', q{SELECT 1});
wait_applied($node, $sub, $pub);
write_on_publisher('DELETE FROM customers WHERE id = 501');
all_is_well('a transaction that was skipped');

# ---- triggers: those for replicas fire, and views follow what they write; others do not, nor do foreign keys

$node->safe_psql('postgres', q{
CREATE TABLE audit (what text, n int);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.audit VALUES (TG_ARGV[0], coalesce(NEW.n, OLD.n)); RETURN NULL; END $$;
CREATE TRIGGER a AFTER INSERT OR DELETE ON lines FOR EACH ROW EXECUTE FUNCTION note('always');
CREATE TRIGGER r AFTER INSERT OR DELETE ON lines FOR EACH ROW EXECUTE FUNCTION note('replica');
CREATE TRIGGER o AFTER INSERT OR DELETE ON lines FOR EACH ROW EXECUTE FUNCTION note('origin');
ALTER TABLE lines ENABLE ALWAYS TRIGGER a;
ALTER TABLE lines ENABLE REPLICA TRIGGER r;
ALTER TABLE lines ADD FOREIGN KEY (customer) REFERENCES customers NOT VALID;
SELECT derive.create_view('audited', 'SELECT what, count(*), sum(n) FROM audit GROUP BY what');
SELECT derive.create_view('inner_join', 'SELECT l.n, c.region FROM lines l JOIN customers c ON c.id = l.customer');
SELECT derive.wait()});
write_on_publisher('BEGIN; INSERT INTO lines VALUES (9999, 3), (1, 4); DELETE FROM lines WHERE customer = 2; COMMIT', 'DELETE FROM customers WHERE id = 1');
all_is_well('triggers and foreign keys');
is($node->safe_psql('postgres', q{SELECT string_agg(what, ',' ORDER BY what) FROM audited}), 'always,replica', 'those for replicas fired');

# ---- local writes under an origin, as other tools for replication make them

$node->safe_psql('postgres', q{
SELECT pg_replication_origin_create('tool');
SELECT pg_replication_origin_session_setup('tool');
BEGIN;
SELECT pg_replication_origin_xact_setup('0/1234', now());
INSERT INTO audit SELECT 'tool', i FROM generate_series(1, 10) i;
COMMIT;
SET session_replication_role = replica;
INSERT INTO audit VALUES ('tool', 11);
SELECT pg_replication_origin_session_reset()});
all_is_well('an origin');
is($node->safe_psql('postgres', q{SELECT count FROM audited WHERE what = 'tool'}), 11, 'its rows are in the view');

# ---- a table whose only key is the index that is its identity: a view keeps it, a history would take it away

$pub->safe_psql('postgres', q{
CREATE TABLE tags (id int NOT NULL, tag text);
CREATE UNIQUE INDEX tags_key ON tags (id);
ALTER TABLE tags REPLICA IDENTITY USING INDEX tags_key;
CREATE TABLE parts (id int NOT NULL, tag text);
CREATE UNIQUE INDEX parts_key ON parts (id);
ALTER TABLE parts REPLICA IDENTITY USING INDEX parts_key;
INSERT INTO tags SELECT i, 'tag ' || i % 3 FROM generate_series(1, 30) i;
INSERT INTO parts TABLE tags;
CREATE PUBLICATION tagged FOR TABLE tags, parts});
$node->safe_psql('postgres', q{
CREATE TABLE tags (id int NOT NULL, tag text);
CREATE UNIQUE INDEX tags_key ON tags (id);
ALTER TABLE tags REPLICA IDENTITY USING INDEX tags_key;
CREATE TABLE parts (id int NOT NULL, tag text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (1000);
CREATE UNIQUE INDEX parts_key ON parts_1 (id);
ALTER TABLE parts_1 REPLICA IDENTITY USING INDEX parts_key;
SELECT derive.create_view('by_tag', 'SELECT tag, count(*), min(id) FROM tags GROUP BY tag');
SELECT derive.create_view('tag_pairs', 'SELECT a.id, b.tag FROM tags a JOIN parts b USING (id)');
SELECT derive.wait()});
subscribe($node, 'tagged', $pub, undef, 'tagged');
my $retag = q{UPDATE tags SET tag = tag || '!' WHERE id < 10; DELETE FROM tags WHERE id = 11; UPDATE parts SET id = id + 100 WHERE id > 20; DELETE FROM parts WHERE id = 1};
write_on_publisher($retag);
my $tagged = sub {
	my ($label) = @_;
	wait_applied($node, 'tagged', $pub);
	all_is_well($label, 'SELECT id, tag FROM tags', 'SELECT id, tag FROM parts');
};
$tagged->('rows found by an index');
foreach my $table ('tags', 'parts')
{
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT derive.create_view('${table}_history', 'history', '{$table}')");
	like($err, qr/ERROR:  table "(tags|parts_1)" cannot get replica identity FULL, since a subscription finds its rows by the index.*HINT:  Add a primary key/s, "a history of $table is refused");
}
$node->safe_psql('postgres', q{
ALTER TABLE tags ADD PRIMARY KEY USING INDEX tags_key;
SELECT derive.create_view('tags_history', 'history', '{tags}');
SELECT derive.wait()});
is($node->safe_psql('postgres', q{SELECT relreplident FROM pg_class WHERE relname = 'tags'}), 'f', 'with a primary key it is not');
write_on_publisher(q{UPDATE tags SET tag = tag || '?' WHERE id < 7; DELETE FROM tags WHERE id = 12});
$tagged->('rows found by a primary key');
is($node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT id, tag FROM tags_history WHERE until_lsn IS NULL EXCEPT TABLE tags) x'), 0, 'and the history has them');
$node->safe_psql('postgres', 'DROP SUBSCRIPTION tagged');
$node->safe_psql('postgres', q{SELECT derive.create_view('parts_history', 'history', '{parts}'); SELECT derive.wait()});
is($node->safe_psql('postgres', q{SELECT relreplident FROM pg_class WHERE relname = 'parts_1'}), 'f', 'without the subscription neither');

# ---- the node publishes its tables again, all that there are: none of ours is among them

my $far = derive_node('far', conf => "wal_retrieve_retry_interval = 200ms\n");
$node->safe_psql('postgres', 'CREATE PUBLICATION again FOR ALL TABLES');
my $published = $node->safe_psql('postgres', q{SELECT string_agg(format('%I.%I', schemaname, tablename), ' ') FROM pg_publication_tables WHERE pubname = 'again'});
unlike($published, qr/derive/, 'no table of ours is published');
my @tables = map { ('-t', $_) } split / /, $published;
my $schema = "$PostgreSQL::Test::Utils::tmp_check/schema.sql";
$node->command_ok([ 'pg_dump', '-s', '-O', @tables, '-t', 'public.parts', '-f', $schema, $node->connstr('postgres') ], 'the tables are dumped');
$far->safe_psql('postgres', 'CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; ALTER FUNCTION note() SET search_path = public');
$far->safe_psql('postgres', slurp_file($schema));
$far->safe_psql('postgres', q{
SELECT derive.create_view('by_region', 'SELECT region, count(*) AS n, sum(amount) FROM orders o JOIN customers c ON c.id = o.customer GROUP BY region');
SELECT derive.create_view('line_sums', 'SELECT customer, sum(n), count(*) FROM lines GROUP BY customer');
SELECT derive.wait()});
subscribe($far, 'far', $node, undef, 'again');
write_on_publisher(q{UPDATE customers SET region = 'far' WHERE id % 3 = 0; DELETE FROM lines WHERE n = 1; INSERT INTO lines VALUES (30, 30)});
all_is_well('the node in the middle');
wait_applied($far, 'far', $node);
wait_derived($far, 'the far node');
is_exact($far, 'the far node');
is_copied($node, $far, 'the far node', 'SELECT id, region FROM customers', 'SELECT customer, n FROM lines', 'SELECT id, customer, amount FROM orders', 'SELECT id, tag FROM parts');
$far->safe_psql('postgres', 'DROP SUBSCRIPTION far');
log_is_clean($far);
$far->stop;
$node->safe_psql('postgres', 'DROP PUBLICATION again');

# ---- the subscription is dropped, and the node goes on by itself

$node->safe_psql('postgres', 'DROP SUBSCRIPTION prepared');
$node->safe_psql('postgres', q{UPDATE orders SET amount = amount * 2; INSERT INTO lines SELECT 30, i FROM generate_series(1, 50) i; TRUNCATE returns});
wait_derived($node, 'without the subscription');
is_exact($node, 'without the subscription', undef, @histories);
log_is_clean($node);
$_->stop foreach $node, $pub;
done_testing();
