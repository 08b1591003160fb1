# A view gets another query while the worker or the server is killed, at every point of
# it, and under load: the view always equals its query, the old one or the new one.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = derive_node('replace');
load_tables($node);
$node->safe_psql('postgres', q{
CREATE EXTENSION amcheck;
CREATE FUNCTION is_replaced(text) RETURNS boolean LANGUAGE sql AS
	$$SELECT pg_get_viewdef('by_branch'::regclass) LIKE '%' || $1 || '%'$$;
CREATE UNIQUE INDEX by_branch_own ON by_branch (branch, n);
-- changes of both in one batch: it must not take the new rows for the old ones
SELECT derive.create_view('of_both', 'SELECT a.id, a.note, b.sum, b.n FROM accounts a JOIN by_branch b USING (branch) WHERE a.id % 50 = 0');
SELECT derive.create_view('of_outer', 'SELECT a.id, b.max, t.n FROM accounts a LEFT JOIN by_branch b ON b.branch = a.branch AND b.min < a.balance LEFT JOIN by_branch t ON t.n = a.balance WHERE a.id % 50 = 1');
SELECT derive.subscribe('by_branch', 's');
});
wait_derived($node, 'built');
is_exact($node, 'at the start');
my $oid = $node->safe_psql('postgres', q{SELECT 'by_branch'::regclass::oid});

# The same columns; the number tells which of them it is.
sub query
{
	my ($number) = @_;
	return "SELECT branch, count(*) AS n, sum(balance) + $number AS sum, avg(balance), min(balance), max(note) FROM accounts GROUP BY branch";
}

sub replace
{
	my ($number) = @_;
	my $query = query($number);
	$node->safe_psql('postgres', "SELECT derive.replace_view('by_branch', '$query')");
	return;
}

