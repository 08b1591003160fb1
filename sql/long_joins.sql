-- Joins of more relations than the planner compares all orders of.
CREATE SCHEMA long_joins;
SET search_path = long_joins, public;
SET jit = off;

-- What a change makes the worker read.  Its counters arrive late, so a first change
-- shows that most of those of whatever came before have; builders report when they
-- end.  The changes are inserts, which read nothing themselves.  Some batches may
-- still be among them that read the one row of "one" each; every other table here
-- that is read as a whole has 3000 rows or more.
CREATE FUNCTION reads(OUT lookups bigint, OUT scanned bigint) LANGUAGE sql AS $$
	SELECT sum(coalesce(idx_scan, 0)), sum(seq_tup_read) FROM pg_stat_user_tables WHERE schemaname = 'long_joins' $$;
CREATE PROCEDURE measure(view regclass, first_change text, change text) LANGUAGE plpgsql AS $$
DECLARE
	before record;
	now record;
BEGIN
	WHILE EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_derive builder') LOOP
		PERFORM pg_sleep(0.05);
		PERFORM pg_stat_clear_snapshot();
	END LOOP;
	FOR i IN 1..2 LOOP
		PERFORM pg_stat_clear_snapshot();
		before := reads();
		EXECUTE CASE i WHEN 1 THEN first_change ELSE change END;
		COMMIT;
		PERFORM derive.wait(view, timeout => '60 s');
		FOR j IN 1..600 LOOP
			PERFORM pg_stat_clear_snapshot();
			now := reads();
			EXIT WHEN now.lookups > before.lookups;
			PERFORM pg_sleep(0.1);
		END LOOP;
	END LOOP;
	RAISE NOTICE 'looks up: %, reads few rows otherwise: %', now.lookups > before.lookups, now.scanned - before.scanned < 1000;
END $$;
CREATE FUNCTION oracle_here() RETURNS TABLE (result text, views bigint) LANGUAGE sql AS $$
	SELECT oracle(v.view), count(*) FROM derive.views v JOIN pg_class c ON c.oid = v.view WHERE c.relnamespace = 'long_joins'::regnamespace GROUP BY 1 ORDER BY 1 $$;

-- 26 tables with a value each for every thing, side by side.  Small tables on many
-- pages: nothing is gained by reading them as a whole.
SELECT format('CREATE TABLE a%s (thing int PRIMARY KEY, val int) WITH (fillfactor = 10)', n) FROM generate_series(1, 26) n \gexec
SELECT format('INSERT INTO a%s SELECT i, i %% 7 + %s FROM generate_series(1, 5000) i; ANALYZE a%s', n, n, n) FROM generate_series(1, 26) n \gexec
SELECT derive.create_view('wide', 'SELECT a1.thing, ' || string_agg(format('a%s.val AS a%s', n, n), ', ' ORDER BY n) || ' FROM a1 ' ||
	string_agg(format('JOIN a%s ON a%s.thing = a1.thing', n, n), ' ' ORDER BY n) FILTER (WHERE n > 1))
FROM generate_series(1, 26) n;
SELECT derive.create_view('wide_using', 'SELECT thing, ' || string_agg(format('a%s.val AS a%s', n, n), ', ' ORDER BY n) || ' FROM a1 ' ||
	string_agg(format('JOIN a%s USING (thing)', n), ' ' ORDER BY n) FILTER (WHERE n > 1))
FROM generate_series(1, 26) n;
SELECT derive.wait(timeout => '60 s');
SELECT format('INSERT INTO a%s VALUES (6000, 1), (6001, 2), (6002, 3)', n) FROM generate_series(1, 26) n WHERE n NOT IN (1, 13) \gexec
CALL measure('wide', 'INSERT INTO a13 VALUES (6000, 1)', 'INSERT INTO a13 VALUES (6001, 1)');
CALL measure('wide', 'INSERT INTO a1 VALUES (6000, 1)', 'INSERT INTO a1 VALUES (6001, 1)');
SELECT * FROM oracle_here();
UPDATE a7 SET val = -1 WHERE thing IN (3, 6001, 77777);
DELETE FROM a26 WHERE thing BETWEEN 100 AND 110;
SELECT * FROM oracle_here();
SELECT count(*), sum(a7), count(*) FILTER (WHERE a7 = -1) AS changed FROM wide;
-- several members at once
BEGIN;
INSERT INTO a1 VALUES (6002, 1);
INSERT INTO a13 VALUES (6002, 1);
UPDATE a4 SET val = val + 1 WHERE thing = 6002;
COMMIT;
SELECT * FROM oracle_here();
\set VERBOSITY terse
SELECT format('DROP TABLE a%s CASCADE', n) FROM generate_series(1, 26) n \gexec

