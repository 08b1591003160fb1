# examples/ as a reader takes them: the blocks of each README.md, in a database of its own,
# and every SQL file that is there (test/perl/DocTest.pm).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use DocTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'what the pages install cannot be installed' if !$ENV{DERIVE_DESTDIR};

my $tester = doc_tester('examples');
my $node = $tester->{node};

foreach my $page (glob("$tester->{root}/examples/*/README.md"))
{
	my ($name) = $page =~ m{([^/]+)/README\.md$};
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	use_database($tester, $name);
	# what a block shows as a file is run by the blocks after it, by its name
	run_page($tester, $page);
	wait_derived($node, "$name: views caught up", $name);
	is($node->safe_psql($name, q{SELECT view, state, error FROM derive_state.view_states WHERE state <> 'ready'}), '', "$name: every view is ready");
	is($node->safe_psql($name, q{SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', "$name: every view equals its query");

	my $text = slurp_file($page);
	foreach my $file (grep { /\.(?:sql|yaml)$/ && !/--/ } glob("$tester->{root}/examples/$name/*"))
	{
		my ($short) = $file =~ m{([^/]+)$};
		like($text, qr/$short/, "$name: its page names $short");
	}
}

# The metrics: each query of queries.yaml has the columns that it says.
my ($metric, $in_query, %query, %columns);
foreach (split /\n/, slurp_file("$tester->{root}/examples/monitoring/queries.yaml"))
{
	$metric = $1 if /^(\w+):$/;
	$in_query = $1 eq 'query' if /^  (\w+):/;
	$query{$metric} .= "$_\n" if $in_query && /^    /;
	push @{ $columns{$metric} }, $1 if /^    - (\w+):$/;
}
foreach (sort keys %query)
{
	my $names = join ', ', @{ $columns{$_} };
	$node->safe_psql('monitoring', "CREATE VIEW metrics_$_ AS $query{$_}");
	is( $node->safe_psql('monitoring', "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'metrics_$_'::regclass AND attnum > 0"),
		$names, "columns of $_");
	cmp_ok($node->safe_psql('monitoring', "SELECT count(*) FROM metrics_$_"), '>=', $_ eq 'pg_derive_subscription' ? 0 : 1, "rows of $_");
}
cmp_ok($tester->{not_run}, '<=', 2, 'hardly a block is not run');
is(scalar(keys %query), 3, 'queries.yaml was read');
$node->stop;
done_testing();
