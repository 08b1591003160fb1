# The gateway: clients that are slow, silent or wrong, too many of them, too many rows, and
# views that go, change or fail while they are followed.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use GatewayTest;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time usleep);

my $node = derive_node('gateway_faults');
$node->safe_psql('postgres', q{
CREATE TABLE t (id integer PRIMARY KEY, x integer, filler text);
INSERT INTO t SELECT i, 0, repeat('x', 500) FROM generate_series(1, 500) i;
SELECT derive.create_view('v', 'SELECT * FROM t'), derive.create_view('sums', 'SELECT x, count(*) FROM t GROUP BY x'),
	derive.create_view('dropped', 'SELECT * FROM t'), derive.create_view('renamed', 'SELECT id, x FROM t'),
	derive.create_view('replaced', 'SELECT id, x FROM t'), derive.create_view('failing', 'SELECT id, 1 / (x - 1000) AS y FROM t'),
	derive.create_view('released', 'SELECT id FROM t');
});
wait_derived($node, 'built');
gateway_role($node, qw(v sums dropped renamed replaced failing released));
my $gateway = start_gateway(new_gateway($node, 'gateway',
	max_lag => '4MB', keep_changes => '8MB', send_timeout => '10s', header_timeout => '10s', ping_interval => '1s', max_rows => 1000, max_clients => 30));
my $json = JSON::PP->new;

