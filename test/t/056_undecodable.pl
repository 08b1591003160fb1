# The log has something that cannot be read: an error, or a crash, in the same place
# five times in a row.  The worker gives up the log, not the views.  What passes (no memory,
# no disk, a cancel) never counts.  And a worker that cannot run says so without filling the log.
# It waits for minutes, and so runs beside others.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = derive_node('undecodable');
unless (has_debug_points($node))
{
	$node->stop;
	plan skip_all => 'debug points are not compiled in';
}

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub number
{
	my ($pattern, $log) = @_;
	my @found = $log =~ /$pattern/g;
	return scalar @found;
}

# It is forgotten a moment after the views are there.
sub is_over
{
	my ($label) = @_;
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM derive.worker WHERE error IS NOT NULL'), $label);
	return;
}

load_tables($node);
sql(q{SELECT derive.create_topic('events', 'what text')});
wait_derived($node, 'built');

my $exact = q{SELECT sum(oracle(view)) FROM (SELECT view FROM derive_state.view_states WHERE name <> 'events' OFFSET 0) v};
my $change = q{UPDATE accounts SET balance = balance + 1, branch = 3 WHERE id % 500 = 7; INSERT INTO history VALUES (7, 1)};

# ---- an error: five times, with pauses, and then the log is given up

my $offset = -s $node->logfile;
set_debug_point($node, 'decode-change:error');
sql($change);
my $log = log_says($node, qr/all maintained views of database "postgres" are computed anew: a record of the log at .* could not be decoded: debug point "decode-change" was reached/,
	$offset, 'an error: the log is given up');
is(number(qr/ERROR:  debug point "decode-change" was reached/, $log), 5, 'an error: after five times');
like($log, qr/CONTEXT:.*\n?.*reading .*transaction \d+, committed at/, 'an error: the log says where');
set_debug_point($node, '');
wait_derived($node, 'an error: computed anew');
is(sql($exact), '0', 'an error: and right');
is_over('an error: which is over');

# ---- two crashes in the same place of the log may be an operator, or the kernel for want of
# memory: the worker stays away for a while, and loses no event

# Kill the worker where it reads a change, and this one with an event before and after it.  It stays away until it
# is to be killed elsewhere.
sub kill_while_reading
{
	my ($what) = @_;
	sql(qq{SELECT derive.append('events', '{"what": "$what"}')});
	set_debug_point($node, 'decode-change:kill,come-back-2:skip');
	eval { $node->psql('postgres', $change) };
	return log_says($node, qr/pg_derive stays away from database "postgres" for 5 s: the worker process crashed 2 times in a row, while reading the log at [0-9A-F]+\/[0-9A-F]+\n/,
		$offset, "$what: the worker stays away");
}

$offset = -s $node->logfile;
kill_while_reading('killed twice');
comes_back($node);
sql(q{SELECT derive.append('events', '{"what": "killed twice"}')});
set_debug_point($node, '');
$node->poll_query_until('postgres', q{SELECT derive.wait() FROM derive_state.view_states WHERE name = 'events' AND state = 'ready'}) or die 'not back';
is(sql(q{SELECT count(*) FROM events WHERE what = 'killed twice'}), '2', 'killed twice: no event is lost');
is(sql($exact), '0', 'killed twice: exact');
$log = slurp_file($node->logfile, $offset);
unlike($log, qr/computed anew|not read/, 'killed twice: the log is not given up');
is(number(qr/terminated by signal/, $log), 3, 'killed twice: and once before');

# ---- five crashes there, one after the other: the log is given up; nobody has to call derive.resume()

$offset = -s $node->logfile;
kill_while_reading('killed often');
comes_back($node);
set_debug_point($node, 'batch-snapshot:kill,come-back-3:skip');
$log = log_says($node, qr/stays away from database "postgres" for 10 s: the worker process crashed 3 times in a row, while reading the log\n/,
	$offset, 'a crash elsewhere, by which they are not in a row');
comes_back($node);
set_debug_point($node, 'decode-change:kill, stay-away:skip');
$log = log_says($node, qr/all maintained views of database "postgres" are computed anew: the worker process crashed 8 times in a row, while reading the log at [0-9A-F]+\/[0-9A-F]+\n/,
	$offset, 'five crashes: the log is given up');
comes_back($node);
wait_derived($node, 'five crashes: computed anew, although it would crash again');
is(sql($exact), '0', 'five crashes: and right');
is(sql(q{SELECT count(*) FROM derive.views WHERE state <> 'ready'}), '0', 'five crashes: all views are ready');
$log = slurp_file($node->logfile, $offset);
is(number(qr/terminated by signal/, $log), 9, 'five crashes: and no further one');
like($log, qr/WARNING:  the log from .* was not read for database "postgres"\n.*are lost: "events"/, 'five crashes: what is lost is said');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_ls_dir('pg_stat_tmp') f WHERE f LIKE 'pg_derive%'}), 'five crashes: no file is left');
set_debug_point($node, '');
sql($change);
wait_derived($node, 'five crashes: the next change');
is(sql($exact), '0', 'five crashes: the next change');

