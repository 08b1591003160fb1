# pg_derive_kafka with one node of Apache Kafka: what records look like, what becomes of DDL, TRUNCATE and views that
# are replaced, what is refused, and that a program killed at each of its dangerous places has every change
# in Kafka once.  The longer ones are 085 to 087.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use JSON::PP;
use KafkaTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $kafka = kafka_start(1);
my $node = derive_node('kafka');

# The table that a topic describes equals the relation, both ways.  Of json, which has blanks, is said more below.
sub topic_equals
{
	my ($topic, $relation, $label) = @_;
	my ($theirs, $ours) = map { "SELECT to_jsonb(this_row) - 'j' FROM $_ this_row" } 'rebuilt', $relation;
	kafka_load_table($kafka, $node, $topic, $relation, 'rebuilt');
	is( $node->safe_psql('postgres', qq{
		SELECT (SELECT count(*) FROM ($theirs EXCEPT ALL $ours) d) || ' too many, '
			|| (SELECT count(*) FROM ($ours EXCEPT ALL $theirs) d) || ' missing'}),
		'0 too many, 0 missing', $label);
	return;
}

sub records_of
{
	my ($columns, $condition) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM (SELECT * FROM rebuilt_records ORDER BY partition, record_offset) r WHERE $condition");
}

# --- to Kafka -----------------------------------------------------------------

