# The gateway: who reads what.  Each way to say who one is, and each right of the database,
# at first and while one follows; pages of others; TLS.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use Digest::SHA qw(hmac_sha256 sha256_hex);
use GatewayTest;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP ();
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('gateway_rights');
my $folder = PostgreSQL::Test::Utils::tempdir;
chmod 0755, $folder;

my $long = 'long' x 10;
$node->safe_psql('postgres', q{
CREATE TABLE sales (id serial PRIMARY KEY, region text, amount numeric, secret text);
INSERT INTO sales (region, amount, secret) VALUES ('EU', 1, 'a'), ('US', 2, 'b');
SELECT derive.create_view('totals', 'SELECT region, sum(amount) AS total, max(secret) AS secret FROM sales GROUP BY region');
CREATE SCHEMA hidden;
SELECT derive.create_view('hidden.totals2', 'SELECT region, sum(amount) AS total FROM sales GROUP BY region');
CREATE SCHEMA other;
SELECT derive.create_view('other.elsewhere', 'SELECT count(*) FROM sales');
CREATE VIEW wrapper WITH (security_barrier) AS SELECT * FROM totals WHERE region = current_user;
CREATE MATERIALIZED VIEW still AS SELECT 1 AS a;
CREATE TYPE money_of AS (amount numeric, currency text);
CREATE FUNCTION to_json_of(money_of) RETURNS json LANGUAGE sql AS $$ SELECT '{}'::json $$;
CREATE CAST (money_of AS json) WITH FUNCTION to_json_of(money_of);
SELECT derive.create_view('typed', $$ SELECT id, ROW(amount, 'EUR')::money_of AS price FROM sales $$);
CREATE TYPE feeling AS ENUM ('sad', 'glad');
CREATE TABLE felt (feeling feeling);
CREATE TABLE ran (who text);
GRANT INSERT ON ran TO PUBLIC;
CREATE FUNCTION to_json_of(feeling) RETURNS json LANGUAGE plpgsql AS $$ BEGIN INSERT INTO ran VALUES (current_user); RETURN '"x"'; END $$;
SELECT derive.create_view('feelings', 'SELECT feeling FROM felt');
SELECT derive.create_view("name", 'SELECT id AS "sel""ect", region AS "Größe, ''x''" FROM sales') FROM (VALUES ('"Odd.name ""x"""')) v(name);
});
$node->safe_psql('postgres', "CREATE SCHEMA $long; SELECT derive.create_view('$long.$long', 'SELECT id FROM sales')");
wait_derived($node, 'built');
gateway_role($node, 'totals', 'hidden.totals2', 'still', 'wrapper', 'typed', 'feelings', 'sales', '"Odd.name ""x"""');
$node->safe_psql('postgres', q{
GRANT USAGE ON SCHEMA hidden TO gateway;
} . "GRANT USAGE ON SCHEMA $long TO gateway, web; GRANT SELECT ON $long.$long TO gateway, web;" . q{
CREATE ROLE reader; GRANT reader TO gateway; GRANT SELECT ON totals TO reader;
CREATE ROLE by_column; GRANT by_column TO gateway; GRANT SELECT (region, total) ON totals TO by_column;
CREATE ROLE nothing; GRANT nothing TO gateway;
CREATE ROLE not_ours; GRANT SELECT ON totals TO not_ours;
CREATE ROLE boss SUPERUSER; GRANT boss TO gateway;
CREATE ROLE member; GRANT reader TO member; GRANT member TO gateway;
CREATE ROLE "Odd ""role"""; GRANT "Odd ""role""" TO gateway; GRANT SELECT ON totals TO "Odd ""role""";
});

# Keys
my $secret = 'a secret of more than thirty-two bytes';
sub write_file { my ($name, $text) = @_; open my $out, '>', "$folder/$name" or die $!; print $out $text; close $out; return "$folder/$name"; }
write_file('secret', "$secret\n");
system("openssl genrsa -out '$folder/private.pem' 2048 2>/dev/null && openssl rsa -in '$folder/private.pem' -pubout -out '$folder/public.pem' 2>/dev/null") == 0 or die 'openssl';
my ($line) = run_command([ 'bash', '-c', "echo 0123456789abcdef0123 | '@{[ gateway_path() ]}' --hash-key by_column" ]);
is($line, 'by_column ' . sha256_hex('0123456789abcdef0123'), '--hash-key');
write_file('keys', "# ours\n\n$line\nreader " . sha256_hex('another key of ours') . "\n");

