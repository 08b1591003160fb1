-- Every kind of aggregate, over rows that come, change and go.
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE t (id int PRIMARY KEY, g int, h text, i2 int2, i4 int4, i8 int8, n numeric, n2 numeric(8,2), f float8, r real,
				b bool, s text, d date, ts timestamptz, iv interval, m money, e mood, j jsonb, bits bit(8));
CREATE INDEX ON t (g);
CREATE FUNCTION fill(lo int, hi int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO t SELECT i, NULLIF(i % 6, 5), 'h' || i % 3, i % 100, i * 3, i * 10000000000, i / 7.0, i / 4.0, i / 8.0, i / 4.0,
		i % 3 = 0, 's' || i % 11, date '2026-01-01' + i, timestamptz '2026-01-01 00:00+00' + i * interval '1 min',
		i * interval '1 s', i::money, (ARRAY['sad', 'ok', 'happy'])[1 + i % 3]::mood,
		jsonb_build_object('k', i % 4), (i % 256)::bit(8)
	FROM generate_series(lo, hi) i $$;
SELECT fill(1, 60);
INSERT INTO t (id, g) VALUES (1000, 1), (1001, NULL), (1002, 77);

SELECT derive.create_view('g_count', 'SELECT g, count(*), count(s) AS cs, count(*) FILTER (WHERE i4 > 50) AS big FROM t GROUP BY g');
SELECT derive.create_view('g_sum', 'SELECT g, sum(i2) s2, sum(i4) s4, sum(i8) s8, sum(n) sn, sum(n2) sn2, sum(iv) siv, sum(m) sm FROM t GROUP BY g');
SELECT derive.create_view('g_avg', 'SELECT g, avg(i2) a2, avg(i4) a4, avg(i8) a8, avg(n) an, avg(n2) an2, avg(iv) aiv FROM t GROUP BY g');
SELECT derive.create_view('g_minmax', 'SELECT g, min(i4) i, max(n) n, min(s) s, max(d) d, min(ts) ts, max(e) e, min(iv) iv, max(f) f FROM t GROUP BY g');
SELECT derive.create_view('g_bool', 'SELECT g, bool_and(b), bool_or(b), every(i4 > 5) AS ev FROM t GROUP BY g');
SELECT derive.create_view('g_bit', 'SELECT g, bit_and(i4), bit_or(i8), bit_xor(bits) AS x FROM t GROUP BY g');
SELECT derive.create_view('g_var', 'SELECT g, variance(i4) v4, stddev(n) sn, var_pop(i8) v8, stddev_samp(i2) s2, stddev_pop(n2) p FROM t GROUP BY g');
SELECT derive.create_view('g_float', 'SELECT g, sum(f) sf, avg(f) af, sum(r) sr, stddev(f ORDER BY f) sd, regr_slope(f, r ORDER BY f, r) rs, corr(f, r ORDER BY f, r) c FROM t GROUP BY g');
SELECT derive.create_view('g_distinct', 'SELECT g, count(DISTINCT s) AS c, sum(DISTINCT i2) s, avg(DISTINCT n2) a, max(DISTINCT i4) m FROM t GROUP BY g');
SELECT derive.create_view('g_array', $$SELECT g, array_agg(s ORDER BY id) a, string_agg(s, ',' ORDER BY id DESC) s, jsonb_agg(j ORDER BY id) j,
	jsonb_object_agg(id, s) o FROM t WHERE id IS NOT NULL GROUP BY g$$);
SELECT derive.create_view('g_unordered', $$SELECT g, array_length(array_agg(s), 1) AS n FROM t GROUP BY g$$);
SELECT derive.create_view('g_ordered', $$SELECT g, percentile_cont(0.5) WITHIN GROUP (ORDER BY i4) p, percentile_disc(0.9) WITHIN GROUP (ORDER BY n) d,
	mode() WITHIN GROUP (ORDER BY s) m FROM t GROUP BY g$$);
SELECT derive.create_view('g_having', 'SELECT g, sum(i4) FROM t GROUP BY g HAVING count(*) > 9 AND max(i4) < 180');
SELECT derive.create_view('g_two', 'SELECT h, g, count(*) FROM t GROUP BY g, h');
SELECT derive.create_view('g_hidden', 'SELECT count(*) FROM t GROUP BY g');
SELECT derive.create_view('g_expr', $$SELECT date_trunc('hour', ts AT TIME ZONE 'UTC') AS hour, upper(h) u, sum(i4) * 2 + count(*) AS x, 'const' AS c FROM t GROUP BY 1, upper(h)$$);
SELECT derive.create_view('g_pk', 'SELECT id, s, j, count(*) FROM t GROUP BY id');
SELECT derive.create_view('g_none', 'SELECT count(*), sum(i4), max(s), avg(n), bool_and(b) FROM t');
SELECT derive.create_view('g_none_having', 'SELECT sum(i4) FROM t HAVING count(*) > 30');
SELECT derive.create_view('g_none_recompute', $$SELECT string_agg(s, ',' ORDER BY id), count(*) FROM t WHERE g = 1$$);
SELECT derive.create_view('g_nokey', 'SELECT g FROM t GROUP BY g');
SELECT derive.create_view('g_numkey', 'SELECT n2, m, count(*) FROM t GROUP BY n2, m');
SELECT derive.create_view('g_jsonkey', 'SELECT j, bits, e, count(*) FROM t GROUP BY j, bits, e');
SELECT derive.create_view('g_srfkey', $$SELECT unnest(ARRAY[g, g + 1]) AS k, count(*), max(i4) FROM t GROUP BY 1$$);
SELECT derive.create_view('g_case', 'SELECT CASE WHEN i4 > 90 THEN g ELSE -1 END AS k, sum(CASE WHEN b THEN i4 END) FROM t GROUP BY 1');
-- a user's aggregates: with an inverse, and without
CREATE AGGREGATE mysum(int8) (sfunc = int8pl, stype = int8, initcond = '0',
	msfunc = int8pl, minvfunc = int8mi, mstype = int8, minitcond = '0');
CREATE AGGREGATE myproduct(int4) (sfunc = int4mul, stype = int4, initcond = '1');
SELECT derive.create_view('g_user', 'SELECT g, mysum(i8), myproduct(i4 % 3 + 1) AS p FROM t GROUP BY g');
SELECT derive.create_view('g_userinv', 'SELECT g, mysum(i8) FROM t GROUP BY g');
SELECT * FROM oracle_all();

SELECT fill(61, 80);
SELECT * FROM oracle_all();
UPDATE t SET i4 = i4 + 1, n = n * 2, f = f + 0.5, s = 'changed' || id % 4 WHERE id % 5 = 0;
SELECT * FROM oracle_all();
-- the extrema go
DELETE FROM t WHERE id IN (1, 2, 3, 80, 79);
SELECT * FROM oracle_all();
-- rows change groups; groups come and go
UPDATE t SET g = g + 10 WHERE id % 7 = 0;
UPDATE t SET g = NULL WHERE g = 2;
SELECT * FROM oracle_all();
DELETE FROM t WHERE g IS NULL;
SELECT * FROM oracle_all();
-- numeric: scales, NaN, infinity
INSERT INTO t (id, g, n, f, r) VALUES (2001, 1, 1.123456789, 1, 1), (2002, 1, 'NaN', 'NaN', 1), (2003, 3, 'Infinity', 'Infinity', 2);
SELECT * FROM oracle_all();
DELETE FROM t WHERE id = 2002;
SELECT * FROM oracle_all();
DELETE FROM t WHERE id IN (2001, 2003);
SELECT * FROM oracle_all();
BEGIN;
SELECT fill(100, 140);
UPDATE t SET i4 = -i4, b = NOT b WHERE id > 50;
SAVEPOINT s;
DELETE FROM t WHERE id > 100;
ROLLBACK TO s;
DELETE FROM t WHERE id BETWEEN 10 AND 30;
UPDATE t SET id = id + 5000 WHERE id > 120;
COMMIT;
SELECT * FROM oracle_all();
TRUNCATE t;
SELECT * FROM oracle_all();
SELECT * FROM g_none;
SELECT fill(1, 30);
SELECT * FROM oracle_all();
DELETE FROM t;
SELECT * FROM oracle_all();
SELECT fill(1, 5);
SELECT * FROM oracle_all();
-- FILTER keeps rows away that the arguments cannot be computed for
SELECT count(derive.create_view(name, query)) FROM (VALUES
	('guarded', 'SELECT id % 3 AS k, sum(12 / i4) FILTER (WHERE i4 <> 0) AS s, max(12 / i4) FILTER (WHERE i4 > 0) AS m,
		array_agg(9 / i4 ORDER BY 7 / i4, id) FILTER (WHERE i4 > 0) AS a, count(DISTINCT 9 / i4) FILTER (WHERE i4 <> 0) AS d FROM t GROUP BY 1'),
	('guarded_all', 'SELECT avg(12 / i4) FILTER (WHERE i4 <> 0) AS a FROM t')) AS v(name, query);
SELECT * FROM oracle_all();
INSERT INTO t (id, i4) VALUES (1000, 0), (1001, 3), (1002, 0), (1003, NULL);
UPDATE t SET i4 = 0 WHERE id = 1;
SELECT * FROM oracle_all();
UPDATE t SET i4 = id + 1 WHERE i4 = 0;
DELETE FROM t WHERE id IN (1001, 2);
SELECT * FROM oracle_all();
DROP TABLE t CASCADE;
DROP FUNCTION fill;
DROP AGGREGATE mysum(int8);
DROP AGGREGATE myproduct(int4);
DROP TYPE mood;
