# derive.check() lists what is wrong, with its remedy, and create_view refuses with the
# same words; SQL objects of another version; counters of what was dropped.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('check', conf => "pg_derive.max_databases = 1\n");
my ($rc, $out, $err);

sub sql
{
	my ($sql, $db) = @_;
	return $node->safe_psql($db // 'postgres', $sql);
}

# What is wrong: setting, value, remedy.
sub wrong
{
	my ($db) = @_;
	return sql(q{SELECT string_agg(concat_ws('|', setting, coalesce(value, '-'), remedy), E'\n' ORDER BY setting) FROM derive.check() WHERE NOT ok}, $db);
}

load_tables($node);
wait_derived($node, 'built');
is(wrong(), '', 'nothing is wrong');
is(sql('SELECT count(*) FROM derive.check() WHERE remedy IS NOT NULL'), '0', 'so there are no remedies');
my $version = sql(q{SELECT extversion FROM pg_extension WHERE extname = 'pg_derive'});
is(sql(q{SELECT value FROM derive.check() WHERE setting = 'extension version'}), $version, 'the version');
is(sql(q{SELECT value ~ '^pg_derive_[0-9]+$' FROM derive.check() WHERE setting = 'replication slot'}), 't', 'the slot');

# ---- places, slots, processes

sql('CREATE DATABASE other');
sql('CREATE TABLE t (a int)', 'other');
($rc, $out, $err) = $node->psql('other', 'CREATE EXTENSION pg_derive');
like($err, qr/WARNING:  pg_derive cannot maintain views on this server yet\nDETAIL:  "pg_derive.max_databases" must leave a place for this database; it is "1"\.\nHINT:  Increase it and restart the server\./, 'no place: CREATE EXTENSION warns');
is(wrong('other'), 'pg_derive.max_databases|1|Increase it and restart the server.', 'no place: derive.check()');
($rc, $out, $err) = $node->psql('other', q{SELECT derive.create_view('v', 'SELECT count(*) FROM t')});
like($err, qr/ERROR:  too many databases with maintained views\nDETAIL:  "pg_derive.max_databases" must leave a place for this database; it is "1"\./, 'no place: create_view has the same words');

$node->append_conf('postgresql.conf', "pg_derive.max_databases = 8\n");
$node->restart;
$node->poll_query_until('other', q{SELECT ok FROM derive.check() WHERE setting = 'max_worker_processes'}) or die 'no launcher';
is(wrong('other'), '', 'a place');
my $free = sql(q{SELECT current_setting('max_replication_slots')::int - count(*) FROM pg_replication_slots});
sql("SELECT count(pg_create_logical_replication_slot('s' || i, 'test_decoding')) FROM generate_series(1, $free) i");
like(wrong('other'), qr/^max_replication_slots\|8\|Increase it and restart the server, or drop a slot/, 'no slot is free');
is(wrong(), '', 'but one is there');
sql(q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE plugin = 'test_decoding'});

sql(q{SELECT pg_create_logical_replication_slot('pg_derive_' || oid, 'test_decoding') FROM pg_database WHERE datname = current_database()}, 'other');
like(wrong('other'), qr/^replication slot\|pg_derive_\d+\|Drop one that is not pg_derive's/, 'a slot in the way');
sql(q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE plugin = 'test_decoding'});

