# Calls of psql() that share a process, and a session.
#
# A test asks its server some hundred times, and a psql, a backend and a fork of perl for each
# question took a third of the time of all tests.  Where PsqlSession is used, Cluster's psql(), and
# so safe_psql() and poll_query_until(), keep psql running and give it script after script.  Between two
# of them the session is made new as a pooler would, by DISCARD ALL.  What a test sees is the same as
# before, but for what belongs to the start of a session; so a process of its own is used for
#
#   - options: a timeout, replication, no ON_ERROR_STOP, parameters of psql other than -U;
#   - scripts that end otherwise than they begin: transactions, commands of psql;
#
# and the sessions of a server are closed
#
#   - before a script that names a database, or sets what a session begins with;
#   - before the server is told to reload or to stop.
#
# A session that has died since the last script, as with a crash, is noticed before the script is sent:
#
#	to psql					from it
#	SELECT pg_backend_pid();	4711
#	\echo+\warn 7 ready		7 ready (on both)		else: a new psql
#	the script;				its output
#	\echo+\warn 7 done		7 done (on both)		else: psql has ended, and its status is the result
#	DISCARD ALL;
package PsqlSession;

use strict;
use warnings;

use Fcntl;
use IO::Select;
use IPC::Open3;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Symbol 'gensym';
use Test::More;
use Time::HiRes qw(usleep);

my %sessions;		# by server and what psql was called with
my $timeout = $PostgreSQL::Test::Utils::timeout_default;

my $alone = qr/\\|\b(?:BEGIN|START\s+TRANSACTION|PREPARE|COPY|LISTEN|LOAD)\b|pg_backend_pid|pg_terminate_backend/i;
my $closes = qr/\bDATABASE\b|\bALTER\s+(?:ROLE|USER|SYSTEM)\b|pg_reload_conf/i;

# A running psql, or undef where there is no session to be had.
sub begin
{
	my ($command) = @_;
	my ($in, $out, $err) = (undef, undef, gensym);
	my $pid = open3($in, $out, $err, @$command);
	fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) for $in, $out, $err;
	return { pid => $pid, in => $in, out => $out, err => $err, turn => 0, lines => 0 };
}

# Write, and read until both streams have had the mark as a line of its own; returns whether they have, and
# what came before it.
sub exchange
{
	my ($psql, $text, $mark) = @_;
	my $before = $psql->{lines};
	my %got = (out => '', err => '');
	my %open = (out => 1, err => 1);
	my $end = time() + 10 * $timeout;
	local $SIG{PIPE} = 'IGNORE';

	$text .= "\n\\echo $mark\n\\warn $mark\n";
	$psql->{lines} += $text =~ tr/\n//;
	while (grep { $open{$_} && $got{$_} !~ /^\Q$mark\E\n/m } keys %got)
	{
		$! = 0;
		my ($read, $write) = IO::Select->select(IO::Select->new(map { $psql->{$_} } grep { $open{$_} } keys %open),
			length $text ? IO::Select->new($psql->{in}) : undef, undef, $end - time());
		next if !$read && $!{EINTR};	# somebody has stopped us for a while
		die "psql did not answer: $got{out} $got{err}" unless $read;
		if (@$write)
		{
			my $n = syswrite($psql->{in}, $text);
			$text = defined $n ? substr($text, $n) : $!{EAGAIN} ? $text : '';
		}
		for my $stream (keys %open)
		{
			next unless $open{$stream} && grep { $_ == $psql->{$stream} } @$read;
			my $n = sysread($psql->{$stream}, $got{$stream}, 65536, length $got{$stream});
			$open{$stream} = 0 if defined $n ? $n == 0 : !$!{EAGAIN};
		}
	}
	my $whole = 1;
	s/^\Q$mark\E\n.*//ms or $whole = 0 for values %got;
	# lines are counted by psql from its start
	$got{err} =~ s/^psql:<stdin>:\K(\d+)/$1 - $before/gme;
	return ($whole, $got{out}, $got{err});
}