my $json = JSON::PP->new->canonical;
sub token
{
	my ($claims, $algorithm, $key) = @_;
	my $text = encode_base64url($json->encode({ alg => $algorithm // 'HS256', typ => 'JWT' })) . '.' . encode_base64url($json->encode($claims));
	return "$text." if ($algorithm // '') eq 'none';
	return "$text." . encode_base64url(hmac_sha256($text, $key // $secret)) if ($algorithm // 'HS256') eq 'HS256';
	my $signature;
	IPC::Run::run([ 'openssl', 'dgst', '-sha256', '-sign', "$folder/private.pem" ], '<', \$text, '>', \$signature) or die 'openssl';
	return "$text." . encode_base64url($signature);
}
sub bearer { return (Authorization => 'Bearer ' . token(@_)); }

my $gateway = start_gateway(new_gateway($node, 'gateway',
	schemas => "public, hidden, $long", api_keys => "$folder/keys", jwt_secret => "$folder/secret", jwt_public_key => "$folder/public.pem",
	jwt_audience => 'shop', cors_origins => 'https://shop.example, http://localhost:3000', max_rows => 100));
my %aud = (aud => 'shop');
my $now = time;

# Who one is
my @cells = (
	[ 'nobody: the anonymous role', {}, 200 ],
	[ 'HS256', { bearer({ role => 'reader', %aud }) }, 200 ],
	[ 'RS256', { bearer({ role => 'reader', %aud }, 'RS256') }, 200 ],
	[ 'one of several audiences', { bearer({ role => 'reader', aud => [ 'x', 'shop' ] }) }, 200 ],
	[ 'another audience', { bearer({ role => 'reader', aud => 'bank' }) }, '401 unauthorized' ],
	[ 'no audience', { bearer({ role => 'reader' }) }, '401 unauthorized' ],
	[ 'another secret', { bearer({ role => 'reader', %aud }, 'HS256', 'x' x 40) }, '401 unauthorized' ],
	[ 'no signature', { bearer({ role => 'reader', %aud }, 'none') }, '401 unauthorized' ],
	[ 'the public key as a secret', { bearer({ role => 'reader', %aud }, 'HS256', slurp_file("$folder/public.pem")) }, '401 unauthorized' ],
	[ 'not expired', { bearer({ role => 'reader', exp => $now + 1000, %aud }) }, 200 ],
	[ 'expired', { bearer({ role => 'reader', exp => $now - 1, %aud }) }, '401 unauthorized' ],
	[ 'an expiry that is a text', { bearer({ role => 'reader', exp => 'soon', %aud }) }, '401 unauthorized' ],
	[ 'not valid yet', { bearer({ role => 'reader', nbf => $now + 1000, %aud }) }, '401 unauthorized' ],
	[ 'no role', { bearer({%aud}) }, '401 unauthorized' ],
	[ 'a role that is a number', { bearer({ role => 7, %aud }) }, '401 unauthorized' ],
	[ 'a token cut off', { Authorization => 'Bearer ' . substr(token({ role => 'reader', %aud }), 0, 40) }, '401 unauthorized' ],
	[ 'no token', { Authorization => 'Bearer ' }, '401 unauthorized' ],
	[ 'another scheme', { Authorization => 'Basic eDp5' }, '401 unauthorized' ],
	[ 'an API key', { 'X-API-Key' => 'another key of ours' }, 200 ],
	[ 'another API key', { 'X-API-Key' => 'a key of somebody else' }, '401 unauthorized' ]);
is(status_of(get($gateway, '/views/totals', %{ $_->[1] })), $_->[2], "who: $_->[0]") foreach @cells;
is(status_of(get($gateway, '/views/totals?access_token=' . token({ role => 'reader', %aud }))), '401 unauthorized', 'who: a token in the URL');

# What a role may; each cell as rows, and as a stream
@cells = (
	[ reader => 'totals', 200 ],
	[ reader => 'totals?select=region', 200 ],
	[ member => 'totals', 200 ],
	[ 'Odd "role"' => 'totals', 200 ],
	[ by_column => 'totals', '403 permission_denied' ],
	[ by_column => 'totals?select=region,total', 200 ],
	[ by_column => 'totals?select=region&total=gt.1', 200 ],
	[ by_column => 'totals?select=region,secret', '403 permission_denied' ],
	[ by_column => 'totals?select=region&secret=eq.a', '403 permission_denied' ],
	[ nothing => 'totals', '403 permission_denied' ],
	[ nothing => 'totals?total=eq.x', '403 permission_denied' ],
	[ not_ours => 'totals', '403 permission_denied' ],
	[ boss => 'totals', '403 permission_denied' ],
	[ 'no such role' => 'totals', '403 permission_denied' ],
	[ 'none' => 'totals', '403 permission_denied' ],
	[ postgres => 'totals', '403 permission_denied' ],
	[ reader => 'hidden.totals2', '403 permission_denied' ],
	[ web => 'hidden.totals2', '403 permission_denied' ],
	[ web => 'totals2', '403 permission_denied' ],
	[ web => 'elsewhere', '404 no_such_view' ],
	[ web => 'other.elsewhere', '404 no_such_view' ],
	[ web => 'pg_catalog.pg_authid', '404 no_such_view' ],
	[ web => 'derive.views', '404 no_such_view' ],
	[ web => 'wrapper', '422 not_offered' ],
	[ web => 'still', '422 not_offered' ],
	[ web => 'sales', '422 not_offered' ],
	[ web => 'typed', '422 not_offered' ],
	[ web => 'nothing', '404 no_such_view' ],
	[ web => q{totals'; DROP TABLE sales; --}, '404 no_such_view' ],
	[ web => 'Odd.name "x"', 200 ],
	[ web => "$long.$long", 200 ]);
sub encoded { return $_[0] =~ s/([^\w.?=&,-])/sprintf '%%%02X', ord $1/ger; }
foreach (@cells)
{
	my ($role, $path, $status) = @$_;
	is(status_of(get($gateway, '/views/' . encoded($path), bearer({ role => $role, %aud }))), $status, "$role: $path");
}
my $response = get($gateway, '/views/wrapper');
like($response->{content}, qr/row-level security/, 'an ordinary view is refused with the reason');
# A cast that comes later
is(get($gateway, '/views/feelings?feeling=eq.sad')->{status}, 200, 'a type of somebody');
$node->safe_psql('postgres', q{CREATE CAST (feeling AS json) WITH FUNCTION to_json_of(feeling)});
for my $i (1 .. 200)
{
	$response = get($gateway, '/views/feelings?feeling=eq.' . ($i % 2 ? 'sad' : 'glad'));
	last if $response->{status} == 422;
	usleep(50_000);
}
is(status_of($response), '422 not_offered', 'gets a cast to json, and the view is not offered any more');
is($node->safe_psql('postgres', q{SELECT count(*) FROM ran WHERE who = 'gateway'}), '0', "its owner's code was not run as the gateway");
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA hidden TO web');
is(status_of(get($gateway, '/views/hidden.totals2')), 200, 'a right that is granted holds at once');

# Names that are odd, and the same shapes of them
is(get($gateway, '/views/' . encoded('Odd.name "x"') . '?order=sel%22ect&select=sel%22ect')->{content}, qq([{"sel\\"ect": 1},\n{"sel\\"ect": 2}]\n), 'odd names');
is(get($gateway, '/views/' . encoded('Odd.name "x"') . '?%22Gr%C3%B6%C3%9Fe%2C%20%27x%27%22=eq.EU')->{status}, 400, 'names are not quoted');
my $odd = '/views/' . encoded('Odd.name "x"') . '?Gr%C3%B6%C3%9Fe%2C%20%27x%27=eq.EU&select=' . encoded('"Gr') . '%C3%B6%C3%9Fe%2C%20%27x%27%22';
is(get($gateway, $odd)->{content}, qq([{"Größe, 'x'": "EU"}]\n), 'but in a list');

# Rights that are taken away while one follows
my $followers = new_followers($node);
follow($followers, $gateway, 'web', 'sse', '/views/totals/changes', 'SELECT to_jsonb(t) FROM totals t');
follow($followers, $gateway, 'socket', 'ws', '/views/totals/changes?select=region', q{SELECT jsonb_build_object('region', region) FROM totals});
check_followers($followers, 'before');
$node->safe_psql('postgres', 'BEGIN; REVOKE SELECT ON totals FROM web; GRANT SELECT (region) ON totals TO web; COMMIT');
is(ask($followers, 'wait web messages 1'), "ok\n", 'who follows loses a right');
my $figures = $json->decode(ask($followers, 'get web'));
is($figures->{codes}[0], 'permission_denied', 'and is told');
like(metric($gateway, 'dropped_streams_total{reason="rights"}'), qr/^[1-9]/, 'it is counted');
is(status_of(get($gateway, '/views/totals')), '403 permission_denied', 'and refused from then on');
is($json->decode(ask($followers, 'get socket'))->{connections}, 1, 'who reads other columns goes on');
$node->safe_psql('postgres', 'REVOKE SELECT (region) ON totals FROM web');
is(ask($followers, 'wait socket messages 1'), "ok\n", 'until it loses those as well');
$node->safe_psql('postgres', 'GRANT SELECT ON totals TO web');
# a change, so that it has to be connected again
$node->safe_psql('postgres', 'UPDATE sales SET amount = amount + 1');
wait_derived($node);
check_followers($followers, 'granted again');
$node->safe_psql('postgres', 'REVOKE web FROM gateway');
is(ask($followers, 'wait web messages 2'), "ok\n", 'the gateway may not act as the role any more');
$node->safe_psql('postgres', 'GRANT web TO gateway');
check_followers($followers, 'and may again');

# A token that expires while one follows
my $text = '';
for my $seconds (2, 10, 40)
{
	my $stream = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die $!;
	print $stream "GET /views/totals/changes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " . token({ role => 'reader', exp => time + $seconds, %aud }) . "\r\n\r\n";
	$text = join('', <$stream>);
	last if $text =~ /"operation": "ready"/;	# else it had expired before
}
like($text, qr/"operation": "ready".*"code": "token_expired"/s, 'a stream ends with its token');

# Keys are read again, and who follows by one that is gone is dropped.
sub followed_by
{
	my ($header) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die $!;
	print $socket "GET /views/totals/changes?select=region,total HTTP/1.1\r\nHost: x\r\n$header\r\n\r\n";
	my $text = '';
	$text .= <$socket> // die 'closed' until $text =~ /"operation": "ready"/;
	return $socket;
}
my $dropped = metric($gateway, 'dropped_streams_total{reason="rights"}');
my @stay = (followed_by('Authorization: Bearer ' . token({ role => 'reader', %aud })), followed_by('X-API-Key: 0123456789abcdef0123'));
my $goes = followed_by('X-API-Key: another key of ours');
write_file('keys', "$line\nreader " . sha256_hex('a third key of ours') . "\n");
kill 'HUP', $gateway->{pid};
my $status = '';
for my $i (1 .. 200)
{
	$status = status_of(get($gateway, '/views/totals', 'X-API-Key' => 'a third key of ours'));
	last if $status eq '200';
	usleep(50_000);
}
is($status, 200, 'SIGHUP: a new key');
eval { local $SIG{ALRM} = sub { die "late\n" }; alarm 60; my $end = join '', <$goes>; alarm 0; like($end, qr/"code": "key_removed"/, 'who follows by a key that is gone is told'); 1 }
  or fail("who follows by a key that is gone is dropped: $@");
is(metric($gateway, 'dropped_streams_total{reason="rights"}'), $dropped + 1, 'and nobody else');
close $_ foreach @stay;
is(status_of(get($gateway, '/views/totals', 'X-API-Key' => 'another key of ours')), '401 unauthorized', 'and the old one is gone');
write_file('keys', "reader nonsense\n");
kill 'HUP', $gateway->{pid};
usleep(50_000) until gateway_log($gateway) =~ /keys are not read again: .*line 1/;
is(status_of(get($gateway, '/views/totals', 'X-API-Key' => 'a third key of ours')), 200, 'keys that are wrong change nothing');

# Pages of others
sub origin { my ($method, $origin) = @_; return $gateway->{http}->request($method, "http://127.0.0.1:$gateway->{port}/views/totals", { headers => { Origin => $origin } })->{headers}; }
is(origin('GET', 'https://shop.example')->{'access-control-allow-origin'}, 'https://shop.example', 'CORS: a page that may');
is(origin('GET', 'https://evil.example')->{'access-control-allow-origin'}, undef, 'CORS: one that may not');
my $preflight = origin('OPTIONS', 'http://localhost:3000');
is($preflight->{'access-control-allow-methods'}, 'GET', 'CORS: preflight');
like($preflight->{'access-control-allow-headers'}, qr/Authorization.*Last-Event-ID/, 'CORS: headers');
is(origin('OPTIONS', 'https://evil.example')->{'access-control-allow-methods'}, undef, 'CORS: preflight of one that may not');
sub upgrade
{
	my ($origin) = @_;
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die $!;
	print $socket "GET /views/totals/changes HTTP/1.1\r\nHost: localhost:8080\r\nOrigin: $origin\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	  . "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
	return scalar(<$socket>) // '';
}
like(upgrade('https://shop.example'), qr/ 101 /, 'a WebSocket of a page that may');
like(upgrade('http://localhost:8080'), qr/ 101 /, 'of our own page');
like(upgrade('https://evil.example'), qr/ 403 /, 'of another one');

quit_followers($followers);
is(stop_gateway($gateway), 0, 'it stops');

# Without an anonymous role; a token in the URL
$gateway = start_gateway(new_gateway($node, 'strict', anonymous_role => '', jwt_secret => "$folder/secret", token_in_url => 'on'));
is(status_of(get($gateway, '/views/totals')), '401 unauthorized', 'nobody is refused');
is(get($gateway, '/views/totals')->{headers}{'www-authenticate'}, 'Bearer', 'and told how to do better');
is(status_of(get($gateway, '/views/totals?access_token=' . token({ role => 'reader' }))), 200, 'a token in the URL, if it is allowed');
stop_gateway($gateway);

# A session that does not answer keeps no rights: who follows is dropped after some rounds.
$gateway = start_gateway(new_gateway($node, 'unconfirmed', name => 'unconfirmed', query_timeout => '1s'));
my $stream = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die $!;
print $stream "GET /views/totals/changes HTTP/1.1\r\nHost: x\r\n\r\n";
my $heard = '';
$heard .= <$stream> // die 'closed' until $heard =~ /"operation": "ready"/;
my $catalog = '';
usleep(20_000) until $catalog = $node->safe_psql('postgres',
	q{SELECT pid FROM pg_stat_activity WHERE usename = 'gateway' AND query ~ 'pg_has_role|pg_catalog.md5'});
kill 'STOP', $catalog;
eval { local $SIG{ALRM} = sub { die "late\n" }; alarm 60; $heard = join '', <$stream>; alarm 0; };
kill 'CONT', $catalog;
like($heard, qr/"code": "unconfirmed"/, 'a stream whose rights are not confirmed any more ends');
stop_gateway($gateway);

# TLS
system("openssl req -x509 -newkey rsa:2048 -nodes -keyout '$folder/key.pem' -out '$folder/certificate.pem' -days 2 -subj /CN=localhost 2>/dev/null") == 0 or die 'openssl';
$gateway = start_gateway(new_gateway($node, 'tls', tls_certificate => "$folder/certificate.pem", tls_key => "$folder/key.pem"));
my ($out, $err) = run_command([ 'python3', '-c', q{
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
connection = http.client.HTTPSConnection("localhost", int(sys.argv[1]), context=context)
connection.request("GET", "/views/totals?select=region&order=region")
print(connection.getresponse().read().decode())
connection.request("GET", "/views/totals/changes?select=region")
response = connection.getresponse()
while b"ready" not in (line := response.readline()): pass
print(line.decode())
}, $gateway->{port}, "$folder/certificate.pem" ]);
like($out, qr/^\[\{"region": "EU"\},\n\{"region": "US"\}\]\n.*"rows": 2/s, 'TLS, with rows and a stream') or diag($err);
is(stop_gateway($gateway), 0, 'it stops');

# What is wrong is said at the start.
foreach (
	[ { jwt_secret => "$folder/no such file" }, qr/cannot read/ ],
	[ { jwt_secret => write_file('short', 'short') }, qr/shorter than 32 bytes/ ],
	[ { tls_certificate => 'x' }, qr/set together/ ],
	[ { name => 'x' x 41 }, qr/1 to 40 bytes/ ],
	[ { nothing => 1 }, qr/line \d+: there is no setting "nothing"/ ],
	[ { max_lag => 'much' }, qr/is not a size/ ],
	[ { ping_interval => '1ms' }, qr/is not between/ ],
	[ { log_level => 'loud' }, qr/log_level is/ ])
{
	my ($settings, $message) = @$_;
	my $wrong = new_gateway($node, 'wrong', %$settings);
	my ($out, $err) = run_command([ gateway_path(), "--config=$wrong->{conf}" ]);
	like($err, $message, "refused: @{[ %$settings ]}");
}

# The documentation has all settings, in the words of --help.
my ($help) = run_command([ gateway_path(), '--help' ]);
my %documented = map { /^\| `(\w+)` \| (?:`(.*?)`)? ?\| (.*) \|$/ ? ($1 => ($2 // '') . " $3") : () }
  split /\n/, slurp_file("$FindBin::RealBin/../../docs/gateway.md") =~ s/.*^## Settings$//msr;
my %helped;
$helped{$1} = ($2 // '') . " $3" while $help =~ /^  (\w+)(?: = (.*))?\n      (.*)$/mg;
is_deeply(\%documented, \%helped, 'docs/gateway.md has all settings');
cmp_ok(scalar(keys %helped), '>', 30, 'of which there are many');

wait_derived($node);
is_exact($node, 'at the end');
$node->stop;
done_testing();