SKIP:
{
	skip 'no setting output_plugin_libraries', 2
	  if sql(q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'}) eq '0';
	my $before = sql('SHOW output_plugin_libraries');
	sql(q{SELECT pg_create_logical_replication_slot('stream', 'pg_derive')});
	is(wrong(), '', 'a stream that may be read');
	$node->append_conf('postgresql.conf', "output_plugin_libraries = 'pgoutput'\n");
	$node->reload;
	$node->poll_query_until('postgres', q{SELECT current_setting('output_plugin_libraries') = 'pgoutput'});
	is(wrong(), 'output_plugin_libraries|pgoutput|Add pg_derive to it in postgresql.conf and reload that.', 'a stream that may not');
	sql(q{SELECT pg_drop_replication_slot('stream')});
	is(wrong(), '', 'views do not need it');
	$node->append_conf('postgresql.conf', "output_plugin_libraries = '$before'\n");
}

$node->append_conf('postgresql.conf', "max_worker_processes = 0\n");
$node->restart;
is(wrong(), 'max_worker_processes|0|Increase it and restart the server.', 'no processes');
$node->append_conf('postgresql.conf', "max_worker_processes = 24\n");
$node->restart;
wait_derived($node, 'processes');

# ---- SQL objects of another version: nobody touches them, everybody says so, and DDL works

my $words = qr/the SQL objects of extension "pg_derive" are of version 0.0, the library is of version \Q$version\E\n.*HINT:  Run ALTER EXTENSION pg_derive UPDATE/;
sql(q{UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'pg_derive'});
my $offset = -s $node->logfile;
$node->restart;
ok($node->wait_for_log(qr/pg_derive worker \w+ ERROR:  $words/, $offset), 'versions: the worker says so');
like(wrong(), qr/^extension version\|0.0\|Run ALTER EXTENSION pg_derive UPDATE; or, if the library is the older one/, 'versions: derive.check()');
($rc, $out, $err) = $node->psql('postgres', q{SELECT derive.create_view('v', 'SELECT count(*) FROM accounts')});
like($err, qr/ERROR:  pg_derive cannot maintain views on this server yet\nDETAIL:  "extension version" must be \Q$version\E, as the library; it is "0.0"\.\nHINT:  Run ALTER EXTENSION pg_derive UPDATE/, 'versions: create_view');
for my $query ('SELECT * FROM derive.views', 'SELECT * FROM derive.stats', 'SELECT * FROM derive.progress', 'SELECT * FROM derive.worker',
	'SELECT derive.wait()', q{SELECT derive.wait('joined')}, q{SELECT derive.repair('joined')}, q{SELECT * FROM derive.verify()}, q{SELECT derive.pause('joined')},
	q{SELECT derive.resume('joined')}, q{SELECT derive.release('joined')}, q{SELECT derive.drop_view('joined')}, q{SELECT derive.reset_stats()},
	q{SELECT * FROM derive.explain('joined')}, q{SELECT derive.subscribe('joined', 'x')}, q{SELECT derive.unsubscribe('x')}, q{SELECT * FROM derive.poll('x')},
	q{SELECT derive.replace_view('joined', 'SELECT 1')}, q{SELECT derive.wait_replaced('joined')}, q{SELECT derive.create_topic('topic', 'a int')})
{
	($rc, $out, $err) = $node->psql('postgres', $query);
	like($err, qr/are of version 0.0|"extension version" must be \Q$version\E/, "versions: $query");
}
# what sessions do is not seen
sql(q{UPDATE accounts SET balance = 5 WHERE id < 100; CREATE TABLE x (a int); CREATE MATERIALIZED VIEW m AS SELECT 1; DROP MATERIALIZED VIEW m; DROP TABLE x; REFRESH MATERIALIZED VIEW by_branch});
sql('UPDATE accounts SET balance = 6 WHERE id < 200');
is(sql('SELECT count(*) > 0 FROM by_branch'), 't', 'versions: views can be read');
is(sql('SELECT count(*) FROM pg_replication_slots WHERE plugin = $$pg_derive$$'), '1', 'versions: the log is kept');
sql(qq{UPDATE pg_extension SET extversion = '$version' WHERE extname = 'pg_derive'});
wait_derived($node, 'versions agree again');
is_exact($node, 'versions agree again');

# a worker that runs is told
$offset = -s $node->logfile;
sql(q{UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'pg_derive'; ALTER EXTENSION pg_derive UPDATE TO '0.0'});
ok($node->wait_for_log(qr/pg_derive worker \w+ ERROR:  $words/, $offset), 'versions: a worker that runs is told');
sql('UPDATE accounts SET balance = 7 WHERE id < 300; REFRESH MATERIALIZED VIEW joined; UPDATE accounts SET branch = 8 WHERE id < 100');
sql(qq{UPDATE pg_extension SET extversion = '$version' WHERE extname = 'pg_derive'; ALTER EXTENSION pg_derive UPDATE TO '$version'});
wait_derived($node, 'versions: and again');
is_exact($node, 'versions: and again');
sql(q{UPDATE pg_extension SET extversion = '0.0' WHERE extname = 'pg_derive'});
$node->restart;
($rc, $out, $err) = $node->psql('postgres', 'DROP EXTENSION pg_derive CASCADE');
is($rc, 0, 'versions: the extension can be dropped');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_replication_slots'), 'versions: and takes its slot along');

# ---- counters of views and databases that are no more

for my $db ('other', 'third')
{
	sql("CREATE DATABASE $db") if $db eq 'third';
	sql(q{CREATE EXTENSION IF NOT EXISTS pg_derive; CREATE TABLE IF NOT EXISTS t (a int); SELECT derive.create_view('v', 'SELECT count(*) FROM t'), derive.create_view('w', 'SELECT sum(a) FROM t'); SELECT derive.wait(); INSERT INTO t VALUES (1); SELECT derive.wait()}, $db);
}
sub entries
{
	my ($label) = @_;
	$node->stop;
	open my $file, '<:raw', $node->data_dir . '/pg_stat/pg_derive.stat' or die $!;
	read $file, my $header, 8;
	close $file;
	$node->start;
	return (unpack 'L2', $header)[1];
}
is(entries(), 4, 'counters of 4 views');
sql('DROP MATERIALIZED VIEW w', 'other');
sql('DROP EXTENSION pg_derive CASCADE', 'third');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM pg_replication_slots'), 'the worker has left');
is(entries(), 1, 'dropped with us');
sql(q{CREATE EXTENSION pg_derive; SELECT derive.create_view('x', 'SELECT sum(a) FROM t'); SELECT derive.wait()}, 'third');
sql(q{SELECT derive.create_view('w', 'SELECT sum(a) FROM t'); SELECT derive.wait()}, 'other');
is(entries(), 3, 'and three again');
sql('DROP DATABASE third');
is(entries(), 2, 'DROP DATABASE');
sql("CREATE DATABASE third");
sql(q{CREATE EXTENSION pg_derive; CREATE TABLE t (a int); SELECT derive.create_view('v', 'SELECT sum(a) FROM t'); SELECT derive.wait()}, 'third');
is(entries(), 3, 'another one');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
sql('DROP MATERIALIZED VIEW w', 'other');
sql(q{SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = 'third'});
sql('DROP DATABASE third');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'\n");
$node->restart;
wait_derived($node, 'with the library', 'other');
is(entries(), 1, 'dropped without us');

log_is_clean($node);
$node->stop;
done_testing();