-- a pivot: all members are one table, and change together
CREATE TABLE attr (thing int, name text, val int, PRIMARY KEY (thing, name)) WITH (fillfactor = 10);
INSERT INTO attr SELECT t, 'a' || n, t % 7 + n FROM generate_series(1, 500) t, generate_series(1, 26) n;
ANALYZE attr;
SELECT derive.create_view('pivot', 'SELECT a1.thing, ' || string_agg(format('a%s.val AS a%s', n, n), ', ' ORDER BY n) || ' FROM attr a1 ' ||
	string_agg(format('JOIN attr a%s ON a%1$s.thing = a1.thing AND a%1$s.name = ''a%1$s''', n), ' ' ORDER BY n) FILTER (WHERE n > 1) || ' WHERE a1.name = ''a1''')
FROM generate_series(1, 26) n;
SELECT derive.wait(timeout => '60 s');
INSERT INTO attr SELECT 6000, 'a' || n, n FROM generate_series(2, 26) n;
CALL measure('pivot', 'INSERT INTO attr VALUES (6001, ''a1'', 1)', 'INSERT INTO attr VALUES (6000, ''a1'', 1)');
CALL measure('pivot', 'INSERT INTO attr SELECT 6002, ''a'' || n, n FROM generate_series(1, 26) n', 'INSERT INTO attr SELECT 6003, ''a'' || n, n FROM generate_series(1, 26) n');
SELECT * FROM oracle_here();
UPDATE attr SET val = -val WHERE thing IN (7, 6000);
UPDATE attr SET thing = thing + 1000 WHERE thing = 8;
UPDATE attr SET name = 'b' || name WHERE thing = 9 AND val % 2 = 0;
DELETE FROM attr WHERE thing = 10;
SELECT * FROM oracle_here();
SELECT count(*), sum(a26), count(*) FILTER (WHERE a7 < 0) AS changed FROM pivot;
DROP TABLE attr CASCADE;

-- Chains, stars and everything else that FROM may have.  t1 .. t12: id, the id of a
-- row of the next one, a value that few rows share.
SELECT format('CREATE TABLE t%s (id int PRIMARY KEY, next%s int, kind%s text, arr%s int[]) WITH (fillfactor = 10); CREATE INDEX ON t%s (next%s)', n, n, n, n, n, n)
FROM generate_series(1, 12) n \gexec
SELECT format('INSERT INTO t%s SELECT i, CASE WHEN i %% 97 > 0 THEN 1 + (i * 7 + %s) %% 3000 END, nullif(''k'' || i %% 50, ''k7''), ARRAY[i %% 3, %s] FROM generate_series(1, 3000) i; ANALYZE t%s', n, n, n, n)
FROM generate_series(1, 12) n \gexec
CREATE TABLE star (id int PRIMARY KEY, d1 int, d2 int, d3 int, d4 int, d5 int, d6 int, d7 int, d8 int, d9 int, d10 int) WITH (fillfactor = 10);
SELECT format('CREATE INDEX ON star (d%s)', n) FROM generate_series(1, 10) n \gexec
INSERT INTO star SELECT i, 1 + i % 3000, 1 + i % 2999, 1 + i % 2998, 1 + i % 2997, 1 + i % 2996, 1 + i % 2995, 1 + i % 2994, 1 + i % 2993, 1 + i % 2992, NULL FROM generate_series(1, 3000) i;
INSERT INTO star SELECT 3000 + i, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 FROM generate_series(1, 10) i;
ANALYZE star;
CREATE TABLE one (label text) PARTITION BY HASH (label);
CREATE TABLE one_part PARTITION OF one FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO one VALUES ('the only one');
CREATE TABLE kinds (kind text, weight int);
INSERT INTO kinds SELECT 'k' || i, i % 5 FROM generate_series(1, 49) i;
ANALYZE kinds;

