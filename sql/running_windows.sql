-- Windows over all rows of which each row follows from those before it: from a change on.
SET client_min_messages = warning;
CREATE SCHEMA rw;
SET search_path = rw, public;
CREATE TABLE t (id int PRIMARY KEY, x int, y numeric, s text, f float8, d date NOT NULL);
CREATE TABLE u (id int PRIMARY KEY, x int, v int);
INSERT INTO t SELECT i, NULLIF(i % 17, 3), NULLIF(i % 5, 2) + (i % 3) * 0.10, CASE WHEN i % 7 > 0 THEN 's' || i % 7 END, i % 4 - 1, date '2026-01-01' + i % 40 FROM generate_series(1, 200) i;
INSERT INTO u SELECT i, NULLIF(i % 17, 5), i % 3 FROM generate_series(1, 40) i;

CREATE TABLE declared (name text PRIMARY KEY, query text);
-- Where ORDER BY leaves the order of peers open, and it matters, only derive.verify() knows which is right.
CREATE FUNCTION all_exact() RETURNS TABLE (view regclass, result text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM derive.wait(v.view) FROM derive.views v;
	RETURN QUERY SELECT v.view, format('%s missing, %s extra', v.missing, v.extra) FROM derive.verify() v WHERE v.missing + v.extra > 0
		UNION ALL SELECT v.view, v.state FROM derive.views v WHERE v.state <> 'ready'
		UNION ALL SELECT v.view, public.oracle(v.view) FROM derive_state.view_states v JOIN declared d ON v.view = ('rw.' || d.name)::regclass
			WHERE d.name !~ '_ties$' AND public.oracle(v.view) <> 'exact';
END $$;
\copy declared FROM stdin WITH (FORMAT csv, DELIMITER '|', QUOTE e'\x01')
r_numbers_ties|SELECT id, row_number() OVER (ORDER BY x) AS a, rank() OVER (ORDER BY x) AS b, dense_rank() OVER (ORDER BY x) AS c FROM t
r_total|SELECT id, row_number() OVER (ORDER BY id) AS a, sum(x) OVER (ORDER BY id) AS b FROM t
r_desc|SELECT id, rank() OVER (ORDER BY y DESC) FROM t
r_nulls|SELECT id, rank() OVER (ORDER BY x NULLS FIRST) AS a, count(*) OVER (ORDER BY x NULLS FIRST) AS b FROM t
r_nulls_last|SELECT id, y, dense_rank() OVER (ORDER BY y DESC NULLS LAST) FROM t
r_mixed_ties|SELECT id, row_number() OVER w AS a, rank() OVER w AS b, dense_rank() OVER w AS c, count(x) OVER w AS d, sum(y) OVER w AS e FROM t WINDOW w AS (ORDER BY x DESC, s NULLS FIRST, f DESC NULLS LAST)
r_text|SELECT id, rank() OVER (ORDER BY s, y) FROM t
r_float|SELECT id, rank() OVER (ORDER BY f) AS a, max(f) OVER (ORDER BY f) AS b, min(f) OVER (ORDER BY f ROWS UNBOUNDED PRECEDING) AS c FROM t
r_sums|SELECT id, count(*) OVER w AS a, count(s) OVER w AS b, sum(x::int2) OVER w AS c, sum(x) OVER w AS d, sum(x::int8) OVER w AS e, sum(y) OVER w AS f, avg(x) OVER w AS g, avg(y) OVER w AS h FROM t WINDOW w AS (ORDER BY d)
r_rows_ties|SELECT id, count(*) OVER w AS a, count(s) OVER w AS b, sum(x) OVER w AS c, sum(y) OVER w AS d, avg(y) OVER w AS e, min(y) OVER w AS f, max(s) OVER w AS g, first_value(s) OVER w AS h, last_value(x) OVER w AS i FROM t WINDOW w AS (ORDER BY d ROWS UNBOUNDED PRECEDING)
r_extrema_ties|SELECT id, min(x) OVER w AS a, max(x) OVER w AS b, min(y) OVER w AS c, max(y) OVER w AS d, min(s) OVER w AS e, max(d) OVER w AS f, first_value(y) OVER w AS g FROM t WINDOW w AS (ORDER BY f, x)
r_filter|SELECT id, count(*) FILTER (WHERE x > 3) OVER (ORDER BY d) AS a, sum(y) FILTER (WHERE s < 's3') OVER (ORDER BY d) AS b FROM t
r_lag_ties|SELECT id, lag(x) OVER w AS a, lag(s, 3, 'none') OVER w AS b, lag(x, 0) OVER w AS c, lag(y, -2) OVER w AS d FROM t WINDOW w AS (ORDER BY x, y)
r_lead|SELECT id, lead(x) OVER w AS a, lead(id, 4, id) OVER w AS b, sum(x) OVER w AS c FROM t WINDOW w AS (ORDER BY y, id)
r_near|SELECT id, sum(f) OVER (ORDER BY d, id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS a, avg(x) OVER (ORDER BY d, id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING) AS b, array_agg(id) OVER (ORDER BY d, id ROWS BETWEEN 4 PRECEDING AND 2 PRECEDING) AS c, last_value(id) OVER (ORDER BY d, id ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING EXCLUDE CURRENT ROW) AS d, nth_value(id, 2) OVER (ORDER BY d, id ROWS BETWEEN CURRENT ROW AND 2 FOLLOWING) AS e, rank() OVER (ORDER BY d, id) AS f FROM t
r_near_peers_ties|SELECT id, array_agg(id) OVER (ORDER BY x ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING) AS a, count(*) OVER (ORDER BY x ROWS BETWEEN CURRENT ROW AND CURRENT ROW) AS b, sum(y) OVER (ORDER BY x ROWS UNBOUNDED PRECEDING) AS c FROM t
r_groups_ties|SELECT id, sum(x) OVER (ORDER BY d GROUPS UNBOUNDED PRECEDING) AS a, string_agg(s, ',') OVER (ORDER BY d RANGE BETWEEN CURRENT ROW AND CURRENT ROW) AS b FROM t
r_expression|SELECT id, 2 * rank() OVER (ORDER BY x + id % 3 DESC) + x AS r, upper(s) AS s, generate_series(1, x % 3) AS g FROM t ORDER BY d
r_where|SELECT id, count(*) OVER (ORDER BY x, id) FROM t WHERE y > 1 OR s = 's1'
r_const|SELECT id, rank() OVER (ORDER BY 1 + 1) FROM t
r_using|SELECT id, rank() OVER (ORDER BY x USING >) FROM t
r_collate|SELECT id, rank() OVER (ORDER BY s COLLATE "C" DESC), max(s COLLATE "C") OVER (ORDER BY s COLLATE "C" DESC ROWS UNBOUNDED PRECEDING) FROM t
r_whole_row_ties|SELECT t, rank() OVER (ORDER BY x) AS r, lag(t) OVER (ORDER BY x) AS l FROM t
r_join|SELECT t.id, u.id AS uid, sum(v) OVER (ORDER BY y, u.id, t.id), row_number() OVER (ORDER BY y, u.id, t.id) FROM t JOIN u USING (x)
r_left|SELECT t.id, u.id AS uid, count(u.id) OVER (ORDER BY u.v, t.id) FROM t LEFT JOIN u ON u.id = t.x
r_exists|SELECT id, rank() OVER (ORDER BY d) FROM t WHERE EXISTS (SELECT FROM u WHERE u.x = t.x AND u.v = 1)
r_beside|SELECT id, rank() OVER (ORDER BY d), (SELECT count(*) FROM u WHERE u.x = t.x) AS n FROM t
r_union_ties|SELECT k, id, row_number() OVER (ORDER BY x, k) AS r FROM (SELECT 1 AS k, id, x FROM t UNION ALL SELECT 2, id, x FROM u) q
r_groups_by|SELECT x, sum(y), rank() OVER (ORDER BY sum(y) DESC NULLS LAST, x) AS r, sum(count(*)) OVER (ORDER BY sum(y) DESC NULLS LAST, x) AS c FROM t GROUP BY x
r_top|SELECT id, x FROM (SELECT id, x, row_number() OVER (ORDER BY x DESC NULLS LAST, id) AS r FROM t) q WHERE r <= 10
r_joined|SELECT q.id, u.id AS uid, r FROM (SELECT id, x, rank() OVER (ORDER BY y) AS r FROM t) q JOIN u ON u.x = q.x AND u.v = r % 3
r_grouped|SELECT r, count(*) FROM (SELECT dense_rank() OVER (ORDER BY d) AS r FROM t) q GROUP BY r
r_distinct|SELECT DISTINCT x, rank() OVER (ORDER BY x) FROM t
r_gaps|SELECT id, d - lag(d) OVER (ORDER BY d, id) AS gap, sum(CASE WHEN x > 3 THEN 1 ELSE 0 END) OVER (ORDER BY d, id) AS island FROM t
r_of_running|SELECT id, island, row_number() OVER (ORDER BY island, id) AS n FROM (SELECT id, sum(x) OVER (ORDER BY d, id) AS island FROM t) q
r_array|SELECT u.id, ARRAY(SELECT rank() OVER (ORDER BY t.y) FROM t WHERE t.x = u.x ORDER BY 1) AS a FROM u
r_of_view|SELECT a, b, sum(b) OVER (ORDER BY a DESC) AS s FROM r_numbers_ties
\.
SELECT count(derive.create_view(name, query)) AS views FROM (SELECT * FROM declared ORDER BY name = 'r_of_view', name) d;
SELECT * FROM all_exact();

-- none of them is computed as a whole
SELECT d.name, count(*) FILTER (WHERE line ~ '\(whole\)') AS wholes FROM declared d, derive.explain(('rw.' || d.name)::regclass) AS line
	GROUP BY d.name HAVING bool_or(line ~ '\(whole\)') OR NOT bool_or(line ~ '\(running\)' OR d.name IN ('r_array'));

-- rows come at the end, at the front, in the middle
INSERT INTO t VALUES (1001, 1000, 1000, 'z', 1000, '2030-01-01');
SELECT * FROM all_exact();
INSERT INTO t VALUES (-1, -1000, -1000, '', '-Infinity', '2000-01-01');
SELECT * FROM all_exact();
INSERT INTO t VALUES (1002, 8, 2.1, 's3', 0, '2026-01-20'), (1003, 8, 2.10, 's3', '-0', '2026-01-20'), (1004, 8, 2.100, NULL, 0, '2026-01-20');
SELECT * FROM all_exact();
-- NULLs, among the first and among the last
INSERT INTO t VALUES (1005, NULL, NULL, NULL, NULL, '2026-01-20'), (1006, NULL, 'NaN', NULL, 'NaN', '2026-01-20');
SELECT * FROM all_exact();
-- what is sorted by changes, and what is not
UPDATE t SET x = x + 3 WHERE id = 1001;
UPDATE t SET x = 5, y = 0.5, s = 's5', f = 2, d = '2026-01-07' WHERE id IN (-1, 50);
SELECT * FROM all_exact();
UPDATE t SET y = -y, s = s || 'x' WHERE id % 50 = 7;
SELECT * FROM all_exact();
UPDATE t SET x = NULL, d = d + 1 WHERE id % 40 = 1;
SELECT * FROM all_exact();
-- peers go, the first row goes, the last one does
DELETE FROM t WHERE x = 8 AND id % 2 = 0;
SELECT * FROM all_exact();
DELETE FROM t WHERE id = (SELECT id FROM t ORDER BY x, id LIMIT 1) OR id = (SELECT id FROM t ORDER BY d DESC, id LIMIT 1);
SELECT * FROM all_exact();
-- the order of ties is that of the rows
UPDATE t SET id = id + 5000 WHERE id % 11 = 3;
SELECT * FROM all_exact();
-- several tables at once, and what is undone
BEGIN;
UPDATE u SET x = x + 1 WHERE id % 4 = 1;
UPDATE t SET x = x - 1 WHERE id % 9 = 1;
SAVEPOINT s;
DELETE FROM t;
ROLLBACK TO s;
INSERT INTO u SELECT i, i % 17, i % 3 FROM generate_series(100, 110) i;
DELETE FROM u WHERE id % 13 = 0;
COMMIT;
SELECT * FROM all_exact();
UPDATE u SET v = v + 1 WHERE id % 5 = 2;
SELECT * FROM all_exact();

-- values that no index holds
INSERT INTO t SELECT 7000 + i, i, repeat('7', 7000 + i)::numeric, repeat(md5(i::text), 200) || i, i, '2026-01-15' FROM generate_series(1, 4) i;
SELECT * FROM all_exact();
UPDATE t SET x = x + 1, s = 'q' || s WHERE id IN (7002, 7003);
INSERT INTO t VALUES (7010, 1, 1, repeat('s', 3000), 1, '2026-01-16');
SELECT * FROM all_exact();
DELETE FROM t WHERE id IN (7001, 7003);
UPDATE t SET y = 3 WHERE id = 7004;
SELECT * FROM all_exact();

-- nothing is left, and from nothing
TRUNCATE t;
SELECT * FROM all_exact();
INSERT INTO t VALUES (1, 1, 1, 'a', 1, '2026-01-01');
SELECT * FROM all_exact();
INSERT INTO t SELECT i, i % 6, i % 7, 's' || i % 3, i % 2, date '2026-01-01' + i % 9 FROM generate_series(2, 60) i;
SELECT * FROM all_exact();
DELETE FROM t;
SELECT * FROM all_exact();
INSERT INTO t SELECT i, i % 6, i % 7, 's' || i % 3, i % 2, date '2026-01-01' + i % 9 FROM generate_series(2, 60) i;
BEGIN;
TRUNCATE u;
INSERT INTO u SELECT i, i % 17, i % 3 FROM generate_series(1, 30) i;
DELETE FROM t WHERE id < 10;
COMMIT;
SELECT * FROM all_exact();

-- at random
SELECT setseed(0.5);
DO $$
BEGIN
	FOR i IN 1..40 LOOP
		INSERT INTO t SELECT 10000 + i * 10 + j, NULLIF((random() * 9)::int, 4), NULLIF(round(random()::numeric * 9, (random() * 2)::int), 5), 's' || (random() * 5)::int, (random() * 4)::int - 2, date '2026-01-01' + (random() * 20)::int
			FROM generate_series(1, (random() * 3)::int) j;
		UPDATE t SET x = NULLIF((random() * 9)::int, 4), s = NULLIF(s, 's1') WHERE random() < 0.02;
		UPDATE t SET d = d + 1, y = y + 1.0 WHERE random() < 0.02;
		DELETE FROM t WHERE random() < 0.02;
		UPDATE u SET x = (random() * 9)::int WHERE random() < 0.02;
		COMMIT;
		IF i % 4 = 0 THEN
			PERFORM derive.wait(v.view) FROM derive.views v;
		END IF;
	END LOOP;
END $$;
SELECT * FROM all_exact();

-- more places than are kept apart
INSERT INTO t SELECT 20000 + i, i % 50, i, 's' || i % 9, i % 20, date '2026-01-01' + i FROM generate_series(1, 500) i;
SELECT * FROM all_exact();
UPDATE t SET s = s || 'y' WHERE id % 2 = 0 AND id > 20000;
SELECT * FROM all_exact();
UPDATE t SET s = s || 'z', y = y + (CASE WHEN id % 40 = 0 THEN 1 ELSE -1 END) WHERE id % 20 = 0 AND id > 20000;
SELECT * FROM all_exact();

-- values too long for a btree, behind all others in the direction in which the table is read
CREATE TABLE long (id int PRIMARY KEY, s text COLLATE "C", n int);
INSERT INTO long VALUES (1, repeat('A', 3000), 1), (2, repeat('B', 3000), 10), (3, 'b', 100), (4, 'c', 1000);
SELECT derive.create_view('l_sum', 'SELECT id, lag(id) OVER w AS l, sum(n) OVER w AS s FROM long WINDOW w AS (ORDER BY s)');
SELECT derive.create_view('l_number', 'SELECT id, row_number() OVER (ORDER BY s DESC) AS r FROM long');
SELECT oracle('l_sum'), oracle('l_number');
UPDATE long SET n = 200 WHERE id = 3;
SELECT oracle('l_sum'), oracle('l_number');
INSERT INTO long VALUES (5, repeat('z', 3000), 7), (6, '0', 8);
SELECT oracle('l_sum'), oracle('l_number');
DELETE FROM long WHERE id IN (1, 4);
SELECT oracle('l_sum'), oracle('l_number');
-- columns of fixed length count for what an index holds, too
CREATE TABLE wide (id int PRIMARY KEY, s text COLLATE "C", n int);
DO $$ BEGIN FOR i IN 1..20 LOOP EXECUTE format('ALTER TABLE wide ADD n%s name', i); END LOOP; END $$;
SELECT derive.create_view('w_rank', format('SELECT id, rank() OVER (ORDER BY %s, s), sum(n) OVER (ORDER BY %s, s) FROM wide', columns, columns))
	FROM (SELECT string_agg('n' || i, ', ' ORDER BY i) AS columns FROM generate_series(1, 20) i) c;
CREATE FUNCTION wide_row(id int, bytes int, first text) RETURNS wide LANGUAGE sql AS $$
	SELECT jsonb_populate_record(NULL::wide, jsonb_build_object('id', id, 'n', id, 's', substr(string_agg(md5((id * 1000 + i)::text), ''), 1, bytes))
		|| jsonb_object_agg('n' || i, first || repeat(i::text, 61 / length(i::text))) FILTER (WHERE i <= 20)) FROM generate_series(1, 100) i
$$;
INSERT INTO wide SELECT r.* FROM generate_series(1, 4) i, wide_row(i, 1950, 'a') r;
INSERT INTO wide SELECT r.* FROM generate_series(5, 8) i, wide_row(i, 600, 'a') r;
SELECT oracle('w_rank');
UPDATE wide SET n = n + 10 WHERE id IN (2, 6);
INSERT INTO wide SELECT r.* FROM wide_row(9, 1950, 'A') r;
SELECT oracle('w_rank');
-- long rows are read once for all places of a batch
CREATE VIEW own_indexes AS SELECT r.view, i.indexrelid, i.indrelid, pg_get_indexdef(i.indexrelid) AS def FROM derive_state.relations r JOIN pg_index i ON i.indrelid = r.relid WHERE r.role = 'd';
CREATE FUNCTION scans_of_long_rows(v regclass, before bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	scans bigint;
BEGIN
	FOR i IN 1..600 LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT sum(pg_stat_get_numscans(indexrelid)) - before INTO scans FROM own_indexes WHERE view = v AND def ~ 'image.*WHERE.*> ';
		EXIT WHEN scans <> 0;
		PERFORM pg_sleep(0.1);
	END LOOP;
	RETURN scans;
END $$;
CREATE TABLE texts (id int PRIMARY KEY, s text COLLATE "C", n int);
INSERT INTO texts SELECT i, md5(i::text) || repeat('x', 2000 + i % 3), i FROM generate_series(1, 200) i;
INSERT INTO texts SELECT i, md5(i::text), i FROM generate_series(201, 300) i;
SELECT derive.create_view('l_often', 'SELECT id, lead(id, 2) OVER w AS l, lag(id) OVER w AS m FROM texts WINDOW w AS (ORDER BY s DESC)');
SELECT oracle('l_often');
INSERT INTO texts VALUES (301, '5', 0);
SELECT oracle('l_often');
SELECT scans_of_long_rows('l_often', 0) AS before \gset
UPDATE texts SET n = 0, s = s || 'y' WHERE id % 10 = 3;
SELECT oracle('l_often');
SELECT scans_of_long_rows('l_often', :before);
DELETE FROM texts WHERE id % 7 = 2;
UPDATE texts SET s = left(s, 30) || '-' WHERE id % 20 = 4;
INSERT INTO texts SELECT 400 + i, repeat(i::text, 3000), i FROM generate_series(1, 20) i;
SELECT oracle('l_often');
-- indexes that others have made on the table are not taken for those of the order
SELECT derive.create_view('l_rows', 'SELECT s, sum(n) OVER (ORDER BY s) FROM long');
SELECT oracle('l_rows');
DO $$
DECLARE
	made text;
BEGIN
	FOR made IN SELECT format(command, r.relid::regclass) FROM derive_state.relations r, (VALUES ('CREATE INDEX ON %s (c1) WHERE c1 > ''m'''),
		('CREATE INDEX ON %s (c1 DESC) WHERE c1 > ''m'''), ('CREATE INDEX ON %s ((octet_length(c1))) WHERE octet_length(c1) > 5000')) c(command)
		WHERE r.role = 'd' AND r.view IN ('l_sum'::regclass, 'l_number'::regclass, 'l_rows'::regclass)
	LOOP
		EXECUTE made;
	END LOOP;
END $$;
INSERT INTO long VALUES (7, '1', 9), (8, repeat('C', 3000), 5), (9, 'y', 4);
SELECT oracle('l_sum'), oracle('l_number'), oracle('l_rows');
UPDATE long SET n = n + 1 WHERE id IN (2, 3, 6);
DELETE FROM long WHERE id = 5;
SELECT oracle('l_sum'), oracle('l_number'), oracle('l_rows');
-- sums that are numbers, of rows from a place on whose sum is none
CREATE TABLE huge (id int PRIMARY KEY, x int, y numeric, b bool DEFAULT true);
INSERT INTO huge VALUES (1, 1, 1), (2, 2, -9e131071), (3, 4, 9e131071), (4, 5, NULL), (5, 5, 9e131071), (6, 6, -9e131071), (7, 6, -1.50), (8, 8, NULL);
SELECT derive.create_view('h_sum', 'SELECT id, sum(y) OVER w AS s, avg(y) OVER w AS a, sum(y) FILTER (WHERE b) OVER (ORDER BY x ROWS UNBOUNDED PRECEDING) AS f FROM huge WINDOW w AS (ORDER BY x)');
SELECT oracle('h_sum');
INSERT INTO huge VALUES (10, 3, 0.125, NULL);
SELECT oracle('h_sum');
-- by its changes, not computed anew
DO $$ BEGIN WHILE (SELECT batches = 0 FROM derive.stats WHERE view = 'h_sum'::regclass) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$;
SELECT changes_in FROM derive.stats WHERE view = 'h_sum'::regclass;
UPDATE huge SET b = false WHERE x >= 3 AND id <> 10;
SELECT oracle('h_sum');
UPDATE huge SET y = 'Infinity' WHERE id = 7;
INSERT INTO huge VALUES (11, 7, NULL), (12, 9, '-Infinity');
SELECT oracle('h_sum');
DELETE FROM huge WHERE id = 7;
SELECT oracle('h_sum');
-- without an index for its order the table is read once for many places (40; what is counted may include reads from before)
CREATE FUNCTION reads(t regclass, before bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	scans bigint := before;
BEGIN
	WHILE scans = before LOOP
		PERFORM pg_sleep(0.1), pg_stat_clear_snapshot();
		scans := pg_stat_get_numscans(t);
	END LOOP;
	RETURN scans;
END $$;
CREATE TABLE places (id int PRIMARY KEY, x numeric, y numeric, s text, b bool);
INSERT INTO places SELECT i, (i * 37 % 2000) / 2 + (i % 2) * 0.00, i % 9, 's' || i % 5, i % 2 = 0 FROM generate_series(1, 2000) i;
SELECT derive.create_view('p_near', 'SELECT id, y, lag(y, 2) OVER w AS l, lead(p) OVER w AS r, array_agg(id) OVER (ORDER BY x ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) AS a FROM places p WINDOW w AS (ORDER BY x)');
SELECT * FROM all_exact();
UPDATE places SET y = 0 WHERE id = 1;
SELECT * FROM all_exact();
SELECT pg_stat_force_next_flush();
SELECT reads('places', 0) AS before \gset
UPDATE places SET y = y + 1 WHERE id % 50 = 3;
SELECT derive.wait('p_near', timeout => '60 s');
SELECT reads('places', :before) - :before < 20 AS few;
SELECT * FROM all_exact();
-- places next to each other, peers, ends; carried values that end between places, and that go on
SELECT derive.create_view('p_rank_ties', 'SELECT id, b, row_number() OVER w AS n, rank() OVER w AS r, sum(y) OVER w AS s, min(y) OVER (ORDER BY x DESC) AS m FROM places WINDOW w AS (ORDER BY x)');
SELECT derive.create_view('p_min', 'SELECT id, s, min(y) OVER w AS m, lag(id) OVER w AS l, first_value(s) OVER w AS f FROM (SELECT *, ROW(id, s) AS row FROM places) p WINDOW w AS (ORDER BY x DESC, id)');
INSERT INTO declared VALUES ('p_min'), ('p_record');
SELECT derive.create_view('p_record', 'SELECT id, (lag(r) OVER (ORDER BY x, id)).s, max(y) OVER (ORDER BY x, id ROWS BETWEEN 3 PRECEDING AND CURRENT ROW) AS m FROM (SELECT p.id, p.x, p.y, q AS r FROM places p LEFT JOIN places q ON q.id = p.id + 1000) j');
SELECT * FROM all_exact();
UPDATE places SET y = y - 1 WHERE id % 50 IN (4, 9);
SELECT * FROM all_exact();
UPDATE places SET x = x + 1.0, b = NOT b WHERE id % 40 = 7;
SELECT * FROM all_exact();
UPDATE places SET y = y + CASE WHEN id % 2 = 0 THEN 1 ELSE -1 END WHERE x IN (SELECT x FROM places WHERE id % 100 = 1);
SELECT * FROM all_exact();
UPDATE places SET x = NULL WHERE id IN (SELECT id FROM places ORDER BY x LIMIT 3) OR id % 200 = 11;
DELETE FROM places WHERE id IN (SELECT id FROM places ORDER BY x DESC NULLS LAST LIMIT 3) OR id % 180 = 12;
INSERT INTO places SELECT 5000 + i, i * 43 % 1000, i, 's', true FROM generate_series(1, 30) i;
SELECT * FROM all_exact();
UPDATE places SET s = s || '.' WHERE id % 70 = 5;
SELECT * FROM all_exact();
-- domains over types that are compared as any range or array
CREATE DOMAIN span AS int4range;
CREATE DOMAIN list AS int[];
CREATE TABLE spans (id int PRIMARY KEY, r span, a list);
INSERT INTO spans SELECT i, int4range(i % 3, 9), ARRAY[i % 4, i] FROM generate_series(1, 10) i;
SELECT derive.create_view('d_span', 'SELECT id, r, rank() OVER (ORDER BY r) AS n FROM spans');
SELECT derive.create_view('d_list', 'SELECT id, row_number() OVER (ORDER BY a DESC) AS n FROM spans');
SELECT oracle('d_span'), oracle('d_list');
INSERT INTO spans VALUES (11, int4range(1, 9), '{2,22}'), (12, NULL, NULL);
SELECT oracle('d_span'), oracle('d_list');
DELETE FROM spans WHERE id % 3 = 0;
SELECT oracle('d_span'), oracle('d_list');
-- How it is done, for people.
SELECT regexp_replace(line, '(state|rows)_\d+', '\1_N', 'g') AS line FROM derive.explain('r_top') AS line;
DROP SCHEMA rw CASCADE;
