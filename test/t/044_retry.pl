# Views whose query fails come back by themselves when the cause is gone, and
# nobody else notices.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $node = derive_node('retry');

sub sql { return $node->safe_psql('postgres', $_[0]) }

# How often the view was tried again, as the log from the offset on has it.
sub tries
{
	my ($view, $offset) = @_;
	my @found = slurp_file($node->logfile, $offset) =~ /view "$view", which has failed, is tried again/g;
	return scalar @found;
}

$node->append_conf('postgresql.conf', "log_min_messages = debug1\n");
$node->reload;

# ---- errors of each kind; those who read the same tables go on

sql(q{
CREATE TABLE items (id int PRIMARY KEY, d int, txt text);
CREATE TABLE tags (item int, tag text);
INSERT INTO items SELECT i, i, i::text FROM generate_series(1, 20) i;
INSERT INTO tags SELECT i, 'tag' || i FROM generate_series(1, 20) i;
CREATE FUNCTION positive(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF i < 0 THEN
		RAISE EXCEPTION 'it is negative: %', i USING ERRCODE = 'XY123';
	END IF;
	RETURN i;
END $$;
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
SELECT derive.create_view('healthy', 'SELECT i.id, d, txt, tag FROM items i LEFT JOIN tags ON item = id');
SELECT derive.create_view('one_tag', 'SELECT id, (SELECT tag FROM tags WHERE item = id) AS tag FROM items');
SELECT derive.create_view('divided', 'SELECT id, 100 / d AS q FROM items');
SELECT derive.create_view('cast_to', 'SELECT id, txt::int AS n FROM items');
SELECT derive.create_view('raised', 'SELECT id, positive(d) AS p FROM items');
SELECT derive.create_view('checked', 'SELECT id, d::small AS s FROM items');
SELECT derive.create_view('summed', 'SELECT id % 3 AS k, sum(100 / d), count(*) FROM items GROUP BY 1');
SELECT derive.create_view('above', 'SELECT id, 1 / (d - 777) AS x FROM healthy');
SELECT derive.create_view('above_failed', 'SELECT count(*) FROM divided')});
wait_derived($node, 'built');
is_exact($node, 'at the start');

my @kinds = (
	[ 'one_tag', q{INSERT INTO tags VALUES (3, 'second')}, q{DELETE FROM tags WHERE tag = 'second'}, qr/^more than one row returned by a subquery/ ],
	[ 'divided', 'UPDATE items SET d = 0 WHERE id = 5', 'UPDATE items SET d = 6 WHERE id = 5', qr/^division by zero$/ ],
	[ 'summed', 'UPDATE items SET d = 0 WHERE id = 5', 'UPDATE items SET d = 7 WHERE id = 5', qr/^division by zero$/ ],
	[ 'cast_to', q{UPDATE items SET txt = 'x' WHERE id = 5}, q{DELETE FROM items WHERE id = 5}, qr/^invalid input syntax for type integer/ ],
	[ 'raised', 'INSERT INTO items VALUES (31, -1, 31)', 'DELETE FROM items WHERE d = -1', qr/^it is negative: -1$/ ],
	[ 'checked', 'INSERT INTO items VALUES (31, 2000, 31)', 'UPDATE items SET d = 1 WHERE id = 31', qr/^value for domain \S*small/ ],
	[ 'above', 'INSERT INTO items VALUES (32, 777, 31)', 'UPDATE items SET d = 1 WHERE id = 32', qr/^division by zero$/ ]);

for my $kind (@kinds)
{
	my ($view, $break, $mend, $message) = @$kind;
	my $before = sql("SELECT coalesce(max(error_at)::text, '') FROM derive_state.view_states WHERE name = '$view'");
	sql($break);
	is(sql(q{SELECT derive.wait('healthy', timeout => '180 s')}), 't', "$view: the healthy view goes on");
	derive_wait_state($node, $view, 'failed');
	like(sql("SELECT error FROM derive_state.view_states WHERE name = '$view'"), $message, "$view: the message");
	is(sql("SELECT error_at IS NOT NULL AND waiting_for ~ 'another try' FROM derive_state.view_states WHERE name = '$view'"),
		't', "$view: and what it waits for");
	sql(q{UPDATE items SET txt = id + 1 WHERE id = 8});
	is(sql(q{SELECT derive.wait('healthy', timeout => '180 s'), missing + extra FROM derive.verify('healthy')}), 't|0', "$view: which is exact");
	sql($mend);
	derive_wait_state($node, $view, 'ready', "$view: it comes back");
	wait_derived($node, "$view: all have");
	is_exact($node, "$view: mended");
	is(sql('SELECT count(*) FROM derive.views WHERE error IS NOT NULL OR error_at IS NOT NULL OR waiting_for IS NOT NULL'), '0', "$view: no error is left");
}

# ---- one that was never built, and one over it

sql(q{INSERT INTO items VALUES (40, 0, 40)});
sql(q{SELECT derive.create_view('young', 'SELECT sum(1 / d) FROM items');
	SELECT derive.create_view('above_young', 'SELECT * FROM young')});
derive_wait_state($node, 'young', 'failed');
derive_wait_state($node, 'above_young', 'failed');
sql('DELETE FROM items WHERE id = 40');
derive_wait_state($node, 'young', 'ready', 'it is built after all');
derive_wait_state($node, 'above_young', 'ready', 'and so is the one over it');
wait_derived($node);
is_exact($node, 'built after all');

# ---- a function that is mended; and a worker that is another one

sql('INSERT INTO items VALUES (50, -5, 50)');
derive_wait_state($node, 'raised', 'failed');
sql(q{CREATE OR REPLACE FUNCTION positive(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT abs(i)'});
derive_wait_state($node, 'raised', 'ready', 'the function was mended');
sql('UPDATE items SET d = 0 WHERE id = 50');
derive_wait_state($node, 'divided', 'failed');
kill_process(worker_pid($node));
comes_back($node);
sql('UPDATE items SET d = 1 WHERE id = 50');
derive_wait_state($node, 'divided', 'ready', 'the worker was killed meanwhile');
sql('UPDATE items SET d = 0 WHERE id = 50');
derive_wait_state($node, 'divided', 'failed');
$node->restart;
sql('UPDATE items SET d = 1 WHERE id = 50');
derive_wait_state($node, 'divided', 'ready', 'the server was restarted meanwhile');
wait_derived($node);
is_exact($node, 'after restarts');

# ---- a derivation in C that is one of the rows that there are: a column has another name for a while

sql(q{
CREATE TABLE clicks (id int PRIMARY KEY, who text, at timestamptz);
INSERT INTO clicks VALUES (1, 'a', '2026-01-01');
SELECT derive.create_view('visits', 'sessionize', '{clicks}', options => '{"user": "who", "time": "at"}');
SELECT derive.wait('visits');
ALTER TABLE clicks RENAME who TO somebody;
INSERT INTO clicks VALUES (2, 'b', '2026-01-01')});
derive_wait_state($node, 'visits', 'failed', 'a column is gone');
like(sql(q{SELECT waiting_for FROM derive.views WHERE view = 'visits'::regclass}), qr/another try at/, 'it will be tried again');
sql(q{ALTER TABLE clicks RENAME somebody TO who; INSERT INTO clicks VALUES (3, 'c', '2026-01-01')});
for my $i (1 .. 3)
{
	last if $node->poll_query_until('postgres', q{SELECT state = 'ready' FROM derive.views WHERE view = 'visits'::regclass});
}
wait_derived($node, 'the column is back');
is(sql('SELECT count(*) FROM visits'), '3', 'it comes back by itself');
sql('DROP MATERIALIZED VIEW visits');

# ---- it is not tried without a change, nor again and again with changes

sub wait_for_try
{
	my ($view, $offset, $n) = @_;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if tries($view, $offset) >= $n;
		usleep(100_000);
	}
	return;
}

sql('DROP MATERIALIZED VIEW above_failed; CREATE TABLE other (i int); INSERT INTO items VALUES (60, 0, 60)');
derive_wait_state($node, 'divided', 'failed');
my $offset = -s $node->logfile;
my $start = time;
my $stands_at = q{SELECT position, state FROM derive_state.view_states WHERE name = 'divided'};
my $position = sql($stands_at);
while (time < $start + 6)
{
	sql(q{INSERT INTO other VALUES (1); SELECT derive.wait('healthy')});
}
is(tries('divided', $offset), 0, 'no change, no try');

# After the n-th one, at least 2^n - 1 seconds have passed.
$start = time;
while (time < $start + 12 || (tries('divided', $offset) < 2 && time < $start + 100))
{
	sql(q{UPDATE items SET txt = id WHERE id = 7; UPDATE items SET d = d % 100 + 1 WHERE id = 9; SELECT derive.wait('healthy')});
}
my $allowed = 1 + log(time - $start + 1) / log(2);
cmp_ok(tries('divided', $offset), '>', 1, 'with changes it is tried again');
cmp_ok(tries('divided', $offset), '<=', $allowed, 'later and later');
my @warnings = slurp_file($node->logfile, $offset) =~ /WARNING:.*could not build view "divided"/g;
# not in the middle of a try
derive_wait_state($node, 'divided', 'failed', 'after its tries');
is(sql($stands_at), $position, 'it stands where it stood');
is(scalar @warnings, 0, 'and the log does not repeat it as a warning');
sql('DELETE FROM items WHERE id = 60');
derive_wait_state($node, 'divided', 'ready', 'it comes back all the same');
wait_derived($node);
is_exact($node, 'at the end of its tries');

# ---- what only people can end stays

sql(q{CREATE ROLE owner_of_view;
CREATE TABLE secret (i int PRIMARY KEY); INSERT INTO secret VALUES (1);
GRANT SELECT ON secret TO owner_of_view; GRANT CREATE ON SCHEMA public TO owner_of_view});
sql(q{SET ROLE owner_of_view; SELECT derive.create_view('of_secret', 'SELECT sum(i) FROM secret')});
wait_derived($node);
sql('REVOKE SELECT ON secret FROM owner_of_view; INSERT INTO secret VALUES (2)');
derive_wait_state($node, 'of_secret', 'failed');
like(sql(q{SELECT error || coalesce(waiting_for, '-') FROM derive_state.view_states WHERE name = 'of_secret'}), qr/permission denied.*derive\.repair\(\)$/, 'a right that was lost: it is not tried again');
sql(q{GRANT SELECT ON secret TO owner_of_view; SELECT derive.repair('of_secret')});
wait_derived($node);

# ---- who has mended it gets a try that sees that, also while one runs that does not

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	my $holder = background($node);
	my $caller = background($node);
	sql('CREATE TABLE d (id int PRIMARY KEY, d int)');
	for my $case ([ 'unfilled', 'resume' ], [ 'unfilled', 'repair' ], [ 'filled', 'resume' ], [ 'filled', 'repair' ], [ 'filled', 'pause' ])
	{
		my ($kind, $call) = @$case;
		my $view = "${kind}_$call";		# of its own, since pauses between tries grow
		my $label = "$call($kind) during a try";
		my $break = 'UPDATE d SET d = 0 WHERE id = 2';
		sql('TRUNCATE d; INSERT INTO d VALUES (1, 1), (2, 2)');
		sql($break) if $kind eq 'unfilled';
		sql("SELECT derive.create_view('$view', 'SELECT id, 10 / d AS q FROM d')");
		if ($kind eq 'filled')
		{
			wait_derived($node, "$label: filled");
			sql($break);
		}
		derive_wait_state($node, $view, 'failed');
		$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-before-fill'))});
		set_debug_point($node, 'build-before-fill:wait');
		sql('UPDATE d SET d = d + 0 WHERE id = 2');
		waits_at($node, 'build-before-fill');
		sql('UPDATE d SET d = 3 WHERE id = 2');
		$caller->{stdin} .= "SELECT derive.$call('$view');\n";
		$caller->{run}->pump_nb;
		$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^SELECT derive.$call\\(' AND wait_event IS NOT NULL AND state = 'active'")
		  or die "$label: it does not wait";
		set_debug_point($node, '');
		$holder->query_safe('SELECT pg_advisory_unlock_all()');
		$caller->query("SELECT 'done'");
		is($caller->{stderr}, '', $label);
		$caller->{stderr} = '';
		if ($call eq 'pause')
		{
			is(sql("SELECT state FROM derive_state.view_states WHERE name = '$view'"), 'paused', "$label: it stands still");
			sql("SELECT derive.resume('$view')");
		}
		is(sql("SELECT derive.wait('$view', timeout => '180 s')"), 't', "$label: it is there");
		wait_derived($node, $label);
		is_exact($node, $label);
		sql("DROP MATERIALIZED VIEW $view");
	}

	# .. and whatever else happens to it and to the tables before the try has ended
	my $writer = background($node);
	my $writer_pid = $writer->query_safe('SELECT pg_backend_pid()');
	my $mend = 'UPDATE d SET d = 3 WHERE id = 2';
	my $number = 0;
	sql('CREATE TABLE e (id int PRIMARY KEY, n int)');
	for my $case (
		[ $mend, 'BEGIN; CALL; ROLLBACK' ],
		[ $mend, 'BEGIN; SAVEPOINT a; CALL; ROLLBACK TO a; CALL; COMMIT' ],
		[ $mend, 'BEGIN; ALTER TABLE e ADD COLUMN x int DEFAULT 1; CALL; INSERT INTO e VALUES (4, 4, 4); COMMIT' ],
		[ 'BEGIN; TRUNCATE d; INSERT INTO d VALUES (2, 5); COMMIT', 'CALL' ],
		[ "BEGIN; UPDATE e SET n = n + 7; $mend; INSERT INTO e VALUES (9, 9); INSERT INTO d VALUES (9, 9); COMMIT", 'CALL' ],
		[ $mend, 'CALL', 'and the worker is killed' ])
	{
		my ($change, $calls, $kill) = @$case;
		my $view = 'beset_' . ++$number;
		my $label = join ' ', "$change, $calls during a try", $kill // ();
		$calls =~ s/CALL/SELECT derive.resume('$view')/g;
		sql(q{TRUNCATE d, e; INSERT INTO d VALUES (1, 1), (2, 2); INSERT INTO e(id, n) VALUES (1, 1), (2, 1)});
		sql("SELECT derive.create_view('$view', 'SELECT d.id, n / d AS q FROM d JOIN e USING (id)')");
		wait_derived($node, "$label: filled");
		sql('UPDATE d SET d = 0 WHERE id = 2');
		derive_wait_state($node, $view, 'failed');
		$holder->query_safe(q{SELECT pg_advisory_lock(hashtext('build-before-fill'))});
		set_debug_point($node, 'build-before-fill:wait');
		sql('UPDATE d SET d = d + 0 WHERE id = 2');
		waits_at($node, 'build-before-fill');

		# TRUNCATE and ALTER TABLE wait for the builder
		$writer->query_safe('SELECT pg_backend_pid()');
		for ([ $writer, $change ], [ $caller, $calls ])
		{
			$_->[0]->{stdin} .= "$_->[1];\n";
			$_->[0]->{run}->pump_nb;
		}
		$node->poll_query_until('postgres', qq{SELECT query !~ 'pg_backend_pid' AND (state = 'idle' OR wait_event_type = 'Lock') FROM pg_stat_activity WHERE pid = $writer_pid})
		  or die "$label: it does not change";
		$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '(^SELECT derive.resume|^ALTER)' AND wait_event_type = 'Lock' AND state = 'active'})
		  or die "$label: it does not wait";
		set_debug_point($node, '');
		if ($kill)
		{
			# and with it all sessions
			kill_process(worker_pid($node));
			comes_back($node);
			resume_failed($node);
		}
		else
		{
			$holder->query_safe('SELECT pg_advisory_unlock_all()');
			$_->query_safe(q{SELECT 'done'}) for $writer, $caller;
		}
		derive_wait_state($node, $view, 'ready', "$label: it is there");
		wait_derived($node, $label);
		is_exact($node, $label);
		sql("DROP MATERIALIZED VIEW $view");
	}
	eval { $_->quit } for $holder, $caller, $writer;
}

# ---- an error inside of us, which the recompute hides, is a warning, once

SKIP:
{
	skip 'debug points are not compiled in', 1 unless has_debug_points($node);
	$offset = -s $node->logfile;
	set_debug_point($node, 'batch-changes-applied:error');
	for my $i (1 .. 3)
	{
		sql(q{UPDATE items SET d = d + 1 WHERE id = 11; UPDATE tags SET tag = tag || '+' WHERE item = 11});
		wait_derived($node, "internal error $i");
		is_exact($node, "internal error $i");
	}
	set_debug_point($node, '');
	my $log = slurp_file($node->logfile, $offset);
	my $said = qr/view "divided" is computed anew because its changes could not be computed: debug point/;
	my @warned = $log =~ /WARNING:  $said/g;
	is(scalar @warned, 1, 'one warning');
	cmp_ok(scalar(my @logged = $log =~ /LOG:  $said/g), '>=', 1, 'and the others are logged');
	like($log, qr/WARNING:  $said[^\n]*\n.*?HINT:[^\n]*please report it[^\n]*\n.*?CONTEXT:  changing view "public.divided" for transactions? \d+.* committed before /s,
		'with the view and its transactions');
}

is(sql(q{SELECT string_agg(name, ' ') FROM derive_state.view_states WHERE state <> 'ready'}), '', 'all are ready');
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC:|TRAP:|problem in alloc set|signal (?:6|11)\b/, 'server log');
$node->stop;
done_testing();
