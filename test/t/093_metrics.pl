# Watching from outside: examples/monitoring with the real programs.  A server with views of every kind is asked by
# postgres_exporter with queries.yaml, Prometheus scrapes that and evaluates alerts.yaml, and each query of
# dashboard.json is put to Prometheus and has an answer.  The alerts are tested by themselves, too, over time that does
# not pass (test/monitoring/alerts_test.yaml), and the dashboard is compiled against Grafana's types.
# Debian programs: prometheus prometheus-postgres-exporter
# npm packages: test/monitoring
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use CPAN::Meta::YAML;
use DeriveTest;
use File::Basename;
use File::Copy;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $root = "$FindBin::RealBin/../..";
my $monitoring = "$root/examples/monitoring";
my $tests = "$root/test/monitoring";
my $folder = PostgreSQL::Test::Utils::tempdir;
my $queries = CPAN::Meta::YAML->read("$monitoring/queries.yaml")->[0];
my $dashboard = decode_json(slurp_file("$monitoring/dashboard.json"));
my $http = HTTP::Tiny->new(timeout => 30);

die 'Prometheus and postgres_exporter are needed; tools/test unpacks them (DERIVE_PROGRAMS)' if !$ENV{DERIVE_PROGRAMS};

sub program
{
	my ($name) = @_;
	my ($file) = glob("$ENV{DERIVE_PROGRAMS}/*/usr/bin/$name");
	return $file // die "there is no $name in $ENV{DERIVE_PROGRAMS}";
}

# ---- what can be said without a server: rules

