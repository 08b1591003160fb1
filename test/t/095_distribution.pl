# META.json is what PGXN asks for, and the check of it (tools/check-meta, a part of "make lint") finds what is not.
use strict;
use warnings;
use FindBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $meta = slurp_file("$root/META.json");
my $file = PostgreSQL::Test::Utils::tempdir . '/META.json';

# What the check says of a changed META.json.
sub complaints
{
	my ($change) = @_;
	my $changed = decode_json($meta);

	$change->($changed);
	unlink $file;
	append_to_file($file, encode_json($changed));
	my ($out, $err) = run_command([ "$root/tools/check-meta", $file ]);
	return $out . $err;
}

command_ok(["$root/tools/check-meta"], 'META.json is valid');
is(complaints(sub { }), '', 'also when it is written by another program');
foreach my $field (qw(name version abstract maintainer license provides meta-spec))
{
	is(complaints(sub { delete $_[0]{$field} }) =~ /^(META\.json: \Q$field\E is missing)$/m && $1, "META.json: $field is missing", "$field has to be there");
}
foreach my $case (
	[ 'a version with two numbers', sub { $_[0]{version} = '0.2' }, qr/version is not valid: "0\.2"/ ],
	[ 'a version with a leading zero', sub { $_[0]{version} = '0.02.0' }, qr/version is not valid/ ],
	[ 'another version of the extension', sub { $_[0]{provides}{pg_derive}{version} = '9.9.9' }, qr/another version than the distribution/ ],
	[ 'a name with a slash', sub { $_[0]{name} = 'pg/derive' }, qr/name is not valid/ ],
	[ 'a license that PGXN does not know', sub { $_[0]{license} = 'beerware' }, qr/license is not valid: "beerware"/ ],
	[ 'a file that there is not', sub { $_[0]{provides}{pg_derive}{file} = 'none.sql' }, qr/provides: file is not valid: "none\.sql"/ ],
	[ 'no file', sub { delete $_[0]{provides}{pg_derive}{file} }, qr/provides: file is missing/ ],
	[ 'a field that there is not', sub { $_[0]{colour} = 'blue' }, qr/colour is not known to PGXN/ ],
	[ 'a status that there is not', sub { $_[0]{release_status} = 'golden' }, qr/release_status is not valid/ ],
	[ 'another specification', sub { $_[0]{'meta-spec'}{version} = '2.0.0' }, qr/meta-spec\.version is not valid/ ],
	[ 'a phase that there is not', sub { $_[0]{prereqs}{lunch} = {} }, qr/prereqs\.lunch is not valid/ ],
	[ 'a requirement without a version', sub { $_[0]{prereqs}{runtime}{requires}{PostgreSQL} = 'new' }, qr/PostgreSQL is not valid: "new"/ ],
	[ 'a folder that there is not', sub { $_[0]{no_index}{directory} = ['none'] }, qr/no_index\.directory is not valid/ ],
	[ 'a place that is none', sub { $_[0]{resources}{homepage} = 'here' }, qr/resources\.homepage is not valid/ ],
	[ 'tags that are no list', sub { $_[0]{tags} = 'views' }, qr/tags is not valid/ ])
{
	my ($what, $change, $seen) = @$case;
	like(complaints($change), $seen, "$what is found");
}
is(complaints(sub { $_[0]{x_colour} = 'blue'; $_[0]{license} = { own => 'https://example.org/license' }; $_[0]{prereqs}{runtime}{recommends}{other} = '>= 1.2.3, < 2.0.0' }), '', 'what PGXN allows is not complained of');
done_testing();