$node->safe_psql('postgres', q{
CREATE TYPE mood AS ENUM ('happy', 'so "so"');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN small AS positive;
CREATE TABLE types (
	id int PRIMARY KEY, i2 int2, i8 int8, o oid, n numeric, f4 float4, f8 float8, b bool, t text, vc varchar(20), c char(5),
	nm name, by bytea, d date, tm time, tz timetz, ts timestamp, tstz timestamptz, iv interval, u uuid, j json, jb jsonb,
	p point, r int4range, ia int[], ta text[], m mood, pr pair, dom small, mo money, ip inet, "odd ""name'%s" text,
	g int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE types REPLICA IDENTITY FULL;
INSERT INTO types VALUES (1, -2, 9223372036854775807, 4294967295, 1.50, 1.5, 1e300, true, E'tab\t"quote" \\ line\n é €', 'vc', 'ab',
	'nm', '\xdeadbeef', '2026-11-23', '12:34:56.5', '12:34:56+02', '2026-11-23 12:34:56.789', '2026-11-23 12:34:56.789+01', '1 day 02:03:04',
	'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', E'{"a":\n1,  "b":[]}', '{"a": 1.10}', '(1,2)', '[1,5)', '{1,NULL,3}', '{a,"b c"}',
	'so "so"', '(1,"x y")', 7, 12.34, '10.0.0.1/8', 'odd');
INSERT INTO types (id) VALUES (2);
INSERT INTO types (id, n, f4, f8, d, ts, tstz, pr) VALUES (3, 'NaN', 'Infinity', '-Infinity', 'infinity', '-infinity', 'infinity', ROW(NULL, NULL));
INSERT INTO types (id, n) VALUES (4, repeat('1234567890', 20)::numeric / 7);
CREATE TABLE orders (id int PRIMARY KEY, region text, amount numeric NOT NULL);
INSERT INTO orders SELECT i, CASE WHEN i % 4 <> 0 THEN 'r' || i % 4 END, i FROM generate_series(1, 1000) i;
CREATE TABLE log (line text, at int);
ALTER TABLE log REPLICA IDENTITY FULL;
INSERT INTO log VALUES ('first', 1), ('same', 2), ('same', 2);
SELECT derive.create_view('totals', 'SELECT region, count(*), sum(amount) FROM orders GROUP BY region');
SELECT derive.create_topic('clicks', 'page text, n int');
});
wait_derived($node, 'views are built');
$node->safe_psql('postgres', q{
CREATE UNIQUE INDEX ON totals (region) NULLS NOT DISTINCT;
CREATE UNIQUE INDEX ON clicks (event_id);
ALTER MATERIALIZED VIEW totals REPLICA IDENTITY FULL;
ALTER MATERIALIZED VIEW clicks REPLICA IDENTITY FULL;
SELECT derive.append('clicks', ROW('/', 1)), derive.append('clicks', ROW('/cart', 2));
});
wait_derived($node, 'events are there');

my $arguments = to_kafka($node, $kafka, 'shop', 'public.types, public.orders, public.log, public.totals, public.clicks', '--keyless=public.log');

# Killed while it loads, and when the load is done but not committed: nothing of it counts.
foreach my $point ('load:500', 'before_commit')
{
	my $dying = connector_start('dying', $arguments, env => { PG_DERIVE_KAFKA_KILL => $point });
	is(connector_ends($dying), -9, "killed at $point");
}
my $program = connector_start('shop', $arguments);
ok(connector_waits($program, qr/following 5 relations/), 'it follows') or BAIL_OUT(connector_log($program));
topic_equals("shop.public.$_", $_, "initial rows of $_") foreach qw(types orders totals clicks);
is(records_of(q{count(*), count(*) FILTER (WHERE value->>'op' = 'r' AND value->'source'->>'snapshot' = 'true')}, 'true'), '2|2', 'initial rows are once there, and say so');
kafka_load_records($kafka, $node, 'shop.public.orders', 'rebuilt_records');
is(records_of('count(*), count(DISTINCT key), count(DISTINCT schema)', 'true'), '1000|1000|1', 'each initial row is one record');

# A row that is read, and the same one as the stream writes it, are the same bytes.
$node->safe_psql('postgres', 'UPDATE types SET id = id + 10; UPDATE types SET id = id - 10');
ok(kafka_caught_up($node, 'shop'), 'caught up');
topic_equals('shop.public.types', 'types', 'every type');
{
	my %bytes;
	foreach my $record (kafka_records($kafka, 'shop.public.types'))
	{
		next unless defined $record->{payload};
		my ($row, $op) = $record->{payload} =~ /,"after":(\{.*\}),"source":.*"op":"(.)"/ or next;
		push @{ $bytes{"$record->{key} $op"} }, "$record->{headers}[1] $row";
	}
	is($bytes{"{\"id\":$_} c"}[0], $bytes{"{\"id\":$_} r"}[0], "row $_ as the stream writes it") foreach 1 .. 4;
}

# Inserts, updates, deletes, keys that change, and several of them of one key in a transaction.
$node->safe_psql('postgres', q{
INSERT INTO orders VALUES (2001, 'r9', 5), (2002, 'r9', 7);
UPDATE orders SET amount = 6 WHERE id = 2001;
UPDATE orders SET id = 3001 WHERE id = 2001;
DELETE FROM orders WHERE id = 2002;
BEGIN;
INSERT INTO orders VALUES (4001, 'r1', 1);
UPDATE orders SET amount = 2 WHERE id = 4001;
DELETE FROM orders WHERE id = 4001;
INSERT INTO orders VALUES (4001, 'r2', 3);
COMMIT;
BEGIN;
INSERT INTO orders VALUES (5001, 'never', 1);
ROLLBACK;
INSERT INTO log VALUES ('last', 3);
SELECT derive.append('clicks', '{"page": "/pay", "n": 3}');
});
wait_derived($node);
ok(kafka_caught_up($node, 'shop'), 'caught up');
topic_equals("shop.public.$_", $_, "$_ after changes") foreach qw(clicks totals orders);
my $ops = q{coalesce(value->>'op', 'tombstone')};
is(records_of($ops, q{key = '{"id": 2001}'}), "c\nu\nd\ntombstone", 'a key that changes: its old one');
is(records_of($ops, q{key = '{"id": 3001}'}), 'c', 'and its new one');
is(records_of($ops, q{key = '{"id": 4001}'}), "c\nu\nd\ntombstone\nc", 'one key in one transaction');
is(records_of('count(*)', q{key = '{"id": 5001}'}), '0', 'what was rolled back is not there');
is(records_of(q{value->'before'->>'id', value->'after'->>'amount', value->'source'->>'table', value->'source'->>'db', value->'source'->>'name'},
		q{key = '{"id": 4001}' AND value->>'op' = 'u'}), '|2|orders|postgres|shop', 'the envelope, without an old row');
is(records_of(q{count(DISTINCT value->'source'->>'lsn'), count(DISTINCT value->'source'->>'txId'), count(DISTINCT value->'source'->>'sequence')},
		q{key = '{"id": 4001}' AND value IS NOT NULL}), '1|1|4', 'lsn and txId are those of the transaction');
is( $node->safe_psql('postgres', q{SELECT value->'source'->>'txId' = orders.xmin::text FROM rebuilt_records, orders WHERE id = 3001 AND key = '{"id": 3001}'}),
	't', 'txId');
kafka_load_records($kafka, $node, 'shop.public.log', 'lines');
is($node->safe_psql('postgres', q{SELECT value->'after'->>'line', key FROM lines ORDER BY 1}), "first|\nlast|\nsame|\nsame|", 'records without keys');

# A value that is not in the log, in a table with a key: as Debezium writes it.
{
	$node->safe_psql('postgres', q{
	CREATE TABLE large (id int PRIMARY KEY, body text, n int);
	ALTER TABLE large ALTER body SET STORAGE EXTERNAL;
	INSERT INTO large VALUES (1, repeat('x', 10000), 1);
	});
	my $large = connector_start('large', to_kafka($node, $kafka, 'large', 'public.large'));
	connector_waits($large, qr/following/);
	$node->safe_psql('postgres', q{UPDATE large SET n = 2; UPDATE large SET id = 2; UPDATE large SET body = 'small'; DELETE FROM large});
	ok(kafka_caught_up($node, 'large'), 'caught up');
	is(connector_stop($large), 0, 'ends');
	kafka_load_records($kafka, $node, 'large.public.large', 'lines');
	is( $node->safe_psql('postgres', q{
		SELECT value->>'op', value->'before', coalesce(left(value->'after'->>'body', 30), '-'), value->'after'->>'n'
		FROM lines WHERE value IS NOT NULL ORDER BY (value->'source'->>'lsn')::bigint, value->>'op' DESC}),
		join("\n", 'r|null|' . 'x' x 30 . '|1', 'u|null|__debezium_unavailable_value|2', 'd|{"id": 1}|-|', 'c|null|__debezium_unavailable_value|2',
			'u|null|small|2', 'd|{"id": 2}|-|'), 'large values, and old rows of which the log has the key');
}

# So may be a column of the key: an UPDATE that leaves it alone has it in its old row only.
{
	$node->safe_psql('postgres', q{
	CREATE TABLE wide (k text, n int, more text, PRIMARY KEY (n, k));
	ALTER TABLE wide ALTER k SET STORAGE EXTERNAL, ALTER more SET STORAGE PLAIN;
	INSERT INTO wide VALUES (repeat('k', 2100), 1, repeat('m', 500));
	});
	my $wide = connector_start('wide', to_kafka($node, $kafka, 'wide', 'public.wide'));
	connector_waits($wide, qr/following/);
	$node->safe_psql('postgres', q{UPDATE wide SET more = 'x'; UPDATE wide SET n = 2; DELETE FROM wide});
	ok(kafka_caught_up($node, 'wide'), 'caught up');
	is(connector_stop($wide), 0, 'ends');
	kafka_load_records($kafka, $node, 'wide.public.wide', 'lines');
	is( $node->safe_psql('postgres', q{
		SELECT coalesce(value->>'op', 'tombstone'), key->>'n', length(key->>'k') FROM lines ORDER BY key->>'n', record_offset}),
		join("\n", 'r|1|2100', 'u|1|2100', 'd|1|2100', 'tombstone|1|2100', 'c|2|2100', 'd|2|2100', 'tombstone|2|2100'), 'a large key');
	$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('kafka_wide')});
}

