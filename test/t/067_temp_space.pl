# No room for temporary files, alone or by the server's temp_file_limit, while a large transaction
# is read and while a view is computed: what cannot go on says why and does so later, others go on.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

load_faults();
my $node = derive_node('temp', conf => "work_mem = '64kB'\npg_derive.work_mem = '64kB'\nlogical_decoding_work_mem = '64kB'\npg_derive.decoding_work_mem = '64kB'\n");
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub soon
{
	my ($query, $label) = @_;
	ok($node->poll_query_until('postgres', $query), $label) or diag(sql('SELECT * FROM derive_state.view_states; SELECT * FROM derive.worker'));
	return;
}

# A history and a topic are more than a query.
sub all_exact
{
	my ($label, $limited) = @_;
	is(sql(q{SELECT string_agg(name || ' ' || oracle(view), ', ') FROM derive_state.view_states WHERE state <> 'ready' OR name NOT IN ('past', 'events') AND oracle(view) <> 0}), '', "$label: exact");
	like(($node->psql('postgres', 'SELECT sum(missing + extra) FROM derive.verify()'))[ $limited ? 2 : 1 ], $limited ? qr/could not verify.*temporary file size/s : qr/^0$/, "$label: verify");
	return;
}

# sessions need none
$ENV{PGOPTIONS} = '-c work_mem=64MB';
load_tables($node);
sql(q{
CREATE TABLE other (id int PRIMARY KEY, x int);
INSERT INTO other SELECT i, i % 9 FROM generate_series(1, 100) i;
SELECT derive.create_view('of_other', 'SELECT x, count(*) FROM other GROUP BY x');
SELECT derive.create_view('past', 'history', 'accounts');
SELECT derive.create_topic('events', 'n int');
CREATE TABLE big (id int PRIMARY KEY, g int, t text);
INSERT INTO big SELECT i, i % 1000, md5(i::text) FROM generate_series(1, 30000) i});
wait_derived($node, 'built');
all_exact('at the start');

my $large = q{BEGIN; UPDATE accounts SET balance = balance + 1, note = md5(id::text); DO $$ BEGIN FOR i IN 1 .. 3000 LOOP PERFORM derive.append('events', ROW(i)); END LOOP; END $$;
	INSERT INTO history SELECT i % 5000, i FROM generate_series(1, 5000) i; COMMIT};

# ---- a large transaction is read

my $offset = -s $node->logfile;
set_faults(full => 1);
sql($large);
soon(q{SELECT error ~ 'could not write to file "base/pgsql_tmp/.*No space left on device' FROM derive.worker}, 'no room for a large transaction: derive.worker says so');
soon(q{SELECT bool_and(state = 'waiting' AND waiting_for IS NOT NULL) FROM derive.views WHERE view IN ('joined'::regclass, 'past'::regclass)}, 'views say what they wait for');
set_faults();
wait_derived($node, 'room for a large transaction');
all_exact('a large transaction');
is(sql('SELECT count(*), count(DISTINCT event_id), max(event_id) FROM events'), '3000|3000|3000', 'no event is lost, nor twice');
soon('SELECT count(*) = 0 FROM derive.worker WHERE error IS NOT NULL', 'the error is over');
unlike(slurp_file($node->logfile, $offset), qr/computed anew|not read|has failed/, 'nothing was given up');

sql("ALTER SYSTEM SET temp_file_limit = '100kB'; SELECT pg_reload_conf()");
$offset = -s $node->logfile;
sql($large);
wait_derived($node, 'the limit is one for a view');
all_exact('the limit is one for a view', 1);
is(sql('SELECT count(*) FROM events'), '6000', 'events');
unlike(slurp_file($node->logfile, $offset), qr/computed anew|not read|has failed|pg_derive worker.*temporary file size/, 'which the worker does not come to by reading');

# ---- a view is computed, by a builder and in a batch

my $sorted = q{SELECT g, count(DISTINCT t), string_agg(t, ',' ORDER BY t DESC) FROM big GROUP BY g};
for my $how (
	[ 'limit', sub { }, sub { sql('ALTER SYSTEM RESET temp_file_limit; SELECT pg_reload_conf()') }, qr/temporary file size exceeds "?temp_file_limit"? \(100kB\)/ ],
	[ 'full', sub { set_faults(full => 1) }, sub { set_faults() }, qr/could not write to file "base\/pgsql_tmp\/.*No space left on device/ ])
{
	my ($label, $begin, $end, $message) = @$how;
	$begin->();
	$offset = -s $node->logfile;
	sql("SELECT derive.create_view('sorted', \$\$$sorted\$\$)");
	log_says($node, qr/could not build view "sorted": $message/, $offset, "$label: the log says why");
	soon(q{SELECT waiting_for IS NOT NULL FROM derive.views WHERE view = 'sorted'::regclass}, "$label: the view waits");
	for my $i (1 .. 3)
	{
		sql("UPDATE other SET x = x + 1 WHERE id % 7 = $i; UPDATE accounts SET branch = (branch + 1) % 9 WHERE id = $i; SELECT derive.append('events', ROW($i))");
		is(sql(q{SELECT derive.wait('of_other', '180 s'), derive.wait('by_branch', '180 s'), derive.wait('past', '180 s'), derive.wait('events', '180 s'), (SELECT sum(missing + extra) FROM derive.verify('of_other'))}),
			't|t|t|t|0', "$label: others go on, $i");
	}
	$end->();
	derive_wait_state($node, 'sorted', 'ready', "$label: it is built when there is room");
	wait_derived($node, "$label: caught up");
	all_exact("$label: built");

	# computed anew when all of it is read
	$begin->();
	sql("ALTER SYSTEM SET temp_file_limit = '100kB'; SELECT pg_reload_conf()") if $label eq 'limit';
	sql(q{UPDATE big SET t = t || 'x', g = g / 2; UPDATE other SET x = x + 1});
	is(sql(q{SELECT derive.wait('of_other', '180 s')}), 't', 'others go on') if $label eq 'limit';
	$end->();
	wait_derived($node, "$label: changed");
	all_exact("$label: changed");
	sql('DROP MATERIALIZED VIEW sorted');
}

log_is_clean($node);
$node->stop;
done_testing();
