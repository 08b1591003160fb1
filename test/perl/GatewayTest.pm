# What the tests of the gateway share: a gateway of a server, requests, and clients that
# follow views (test/gateway/followers).
package GatewayTest;

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  gateway_role new_gateway start_gateway stop_gateway kill_gateway signal_gateway gateway_path gateway_log gateway_is_healthy gateway_log_is_clean
  get status_of metric
  new_followers follow ask check_followers quit_followers
);

my $timeout = $PostgreSQL::Test::Utils::timeout_default;

sub gateway_path
{
	return ($ENV{DERIVE_DESTDIR} // '') . '/usr/bin/pg_derive_gateway';
}

# A role for the gateway, and one for clients that may read these views.
sub gateway_role
{
	my ($node, @views) = @_;
	my $views = join ', ', @views;
	$node->safe_psql('postgres', q{
CREATE ROLE gateway LOGIN NOINHERIT;
CREATE ROLE web;
GRANT web TO gateway;
} . ($views ? "GRANT SELECT ON $views TO gateway, web" : ''));
	return;
}

# A port that nobody listens on now.
sub free_port
{
	my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0) or die "no port: $!";
	return $socket->sockport;
}

# A gateway that is not started.  Settings are those of the file, beside database, port and role.
sub new_gateway
{
	my ($node, $name, %settings) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir;
	my $port = free_port();
	my %all = (
		database => "host='" . $node->host . "' port=" . $node->port . " dbname=postgres user=gateway",
		listen_port => $port, anonymous_role => 'web', rights_interval => '200ms', log_level => 'debug', %settings);

	chmod 0755, $folder;
	open my $out, '>', "$folder/gateway.conf" or die $!;
	print $out map { "$_ = '" . ($all{$_} =~ s/'/''/gr) . "'\n" } sort keys %all;
	close $out;
	return {
		node => $node, port => $port, conf => "$folder/gateway.conf", log => "$PostgreSQL::Test::Utils::log_path/$name.log",
		http => HTTP::Tiny->new(timeout => $timeout, max_redirect => 0) };
}

# Start it, and wait until it listens.
sub start_gateway
{
	my ($gateway, @arguments) = @_;
	my $pid = fork // die $!;
	if ($pid == 0)
	{
		open STDERR, '>>', $gateway->{log} or die $!;
		open STDOUT, '>&', \*STDERR or die $!;
		exec gateway_path(), "--config=$gateway->{conf}", @arguments or die $!;
	}
	$gateway->{pid} = $pid;
	for my $i (1 .. 20 * $timeout)
	{
		return $gateway if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port});
		last if waitpid($pid, 1) == $pid;
		usleep(50_000);
	}
	die "the gateway does not listen:\n" . gateway_log($gateway);
}

# End it and return its exit status.
sub signal_gateway
{
	my ($gateway, $signal) = @_;
	my $pid = delete $gateway->{pid} // return;
	kill $signal, $pid;
	for my $i (1 .. 20 * $timeout)
	{
		return $? if waitpid($pid, 1) == $pid;
		usleep(50_000);
	}
	kill 'KILL', $pid;
	waitpid $pid, 0;
	return 'does not end';
}

sub stop_gateway { return signal_gateway($_[0], 'TERM'); }
sub kill_gateway { return signal_gateway($_[0], 'KILL'); }

sub gateway_log
{
	my ($gateway) = @_;
	return -e $gateway->{log} ? slurp_file($gateway->{log}) : '';
}

sub gateway_log_is_clean
{
	my ($gateway) = @_;
	unlike(gateway_log($gateway), qr/ error: |AddressSanitizer|runtime error/, 'no error in the log of the gateway');
	return;
}

# Wait until it says that all is well.
sub gateway_is_healthy
{
	my ($gateway, $label) = @_;
	my $response;
	for my $i (1 .. 20 * $timeout)
	{
		$response = get($gateway, '/health');
		last if $response->{status} == 200;
		usleep(50_000);
	}
	is($response->{status}, 200, $label // 'the gateway is healthy') or diag($response->{content});
	return;
}

# A response as of HTTP::Tiny.
sub get
{
	my ($gateway, $path, %headers) = @_;
	return $gateway->{http}->get("http://127.0.0.1:$gateway->{port}$path", { headers => \%headers });
}

# "status code" of an error, else the status.
sub status_of
{
	my ($response) = @_;
	my $error = eval { JSON::PP->new->decode($response->{content}) };
	return ref $error eq 'HASH' && $error->{code} ? "$response->{status} $error->{code}" : $response->{status};
}

sub metric
{
	my ($gateway, $name) = @_;
	my $text = get($gateway, '/metrics')->{content};
	return $text =~ /^pg_derive_gateway_\Q$name\E (\S+)$/m ? $1 : undef;
}

# --- followers --------------------------------------------------------------

sub new_followers
{
	my ($node) = @_;
	my $followers = { in => '', out => '', err => '' };
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PATH => $node->config_data('--bindir') . ":$ENV{PATH}");
	$followers->{run} = IPC::Run::start([ 'python3', dirname(__FILE__) . '/../gateway/followers' ],
		'<', \$followers->{in}, '>', \$followers->{out}, '2>', \$followers->{err}, IPC::Run::timeout(60 * $timeout));
	return $followers;
}

# The lines of the answer to a command.
sub ask
{
	my ($followers, $command) = @_;
	$followers->{out} = '';
	$followers->{in} .= "$command\n";
	eval { $followers->{run}->pump until $followers->{out} =~ /^done\n/m };
	die "followers: $command: $@ $followers->{err}" if $@ || $followers->{err} =~ /Traceback/;
	return $followers->{out} =~ s/^done\n//mr;
}

# Follow a path; the SQL gives the rows that it must come to.
sub follow
{
	my ($followers, $gateway, $name, $kind, $path, $sql) = @_;
	ask($followers, "follow $name $gateway->{port} $kind $path " . ($sql =~ s/\s+/ /gr));
	return;
}

# Each follower has the rows of its SQL; returns the lines about them.
sub check_followers
{
	my ($followers, $label) = @_;
	my @lines = split /\n/, ask($followers, 'check');
	foreach (@lines)
	{
		my ($ok, $name) = /^(ok|not ok) (\S+):/;
		is($ok, 'ok', "$label: what $name has are the rows of the view") or diag($_);
	}
	return @lines;
}

sub quit_followers
{
	my ($followers) = @_;
	ask($followers, 'quit');
	eval { $followers->{run}->finish };
	return;
}

1;
