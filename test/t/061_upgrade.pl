# pg_upgrade of a database with maintained views, by --copy and --link.  What is maintained stays it:
# views are exact, whatever they are; nothing that was in the log is lost or there twice.
#
# UPGRADE_FROM_PG_CONFIG is that of the other version, and UPGRADE_FROM_DESTDIR where the
# extension is installed for it; see tools/test-upgrade.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use CatalogTest;
use DeriveTest;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'no other version to upgrade from; see make test-upgrade' unless $ENV{UPGRADE_FROM_PG_CONFIG};

my $old = derive_node('old', install_path => dirname(dirname($ENV{UPGRADE_FROM_PG_CONFIG})),
	destdir => $ENV{UPGRADE_FROM_DESTDIR}, extension => 0, initdb => ['--locale=C', '--encoding=UTF8']);
my $keeps_slots = $old->pg_version >= 17;

# ---- the old cluster: views of all kinds

$old->safe_psql('postgres', "CREATE ROLE maker LOGIN; CREATE DATABASE shop");
create_extension($old, $_) for ('shop', 'postgres');
$old->safe_psql('shop', 'GRANT CREATE ON SCHEMA public TO maker');
$old->safe_psql('postgres', q{CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (2); SELECT derive.create_view('other', 'SELECT count(*), sum(a) FROM t')});

