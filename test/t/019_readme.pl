# README.md and docs/ as a reader takes them: every block of every page, in the order of
# docs/README.md, in one database, is run and its output compared with what is shown
# (test/perl/DocTest.pm says how).  The extension itself is built and installed as
# README.md says, into a folder of its own; the derivation in C into that of the server.
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

my $tester = doc_tester('shop');
my $node = $tester->{node};

# What is wrong is seen: otherwise all below says nothing.
my @wrong = (
	[ sql  => "SELECT 1 / 0;\n", qr/^fails/ ],
	[ sql  => "SELECT 1 AS a;\n--  a\n-- ---\n--  2\n", qr/^does not print/ ],
	[ sql  => "SELECT 1 AS a;\n--  a\n-- ---\n--  1\nSELECT 2 AS a;\n--  1\n", qr/^does not print/ ],
	[ sql  => "SELECT generate_series(1, 3) AS a;\n--  1\n--  3\n", qr/^does not print/ ],
	[ sql  => "SELECT 1 / 0;\nSELECT 1 / 0;\n-- ERROR:  division by zero\n", qr/^has other errors/ ],
	[ sql  => "SELECT 1;\n-- ERROR:  division by zero\n", qr/^has other errors/ ],
	[ sh   => "false\ntrue\n", qr/^fails/ ],
	[ sh   => "echo one\n# two\n", qr/^does not print/ ],
	[ json => "{\"event\":\"begin\"}\n", qr/^was not printed/ ],
	[ yaml => "a:\n  b: 1\n c\n", qr/^cannot be read/ ],
	[ yaml => "a: examples/monitoring/none\n", qr/^there is no examples/ ],
	[ ini  => "pg_derive.nothing = 1\n", qr/^there is no setting/ ],
	[ c    => "/* word_count.c */\n", qr/^is not / ],
	[ ''   => "SELECT 1;\n", qr/^is a block of a kind that is not tested/ ]);
foreach (@wrong)
{
	my ($kind, $text, $message) = @$_;
	like((run_block($tester, { kind => $kind, text => $text }))[0] // '', $message, "a wrong block of kind \"$kind\" is found");
}
delete $tester->{stdout};

my @pages = ("$tester->{root}/README.md", linked_pages("$tester->{root}/docs/README.md"));
is_deeply([ sort map { s{.*/}{}r } @pages[ 1 .. $#pages ] ],
	[ sort grep { $_ ne 'README.md' } map { s{.*/}{}r } glob("$tester->{root}/docs/*.md") ], 'docs/README.md names every page');

# Pages on programs beside the server are run by tests of their own: 087_kafka_docs.pl, 094_gateway_docs.pl.
foreach my $page (grep { !/\/(?:kafka|gateway)\.md$/ } @pages)
{
	# README.md and operations.md install pg_derive itself, which is not to change while others test it
	my $ours = $page =~ /(?:README|operations)\.md$/;
	$tester->{env}{DESTDIR} = $ours ? "$tester->{folder}/installed" : $tester->{destdir};
	run_page($tester, $page);
}
my $installed = "$tester->{folder}/installed";
ok(-s "$installed$_", "README.md installs $_")
  foreach $node->config_data('--pkglibdir') . '/pg_derive.so',
  map { $node->config_data('--sharedir') . "/extension/$_" } 'pg_derive.control', 'pg_derive--0.1.sql', 'pg_derive--0.1--0.2.sql';
cmp_ok($tester->{not_run}, '<=', 3, 'hardly a block is not run');

# The reference is what the objects say.
{
	local $ENV{PSQL} = $tester->{psql};
	command_ok([ "$tester->{root}/tools/update-reference", '--check', '-d', $node->connstr('shop') ], 'docs/reference.md is up to date');
}

wait_derived($node, undef, 'shop');
is($node->safe_psql('shop', q{SELECT view, state, error FROM derive.views WHERE state <> 'ready'}), '', 'every view is ready');
is($node->safe_psql('shop', q{SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}), '', 'every view equals its query');
cmp_ok($node->safe_psql('shop', 'SELECT count(*) FROM derive.views'), '>', 15, 'there are views');
$node->stop;
done_testing();