# In a database of another encoding rows that are read are the same bytes as those of the stream, too.
{
	$node->safe_psql('postgres', q{CREATE DATABASE latin TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'});
	$node->safe_psql('latin', q{
	SET client_encoding = 'UTF8';
	CREATE TABLE "größe" ("schlüssel" text PRIMARY KEY, j json);
	INSERT INTO "größe" VALUES (E'\u00e9 "q" \\ \t', '{"ä": 1}');
	});
	my $latin = connector_start('latin', [ grep({ !/^--database/ } @{ to_kafka($node, $kafka, 'latin', 'public.größe') }), '--database=' . $node->connstr('latin') ]);
	connector_waits($latin, qr/following/);
	$node->safe_psql('latin', q{SET client_encoding = 'UTF8'; UPDATE "größe" SET "schlüssel" = 'x'; UPDATE "größe" SET "schlüssel" = E'\u00e9 "q" \\ \t'});
	ok(kafka_caught_up($node, 'latin'), 'caught up');
	is(connector_stop($latin), 0, 'ends');
	my @rows = map { [ $_->{key}, $_->{headers}[1], $_->{payload} =~ /"after":(\{.*?\}),"source"/, $_->{payload} =~ /"op":"(.)"/ ] }
	  grep { defined $_->{payload} && $_->{key} =~ /q/ } kafka_records($kafka, 'latin.public.gr__e');
	is(join(' ', map { $_->[-1] } @rows), 'r d c', 'a table in LATIN1');
	is_deeply([ @{ $rows[2] }[ 0 .. 2 ] ], [ @{ $rows[0] }[ 0 .. 2 ] ], 'the same bytes');
	like($rows[0][0], qr/^\{"schl\\u00fcssel":"\\u00e9 /, 'which are ASCII');
	$node->safe_psql('latin', q{SELECT pg_drop_replication_slot('kafka_latin')});
	$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('kafka_large')});
}

# Kafka's own consumer sees the same.
my @seen = map { join("\t", "schema:$_->{headers}[1]", $_->{key}, $_->{payload} // 'null') . "\n" } kafka_records($kafka, 'shop.public.totals');
is(join('', sort(split(/^/, kafka_console($kafka, 'shop.public.totals', scalar(@seen), 'print.key=true', 'print.headers=true')))),
	join('', sort @seen), 'what the console consumer prints');
like(join('', @seen), qr/^schema:[0-9a-f]{16}\t\{"region":null\}\t\{"before":null,"after":\{"region":null,"count":250,/m, 'which is this');

# DDL: each record says what its row was like, and the control topic what that means.
$node->safe_psql('postgres', q{
ALTER TABLE orders ADD COLUMN note varchar(10) DEFAULT 'old';
INSERT INTO orders VALUES (6001, 'r1', 1, 'new');
ALTER TABLE orders ALTER COLUMN note TYPE text;
INSERT INTO orders VALUES (6004, 'r1', 1, 'new');
});
ok(kafka_caught_up($node, 'shop'), 'caught up');
kafka_load_records($kafka, $node, 'shop.public.orders', 'rebuilt_records');
my %schema = map { ($_->{key} => $_->{payload}) } grep { $_->{key} =~ /^schema shop\.public\.orders / } kafka_records($kafka, 'shop.control');
my @ids = split /\n/, $node->safe_psql('postgres',
	q{SELECT schema FROM (SELECT DISTINCT ON (schema) schema, (value->'source'->>'lsn')::bigint AS lsn FROM rebuilt_records ORDER BY schema, lsn) s ORDER BY lsn});
is(scalar(@ids), 3, 'three schemas');
my @types = map { join ' ', map { "$_->{name}:$_->{type}" } @{ decode_json($schema{"schema shop.public.orders $_"} // '[]') } } @ids;
is($types[0], 'id:integer region:text amount:numeric', 'the first schema');
is($types[1], 'id:integer region:text amount:numeric note:character varying(10)', 'the second schema');
is($types[2], 'id:integer region:text amount:numeric note:text', 'the third schema');

# Another key: the rows come again under it, and those of the old one are deleted.
foreach my $rename ('id TO number', 'number TO id')
{
	my ($old, $new) = split / TO /, $rename;
	my $from = length(connector_log($program));
	$node->safe_psql('postgres', "ALTER TABLE orders RENAME COLUMN $rename; INSERT INTO orders SELECT max($new) + 1, 'r1', 1, 'new' FROM orders");
	ok(connector_waits($program, qr/"orders" is another relation, or has another key: .*initial rows/s, $from), "it hears of $rename");
	$node->safe_psql('postgres', "INSERT INTO orders SELECT max($new) + 1, 'r1', 1, 'new' FROM orders");
	ok(kafka_caught_up($node, 'shop'), 'caught up');
	topic_equals('shop.public.orders', 'orders', "rows by another key ($rename)");
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT DISTINCT ON (key) * FROM rebuilt_records ORDER BY key, record_offset DESC) r
		WHERE value IS NOT NULL AND key ? '$old'"), 0, 'and none by the old one');
}

# TRUNCATE, with rows before it and after it in the same transaction, and in those just before.
foreach my $kill ('', 'truncate')
{
	if ($kill)
	{
		is(connector_stop($program), 0, 'ends when it is told to');
		$program = connector_start('shop', $arguments, env => { PG_DERIVE_KAFKA_KILL => $kill });
	}
	$node->safe_psql('postgres', q{
	INSERT INTO orders VALUES (7000, 'before', 1, NULL);
	BEGIN;
	INSERT INTO orders VALUES (7001, 'before', 1, NULL);
	TRUNCATE orders;
	INSERT INTO orders VALUES (7001, 'after', 1, NULL), (7002, 'after', 2, NULL);
	TRUNCATE orders;
	INSERT INTO orders VALUES (7002, 'after', 2, NULL), (7003, 'after', 2, NULL);
	COMMIT;
	TRUNCATE log;
	});
	if ($kill)
	{
		is(connector_ends($program), -9, 'killed in TRUNCATE');
		$program = connector_start('shop', $arguments);
	}
	wait_derived($node);
	ok(kafka_caught_up($node, 'shop'), 'caught up');
	# a key by another name was renamed before, and is another key
	topic_equals("shop.public.$_", $_, "$_ after TRUNCATE") foreach qw(totals orders);
}
kafka_load_records($kafka, $node, 'shop.public.log', 'lines');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT partition) FROM lines WHERE value->>'op' = 't'}), '6|3', 'each partition of a topic without keys hears of it');

# A view that gets another query is read anew.
$node->safe_psql('postgres', q{SELECT derive.replace_view('totals', 'SELECT region, count(*), max(amount) AS sum FROM orders GROUP BY region')});
$node->safe_psql('postgres', q{SELECT derive.wait_replaced('totals', '1 min')});
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (8001, 'later', 8, NULL)});
wait_derived($node);
ok(connector_waits($program, qr/was replaced/), 'it hears that the view was replaced');
ok(kafka_caught_up($node, 'shop'), 'caught up');
topic_equals('shop.public.totals', 'totals', 'the view with another query');
wait_derived($node);
views_are_exact($node, 'the views themselves');

# Killed between a commit here and one there, each once.
foreach my $point (qw(send:30 before_commit after_commit:2))
{
	connector_stop($program);
	$program = connector_start('shop', $arguments, env => { PG_DERIVE_KAFKA_KILL => $point });
	connector_waits($program, qr/following 5 relations(?!.*following)/s);
	$node->safe_psql('postgres', "INSERT INTO orders SELECT i, 'many', i, '$point' FROM generate_series(9000 + $_ * 10, 9009 + $_ * 10) i;") foreach 1 .. 20;
	is(connector_ends($program), -9, "killed at $point");
	$program = connector_start('shop', $arguments);
	wait_derived($node);
	ok(kafka_caught_up($node, 'shop'), 'caught up');
	topic_equals("shop.public.$_", $_, "$_ after a kill at $point") foreach qw(totals orders);
	is(records_of('count(*), count(DISTINCT key)', "value->'after'->>'note' = '$point'"), '200|200', 'every record once');
	$node->safe_psql('postgres', q{DELETE FROM orders WHERE region = 'many'});
}

# Another one with the same name waits for the slot, and takes over.
my $second = connector_start('second', $arguments);
ok(connector_waits($second, qr/is in use/), 'a second program waits');
connector_kill($program);
ok(connector_waits($second, qr/following/), 'and takes over');
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (9999, 'second', 1, NULL)});
ok(kafka_caught_up($node, 'shop'), 'caught up');
topic_equals('shop.public.orders', 'orders', 'orders by the second program');
connector_stop($second);

