# What the tests of pg_derive_kafka share: a Kafka of one or more nodes, the program, and what is
# in a topic.
#
# KAFKA_JARS is the folder of Kafka's libraries, PG_DERIVE_KAFKA the program (tools/kafka.sh).
# Kafka listens on ports of the loopback interface that were free a moment before.
package KafkaTest;

use strict;
use warnings;

use DeriveTest;
use Exporter 'import';
use File::Path qw(rmtree);
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our @EXPORT = qw(
  kafka_start kafka_stop kafka_kill kafka_start_node kafka_brokers kafka_create_topic kafka_records kafka_send
  kafka_console kafka_end kafka_load_records kafka_load_table
  connector_start connector_stop connector_kill connector_ends connector_log connector_waits
  to_kafka from_kafka kafka_caught_up views_are_exact
);

my $timeout = 2 * $PostgreSQL::Test::Utils::timeout_default;
my @clusters;
my @connectors;

# --- the brokers -------------------------------------------------------------

sub java
{
	my (@arguments) = @_;
	return ('java', '-Xmx300m', '-Xms100m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1',
		'-Dorg.slf4j.simpleLogger.defaultLogLevel=warn', '-cp', "$ENV{KAFKA_JARS}/*", @arguments);
}

sub free_port
{
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die "no port: $!";
	# open until all have been chosen
	return ($socket, $socket->sockport);
}

sub write_properties
{
	my ($cluster, $node) = @_;
	my $number = @{ $cluster->{nodes} };
	my $copies = $number < 3 ? $number : 3;
	my $least = $number < 3 ? 1 : 2;
	my $voters = join ',', map { "$_->{id}\@127.0.0.1:$_->{control_port}" } @{ $cluster->{nodes} };

	open my $out, '>', "$node->{folder}.properties" or die $!;
	print $out <<"END";
process.roles=broker,controller
node.id=$node->{id}
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$node->{port},CONTROLLER://127.0.0.1:$node->{control_port}
advertised.listeners=PLAINTEXT://127.0.0.1:$node->{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$node->{folder}
auto.create.topics.enable=false
default.replication.factor=$copies
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$least
transaction.state.log.num.partitions=3
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$least
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=2000000
log.segment.bytes=67108864
log.index.size.max.bytes=65536
num.network.threads=2
num.io.threads=4
broker.session.timeout.ms=6000
END
	close $out or die $!;
	return;
}

# A cluster of so many nodes, which runs.
sub kafka_start
{
	my ($number) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my (@sockets, @nodes);

	plan(skip_all => 'make test-kafka runs this') unless $ENV{KAFKA_JARS} && $ENV{PG_DERIVE_KAFKA};
	foreach my $id (1 .. $number)
	{
		my ($socket, $port) = free_port();
		my ($control_socket, $control_port) = free_port();
		push @sockets, $socket, $control_socket;
		push @nodes, { id => $id, port => $port, control_port => $control_port, folder => "$folder/node$id" };
	}
	close $_ foreach @sockets;
	my $cluster = { folder => $folder, nodes => \@nodes };
	push @clusters, $cluster;
	foreach my $node (@nodes)
	{
		write_properties($cluster, $node);
		system_or_bail(java('kafka.tools.StorageTool', 'format', '-t', 'AAAAAAAAAAAAAAAAAAAAAA', '-c', "$node->{folder}.properties"));
		kafka_start_node($cluster, $node->{id}, wait => 0);
	}
	wait_for_brokers($cluster, $number);
	return $cluster;
}

# A node again; wait => 0 does not wait until the cluster has it.
sub kafka_start_node
{
	my ($cluster, $id, %opt) = @_;
	my $node = $cluster->{nodes}[ $id - 1 ];
	my $log = "$PostgreSQL::Test::Utils::log_path/kafka_$id.txt";

	$node->{pid} = fork() // die 'fork';
	if ($node->{pid} == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $log;
		open STDERR, '>>', $log;
		exec java('kafka.Kafka', "$node->{folder}.properties") or POSIX::_exit(1);
	}
	wait_for_brokers($cluster, scalar grep { $_->{pid} } @{ $cluster->{nodes} }) if $opt{wait} // 1;
	return;
}

