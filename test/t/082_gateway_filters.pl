# The gateway: conditions decide as the database does, of rows and of changes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use GatewayTest;
use IO::Socket::INET;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('gateway_filters');
my $seed = $ENV{DERIVE_TEST_SEED} || int rand 1_000_000;
srand $seed;
note("seed $seed (DERIVE_TEST_SEED)");

# Of each type values that are near each other, or odd.
my %values = (
	small => [ 'smallint', qw(-32768 -1 0 1 10 32767) ],
	int => [ 'integer', qw(-2147483648 -10 -9 0 9 10 100 2147483647) ],
	big => [ 'bigint', qw(-9223372036854775808 9007199254740992 9007199254740993 9223372036854775807 0 -1) ],
	num => [ 'numeric', qw(0 0.0 -0.0 1 1.0 1.10 1.1 -1.1 10 9.99 0.1 0.01 0.010 123456789012345678901234567890.5 1e-30 1e40 NaN Infinity -Infinity) ],
	cut => [ 'numeric(10,2)', qw(0 1 1.1 -1.15 99999999.99 NaN) ],
	real => [ 'real', qw(0 -0 0.1 1.1 16777216 16777217 1e-40 3.4e38 NaN Infinity -Infinity) ],
	dbl => [ 'double precision', qw(0 -0 0.1 0.2 0.30000000000000004 0.3 1e300 -1e300 5e-324 NaN Infinity -Infinity) ],
	bool => [ 'boolean', qw(true false) ],
	r => [ 'integer', 1, 2, 3 ],	# as an alias of rows may be called
	day => [ 'date', '2026-11-29', '2026-11-30', '0044-03-15 BC', '0043-03-15 BC', '0001-01-01', '10000-01-01', '9999-12-31', 'infinity', '-infinity' ],
	clock => [ 'time', '00:00', '08:00', '08:00:00.5', '08:00:00.25', '23:59:59.999999', '24:00' ],
	stamp => [ 'timestamp', '2026-11-29 08:00', '2026-11-29 08:00:00.5', '2026-11-29 08:00:00.25', '0044-03-15 08:00 BC', '294276-12-31', 'infinity', '-infinity' ],
	stampz => [ 'timestamptz', '2026-11-29 08:00+00', '2026-11-29 08:00+01', '2026-11-29 08:00:00.000001+00', '0044-03-15 08:00+00 BC', 'infinity', '-infinity' ],
	txt => [ 'text', '', ' ', 'a', 'B', 'ä', 'a b', 'a"b', 'a\\b', "a\nb", "\x01", 'é', 'EU', 'a,b', '(x)', 'null', "it's", '漢', '😀' ],
	c_txt => [ 'text COLLATE "C"', '', 'a', 'B', 'ä', 'ab', 'a"', "a\n", 'a!', '漢', '😀' ],
	vc => [ 'varchar(10)', '', 'a', 'b', 'EU' ],
	padded => [ 'char(5)', '', 'a', 'ab', 'EU' ],
	id => [ 'uuid', '00000000-0000-0000-0000-000000000000', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12', 'ffffffff-ffff-ffff-ffff-ffffffffffff' ],
	mood => [ 'mood', 'sad', 'ok', 'happy' ],
	pos => [ 'positive', 1, 2, 10 ],
	doc => [ 'jsonb', '{}', 'null', '[1]' ],
	arr => [ 'integer[]', '{}', '{1,2}' ],
	nd => [ 'text COLLATE loose', 'a', 'A' ]);
my @columns = sort keys %values;
my %ordered = map { $_ => 1 } qw(r small int big num cut real dbl bool day clock stamp stampz c_txt id pos);
my %equal = (%ordered, map { $_ => 1 } qw(txt vc padded mood));

sub literal { return defined $_[0] ? "'" . ($_[0] =~ s/'/''/gr) . "'" : 'NULL'; }
sub one_of { return $_[ rand @_ ]; }
sub random_value
{
	my ($column) = @_;
	my (undef, @all) = @{ $values{$column} };
	return rand() < 0.15 ? undef : one_of(@all);
}
$node->safe_psql('postgres', q{
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE t (key serial PRIMARY KEY, } . join(', ', map { "$_ $values{$_}[0]" } @columns) . ')');
sub write_rows
{
	my ($count) = @_;
	my @statements;
	for (1 .. $count)
	{
		my $kind = rand();
		if ($kind < 0.5)
		{
			push @statements, 'INSERT INTO t (' . join(', ', @columns) . ') VALUES (' . join(', ', map { literal(random_value($_)) } @columns) . ')';
		}
		elsif ($kind < 0.9)
		{
			my @some = map { one_of(@columns) } 1 .. 4;
			my %set = map { $_ => literal(random_value($_)) } @some;
			push @statements, 'UPDATE t SET ' . join(', ', map { "$_ = $set{$_}" } sort keys %set) . ' WHERE key = (SELECT key FROM t ORDER BY random() LIMIT 1)';
		}
		else
		{
			push @statements, 'DELETE FROM t WHERE key = (SELECT key FROM t ORDER BY random() LIMIT 1)';
		}
	}
	$node->safe_psql('postgres', join ";\n", @statements);
	return;
}
write_rows(60);
$node->safe_psql('postgres', q{SELECT derive.create_view('v', 'SELECT * FROM t')});
$node->safe_psql('postgres', q{CREATE TABLE doc_t (id integer PRIMARY KEY, a json, b json, c json); SELECT derive.create_view('docs', 'SELECT * FROM doc_t')});
wait_derived($node, 'built');
gateway_role($node, 'v', 'docs');
my $gateway = start_gateway(new_gateway($node, 'gateway'));

# Each column with each operator: an answer as the database's, or refused where it is said to be.
my %sql = (eq => '=', neq => '<>', lt => '<', lte => '<=', gt => '>', gte => '>=');
my @conditions;
sub url { my ($text) = @_; utf8::encode($text) if utf8::is_utf8($text); return $text =~ s/([^\w.-])/sprintf '%%%02X', ord $1/ger; }
foreach my $column (@columns)
{
	my ($type, @all) = @{ $values{$column} };
	# without a modifier, which would change the value
	my $base = $type =~ s/ COLLATE.*|\(.*//r =~ s/^char$/bpchar/r;
	foreach my $operator (sort keys %sql)
	{
		my $value = one_of(@all);
		push @conditions, [ "$column=$operator." . url($value), "$column $sql{$operator} " . literal($value) . "::$base",
			$operator =~ /eq/ ? $equal{$column} : $ordered{$column} ];
	}
	my @some = map { one_of(@all) } 1 .. 3;
	my $list = join ',', map { '"' . (s/(["\\])/\\$1/gr) . '"' } @some;
	push @conditions, [ "$column=in." . url("($list)"), "$column IN (" . join(', ', map { literal($_) . "::$base" } @some) . ')', $equal{$column} ];
	push @conditions, [ "$column=is.null", "$column IS NULL", $column ne 'doc' ], [ "$column=is.not_null", "$column IS NOT NULL", $column ne 'doc' ];
	push @conditions, [ "$column=is.true", "$column IS TRUE", $column eq 'bool' ];
}
sub sorted { return join "\n", sort split /\n/, $_[0]; }
my ($right, $refused) = (0, 0);
foreach (@conditions)
{
	my ($condition, $where, $can) = @$_;
	$can = $_->[2] = 0 if $condition =~ /%0A/;
	my $response = get($gateway, "/views/v?$condition&select=key");
	if (!$can)
	{
		is(status_of($response), '400 bad_request', "refused: $condition");
		$refused++;
		next;
	}
	my $rows = $node->safe_psql('postgres', "SELECT jsonb_build_object('key', key) FROM v WHERE $where");
	my $got = $response->{content} =~ s/^\[|\]\n$//gr =~ s/,\n/\n/gr;
	if (sorted($got) eq sorted($rows)) { $right++; next; }
	is(sorted($got), sorted($rows), "rows where $condition") or diag("$response->{status} $where");
}
cmp_ok($right, '>', 100, "$right conditions choose the rows that the database does");
cmp_ok($refused, '>', 20, "$refused conditions cannot be decided exactly, and are refused");

# What a value means is what the database says, once.
foreach (
	[ 'int=eq.%20%2B10', 'int = 10' ], [ 'num=eq.1e0', 'num = 1' ], [ 'bool=eq.yes', 'bool' ], [ 'day=eq.today', 'day = current_date' ],
	[ 'id=eq.%7Ba0eebc999c0b4ef8bb6d6bb9bd380a11%7D', q{id = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'} ], [ 'padded=eq.a%20%20', q{padded = 'a'} ],
	[ 'stampz=eq.2026-11-29%2010:00%2B02', q{stampz = '2026-11-29 08:00+00'} ])
{
	my ($condition, $where) = @$_;
	my $got = get($gateway, "/views/v?$condition&select=key&order=key")->{content} =~ s/^\[|\]\n$//gr =~ s/,\n/\n/gr;
	is($got, $node->safe_psql('postgres', "SELECT jsonb_build_object('key', key) FROM v WHERE $where ORDER BY key"), "what $condition means");
}

# What is wrong with a condition is said.
foreach (
	[ 'int=eq.x', '400 bad_value', qr/invalid input syntax for type integer/ ],
	[ 'int=eq.99999999999', '400 bad_value', qr/out of range/ ],
	[ 'num=eq.1e100000', '400 bad_value', qr/more than 4096 bytes/ ],
	[ 'num=in.(' . join(',', map { "${_}e4000" } 1 .. 100) . ')', '400 bad_value', qr/all together/ ],
	[ 'mood=eq.angry', '400 bad_value', qr/invalid input value for enum/ ],
	[ 'txt=eq.%C3%28', '400 bad_value', qr/invalid byte sequence/ ],
	[ 'nothing=eq.1', '400 bad_request', qr/no column/ ],
	[ 'int=like.1', '400 bad_request', qr/a condition is/ ],
	[ 'int=1', '400 bad_request', qr/a condition is/ ],
	[ 'int', '400 bad_request', qr/NAME=VALUE/ ],
	[ 'int=in.1', '400 bad_request', qr/a list is/ ],
	[ 'int=in.()', '400 bad_request', qr/a list is/ ],
	[ 'int=in.(1,%222)', '400 bad_request', qr/a list is/ ],
	[ 'select=', '400 bad_request', qr/select is a list/ ],
	[ 'select=key,nothing', '400 bad_request', qr/no column/ ],
	[ 'limit=x', '400 bad_request', qr/limit is a number/ ],
	[ 'limit=-1', '400 bad_request', qr/limit is a number/ ],
	[ 'order=nothing', '400 bad_request', qr/no such column/ ],
	[ join('&', map { "int=gt.$_" } 1 .. 33), '400 bad_request', qr/too many conditions/ ])
{
	my ($query, $status, $message) = @$_;
	my $response = get($gateway, "/views/v?$query");
	is(status_of($response), $status, "wrong: " . substr $query, 0, 40);
	like($response->{content}, $message, 'with the reason');
}
is(status_of(get($gateway, '/views/v/changes?limit=1')), '400 bad_request', 'a limit on a stream');
is(get($gateway, '/views/v?limit=0')->{content}, "[]\n", 'limit=0');

# Changes: a stream with conditions has in the end what the database chooses.
my $followers = new_followers($node);
my @can = grep { $_->[2] } @conditions;
my %chosen;
while (keys %chosen < 60)
{
	my $which = rand @can;
	my ($condition, $where) = @{ $can[$which] };
	my $kind = keys(%chosen) % 2 ? 'ws' : 'sse';
	next if $chosen{"f$which"}++;
	# two conditions, and some of the columns, now and then
	my $other = one_of(@can);
	($condition, $where) = ("$condition&$other->[0]", "$where AND $other->[1]") if keys(%chosen) % 5 == 0;
	my ($select, $columns) = keys(%chosen) % 3 ? ('', '*') : ('&select=key,txt,num', 'key, txt, num');
	# the command is a line
	next if $where =~ /\n/ && delete $chosen{"f$which"};
	follow($followers, $gateway, "f$which", $kind, "/views/v/changes?$condition$select", "SELECT to_jsonb(r.*) FROM (SELECT $columns FROM v WHERE $where) r");
}
my @lines = check_followers($followers, 'at first');
for my $i (1 .. 4)
{
	write_rows(80);
	ask($followers, 'cut') if $i == 2;
	kill_gateway($gateway), start_gateway($gateway) if $i == 3;
}
wait_derived($node, 'changed');
@lines = check_followers($followers, 'after changes');
my $resets = grep { !/ 1 resets/ } @lines;
is($resets, 0, 'nobody began anew');
my $changes = 0;
/(\d+) changes/ and $changes += $1 foreach @lines;
cmp_ok($changes, '>', 500, "$changes changes were told");

# What no JSON can hold is named to those only who see that column.
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $gateway->{port}) or die $!;
print $socket "GET /views/docs/changes?select=id,a HTTP/1.1\r\nHost: x\r\n\r\n";
my $heard = '';
$heard .= <$socket> // die 'closed' until $heard =~ /"operation": "ready"/;
$node->safe_psql('postgres', q{INSERT INTO doc_t VALUES (1, '"\u0000"', '"\u0000"', '1'); INSERT INTO doc_t VALUES (2, '1', '"\u0000"', '1')});
# in one batch they come in any order
$heard .= <$socket> // die 'closed' until $heard =~ /"id": 2\}/ && $heard =~ /"id": 1\}.*\n/;
like($heard, qr/"new": \{"id": 1\}, "omitted": \["a"\],/, 'a column that no JSON can hold');
unlike($heard, qr/"b"|"omitted": \[\]/, 'others are not named');
close $socket;
$node->safe_psql('postgres', q{SELECT derive.drop_view('docs')});

quit_followers($followers);
gateway_log_is_clean($gateway);
stop_gateway($gateway);
is_exact($node, 'at the end');
$node->stop;
done_testing();
