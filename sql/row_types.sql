-- Values of row types that a view does not show: they must not stand in the way of ALTER TABLE, or of anything else
-- that an ordinary materialized view lets happen.
CREATE TYPE pair AS (a int, b text);
CREATE TABLE t (id int, p pair, n numeric, big text);
INSERT INTO t SELECT i % 3, ROW(i % 2, 'b' || i % 2)::pair, i % 2, repeat('big', 10) FROM generate_series(1, 20) i;
INSERT INTO t VALUES (NULL, NULL, NULL, NULL), (NULL, NULL, NULL, NULL), (1, ROW(NULL, NULL), NULL, NULL), (2, ROW(NULL, 'b'), NULL, NULL);
SELECT derive.create_view('distinct_rows', 'SELECT count(*), count(q.t) AS rows, count((q.t).n) AS n FROM (SELECT DISTINCT t FROM t) q');
SELECT derive.create_view('grouped_rows', 'SELECT count(*) AS n, sum(n), max(id) FROM t GROUP BY t');
SELECT derive.create_view('inner_groups', 'SELECT trunc((g.row).n) AS n, g.k, t.id FROM (SELECT t AS row, count(*) AS k FROM t GROUP BY t) g JOIN t ON t = g.row');
SELECT derive.create_view('arrays', 'SELECT k, array_length(r, 1), r[1].id AS first FROM (SELECT t.id AS k, array_agg(t ORDER BY t) AS r FROM t GROUP BY id) q');
SELECT derive.create_view('pairs', 'SELECT (q.p).b, count(*) FROM (SELECT p FROM t UNION SELECT ROW(id, big)::pair FROM t) q GROUP BY (q.p).b');
SELECT derive.create_view('of_union', 'SELECT r IS NULL AS empty, (r).id, m FROM (SELECT DISTINCT t AS r, 1 AS m FROM t UNION ALL SELECT DISTINCT t, 2 FROM t) q');
SELECT derive.create_view('having_rows', 'SELECT count(*) FROM (SELECT t FROM t GROUP BY t HAVING count(*) > 1 AND max(id) IS NOT NULL AND t IS NOT NULL) q');
SELECT derive.create_view('no_nulls', 'SELECT id, t IS NULL AS empty FROM t WHERE t IS NOT NULL OR t IS NULL');
SELECT derive.create_view('cast_rows', 'SELECT count(*), max(r) FROM (SELECT DISTINCT (p)::text AS r FROM t) q');
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_all();
SELECT DISTINCT format_type(atttypid, NULL) AS internal FROM derive_state.relations r JOIN pg_attribute a ON a.attrelid = r.relid
WHERE r.role IN ('s', 'd') AND attnum > 0 AND NOT attisdropped AND atttypid IN ('t'::regtype, 't[]'::regtype, 'pair'::regtype, 'bytea'::regtype);

-- equal, but not the same: 1.0 and 1.00; NULL and a row of NULLs; plain, compressed and out of line
INSERT INTO t VALUES (7, ROW(1, 'x'), 1.0, 'x'), (7, ROW(1, 'x'), 1.00, 'x'), (7, ROW(1, 'x'), 1, 'x');
INSERT INTO t SELECT 8, ROW(1, string_agg(md5(i::text), ''))::pair, 1, string_agg(md5(i::text), '') FROM generate_series(1, 400) i;
INSERT INTO t SELECT 8, ROW(1, string_agg(md5(i::text), ''))::pair, 1, string_agg(md5(i::text), '') FROM generate_series(1, 400) i;
INSERT INTO t SELECT 9, ROW(1, repeat('x', 5000))::pair, 1, repeat('x', 5000);
SELECT * FROM oracle_all();
DELETE FROM t WHERE id = 7 AND n::text = '1.0';
UPDATE t SET big = big || '' WHERE id = 8;
UPDATE t SET id = id + 1 WHERE id IN (8, 9);
DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE t IS NULL);
SELECT * FROM oracle_all();