copy("$monitoring/alerts.yaml", "$folder/alerts.yaml") or die $!;
copy("$tests/alerts_test.yaml", "$folder/alerts_test.yaml") or die $!;
command_ok([ program('promtool'), 'check', 'rules', "$folder/alerts.yaml" ], 'alerts.yaml are rules');
command_ok([ program('promtool'), 'test', 'rules', "$folder/alerts_test.yaml" ], 'they fire when they should');
my @rules = @{ CPAN::Meta::YAML->read("$monitoring/alerts.yaml")->[0]{groups}[0]{rules} };
my @alerts = map { $_->{alert} // () } @rules;
my @records = map { $_->{record} // () } @rules;
my $alert_tests = slurp_file("$tests/alerts_test.yaml");
foreach my $alert (@alerts)
{
	like($alert_tests, qr/alertname: $alert\n +exp_alerts:/, "$alert: there is a test in which it fires");
	like($alert_tests, qr/alertname: $alert\n(?! +exp_alerts)/, "$alert: and one in which it does not");
}
# it sees an alert that comes too early
(my $early = slurp_file("$folder/alerts.yaml")) =~ s/for: 30m/for: 1m/;
append_to_file("$folder/early/alerts.yaml", $early) if mkdir "$folder/early";
copy("$tests/alerts_test.yaml", "$folder/early/") or die $!;
command_fails([ program('promtool'), 'test', 'rules', "$folder/early/alerts_test.yaml" ], 'a rule that was changed fails its test');

# ---- and the dashboard

sub compile
{
	my ($json) = @_;
	my $output = '';

	unlink "$tests/check.ts";
	append_to_file("$tests/check.ts", qq{import type { DashboardJson } from "./types";\nexport const dashboard: DashboardJson = $json;\n});
	IPC::Run::run([ "$tests/node_modules/.bin/tsc", '--noEmit', '--strict', '--module', 'nodenext', '--moduleResolution', 'nodenext', '--target', 'es2022', "$tests/check.ts" ], '>&', \$output);
	return $output;
}

my $json = slurp_file("$monitoring/dashboard.json");
is(compile($json), '', 'dashboard.json has the types that Grafana says');
foreach my $case (
	[ 'a word that is none of those that there are', sub { s/"drawStyle": "line"/"drawStyle": "lines"/ }, qr/"lines"/ ],
	[ 'a field that there is not', sub { s/"gridPos"/"gridPosition"/ }, qr/gridPosition/ ],
	[ 'a field that is missing', sub { s/"textMode": "auto",// }, qr/textMode/ ])
{
	local $_ = $json;
	ok($case->[1]->(), "$case->[0]: made") or next;
	like(compile($_), qr/error TS.*$case->[2]/s, "$case->[0]: seen");
}
unlink "$tests/check.ts";

my (%id, %cell);
foreach my $panel (@{ $dashboard->{panels} })
{
	my ($x, $y, $w, $h) = @{ $panel->{gridPos} }{qw(x y w h)};
	ok(!$id{ $panel->{id} }++, "panel \"$panel->{title}\": has a number of its own");
	cmp_ok($x + $w, '<=', 24, "panel \"$panel->{title}\": is on the page");
	my @taken = grep { $cell{$_}++ } map { my $column = $_; map { "$column,$_" } $y .. $y + $h - 1 } $x .. $x + $w - 1;
	is("@taken", '', "panel \"$panel->{title}\": does not cover another one");
	is_deeply([ map { $_->{refId} } @{ $panel->{targets} } ], [ map { chr(ord('A') + $_) } 0 .. $#{ $panel->{targets} } ], "panel \"$panel->{title}\": names of its queries");
	isnt($panel->{description}, '', "panel \"$panel->{title}\": says what it shows");
}
my %variable = map { $_->{name} => $_ } @{ $dashboard->{templating}{list} };
my @used = $json =~ /\$\{?(?!__)(\w+)/g;
is_deeply([ sort keys %{ { map { $_ => 1 } @used } } ], [ sort keys %variable ], 'variables that are used are those that there are');

# ---- a server: views of every kind

my $node = derive_node('metrics', conf => "pg_derive.recompute_share = 0.5\npg_derive.max_wal_backlog = '4GB'\nmax_slot_wal_keep_size = '2GB'\nautovacuum = off\n");
load_tables($node);
$node->safe_psql('postgres', q{
SELECT derive.create_view('middle', 'SELECT branch FROM branches ORDER BY branch OFFSET 3');
SELECT derive.create_group('reports');
CREATE TABLE rates (currency text, rate int);
SET pg_derive.default_group = 'reports';
SELECT derive.create_view('ratios', 'SELECT currency, 100 / rate AS ratio FROM rates');
SELECT derive.subscribe('names', 'mails');
CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
CREATE DATABASE other;
});
$node->safe_psql('other', q{CREATE EXTENSION pg_derive; CREATE TABLE t (a int); SELECT derive.create_view('v', 'SELECT count(*) FROM t'); SELECT derive.wait()});
wait_derived($node, 'built');
is($node->safe_psql('postgres', q{SELECT view, maintained FROM derive.views WHERE view IN ('middle'::regclass, 'totals'::regclass) ORDER BY 1}) =~ s/\n/ /r, 'totals|incrementally middle|as a whole', 'one is computed as a whole');

# Each query has the columns that it says, each with a description, and each says of which kind it is.
foreach my $metric (sort keys %$queries)
{
	my @columns = map { (keys %$_)[0] } @{ $queries->{$metric}{metrics} };
	$node->safe_psql('postgres', "CREATE VIEW metrics_$metric AS $queries->{$metric}{query}");
	is($node->safe_psql('postgres', "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'metrics_$metric'::regclass AND attnum > 0"),
		join(', ', @columns), "columns of $metric");
	is(join(' ', grep { my ($d) = values %$_; $d->{usage} !~ /^(?:LABEL|GAUGE|COUNTER)$/ || $d->{description} !~ /^\S.*[^.]$/ } @{ $queries->{$metric}{metrics} }), '', "words of $metric");
	is($node->safe_psql('postgres', "SELECT count(*) > 0 FROM metrics_$metric"), $metric eq 'pg_derive_build' ? 'f' : 't', "rows of $metric");
}
$node->safe_psql('postgres', 'DROP VIEW ' . join(', ', map { "metrics_$_" } keys %$queries));

# ---- the programs

my ($exporter_port, $prometheus_port) = (PostgreSQL::Test::Cluster::get_free_port(), PostgreSQL::Test::Cluster::get_free_port());
my %log = map { $_ => '' } qw(exporter prometheus);
my @programs;

sub start_program
{
	my ($name, @command) = @_;
	push @programs, IPC::Run::start(\@command, '<', \undef, '>&', \$log{$name});
	return;
}

END
{
	my $status = $?;
	$_->kill_kill(grace => 5) foreach @programs;
	$? = $status;
}

# What is there, once it is.
sub fetch
{
	my ($url, $pattern, $what) = @_;
	my $response;
	for (1 .. 10 * $timeout)
	{
		$response = $http->get($url);
		return $response->{content} if $response->{success} && $response->{content} =~ $pattern;
		foreach my $program (@programs) { $program->pump_nb if $program->pumpable }
		usleep(100_000);
	}
	die "$what: $url: $response->{status} $response->{content}\n@log{qw(exporter prometheus)}";
}

my $host = $node->host;
my $port = $node->port;
$ENV{DATA_SOURCE_NAME} = "user=watcher host=$host port=$port dbname=postgres sslmode=disable";
start_program('exporter', program('prometheus-postgres-exporter'), "--web.listen-address=127.0.0.1:$exporter_port", '--disable-default-metrics', '--disable-settings-metrics',
	'--auto-discover-databases', '--include-databases=postgres,other', "--extend.query-path=$monitoring/queries.yaml");
my $metrics = fetch("http://127.0.0.1:$exporter_port/metrics", qr/^pg_derive_/m, 'the exporter');
like($metrics, qr/^pg_exporter_user_queries_load_error\{.*\} 0$/m, 'queries.yaml is read');
like($metrics, qr/^pg_exporter_last_scrape_error 0$/m, 'all queries succeed');

# labels => value of a metric
sub series
{
	my ($metric) = @_;
	return map { my ($labels, $value) = $_ =~ /^\{(.*)\} (.*)$/; (join(' ', sort grep { !/^server=/ } $labels =~ /(\w+="[^"]*")/g) => $value) } $metrics =~ /^$metric(\{.*)$/mg;
}
foreach my $metric (sort keys %$queries)
{
	next if $metric eq 'pg_derive_build';
	foreach my $column (map { %$_ } @{ $queries->{$metric}{metrics} })
	{
		next if ref $column || (grep { $_->{$column} && $_->{$column}{usage} eq 'LABEL' } @{ $queries->{$metric}{metrics} });
		my %series = series("${metric}_$column");
		cmp_ok(scalar(keys %series), '>', 0, "${metric}_$column is there");
	}
}
my %seen = series('pg_derive_view_ready');
my @views = map { [ 'postgres', 'default', 'incrementally', $_ ] } qw(by_branch joined names totals);
push @views, [ 'postgres', 'default', 'as a whole', 'middle' ], [ 'postgres', 'reports', 'incrementally', 'ratios' ], [ 'other', 'default', 'incrementally', 'v' ];
is_deeply(\%seen, { map { sprintf('datname="%s" group_name="%s" maintained="%s" view="%s"', @$_) => 1 } @views }, 'views of both databases');
my ($slot, $slot_other) = map { $node->safe_psql('postgres', "SELECT 'pg_derive_' || oid FROM pg_database WHERE datname = '$_'") } 'postgres', 'other';
%seen = series('pg_derive_slot_limit_bytes');
my $limit = sprintf '%.0f', 2 * 1024 ** 3;
$_ = sprintf '%.0f', $_ foreach values %seen;
is_deeply(\%seen, { qq{datname="postgres" slot_name="$slot"} => $limit, qq{datname="postgres" slot_name="${slot}_1"} => $limit, qq{datname="other" slot_name="$slot_other"} => $limit },
	'slots of the server, once, and the lesser limit');
is_deeply({ series('pg_derive_setting_recompute_share') }, { '' => 0.5 }, 'the share of recomputation');
is_deeply({ series('pg_derive_worker_up') }, { map { $_ => 1 } 'datname="postgres" group_name="default"', 'datname="postgres" group_name="reports"', 'datname="other" group_name="default"' }, 'workers');

# Prometheus: alerts that wait for nothing
(my $hasty = slurp_file("$monitoring/alerts.yaml")) =~ s/^( +)for: .*$/$1for: 0s/mg;
append_to_file("$folder/hasty.yaml", $hasty);
append_to_file("$folder/prometheus.yaml", qq{
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [hasty.yaml]
scrape_configs:
  - job_name: postgres
    static_configs:
      - targets: ['127.0.0.1:$exporter_port']
});
command_ok([ program('promtool'), 'check', 'config', "$folder/prometheus.yaml" ], 'configuration of Prometheus');
start_program('prometheus', program('prometheus'), "--config.file=$folder/prometheus.yaml", "--storage.tsdb.path=$folder/data", "--web.listen-address=127.0.0.1:$prometheus_port", '--log.level=warn');

sub ask
{
	my ($path, %parameters) = @_;
	my $response = $http->get("http://127.0.0.1:$prometheus_port/api/v1/$path?" . $http->www_form_urlencode(\%parameters));
	my $answer = eval { decode_json($response->{content}) } // {};
	return $answer->{data} if ($answer->{status} // '') eq 'success';
	fail("$path: " . join(' ', values %parameters));
	diag($response->{content});
	return;
}

# What fires: alerts with what they are about.
sub firing
{
	my ($wanted) = @_;
	my $is = '';
	for (1 .. 10 * $timeout)
	{
		$is = join ', ', sort map { "$_->{labels}{alertname} " . ($_->{labels}{view} // $_->{labels}{datname}) } grep { $_->{state} eq 'firing' } @{ ask('alerts')->{alerts} };
		last if $is eq $wanted;
		usleep(100_000);
	}
	return $is;
}
fetch("http://127.0.0.1:$prometheus_port/api/v1/query?query=pg_derive:slot_fill:ratio", qr/"value"/, 'Prometheus');
is(firing(''), '', 'nothing is wrong');

# Load, for rates, and a view that is being built: a lock keeps it from that.
my $open = background($node);
$node->safe_psql('postgres', 'CREATE TABLE keyless (a int)');
$open->query_safe('BEGIN; LOCK TABLE keyless IN ACCESS SHARE MODE');
$node->safe_psql('postgres', q{SELECT derive.create_view('late', 'SELECT count(*) FROM keyless')});
for my $i (1 .. 10 * $timeout)
{
	$node->safe_psql('postgres', "UPDATE accounts SET balance = balance + 1 WHERE id % 100 = $i % 100; INSERT INTO branches VALUES (1000 + $i); SELECT derive.wait('middle')");
	my $rates = ask('query', query => 'min(rate(pg_derive_view_apply_seconds{view=~"by_branch|middle"}[1m])) > 0 and max(pg_derive:recompute:cores) > 0');
	last if @{ $rates->{result} };
	usleep(100_000);
}

my %known = map { my $metric = $_; map { my ($column) = keys %$_; ("${metric}_$column" => 1) } @{ $queries->{$metric}{metrics} } } keys %$queries;
$known{$_} = 1 foreach @records;
sub substituted
{
	my ($expr) = @_;
	$expr =~ s/\$__rate_interval/1m/g;
	$expr =~ s/=~"\$(\w+)"/=~"$variable{$1}{allValue}"/g;
	return $expr;
}
foreach my $panel (@{ $dashboard->{panels} })
{
	foreach my $target (@{ $panel->{targets} })
	{
		my $what = "panel \"$panel->{title}\", $target->{refId}";
		is(join(' ', grep { !$known{$_} } $target->{expr} =~ /\b(pg_derive[\w:]+)\b(?=[{)\[ ]|$)/g), '', "$what: metrics are those that there are");
		my $answer = ask('query', query => substituted($target->{expr})) or next;
		my @with_value = grep { $_->{value}[1] ne 'NaN' } @{ $answer->{result} };
		cmp_ok(scalar(@with_value), '>', 0, "$what: has an answer") or diag($target->{expr});
		# what the legend names is there
		my @missing = grep { my $label = $_; grep { !exists $_->{metric}{$label} } @with_value } $target->{legendFormat} =~ /\{\{(\w+)\}\}/g;
		is("@missing", '', "$what: labels of the legend");
		# and the answer tells something: of panels about changes and times, not only zeros
		cmp_ok(scalar(grep { $_->{value}[1] > 0 } @with_value), '>', 0, "$what: not only zeros") if $panel->{title} =~ /^(?:Changes|Time|Recomputation|Rows changed|Size|Views|Log|Well)/;
	}
}
foreach my $variable (grep { $_->{type} eq 'query' } values %variable)
{
	my ($selector, $label) = $variable->{query}{query} =~ /^label_values\((.*), (\w+)\)$/;
	my $answer = ask('series', 'match[]' => substituted($selector));
	cmp_ok(scalar(grep { exists $_->{$label} } @$answer), '>', 0, "variable \"$variable->{name}\" has values");
}
$open->query_safe('COMMIT');
$open->quit;
wait_derived($node, 'the view was built');
is(firing(''), '', 'still nothing is wrong');

# ---- something is wrong

$node->safe_psql('postgres', q{INSERT INTO rates VALUES ('EUR', 1), ('XXX', 0)});
is(firing('PgDeriveNotWell postgres, PgDeriveViewFailed ratios'), 'PgDeriveNotWell postgres, PgDeriveViewFailed ratios', 'a view that fails');
my ($alert) = grep { $_->{labels}{alertname} eq 'PgDeriveViewFailed' } @{ ask('alerts')->{alerts} };
is($alert->{annotations}{summary}, 'View ratios in postgres has failed', 'and what the alert says');
$node->safe_psql('postgres', q{DELETE FROM rates WHERE rate = 0; SELECT derive.repair('ratios')});
is(firing(''), '', 'and is mended');

# a worker that does not read, and a limit that what is kept for it comes near to
my $retained = q{SELECT retained_bytes FROM derive.worker WHERE group_name = 'default'};
$node->safe_psql('postgres', 'CREATE TABLE filler (a text)');
wait_derived($node, 'before it is stopped');
my $stopped = stop_worker($node);
$node->safe_psql('postgres', q{INSERT INTO filler SELECT repeat('x', 100) FROM generate_series(1, 500)}) while $node->safe_psql('postgres', $retained) < 2_700_000;
cmp_ok($node->safe_psql('postgres', $retained), '<', 3_000_000, 'below 3 MB of the log');
$node->safe_psql('postgres', q{ALTER SYSTEM SET pg_derive.max_wal_backlog = '3MB'; SELECT pg_reload_conf()});
my $expected = 'PgDeriveNotWell postgres, PgDeriveSlotFillsUp postgres, PgDeriveSlotNearlyFull postgres';
is(firing($expected), $expected, 'a slot that keeps too much');
like($node->safe_psql('postgres', 'SELECT ok, problems FROM derive.health()'), qr/^f\|\{"\d+ kB of the log are kept for the worker, which may be at most 3072 kB"\}$/, 'derive.health() says so, too');
$node->safe_psql('postgres', q{ALTER SYSTEM RESET pg_derive.max_wal_backlog; SELECT pg_reload_conf()});
let_go_on($stopped);
wait_derived($node, 'in the end');
is_exact($node, 'in the end');
$_->kill_kill(grace => 5) foreach @programs;
@programs = ();
$node->stop;
done_testing();
