-- How each construct of SQL is maintained.  One line a query, so that what becomes more work than it was is seen:
--	directly		changed rows take the place of their table
--	by key			rows that match them are evaluated again
--	by partition	the partitions are that have changed rows
--	from there on	the rows from a change on are, until they are what they were
--	all rows		all rows are looked at, for those that a change may concern
--	as a whole		computed anew
--	first rows		more of them are kept than are shown, so that changes behind them do nothing
-- The worst of these counts; "groups" are those that are computed anew when one of their rows changes.
SET client_min_messages = warning;
CREATE SCHEMA m;
SET search_path = m, public;
CREATE TABLE t (id int PRIMARY KEY, k int, v int, n numeric, x float8, s text, a int[], j jsonb, at timestamptz, d date, r int4range);
CREATE TABLE u (id int PRIMARY KEY, t int NOT NULL, k int, v int, s text);
CREATE TABLE w (id int PRIMARY KEY, u int, k int NOT NULL, v int NOT NULL);
CREATE TABLE node (id int PRIMARY KEY, parent int, name text);
CREATE TABLE part (id int, k int, v int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_rest PARTITION OF part DEFAULT;
CREATE VIEW big AS SELECT id, k, v FROM t WHERE v > 10;
CREATE VIEW totals AS SELECT k, sum(v) AS total FROM t GROUP BY k;
SELECT derive.create_view('kept', 'SELECT k, count(*) AS n FROM t GROUP BY k');
SELECT derive.wait('kept');		-- it will not get an index later
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
CREATE AGGREGATE product(int) (SFUNC = int4mul, STYPE = int);

CREATE FUNCTION how(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	plan text;
	wholes text;
BEGIN
	SELECT string_agg(line, E'\n') INTO plan FROM derive.plan(query) AS line;
	SELECT string_agg(m[1], ', ') INTO wholes FROM regexp_matches(plan, '([^ \n<][^\n<]*) \(whole\)', 'g') AS m;
	RETURN CASE WHEN wholes IS NOT NULL THEN 'as a whole: ' || ltrim(wholes, '- ')
		WHEN plan ~ 'looking at all rows' THEN 'all rows'
		WHEN plan ~ 'from a change on' THEN 'from there on'
		WHEN plan ~ 'by partition' THEN 'by partition'
		WHEN plan ~ 'rows found by key' THEN 'by key'
		ELSE 'directly' END
		|| CASE WHEN plan ~ '\(top\)' THEN ', first rows' ELSE '' END
		|| CASE WHEN plan ~ 'recomputed for each group' THEN ', groups' ELSE '' END;
EXCEPTION WHEN feature_not_supported THEN
	RETURN 'refused: ' || SQLERRM;
END $$;

CREATE TABLE selects (n serial, query text);
\copy selects (query) FROM stdin WITH (FORMAT csv, DELIMITER e'\x02', QUOTE e'\x01')
-- select, project, join
SELECT * FROM t
SELECT id + 1, twice(v), s || 'x' FROM t WHERE v > 3 AND k IS NOT NULL
SELECT * FROM big
SELECT k FROM ONLY t
SELECT * FROM part
SELECT t.id, u.s FROM t JOIN u ON u.t = t.id
SELECT t.id, u.s FROM t, u WHERE u.v < t.v
SELECT * FROM t CROSS JOIN w
SELECT * FROM t JOIN u USING (id, k) NATURAL JOIN (SELECT id, u FROM w) q
SELECT a.id, b.id FROM t a JOIN t b ON b.k = a.k AND b.id <> a.id
SELECT t.id, kept.n FROM t JOIN kept USING (k)
SELECT t.id, c.word FROM t JOIN (VALUES (1, 'one'), (2, 'two')) c(k, word) USING (k)
SELECT id, v FROM t ORDER BY v
SELECT t.id, e.x FROM t, unnest(t.a) WITH ORDINALITY e(x, n)
SELECT id, unnest(a) FROM t
SELECT t.id, f.* FROM t, ROWS FROM (generate_series(1, t.v), unnest(t.a)) f
SELECT t.id, e.* FROM t, jsonb_to_recordset(t.j) AS e(a int, b text)
SELECT t.id, l.y FROM t, LATERAL (SELECT t.v + 1 AS y) l
-- outer joins
SELECT t.id, u.s FROM t LEFT JOIN u ON u.t = t.id
SELECT t.id, u.s FROM u RIGHT JOIN t ON u.t = t.id
SELECT t.id, u.id FROM t FULL JOIN u ON u.t = t.id
SELECT * FROM t FULL JOIN u USING (id)
SELECT * FROM t NATURAL LEFT JOIN u
SELECT t.id, u.s FROM t LEFT JOIN u ON u.t = t.id WHERE u.v > 3
SELECT t.id, u.s FROM t LEFT JOIN u ON u.t = t.id WHERE u.id IS NULL
SELECT t.id, u.s, w.v FROM t LEFT JOIN u ON u.t = t.id LEFT JOIN w ON w.u = u.id
SELECT t.id, u.s, w.v FROM t LEFT JOIN (u JOIN w ON w.u = u.id) ON u.t = t.id
SELECT t.id, w.v FROM t LEFT JOIN (u LEFT JOIN w ON w.u = u.id) ON u.t = t.id
SELECT t.id, u.id FROM t LEFT JOIN u ON u.t = t.id AND u.v < t.v
SELECT t.id, u.id FROM t LEFT JOIN u ON u.v < t.v
SELECT t.id, u.id FROM t LEFT JOIN u ON true
SELECT t.id, u.id FROM t LEFT JOIN u ON false
SELECT a.id, b.id FROM t a LEFT JOIN t b ON b.id = a.v
SELECT t.id, p.v FROM t LEFT JOIN part p ON p.id = t.v
SELECT t.id, s.n FROM t LEFT JOIN (SELECT k, count(*) AS n FROM u GROUP BY k) s USING (k)
SELECT t.k, count(u.id), sum(u.v) FROM t LEFT JOIN u ON u.t = t.id GROUP BY t.k
SELECT t.id, l.s FROM t LEFT JOIN LATERAL (SELECT s FROM u WHERE u.t = t.id AND u.v > t.v) l ON true
SELECT t.id, c.word FROM t LEFT JOIN (VALUES (1, 'one')) c(k, word) USING (k)
-- sub-queries in expressions
SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.t = t.id)
SELECT id FROM t WHERE NOT EXISTS (SELECT FROM u WHERE u.t = t.id AND u.v > t.v)
SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.v > t.v)
SELECT id FROM t WHERE EXISTS (SELECT FROM u)
SELECT id FROM t WHERE k IN (SELECT k FROM u)
SELECT id FROM t WHERE k NOT IN (SELECT k FROM u)
SELECT id FROM w WHERE k NOT IN (SELECT k FROM w w2 WHERE w2.v = 1)
SELECT id FROM t WHERE v = ANY (SELECT v FROM u WHERE u.k = t.k)
SELECT id FROM t WHERE v > ALL (SELECT v FROM u WHERE u.k = t.k)
SELECT id FROM t WHERE v > ALL (SELECT v FROM u)
SELECT id FROM t WHERE (k, v) IN (SELECT k, v FROM u)
SELECT id FROM t WHERE k = 1 OR EXISTS (SELECT FROM u WHERE u.t = t.id)
SELECT id FROM t WHERE k IN (SELECT k FROM u GROUP BY k HAVING count(*) > 2)
SELECT id, EXISTS (SELECT FROM u WHERE u.t = t.id) FROM t
SELECT id, v IN (SELECT v FROM u WHERE u.t = t.id) FROM t
SELECT id, CASE WHEN v > 3 THEN (SELECT u.v FROM u WHERE u.id = t.k) END FROM t
SELECT id, (SELECT count(*) FROM u WHERE u.t = t.id) FROM t
SELECT id, (SELECT s FROM u WHERE u.t = t.id ORDER BY v DESC LIMIT 1) FROM t
SELECT id, v - (SELECT avg(v) FROM t) FROM t
SELECT id FROM t WHERE v = (SELECT max(v) FROM t)
SELECT id FROM t WHERE v > (SELECT avg(v) FROM t t2 WHERE t2.k = t.k)
SELECT id, ARRAY(SELECT v FROM u WHERE u.t = t.id ORDER BY v) FROM t
SELECT (SELECT count(*) FROM t), (SELECT max(v) FROM u) FROM w
SELECT k, sum(v) FROM t WHERE EXISTS (SELECT FROM u WHERE u.t = t.id) GROUP BY k
SELECT k, sum(v) FROM t GROUP BY k HAVING sum(v) > (SELECT avg(v) FROM u)
SELECT k, sum((SELECT count(*) FROM u WHERE u.t = t.id)) FROM t GROUP BY k
SELECT k, count(*) FILTER (WHERE id IN (SELECT t FROM u)) FROM t GROUP BY k
SELECT t.id FROM t LEFT JOIN u ON u.t = t.id AND EXISTS (SELECT FROM w WHERE w.u = u.id)
SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.t = t.id AND NOT EXISTS (SELECT FROM w WHERE w.u = u.id))
SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.t = t.id AND EXISTS (SELECT FROM w WHERE w.u = u.id AND w.k = t.k))
-- LATERAL
SELECT t.id, l.n FROM t, LATERAL (SELECT count(*) AS n FROM u WHERE u.t = t.id) l
SELECT t.id, l.s FROM t, LATERAL (SELECT s FROM u WHERE u.t = t.id ORDER BY v LIMIT 3) l
SELECT t.id, l.s FROM t LEFT JOIN LATERAL (SELECT DISTINCT s FROM u WHERE u.t = t.id) l ON true
SELECT t.id, l.r FROM t, LATERAL (SELECT rank() OVER (ORDER BY v) AS r FROM u WHERE u.t = t.id) l
-- groups, DISTINCT
SELECT count(*), sum(v), avg(n) FROM t
SELECT k, count(*), count(v), count(DISTINCT v), sum(v), avg(n), stddev(n), bool_or(v > 1) FROM t GROUP BY k
SELECT k, min(v), max(at) FROM t GROUP BY k
SELECT k, sum(x), avg(x) FROM t GROUP BY k
SELECT k, array_agg(v ORDER BY id), string_agg(s, ',' ORDER BY id) FROM t GROUP BY k
SELECT k, product(v) FROM t GROUP BY k
SELECT k, percentile_cont(0.5) WITHIN GROUP (ORDER BY x), mode() WITHIN GROUP (ORDER BY v), rank(3) WITHIN GROUP (ORDER BY v) FROM t GROUP BY k
SELECT k, jsonb_agg(s ORDER BY id) FILTER (WHERE v > 1) FROM t GROUP BY k
SELECT id, s, count(*) FROM t GROUP BY id
SELECT max(total) FROM (SELECT sum(v) AS total FROM t GROUP BY k) q
SELECT t.id, totals.total FROM t JOIN totals USING (k)
SELECT DISTINCT k, v FROM t
SELECT DISTINCT count(*) FROM t GROUP BY k
SELECT DISTINCT ON (k) k, id, v FROM t ORDER BY k, v DESC
SELECT * FROM (SELECT DISTINCT ON (k) k, id FROM t ORDER BY k, v) q WHERE id > 3
SELECT k, v, count(*), grouping(k) FROM t GROUP BY GROUPING SETS ((k, v), (k), ())
SELECT k, v, sum(n) FROM t GROUP BY ROLLUP (k, v)
SELECT k, v, sum(n) FROM t GROUP BY DISTINCT CUBE (k, v), ROLLUP (k)
SELECT 'c'::text AS c, v, count(*) FROM t GROUP BY CUBE (c, v)
-- set operations
SELECT k FROM t UNION ALL SELECT k FROM u
SELECT k FROM t UNION SELECT k FROM u
SELECT k FROM t INTERSECT SELECT k FROM u
SELECT k FROM t INTERSECT ALL SELECT k FROM u
SELECT k FROM t EXCEPT SELECT k FROM u
SELECT k FROM t EXCEPT ALL SELECT k FROM u
(SELECT k FROM t UNION SELECT k FROM u) EXCEPT SELECT k FROM w
SELECT k, count(*) FROM (SELECT k FROM t UNION ALL SELECT k FROM u) q GROUP BY k
SELECT id FROM t WHERE k IN (SELECT k FROM u EXCEPT SELECT k FROM w)
-- windows
SELECT id, row_number() OVER (PARTITION BY k ORDER BY v) FROM t
SELECT id, lag(v) OVER p, sum(v) OVER p FROM t WINDOW p AS (PARTITION BY k ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW EXCLUDE TIES)
SELECT id, rank() OVER (PARTITION BY k, v ORDER BY id), sum(v) OVER (PARTITION BY k) FROM t
SELECT id, rank() OVER (PARTITION BY k ORDER BY id), sum(v) OVER (PARTITION BY v) FROM t
SELECT id, rank() OVER (ORDER BY v) FROM t
SELECT id, row_number() OVER w, sum(n) OVER w, lag(s, 3) OVER w FROM t WINDOW w AS (ORDER BY v DESC, id)
SELECT id, avg(x) OVER (ORDER BY d ROWS BETWEEN 6 PRECEDING AND CURRENT ROW) FROM t
SELECT id, sum(x) OVER (ORDER BY d) FROM t
SELECT id, ntile(4) OVER (ORDER BY d) FROM t
SELECT id, rank() OVER (ORDER BY v), rank() OVER (ORDER BY n) FROM t
SELECT k, rank() OVER (ORDER BY sum(v) DESC) FROM t GROUP BY k
SELECT * FROM (SELECT id, row_number() OVER (ORDER BY v DESC, id) AS n FROM t) q WHERE n <= 3
SELECT t.id, sum(u.v) OVER (ORDER BY u.id) FROM t LEFT JOIN u ON u.t = t.id
SELECT id, sum(v) OVER () FROM t
SELECT k, sum(v), rank() OVER (PARTITION BY k % 10 ORDER BY sum(v)) FROM t GROUP BY k
SELECT * FROM (SELECT id, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS n FROM t) q WHERE n <= 3
SELECT t.id, sum(u.v) OVER (PARTITION BY t.k) FROM t LEFT JOIN u ON u.t = t.id
SELECT k, max(r) FROM (SELECT k, rank() OVER (PARTITION BY k ORDER BY v) AS r FROM t) q GROUP BY k
-- LIMIT
SELECT id, v FROM t ORDER BY v DESC LIMIT 10
SELECT id, v FROM t ORDER BY v OFFSET 5
SELECT id, v FROM t ORDER BY v LIMIT (SELECT count(*) FROM w)
SELECT id, v FROM t ORDER BY v LIMIT 10000
SELECT id, v FROM t ORDER BY v LIMIT twice(5)
SELECT id, v FROM t ORDER BY v LIMIT 4 + 3 OFFSET 10
SELECT v FROM t LIMIT 3
SELECT DISTINCT k, v FROM t ORDER BY k LIMIT 3
SELECT k FROM t UNION SELECT k FROM u ORDER BY k LIMIT 3
SELECT id, (SELECT max(v) FROM u WHERE u.t = t.id) AS m FROM t ORDER BY m LIMIT 3
SELECT id, rank() OVER (ORDER BY v) AS r FROM t ORDER BY r LIMIT 3
SELECT id, v FROM t ORDER BY v FETCH FIRST 3 ROWS WITH TIES
SELECT k, sum(v) FROM t GROUP BY k ORDER BY 2 DESC LIMIT 5
SELECT q.id, u.s FROM (SELECT id FROM t ORDER BY v LIMIT 10) q JOIN u ON u.t = q.id
-- WITH
WITH q AS (SELECT k, sum(v) AS total FROM t GROUP BY k) SELECT * FROM q a JOIN q b ON b.total = a.total
WITH q AS MATERIALIZED (SELECT * FROM t WHERE v > 1) SELECT k, count(*) FROM q GROUP BY k
WITH RECURSIVE q AS (SELECT id, parent, 1 AS depth FROM node WHERE parent IS NULL UNION ALL SELECT n.id, n.parent, depth + 1 FROM node n JOIN q ON n.parent = q.id) SELECT * FROM q
WITH RECURSIVE q AS (SELECT parent, id FROM node UNION SELECT q.parent, n.id FROM q JOIN node n ON n.parent = q.id) SELECT parent, count(*) FROM q GROUP BY parent
-- time
SELECT id FROM t WHERE at > now() - interval '1 hour'
SELECT id, d + 1, at::date FROM t
-- what the log cannot tell
SELECT id, random() FROM t
SELECT id, clock_timestamp() FROM t
SELECT ctid FROM t
SELECT relname FROM pg_class
SELECT id FROM t TABLESAMPLE SYSTEM (10)
SELECT id FROM t FOR UPDATE
\.
\pset format unaligned
\pset tuples_only on
SELECT query || CASE WHEN query LIKE '--%' THEN '' ELSE ' => ' || how(query) END FROM selects ORDER BY n;
\pset format aligned
\pset tuples_only off