sub wait_for_brokers
{
	my ($cluster, $number) = @_;
	my ($out, $err);

	foreach (1 .. 5 * $timeout)
	{
		IPC::Run::run([ 'kcat', '-b', kafka_brokers($cluster), '-L', '-m', '2' ], '<', \'', '>', \$out, '2>', \$err);
		return if ($out // '') =~ /^ $number brokers:/m;
		usleep(200_000);
	}
	die "Kafka does not have $number brokers: $out$err";
}

sub kafka_brokers
{
	my ($cluster) = @_;
	return join ',', map { "127.0.0.1:$_->{port}" } @{ $cluster->{nodes} };
}

# kill -9.
sub kafka_kill
{
	my ($cluster, $id) = @_;
	my $node = $cluster->{nodes}[ $id - 1 ];

	return unless $node->{pid};
	kill 'KILL', $node->{pid};
	waitpid $node->{pid}, 0;
	$node->{pid} = 0;
	return;
}

sub kafka_stop
{
	my ($cluster) = @_;
	kafka_kill($cluster, $_->{id}) foreach @{ $cluster->{nodes} };
	rmtree($cluster->{folder});
	return;
}

END
{
	my $status = $?;
	kill 'KILL', $_->{pid} foreach grep { $_->{pid} } @connectors, map { @{ $_->{nodes} } } @clusters;
	$? = $status;
}

# --- topics --------------------------------------------------------------------

sub kafka_create_topic
{
	my ($cluster, $topic, $partitions, @config) = @_;
	my $copies = @{ $cluster->{nodes} };

	system_or_bail(java('org.apache.kafka.tools.TopicCommand', '--bootstrap-server', kafka_brokers($cluster), '--create', '--topic',
			$topic, '--partitions', $partitions, '--replication-factor', $copies, map { ('--config', $_) } @config));
	return;
}

# All committed records of a topic: hashes with partition, offset, key, payload, headers.  A file gets
# them as lines of JSON instead.
sub kafka_records
{
	my ($cluster, $topic, $file) = @_;
	my ($out, $err) = ('', '');

	$file //= "$PostgreSQL::Test::Utils::tmp_check/records_$$.json";
	IPC::Run::run(
		[ 'kcat', '-b', kafka_brokers($cluster), '-C', '-t', $topic, '-o', 'beginning', '-e', '-q', '-J', '-X', 'isolation.level=read_committed' ],
		'<', \'', '>', $file, '2>', \$err)
	  or die "kcat: $err";
	return if @_ == 3;
	return map { decode_json($_) } split /\n/, slurp_file($file);
}

# Lines of "key<TAB>value"; kcat writes without transactions.
sub kafka_send
{
	my ($cluster, $topic, $lines, @options) = @_;
	my $err = '';

	IPC::Run::run([ 'kcat', '-b', kafka_brokers($cluster), '-P', '-t', $topic, '-K', "\t", '-X', 'partitioner=murmur2_random', @options ],
		'<', \$lines, '2>', \$err)
	  or die "kcat: $err";
	return;
}

# What Kafka's own consumer prints of so many committed records.
sub kafka_console
{
	my ($cluster, $topic, $number, @properties) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run(
		[   java('org.apache.kafka.tools.consumer.ConsoleConsumer', '--bootstrap-server', kafka_brokers($cluster), '--topic', $topic,
				'--from-beginning', '--isolation-level', 'read_committed', '--max-messages', $number, '--timeout-ms', 20000,
				map { ('--property', $_) } @properties) ],
		'<', \'', '>', \$out, '2>', \$err);
	return $out;
}

# The offset behind all that a partition has.
sub kafka_end
{
	my ($cluster, $topic, $partition) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'kcat', '-b', kafka_brokers($cluster), '-Q', '-t', "$topic:$partition:-1" ], '<', \'', '>', \$out, '2>', \$err)
	  && $out =~ / offset (\d+)/
	  or die "kcat: $out$err";
	return $1;
}

# The records of a topic as rows of a table (topic, partition, record_offset, key, value, schema), in a database.
sub kafka_load_records
{
	my ($cluster, $node, $topic, $table, $db) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/load_$$.json";

	kafka_records($cluster, $topic, $file);
	$node->safe_psql($db // 'postgres', qq{
		DROP TABLE IF EXISTS $table;
		CREATE TABLE $table (topic text, partition int, record_offset bigint, key jsonb, value jsonb, schema text);
		CREATE TEMPORARY TABLE raw (line text);
		\\copy raw FROM '$file' WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')
		INSERT INTO $table SELECT r->>'topic', (r->>'partition')::int, (r->>'offset')::bigint, (r->>'key')::jsonb, (r->>'payload')::jsonb,
			r->'headers'->>1 FROM (SELECT line::jsonb AS r FROM raw) q;
	});
	unlink $file;
	return;
}

