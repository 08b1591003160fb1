-- What reading the engine with suspicion found; each block failed once.

-- An outer reference to a query further out than the next one.
CREATE TABLE a (id int PRIMARY KEY, x int, arr int[], s text);
CREATE TABLE b (id int PRIMARY KEY, x int, y int);
CREATE TABLE c (x int, z int, s varchar(10));
INSERT INTO a SELECT i, i % 5, ARRAY[i, i + 1], 's' || i % 3 FROM generate_series(1, 12) i;
INSERT INTO b SELECT i, i % 5, i % 3 FROM generate_series(1, 12) i;
INSERT INTO c SELECT i % 4, i % 3, 's' || i % 4 FROM generate_series(1, 12) i;
SELECT derive.create_view('lateral_group', 'SELECT a.id, q.n FROM a, LATERAL (SELECT n FROM (SELECT count(*) n FROM b WHERE b.x = a.x) r) q');
SELECT derive.create_view('lateral_distinct', 'SELECT a.id, q.n FROM a, LATERAL (SELECT b.y n FROM b WHERE b.x = a.x UNION ALL (SELECT DISTINCT z FROM c WHERE c.x = a.x)) q');

-- A LATERAL UNION ALL in its state before the batch lies one level deeper.
SELECT derive.create_view('lateral_union', 'SELECT a.id, q.y FROM a, LATERAL (SELECT b.y FROM b WHERE b.x = a.x UNION ALL SELECT c.z FROM c WHERE c.x = a.x) q');
SELECT derive.create_view('lateral_cte', 'WITH w AS (SELECT x, id FROM a WHERE x > 1) SELECT b.id, q.id AS aid FROM b, LATERAL (WITH z AS (SELECT * FROM w WHERE w.x = b.x) SELECT * FROM z UNION ALL SELECT z1.* FROM z z1 JOIN z z2 ON z1.id = z2.id + 5) q');
SELECT derive.wait(timeout => '60 s');
BEGIN;
UPDATE a SET x = x + 1 WHERE id % 3 = 0;
UPDATE b SET x = x + 1 WHERE id % 4 = 0;
UPDATE c SET x = x + 1 WHERE z = 1;
DELETE FROM b WHERE id IN (3, 7);
COMMIT;
SELECT * FROM oracle_all();

-- A set-returning function that only ORDER BY has multiplies the rows.
SELECT derive.create_view('order_set', 'SELECT x FROM a ORDER BY generate_series(1, 2)');
SELECT derive.create_view('order_set_inside', 'SELECT q.x FROM (SELECT x FROM a ORDER BY unnest(arr)) q');
SELECT derive.create_view('group_set', 'SELECT count(*) FROM a GROUP BY generate_series(1, 2) ORDER BY generate_series(1, 2)');

-- IN with a sub-query that reads no table is a function of the row.
SELECT derive.create_view('in_values', 'SELECT a.id FROM a JOIN b ON (a.x, a.id) IN (VALUES (b.x, b.id), (b.y, b.x), (1, 2))');
UPDATE a SET x = 1, arr = '{}' WHERE id = 2;
UPDATE b SET y = 2, x = 3 WHERE id = 2;
SELECT * FROM oracle_all();
DROP TABLE a, b, c CASCADE;

-- Keys that are equal without being the same: the one shown must occur.
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE t (id int PRIMARY KEY, k text COLLATE ci, n numeric, f float8);
INSERT INTO t VALUES (1, 'Bob', 1.0, '-0'), (2, 'bob', 1.00, 0), (3, 'al', 2, 1), (4, NULL, NULL, NULL);
SELECT derive.create_view('same_group', 'SELECT k, k COLLATE "C" AS shown, count(*), min(id) FROM t GROUP BY k');
SELECT derive.create_view('same_distinct', 'SELECT DISTINCT n, f FROM t');
SELECT derive.create_view('same_union', 'SELECT n FROM t UNION SELECT f::numeric FROM t');
SELECT derive.create_view('same_block', 'SELECT n, array_agg(id ORDER BY id) FROM t GROUP BY n');
SELECT derive.create_view('same_dependent', 'SELECT t.id, t.k, t.n, count(*) FROM t JOIN t u ON u.n = t.n GROUP BY t.id');
SELECT derive.wait(timeout => '60 s');
DELETE FROM t WHERE id = 1;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM same_group ORDER BY k;
SELECT * FROM same_distinct ORDER BY n;
UPDATE t SET k = upper(k), n = n::numeric(8, 3), f = '-0';
SELECT * FROM oracle_all();
SELECT * FROM same_group ORDER BY k;
SELECT * FROM same_distinct ORDER BY n;
SELECT * FROM same_union ORDER BY n;
SELECT * FROM same_block ORDER BY n;
SELECT * FROM same_dependent ORDER BY id;
BEGIN;
INSERT INTO t VALUES (5, 'Bob', 2.00, 0);
UPDATE t SET k = 'bOb' WHERE id = 2;
UPDATE t SET n = 2.0, k = 'Al' WHERE id = 3;
COMMIT;
DELETE FROM t WHERE id = 5;
SELECT * FROM oracle_all();
SELECT * FROM same_group ORDER BY k;
SELECT * FROM same_distinct ORDER BY n;
DROP TABLE t CASCADE;
DROP COLLATION ci;

