# What people see where the server is not configured for pg_derive.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($rc, $out, $err);

# Not preloaded: installing works or says what is missing; declaring a view says it.
my $node = derive_node('plain', preload => 0, extension => 0, wal_level => 'replica');
($rc, $out, $err) = $node->psql('postgres',
	q{CREATE EXTENSION pg_derive; CREATE TABLE t (a int); SELECT derive.create_view('v', 'SELECT a FROM t')});
isnt($rc, 0, 'not preloaded: an error');
my $missing = qr/DETAIL:  "shared_preload_libraries" must contain pg_derive; it is ""\.\n"wal_level" must be logical; it is "replica"\.\n/;
like($err, qr/WARNING:  pg_derive cannot maintain views on this server yet\n.*$missing/,
	'CREATE EXTENSION tells everything that is missing at once');
like($err, qr/ERROR:  pg_derive cannot maintain views on this server yet\n.*$missing/, 'and so does the error');
my $restart = 'Change this in postgresql.conf and restart the server, once for all of it.';
is($node->safe_psql('postgres', q{SELECT * FROM derive.check() WHERE setting IN ('shared_preload_libraries', 'wal_level', 'max_replication_slots') ORDER BY setting}),
	join("\n",
		'max_replication_slots|' . $node->safe_psql('postgres', 'SHOW max_replication_slots') . '|must leave a replication slot for this database|t|',
		"shared_preload_libraries||must contain pg_derive|f|$restart",
		"wal_level|replica|must be logical|f|$restart"),
	'and derive.check()');
is($node->safe_psql('postgres', q{SELECT string_agg(setting, ' ' ORDER BY setting) FROM derive.check() WHERE NOT ok}), 'shared_preload_libraries wal_level', 'which has nothing else to say');
$node->safe_psql('postgres', 'CREATE ROLE nobody');
is($node->safe_psql('postgres', q{SET ROLE nobody; SELECT setting, value IS NULL FROM derive.check() WHERE NOT ok ORDER BY 1}),
	"shared_preload_libraries|t\nwal_level|f", 'who may not know a setting sees that it is wrong, not what it is');
unlike($err, qr/server closed the connection/, 'not preloaded: the server lives');
$node->psql('postgres', 'DROP EXTENSION IF EXISTS pg_derive');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '0', 'not preloaded: no slot');

# Preloaded, but WAL lacks what decoding needs.
SKIP:
{
	skip 'wal_level is raised on demand', 5 if $node->pg_version >= 19;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'\nwal_level = replica\nmax_replication_slots = 0\n");
	$node->restart;
	is($node->safe_psql('postgres', q{CREATE EXTENSION pg_derive; SELECT string_agg(setting, ' ' ORDER BY setting) FROM derive.check() WHERE NOT ok}),
		'max_replication_slots wal_level', 'preloaded: what is still missing');
	($rc, $out, $err) = $node->psql('postgres',
		q{CREATE TABLE IF NOT EXISTS t (a int); SELECT derive.create_view('v', 'SELECT a FROM t')});
	isnt($rc, 0, 'wal_level replica: an error');
	like($err, qr/wal_level/, 'wal_level replica: the error names the setting');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_matviews WHERE matviewname = 'v'"), '0', 'no view is left');

	$node->append_conf('postgresql.conf', "wal_level = logical\nmax_replication_slots = 8\n");
	$node->restart;
	$node->safe_psql('postgres', q{INSERT INTO t VALUES (1); SELECT derive.create_view('v', 'SELECT a FROM t')});
	wait_derived($node, 'configured: the view is built');
}

# The server can be stopped and started with a database that has views, and without the library.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), '1', 'tables work without the library');
is($node->safe_psql('postgres', 'SELECT count(*) FROM v'), '1', 'the view can be read without the library');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'\n");
$node->restart;
$node->safe_psql('postgres', 'INSERT INTO t VALUES (2)');
wait_derived($node, 'preloaded again: the view goes on');
is($node->safe_psql('postgres', 'SELECT count(*) FROM v'), '2', 'and has the row');

SKIP:
{
	skip 'no setting output_plugin_libraries', 1
	  if $node->safe_psql('postgres', q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'}) eq '0';
	my $other = derive_node('unlisted', extension => 0, conf => "output_plugin_libraries = pgoutput\n");
	($rc, $out, $err) = $other->psql('postgres',
		q{CREATE EXTENSION pg_derive; CREATE TABLE t (a int); SELECT derive.create_view('v', 'SELECT a FROM t'); SELECT derive.wait('v', '180 s')});
	my $log = slurp_file($other->logfile);
	ok($rc == 0 || $err =~ /output_plugin_libraries/ || $log =~ /output_plugin_libraries/,
		'not listed as an output plugin: it works all the same, or the setting is named');
	$other->stop('fast');
}

log_is_clean($node);
$node->stop;
done_testing();
