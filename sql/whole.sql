-- What no incremental operator maintains is computed anew as a whole, and announced.
CREATE SCHEMA whole;
SET search_path = whole, public;
CREATE TABLE t (id int PRIMARY KEY, k int, n numeric(10,2), x text);
CREATE TABLE u (id int, k int, v float8, d int);
CREATE TABLE edge (a int, b int);
CREATE TABLE part (k int, x text) PARTITION BY RANGE (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);
INSERT INTO t SELECT i, i % 5, i % 7, 'x' || i % 3 FROM generate_series(1, 30) i;
INSERT INTO u SELECT i, i % 8, i / 4.0, 1 FROM generate_series(1, 40) i;
INSERT INTO edge VALUES (1, 2), (2, 3), (3, 1), (3, 4), (5, 6);
INSERT INTO part SELECT i, 'p' || i % 4 FROM generate_series(0, 19) i;

-- Said when it is declared ...
SELECT derive.create_view('recursive', 'WITH RECURSIVE r(a, b) AS (SELECT a, b FROM edge UNION SELECT r.a, e.b FROM r JOIN edge e ON e.a = r.b) SELECT * FROM r');
SELECT derive.create_view('two_parts', 'SELECT q.id, s.k FROM (SELECT id, k FROM t ORDER BY id OFFSET 25) q JOIN (SELECT k FROM u EXCEPT SELECT k FROM t) s ON s.k > q.k');
CREATE MATERIALIZED VIEW taken AS SELECT id, k FROM t ORDER BY id DESC OFFSET 27;
SELECT derive.maintain('taken');
-- ... or refused, nothing being left of it
SET pg_derive.allow_recompute = off;
SELECT derive.create_view('r', 'SELECT id FROM t ORDER BY id OFFSET 3');
SELECT derive.create_view('fine', 'SELECT k, count(*) FROM t GROUP BY k');
RESET pg_derive.allow_recompute;
SELECT name, maintained FROM derive_state.view_states ORDER BY name;