-- Values of a row type change when its columns do.
CREATE TYPE pair AS (a int, b text);
CREATE TABLE t (id int PRIMARY KEY, x int, p pair);
INSERT INTO t SELECT i, i % 3, ROW(i, 'b')::pair FROM generate_series(1, 9) i;
CREATE VIEW plain AS SELECT id, x AS px FROM t;
SELECT derive.create_view('row_json', 'SELECT to_jsonb(t) AS j FROM t');
SELECT derive.create_view('row_group', 'SELECT x, jsonb_agg(t ORDER BY id), count(DISTINCT t) FROM t GROUP BY x');
SELECT derive.create_view('row_inside', 'SELECT row_to_json(q)::text AS j FROM (SELECT t, u.x FROM t JOIN t u USING (x)) q');
SELECT derive.create_view('row_column', 'SELECT id, to_jsonb(p) AS j FROM t');
SELECT derive.create_view('row_plain', 'SELECT to_jsonb(plain) AS j FROM plain');
SELECT derive.create_view('row_none', 'SELECT count(*) FROM t');
SELECT * FROM oracle_all();
ALTER TABLE t ADD COLUMN z int DEFAULT 42;
SELECT * FROM oracle_all();
BEGIN;
UPDATE t SET x = 2 WHERE id < 3;
ALTER TABLE t ADD COLUMN y text DEFAULT 'new', DROP COLUMN z;
UPDATE t SET y = 'newer' WHERE id BETWEEN 2 AND 4;
COMMIT;
SELECT * FROM oracle_all();
ALTER TABLE t RENAME COLUMN y TO yy;
SELECT * FROM oracle_all();
ALTER TYPE pair RENAME ATTRIBUTE a TO aa;
SELECT * FROM oracle_all();
ALTER TYPE pair ADD ATTRIBUTE c int;
SELECT * FROM oracle_all();
ALTER VIEW plain RENAME px TO ppx;
SELECT * FROM oracle_all();
UPDATE t SET yy = NULL, p = ROW(1, 'c', 2) WHERE id = 5;
SELECT * FROM oracle_all();
DROP TABLE t CASCADE;
DROP TYPE pair;

-- Partitions and children that are not in the log.
CREATE TABLE p (id int, x int) PARTITION BY LIST (x);
CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
INSERT INTO p VALUES (1, 1), (2, 1);
SELECT derive.create_view('logged', 'SELECT x, count(*) FROM p GROUP BY x');
SELECT * FROM oracle_all();
CREATE UNLOGGED TABLE p2 PARTITION OF p FOR VALUES IN (2);
SELECT derive.create_view('unlogged', 'SELECT x, count(*) FROM p GROUP BY x');
INSERT INTO p VALUES (3, 2);
SELECT derive.wait('logged', timeout => '60 s');
SELECT view, state, error FROM derive.views;
DROP TABLE p2;
SELECT derive.repair('logged');
INSERT INTO p VALUES (4, 1);
SELECT * FROM oracle_all();
DROP TABLE p CASCADE;