SELECT derive.create_view('chain_comma', 'SELECT t1.id, t10.kind10, t5.next5 FROM ' || string_agg('t' || n, ', ') || ' WHERE ' ||
	string_agg(format('t%s.id = t%s.next%s', n, n - 1, n - 1), ' AND ') FILTER (WHERE n > 1))
FROM generate_series(1, 10) n;
SELECT derive.create_view('chain_back', 'SELECT t1.id, t12.kind12 FROM ' || string_agg('t' || n, ', ' ORDER BY n DESC) || ' WHERE ' ||
	string_agg(format('(t%s.id = t%s.next%s AND (t%s.id > 0 AND t%1$s.id < 2900))', n, n - 1, n - 1, n), ' AND ') FILTER (WHERE n > 1))
FROM generate_series(1, 12) n;
SELECT derive.create_view('chain_using', 'SELECT * FROM t1 ' ||
	string_agg(format('JOIN (SELECT id AS next%s, next%s, kind%s FROM t%s) AS s%s USING (next%s)', n - 1, n, n, n, n, n - 1), ' ' ORDER BY n))
FROM generate_series(2, 10) n;
SELECT derive.create_view('star_comma', 'SELECT f.id, ' || string_agg(format('t%s.kind%s', n, n), ', ') || ' FROM ' || string_agg('t' || n, ', ') ||
	', star f WHERE ' || string_agg(format('f.d%s = t%s.id', n, n), ' AND '))
FROM generate_series(1, 10) n;
SELECT derive.create_view('star_using', 'SELECT f.id, ' || string_agg(format('kind%s', n), ', ') || ' FROM star f ' ||
	string_agg(format('JOIN t%s AS x%s(d%s) USING (d%s)', n, n, n, n), ' '))
FROM generate_series(1, 9) n;
-- views, a sub-query in a view, a table that no condition joins
CREATE VIEW first_half AS SELECT t1.id, t1.kind1, t5.next5, t3.arr3 FROM t1 JOIN t2 ON t2.id = next1 JOIN t3 ON t3.id = next2 JOIN t4 ON t4.id = next3 JOIN t5 ON t5.id = next4;
CREATE VIEW second_half AS SELECT a.id, b.next10 AS next, a.next6 + 0 AS plus FROM
	(SELECT t6.id, t7.next7, t6.next6 FROM t6, t7 WHERE t7.id = t6.next6) a JOIN (SELECT t8.id, next10 FROM t8 JOIN t9 ON t9.id = next8 JOIN t10 ON t10.id = next9) b ON b.id = a.next7;
SELECT derive.create_view('views', 'SELECT f.id, s.next, s.plus, one.label FROM first_half f JOIN second_half s ON s.id = f.next5, one');
SELECT derive.create_view('chain_grouped', 'SELECT t10.id, string_agg(kind1, '','' ORDER BY t1.id) FROM ' || string_agg('t' || n, ', ') || ' WHERE ' ||
	string_agg(format('t%s.id = t%s.next%s', n, n - 1, n - 1), ' AND ') FILTER (WHERE n > 1) || ' GROUP BY t10.id')
FROM generate_series(1, 10) n;
SELECT derive.wait(timeout => '60 s');
SELECT format('INSERT INTO t%s VALUES (6200, 6200), (6201, 6201)', n) FROM generate_series(1, 9) n \gexec
CALL measure('chain_using', 'INSERT INTO t10 VALUES (6200)', 'INSERT INTO t10 VALUES (6201)');
SELECT id, next9 FROM chain_using WHERE id >= 6200 ORDER BY 1;
CALL measure('chain_comma', 'INSERT INTO t5 VALUES (6000, 17, ''k1'', ''{1}'')', 'INSERT INTO t4 VALUES (6001, 18, ''k1'', ''{1}'')');
CALL measure('chain_grouped', 'INSERT INTO t1 VALUES (6100, 17, ''k1'', ''{1}'')', 'INSERT INTO t1 VALUES (6101, 18, ''k1'', ''{1}'')');
CALL measure('star_comma', 'INSERT INTO star SELECT 6000, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1', 'INSERT INTO star SELECT 6001, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1');
SELECT * FROM oracle_here();