# The slot is lost: it stops, or reads all rows anew.
$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('kafka_shop'); DELETE FROM orders WHERE id = 9999; INSERT INTO orders VALUES (9998, 'gap', 1, NULL)});
wait_derived($node);
$program = connector_start('shop', $arguments);
is(connector_ends($program), 1, 'stops where its slot is lost');
like(connector_log($program), qr/is lost, and with it changes since/, 'and says so');
$program = connector_start('shop', [ @$arguments, '--reload_lost=on' ]);
ok(connector_waits($program, qr/reading all rows anew.*following/s), 'reads all rows anew');
topic_equals("shop.public.$_", $_, "$_ after the slot was lost") foreach qw(totals orders);
is(connector_stop($program), 0, 'ends');

# A relation that was not followed for a while is read anew when it is again; others are not.
connector_stop(connector_start_and_wait(to_kafka($node, $kafka, 'shop', 'public.totals')));
$node->safe_psql('postgres', q{INSERT INTO orders VALUES (9997, 'unseen', 1, NULL)});
wait_derived($node);
connector_stop(connector_start_and_wait(to_kafka($node, $kafka, 'shop', 'public.totals, public.orders')));
topic_equals("shop.public.$_", $_, "$_ after a rest") foreach qw(totals orders);

sub connector_start_and_wait
{
	my ($with) = @_;
	my $again = connector_start('again', $with);
	my $from = length(connector_log($again));
	ok(connector_waits($again, qr/following/, $from), 'follows other relations');
	$node->safe_psql('postgres', q{INSERT INTO orders VALUES (9996, 'x', 1, NULL); DELETE FROM orders WHERE id = 9996});
	wait_derived($node);
	ok(kafka_caught_up($node, 'shop'), 'caught up');
	return $again;
}