-- An aggregate that is maintained in another way from now on, a function that may not be called any more.
CREATE TABLE t (id int PRIMARY KEY, g int, v int);
INSERT INTO t SELECT i, i % 4, i % 7 FROM generate_series(1, 20) i;
CREATE FUNCTION add(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, 0) + $2';
CREATE FUNCTION take(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2';
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE AGGREGATE isum(int) (sfunc = add, stype = int, initcond = '0');
SELECT derive.create_view('redefined', 'SELECT g, isum(v), count(*) FROM t GROUP BY g');
SELECT derive.create_view('called', 'SELECT twice(v) FROM t');
SELECT * FROM oracle_all();
CREATE OR REPLACE AGGREGATE isum(int) (sfunc = add, stype = int, initcond = '0', combinefunc = add, msfunc = add, minvfunc = take, mstype = int, minitcond = '0');
ALTER FUNCTION twice(int) VOLATILE;
UPDATE t SET v = v + 1;
SELECT derive.wait('redefined', timeout => '60 s');
SELECT derive.wait('called', timeout => '60 s');
SELECT derive.release('redefined');
SELECT derive.maintain('redefined');
ALTER FUNCTION twice(int) IMMUTABLE;
SELECT derive.repair('called');
UPDATE t SET v = v + 1 WHERE id < 5;
SELECT * FROM oracle_all();
DROP TABLE t CASCADE;
DROP AGGREGATE isum(int);
DROP FUNCTION add(int, int), take(int, int), twice(int);

-- A value of a row type that is stored in the view, after a column was added to the type.
CREATE TYPE pair AS (a int, b text);
CREATE TABLE t (id int PRIMARY KEY, p pair);
INSERT INTO t SELECT i, ROW(i % 3, 'b')::pair FROM generate_series(1, 9) i;
SELECT derive.create_view('pair_group', 'SELECT p, count(*) FROM t GROUP BY p');
SELECT derive.create_view('pair_rows', 'SELECT p FROM t');
SELECT * FROM oracle_all();
ALTER TYPE pair ADD ATTRIBUTE c int;
UPDATE t SET p = ROW(1, 'b', NULL) WHERE id < 4;
SELECT * FROM oracle_all();
DELETE FROM t WHERE id IN (1, 6);
SELECT * FROM oracle_all();
DROP TABLE t CASCADE;
DROP TYPE pair;

-- Functions that tell what day it is, or who asks.
CREATE TABLE t (id int PRIMARY KEY, at time);
SELECT derive.create_view('today', 'SELECT at::timetz FROM t');
SELECT derive.create_view('who', 'SELECT id, getpgusername() FROM t');
DROP TABLE t;

-- changes of columns that only another view reads
CREATE TABLE wide_reader (id int PRIMARY KEY, a int, b int, c text);
CREATE TABLE partner (a int, d int);
INSERT INTO wide_reader SELECT i, i % 5, i, 'c' FROM generate_series(1, 20) i;
INSERT INTO partner SELECT i % 5, i FROM generate_series(1, 10) i;
SELECT derive.create_view('reads_a', 'SELECT a, count(*), max(id) FROM wide_reader GROUP BY a');
SELECT derive.create_view('reads_all', 'SELECT * FROM wide_reader');
SELECT derive.create_view('reads_joined', 'SELECT w.a, p.d FROM wide_reader w JOIN partner p USING (a)');
SELECT derive.create_view('reads_none', 'SELECT count(*) FROM wide_reader');
SELECT * FROM oracle_all();
UPDATE wide_reader SET b = b + 1;
UPDATE wide_reader SET b = b + 1, a = a + 1 WHERE id % 3 = 0;
SELECT * FROM oracle_all();
BEGIN;
UPDATE wide_reader SET c = 'd' WHERE id < 10;
DELETE FROM wide_reader WHERE id = 5;
INSERT INTO wide_reader VALUES (5, 0, 6, 'd');
UPDATE wide_reader SET b = 0 WHERE id = 5;
DELETE FROM wide_reader WHERE id = 6;
DELETE FROM partner WHERE d = 3;
INSERT INTO wide_reader VALUES (100, 1, 1, NULL), (101, 1, 1, NULL);
UPDATE wide_reader SET c = 'x' WHERE c IS NULL;
COMMIT;
SELECT * FROM oracle_all();
DROP MATERIALIZED VIEW reads_all;
UPDATE wide_reader SET b = 7, c = 'y';
SELECT derive.create_view('reads_b', 'SELECT b, count(*) FROM wide_reader GROUP BY b');
UPDATE wide_reader SET b = 8 WHERE id % 2 = 0;
SELECT * FROM oracle_all();
DROP TABLE wide_reader, partner CASCADE;

-- large transactions that abort, in whole or in part, before they are decoded
CREATE TABLE aborted (id int, v text);
SELECT derive.create_view('ab_all', 'SELECT id, v FROM aborted');
SELECT derive.create_view('ab_count', 'SELECT count(*) FROM aborted');
SELECT * FROM oracle_all();
BEGIN;
INSERT INTO aborted SELECT i, repeat('x', 50) FROM generate_series(1, 5000) i;
ROLLBACK;
BEGIN;
INSERT INTO aborted SELECT i, 'kept' FROM generate_series(1, 3000) i;
SAVEPOINT s;
INSERT INTO aborted SELECT i, 'undone' FROM generate_series(1, 3000) i;
ROLLBACK TO s;
UPDATE aborted SET v = 'kept twice' WHERE id < 1000;
COMMIT;
BEGIN;
DELETE FROM aborted;
ROLLBACK;
BEGIN;
SAVEPOINT a;
INSERT INTO aborted SELECT i, 'one' FROM generate_series(1, 3000) i;
RELEASE a;
SAVEPOINT b;
INSERT INTO aborted SELECT i, 'two' FROM generate_series(1, 3000) i;
SAVEPOINT c;
UPDATE aborted SET v = 'three';
ROLLBACK TO b;
INSERT INTO aborted SELECT i, 'four' FROM generate_series(1, 3000) i;
ROLLBACK;
BEGIN;
SAVEPOINT a;
INSERT INTO aborted SELECT i, 'one' FROM generate_series(1, 3000) i;
ROLLBACK TO a;
INSERT INTO aborted SELECT i, 'two' FROM generate_series(1, 3000) i;
PREPARE TRANSACTION 'aborted';
ROLLBACK PREPARED 'aborted';
BEGIN;
INSERT INTO aborted SELECT i, 'two' FROM generate_series(1, 3000) i;
SAVEPOINT a;
INSERT INTO aborted SELECT i, 'one' FROM generate_series(1, 3000) i;
PREPARE TRANSACTION 'aborted';
SELECT derive.wait('ab_count');
ROLLBACK PREPARED 'aborted';
SELECT * FROM oracle_all();
SELECT * FROM ab_count;
DROP TABLE aborted CASCADE;
