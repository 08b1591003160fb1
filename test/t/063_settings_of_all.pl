# Settings that a server, a database or a role has for everybody, and event triggers: our
# processes go on as if they were not there, and every view is exact.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('settings');
my $id = 100_000;

# What people want of their sessions.
my %sessions = (
	statement_timeout => '1ms',
	lock_timeout => '1ms',
	idle_in_transaction_session_timeout => '1ms',
	idle_session_timeout => '1s',
	transaction_timeout => '2ms',
	default_transaction_isolation => 'serializable',
	default_transaction_read_only => 'on',
	default_transaction_deferrable => 'on',
	row_security => 'off',
	session_replication_role => 'replica',
	synchronous_commit => 'remote_apply',
	search_path => 'nowhere, "$user"',
	exit_on_error => 'on',
	restrict_nonsystem_relation_kind => 'view',
	temp_tablespaces => 'nowhere',
	client_min_messages => 'debug1',
	check_function_bodies => 'off',
	standard_conforming_strings => 'off',
	gin_fuzzy_search_limit => '1',
	quote_all_identifiers => 'on',
	lc_messages => 'C',
	plan_cache_mode => 'force_generic_plan');

# How queries are run.
my %execution = (
	work_mem => '64kB',
	maintenance_work_mem => '1MB',
	hash_mem_multiplier => '1',
	temp_buffers => '800kB',
	force_parallel_mode => 'regress',
	debug_parallel_query => 'regress',
	jit => 'on',
	jit_above_cost => '0',
	jit_optimize_above_cost => '-1',
	jit_inline_above_cost => '-1',
	from_collapse_limit => '1',
	join_collapse_limit => '1',
	geqo_threshold => '2',
	geqo => 'on',
	constraint_exclusion => 'on',
	cursor_tuple_fraction => '1',
	log_statement => 'all',
	log_min_duration_statement => '0',
	log_parser_stats => 'on',
	track_activities => 'off',
	track_functions => 'all',
	track_io_timing => 'on',
	compute_query_id => 'on',
	commit_delay => '1000',
	commit_siblings => '0',
	default_toast_compression => 'pglz',
	default_statistics_target => '1',
	map { $_ => 'off' } qw(enable_seqscan enable_indexscan enable_hashjoin enable_mergejoin enable_hashagg enable_sort enable_memoize enable_material));

# Not of the session that tests.
my %sane = (
	statement_timeout => '0',
	lock_timeout => '0',
	idle_in_transaction_session_timeout => '0',
	idle_session_timeout => '0',
	transaction_timeout => '0',
	default_transaction_isolation => 'read\ committed',
	default_transaction_read_only => 'off',
	default_transaction_deferrable => 'off',
	row_security => 'on',
	session_replication_role => 'origin',
	synchronous_commit => 'local',
	search_path => 'public',
	exit_on_error => 'off',
	restrict_nonsystem_relation_kind => '',
	client_min_messages => 'warning',
	standard_conforming_strings => 'on',
	quote_all_identifiers => 'off',
	force_parallel_mode => 'off',
	debug_parallel_query => 'off',
	jit => 'off',
	log_statement => 'none',
	log_parser_stats => 'off',
	log_min_duration_statement => '-1',
	track_activities => 'on');

# Those that this server has.
sub known
{
	my ($settings) = @_;
	my %has = map { $_ => 1 } split /\n/, $node->safe_psql('postgres', 'SELECT name FROM pg_settings');
	return { map { $_ => $settings->{$_} } grep { $has{$_} } keys %$settings };
}
my ($sessions, $execution, $sane) = map { known($_) } \%sessions, \%execution, \%sane;
$ENV{PGOPTIONS} = join ' ', map { "-c $_=$sane->{$_}" } sort keys %$sane;

sub sql { return $node->safe_psql('postgres', $_[0]); }