-- all that an ordinary materialized view allows
ALTER TABLE t ADD COLUMN a int;
ALTER TABLE t ADD COLUMN b int DEFAULT 5;
UPDATE t SET b = 6 WHERE id = 1;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_all();
ALTER TABLE t ADD COLUMN c float8 DEFAULT random();
INSERT INTO t (id, n) VALUES (30, 1), (30, 1);
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_all();
BEGIN;
ALTER TABLE t DROP COLUMN c;
ALTER TABLE t ALTER COLUMN b TYPE bigint USING b % 2;
ALTER TABLE t ALTER COLUMN b TYPE bigint USING b + 1;
DELETE FROM t WHERE id = 30;
ALTER TABLE t RENAME COLUMN a TO aa;
COMMIT;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_all();
-- the same type, but other values
ALTER TABLE t ALTER COLUMN b TYPE bigint USING 0;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_all();
ALTER TYPE pair ADD ATTRIBUTE d int;
UPDATE t SET p.d = 1 WHERE id = 2;
ALTER TYPE pair DROP ATTRIBUTE d;
UPDATE t SET aa = 1 WHERE id = 0;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_all();
ALTER TABLE t DROP COLUMN aa, DROP COLUMN b;
DELETE FROM t WHERE id > 6;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_all();
SELECT view, state, error FROM derive.views WHERE state <> 'ready';
DROP TABLE t CASCADE;
DROP TYPE pair;

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

-- Values of row types inside anonymous rows, which calls and what stands in FROM make.
CREATE TYPE pair AS (x int, y text);
CREATE TABLE t (id int PRIMARY KEY, j jsonb, x xml);
INSERT INTO t VALUES (1, '{"p": {"x": 1, "y": "why"}}', '<r><p>(1,why)</p></r>'), (2, '{"p": {"x": 2, "z": "zed"}}', NULL);
CREATE FUNCTION made(id int, OUT p pair, OUT n int) LANGUAGE sql IMMUTABLE AS $$SELECT (id, 'y')::public.pair, id$$;
CREATE FUNCTION listed(id int) RETURNS TABLE (p pair, n int) LANGUAGE sql IMMUTABLE AS $$SELECT (id, 'y')::public.pair, id$$;
SELECT derive.create_view('a_json', 'SELECT id, to_jsonb(r) AS j FROM t, jsonb_to_record(j) AS r(p pair)');
SELECT derive.create_view('a_set', 'SELECT id, to_jsonb(r) AS j FROM t, jsonb_to_recordset(jsonb_build_array(j)) AS r(p pair)');
SELECT derive.create_view('a_xml', $$SELECT id, to_jsonb(r) AS j FROM t, XMLTABLE('/r' PASSING x COLUMNS p pair) AS r$$);
SELECT derive.create_view('a_made', 'SELECT id, to_jsonb(made(id)) AS j FROM t');
SELECT derive.create_view('a_from', 'SELECT id, to_jsonb(m) AS j FROM t, made(id) m');
SELECT derive.create_view('a_listed', 'SELECT id, to_jsonb(m) AS j FROM t, listed(id) m');
SELECT derive.create_view('a_rows', 'SELECT id, to_jsonb(m) AS j FROM t, ROWS FROM (listed(id), made(id)) m(a, b, c, d)');
SELECT derive.create_view('a_sub', 'SELECT id, to_jsonb((SELECT q FROM (SELECT made(id)) q)) AS j FROM t');
SELECT * FROM oracle_all();
ALTER TYPE pair RENAME ATTRIBUTE y TO z;
SELECT * FROM oracle_all();
SELECT j FROM a_json ORDER BY id;
UPDATE t SET id = id + 2;
SELECT * FROM oracle_all();
SET client_min_messages = warning;
DROP TABLE t CASCADE;
DROP FUNCTION made(int), listed(int);
DROP TYPE pair;