sub as_maker
{
	my ($on, $sql, $label) = @_;
	my ($rc, $out, $err) = $on->psql('shop', $sql, extra_params => [ '-U', 'maker' ]);
	is($rc, 0, $label // 'as the owner') or diag($err);
	return $out;
}

as_maker($old, q{
SET TimeZone = 'Asia/Tokyo';
CREATE TYPE mood AS ENUM ('sad', 'fine');
CREATE TYPE pair AS (a int, b text);
CREATE TEXT SEARCH CONFIGURATION own (COPY = english);
CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL, mood mood, home pair);
CREATE TABLE orders (id int, customer int, amount numeric, weight float8, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE orders_25 PARTITION OF orders FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2026-01-01 00:00+00');
CREATE TABLE orders_26 PARTITION OF orders FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2027-01-01 00:00+00');
CREATE TABLE clicks (page text, visitor text, at timestamptz);
CREATE TABLE named (id int NOT NULL, k int NOT NULL, v text);
CREATE UNIQUE INDEX named_k ON named (k);
ALTER TABLE named REPLICA IDENTITY USING INDEX named_k;
CREATE TABLE docs (id int PRIMARY KEY, body text);
CREATE TABLE edges (parent int, child int);
INSERT INTO customers SELECT n, 'region ' || n % 4, (ARRAY['sad', 'fine']::mood[])[1 + n % 2], ROW(n, 'x')::pair FROM generate_series(1, 40) n;
INSERT INTO orders SELECT n, n % 40, n % 90, n / 8.0, timestamptz '2025-09-01 00:30+00' + n * interval '7 hours' FROM generate_series(1, 500) n;
INSERT INTO clicks SELECT 'page ' || n % 9, 'visitor ' || n % 7, timestamptz '2025-09-01 00:30+00' + n * interval '11 minutes' FROM generate_series(1, 200) n;
INSERT INTO named SELECT n, n, 'v ' || n % 3 FROM generate_series(1, 30) n;
INSERT INTO docs SELECT n, 'the logs of changes and word' || n % 5 FROM generate_series(1, 20) n;
INSERT INTO edges SELECT n, n + 1 FROM generate_series(1, 10) n;
SELECT derive.create_view('per_day', 'SELECT at::date AS day, count(*), sum(amount), avg(weight), min(weight), max(amount), count(DISTINCT customer) AS customers FROM orders GROUP BY 1');
SELECT derive.create_view('as_text', 'SELECT at::text AS at, to_char(at, ''TZ'') AS tz, count(*) FROM orders GROUP BY 1, 2');
SELECT derive.create_view('best', 'SELECT max(sum) AS best, count(*) FROM per_day');
SELECT derive.create_view('totals', 'SELECT region, mood, count(*) AS n, sum(amount) AS amount FROM orders o JOIN customers c ON c.id = o.customer GROUP BY region, mood');
SELECT derive.create_view('homes', 'SELECT c.home, o.id FROM customers c LEFT JOIN orders o ON o.customer = c.id AND o.amount > 80');
SELECT derive.create_view('"A ""grand"" one"', 'SELECT sum(n) AS n, max(amount) AS amount FROM totals');
SELECT derive.create_view('pages', 'SELECT DISTINCT page FROM clicks');
SELECT derive.create_view('all_clicks', 'SELECT * FROM clicks');
SELECT derive.create_view('ranked', 'SELECT customer, amount, rank() OVER (PARTITION BY customer ORDER BY amount DESC) FROM orders');
SELECT derive.create_view('newest', 'SELECT id, at, amount FROM orders ORDER BY at DESC LIMIT 5');
SELECT derive.create_view('odd_names', 'SELECT v, count(*), max(id) FROM named GROUP BY v');
SELECT derive.create_view('below', 'WITH RECURSIVE r AS (SELECT parent, child FROM edges UNION SELECT r.parent, e.child FROM r JOIN edges e ON e.parent = r.child) SELECT * FROM r');
SELECT derive.create_view('searched', 'SELECT id, to_tsvector(''own'', body) AS words FROM docs');
SELECT derive.create_view('aside', 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY weight) AS median FROM orders');
SELECT derive.create_view('sessions', 'sessionize', '{clicks}', options => '{"user": "visitor", "time": "at", "gap": "30 minutes"}');
SELECT derive.create_view('words', 'inverted_index', '{docs}', options => '{"text": "body", "config": "public.own"}');
SELECT derive.create_view('reach', 'reachability', '{edges}');
SELECT derive.create_view('visitors', 'approx_distinct', '{clicks}', key => '{page}', options => '{"value": "visitor"}');
SELECT derive.create_view('versions', 'history', '{customers}');
SELECT derive.create_view('per_version', 'SELECT region, count(*) FROM versions GROUP BY region');
SELECT derive.create_topic('signals', 'what text, n int');
SELECT derive.create_view('seen', 'SELECT what, count(*), sum(n) FROM signals GROUP BY what');
SELECT derive.create_view('ratio', 'SELECT id, 1000 / (amount - 1000) AS r FROM orders');
SELECT derive.create_view('stopped', 'SELECT customer, count(*) AS n FROM orders GROUP BY customer');
SELECT derive.create_view('later', 'SELECT count(*) FROM orders', with_data => false);
CREATE MATERIALIZED VIEW ordinary AS SELECT * FROM totals;
CREATE INDEX ON totals (n);
GRANT SELECT ON totals TO PUBLIC;
COMMENT ON MATERIALIZED VIEW totals IS 'totals';
SELECT derive.wait(timeout => '180 s');
SELECT derive.subscribe('totals', 'follower'), derive.subscribe('as_text', 'follower of text'), derive.subscribe('signals', 'follower of signals'), derive.subscribe('versions', 'follower of versions');
SELECT derive.pause('stopped');
CREATE TABLE copies (subscriber text, r jsonb);
CREATE PROCEDURE consume(subscriber text) LANGUAGE plpgsql AS $$
DECLARE
	c record;
	n int;
	victim tid;
BEGIN
	LOOP
		n := 0;
		FOR c IN SELECT * FROM derive.poll(subscriber, 100) LOOP
			n := n + 1;
			IF c.operation IN ('update', 'delete') THEN
				SELECT k.ctid INTO STRICT victim FROM copies k WHERE k.r = c.old AND k.subscriber = consume.subscriber LIMIT 1;
				DELETE FROM copies k WHERE k.ctid = victim;
			END IF;
			IF c.operation <> 'delete' THEN
				INSERT INTO copies VALUES (subscriber, c.new);
			END IF;
		END LOOP;
		COMMIT;
		EXIT WHEN n = 0;
	END LOOP;
END $$;
RESET TimeZone;
CALL consume('follower');
CALL consume('follower of text');
CALL consume('follower of signals');
CALL consume('follower of versions')});

# with a worker, a slot and a position of their own
$old->safe_psql('shop', q{SELECT derive.create_group('heavy'), derive.create_group('nobody is in it'), derive.move('searched', 'heavy'), derive.move('words', 'heavy'), derive.move('best', 'heavy')});

# Changes of every kind, the n-th time.
sub change
{
	my ($on, $n) = @_;
	as_maker($on, qq{
INSERT INTO orders SELECT $n * 1000 + i, i % 40, 7, 2.5, timestamptz '2026-01-01 12:00+00' + i % 300 * interval '1 hour' FROM generate_series(1, 100) i;
UPDATE orders SET amount = amount + 1 WHERE id % 10 = $n AND amount <> 1000;
UPDATE customers SET region = 'moved $n', home.b = 'y' WHERE id % 5 = $n % 5;
DELETE FROM orders WHERE id % 17 = $n;
DELETE FROM clicks WHERE page = 'page $n';
INSERT INTO clicks SELECT 'page new', 'visitor $n', timestamptz '2026-02-01' + i * interval '20 minutes' FROM generate_series(1, 10) i;
UPDATE named SET v = v || '!' WHERE id % 7 = $n;
UPDATE docs SET body = body || ' again' WHERE id % 4 = $n % 4;
DELETE FROM edges WHERE parent = $n;
INSERT INTO edges VALUES ($n + 50, $n + 2);
SELECT derive.append('signals', '{"what": "a", "n": $n}'), derive.append('signals', '{"what": "b", "n": $n}');
}, "changes $n");
	return;
}

my $states = q{SELECT name, state, v.settings, pg_get_userbyid(relowner), group_name FROM derive_state.view_states v JOIN pg_class c ON c.oid = v.view ORDER BY 1};
my $groups = q{SELECT array_agg(group_name ORDER BY group_name) FROM derive.groups};
my $labels = q{SELECT objname, label FROM pg_seclabels WHERE provider = 'pg_derive' ORDER BY 1};
my $versions = q{SELECT v::text FROM versions v ORDER BY 1};
my $signals = q{SELECT count(*), sum(n) FROM signals};

# Views equal their queries, and copies that were made of changes only equal the views.
sub check
{
	my ($on, $label, $expected_signals, @begin_anew) = @_;
	wait_derived($on, "$label: caught up", $_) for ('shop', 'postgres');
	is($on->safe_psql('postgres', q{SELECT view, state FROM derive.views WHERE state <> 'ready' OR oracle(view) <> 0}), '', "$label: the other database");
	is($on->safe_psql('shop', 'SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0'), '', "$label: derive.verify()");
	is($on->safe_psql('shop', q{SET TimeZone = 'Asia/Tokyo';
		SELECT view FROM derive.views WHERE state = 'ready' AND view <> ALL ('{versions, signals, stopped, visitors}'::regclass[]) AND oracle(view) <> 0}),
		'', "$label: every view equals its query");
	is($on->safe_psql('shop', $signals), $expected_signals, "$label: each event once");
	for my $pair (@begin_anew)
	{
		my ($view, $subscriber) = @$pair;
		my ($rc, $out, $err) = $on->psql('shop', "CALL consume('$subscriber')", extra_params => [ '-U', 'maker' ]);
		like($err, qr/subscription "$subscriber" has fallen behind/, "$label: $subscriber is told");
		as_maker($on, qq{DELETE FROM copies WHERE subscriber = '$subscriber'; SELECT derive.unsubscribe('$subscriber'), derive.subscribe('$view', '$subscriber')}, "$label: $subscriber again");
	}
	wait_derived($on, "$label: subscribed again", 'shop') if @begin_anew;
	as_maker($on, qq{CALL consume('$_')}, "$label: $_") for ('follower', 'follower of text', 'follower of signals', 'follower of versions');
	for my $pair ([ 'totals', 'follower' ], [ 'as_text', 'follower of text' ], [ 'signals', 'follower of signals' ], [ 'versions', 'follower of versions' ])
	{
		my ($view, $subscriber) = @$pair;
		is($on->safe_psql('shop', qq{SELECT count(*) FROM ((SELECT to_jsonb(v) FROM $view v EXCEPT ALL SELECT r FROM copies WHERE subscriber = '$subscriber')
			UNION ALL (SELECT r FROM copies WHERE subscriber = '$subscriber' EXCEPT ALL SELECT to_jsonb(v) FROM $view v)) d}), '0', "$label: who follows $view");
	}
	return;
}

change($old, 1);
check($old, 'before', '2|2');
# what nobody has consumed yet
change($old, 2);
wait_derived($old, 'the last changes', $_) for ('shop', 'postgres');
my $same = $old->safe_psql('shop', $states);
my $same_groups = $old->safe_psql('shop', $groups);
my $same_labels = $old->safe_psql('shop', $labels);
my $same_versions = $old->safe_psql('shop', $versions);
my $identities = $old->safe_psql('shop', 'SELECT relid::regclass, identity, index::regclass FROM derive_state.identities ORDER BY 1');
my %rows = map { ($_ => $old->safe_psql('shop', qq{SELECT v::text FROM "$_" v ORDER BY 1})) } ('per_day', 'totals', 'homes', 'sessions', 'words', 'seen');
my $dependencies = dependencies($old, 'shop');
my $catalog = extension_catalog($old, 'shop');

# Minor releases of November 2026 note in an option when the columns of views became what they are.
# Servers before those do not know it, and pg_upgrade to them fails for any view.
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
chomp(my $includes = `$pg_config --includedir-server`);
if (slurp_file("$includes/catalog/pg_attribute.h") !~ /pg_attver/)
{
	$old->safe_psql($_, q[SET allow_system_table_mods = on; UPDATE pg_attribute SET attoptions = NULL WHERE attoptions::text LIKE '{pg_attver=%']) for ('shop', 'postgres');
	wait_derived($old, 'options of columns', $_) for ('shop', 'postgres');
}
$old->stop;

# ---- upgrade

# pg_upgrade looks for the library nowhere else
chomp(my $libdir = `$pg_config --pkglibdir`);
symlink("$ENV{DERIVE_DESTDIR}$libdir/pg_derive.so", "$libdir/pg_derive.so") or die "$libdir: $!" if $ENV{DERIVE_DESTDIR};
chdir $PostgreSQL::Test::Utils::tmp_check or die;

my $not_named = `postgres --describe-config` =~ /^output_plugin_libraries\b/m ? "output_plugin_libraries = 'pgoutput'\n" : '';
my ($to) = `$pg_config --version` =~ /(\d+)/;
my @no_checksums = $to >= 18 && $old->pg_version < 18 ? ('--no-data-checksums') : ();
for my $mode ('--copy', '--link')
{
	# from 18 on checksums are the default, and both clusters must agree
	my $new = derive_node($mode =~ s/-//gr, extension => 0, start => 0, conf => $not_named, initdb => [ '--locale=C', '--encoding=UTF8', @no_checksums ]);
	my @upgrade = ('pg_upgrade', '--no-sync', $mode, '-d', $old->data_dir, '-D', $new->data_dir, '-b', $old->config_data('--bindir'),
		'-B', $new->config_data('--bindir'), '-s', $new->host, '-p', $old->port, '-P', $new->port);
	command_ok([ @upgrade, '--check' ], "pg_upgrade $mode --check");
	ok(run_log(\@upgrade), "pg_upgrade $mode")
	  or BAIL_OUT(join "\n", map { slurp_file($_) =~ /^(.*(?:ERROR|FATAL|error:).*)$/mg } glob($new->data_dir . '/pg_upgrade_output.d/*/log/*.log'));
	$new->start;
	is($new->safe_psql('shop', $labels), $same_labels, "$mode: labels");
	is($new->safe_psql('shop', qq{SELECT v::text FROM "$_" v ORDER BY 1}), $rows{$_}, "$mode: rows of $_ at once") for sort keys %rows;
	check($new, $mode, '4|6', [ 'totals', 'follower' ], [ 'as_text', 'follower of text' ]);
	is($new->safe_psql('shop', $states), $same, "$mode: the same views are maintained, in the same way");
	is($new->safe_psql('shop', $groups), $same_groups, "$mode: the same groups");
	is($new->safe_psql('shop', $versions), $same_versions, "$mode: the same versions in the history");
	is($new->safe_psql('shop', 'SELECT relid::regclass, identity, index::regclass FROM derive_state.identities ORDER BY 1'), $identities, "$mode: what tables logged before");
	like(slurp_file($new->logfile), qr/all maintained views of database "shop" are computed anew: @{[ $keeps_slots ? 'the server was upgraded by pg_upgrade' : 'pg_upgrade does not keep replication slots of this version' ]}/, "$mode: the log says so");
	# what was not read was nothing, but nobody can know
	my @lost = slurp_file($new->logfile) =~ /(Events of topics that were committed there are lost)/g;
	is(scalar(@lost), $keeps_slots ? 0 : 1, "$mode: events that may be lost");
	# written in another way by another version: queries, and rights that are the default
	is(missing_lines($catalog, extension_catalog($new, 'shop')) =~ s/^[^\n]*: (?:acl|privileges of the extension|query): [^\n]*\n?//gmr, '', "$mode: all objects of the extension are there");
	change($new, 3);
	check($new, "$mode, changed", '6|12');
	as_maker($new, q{SELECT derive.resume('stopped'); REFRESH MATERIALIZED VIEW later});
	wait_derived($new, "$mode, resumed", 'shop');
	is($new->safe_psql('shop', q{SELECT view, state, error FROM derive.views WHERE state <> 'ready' OR view IN ('stopped'::regclass, 'later'::regclass) AND oracle(view) <> 0}), '', "$mode: what stood still");
	is($new->safe_psql('shop', q{SELECT relation FROM unnest('{customers, clicks, docs, edges}'::text[]) relation
		WHERE NOT EXISTS (SELECT FROM pg_depend JOIN pg_rewrite w ON classid = 'pg_rewrite'::regclass AND w.oid = objid WHERE refobjid = relation::regclass)}), '', "$mode: what views depend on");
	# nothing stays that only we would have removed
	as_maker($new, q{DROP MATERIALIZED VIEW per_version, versions, seen, signals, best, words});
	as_maker($new, q{SELECT derive.release(view) FROM (SELECT view FROM derive.views WHERE view <> ALL ('{sessions, reach, visitors}'::regclass[]) ORDER BY view::oid DESC) v});
	$new->poll_query_until('shop', q{SELECT relreplident = 'i' FROM pg_class WHERE oid = 'named'::regclass}) or diag('replica identity');
	$new->safe_psql('shop', 'DROP EXTENSION pg_derive CASCADE');
	is($new->safe_psql('shop', q{SELECT nspname FROM pg_namespace WHERE nspname LIKE 'derive%'}), '', "$mode: removed");
	is($new->safe_psql('shop', q{SELECT objname FROM pg_seclabels WHERE provider = 'pg_derive'}), '', "$mode: without labels");
	log_is_clean($new);
	$new->stop;
}
log_is_clean($old);
done_testing();
