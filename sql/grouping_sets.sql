-- GROUPING SETS, ROLLUP, CUBE, GROUPING() and GROUP BY DISTINCT.
CREATE TABLE t (id int PRIMARY KEY, a int, b text, c varchar(5), x int, n numeric(8,2), tags text[]);
CREATE TABLE d (a int PRIMARY KEY, label text, kind int);
INSERT INTO t SELECT i, i % 4, 'b' || i % 3, 'c' || i % 2, i, i / 4.0, ARRAY['t' || i % 2, 't' || i % 3] FROM generate_series(1, 40) i;
INSERT INTO t VALUES (100, NULL, NULL, NULL, 1, 1, NULL), (101, NULL, NULL, NULL, 2, 2, '{}'), (102, 1, NULL, 'c1', NULL, NULL, NULL), (103, NULL, 'b1', NULL, 9, 9, NULL);
INSERT INTO d SELECT i, 'd' || i, i % 2 FROM generate_series(0, 3) i;
SET client_min_messages = warning;

SELECT count(derive.create_view(name, query)) FROM (VALUES
	('rollup', 'SELECT a, b, count(*), sum(x) FROM t GROUP BY ROLLUP (a, b)'),
	('cube', 'SELECT a, b, c, count(*), max(x), GROUPING(a, b, c) AS g FROM t GROUP BY CUBE (a, b, c)'),
	('sets', 'SELECT a, b, sum(n), avg(x) FROM t GROUP BY GROUPING SETS ((a, b), (b, c), ())'),
	('sets_alone', 'SELECT a, count(*) FROM t GROUP BY GROUPING SETS (a)'),
	-- none: one set
	('no_sets', 'SELECT a, GROUPING(a) AS g, (SELECT GROUPING(a)) AS s, count(*) FROM t GROUP BY a HAVING GROUPING(a) >= 0'),
	('no_sets_window', 'SELECT a, b, row_number() OVER (PARTITION BY GROUPING(a), a ORDER BY b) FROM t GROUP BY a, b ORDER BY GROUPING(b)'),
	('no_sets_lateral', 'SELECT GROUPING(q.a) FROM t CROSS JOIN LATERAL (SELECT (SELECT t.a) AS a) q GROUP BY q.a'),
	('sets_nested', 'SELECT a, b, c, count(x), GROUPING(c) AS gc, GROUPING(a) AS ga FROM t GROUP BY GROUPING SETS (a, ROLLUP (b, c), CUBE (a, c))'),
	('product', 'SELECT a, b, c, min(x) FROM t GROUP BY a, GROUPING SETS (b, c), ROLLUP (c)'),
	('composite', 'SELECT a, b, c, count(*) FROM t GROUP BY ROLLUP ((a, b), c)'),
	('repeated', 'SELECT a, count(*), GROUPING(a) FROM t GROUP BY GROUPING SETS (a, (), a, (), ())'),
	('repeated_product', 'SELECT a, b, count(*) FROM t GROUP BY ROLLUP (a), ROLLUP (a, b)'),
	('group_distinct', 'SELECT a, b, count(*) FROM t GROUP BY DISTINCT ROLLUP (a), ROLLUP (a, b)'),
	-- the empty set
	('empty', 'SELECT count(*), sum(x) FROM t GROUP BY ()'),
	('empty_twice', 'SELECT count(*), sum(x) FROM t GROUP BY GROUPING SETS ((), ())'),
	('empty_bare', 'SELECT a FROM t GROUP BY GROUPING SETS ((), a)'),
	('empty_having', 'SELECT a, GROUPING(a) AS g FROM t GROUP BY GROUPING SETS ((), a, ()) HAVING GROUPING(a) = 1 OR a > 1'),
	('empty_having_none', 'SELECT a, GROUPING(a) AS g FROM t GROUP BY ROLLUP (a) HAVING a IS NOT NULL'),
	('empty_having_count', 'SELECT b FROM t GROUP BY ROLLUP (b) HAVING count(*) > 3'),
	('empty_unread', 'SELECT 1 AS one FROM t GROUP BY ROLLUP (a, b)'),
	-- expressions
	('expressions', 'SELECT a + 1 AS p, (a + 1) * 2 AS q, upper(b) AS u, upper(b) || ''!'' AS v, sum(x * 2) + 1 AS s FROM t GROUP BY CUBE (a + 1, upper(b))'),
	('overlapping', 'SELECT a, a + 1 AS q, count(*) FROM t GROUP BY GROUPING SETS (a, a + 1, (a, a + 1))'),
	('in_arguments', 'SELECT a, b, sum(a) AS sa, max(b) AS mb, count(a) FILTER (WHERE a > 1) AS f, string_agg(b, '','' ORDER BY a, id) AS l FROM t GROUP BY ROLLUP (a, b)'),
	('having', 'SELECT a, b, count(*) FROM t GROUP BY CUBE (a, b) HAVING (a IS NULL OR b = ''b1'') AND sum(x) > 5 AND GROUPING(a, b) < 3'),
	('coalesced', 'SELECT CASE WHEN GROUPING(a) = 1 THEN ''all'' ELSE coalesce(a::text, ''none'') END AS a, coalesce(c, ''any'') AS c, count(*) FROM t GROUP BY ROLLUP (a, c)'),
	('typed', 'SELECT n, c, n::numeric(10,4) AS m, count(*) FROM t GROUP BY CUBE (n, c)'),
	('ordered', 'SELECT a, b, count(*) FROM t GROUP BY ROLLUP (a, b) ORDER BY GROUPING(a), a, 3 DESC, upper(b)'),
	('sets_returned', 'SELECT unnest(tags) AS tag, a, count(*) FROM t GROUP BY CUBE (1, a)'),
	('sets_hidden', 'SELECT a, count(*) FROM t GROUP BY GROUPING SETS ((), (a, unnest(tags)), a)'),
	('sets_above', 'SELECT a, unnest(ARRAY[a, a + 1]) AS u, generate_series(1, count(*)) AS s FROM t GROUP BY ROLLUP (a)'),
	('pure_sublink', 'SELECT a, (SELECT max(v) FROM unnest(ARRAY[a, 2]) v) AS m, (SELECT sum(t.x) + v FROM (VALUES (1)) w(v)) AS k FROM t GROUP BY ROLLUP (a)'),
	('direct_arguments', 'SELECT a, percentile_disc(0.5) WITHIN GROUP (ORDER BY x) AS m, count(DISTINCT b) AS k FROM t GROUP BY ROLLUP (a)'),
	('direct_grouped', 'SELECT k, percentile_cont(k) WITHIN GROUP (ORDER BY x) AS m FROM (SELECT (a % 4 / 4.0)::float8 AS k, x FROM t) q GROUP BY k, CUBE (k)'),
	('recomputed', 'SELECT a, b, array_agg(x ORDER BY x) AS xs, bool_or(x > 10) AS o, stddev(x) AS s FROM t GROUP BY ROLLUP (b, a)'),
	('whole_rows', 'SELECT d, count(*) FROM d JOIN t USING (a) GROUP BY ROLLUP (d)'),
	-- columns that depend on a key
	('dependent', 'SELECT d.a, d.label, d.kind + 1 AS k, t.b, sum(x) FROM d JOIN t USING (a) GROUP BY d.a, ROLLUP (t.b)'),
	('dependent_having', 'SELECT d.label, count(*) FROM d JOIN t USING (a) GROUP BY GROUPING SETS ((d.a, t.b), (d.a, t.c)) HAVING d.kind = 1'),
	-- blocks around and inside
	('distinct_of', 'SELECT DISTINCT b, count(*) > 5 AS many FROM t GROUP BY CUBE (a, b)'),
	('in_from', 'SELECT r.a, r.total, t.id FROM (SELECT a, sum(x) AS total FROM t GROUP BY ROLLUP (a)) r JOIN t ON t.a = r.a OR (r.a IS NULL AND t.id < 3)'),
	('regrouped', 'SELECT g, count(*), sum(k) FROM (SELECT GROUPING(a, b) AS g, count(*) AS k FROM t GROUP BY CUBE (a, b)) q GROUP BY ROLLUP (g)'),
	('of_groups', 'SELECT a, k, count(*) FROM (SELECT a, b, count(*) AS k FROM t GROUP BY a, b) q GROUP BY GROUPING SETS (a, k)'),
	('of_union', 'SELECT v, count(*) FROM (SELECT a AS v FROM t UNION ALL SELECT kind FROM d) q GROUP BY ROLLUP (v)'),
	('united', 'SELECT a, count(*) FROM t GROUP BY ROLLUP (a) UNION ALL SELECT kind, count(*) FROM d GROUP BY ROLLUP (kind)'),
	('subtracted', 'SELECT a FROM t GROUP BY ROLLUP (a) EXCEPT ALL SELECT a FROM d WHERE kind = 1'),
	('cte', 'WITH r AS (SELECT a, b, sum(x) AS s FROM t GROUP BY ROLLUP (a, b)) SELECT p.a, p.b, p.s, q.s AS of FROM r p JOIN r q ON q.a = p.a AND q.b IS NULL')) AS v(name, query);