SET client_min_messages = warning;
-- outer joins
SELECT derive.create_view('left_join', 'SELECT t.id, u.v, u.k FROM t LEFT JOIN u ON u.k = t.k AND u.v > 3');
SELECT derive.create_view('full_join', 'SELECT t.id, u.id AS uid, k FROM t FULL JOIN u USING (k)');
SELECT derive.create_view('left_group', 'SELECT t.id, g.c FROM t LEFT JOIN (SELECT k, count(*) AS c FROM u GROUP BY k) g ON g.k = t.id');
SELECT derive.create_view('left_row', 'SELECT t.id, u AS r, u IS NULL AS missing, u IS NOT NULL AS there, to_json(q) AS s, (SELECT to_json(u) FROM t o WHERE o.id = u.id) AS c, to_json(l) AS m FROM t LEFT JOIN u ON u.k = t.k LEFT JOIN (SELECT k, min(v) FROM u GROUP BY k) q ON q.k = t.id LEFT JOIN LATERAL (SELECT v FROM u o WHERE o.k = t.k AND o.id = q.k) l ON true');
-- sub-queries in expressions
SELECT derive.create_view('exist', 'SELECT id FROM t WHERE EXISTS (SELECT FROM u WHERE u.k = t.k AND v > 5)');
SELECT derive.create_view('not_in', 'SELECT id FROM t WHERE k NOT IN (SELECT k FROM u WHERE v > 5)');
SELECT derive.create_view('scalar', 'SELECT id, (SELECT sum(v) FROM u WHERE u.k = t.k) AS s, (SELECT max(v) FROM u) AS m FROM t');
SELECT derive.create_view('arrays', 'SELECT id, ARRAY(SELECT v FROM u WHERE u.k = t.id ORDER BY v DESC) AS a, ARRAY(SELECT DISTINCT x FROM t o WHERE o.k = t.k ORDER BY 1) AS b FROM t');
SELECT derive.create_view('above_average', 'SELECT k, count(*), avg(n) FROM t GROUP BY k HAVING avg(n) >= (SELECT avg(n) FROM t)');
SELECT derive.create_view('of_groups', 'SELECT k, (SELECT count(*) FROM u WHERE u.k = t.k) AS other, (SELECT sum(t.k + u.k) FROM u) AS mixed, (SELECT count(*) FROM u WHERE u.id < max(t.id)) AS below FROM t GROUP BY k');
SELECT derive.create_view('in_aggregate', 'SELECT k, sum((SELECT count(*) FROM u WHERE u.k = t.k)) AS s FROM t GROUP BY k');
SELECT derive.create_view('case_when', 'SELECT id, CASE WHEN k IN (SELECT k FROM u) THEN 1 ELSE (SELECT min(id) FROM u) END AS c FROM t');
-- windows
SELECT derive.create_view('windows', 'SELECT id, row_number() OVER (PARTITION BY k ORDER BY n, id) AS r, rank() OVER w, sum(n) OVER (w ROWS 2 PRECEDING EXCLUDE CURRENT ROW), lag(x) OVER (ORDER BY id) FROM t WINDOW w AS (ORDER BY n DESC, id)');
SELECT derive.create_view('over_groups', 'SELECT k, count(*) AS c, rank() OVER (ORDER BY count(*) DESC) AS r, sum(sum(n)) OVER (ORDER BY k) AS running FROM t GROUP BY k');
SELECT derive.create_view('top_two', 'SELECT * FROM (SELECT id, k, row_number() OVER (PARTITION BY k ORDER BY n DESC, id) AS r FROM t) q WHERE r <= 2');
SELECT derive.create_view('frame', 'SELECT id, sum(n) OVER (ORDER BY id ROWS (SELECT count(*) / 20 FROM u) PRECEDING) FROM t');
SELECT derive.create_view('having_alone', 'SELECT (SELECT count(*) FROM u) AS c FROM t HAVING EXISTS (SELECT FROM u WHERE k = 7)');
SELECT derive.create_view('lat_sets', 'SELECT t.id, q.* FROM t, LATERAL (SELECT k, count(*) FROM u WHERE u.id > t.id + 20 GROUP BY ROLLUP (k)) q');
SELECT derive.create_view('lat_inter', 'SELECT t.id, q.k FROM t, LATERAL (SELECT k FROM u WHERE u.k = t.k INTERSECT SELECT k FROM u WHERE id > t.id) q');
SELECT derive.create_view('lat_rec', 'SELECT count(*), t.k FROM t, LATERAL (WITH RECURSIVE r(n) AS (SELECT t.k UNION SELECT b FROM edge JOIN r ON n = a) SELECT n FROM r) q GROUP BY t.k');
-- DISTINCT ON
SELECT derive.create_view('latest', 'SELECT DISTINCT ON (k) k, id, n FROM t ORDER BY k, n DESC, id');
SELECT derive.create_view('latest_hidden', 'SELECT DISTINCT ON (k + 1, x) x, id FROM t ORDER BY x, k + 1, id DESC');
SELECT derive.create_view('latest_group', 'SELECT DISTINCT ON (k) k, x, count(*) AS c FROM t GROUP BY k, x ORDER BY k, c DESC, x LIMIT 3');
-- set operations, grouping sets
SELECT derive.create_view('exc', 'SELECT k FROM t EXCEPT SELECT k FROM u WHERE v < 5');
SELECT derive.create_view('inter', '(SELECT k FROM t INTERSECT ALL SELECT k FROM u) UNION ALL SELECT id FROM u WHERE id < 3');
SELECT derive.create_view('sets', 'SELECT k, x, count(*), grouping(k, x) FROM t GROUP BY GROUPING SETS ((k, x), (k), ())');
-- LATERAL
SELECT derive.create_view('lat', 'SELECT t.id, q.v, q.c FROM t, LATERAL (SELECT v, k + t.id AS c FROM u WHERE u.k = t.k ORDER BY v DESC, u.id LIMIT 2) q');
SELECT derive.create_view('lat_left', 'SELECT t.id, q.c FROM t LEFT JOIN LATERAL (SELECT count(*) AS c, sum(v) FROM u WHERE u.k = t.k AND u.id > t.id) q ON true');
SELECT derive.create_view('lat_deep', 'SELECT t.id, q.c FROM t, LATERAL (SELECT g.c FROM (SELECT k, count(*) AS c FROM u GROUP BY k) g WHERE g.k = t.k UNION SELECT 0) q');
-- sets over groups
SELECT derive.create_view('over_sets', 'SELECT k, unnest(array_agg(x ORDER BY id)) AS x FROM t GROUP BY k');
-- recursion: siblings, UNION ALL, SEARCH and CYCLE, inside
SELECT derive.create_view('rec_siblings', 'WITH RECURSIVE start AS (SELECT k, count(*) AS c FROM u GROUP BY k), unused AS (SELECT * FROM t), r(n) AS (SELECT k FROM start WHERE c > 1 UNION ALL SELECT n + 10 FROM r WHERE n < 30) SELECT n, c FROM r LEFT JOIN start ON k = n');
SELECT derive.create_view('rec_cycle', 'WITH RECURSIVE r(a, b) AS (SELECT a, b FROM edge WHERE a = 1 UNION ALL SELECT e.a, e.b FROM r JOIN edge e ON e.a = r.b) SEARCH DEPTH FIRST BY a SET o CYCLE a SET c USING p SELECT a, b, c FROM r ORDER BY o');
SELECT derive.create_view('rec_inside', 'SELECT t.id, (WITH RECURSIVE r(n) AS (SELECT t.k UNION SELECT b FROM edge JOIN r ON n = a) SELECT count(*) FROM r) AS c FROM t');
SELECT derive.create_view('rec_limit', 'WITH RECURSIVE r(n) AS (SELECT k FROM u UNION SELECT b FROM edge JOIN r ON n = a) SELECT n, (SELECT count(*) FROM r x WHERE x.n < r.n) AS c FROM r GROUP BY n HAVING n IN (SELECT n FROM r) ORDER BY n LIMIT (SELECT count(*) - 1 FROM r)');
-- partitions; a set-returning function that only ORDER BY has
SELECT derive.create_view('partitions', 'SELECT x, k, first_value(k) OVER (PARTITION BY x ORDER BY k) FROM part');
SELECT derive.create_view('order_set', 'SELECT id FROM t ORDER BY generate_series(1, k)');
-- views over such views
SELECT derive.create_view('over_latest', 'SELECT l.k, l.n, count(*) FROM latest l JOIN u USING (k) GROUP BY l.k, l.n');
SELECT derive.create_view('over_over', 'SELECT o.k, x.id FROM over_latest o LEFT JOIN exist x ON x.id = o.k');
RESET client_min_messages;
SELECT * FROM oracle_all();