# --- what is refused ------------------------------------------------------------

$node->safe_psql('postgres', q{
CREATE TABLE nokey (a int);
CREATE UNLOGGED TABLE unlogged (a int PRIMARY KEY);
CREATE TABLE parted (a int PRIMARY KEY) PARTITION BY RANGE (a);
CREATE MATERIALIZED VIEW noidentity AS SELECT 1 AS a;
CREATE VIEW plain AS SELECT 1 AS a;
CREATE TABLE nulls (a int UNIQUE, b int); ALTER TABLE nulls REPLICA IDENTITY FULL;
});
my @refused = (
	[ 'public.nokey',      qr/no unique index by which its rows can be known; give it a primary key/ ],
	[ 'public.unlogged',   qr/not in the write-ahead log/ ],
	[ 'public.parted',     qr/it is partitioned; name its partitions/ ],
	[ 'public.noidentity', qr/old rows are not in the log; ALTER MATERIALIZED VIEW .* REPLICA IDENTITY FULL/ ],
	[ 'public.plain',      qr/neither a table nor a materialized view/ ],
	[ 'public.nothing',    qr/there is no such relation/ ],
	[ 'public.nokey', qr/old rows are not in the log; give it a primary key/, '--keyless=public.nokey' ],
	[ 'derive_state.views', qr/there is no such relation/ ],
	[ 'nothing',           qr/is no name of a relation/ ]);