# What was begun has come to its end, and all is well.
sub ends_well
{
	my ($number, $label) = @_;
	my ($rc, $out, $err);
	for my $i (1 .. 60)
	{
		($rc, $out, $err) = eval { $node->psql('postgres', q{SELECT derive.wait_replaced('by_branch', '180 s')}) };
		($rc, $out, $err) = (-1, '', 'closed') unless defined $rc;
		last if $rc == 0 || $err !~ /recovery|starting up|shutting down|terminated|lost|closed/;
		usleep(500_000);
	}
	is("$rc $out", '0 t', "$label: it is replaced") or diag($err);
	wait_derived($node, "$label: caught up");
	is($node->safe_psql('postgres', "SELECT is_replaced('+ ($number)')"), 't', "$label: by the new query");
	is_exact($node, $label);
	is($node->safe_psql('postgres', q{
		SELECT 'by_branch'::regclass::oid, to_regclass('by_branch_replacement') IS NULL,
			(SELECT count(*) FROM pg_class WHERE relnamespace = 'derive_state'::regnamespace AND relkind = 'm'
			 AND relname ~ '^(state|rows)_' AND oid NOT IN (SELECT relid FROM derive_state.relations)),
			(SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 'by_branch'::regclass)}),
		"$oid|t|0|t", "$label: nothing is left");
	is($node->safe_psql('postgres', q{
		SELECT bt_index_check(indexrelid, true) FROM pg_index WHERE indrelid = 'by_branch'::regclass;
		SELECT * FROM verify_heapam('by_branch')}) =~ s/\n//gr, '', "$label: files and indexes are sound");
	return;
}

# Killed while it is built, at any moment, with writers at work.
my $number = 10;
for my $i (1 .. 8)
{
	my $load = start_load($node, 600);
	replace(++$number);
	usleep(rand 300_000);
	my $how = crash($node, $i);
	stop_load($load);
	ends_well($number, "kill $i ($how)");
}

# Under load without any crash, indexes and all; a reader at one time sees one query.
{
	my $load = start_load($node, 600, undef, q{
\set a random(1, 5000)
\set b random(0, 9)
UPDATE accounts SET balance = balance + 1, branch = :b WHERE id = :a;
SELECT count(*), sum(sum) FROM by_branch;
});
	for my $i (1 .. 5)
	{
		replace(++$number);
		is($node->safe_psql('postgres', q{SELECT derive.wait_replaced('by_branch', '180 s')}), 't', "under load $i")
		  or diag($node->safe_psql('postgres', 'SELECT * FROM derive.replacements; SELECT view, state, waiting_for FROM derive.views'));
	}
	stop_load($load);
	ends_well($number, 'under load');
}

# A part that is computed as a whole: it is in the slow lane, and never where the others are.
{
	my $load = start_load($node, 600);
	for my $query ('SELECT branch, count(*) AS n, sum(balance) + 1 AS sum, avg(balance), min(balance), max(note) FROM (SELECT * FROM accounts ORDER BY id OFFSET 100) a GROUP BY branch',
		'SELECT branch, count(*) AS n, sum(balance) + 2 AS sum, avg(balance), min(balance), max(note) FROM (SELECT * FROM accounts ORDER BY id OFFSET 200) a GROUP BY branch', query(++$number))
	{
		$node->safe_psql('postgres', "SELECT derive.replace_view('by_branch', '$query')");
		is($node->safe_psql('postgres', q{SELECT derive.wait_replaced('by_branch', '180 s')}), 't', 'in the slow lane, under load');
	}
	stop_load($load);
	ends_well($number, 'slow lane');
}

# What the subscriber was told comes to what there is.
$node->safe_psql('postgres', q{
CREATE TABLE told (new jsonb);
DO $$
DECLARE
	change record;
	n int := 1;
BEGIN
	WHILE n > 0 LOOP
		n := 0;
		FOR change IN SELECT * FROM derive.poll('s', 10000) LOOP
			n := n + 1;
			IF change.old IS NOT NULL THEN
				DELETE FROM told WHERE ctid = (SELECT ctid FROM told WHERE new = change.old LIMIT 1);
				ASSERT FOUND, change.old;
			END IF;
			IF change.new IS NOT NULL THEN
				INSERT INTO told VALUES (change.new);
			END IF;
		END LOOP;
	END LOOP;
END $$;
});
is($node->safe_psql('postgres', q{
	(SELECT new FROM told EXCEPT ALL SELECT to_jsonb(v) FROM by_branch v) UNION ALL
	(SELECT to_jsonb(v) FROM by_branch v EXCEPT ALL SELECT new FROM told)}), '', 'the subscriber has got every change, once');

# A paused view that the worker has not loaded, since it began after that.
{
	$node->safe_psql('postgres', q{
		CREATE TABLE few (id int PRIMARY KEY, k int, x int);
		INSERT INTO few SELECT i, i, i * 10 FROM generate_series(1, 5) i;
		SELECT derive.create_view('still', 'SELECT id, k FROM few')});
	wait_derived($node, 'another view');
	$node->safe_psql('postgres', q{SELECT derive.pause('still')});
	for my $more (2, 3)
	{
		$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid, 60000) FROM derive.worker');
		$node->safe_psql('postgres', "SELECT derive.replace_view('still', 'SELECT id, x AS k FROM few WHERE k > $more')");
		is($node->safe_psql('postgres', q{SELECT derive.wait_replaced('still', '180 s')}), 't', "paused, k > $more")
		  or diag($node->safe_psql('postgres', 'SELECT * FROM derive.replacements'));
		is($node->safe_psql('postgres', q{SELECT state, (SELECT min(k) FROM still) FROM derive.views WHERE view = 'still'::regclass}),
			'paused|' . ($more + 1) * 10, "paused, k > $more: it stays so, with the new rows");
		is($node->safe_psql('postgres', q{SELECT oracle('still')}), '0', "paused, k > $more: exact");
	}
	$node->safe_psql('postgres', q{SELECT derive.resume('still')});
	wait_derived($node, 'resumed');
	is_exact($node, 'resumed');
	$node->safe_psql('postgres', 'DROP TABLE few CASCADE');
}

