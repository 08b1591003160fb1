# Who reads can always go on, and gets the same whoever he is: the event stream and
# subscriptions with values that cannot be written, in other encodings, under other
# settings.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('readers', initdb => [ '--locale=C', '--encoding=UTF8' ]);
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

# A database in an encoding, with the extension and a slot
sub database
{
	my ($name, $encoding) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$node->safe_psql($name, "CREATE EXTENSION pg_derive; SELECT pg_create_logical_replication_slot('$name', 'pg_derive')");
	return;
}

# What the slot has, by the SQL functions, under settings
sub peek
{
	my ($name, $settings) = @_;
	return $node->safe_psql($name, ($settings // '') .
		"; SELECT data FROM pg_logical_slot_peek_changes('$name', NULL, NULL, 'include_xids', 'off', 'include_lsns', 'off', 'include_times', 'off', 'tables', '*.*', 'exclude', 'derive_state.*')");
}

# The same by pg_recvlogical: bytes, as they come
sub receive
{
	my ($name, @options) = @_;
	my $end = $node->safe_psql($name, 'SELECT pg_current_wal_lsn()');
	my ($out, $err) = ('', '');
	IPC::Run::run(
		[
			$node->installed_command('pg_recvlogical'), '-h', $node->host, '-p', $node->port, '-d', $name,
			'--slot', $name, '--start', '--endpos', $end, '--no-loop', '-f', '-',
			(map { ('-o', $_) } 'include_xids=off', 'include_lsns=off', 'include_times=off', @options)
		], '>', \$out, '2>', \$err, IPC::Run::timeout($timeout));
	diag($err) if $err ne '';
	return $out;
}

# Lines of JSON, as UTF-8, that are events of a table or messages
sub events
{
	my ($lines) = @_;
	return grep { $_->{event} !~ /^(begin|commit)$/ } map { JSON::PP->new->utf8->decode($_) } split /\n/, $lines;
}

# Settings
database('settings', 'UTF8');
$node->safe_psql('settings', q{
CREATE SCHEMA s; CREATE TABLE s.r (); CREATE DOMAIN dates AS date[];
CREATE TABLE t (f float8, fs float4[], b bytea, bs bytea[], d date[], ds dates, dr daterange, tr tstzrange, t timestamptz, ts timestamptz[], tt timetz[],
	iv interval, ivs interval[], m money, rc regclass);
INSERT INTO t VALUES (0.1::float8 + 0.2, '{0.1}', '\x0041ff', '{"\\x0041ff"}', '{2024-03-04}', '{2024-03-04}', '[2024-03-04,2024-03-05)', '["2024-03-04 12:00+00",)',
	'2024-03-04 12:00+00', '{"2024-03-04 12:00+00"}', '{12:00+02}', '1 year 2 days 03:04:05', '{1 mon -1 day}', 12.5, 's.r')});
my $plain = peek('settings');
my $odd = q{SET extra_float_digits = -10; SET datestyle = 'German'; SET bytea_output = 'escape'; SET intervalstyle = 'iso_8601';
	SET timezone = 'Asia/Kolkata'; SET search_path = s; SET quote_all_identifiers = on};
is(peek('settings', $odd), $plain, 'values do not depend on the settings of the session');
like($plain, qr/"f":0.30000000000000004,"fs":"\{0.1\}","b":"\\\\x0041ff".*"d":"\{2024-03-04\}".*"t":"2024-03-04T12:00:00\+00:00".*"iv":"1 year 2 days 03:04:05".*"rc":"s.r"/,
	'and lose nothing');
is($node->safe_psql('settings', "$odd; SELECT count(*) FROM pg_logical_slot_peek_changes('settings', NULL, NULL); SELECT current_setting('datestyle'), current_setting('timezone'), current_setting('search_path'), 0.1::float8 + 0.2"),
	"3\nGerman, DMY|Asia/Kolkata|s|0.3", 'those of the session stay');
$node->safe_psql('postgres', q{ALTER DATABASE settings SET datestyle = 'German'; ALTER DATABASE settings SET extra_float_digits = -10;
	ALTER DATABASE settings SET timezone = 'Asia/Kolkata'; ALTER ROLE ALL IN DATABASE settings SET bytea_output = 'escape'});
is(receive('settings'), "$plain\n", 'nor on those of the database, for pg_recvlogical');

# Encodings
database('latin1', 'LATIN1');
$node->safe_psql('latin1', q{SET client_encoding = 'UTF8';
CREATE TABLE "tablé" (id int PRIMARY KEY, "valué" text, j json, jb jsonb, a text[]);
INSERT INTO "tablé" VALUES (1, E'caf\u00e9 "quoted" \\\\ \n', '{"k\u00e9": "é"}', '{"é": "ü"}', '{é,"a b"}');
SELECT pg_logical_emit_message(true, 'prefïx', 'contént');
SELECT pg_logical_emit_message(false, 'prefïx', 'contént');
SELECT pg_logical_emit_message(true, 'bytes', '\xe900'::bytea)});
for my $lines (peek('latin1'), receive('latin1'))
{
	unlike($lines, qr/[^\x00-\x7f]/, 'LATIN1: all is ASCII, so it is UTF-8 as well');
	my @events = events($lines);
	my ($row) = grep { $_->{event} eq 'insert' } @events;
	is($row->{table}, "tabl\x{e9}", 'LATIN1: names');
	is_deeply($row->{new}, { id => 1, "valu\x{e9}" => "caf\x{e9} \"quoted\" \\ \n", j => { "k\x{e9}" => "\x{e9}" }, jb => { "\x{e9}" => "\x{fc}" },
			a => "{\x{e9},\"a b\"}" }, 'LATIN1: values');
	my @messages = grep { $_->{event} eq 'message' } @events;
	is_deeply([ map { $_->{content} // $_->{content_hex} } grep { $_->{transactional} } @messages ], [ "cont\x{e9}nt", 'e900' ], 'LATIN1: messages');
}
database('ascii', 'SQL_ASCII');
$node->safe_psql('ascii', q{
CREATE TABLE docs (id int PRIMARY KEY, t text, body json);
SELECT derive.create_view('v', 'SELECT * FROM docs'); SELECT derive.wait(); SELECT derive.subscribe('v', 'reader'); SELECT derive.wait();
SELECT * FROM derive.poll('reader')});
$node->safe_psql('ascii', q{INSERT INTO docs VALUES (1, 'plain', '1'), (2, E'\xe9', '2'), (3, E'\xc3\xa9', '{"b": "\u00e9"}'), (4, 'plain', '4'); SELECT derive.wait()});
is($node->safe_psql('ascii', q{SELECT new->'id', omitted FROM derive.poll('reader') ORDER BY 1}), "1|\n2|\n3|{body}\n4|",
	'SQL_ASCII: poll() leaves out what jsonb cannot hold');
is_deeply([ map { [ $_->{new}{id}, $_->{new}{t}, $_->{omitted} ] } events(receive('ascii', 'tables=public.docs')) ],
	[ [ 1, 'plain', undef ], [ 2, undef, ['t'] ], [ 3, "\x{e9}", undef ], [ 4, 'plain', undef ] ], 'SQL_ASCII: what is UTF-8 is sent, the rest is left out');

# Size: what is over 1 GB in the stream, over 256 MB or small but huge as text in jsonb
database('large', 'UTF8');
$node->safe_psql('large', q{
CREATE TABLE big (id int PRIMARY KEY, small text, body text, numbers jsonb);
SELECT derive.create_view('v', 'SELECT * FROM big WHERE id > 2'); SELECT derive.wait(); SELECT derive.subscribe('v', 'reader'); SELECT derive.wait();
SELECT * FROM derive.poll('reader')});
$node->safe_psql('large', q{
INSERT INTO big VALUES (1, 'one', repeat(chr(1), 190000000), NULL);
INSERT INTO big SELECT 2, 'two', NULL, jsonb_agg(1e131000::numeric) FROM generate_series(1, 8300);
INSERT INTO big VALUES (3, 'three', repeat('x', 270000000), NULL);
INSERT INTO big SELECT 4, 'four', NULL, jsonb_agg(1e131000::numeric) FROM generate_series(1, 4000);
INSERT INTO big VALUES (5, 'five', 'plain', '{}')});
is($node->safe_psql('large', q{SELECT derive.wait()}), 't', 'large values in a view');
is($node->safe_psql('large', q{SELECT substring(left(data, 200) FROM '"id":\d'), substring(right(data, 30) FROM '"omitted".*\]'), length(data) > 270000000
	FROM pg_logical_slot_get_changes('large', NULL, NULL, 'tables', 'public.big', 'include_xids', 'off', 'include_lsns', 'off', 'include_times', 'off')
	WHERE left(data, 20) LIKE '%insert%'}),
	qq{"id":1|"omitted":["body"]|f\n"id":2|"omitted":["numbers"]|f\n"id":3||t\n"id":4||t\n"id":5||f},
	'the event stream goes on after rows that are too long');
is($node->safe_psql('large', q{SELECT new->>'id', new->>'small', omitted FROM derive.poll('reader', 2)}) . "\n" .
	$node->safe_psql('large', q{SELECT new->>'id', new->>'small', omitted FROM derive.poll('reader')}),
	"3|three|{body}\n4|four|{numbers}\n5|five|", 'and so does a subscription');
$node->safe_psql('large', 'DELETE FROM big; SELECT derive.wait()');
is($node->safe_psql('large', q{SELECT operation, omitted, count(*) FROM derive.poll('reader') GROUP BY 1, 2 ORDER BY 2}), "delete|{body}|1\ndelete|{numbers}|1\ndelete||1",
	'old rows are without what new ones were without');

# Spools: smaller than the view, exact, bounded for each role and in time
my ($rc, $out, $err);
$node->safe_psql('postgres', q{
CREATE ROLE one; CREATE ROLE two;
CREATE TABLE t (id int PRIMARY KEY, note text);
INSERT INTO t SELECT i, repeat(md5(i::text), CASE WHEN i % 1000 = 0 THEN 3000 ELSE 1 END) FROM generate_series(1, 20000) i;
SELECT derive.create_view('v', 'SELECT * FROM t'); SELECT derive.wait();
GRANT SELECT ON v TO one, two; SET ROLE one;
SELECT derive.subscribe('v', 'a'), derive.subscribe('v', 'b'), derive.subscribe('v', 'c'); SET ROLE two; SELECT derive.subscribe('v', 'd');
SELECT derive.wait()});
$node->safe_psql('postgres', 'SELECT count(*) FROM derive.poll($$a$$, 1)');
is($node->safe_psql('postgres', q{SELECT pg_total_relation_size('derive_state.spool') < pg_total_relation_size('v'), behind FROM derive.subscriptions WHERE subscriber = 'a'}),
	't|19999', 'a spool takes less than the view');
$node->safe_psql('postgres', q{CREATE TABLE got (r jsonb);
DO $$ DECLARE n int; BEGIN
	FOR i IN 1 .. 1000 LOOP INSERT INTO got SELECT new FROM derive.poll('a', 7 * i); GET DIAGNOSTICS n = ROW_COUNT; COMMIT; EXIT WHEN n = 0; END LOOP;
END $$});
is($node->safe_psql('postgres', q{SELECT (SELECT count(*) FROM got), (SELECT count(*) FROM (SELECT to_jsonb(v) FROM v EXCEPT SELECT r FROM got) d),
	(SELECT count(*) FROM derive_state.spool), (SELECT spool_size FROM derive_state.subscriptions WHERE name = 'a')}),
	'19999|1|0|0', 'all rows come out of it once, and it is empty then');
$node->append_conf('postgresql.conf', "pg_derive.subscription_max_size = '2MB'");
$node->reload;
my $session = background($node);
$session->query_safe(q{BEGIN; SELECT count(*) FROM derive.poll('b', 100)});
($rc, $out, $err) = $node->psql('postgres', q{SELECT count(*) FROM derive.poll('c', 100)});
like($err, qr/too many initial rows for subscription "c".*role "one" together may take 2048 kB/s, 'the spools of a role are bounded, those that are not committed included');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.poll('d', 100)}), '100', 'those of another role are its own');
$session->query_safe('ROLLBACK');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.poll('c', 100)}), '100', 'what was rolled back does not count');
($rc, $out, $err) = $node->psql('postgres', q{SELECT count(*) FROM derive.poll('b', 100)});
like($err, qr/too many initial rows for subscription "b"/, 'what was committed does');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.poll('b', 20000)}), '20000', 'taking all rows at once needs no space');
$node->append_conf('postgresql.conf', "pg_derive.subscription_retention = '1s'");
$node->reload;
ok($node->poll_query_until('postgres', "SELECT state = 'lost' AND (SELECT count(*) = 0 FROM derive_state.spool) FROM derive.subscriptions WHERE subscriber = 'c'"),
	'rows that nobody takes are removed in the end');
($rc, $out, $err) = $node->psql('postgres', q{SELECT count(*) FROM derive.poll('c', 100)});
like($err, qr/subscription "c" has fallen behind/, 'and who comes then is told');
is($node->safe_psql('postgres', q{SELECT count(*) FROM derive.poll('b')}), '0', 'one without such rows is not lost');
$session->quit;

$node->safe_psql($_, "SELECT pg_drop_replication_slot('$_')") for qw(settings latin1 ascii large);
log_is_clean($node);
$node->stop;
done_testing();