foreach (@refused)
{
	my ($relation, $message, @options) = @$_;
	my $refused = connector_start("refused $relation @options", to_kafka($node, $kafka, 'refused', $relation, @options));
	is(connector_ends($refused), 1, "$relation @options is refused");
	like(connector_log($refused), $message, "$relation @options: why");
}
my $nulls = connector_start('nulls', to_kafka($node, $kafka, 'nulls', 'public.nulls'));
ok(connector_waits($nulls, qr/following/), 'a key that allows NULLs will do');
$node->safe_psql('postgres', 'INSERT INTO nulls VALUES (1, 1), (NULL, 2)');
is(connector_ends($nulls), 1, 'until there is one');
like(connector_log($nulls), qr/NULLS NOT DISTINCT/, 'and why');
is(scalar(kafka_records($kafka, 'nulls.public.nulls')), 0, 'nothing of that transaction is there');

# --- from Kafka -----------------------------------------------------------------

kafka_create_topic($kafka, 'in', 2);
$node->safe_psql('postgres', q{
SELECT derive.create_topic('incoming', 'id int, what text, k text, p int, o bigint, t timestamptz, f text');
SELECT derive.create_view('by_what', 'SELECT what, count(*), sum(id) FROM incoming GROUP BY what');
});
wait_derived($node);
my @columns = map { "--$_->[0]_column=$_->[1]" } [qw(key k)], [qw(partition p)], [qw(offset o)], [qw(time t)], [qw(topic f)];
my $into = from_kafka($node, $kafka, 'reader', 'in', 'public.incoming', @columns);
kafka_send($kafka, 'in', join('', map { "k$_\t{\"id\": $_, \"what\": \"w" . $_ % 3 . "\"}\n" } 1 .. 500));
foreach my $point (qw(before_commit after_commit))
{
	my $dying = connector_start('dying', $into, env => { PG_DERIVE_KAFKA_KILL => $point });
	is(connector_ends($dying), -9, "killed at $point");
}
# Somebody else has made its tables: a trigger there would run with our rights.
$node->safe_psql('postgres', q{
ALTER SCHEMA derive_kafka RENAME TO put_aside;
CREATE ROLE stranger;
CREATE SCHEMA derive_kafka AUTHORIZATION stranger;
CREATE TABLE derive_kafka.offsets (LIKE put_aside.offsets INCLUDING ALL);
CREATE TABLE derive_kafka.dead_letters (LIKE put_aside.dead_letters INCLUDING ALL);
ALTER TABLE derive_kafka.offsets OWNER TO stranger;
ALTER TABLE derive_kafka.dead_letters OWNER TO stranger;
});
foreach my $owner (qw(schema offsets dead_letters))
{
	my $refused = connector_start("stranger $owner", $into);
	is(connector_ends($refused), 1, "stops where a stranger has $owner");
	like(connector_log($refused), qr/belongs to role "stranger", of which ".*" is no member/, 'and says so');
	$node->safe_psql('postgres', 'ALTER ' . ($owner eq 'schema' ? 'SCHEMA derive_kafka' : "TABLE derive_kafka.$owner") . ' OWNER TO CURRENT_USER');
}
$node->safe_psql('postgres', q{DROP SCHEMA derive_kafka CASCADE; ALTER SCHEMA put_aside RENAME TO derive_kafka; DROP ROLE stranger});