-- with outer joins: a change of what is joined before them, and of what is beyond
SELECT derive.create_view('chain_left', 'SELECT t1.id, t8.kind8, t9.kind9 FROM t1 ' ||
	string_agg(format('JOIN t%s ON t%s.id = next%s', n, n, n - 1), ' ' ORDER BY n) || ' LEFT JOIN t9 ON t9.id = next8')
FROM generate_series(2, 8) n;
SELECT derive.create_view('chain_all_left', 'SELECT t1.id, t9.kind9 FROM t1 ' ||
	string_agg(format('LEFT JOIN t%s ON t%s.id = next%s', n, n, n - 1), ' ' ORDER BY n))
FROM generate_series(2, 9) n;
-- what is no join, but reads as much if all of something is read to find what a row concerns
SELECT derive.create_view('inner_exists', 'SELECT id FROM t1 WHERE EXISTS (SELECT FROM t2 WHERE t2.id = t1.next1 AND EXISTS (SELECT FROM t3 WHERE t3.next3 = t1.id))');
SELECT derive.create_view('two_windows', 'SELECT id, min(id) OVER (PARTITION BY next1 ORDER BY kind1 ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS a,
	max(id) OVER (PARTITION BY kind1, next1 ORDER BY arr1 ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS b FROM t1');
SELECT derive.wait(timeout => '60 s');
CALL measure('chain_left', 'INSERT INTO t8 VALUES (6300, 17, ''k1'', ''{1}'')', 'INSERT INTO t8 VALUES (6301, 18, ''k1'', ''{1}'')');
CALL measure('chain_left', 'INSERT INTO t9 VALUES (6300, 17, ''k1'', ''{1}'')', 'INSERT INTO t9 VALUES (6301, 18, ''k1'', ''{1}'')');
CALL measure('chain_all_left', 'INSERT INTO t5 VALUES (6300, 17, ''k1'', ''{1}'')', 'INSERT INTO t5 VALUES (6301, 18, ''k1'', ''{1}'')');
CALL measure('inner_exists', 'INSERT INTO t3 VALUES (6302, 17, ''k1'', ''{1}'')', 'INSERT INTO t3 VALUES (6303, 18, ''k1'', ''{1}'')');
CALL measure('two_windows', 'INSERT INTO t1 VALUES (6302, 17, ''k1'', ''{1}'')', 'INSERT INTO t1 VALUES (6303, 18, ''k1'', ''{1}'')');
SELECT * FROM oracle_here();

-- functions of the row, lists, sub-queries that cannot be merged, no index, conditions of every kind
CREATE VIEW barrier WITH (security_barrier) AS SELECT id, kind11, next11 FROM t11 WHERE id <> 5;
SELECT derive.create_view('everything', $$
	SELECT f.id, k.weight, l.i, u.e, one.label, w.w, x.n, b.kind11, srf.two
	FROM first_half f JOIN second_half s ON s.id = f.next5
		JOIN kinds k ON k.kind = f.kind1
		CROSS JOIN one
		CROSS JOIN LATERAL generate_series(1, k.weight) AS l(i)
		CROSS JOIN LATERAL unnest(f.arr3 || s.plus) WITH ORDINALITY AS u(e, o)
		CROSS JOIN LATERAL (SELECT k.weight * l.i AS w) w
		JOIN (VALUES (1, 'k1'), (2, 'k2'), (1, NULL)) AS x(n, kind) ON x.kind = f.kind1
		JOIN barrier b ON b.id = s.next
		JOIN (SELECT t12.id, unnest(ARRAY[1, 2]) AS two FROM t12, t11 WHERE t12.next12 = t11.id) srf ON srf.id = b.next11
	WHERE f.id < 2000 AND u.o <> 2 AND EXISTS (SELECT FROM unnest(f.arr3) a WHERE a >= 0)$$);
SELECT derive.create_view('united', $$
	SELECT f.id, u.n, one.label FROM first_half f JOIN second_half s ON s.id = f.next5
		JOIN (SELECT id, next11 AS n FROM t11 UNION ALL SELECT t12.id, t12.next12 FROM t12 JOIN t11 ON t11.id = t12.next12 UNION ALL SELECT id, plus FROM second_half) u ON u.id = s.next, one$$);
SELECT derive.create_view('ranges', $$
	SELECT f.id, k.kind FROM first_half f JOIN second_half s ON s.id = f.next5 JOIN t11 ON t11.id BETWEEN s.next - 1 AND s.next, t12, kinds k
	WHERE f.id + t12.id = t11.id + 3 AND lower(k.kind) = lower(t12.kind12) AND f.id < 60 AND t12.id < 3000 AND s.id < 500$$);

-- groups that are computed afresh, some without a key, some by more than one table
SELECT derive.create_view('grouped', 'SELECT f.kind1, count(*), max(s.next), string_agg(k.kind, '','' ORDER BY f.id, k.kind) FROM first_half f JOIN second_half s ON s.id = f.next5 JOIN kinds k ON k.weight = s.plus % 5 GROUP BY f.kind1');
SELECT derive.create_view('extrema', 'SELECT f.kind1, min(s.plus), max(s.next) FROM first_half f JOIN second_half s ON s.id = f.next5 GROUP BY f.kind1');
SELECT derive.create_view('sums', 'SELECT (f.id + s.next) % 100 AS g, min(s.plus) FROM first_half f JOIN second_half s ON s.id = f.next5 GROUP BY 1');
SELECT derive.create_view('distinct_ones', 'SELECT DISTINCT f.kind1, s.plus % 10 FROM first_half f JOIN second_half s ON s.id = f.next5');
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_here();

INSERT INTO t1 VALUES (6000, 1, 'k1', '{1,2}'), (6001, 2, NULL, NULL), (6002, NULL, 'k2', '{}');
UPDATE t9 SET next9 = id % 3000 + 1, kind9 = 'k1' WHERE id % 500 = 3;
DELETE FROM t6 WHERE id % 100 = 1;
UPDATE t3 SET arr3 = arr3 || 7 WHERE id % 300 = 2;
SELECT * FROM oracle_here();
UPDATE one SET label = 'another one';
INSERT INTO kinds VALUES ('k1', 3), (NULL, 1);
UPDATE t12 SET kind12 = 'K2' WHERE id < 40;
DELETE FROM t11 WHERE id % 11 = 3;
SELECT * FROM oracle_here();
INSERT INTO star VALUES (7000, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1);
UPDATE star SET d10 = d1, d3 = 6000 WHERE id % 200 = 1;
DELETE FROM t7 WHERE id BETWEEN 11 AND 20;
SELECT * FROM oracle_here();
-- several members at once
BEGIN;
UPDATE t2 SET next2 = next2 + 1 WHERE id % 700 = 1;
UPDATE t8 SET next8 = next8 - 1, kind8 = NULL WHERE id % 700 = 2;
DELETE FROM t10 WHERE id % 700 = 3;
COMMIT;
SELECT * FROM oracle_here();
-- indexes come and go
DROP INDEX t4_next4_idx, star_d1_idx;
CREATE INDEX ON kinds (kind);
UPDATE t1 SET next1 = 77 WHERE id % 600 = 5;
UPDATE t5 SET next5 = 78 WHERE id % 600 = 5;
SELECT * FROM oracle_here();
SELECT format('SELECT %L AS view, count(*) FROM %1$s', v.view) FROM derive.views v JOIN pg_class c ON c.oid = v.view WHERE c.relnamespace = 'long_joins'::regnamespace ORDER BY c.relname \gexec
DROP SCHEMA long_joins CASCADE;