INSERT INTO t VALUES (100, NULL, NULL, NULL), (101, 3, 2.5, 'x1'), (102, 99, 7, '');
INSERT INTO u VALUES (1, 1, 0.25, 1), (1, 1, 0.25, 1), (NULL, NULL, NULL, 1), (7, 99, 1e20, 1), (7, 99, 1, 1);
SELECT * FROM oracle_all();
UPDATE t SET k = k + 1, n = n * 2 WHERE id % 3 = 0;
UPDATE u SET k = NULL WHERE k = 4;
UPDATE edge SET b = 5 WHERE b = 4;
SELECT * FROM oracle_all();
BEGIN;
DELETE FROM t WHERE k = 2;
DELETE FROM u WHERE v < 4 OR v IS NULL;
INSERT INTO edge VALUES (6, 1), (6, 1), (9, 9);
UPDATE part SET k = 19 - k WHERE x = 'p1';
UPDATE t SET id = id + 1000 WHERE id < 10;
COMMIT;
SELECT * FROM oracle_all();
BEGIN;
TRUNCATE u;
INSERT INTO u SELECT i, i % 3, -i, 1 FROM generate_series(1, 10) i;
DELETE FROM edge WHERE a = 3;
COMMIT;
SELECT * FROM oracle_all();
DROP TABLE part_2;
TRUNCATE t, edge;
SELECT * FROM oracle_all();
INSERT INTO t SELECT i, i % 3, i, 'x' FROM generate_series(1, 9) i;
INSERT INTO edge VALUES (0, 1), (1, 2);
SELECT * FROM oracle_all();

