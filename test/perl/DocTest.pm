# Pages of documentation as a reader takes them: every block is pasted, in order, and
# what it prints is compared with what the page shows.
#
#	```sql		pasted into psql, in a session of its own.  Lines that are comments and come after
#				a statement show what is printed; a line "-- ..." leaves some out.  A block fails
#				where a statement does, unless it shows the ERROR.
#	```sh		run by bash in the checkout, or where the page's "cd" has gone; shows output in
#				lines "# ..." likewise.  "sudo" and "systemctl restart postgresql" do what they
#				do, for this server and our user.  A block whose first line is
#				"# Not run by the tests: REASON" is not run; REASON may end with "; FILE runs it".
#	```text, ```json	what the block before printed
#	```ini		settings of postgresql.conf, which must exist
#	```yaml		a piece of somebody's configuration, which can be read; of our examples it names those that
#				there are
#	a block of any kind whose first line is a comment that begins with the name of a file in
#	a folder of examples/ is that file
#
# A block without a language is a picture, and drawn with lines.  Others are not
# allowed, so nothing is shown that was not tried.
#
# Output is the same if it differs in width of columns, numbers in the names of
# internal tables, places in the log and times only.
package DocTest;

use strict;
use warnings;

use CPAN::Meta::YAML;
use Cwd qw(realpath);
use DeriveTest;
use Exporter 'import';
use File::Basename;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(doc_tester use_database run_page run_block linked_pages);

# The blocks of a page: kind, text, number of the first line.
sub blocks_of
{
	my ($file) = @_;
	my ($line, $block, @blocks) = (0, undef);

	foreach (split /\n/, slurp_file($file))
	{
		$line++;
		if (!$block)
		{
			$block = { page => $file, kind => $1, line => $line + 1, text => '' } if /^```(\w*)\s*$/;
		}
		elsif (/^```\s*$/)
		{
			push @blocks, $block;
			$block = undef;
		}
		else
		{
			$block->{text} .= "$_\n";
		}
	}
	die "$file: a block is not closed" if $block;
	return @blocks;
}

# The pages that a page links to, in the order in which they are named first.
sub linked_pages
{
	my ($file) = @_;
	my ($folder) = $file =~ m{^(.*)/};
	my (%seen, @pages);

	foreach (slurp_file($file) =~ /\]\(([\w.\/-]+\.md)(?:#[\w-]*)?\)/g)
	{
		push @pages, "$folder/$_" unless $seen{$_}++ || m{^\.\./};
	}
	return @pages;
}

sub normal
{
	my ($text) = @_;
	$text =~ s/(state|derived)_\d+_\d+/$1_N/g;
	$text =~ s/\b[0-9A-F]{1,8}\/[0-9A-F]{1,8}\b/LSN/g;
	$text =~ s/\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:\d\d)?|Z)?/TIME/g;
	$text =~ s/"(xid|oid)":\d+/"$1":N/g;
	$text =~ s/-{2,}/-/g;
	$text =~ s/[ \t]+/ /g;
	$text =~ s/^ | $//mg;
	return $text;
}

# Where lines stand in others, one after the other, at or after a place; or -1.
sub find_lines
{
	my ($lines, $others, $from) = @_;

	foreach my $i ($from .. @$others - @$lines)
	{
		return $i unless grep { $lines->[$_] ne $others->[ $i + $_ ] } 0 .. $#$lines;
	}
	return -1;
}