SELECT derive.create_view('over', 'SELECT b, count(*), sum(sum) FROM rollup GROUP BY ROLLUP (b)');
SELECT derive.create_view('cube6', 'SELECT id % 2 AS p, a, b, c, x % 3 AS q, n > 3 AS r, count(*), sum(n) FROM t GROUP BY CUBE (id % 2, a, b, c, x % 3, n > 3)');
SELECT * FROM oracle_all();
SELECT a, b, count, sum FROM rollup WHERE a = 1 OR a IS NULL ORDER BY a, b, count;

INSERT INTO t VALUES (200, 9, 'new', 'c9', 5, 5, '{t9}'), (201, NULL, NULL, NULL, 3, 3, NULL), (202, 9, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM oracle_all();
UPDATE t SET a = (a + 1) % 4, x = x + 1 WHERE id % 3 = 0;
UPDATE d SET label = label || '!', kind = 1 - kind WHERE a < 2;
SELECT * FROM oracle_all();
-- extrema go, groups go and come
DELETE FROM t WHERE x > 35 OR b = 'b2';
SELECT * FROM oracle_all();
BEGIN;
INSERT INTO t SELECT i, i % 5, 'b' || i % 2, NULL, i, i, '{t1,t1}' FROM generate_series(300, 315) i;
UPDATE t SET b = NULL WHERE a = 2;
SAVEPOINT s;
TRUNCATE t;
INSERT INTO t VALUES (1, 1, 'b1', 'c1', 1, 1, NULL);
ROLLBACK TO SAVEPOINT s;
DELETE FROM d WHERE a = 3;
INSERT INTO d VALUES (9, 'nine', 0);
UPDATE t SET id = id + 1000 WHERE id < 10;
UPDATE t SET a = NULL WHERE id % 7 = 0;
COMMIT;
SELECT * FROM oracle_all();
-- nothing but the empty set
DELETE FROM t;
SELECT * FROM oracle_all();
SELECT * FROM empty_bare;
SELECT * FROM empty_having;
SELECT * FROM empty_twice;
SELECT * FROM empty_unread;
INSERT INTO t SELECT i, i % 4, 'b' || i % 3, 'c' || i % 2, i, i / 4.0, ARRAY['t' || i % 2] FROM generate_series(1, 20) i;
SELECT * FROM oracle_all();
TRUNCATE t, d;
SELECT * FROM oracle_all();
INSERT INTO t SELECT i, i % 4, 'b' || i % 3, 'c' || i % 2, i, i / 4.0, ARRAY['t' || i % 2] FROM generate_series(1, 20) i;
INSERT INTO d SELECT i, 'd' || i, i % 2 FROM generate_series(0, 3) i;
SELECT derive.repair('cube'), derive.repair('repeated'), derive.repair('empty_bare');
SELECT * FROM oracle_all();
DROP TABLE t, d CASCADE;

-- Values that are equal without being the same, and a key that children repeat.
CREATE FUNCTION as_verified() RETURNS TABLE (result text, views bigint) LANGUAGE plpgsql AS $$
BEGIN
	IF NOT derive.wait(timeout => '60 s') THEN
		RAISE 'timeout';
	END IF;
	RETURN QUERY SELECT CASE WHEN missing + extra = 0 THEN 'exact' ELSE view::text END, count(*) FROM derive.verify() GROUP BY 1;
END $$;
CREATE TABLE l (id int PRIMARY KEY, n numeric, f float8, g int);
CREATE TABLE child () INHERITS (l);
INSERT INTO l SELECT i, (i % 4 || (ARRAY['', '.0', '.00'])[i % 3 + 1])::numeric, (ARRAY[0.0, -0.0, 1])[i % 3 + 1], i % 5 FROM generate_series(1, 30) i;
SELECT count(derive.create_view(name, query)) FROM (VALUES
	('l_groups', 'SELECT n::text AS n, f::text AS f, count(*) FROM l GROUP BY CUBE (n, f)'),
	('l_extrema', 'SELECT g, max(n)::text AS a, min(f)::text AS b FROM l GROUP BY ROLLUP (g)'),
	('l_ties', 'SELECT g, array_agg(id ORDER BY n) AS a, array_agg(n ORDER BY f)::text AS b FROM l GROUP BY ROLLUP (g)'),
	('l_different', 'SELECT DISTINCT n::text, max(n)::text AS m FROM l GROUP BY ROLLUP (n, g)'),
	('l_key', 'SELECT id, n::text, f + g AS fg, count(*) FROM l GROUP BY GROUPING SETS ((id, g), (id, f), id)')) AS v(name, query);
SELECT * FROM as_verified();
INSERT INTO child SELECT i, i / 2.0, -0.0, i % 7 FROM generate_series(1, 9) i;
UPDATE l SET n = n * 1.0, f = -f WHERE id % 3 = 0;
SELECT * FROM as_verified();
BEGIN;
DELETE FROM l WHERE id % 4 = 0;
UPDATE l SET n = trim_scale(n), g = g + 1 WHERE id % 5 = 0;
COMMIT;
SELECT * FROM as_verified();
TRUNCATE l;
SELECT * FROM as_verified();
DROP TABLE l CASCADE;

-- the form in which such blocks, and INTERSECT and EXCEPT, are compared reads their WITH from further below
CREATE TABLE w (id int PRIMARY KEY, up int, n numeric);
INSERT INTO w SELECT i, i / 3, i % 5 FROM generate_series(1, 20) i;
\set with 'WITH RECURSIVE r AS (SELECT id AS a, up AS b FROM w UNION SELECT r.a, w.up FROM r JOIN w ON w.id = r.b) '
SELECT derive.create_view(v.name, :'with' || v.query) FROM (VALUES
	('w_sets', 'SELECT n, a, count(*) FROM r JOIN w ON b = id GROUP BY GROUPING SETS ((n, a), n, ())'),
	('w_first', 'SELECT n, a, count(*) FROM r JOIN w ON b = id GROUP BY GROUPING SETS ((n, a), n, ()) ORDER BY count(*) DESC, a NULLS FIRST, n LIMIT 4'),
	('w_distinct', 'SELECT DISTINCT n, count(*) FROM (SELECT * FROM r OFFSET 0) r JOIN w ON b = id GROUP BY ROLLUP (n, a)'),
	('w_intersect', 'SELECT n, a FROM r JOIN w ON a = id INTERSECT SELECT n, b FROM r JOIN w ON b = id EXCEPT SELECT 3, a FROM r WHERE a > 5'),
	('w_except', 'SELECT n FROM w WHERE id IN (SELECT b FROM r) EXCEPT ALL (SELECT n FROM w WHERE EXISTS (SELECT FROM r WHERE a = id) INTERSECT SELECT n FROM w)'),
	('w_below', 'SELECT id FROM w WHERE n IN (SELECT x.n FROM r JOIN w x ON b = x.id GROUP BY CUBE (x.n, a) HAVING grouping(x.n) = 0 AND count(*) > (SELECT count(*) FROM r WHERE a < 1))')) AS v(name, query);
SELECT * FROM as_verified();
BEGIN;
INSERT INTO w VALUES (21, 20, 6), (22, 21, 3.0);
UPDATE w SET n = n * 1.0, up = up + 1 WHERE id % 4 = 0;
DELETE FROM w WHERE id = 3;
COMMIT;
SELECT * FROM as_verified();
SELECT * FROM oracle_all();
DROP TABLE w CASCADE;
DROP FUNCTION as_verified;

-- what is refused
CREATE TABLE s (a int, b int);
SELECT derive.create_view('no', 'SELECT ROW(a, b) AS r, count(*) FROM s GROUP BY ROLLUP (1)');
-- by the executor, as a whole: what PostgreSQL shows for constants is its own affair
SELECT derive.create_view('constants', 'SELECT ''k''::text AS k, ''k''::text || a AS ka, count(*) FROM s GROUP BY CUBE (k, a)');
INSERT INTO s VALUES (1, 2), (NULL, 3);
SELECT * FROM oracle_all();
DROP TABLE s CASCADE;