-- Ties in windows, and of DISTINCT ON: decided by all columns (see limits.sql for LIMIT).
SET client_min_messages = warning;
CREATE TABLE tie (k int, o int, n numeric, x text);
INSERT INTO tie SELECT i % 3, i % 4, i % 5, 'x' || i FROM generate_series(1, 40) i;
INSERT INTO tie SELECT k, o, n + 0.00, x FROM tie WHERE o = 1;
SELECT derive.create_view('tie_windows', 'SELECT k, n, row_number() OVER (PARTITION BY k ORDER BY o) AS r, lag(n) OVER (ORDER BY o) AS l, array_agg(x) OVER (PARTITION BY k) AS a, last_value(n) OVER (ORDER BY k) AS v, string_agg(x, '','') OVER (PARTITION BY o ORDER BY k ROWS 3 PRECEDING) AS s FROM tie');
SELECT derive.create_view('tie_distinct', 'SELECT DISTINCT ON (k) k, n, x FROM tie ORDER BY k, o');
SELECT derive.create_view('tie_distinct_any', 'SELECT DISTINCT ON (n) n FROM tie');
SELECT derive.create_view('tie_scalar', 'SELECT DISTINCT k, (SELECT x FROM tie i WHERE i.k = o.k ORDER BY i.o LIMIT 1) AS x, ARRAY(SELECT n FROM tie i WHERE i.k = o.k) AS a FROM tie o');
SELECT derive.create_view('tie_grouped', 'SELECT n, (SELECT count(*) || '' of '' || g.n FROM tie i WHERE i.n = g.n) AS t FROM tie g GROUP BY n');
RESET client_min_messages;
CREATE FUNCTION verify_ties() RETURNS TABLE (view name, missing bigint, extra bigint) LANGUAGE sql AS $$
	SELECT v.name, d.missing, d.extra FROM derive_state.view_states v, derive.wait(v.view, timeout => '60 s'), derive.verify(v.view) d
	WHERE v.name LIKE 'tie%' ORDER BY 1 $$;
SELECT * FROM verify_ties();
INSERT INTO tie VALUES (1, 1, 1.000, 'x9'), (2, 0, NULL, NULL), (NULL, NULL, 4.0, 'y');
DELETE FROM tie WHERE x = 'x8';
SELECT * FROM verify_ties();
UPDATE tie SET o = (o + 1) % 4, n = n + 1.0 WHERE k = 1;
SELECT * FROM verify_ties();

-- An error of the query puts the view aside, and it comes back when the cause is gone.
SET client_min_messages = warning;
SELECT derive.create_view('divides', 'SELECT id, v / d AS q FROM u ORDER BY id LIMIT 100');
SELECT derive.create_view('single', 'SELECT t.id, (SELECT u.id FROM u WHERE u.k = t.k AND u.v < -8) AS uid FROM t');
SELECT derive.create_view('bystander', 'SELECT count(*) FROM u');
RESET client_min_messages;
SELECT oracle('divides'), oracle('single'), oracle('bystander');

-- How it is done, for people.
SELECT regexp_replace(line, '(state|rows)_\d+', '\1_N', 'g') FROM derive.explain('over_groups') line;
SELECT regexp_replace(line, '(state|rows)_\d+', '\1_N', 'g') FROM derive.explain('rec_siblings') line;

SET client_min_messages = warning;
DROP SCHEMA whole CASCADE;
