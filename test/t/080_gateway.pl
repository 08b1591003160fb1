# The gateway: every client's copy of a view equals it, over kills of the gateway and of the
# server under load, and who comes again goes on where it was.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use GatewayTest;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{DERIVE_TEST_KILLS} || 10;
my $node = derive_node('gateway', conf => "fsync = on\n");

load_tables($node);
wait_derived($node, 'built');
gateway_role($node, qw(by_branch joined names totals));
my $gateway = start_gateway(new_gateway($node, 'gateway'));

# Rows, as JSON and as CSV
sub rows_of { return $node->safe_psql('postgres', "SELECT to_jsonb(v) FROM by_branch v ORDER BY branch"); }
my $response = get($gateway, '/views/by_branch?order=branch');
is($response->{status}, 200, 'rows');
is($response->{headers}{'content-type'}, 'application/json', 'are JSON');
is($response->{content}, '[' . (rows_of() =~ s/\n/,\n/gr) . "]\n", 'and those of the view');
is(get($gateway, '/views/public.by_branch?order=branch')->{content}, $response->{content}, 'with the name of the schema, too');
my $csv = get($gateway, '/views/by_branch?order=branch.desc&limit=3&select=branch,n', Accept => 'text/csv');
is($csv->{content}, "branch,n\r\n9,500\r\n8,500\r\n7,500\r\n", 'as CSV, the last ones, some columns');

# ETags
my $etag = $response->{headers}{etag};
$response = get($gateway, '/views/by_branch', 'If-None-Match' => $etag);
is("$response->{status} $response->{headers}{etag} " . length($response->{content} // ""), "304 $etag 0", 'an ETag that is up to date');
is(get($gateway, '/views/by_branch', 'If-None-Match' => $etag, Accept => 'text/csv')->{status}, 200, 'is another one for CSV');
$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 1 WHERE id = 1');
wait_derived($node);
my $next;
for my $i (1 .. 200)
{
	$next = get($gateway, '/views/by_branch', 'If-None-Match' => $etag);
	last if $next->{status} == 200;
	usleep(50_000);
}
like($next->{headers}{etag} // '', qr{^"[0-9A-F]+/[0-9A-F]+"$}, 'after a change it is the LSN of that');

# Streams
my $followers = new_followers($node);
my %shapes = (
	whole => [ sse => '/views/by_branch/changes', 'SELECT to_jsonb(v) FROM by_branch v' ],
	socket => [ ws => '/views/by_branch/changes', 'SELECT to_jsonb(v) FROM by_branch v' ],
	joined => [ sse => '/views/joined/changes', 'SELECT to_jsonb(v) FROM joined v' ],
	joined_socket => [ ws => '/views/joined/changes', 'SELECT to_jsonb(v) FROM joined v' ],
	names => [ sse => '/views/names/changes', 'SELECT to_jsonb(v) FROM names v' ],
	totals => [ sse => '/views/totals/changes', 'SELECT to_jsonb(v) FROM totals v' ],
	columns => [ sse => '/views/joined/changes?select=name,delta', 'SELECT to_jsonb(v) FROM (SELECT name, delta FROM joined) v' ],
	some => [ sse => '/views/joined/changes?delta=gt.10&name=neq.again', q{SELECT to_jsonb(v) FROM joined v WHERE delta > 10 AND name <> 'again'} ],
	few => [ ws => '/views/by_branch/changes?branch=in.(1,3,5)&select=branch,sum', 'SELECT to_jsonb(v) FROM (SELECT branch, sum FROM by_branch WHERE branch IN (1, 3, 5)) v' ],
	nulls => [ sse => '/views/names/changes?note=is.null', 'SELECT to_jsonb(v) FROM names v WHERE note IS NULL' ]);
follow($followers, $gateway, $_, @{ $shapes{$_} }) foreach sort keys %shapes;
check_followers($followers, 'at first');

sub figures { return JSON::PP->new->decode(ask($followers, "get $_[0]")); }
sub caught_up
{
	my ($label) = @_;
	wait_derived($node, "$label: caught up");
	check_followers($followers, $label);
	return;
}

# A connection that is lost is taken up where it was.
my $load = start_load($node, 600);
for my $i (1 .. 5)
{
	ask($followers, 'wait joined changes ' . (figures('joined')->{changes} + 20));
	ask($followers, 'cut');
}
stop_load($load);
caught_up('connections lost');
is(figures($_)->{resets}, 1, "$_: went on without beginning anew") foreach sort keys %shapes;
cmp_ok(metric($gateway, 'resumed_streams_total'), '>=', 3 * keys(%shapes), 'the gateway knew where they were');
cmp_ok(figures('whole')->{changes}, '>', 0, 'changes came');

# Kills, turn by turn of the gateway and of the server
for my $i (1 .. $kills)
{
	$load = start_load($node, 600);
	ask($followers, 'wait joined changes ' . (figures('joined')->{changes} + 10));
	usleep(rand 400_000);
	kill_gateway($gateway);
	# it misses something, and has to start while there is more
	my $n = $node->safe_psql('postgres', 'SELECT count(*) FROM history');
	$node->poll_query_until('postgres', "SELECT count(*) > $n + 20 FROM history") or die 'no load';
	start_gateway($gateway);
	ask($followers, 'wait joined changes ' . (figures('joined')->{changes} + 10));
	usleep(rand 400_000);
	my $how = crash($node, $i);
	stop_load($load);
	resume_failed($node);
	caught_up("kill $i (gateway, $how)");
}
my %resets = map { $_ => figures($_)->{resets} } sort keys %shapes;
is($resets{$_}, 1, "$_: never began anew") foreach sort keys %shapes;
note("$_: " . JSON::PP->new->canonical->encode(figures($_))) foreach sort keys %shapes;
gateway_is_healthy($gateway);

# It stops in good order, and says so.
ask($followers, 'wait whole messages 0');
is(stop_gateway($gateway), 0, 'SIGTERM: it ends');
is_deeply(figures($_)->{codes}, ['stopping'], "$_: was told") foreach qw(whole socket);
start_gateway($gateway);
caught_up('started again');
is(figures('whole')->{resets}, 1, 'and again it goes on');

gateway_log_is_clean($gateway);
stop_gateway($gateway);
quit_followers($followers);
wait_derived($node);
is_exact($node, 'at the end');
$node->stop;
done_testing();
