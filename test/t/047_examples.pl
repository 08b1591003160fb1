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

# That of the live page needs the gateway: 094_gateway_docs.pl.
foreach my $page (grep { !m{/live/} } glob("$tester->{root}/examples/*/README.md"))
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
	foreach my $file (grep { /\.(?:sql|yaml|json)$/ && !/--/ } glob("$tester->{root}/examples/$name/*"))
	{
		my ($short) = $file =~ m{([^/]+)$};
		like($text, qr/$short/, "$name: its page names $short");
	}
}

cmp_ok($tester->{not_run} // 0, '<=', 1, 'hardly a block is not run');
$node->stop;
done_testing();