# To compare the rows takes longer than a view may in a batch: subscribers begin anew.
{
	$node->safe_psql('postgres', q{
		CREATE TABLE many (id int PRIMARY KEY, x int);
		INSERT INTO many SELECT i, i FROM generate_series(1, 200000) i;
		SELECT derive.create_view('copy', 'SELECT id, x FROM many');
		SELECT derive.create_view('after_copy', 'SELECT count(*) AS n FROM branches')});
	wait_derived($node, 'large view');
	$node->safe_psql('postgres', q{SELECT derive.subscribe('copy', 'c')});
	wait_derived($node, 'subscribed');
	$node->safe_psql('postgres', q{SELECT count(*) FROM derive.poll('c', 300000)});
	my $offset = -s $node->logfile;
	$node->append_conf('postgresql.conf', 'pg_derive.view_timeout = 150ms');
	$node->reload;
	$node->safe_psql('postgres', q{SELECT derive.replace_view('copy', 'SELECT id, x + 1 AS x FROM many')});
	log_says($node, qr/view "copy" could not be given another query and is tried again later/, $offset, 'to compare takes too long');
	# the next try is not to be stopped, too, by what else the machine does
	$node->append_conf('postgresql.conf', 'pg_derive.view_timeout = 5min');
	$node->reload;
	is($node->safe_psql('postgres', q{SELECT derive.wait_replaced('copy', '180 s')}), 't', 'without comparing');
	is($node->safe_psql('postgres', q{SELECT state FROM derive.subscriptions WHERE subscriber = 'c'}), 'lost', 'the subscriber is told');
	wait_derived($node, 'without comparing: caught up');
	is_exact($node, 'without comparing');
	$node->safe_psql('postgres', 'DROP TABLE many CASCADE; DROP MATERIALIZED VIEW after_copy');
}

SKIP:
{
	skip 'no debug points in a release build', 1 unless has_debug_points($node);

	# The worker dies in the middle of it, twice, and the server once.
	for my $point ('replace-before-lock', 'replace-begin', 'replace-exchanged', 'replace-done', 'batch-applied', 'batch-committed')
	{
		set_debug_point($node, "$point:wait");
		my $psql = background($node);
		$psql->query_safe("SELECT pg_advisory_lock(hashtext('$point'))");
		replace(++$number);
		# batches that have nothing to do with it wait there, too
		if ($point =~ /^batch/)
		{
			set_debug_point($node, '');
			$psql->query_safe("SELECT pg_advisory_unlock_all()");
			$node->poll_query_until('postgres', q{SELECT count(*) = 0 OR bool_or(state = 'ready') FROM derive.replacements}) or die;
			set_debug_point($node, "$point:kill");
			$node->psql('postgres', 'UPDATE branches SET name = name');
			usleep(500_000);
			set_debug_point($node, '');
		}
		else
		{
			my $pid = waits_at($node, $point);
			is($node->safe_psql('postgres', 'WITH u AS (UPDATE accounts SET balance = balance + 1 WHERE id = 7 RETURNING id) SELECT count(*) > 0 FROM u'), 't', "$point: writers and readers of tables do not wait");
			set_debug_point($node, '');
			if ($point eq 'replace-exchanged')
			{
				$node->kill9;
				eval { $psql->quit };
				undef $psql;
				start_again($node);
			}
			else
			{
				kill_process($pid);
			}
		}
		comes_back($node);
		eval { $psql->quit } if $psql;
		resume_failed($node);
		ends_well($number, "killed at $point");
	}

	# An error there is the replacement's.
	set_debug_point($node, 'replace-exchanged:once');
	replace(++$number);
	$node->poll_query_until('postgres', q{SELECT bool_or(state = 'failed') FROM derive.replacements}) or die;
	set_debug_point($node, '');
	is($node->safe_psql('postgres', q{SELECT state FROM derive.views WHERE view = 'by_branch'::regclass}), 'ready', 'the view goes on');
	$node->safe_psql('postgres', 'UPDATE accounts SET balance = balance + 1 WHERE id < 100');
	is($node->safe_psql('postgres', q{SELECT derive.wait('by_branch', '180 s')}), 't', 'and moves');
	is($node->safe_psql('postgres', q{SELECT oracle('by_branch')}), '0', 'and is exact');
	$node->safe_psql('postgres', q{SELECT derive.resume('by_branch_replacement')});
	ends_well($number, 'after an error');

	# Batches with it are rolled back: the others go on, and in the end it is given up.
	set_debug_point($node, 'replace-committing:error');
	replace(++$number);
	$node->poll_query_until('postgres', q{SELECT bool_or(state = 'failed') FROM derive.replacements}) or die;
	is($node->safe_psql('postgres', q{SELECT derive.wait('by_branch', '180 s')}), 't', 'rolled back: the view moves');
	set_debug_point($node, '');
	$node->safe_psql('postgres', q{SELECT derive.resume('by_branch_replacement')});
	ends_well($number, 'after batches that were rolled back');
}

unlike(slurp_file($node->logfile), qr/not as expected/, 'no view had other rows than it should have');
log_is_clean($node);
$node->stop;
done_testing();