-- what it says; and nothing is there afterwards
CREATE TABLE before AS SELECT oid FROM pg_class;
SELECT derive.plan('SELECT t.k, s.n, max(u.v) FROM t LEFT JOIN u ON u.t = t.id JOIN (SELECT k, count(*) AS n FROM w GROUP BY k) s ON s.k = t.k WHERE EXISTS (SELECT FROM w WHERE w.u = u.id) GROUP BY t.k, s.n');
SELECT derive.plan('SELECT k, v FROM totals JOIN t USING (k) ORDER BY v LIMIT 3');
-- a sub-query in a sub-query; a part that depends on a sub-query over groups, which are in no table yet
SELECT derive.plan('SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.id = t.v AND EXISTS (SELECT FROM w WHERE w.u = t.id))');
SELECT derive.plan('SELECT rank() OVER (PARTITION BY (SELECT max(v) FROM u)) AS r, (SELECT count(*) FROM w) AS n');
SELECT oid::regclass FROM pg_class EXCEPT SELECT oid::regclass FROM before EXCEPT SELECT 'before'::regclass;
-- a query, and only one
SELECT derive.plan('SELECT nothing FROM t');
SELECT derive.plan('SELECT 1; SELECT 2');
SELECT derive.plan('DELETE FROM t');
SELECT derive.plan('WITH d AS (DELETE FROM t RETURNING id) SELECT id FROM d');
SELECT derive.plan('SELECT id INTO other FROM t');
SELECT derive.plan(NULL);
-- where nothing may be written
BEGIN READ ONLY;
SELECT derive.plan('SELECT DISTINCT k FROM t');
COMMIT;
DROP SCHEMA m CASCADE;