# Those of the pieces of shown output that were not printed, on either stream, in
# this order.  A piece is a text of some lines.
sub missing_output
{
	my ($pieces, @streams) = @_;
	my @lines = map { [ split /\n/, normal($_) ] } @streams;
	my @places = (0) x @streams;
	my @missing;

	PIECE: foreach my $piece (@$pieces)
	{
		my @shown = split /\n/, normal($piece);
		foreach my $stream (0 .. $#streams)
		{
			my $place = find_lines(\@shown, $lines[$stream], $places[$stream]);
			next if $place < 0;
			$places[$stream] = $place + @shown;
			next PIECE;
		}
		push @missing, $piece;
	}
	return @missing;
}

# What a block shows as output: pieces of lines that come one after the other.
sub shown_in
{
	my ($text, $mark) = @_;
	my ($after, @pieces) = (0);
	my $open = 0;

	foreach (split /\n/, $text)
	{
		if (/^\Q$mark\E \.\.\.$/)
		{
			$open = 0;
		}
		elsif (/^\Q$mark\E ?(.*)$/)
		{
			next unless $after;
			push @pieces, '' unless $open;
			# PostgreSQL's messages go to a stream of their own, and each is a piece
			push @pieces, '' if $open && $pieces[-1] ne '' && $1 =~ /^(NOTICE|WARNING|ERROR): /;
			$pieces[-1] .= "$1\n";
			$open = 1;
		}
		else
		{
			$after = 1 if /\S/;
			$open = 0;
		}
	}
	return grep { /\S/ } @pieces;
}

# A server with a database, in which pages are run: node, database, psql; root (a copy of
# the checkout), folder (of our own), destdir (where the server's extensions are); cwd and
# env of shells; stdout of the last block; not_run, a number of blocks.
sub doc_tester
{
	my ($database) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir;
	my $destdir = "$folder/inst";

	# pages install into it, so it is not the one that all tests share
	system('cp', '-a', $ENV{DERIVE_DESTDIR}, $destdir) == 0 or die 'cp';
	$ENV{DERIVE_DESTDIR} = $destdir;
	my $node = derive_node($database, extension => 0);
	my $bin = $node->config_data('--bindir');
	my %tester = (
		node => $node,
		psql => $node->installed_command('psql'),
		root => realpath(dirname(__FILE__) . '/../..'),
		folder => $folder,
		destdir => $destdir,
		not_run => 0);

	# programs that are not for a private server: what they would do, done to ours
	my $data = $node->data_dir;
	mkdir "$folder/bin";
	write_program("$folder/bin/sudo", 'exec "$@"');
	write_program("$folder/bin/systemctl", qq{[ "\$*" = "restart postgresql" ] && exec '$bin/pg_ctl' -D '$data' -l '@{[ $node->logfile ]}' -w -s restart});
	$tester{cwd} = $tester{root};
	$tester{env} = {
		PATH => "$folder/bin:$destdir/usr/bin:$bin:$ENV{PATH}",
		PGHOST => $node->host,
		PGPORT => $node->port,
		DESTDIR => $destdir,
		PG_CPPFLAGS => "-I$destdir" . $node->config_data('--includedir-server'),
		COPT => '-O0',
		MAKEFLAGS => '-j2 with_llvm=no' };
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	use_database(\%tester, $database);
	return \%tester;
}

sub use_database
{
	my ($tester, $database) = @_;

	$tester->{database} = $tester->{env}{PGDATABASE} = $database;
	delete $tester->{stdout};
	return;
}

sub write_program
{
	my ($file, $line) = @_;

	append_to_file($file, "#!/bin/sh\n$line\n");
	chmod 0755, $file;
	return;
}

# Each block is a test.
sub run_page
{
	my ($tester, $page) = @_;
	my $name = $page =~ s{^\Q$tester->{root}\E/}{}r;

	delete $tester->{stdout};
	foreach my $block (blocks_of($page))
	{
		my @wrong = run_block($tester, $block);
		is(scalar(@wrong), 0, "$name, line $block->{line}: $block->{kind}") or diag("$block->{text}\n@wrong");
	}
	is($tester->{cwd}, $tester->{root}, "$name: comes back to where it began");
	return;
}

# Each of the following returns what is wrong, or nothing.
sub run_sql
{
	my ($tester, $text) = @_;
	my ($out, $err) = ('', '');
	my @pieces = shown_in($text, '--');
	my $errors = grep { /^(?:psql:.*)?ERROR: /m } @pieces;
	my $ok = IPC::Run::run(
		[   $tester->{psql}, '-X', '-v', $errors ? 'VERBOSITY=default' : 'ON_ERROR_STOP=1', '-d',
			$tester->{node}->connstr($tester->{database}) ],
		'<', \$text, '>', \$out, '2>', \$err);
	my @wrong;

	$tester->{stdout} = $out;
	push @wrong, "fails:\n$err" if !$ok;
	push @wrong, "has other errors than shown:\n$err" if $errors && $errors != (() = $err =~ /^ERROR: /mg);
	push @wrong, "does not print\n$_" foreach missing_output(\@pieces, $out, $err);
	push @wrong, "(printed:\n$out$err)" if @wrong;
	return @wrong;
}

sub run_shell
{
	my ($tester, $text) = @_;
	my ($out, $err) = ('', '');
	my $place = "$tester->{folder}/cwd";
	my $script = "cd '$tester->{cwd}'\n$text\npwd > '$place'\n";
	my @wrong;

	local @ENV{ keys %{ $tester->{env} } } = values %{ $tester->{env} };
	my $ok = IPC::Run::run([ 'bash', '-eu', '-o', 'pipefail' ], '<', \$script, '>', \$out, '2>', \$err);
	$tester->{stdout} = $out;
	push @wrong, "fails:\n$err" if !$ok;
	push @wrong, "does not print\n$_" foreach missing_output([ shown_in($text, '#') ], $out, $err);
	push @wrong, "(printed:\n$out$err)" if @wrong;
	chomp($tester->{cwd} = slurp_file($place)) if $ok;
	return @wrong;
}

# Settings that there are.  One that came with a minor release need not be there.
sub check_settings
{
	my ($tester, $text) = @_;
	my @wrong;

	foreach (split /\n/, $text)
	{
		next if /^\s*(#|$)/;
		my ($name) = /^([\w.]+) = \S/ or push @wrong, "no setting: $_";
		next if !$name || $name eq 'output_plugin_libraries';
		push @wrong, "there is no setting $name"
		  if $tester->{node}->safe_psql($tester->{database}, "SELECT count(*) FROM pg_settings WHERE name = '$name'") ne '1';
	}
	return @wrong;
}

sub check_yaml
{
	my ($tester, $text) = @_;
	my @wrong;

	push @wrong, "cannot be read: $@" unless eval { CPAN::Meta::YAML->read_string($text) };
	push @wrong, map { "there is no $_" } grep { !-e "$tester->{root}/$_" } $text =~ m{\b(examples/[\w./-]+)}g;
	return @wrong;
}

# Run a block, or check what it is.
sub run_block
{
	my ($tester, $block) = @_;
	my ($kind, $text) = @$block{ 'kind', 'text' };

	if ($text =~ m{^(?:--|\#|/\*) ([\w-]+(?:\.\d+)*\.\w+|Makefile)\b} && (my ($file) = glob("$tester->{root}/examples/*/$1")))
	{
		return slurp_file($file) eq $text ? () : "is not $file";
	}
	if ($kind eq 'sql')
	{
		return run_sql($tester, $text);
	}
	if ($kind eq 'sh')
	{
		if (my ($why) = $text =~ /^# Not run by the tests: (\S.*)/)
		{
			# another test does it, or none
			my ($other) = $why =~ m{; ((?:test|tools)/[\w./-]+) };
			return "names $other, which is not there" if $other && !-e "$tester->{root}/$other";
			$tester->{not_run}++ if !$other;
			return ();
		}
		return run_shell($tester, $text);
	}
	if ($kind eq 'text' || $kind eq 'json')
	{
		return 'is the output of nothing' if !defined $tester->{stdout};
		my @missing = missing_output([$text], $tester->{stdout});
		return @missing ? "was not printed by the block before, which printed\n$tester->{stdout}" : ();
	}
	if ($kind eq 'ini')
	{
		return check_settings($tester, $text);
	}
	return check_yaml($tester, $text) if $kind eq 'yaml';
	return if $kind eq '' && $text =~ /[─│]/;
	return "is a block of a kind that is not tested: \"$kind\"";
}

1;
