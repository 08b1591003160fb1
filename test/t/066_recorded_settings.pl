# Every setting that changes what a query means: a view goes on as its declaration had it when
# the server, its database and its owner get another value, with a reload and with another worker.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# One that formats otherwise than C, for this test alone if the system has none.
my ($locale) = grep { /^(?:de_DE|fr_FR|es_ES)\.utf-?8$/i } split /\n/, `locale -a`;
if (!$locale)
{
	my $folder = PostgreSQL::Test::Utils::tempdir();
	chmod 0755, $folder;
	$locale = 'de_DE.UTF-8';
	is(system("localedef -i de_DE -f UTF-8 $folder/$locale >/dev/null 2>&1"), 0, 'a locale (of package "locales")');
	$ENV{LOCPATH} = $folder;
}

my $node = derive_node('recorded', initdb => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
my $id = 10;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# Each setting: of the declaration, of everybody later, and an expression over table t that shows it.
my @table = (
	[ 'TimeZone', 'Asia/Tokyo', 'America/New_York', 'at::date' ],
	[ 'TimeZone', 'Asia/Kolkata', 'UTC', 'words(at)' ],
	[ 'DateStyle', 'SQL, DMY', 'ISO, MDY', 'd::date' ],
	[ 'DateStyle', 'German', 'Postgres, MDY', 'at::text' ],
	[ 'IntervalStyle', 'iso_8601', 'sql_standard', 'i::text' ],
	[ 'IntervalStyle', 'sql_standard', 'postgres', 'read_interval(n)' ],
	[ 'timezone_abbreviations', 'India', 'Default', q{read_time('2026-01-01 10:00 IST')} ],
	[ 'extra_float_digits', '-5', '3', 'f::text' ],
	[ 'bytea_output', 'escape', 'hex', 'b::text' ],
	[ 'default_text_search_config', 'pg_catalog.german', 'pg_catalog.simple', q{to_tsvector(w)} ],
	[ 'xmlbinary', 'hex', 'base64', 'xmlelement(name x, b)::text' ],
	[ 'xmloption', 'document', 'content', 'xml_is_well_formed(w)' ],
	[ 'array_nulls', 'off', 'on', 'a::text[]' ],
	[ 'transform_null_equals', 'on', 'off', 'is_null(d)' ],
	[ 'quote_all_identifiers', 'on', 'off', q{quote_ident('x' || id)} ],
	[ 'quote_all_identifiers', 'off', 'on', q{format('%I', 'x' || id)} ],
	[ 'plpgsql.check_asserts', 'off', 'on', 'asserted(id)' ],
	[ 'plpgsql.extra_errors', 'too_many_rows', 'none', 'first_of(id)' ],
	[ 'lc_monetary', $locale, 'C', 'm::text' ],
	[ 'lc_numeric', $locale, 'C', q{to_char(f, '9G999D99')} ],
	[ 'lc_time', $locale, 'C', q{to_char(at, 'TMMonth TMDay')} ]);

# Those that are the same for all, whatever anybody sets.
my @fixed = (
	[ 'search_path', 'nowhere', 'quote_ident(w)' ],
	[ 'standard_conforming_strings', 'off', 'backslash(w)' ],
	[ 'backslash_quote', 'on', 'backslash(w)' ],
	[ 'plpgsql.variable_conflict', 'use_variable', 'conflict(id)' ],
	[ 'check_function_bodies', 'off', 'words(at)' ],
	[ 'gin_fuzzy_search_limit', '1', 'w' ],
	[ 'row_security', 'off', 'w' ],
	[ 'session_replication_role', 'replica', 'w' ]);

sql(q{
CREATE TABLE t (id int PRIMARY KEY, at timestamptz, d text, i interval, n text, f float8, b bytea, w text, a text, m money);
CREATE FUNCTION words(timestamptz) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'at ' || $1; END $$;
CREATE FUNCTION read_interval(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN extract(epoch FROM $1::interval); END $$;
CREATE FUNCTION read_time(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN extract(epoch FROM $1::timestamptz); END $$;
CREATE FUNCTION is_null(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 = NULL; END $$;
CREATE FUNCTION asserted(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN ASSERT $1 < 0; RETURN $1; EXCEPTION WHEN assert_failure THEN RETURN -1; END $$;
CREATE FUNCTION first_of(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE x int;
BEGIN SELECT v INTO x FROM (VALUES ($1), ($1 + 1)) s(v); RETURN x; EXCEPTION WHEN too_many_rows THEN RETURN -1; END $$;
CREATE FUNCTION backslash(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 || 'a\\\\b'; END $$;
CREATE FUNCTION conflict(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE v int := -1;
BEGIN RETURN (SELECT v FROM (VALUES ($1)) s(v)); EXCEPTION WHEN ambiguous_column THEN RETURN 'ambiguous'; END $$;
});

sub change
{
	$id++;
	sql(qq{BEGIN;
INSERT INTO public.t VALUES ($id, '2026-01-01 23:30+00'::timestamptz + $id * interval '1 hour', '02/03/20' || $id, interval '-1 day 2 hours' * $id, '-1 2:03:$id',
	1000.0 / $id, 'abc', 'Häuser und Boote $id', '{NULL,$id}', $id);
UPDATE public.t SET f = f * 3, at = at + interval '3 hours' WHERE id = $id - 1;
DELETE FROM public.t WHERE id = $id - 5; COMMIT});
	return;
}

change() for 1 .. 4;
my $n = 0;
my @views;
for my $row (@table)
{
	my ($name, $declared, $later, $expression) = @$row;
	my $view = 'v' . ++$n;
	my $query = "SELECT id, $expression AS x FROM t";

	# each expression bites
	my ($one, $other) = map { sql("LOAD 'plpgsql'; SET $name = '$_'; SELECT array_agg(q::text ORDER BY id) FROM ($query) q") } $declared, $later;
	isnt($one, $other, "$name matters to $expression");
	sql("LOAD 'plpgsql'; SET $name = '$declared'; SELECT derive.create_view('$view', \$q\$$query\$q\$)");
	push @views, [ $view, $query, "$name = '$declared'", "$name and $expression" ];
}
for my $row (@fixed)
{
	my ($name, $later, $expression) = @$row;
	my $view = 'v' . ++$n;
	my $query = "SELECT id, $expression AS x FROM t";
	sql("SELECT derive.create_view('$view', \$q\$$query\$q\$)");
	my $default = sql("LOAD 'plpgsql'; SELECT boot_val FROM pg_settings WHERE name = '$name'");
	push @views, [ $view, $query, $name eq 'search_path' ? 'search_path = public' : "$name = '$default'", "$name and $expression" ];
}
$_->[1] =~ s/ FROM t$/ FROM public.t/ for @views;
wait_derived($node, 'declared');

# Settings of a library that is not loaded, which were set in a transaction that is over, are empty: as if they were not there.
sql(q{BEGIN; SET LOCAL plpgsql.check_asserts = off; SET LOCAL plpgsql.extra_errors = 'all'; ROLLBACK; SELECT derive.create_view('of_none', 'SELECT count(*) FROM t')});
is(sql(q{SELECT settings @> ARRAY['plpgsql.check_asserts=on', 'plpgsql.extra_errors=none'] FROM derive_state.view_states WHERE name = 'of_none'}), 't', 'the defaults of a library that is not loaded');
sql(q{SELECT derive.wait('of_none', timeout => '180 s'); SELECT derive.drop_view('of_none')});

# The session that declares has no others.
my $defaults = "LOAD 'plpgsql'; SET search_path = public";
for my $name (map { $_->[0] } @table, grep { $_->[0] ne 'search_path' } @fixed)
{
	$defaults .= "; SET $name = '" . sql("LOAD 'plpgsql'; SHOW $name") . q{'};
}

# Each view as a session sees its query that has what the declaration had.
sub all_exact
{
	my ($label) = @_;
	wait_derived($node, $label);
	my @bad;
	for my $v (@views)
	{
		my ($view, $query, $setting, $name) = @$v;
		my $differences = sql(qq{$defaults; SET $setting;
			SELECT count(*) FROM ((TABLE public.$view EXCEPT ALL $query) UNION ALL ($query EXCEPT ALL TABLE public.$view)) d});
		push @bad, "$name: $differences" if $differences ne '0';
	}
	is(join("\n", @bad), '', "$label: exact");
	is(sql(q{SELECT string_agg(view::text || coalesce(error, waiting_for, ''), ', ') FROM derive.views WHERE state <> 'ready'}), '', "$label: ready");
	is(sql('SELECT sum(missing + extra) FROM derive.verify()'), '0', "$label: verify");
	return;
}

all_exact('declared');

# the others' values: of one that is set twice, the last one
my %later = map { $_->[0] => $_->[2] } @table;
$later{ $_->[0] } = $_->[1] for @fixed;

my $server = join "\n", map { "$_ = '$later{$_}'" } sort keys %later;
my @levels = (
	[ 'by the server', sub { $node->append_conf('postgresql.conf', $server); $node->reload } ],
	[ 'by the database', sub { sql(join ';', map { my $value = $_ eq 'search_path' ? $later{$_} : "'$later{$_}'"; "ALTER DATABASE postgres SET $_ = $value" } sort keys %later) } ],
	[ 'by the role', sub { sql(join ';', map { my $value = $_ eq 'search_path' ? $later{$_} : "'$later{$_}'"; "ALTER ROLE postgres SET $_ = $value" } sort keys %later) } ]);

for my $level (@levels)
{
	my ($label, $set) = @$level;
	$set->();
	change();
	all_exact("$label, with a reload");
	kill('TERM', worker_pid($node));
	change();
	all_exact("$label, with another worker");
	sql(q{SELECT derive.repair(view) FROM derive.views});
	all_exact("$label, computed anew");
}
$node->restart;
change();
all_exact('after a restart');

# one that is built only now, from what its declaration says
is(sql(q{SELECT bool_and(settings @> ARRAY['plpgsql.check_asserts=on', 'plpgsql.extra_errors=none']) FROM derive_state.view_states WHERE name = 'v1'}), 't', 'those of a library that was not loaded');

# a setting of somebody's own is read by a function that may return anything, and refused
like(($node->psql('postgres', q{SELECT derive.create_view('public.own', $$SELECT id, current_setting('my.own') AS x FROM public.t$$)}))[2], qr/ERROR:  .*current_setting/, 'current_setting() is refused');

log_is_clean($node);
$node->stop;
done_testing();
