# Kinds of transactions: two-phase, asynchronous commit, very large, very many
# subtransactions, late commits of long ones.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../perl";
use DeriveTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# 2 M rows where there is time for it
my $rows = $ENV{DERIVE_TEST_ROWS} || 300_000;
my $node = derive_node('transactions');

load_tables($node);
wait_derived($node, 'built');

# Two-phase commit, also across a restart and a crash
$node->safe_psql('postgres', q{
BEGIN; UPDATE accounts SET balance = balance + 1000 WHERE id < 50; INSERT INTO history VALUES (1, 1); PREPARE TRANSACTION 'one';
BEGIN; DELETE FROM accounts WHERE id = 100; SAVEPOINT s; DELETE FROM accounts WHERE id = 101; ROLLBACK TO s; PREPARE TRANSACTION 'two';
BEGIN; UPDATE accounts SET branch = 7 WHERE id BETWEEN 200 AND 300; PREPARE TRANSACTION 'three';
UPDATE accounts SET balance = 5 WHERE id = 2000;
});
wait_derived($node, 'prepared transactions do not hold anybody up');
is_exact($node, 'prepared');
$node->restart;
$node->safe_psql('postgres', q{COMMIT PREPARED 'one'; UPDATE accounts SET balance = 6 WHERE id = 2001});
wait_derived($node);
is_exact($node, 'committed after a restart');
$node->stop('immediate');
start_again($node);
$node->safe_psql('postgres', q{COMMIT PREPARED 'two'; ROLLBACK PREPARED 'three'});
wait_derived($node);
is_exact($node, 'committed after a crash');

# Asynchronous commit
$node->safe_psql('postgres', q{SET synchronous_commit = off; UPDATE accounts SET balance = balance + 1 WHERE id % 9 = 0});
wait_derived($node);
is_exact($node, 'asynchronous commit');
$node->append_conf('postgresql.conf', "synchronous_commit = off\nwal_writer_delay = 10s\n");
$node->reload;
my $load = start_load($node, 4);
$load->finish;
wait_derived($node, 'asynchronous load');
is_exact($node, 'asynchronous load');
$node->append_conf('postgresql.conf', "synchronous_commit = on\nwal_writer_delay = 200ms\n");
$node->reload;

# More subtransactions than a snapshot can hold, while another session watches
my $long = background($node);
$long->query_safe('BEGIN');
$long->query_safe(q{DO $$ BEGIN FOR i IN 1..200 LOOP BEGIN UPDATE accounts SET balance = balance + 1 WHERE id = i;
	IF i % 4 = 0 THEN RAISE EXCEPTION 'x'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$});
$node->safe_psql('postgres', 'UPDATE accounts SET note = note || 1 WHERE id > 4000');
wait_derived($node, 'an overflowed transaction is open');
is_exact($node, 'overflowed');
$long->query_safe('COMMIT');
wait_derived($node);
is_exact($node, 'overflowed and committed');

# A long transaction commits late, among many others
$node->safe_psql('postgres', 'INSERT INTO accounts SELECT i, i % 10, 7, NULL FROM generate_series(6000, 6100) i');
$long->query_safe('BEGIN; UPDATE accounts SET branch = 1 WHERE id BETWEEN 6000 AND 6100');
$load = start_load($node, 3);
$load->finish;
wait_derived($node);
is_exact($node, 'long transaction open');
$long->query_safe('COMMIT');
wait_derived($node);
is_exact($node, 'long transaction committed');
$long->quit;

# A very large transaction, with decoding and deltas that must spill
$node->append_conf('postgresql.conf', "pg_derive.work_mem = '2MB'\npg_derive.decoding_work_mem = '2MB'\n");
$node->reload;
$node->safe_psql('postgres', qq{
BEGIN;
INSERT INTO accounts SELECT i, i % 10, i % 1000, 'n' || i % 17 FROM generate_series(10001, 10000 + $rows) i;
UPDATE accounts SET balance = balance + 1 WHERE id > 10000 AND id % 5 = 0;
DELETE FROM accounts WHERE id > 10000 AND id % 3 = 0;
COMMIT});
wait_derived($node, "a transaction of $rows rows");
is_exact($node, 'large transaction');
$node->safe_psql('postgres', 'BEGIN; DELETE FROM accounts WHERE id > 10000; ROLLBACK');
$node->safe_psql('postgres', 'DELETE FROM accounts WHERE id > 10000');
wait_derived($node);
is_exact($node, 'large delete');
my $tmp = $node->data_dir . '/base/pgsql_tmp';
my @left = -d $tmp ? glob("$tmp/*") : ();
is(scalar(@left), 0, 'no temporary files are left');

# TRUNCATE in all ways
$node->safe_psql('postgres', q{
BEGIN; TRUNCATE history; INSERT INTO history VALUES (5, 5); ROLLBACK;
BEGIN; INSERT INTO history VALUES (6, 6); TRUNCATE history; INSERT INTO history VALUES (7, 7), (8, 8); COMMIT;
UPDATE accounts SET balance = -1 WHERE id = 7;
BEGIN; SAVEPOINT a; TRUNCATE branches; ROLLBACK TO a; COMMIT;
});
wait_derived($node);
is_exact($node, 'TRUNCATE');

# read-your-writes
my $seen = $node->safe_psql('postgres', q{
UPDATE accounts SET balance = 424242 WHERE id = 1;
SELECT derive.wait('by_branch', '180 s', pg_current_wal_insert_lsn());
SELECT max(s) FROM (SELECT sum(balance) - sum AS s FROM accounts JOIN by_branch USING (branch) GROUP BY branch, sum) x;
});
like($seen, qr/^t\n0$/m, 'derive.wait() with a position: read your writes');

log_is_clean($node);
$node->stop;
done_testing();