my $reader = connector_start('reader', $into);
kafka_send($kafka, 'in', join('', map { "k$_\t{\"id\": $_, \"what\": \"w" . $_ % 3 . "\"}\n" } 501 .. 1000));

sub has_read
{
	my ($number) = @_;
	return $node->poll_query_until('postgres', qq{SELECT sum(next_offset) = $number FROM derive_kafka.offsets WHERE name = 'reader'});
}
ok(has_read(1000), 'all records are read');
wait_derived($node);
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT id), count(DISTINCT (p, o)), bool_and(k = 'k' || id), bool_and(f = 'in'),
	bool_and(t > now() - interval '10 min') FROM incoming}), '1000|1000|1000|t|t|t', 'each is one event');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (SELECT o, lag(o) OVER (PARTITION BY p ORDER BY event_id) AS before FROM incoming) q WHERE o <= before}),
	'0', 'in the order of its partition');
is($node->safe_psql('postgres', q{SELECT * FROM by_what ORDER BY 1}), join("\n", map { my $w = $_; my @i = grep { $_ % 3 == $w } 1 .. 1000; "w$w|" . @i . '|' . eval { my $s = 0; $s += $_ foreach @i; $s } } 0 .. 2),
	'the view is that of what was sent');

# Records that cannot be events: stop there, or put them aside.
kafka_send($kafka, 'in', qq{bad\tno json\nbad\t{"unknown": 1}\nbad\t{"id": "x"}\nbad\t[1]\nbad\t{"what": "a\\u0000b"}\ngood\t{"id": 2000, "what": "good"}\n});
is(connector_ends($reader), 1, 'stops at a record that cannot be an event');
like(connector_log($reader), qr/record \d+ of partition \d of "in" cannot be an event: invalid input syntax for type json/, 'and says which');
$reader = connector_start('reader', [ @$into, '--dead_letters=on' ]);
ok(has_read(1006), 'or goes on');
is($node->safe_psql('postgres', q{SELECT string_agg(convert_from(value, 'UTF8'), ' ' ORDER BY record_offset), bool_and(key = 'bad') FROM derive_kafka.dead_letters}),
	'no json {"unknown": 1} {"id": "x"} [1] {"what": "a\u0000b"}|t', 'dead letters');