# The rows that a topic says there are, as a table like that relation: the last record of each key.
sub kafka_load_table
{
	my ($cluster, $node, $topic, $relation, $table, $db) = @_;

	kafka_load_records($cluster, $node, $topic, "${table}_records", $db);
	$node->safe_psql($db // 'postgres', qq{
		DROP TABLE IF EXISTS $table;
		CREATE TABLE $table AS SELECT (jsonb_populate_record(NULL::$relation, value->'after')).* FROM (
			SELECT DISTINCT ON (key) * FROM ${table}_records ORDER BY key, partition, record_offset DESC) r
		WHERE value IS NOT NULL AND value->>'op' <> 'd';
	});
	return;
}

# --- the program ----------------------------------------------------------------

# Start it; name is that of its log.  env => {...}
sub connector_start
{
	my ($name, $arguments, %opt) = @_;
	my $log = "$PostgreSQL::Test::Utils::log_path/$name.txt";
	my $connector = { name => $name, log => $log, arguments => $arguments };

	$connector->{pid} = fork() // die 'fork';
	if ($connector->{pid} == 0)
	{
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $log;
		open STDERR, '>>', $log;
		local @ENV{ keys %{ $opt{env} // {} } } = values %{ $opt{env} // {} };
		exec $ENV{PG_DERIVE_KAFKA}, @$arguments or POSIX::_exit(1);
	}
	push @connectors, $connector;
	return $connector;
}

sub connector_log
{
	my ($connector) = @_;
	return -e $connector->{log} ? slurp_file($connector->{log}) : '';
}

sub has_ended
{
	my ($connector) = @_;

	if ($connector->{pid} && waitpid($connector->{pid}, POSIX::WNOHANG()) == $connector->{pid})
	{
		$connector->{pid} = 0;
		$connector->{status} = $? & 127 ? -($? & 127) : $? >> 8;
	}
	return !$connector->{pid};
}

# Wait until it has ended; its exit status, or -9 where it was killed.
sub connector_ends
{
	my ($connector) = @_;

	foreach (1 .. 20 * $timeout)
	{
		return $connector->{status} if has_ended($connector);
		usleep(50_000);
	}
	die "$connector->{name} does not end: " . connector_log($connector);
}

sub connector_kill
{
	my ($connector) = @_;
	kill 'KILL', $connector->{pid} if $connector->{pid};
	return connector_ends($connector);
}

# As systemd stops it; returns its status.
sub connector_stop
{
	my ($connector) = @_;
	kill 'TERM', $connector->{pid} if $connector->{pid};
	return connector_ends($connector);
}

# Wait until its log, from the offset on, has a line.
sub connector_waits
{
	my ($connector, $pattern, $offset) = @_;
	foreach (1 .. 20 * $timeout)
	{
		my $ended = has_ended($connector);
		return 1 if substr(connector_log($connector), $offset // 0) =~ $pattern;
		last if $ended;
		usleep(50_000);
	}
	diag("the log of $connector->{name} does not have $pattern:\n" . connector_log($connector));
	return 0;
}

# Options of the two directions, for this server and this Kafka.
sub to_kafka
{
	my ($node, $cluster, $name, $relations, @options) = @_;
	return [
		'to_kafka', "--name=$name", '--database=' . $node->connstr('postgres'), '--brokers=' . kafka_brokers($cluster),
		"--relations=$relations", '--partitions=3', '--position_interval=200ms', @options ];
}

sub from_kafka
{
	my ($node, $cluster, $name, $topics, $into, @options) = @_;
	return [
		'from_kafka', "--name=$name", '--database=' . $node->connstr('postgres'), '--brokers=' . kafka_brokers($cluster),
		"--topics=$topics", "--into=$into", '--kafka=session.timeout.ms=6000', @options ];
}

# Wait until all that the database has committed so far is in Kafka: the slot moves behind it only then.
sub kafka_caught_up
{
	my ($node, $name) = @_;
	my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');

	$node->safe_psql('postgres', 'SELECT pg_switch_wal()');
	foreach (1 .. 10 * $timeout)
	{
		my ($rc, $out) = $node->psql('postgres',
			"SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots WHERE slot_name = 'kafka_$name'");
		return 1 if ($out // '') eq 't';
		usleep(100_000);
	}
	return 0;
}

# As DeriveTest's is_exact(), where there are topics, which have no query.
sub views_are_exact
{
	my ($node, $label) = @_;

	is( $node->safe_psql('postgres', q{
		WITH v AS MATERIALIZED (SELECT view FROM derive.views
				WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = view AND attname = 'event_lsn')),
			o AS MATERIALIZED (SELECT view, oracle(view) FROM v)
		SELECT view, oracle FROM o WHERE oracle <> 0 UNION ALL SELECT view, NULL FROM derive.views WHERE state <> 'ready'}),
		'', "$label: every view is ready and equals its query");
	is($node->safe_psql('postgres', 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	return;
}

1;