# ---- somebody who calls the worker back begins anew with counting

$offset = -s $node->logfile;
kill_while_reading('called back');
comes_back($node);
set_debug_point($node, 'come-back-2:skip');
sql(q{SELECT derive.repair('names')});
wait_derived($node, 'called back');
is(sql(q{SELECT count(*) FROM events WHERE what = 'called back'}), '1', 'called back: no event is lost');
unlike(slurp_file($node->logfile, $offset), qr/are computed anew/, 'called back: the log is not given up');
set_debug_point($node, '');

# ---- crashes in different places are not the log's fault: no gaps in what is read

$offset = -s $node->logfile;
set_debug_point($node, 'decoded:kill');
eval { $node->psql('postgres', $change) };
log_says($node, qr/terminated by signal/, $offset, 'a crash after reading');
set_debug_point($node, '');
comes_back($node);
resume_failed($node);
wait_derived($node, 'one crash is none');

# ---- what passes does not count: the log is kept, and read in the end

for my $what ('full disk', 'cancelled')
{
	sql(qq{SELECT derive.append('events', '{"what": "$what"}'); $change});
	wait_derived($node, "$what: before");
	$offset = -s $node->logfile;
	my $holder = background($node);
	$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('decode-change'))});
	set_debug_point($node, $what eq 'cancelled' ? 'decode-change:wait' : 'decode-change:full');
	sql(qq{SELECT derive.append('events', '{"what": "$what, kept"}'); $change});
	for my $i (1 .. 7)
	{
		my $at = sql(q{SELECT max(error_at) FROM derive.worker});
		kill('INT', waits_at($node, 'decode-change')) if $what eq 'cancelled';
		$node->poll_query_until('postgres', qq{SELECT error_at IS DISTINCT FROM nullif('$at', '')::timestamptz FROM derive.worker}) or die 'no error';
	}
	like(sql(q{SELECT error FROM derive.worker}), $what eq 'cancelled' ? qr/canceling statement/ : qr/no space left/, "$what: derive.worker has the error");
	ok($node->poll_query_until('postgres', q{SELECT bool_and(state = 'waiting' AND waiting_for = 'another try of the worker after an error (see derive.worker)' AND lag > '1 s') FROM derive.views}), "$what: views say so");
	my $log = slurp_file($node->logfile, $offset);
	cmp_ok(number(qr/ERROR:  (?:canceling statement|no space left)/, $log), '<=', 6, "$what: the log is not filled with it");
	cmp_ok(number(qr/LOG:  starting logical decoding/, $log), '<=', 6, "$what: nor with what the server says of it");
	set_debug_point($node, '');
	$holder->quit;
	wait_derived($node, "$what: goes on");
	unlike(slurp_file($node->logfile, $offset), qr/computed anew|not read/, "$what: nothing is given up");
	is(sql(qq{SELECT count(*) FROM events WHERE what ~ '^$what'}), '2', "$what: nothing is lost");
	is(sql($exact), '0', "$what: exact");
	is_over("$what: over");
}

# ---- a view's error is over when the view is mended

sql(q{CREATE TABLE d (id int, x int); SELECT derive.create_view('ratio', 'SELECT id, 10 / x AS r FROM d')});
wait_derived($node, 'ratio');
sql('INSERT INTO d VALUES (1, 0)');
derive_wait_state($node, 'ratio', 'failed', 'a view fails');
is(sql('SELECT error FROM derive.worker'), 'division by zero', 'derive.worker has its error');
sql(q{INSERT INTO history VALUES (1, 1); SELECT derive.wait('joined')});
is(sql('SELECT error FROM derive.worker'), 'division by zero', 'as long as it fails');
sql('UPDATE d SET x = 5');
derive_wait_state($node, 'ratio', 'ready', 'the view is mended');
ok($node->poll_query_until('postgres', 'SELECT error IS NULL AND error_at IS NULL FROM derive.worker'), 'and no longer');

# ---- a segment of the log is not there, though the slot needs it

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
sql("$change; SELECT pg_switch_wal()") for 1 .. 3;
sql('CHECKPOINT');
my $segment = sql('SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots');
isnt($segment, sql('SELECT pg_walfile_name(pg_current_wal_lsn())'), 'the slot needs an old segment');
$node->stop;
unlink $node->data_dir . "/pg_wal/$segment" or die $!;
$offset = -s $node->logfile;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_derive'");
$node->start;
log_says($node, qr/are computed anew: a record of the log at \S+ could not be decoded: requested WAL segment (?:pg_wal\/)?$segment has already been removed/, $offset, 'a lost segment');
wait_derived($node, 'a lost segment');
is(sql($exact), '0', 'a lost segment: exact');

log_is_clean($node);
$node->stop;
done_testing();
