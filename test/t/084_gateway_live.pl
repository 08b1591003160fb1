# The live page in a headless browser: what psql inserts appears in the page, it goes on when the
# gateway is killed, and what it shows is right.  A screenshot is kept with the logs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use GatewayTest;
use IPC::Run;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $node = derive_node('gateway_live');
$node->command_ok([ 'pgbench', '-i', '-q', '-s', '2', 'postgres' ], 'a bank');
foreach my $file (qw(quickstart/tables quickstart/generated quickstart/views live/views))
{
	$node->safe_psql('postgres', slurp_file("$root/examples/$file.sql"));
}
wait_derived($node, 'built');
my $gateway = start_gateway(new_gateway($node, 'gateway', static_files => "$root/examples/live"));

my ($in, $out, $err) = ('', '', '');
my $browser = IPC::Run::start([ 'python3', "$root/test/gateway/browser", 1440, 1150 ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(600));
sub browse
{
	my ($command) = @_;
	$out = '';
	$in .= "$command\n";
	eval { $browser->pump until $out =~ /^done\n/m };
	die "browser: $command: $@ $err" if $@;
	return $out =~ s/^done\n//mr =~ s/\n$//r;
}
my $json = JSON::PP->new->allow_nonref;
# as bytes, like all else here
sub value { my $value = $json->decode(browse("get $_[0]")); utf8::encode($value) if utf8::is_utf8($value); return $value; }
sub wait_for { my ($expression, $label) = @_; ok($json->decode(browse("wait 60 $expression")), $label) or diag(value('document.body.innerText')); return; }

browse("open http://127.0.0.1:$gateway->{port}/");
wait_for(q{document.querySelector('#status.live') !== null}, 'all views are followed');
wait_for(q{document.querySelectorAll('#airports tr').length === 12}, 'there are airports');
wait_for(q{document.querySelectorAll('#routes tr').length === 6}, 'and routes');

# A row by psql
$node->safe_psql('postgres', q{INSERT INTO flights (departure, origin, destination, distance, delay)
	SELECT '2030-01-01', 'SEA', 'HNL', 2677, 1 FROM generate_series(1, 5000)});
my $id = $node->safe_psql('postgres', q{SELECT max(id) FROM flights});
wait_for(qq{document.querySelector('#departures li[data-id="$id"]') !== null}, 'a row that psql inserts appears');
is(value(qq{document.querySelector('#departures li[data-id="$id"]').textContent}), 'Seattle SEA → HNL', 'with the names of airports of another view');
wait_for(q{document.querySelector('#airports tr').dataset.key === 'SEA'}, 'the airport comes to be the busiest one');
my $flights = $node->safe_psql('postgres', q{SELECT to_char(flights, 'FM999,999') FROM airport_map WHERE iata = 'SEA'});
is(value(q{document.querySelector('#airports tr').children[3].textContent}), $flights, 'with the number that the database has');
$node->safe_psql('postgres', 'DELETE FROM flights WHERE distance = 2677');
wait_for(qq{document.querySelector('#airports tr').dataset.key !== 'SEA'}, 'and is it no more when they go');

# The bank, while it works and the gateway is killed
my $load = start_client($node, [ $node->installed_command('pgbench'), '-n', '-c', '2', '-R', '100', '-T', '600', '-h', $node->host, '-p', $node->port, 'postgres' ],
	'<', \'', '>', \my $load_out, '2>', \my $load_err);
wait_for(q{document.getElementById('exact-count').textContent > 20}, 'accounts and tellers agree');
kill_gateway($gateway);
wait_for(q{document.querySelector('#status.live') === null}, 'the page sees that the gateway is gone');
start_gateway($gateway);
wait_for(q{document.querySelector('#status.live') !== null}, 'and comes again');
my $count = value(q{Number(document.getElementById('exact-count').textContent.replace(/,/g, ''))});
wait_for(qq{Number(document.getElementById('exact-count').textContent.replace(/,/g, '')) > $count + 20}, 'goes on');
is(value(q{document.getElementById('exact-wrong').textContent}), '0', 'and never was wrong');
browse("screenshot $PostgreSQL::Test::Utils::log_path/live.png");
cmp_ok(-s "$PostgreSQL::Test::Utils::log_path/live.png", '>', 50_000, 'a screenshot');
stop_client($load);
wait_derived($node);
my $balance = $node->safe_psql('postgres', q{SELECT replace(to_char(sum(abalance), 'FMSG999,999,999'), '-', '−') FROM pgbench_accounts});
wait_for(qq{document.getElementById('accounts').textContent === '$balance'}, "what the page says is on the accounts is there: $balance");
is(value(q{document.getElementById('tellers').textContent}), $balance, 'and so much the tellers moved');
# some perhaps more than once
my $resumed = metric($gateway, 'resumed_streams_total');
cmp_ok($resumed, '>=', 5, 'streams went on');
is($resumed, metric($gateway, 'streams_total'), 'all of them where they were');

browse('quit');
$browser->finish;
gateway_log_is_clean($gateway);
stop_gateway($gateway);
is_exact($node, 'at the end');
$node->stop;
done_testing();