# Wait for a psql that was told to end, or has ended by itself, and for its backend, which outlives it and is in
# the way of DROP DATABASE for so long; returns the status of psql.
sub end
{
	my ($psql) = @_;
	close $psql->{$_} for qw(in out err);
	waitpid($psql->{pid}, 0);
	my $status = $?;
	for (1 .. 10_000)
	{
		last unless $psql->{backend} && kill(0, $psql->{backend});
		usleep(1_000);
	}
	return $status;
}

# Is the session there?  And what else psql had to say.
sub is_ready
{
	my ($psql) = @_;
	my ($whole, $out, $err) = exchange($psql, 'SELECT pg_backend_pid();', ++$psql->{turn} . ' ready');
	($psql->{backend}) = $out =~ /^(\d+)$/m if $whole;
	return ($whole, $out, $err);
}

sub close_sessions
{
	my ($node) = @_;
	end($_) for values %{ delete $sessions{ $node->name } // {} };
	return;
}

# Status, output and messages of a script.
sub run_script
{
	my ($node, $sql, @command) = @_;
	my $key = join "\0", @command, map { "$_=$ENV{$_}" } grep { /^PG/ } sort keys %ENV;
	my $sessions = $sessions{ $node->name } //= {};
	my ($psql, $whole, $out, $err) = ($sessions->{$key});

	if ($psql && !(is_ready($psql))[0])
	{
		end(delete $sessions->{$key});
		undef $psql;
	}
	if (!$psql)
	{
		$psql = $sessions->{$key} = begin(\@command);
		($whole, $out, $err) = is_ready($psql);
		return (end(delete $sessions->{$key}), $out, $err) unless $whole;
	}
	($whole, $out, $err) = exchange($psql, $sql . ($sql =~ /--.*\z/ ? "\n;" : ';'), ++$psql->{turn} . ' done');
	if ($whole)
	{
		syswrite($psql->{in}, "DISCARD ALL;\n");
		$psql->{lines}++;
		return (0, $out, $err);
	}
	return (end(delete $sessions->{$key}), $out, $err);
}

my $psql = \&PostgreSQL::Test::Cluster::psql;

sub shared_psql
{
	my ($node, $dbname, $sql, %params) = @_;
	my %other = %params;
	delete @other{qw(stdout stderr on_error_die)};
	$other{on_error_stop} //= 1;
	my @user = @{ delete $other{extra_params} // [] };
	my $shared = delete($other{on_error_stop}) && !%other && (!@user || "@user" =~ /^-U \S+$/);

	close_sessions($node) if $sql =~ $closes;
	goto &$psql if !$shared || $sql =~ $alone || $sql =~ $closes;

	local %ENV = $node->_get_env();
	my ($status, $out, $err) = run_script($node, $sql,
		$node->installed_command('psql'), '-XAtq', '-d', $node->connstr($dbname), '-f', '-', '-v', 'ON_ERROR_STOP=1', @user);
	chomp($out, $err);
	${ $params{stdout} } = $out if $params{stdout};
	${ $params{stderr} } = $err if $params{stderr};
	die "psql exited with signal " . ($status & 127) . ": '$err'" if $status & 127;
	$status >>= 8;
	die "error running SQL, status $status: '$err'\nwith sql '$sql'" if $status && $params{on_error_die};
	return wantarray ? ($status, $out, $err) : $status;
}

sub shared_poll
{
	my ($node, $dbname, $query, $expected) = @_;
	my ($status, $out, $err) = (-1, '', '');
	$expected //= 't';
	for (1 .. 10 * $timeout)
	{
		($status, $out, $err) = eval { $node->psql($dbname, $query) };
		return 1 if ($out // '') eq $expected && ($err // '') eq '';
		usleep(100_000);
	}
	diag "never: $query\nexpected: $expected\nlast: " . ($out // '') . "\nmessages: " . ($err // $@);
	return 0;
}

{
	no warnings 'redefine';
	*PostgreSQL::Test::Cluster::psql = \&shared_psql;
	*PostgreSQL::Test::Cluster::poll_query_until = \&shared_poll;
	for my $name (qw(stop restart reload kill9 teardown_node))
	{
		no strict 'refs';
		my $full = "PostgreSQL::Test::Cluster::$name";
		my $original = defined &$full ? \&$full : next;
		*$full = sub { close_sessions($_[0]); goto &$original; };
	}
}

1;