load_tables($node);
sql(q{
CREATE ROLE maker;
GRANT CREATE ON SCHEMA public TO maker;
CREATE TABLE items (id int PRIMARY KEY, kind text, tags int[], at timestamptz DEFAULT now());
ALTER TABLE items OWNER TO maker;
INSERT INTO items (id, kind, tags) SELECT i, 'k' || i % 9, ARRAY[i, i % 5] FROM generate_series(1, 3000) i;
CREATE VIEW plain AS SELECT id, kind, tags FROM items;
ALTER VIEW plain OWNER TO maker;
CREATE TABLE divisors (d int PRIMARY KEY);
ALTER TABLE divisors OWNER TO maker;
INSERT INTO divisors VALUES (1), (2);
CREATE FUNCTION looked_up(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN (SELECT 'x' || $1); END$$;
SET ROLE maker;
SELECT derive.create_view('of_plain', 'SELECT kind, count(*), max(looked_up(id)), array_agg(id ORDER BY id) AS ids FROM plain GROUP BY kind');
SELECT derive.create_view('latest', 'SELECT id, kind FROM items WHERE at > now() - interval ''1 hour''');
SELECT derive.create_view('ranked', 'SELECT id, rank() OVER (PARTITION BY kind ORDER BY id DESC) FROM items');
SELECT derive.create_view('top5', 'SELECT id, kind FROM items ORDER BY id DESC LIMIT 5');
SELECT derive.create_view('shares', 'SELECT id, count(*) OVER () AS n, ntile(4) OVER (ORDER BY id) FROM items');
SELECT derive.create_view('past', derivation => 'history', sources => '{items}', options => '{"retention": "1 day"}');
SELECT derive.create_view('divided', 'SELECT d, 60 / d AS q FROM divisors');
SELECT derive.create_topic('events', 'n int');
});
wait_derived($node, 'built');
sql(q{SELECT derive.subscribe('of_plain', 'reader')});

# A history ends with the rows of its table, a topic has what was appended.
sub all_exact
{
	my ($label) = @_;
	is(sql(q{SELECT string_agg(view || ' ' || state || ': ' || coalesce(error, ''), '; ') FROM derive.views WHERE state <> 'ready'}),
		'', "$label: all are ready");
	is(sql(q{SELECT view, oracle(view) FROM derive.views WHERE view::text NOT IN ('past', 'events') AND oracle(view) <> 0}),
		'', "$label: every view equals its query");
	is(sql('SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	is(sql(q{SELECT count(*) FROM (SELECT id, kind FROM items EXCEPT ALL SELECT id, kind FROM past WHERE until_lsn IS NULL) d}),
		'0', "$label: the history has the rows of its table");
	is(sql(q{SELECT count(*) = (SELECT max(n) FROM events) FROM events}), 't', "$label: the topic has each event");
	return;
}

# Everything that our processes do.
my $n = 0;
sub goes_on
{
	my ($label) = @_;
	$n++;
	sql("BEGIN; INSERT INTO items (id, kind, tags) SELECT $id + i, 'new', '{1}' FROM generate_series(1, 500) i;
		UPDATE items SET kind = 'changed' WHERE id % 7 = $n % 7; DELETE FROM items WHERE id % 50 = $n; SELECT derive.append('events', ROW($n));
		UPDATE accounts SET balance = balance + $n, branch = (branch + 1) % 10 WHERE id % 20 = $n; COMMIT");
	$id += 1000;
	wait_derived($node, "$label: changes");
	sql(qq{SET ROLE maker;
		SELECT derive.create_view('made', 'SELECT a.kind, count(*), min(b.id) FROM items a JOIN plain b USING (id) GROUP BY a.kind');
		SELECT derive.replace_view('top5', 'SELECT id, kind FROM items ORDER BY id DESC LIMIT ' || 5 + $n)});
	is(sql(q{SELECT derive.wait_replaced('top5', timeout => '180 s')}), 't', "$label: replaced");
	sql('INSERT INTO divisors VALUES (0)');
	derive_wait_state($node, 'divided', 'failed', "$label: a view fails");
	sql(q{DELETE FROM divisors WHERE d = 0; SELECT derive.resume('divided')});
	sql('REFRESH MATERIALIZED VIEW ranked');
	sql(q{SELECT derive.repair('shares')});
	sql("INSERT INTO items (id, kind, tags) VALUES ($id, 'last', '{}')");
	wait_derived($node, "$label: built");
	all_exact($label);
	sql('DROP MATERIALIZED VIEW made');
	isnt(sql(q{SELECT count(*) FROM derive.poll('reader', timeout => '20 s')}), '0', "$label: a subscriber has changes");
	return;
}

goes_on('as usual');

# A setting in one of the three places; a worker takes those of database and role when it starts.
my %place = (
	server => ['ALTER SYSTEM SET %s = %s', 'ALTER SYSTEM RESET ALL'],
	database => ['ALTER DATABASE postgres SET %s = %s', 'ALTER DATABASE postgres RESET ALL'],
	role => ['ALTER ROLE postgres SET %s = %s; ALTER ROLE maker SET %1$s = %2$s', 'ALTER ROLE postgres RESET ALL; ALTER ROLE maker RESET ALL']);

# Parameters whose value is a list are not quoted as a whole.
sub value
{
	my ($name, $value) = @_;
	return $name =~ /^(search_path|temp_tablespaces)$/ ? $value : "'$value'";
}

sub in_force
{
	my ($label, $place, $settings) = @_;
	my ($set, $reset) = @{ $place{$place} };
	my $context = $place eq 'server' ? '' : q{AND context NOT IN ('sighup', 'postmaster')};
	for my $name (sort keys %$settings)
	{
		next if sql("SELECT count(*) FROM pg_settings WHERE name = '$name' $context") eq '0';
		# "nowhere" is not there, which is a NOTICE or, for everybody, silent
		my ($rc, undef, $err) = $node->psql('postgres', join ";\n", map { sprintf $_, $name, value($name, $settings->{$name}) } split /; /, $set);
		diag("$place $name: $err") if $rc != 0 && $name !~ /tablespace/ && $place ne 'server';
	}
	$node->restart;
	goes_on("$label of $place");
	# as the last resort of a session that has them
	sql("SET default_transaction_read_only = off; $_") for split /; /, $reset;
	$node->restart;
	return;
}

in_force('sessions', $_, $sessions) for qw(server database role);
in_force('execution', 'server', $execution);
goes_on('as before');

# Who calls our functions with such settings.
{
	local $ENV{PGOPTIONS} = '-c default_transaction_isolation=serializable -c row_security=off -c session_replication_role=replica -c synchronous_commit=off -c search_path=public';
	goes_on('serializable sessions');
}

# Event triggers are for what people do: our processes have no "my.may_ddl".
sql(q{
CREATE TABLE seen (event text, tag text, pid int DEFAULT pg_backend_pid());
GRANT INSERT ON seen TO PUBLIC;
CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen VALUES (tg_event, tg_tag);
	IF current_setting('my.may_ddl', true) IS DISTINCT FROM 'yes' THEN
		RAISE 'no DDL here: %', tg_tag;
	END IF;
END $$;
CREATE EVENT TRIGGER on_start ON ddl_command_start EXECUTE FUNCTION see();
ALTER EVENT TRIGGER on_start ENABLE ALWAYS;
CREATE EVENT TRIGGER on_drop ON sql_drop EXECUTE FUNCTION see();
CREATE EVENT TRIGGER on_rewrite ON table_rewrite EXECUTE FUNCTION see();
CREATE EVENT TRIGGER on_end ON ddl_command_end EXECUTE FUNCTION see();
});
SKIP:
{
	skip 'no login event triggers', 1 if $node->pg_version < 17;
	sql(q{
SET my.may_ddl = yes;
CREATE FUNCTION no_login() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'nobody logs in' USING ERRCODE = 'insufficient_privilege'; END$$;
CREATE EVENT TRIGGER on_login ON login EXECUTE FUNCTION no_login();
ALTER EVENT TRIGGER on_login ENABLE ALWAYS});
	my ($rc, undef, $err) = $node->psql('postgres', 'SELECT 1');
	like($err, qr/nobody logs in/, 'nobody logs in');
	$ENV{PGOPTIONS} .= ' -c event_triggers=off';
	$node->restart;
	sql('ALTER EVENT TRIGGER on_login DISABLE');
	$ENV{PGOPTIONS} =~ s/ -c event_triggers=off//;
}
$node->restart;
my ($rc, undef, $err) = $node->psql('postgres', q{SELECT derive.create_view('none', 'SELECT 1 AS x FROM items')});
like($err, qr/no DDL here: CREATE MATERIALIZED VIEW/, 'who creates a view is asked');
{
	local $ENV{PGOPTIONS} = "$ENV{PGOPTIONS} -c my.may_ddl=yes";
	goes_on('event triggers');
}

log_is_clean($node);
my $log = slurp_file($node->logfile);
unlike($log, qr/FATAL:(?!.*(?:shutting down|starting up|terminating connection|the database system|nobody logs in|administrator command))/, 'no process of ours gave up');
$node->stop;
done_testing();
