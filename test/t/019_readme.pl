# README.md as a reader takes it: every block of SQL pasted in order into one
# database, and the derivation in C built and installed from the four files that
# are printed there.
#
# A block is run by psql and must not fail.  Its lines that are comments and come
# after a statement show what psql prints; each of them must be in the output,
# but for the width of columns and for numbers in the names of internal tables.
# A block whose first line is a comment with the name of a file is that file.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = derive_node('readme', extension => 0);
plan skip_all => 'the extension of the tutorial cannot be installed'
  if !$ENV{DERIVE_DESTDIR} && !-w $node->config_data('--pkglibdir');

my $psql = $node->installed_command('psql');
my $folder = PostgreSQL::Test::Utils::tempdir;
my %files;
my $installed;

sub normal
{
	my ($text) = @_;
	$text =~ s/state_\d+_\d+/state_N/g;
	$text =~ s/-{2,}/-/g;
	$text =~ s/[ \t]+/ /g;
	return $text;
}

sub run_sql
{
	my ($line, $sql) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ $psql, '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') ], '<', \$sql, '>', \$out, '2>', \$err);
	ok($ok, "line $line: runs") or diag("$sql\n$out$err");

	my $output = normal("$out$err");
	my ($statements, @missing) = (0);
	foreach (split /\n/, $sql)
	{
		if (!/^--/)
		{
			$statements = 1;
		}
		elsif ($statements)
		{
			my $shown = normal(s/^-- ?//r);
			$shown =~ s/^ | $//g;
			push @missing, $_ if index($output, $shown) < 0;
		}
	}
	is(join("\n", @missing), '', "line $line: prints what is shown") or diag($output);
	return;
}

# make and make install, into the folder in which the server looks for pg_derive
sub install_files
{
	my $destdir = $ENV{DERIVE_DESTDIR} // '';
	my @make = ('make', '-C', $folder, 'with_llvm=no');
	push @make, "PG_CPPFLAGS=-I$destdir" . $node->config_data('--includedir-server'), "DESTDIR=$destdir" if $destdir;

	is(join(' ', sort keys %files), 'Makefile word_count--1.0.sql word_count.c word_count.control', 'files of the tutorial');
	append_to_file("$folder/$_", $files{$_}) foreach keys %files;
	command_ok([@make], 'tutorial: make');
	command_ok([ @make, 'install' ], 'tutorial: make install');
	$installed = 1;
	return;
}

my ($kind, $line, $block, $blocks) = ('', 0, '', 0);
foreach (split /\n/, slurp_file("$FindBin::RealBin/../../README.md"))
{
	$line++;
	if ($kind eq '')
	{
		($kind, $block) = ($1 || 'other', '') if /^```(\w*)$/;
	}
	elsif ($_ ne '```')
	{
		$block .= "$_\n";
	}
	else
	{
		my $first = $line - ($block =~ tr/\n//);
		if ($block =~ m{^(?:--|#|/\*) ([\w.-]+\.\w+|Makefile)\b})
		{
			$files{$1} = $block;
		}
		elsif ($kind eq 'sql')
		{
			install_files() if %files && !$installed;
			run_sql($first, $block);
			$blocks++;
		}
		$kind = '';
	}
}
ok($blocks > 20 && $installed, 'README.md was read');

wait_derived($node);
is( $node->safe_psql('postgres', q{SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0}),
	'', 'every view equals its query');
is($node->safe_psql('postgres', q{SELECT view FROM derive.views WHERE state <> 'ready'}), '', 'every view is ready');
log_is_clean($node);
$node->stop;
done_testing();