sub raw_socket { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}, Timeout => 30) || die $!; }
sub read_until
{
	my ($socket, $pattern, $seconds) = @_;
	my ($text, $end) = ('', time + ($seconds // 60));
	my $select = IO::Select->new($socket);
	while (time < $end)
	{
		next unless $select->can_read(0.2);
		last unless sysread $socket, $text, 65536, length $text;
		return $text if defined $pattern && $text =~ $pattern;
	}
	return $text;
}
sub wait_for
{
	my ($condition, $label) = @_;
	for my $i (1 .. 600)
	{
		return ok(1, $label) if $condition->();
		usleep(100_000);
	}
	return ok(0, $label);
}
sub update_all { $node->safe_psql('postgres', 'UPDATE t SET x = x + 1'); wait_derived($node); return; }

# --- requests that are none -------------------------------------------------

my %wrong = (
	'nothing' => '',
	'no HTTP' => "hello\r\n\r\n",
	'zero bytes' => "\0" x 100,
	'a line without an end' => 'GET /views/v' . 'x' x 100_000,
	'too many headers' => "GET /views/v HTTP/1.1\r\n" . join('', map { "X-$_: " . 'y' x 1000 . "\r\n" } 1 .. 100) . "\r\n",
	'an old version' => "GET /views/v HTTP/0.9\r\n\r\n",
	'no host' => "GET /views/v?limit=1 HTTP/1.1\r\n\r\n",
	'line ends without returns' => "GET /views/v?limit=1 HTTP/1.1\nHost: x\n\n",
	'percents' => "GET /views/%zz%?%=% HTTP/1.1\r\nHost: x\r\n\r\n",
	'dots' => "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
	'a length below zero' => "GET /views/v?limit=1 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
	'a large body' => "POST /views/v HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" . 'z' x 1_000_000,
	'a WebSocket without a key' => "GET /views/v/changes HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	'HTTP/2' => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	'a TLS hello' => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . 'r' x 500);
foreach my $what (sort keys %wrong)
{
	my $socket = raw_socket();
	local $SIG{PIPE} = 'IGNORE';
	$socket->blocking(0);
	for (my $sent = 0; $sent < length $wrong{$what};)
	{
		my $n = syswrite $socket, $wrong{$what}, 65536, $sent;
		last if !defined $n && !$!{EAGAIN};
		$sent += $n // 0;
		usleep(1000) if !defined $n;
	}
	my $answer = read_until($socket, qr/\r\n\r\n/, 5);
	unlike($answer, qr/root:/, "$what: " . ($answer =~ /^(HTTP\S+ \d+)/ ? $1 : 'closed'));
	close $socket;
}
is(get($gateway, '/views/v?limit=1')->{status}, 200, 'and it works still');
foreach (
	[ GET => '/', 404 ], [ GET => '/views', 404 ], [ GET => '/views/', 404 ], [ GET => '/views//changes', 404 ], [ GET => '/views/v/changes/x', 404 ],
	[ POST => '/views/v', 405 ], [ DELETE => '/views/v', 405 ], [ PUT => '/views/v', 405 ], [ GET => '/views/v?a%0Ab=eq.1', 400 ], [ GET => '/views/' . 'n' x 3000, 404 ], [ GET => '/views/v?', 200 ], [ GET => '/views/v?limit=1&', 200 ])
{
	my ($method, $path, $status) = @$_;
	is($gateway->{http}->request($method, "http://127.0.0.1:$gateway->{port}$path")->{status}, $status, "$method " . substr $path, 0, 30);
}

# Who sends his request byte by byte, or not at all, does not keep his place.
my $start = time;
my @slow = map { raw_socket() } 1 .. 10;
foreach my $byte (split //, "GET /views/v HTTP/1.1\r\nX: " . 'y' x 100)
{
	local $SIG{PIPE} = 'IGNORE';
	$_->connected && syswrite $_, $byte foreach @slow[ 0 .. 4 ];
	usleep(50_000);
	last if time - $start > 15;
}
wait_for(sub { metric($gateway, 'connections') < 8 }, 'slow requests are closed');
cmp_ok(time - $start, '<', 60, 'in time');

# --- clients that are slow --------------------------------------------------

# One that does not read at all
my $deaf = raw_socket();
setsockopt $deaf, SOL_SOCKET, SO_RCVBUF, 4096;
print $deaf "GET /views/v/changes HTTP/1.1\r\nHost: x\r\n\r\n";
my $followers = new_followers($node);
follow($followers, $gateway, 'v', 'sse', '/views/v/changes', 'SELECT to_jsonb(v) FROM v');
follow($followers, $gateway, 'socket', 'ws', '/views/v/changes?select=id,x', 'SELECT to_jsonb(r) FROM (SELECT id, x FROM v) r');
check_followers($followers, 'at first');
my $before = metric($gateway, 'dropped_streams_total{reason="slow"}');
my $rounds = 0;
wait_for(sub { update_all() if ++$rounds < 40; metric($gateway, 'dropped_streams_total{reason="slow"}') > $before }, 'who does not read is dropped');
my $heard = read_until($deaf, undef, 10);
# he resumes with what he has got, if that is kept; else he begins anew
my ($last) = $heard =~ /.*^id: (\S+)\n/ms;
my $again = raw_socket();
print $again "GET /views/v/changes HTTP/1.1\r\nHost: x\r\n" . ($last ? "Last-Event-ID: $last\r\n" : '') . "\r\n";
like(read_until($again, qr/"operation": "(ready|update)"/), qr/"operation": "(ready|update)"/, 'and can come again');
close $_ foreach $deaf, $again;
wait_derived($node);
check_followers($followers, 'the others');

# One that reads too slowly is told why.
my $slow = raw_socket();
print $slow "GET /views/v/changes HTTP/1.1\r\nHost: x\r\n\r\n";
$before = metric($gateway, 'dropped_streams_total{reason="slow"}');
for my $i (1 .. 100)
{
	last if metric($gateway, 'dropped_streams_total{reason="slow"}') > $before;
	update_all();
}
like(substr(read_until($slow, undef, 30), -500), qr/"code": "too_slow"/, 'who reads too slowly is told');
close $slow;

# An id that is not kept any more, or never was
foreach my $id ('0/1', 'start-1', '0/FFFFFFFF-7', 'nonsense', '', '0/1-99999999999999999999')
{
	my $socket = raw_socket();
	print $socket "GET /views/sums/changes HTTP/1.1\r\nHost: x\r\nLast-Event-ID: $id\r\n\r\n";
	like(read_until($socket, qr/"operation": "ready"/), qr/^id\ndata: \{"operation": "reset"\}.*"operation": "ready"/ms, "id \"$id\": begins anew");
}

# More changes at once than are kept: all begin anew, and come to the rows of the view.
$node->safe_psql('postgres', q{INSERT INTO t SELECT i, 0, repeat('y', 900) FROM generate_series(501, 900) i; UPDATE t SET filler = repeat('z', 12000)});
wait_derived($node);
check_followers($followers, 'a large transaction');
cmp_ok(metric($gateway, 'view_kept_bytes{view="public.v"}'), '<', 8.5 * 1024 * 1024, 'no more is kept than is said');

# --- too many ---------------------------------------------------------------

$node->safe_psql('postgres', q{INSERT INTO t SELECT i, 0, 'y' FROM generate_series(901, 1100) i});
wait_derived($node);
is(status_of(get($gateway, '/views/v')), '413 too_large', 'more rows than max_rows');
is(status_of(get($gateway, '/views/v?limit=5000')), '413 too_large', 'with a limit that is above it, too');
is(get($gateway, '/views/v?limit=1000')->{status}, 200, 'as many as max_rows');
$node->safe_psql('postgres', 'DELETE FROM t WHERE id > 900');
wait_derived($node);
check_followers($followers, 'as few again');
my @many;
my ($refused, $taken) = (0, 0);
for my $i (1 .. 40)
{
	my $socket = raw_socket();
	print $socket "GET /views/sums/changes HTTP/1.1\r\nHost: x\r\n\r\n";
	my $answer = read_until($socket, qr/\r\n\r\n/, 20);
	$taken++ if $answer =~ /^HTTP\S+ 200/;
	$refused++ if $answer =~ /^HTTP\S+ 503.*retry-after: 1/s;
	push @many, $socket;
}
is("$taken $refused", '28 12', 'max_clients');
is(get($gateway, '/health')->{status}, 503, 'more are told 503');
close $_ foreach @many;
wait_for(sub { get($gateway, '/health')->{status} == 200 }, 'until some have gone');

# --- views that change ------------------------------------------------------

sub figures { return $json->decode(ask($followers, "get $_[0]")); }
follow($followers, $gateway, 'dropped', 'sse', '/views/dropped/changes', 'SELECT to_jsonb(v) FROM dropped v');
follow($followers, $gateway, 'released', 'ws', '/views/released/changes', 'SELECT to_jsonb(v) FROM released v');
follow($followers, $gateway, 'renamed', 'sse', '/views/renamed/changes', 'SELECT to_jsonb(v) FROM renamed v');
follow($followers, $gateway, 'replaced', 'ws', '/views/replaced/changes', 'SELECT to_jsonb(v) FROM replaced v');
follow($followers, $gateway, 'failing', 'sse', '/views/failing/changes?select=id', 'SELECT to_jsonb(r) FROM (SELECT id FROM failing) r');
follow($followers, $gateway, 'failing_socket', 'ws', '/views/failing/changes', 'SELECT to_jsonb(v) FROM failing v');
check_followers($followers, 'views of all kinds');

$node->safe_psql('postgres', q{SELECT derive.drop_view('dropped')});
is(ask($followers, 'wait dropped messages 1'), "ok\n", 'a view is dropped');
is(figures('dropped')->{codes}[0], 'view_dropped', 'who followed is told');
wait_for(sub { status_of(get($gateway, '/views/dropped')) eq '404 no_such_view' }, 'it is not there');
$node->safe_psql('postgres', q{SELECT derive.create_view('dropped', 'SELECT id + 1 AS id FROM t'); GRANT SELECT ON dropped TO web, gateway});
wait_derived($node);
check_followers($followers, 'another one of that name');

$node->safe_psql('postgres', q{SELECT derive.release('released')});
is(ask($followers, 'wait released messages 1'), "ok\n", 'a view is released');
wait_for(sub { status_of(get($gateway, '/views/released')) eq '422 not_offered' }, 'it is not offered any more');
ask($followers, 'forget released');

$node->safe_psql('postgres', 'ALTER MATERIALIZED VIEW renamed RENAME COLUMN x TO y');
is(ask($followers, 'wait renamed messages 1'), "ok\n", 'a column is renamed');
is(figures('renamed')->{codes}[0], 'view_changed', 'who followed is told');
check_followers($followers, 'a renamed column');
is(figures('renamed')->{resets}, 2, 'and begins anew');
$node->safe_psql('postgres', 'ALTER MATERIALIZED VIEW renamed RENAME TO renamed2');
wait_for(sub { status_of(get($gateway, '/views/renamed')) eq '404 no_such_view' }, 'a view is renamed');
is(get($gateway, '/views/renamed2?limit=1')->{status}, 200, 'and is there by its new name');
ask($followers, 'forget renamed');

$node->safe_psql('postgres', q{SELECT derive.replace_view('replaced', 'SELECT id, x + 1 AS x FROM t WHERE id % 2 = 0'); SELECT derive.wait_replaced('replaced')});
wait_derived($node);
check_followers($followers, 'a view with another query');
is(figures('replaced')->{resets}, 1, 'gets the difference as changes');
$node->safe_psql('postgres', q{SELECT derive.replace_view('replaced', 'SELECT id, x, filler FROM t WHERE id < 100'); SELECT derive.wait_replaced('replaced')});
is(ask($followers, 'wait replaced messages 1'), "ok\n", 'a view with another column');
wait_derived($node);
check_followers($followers, 'one more column');

$node->safe_psql('postgres', 'UPDATE t SET x = 1000 WHERE id = 1');
is(ask($followers, 'wait failing states 1'), "ok\n", 'a view fails');
is_deeply(figures('failing')->{states}, ['failed'], 'who follows is told');
is(get($gateway, '/views/failing?limit=1')->{status}, 200, 'its rows can be read still');
$node->safe_psql('postgres', 'UPDATE t SET x = 0 WHERE id = 1');
$node->safe_psql('postgres', q{SELECT derive.resume('failing')});
wait_derived($node);
check_followers($followers, 'a view that had failed');
is(ask($followers, 'wait failing states 2'), "ok\n", 'it is ready again');
is((grep { $_ eq 'ready' } @{ figures('failing_socket')->{states} }) > 0 ? 1 : 0, 1, 'and that is told');

# --- subscriptions that are lost --------------------------------------------

$node->safe_psql('postgres', q{SELECT derive.unsubscribe(subscriber) FROM derive.subscriptions WHERE view = 'v'::regclass});
update_all();
check_followers($followers, 'subscriptions were taken away');
cmp_ok(figures('v')->{resets}, '>', 1, 'so all begin anew');
$node->append_conf('postgresql.conf', "pg_derive.subscription_max_size = '10kB'");
$node->reload;
update_all() for 1 .. 3;
check_followers($followers, 'changes were not kept');
$node->append_conf('postgresql.conf', 'pg_derive.subscription_max_size = 0');
$node->reload;
# those that are lost are found out when they are needed
$node->safe_psql('postgres', q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'gateway'});
ok($node->poll_query_until('postgres', q{SELECT count(*) > 2 AND bool_and(state = 'following') FROM derive.subscriptions}), 'subscriptions are made anew');
gateway_is_healthy($gateway);
check_followers($followers, 'anew');

# Sessions that are ended, all of them, again and again.  (Of small rows: else more is missed than is kept.)
$node->safe_psql('postgres', q{UPDATE t SET filler = 'small'});
wait_derived($node);
check_followers($followers, 'small rows');
my $load = start_load($node, 600, undef, "\\set id random(1, 900)\nUPDATE t SET x = x + 1 WHERE id = :id;\n");
for my $i (1 .. 10)
{
	usleep(rand 300_000);
	$node->safe_psql('postgres', q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'gateway'});
}
stop_load($load);
wait_derived($node);
my %resets = map { $_ => figures($_)->{resets} } qw(v socket dropped replaced);
check_followers($followers, 'sessions ended');
is(figures($_)->{resets}, $resets{$_}, "$_: goes on") foreach sort keys %resets;

# Two of the same name: the second one waits.
my $second = start_gateway(new_gateway($node, 'second', query_timeout => '2s'));
is(status_of(get($second, '/views/v')), '503 unavailable', 'a second gateway of the same name');
like(get($second, '/views/v')->{content}, qr/another gateway of this name/, 'says why it waits');
check_followers($followers, 'and does not disturb the first one');
quit_followers($followers);
stop_gateway($gateway);
gateway_is_healthy($second, 'it takes over');
is(get($second, '/views/v?limit=1')->{status}, 200, 'and serves');
is(stop_gateway($second), 0, 'it stops');

# More views than may be followed; who may not read one does not take its place.
$gateway = start_gateway(new_gateway($node, 'few_views', name => 'few', max_views => 1, unfollow_after => '1s'));
$node->safe_psql('postgres', 'REVOKE SELECT ON failing FROM web');
is(status_of(get($gateway, '/views/failing')), '403 permission_denied', 'a view that is not for us');
is(get($gateway, '/views/sums')->{status}, 200, 'as many views as max_views');
is(status_of(get($gateway, '/views/v?limit=1')), '503 too_many_views', 'one more');
wait_for(sub { get($gateway, '/views/v?limit=1')->{status} == 200 }, 'until another one is no longer followed');
stop_gateway($gateway);
$node->safe_psql('postgres', 'GRANT SELECT ON failing TO web');

# A start whose first changes are not kept any more is another one after a restart.
sub first_id
{
	my ($path, $id) = @_;
	my $socket = raw_socket();
	print $socket "GET $path HTTP/1.1\r\nHost: x\r\n" . ($id ? "Last-Event-ID: $id\r\n" : '') . "\r\n";
	return read_until($socket, qr/"operation": "(ready|insert|update|delete)".*\n\n/, 30);
}
sub restart_kept { kill_gateway($gateway); start_gateway($gateway); gateway_is_healthy($gateway, 'started again'); return; }
$node->safe_psql('postgres', q{
CREATE TABLE trimmed_t (id integer PRIMARY KEY, x integer, filler text);
INSERT INTO trimmed_t SELECT i, 0, repeat('f', 400) FROM generate_series(1, 1010) i;
SELECT derive.create_view('trimmed', 'SELECT * FROM trimmed_t');
CREATE TABLE small_t (id integer); SELECT derive.create_view('nothing_yet', 'SELECT id FROM small_t')});
wait_derived($node);
$node->safe_psql('postgres', 'GRANT SELECT ON trimmed, nothing_yet TO web, gateway');
$gateway = start_gateway(new_gateway($node, 'trimmed', name => 'trimmed', keep_changes => '64kB', max_rows => 2000));
my ($nothing) = first_id('/views/nothing_yet/changes') =~ /^id: (start-\d+)$/m;
my ($start) = first_id('/views/trimmed/changes') =~ /^id: (start-\d+)$/m;
ok($start && $nothing, 'the id of a view that has not changed is a start');
# each in a batch of its own
foreach my $x (1 .. 4)
{
	$node->safe_psql('postgres', "UPDATE trimmed_t SET x = $x WHERE id <= 100");
	wait_derived($node);
}
$node->safe_psql('postgres', 'UPDATE trimmed_t SET x = 5 WHERE id = 1');
wait_derived($node);
# the last one is all that is kept then, which alone would not show that others are missing
ok($node->poll_query_until('postgres', q{SELECT behind = 1 FROM derive.subscriptions WHERE subscriber LIKE 'trimmed/%/kept' AND view = 'trimmed'::regclass}),
	'changes are let go');
restart_kept();
like(first_id('/views/trimmed/changes', $start), qr/"operation": "reset"/, 'who knows the start only begins anew when changes are lost');
# An LSN that is larger than all that is kept is let go as a whole, or its numbers would begin anew in the middle.
$node->safe_psql('postgres', 'UPDATE trimmed_t SET x = 9');
wait_derived($node);
my $lsn = '';
for my $i (1 .. 200)
{
	my ($id) = first_id('/views/trimmed/changes?id=lt.0') =~ m{^id: ([0-9A-F]+/[0-9A-F]+)-1010$}m;
	last if $lsn = $id // '';
	usleep(50_000);
}
ok($lsn, 'one transaction of more changes than a poll has');
# what was let go with the first of them has been when other changes have come
$node->safe_psql('postgres', "UPDATE trimmed_t SET x = $_ WHERE id = 1"), wait_derived($node) foreach 10 .. 14;
wait_for(sub { first_id('/views/trimmed/changes?id=lt.0') !~ /^id: \Q$lsn\E/m }, 'another change');
restart_kept();
like(first_id('/views/trimmed/changes', "$lsn-5"), qr/"operation": "reset"/, 'a position in the part of it that is not kept is not known');
$node->safe_psql('postgres', 'INSERT INTO small_t VALUES (1)');
wait_derived($node);
unlike(first_id('/views/nothing_yet/changes', $nothing), qr/"operation": "reset"/, 'and goes on where all are kept, also after restarts');
stop_gateway($gateway);

# Answers of more bytes together than may be in memory
$gateway = start_gateway(new_gateway($node, 'memory', name => 'trimmed', result_memory => '64kB'));
is(status_of(get($gateway, '/views/trimmed')), '503 unavailable', 'more bytes than all answers may have');
is(status_of(get($gateway, '/views/trimmed?limit=' . (90 + $_))), 200, 'what was sent does not count any more') foreach 1 .. 5;
stop_gateway($gateway);

# A view that nobody reads is left.
$gateway = start_gateway(new_gateway($node, 'lonely', unfollow_after => '1s'));
is(get($gateway, '/views/sums')->{status}, 200, 'a view is read');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM derive.subscriptions WHERE subscriber LIKE 'gateway%'}), 'subscriptions are given up when nobody reads');
stop_gateway($gateway);

unlike(gateway_log($gateway), qr/AddressSanitizer|runtime error/, 'no wrong use of memory');
wait_derived($node);
is_exact($node, 'at the end');
$node->stop;
done_testing();