wait_derived($node);
is($node->safe_psql('postgres', q{SELECT count(*), max(id) FROM incoming}), '1001|2000', 'the others are events');
kafka_send($kafka, 'in', "gone\t\n", '-Z');
ok(has_read(1007), 'a tombstone is passed over');
is(connector_stop($reader), 0, 'ends when it is told to');

# Records that are read again may be among the dead letters.
$node->safe_psql('postgres', q{UPDATE derive_kafka.offsets SET next_offset = 0 WHERE name = 'reader'; UPDATE derive_kafka.dead_letters SET error = 'old'});
$reader = connector_start('reader', [ @$into, '--dead_letters=on' ]);
ok(has_read(1007), 'all is read again');
is($node->safe_psql('postgres', q{SELECT count(*), count(*) FILTER (WHERE error = 'old') FROM derive_kafka.dead_letters}), '5|0', 'dead letters are written anew');
is(connector_stop($reader), 0, 'ends when it is told to');

# The whole value in one column, of several topics.
kafka_create_topic($kafka, 'in2', 1);
$node->safe_psql('postgres', q{SELECT derive.create_topic('whole', 'v jsonb, f text')});
wait_derived($node);
kafka_send($kafka, 'in2', "a\t[1, {\"x\": 2}]\nb\t3\n");
my $whole = connector_start('whole', from_kafka($node, $kafka, 'whole', 'in2', 'whole', '--value_column=v', '--topic_column=f'));
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM whole}), 'values as a whole');
is($node->safe_psql('postgres', q{SELECT string_agg(v::text, ' ' ORDER BY event_id), min(f) FROM whole}), '[1, {"x": 2}] 3|in2', 'as they are');
is(connector_stop($whole), 0, 'ends');

# The offset comes to the end of a partition, behind the marks of transactions.
my $ends = connector_start('ends', from_kafka($node, $kafka, 'ends', 'shop.public.log', 'whole', '--value_column=v'));
my @at_end = map { kafka_end($kafka, 'shop.public.log', $_) } 0 .. 2;
ok($node->poll_query_until('postgres', qq{SELECT string_agg(next_offset::text, ' ' ORDER BY partition) = '@at_end' FROM derive_kafka.offsets WHERE name = 'ends'}),
	'offsets come to the ends');
is(connector_stop($ends), 0, 'ends');

wait_derived($node);
views_are_exact($node, 'at the end');
log_is_clean($node);
$node->stop;
kafka_stop($kafka);
done_testing();
