-- LIMIT, OFFSET and FETCH: which rows are within is decided by ORDER BY, and where
-- that leaves ties, by all columns, in the view and where it is compared.
CREATE SCHEMA limits;
SET search_path = limits, public;
CREATE TABLE t (id int PRIMARY KEY, k int, n numeric, x text, j json);
CREATE TABLE u (k int, v float8);
INSERT INTO t SELECT i, i % 5, i % 7, 'x' || i % 3, '{}' FROM generate_series(1, 50) i;
INSERT INTO u SELECT i % 8, i / 4.0 FROM generate_series(1, 40) i;

-- Views of which PostgreSQL's own answer is one of several are compared by derive.verify() alone.
CREATE FUNCTION verified() RETURNS TABLE (result text, views bigint) LANGUAGE sql AS $$
	SELECT CASE WHEN derive.wait(v.view, timeout => '60 s') THEN
			(SELECT CASE WHEN d.missing + d.extra = 0 THEN 'exact' ELSE format('%s: %s missing, %s extra', v.view, d.missing, d.extra) END
			 FROM derive.verify(v.view) d) ELSE 'timeout' END, count(*)
	FROM derive.views v GROUP BY 1 ORDER BY 1 $$;

-- total orders: PostgreSQL has one answer
SELECT derive.create_view('top', 'SELECT id, n FROM t ORDER BY n DESC, id LIMIT 7');
SET client_min_messages = warning;
SELECT derive.create_view('page', 'SELECT id, n FROM t ORDER BY n DESC NULLS LAST, id OFFSET 3 LIMIT 5');
SELECT derive.create_view('nulls_first', 'SELECT id, n FROM t ORDER BY n NULLS FIRST, id DESC FETCH FIRST 4 ROWS ONLY');
SELECT derive.create_view('from_behind', 'SELECT id FROM t ORDER BY id OFFSET 40');
SELECT derive.create_view('nothing', 'SELECT id FROM t ORDER BY id LIMIT 0');
SELECT derive.create_view('half', 'SELECT id FROM t ORDER BY id LIMIT (SELECT count(*) / 2 FROM t)');
SELECT derive.create_view('with_ties', 'SELECT id, k FROM t ORDER BY k FETCH FIRST 3 ROWS WITH TIES');
SELECT derive.create_view('largest_groups', 'SELECT k, count(*) AS c, max(n) AS m FROM t GROUP BY k ORDER BY count(*) DESC, k LIMIT 2');
SELECT derive.create_view('groups_by_hidden', 'SELECT k FROM t GROUP BY k ORDER BY sum(n), k LIMIT 2');
SELECT derive.create_view('distinct_first', 'SELECT DISTINCT k, x FROM t ORDER BY k, x LIMIT 3');
SELECT derive.create_view('of_union', 'SELECT k FROM t UNION SELECT k FROM u ORDER BY k LIMIT 6');
SELECT derive.create_view('in_union', '(SELECT id FROM t ORDER BY id LIMIT 3) UNION ALL SELECT k FROM u');
SELECT derive.create_view('in_join', 'SELECT g.k, g.c, t.id FROM t JOIN (SELECT k, count(*) c FROM u GROUP BY k ORDER BY c DESC, k LIMIT 3) g USING (k)');
SELECT derive.create_view('in_group', 'SELECT k, count(*) FROM (SELECT * FROM t ORDER BY id LIMIT 20) q GROUP BY k');
SELECT derive.create_view('in_with', 'WITH q AS (SELECT * FROM t ORDER BY id DESC LIMIT 20) SELECT a.id, b.id AS other FROM q a JOIN q b USING (k)');
SELECT derive.create_view('sets', 'SELECT id, generate_series(1, 3) AS s FROM t ORDER BY id, s LIMIT 4');
SELECT derive.create_view('ordered', 'SELECT id FROM t ORDER BY n');
RESET client_min_messages;
SELECT * FROM oracle_all();

-- ties, and no order at all
SET client_min_messages = warning;
SELECT derive.create_view('ties', 'SELECT k, n, x FROM t ORDER BY k LIMIT 7');
SELECT derive.create_view('any_three', 'SELECT k, x FROM t LIMIT 3');
SELECT derive.create_view('any_json', 'SELECT k, j FROM t LIMIT 3');
SELECT derive.create_view('offset_alone', 'SELECT k, n FROM t OFFSET 45');
SELECT derive.create_view('ties_offset', 'SELECT n, x FROM t ORDER BY k OFFSET 4 FETCH FIRST 3 ROWS WITH TIES');
SELECT derive.create_view('equal_not_same', 'SELECT n FROM t WHERE n < 2 ORDER BY n DESC LIMIT 2');
SELECT derive.create_view('groups_tie', 'SELECT k, count(*) AS c FROM t GROUP BY k ORDER BY c LIMIT 2');
RESET client_min_messages;
SELECT * FROM verified();

INSERT INTO t VALUES (101, 1, 1.0, 'a', '[1]'), (102, 1, 1.00, 'a', '[1]'), (103, NULL, NULL, NULL, NULL), (104, NULL, 7.5, 'b', '{"a": 1}');
INSERT INTO u VALUES (0, NULL), (NULL, 3), (9, 9), (9, 9), (9, 9), (9, 9), (9, 9), (9, 9);
SELECT * FROM verified();
SELECT n FROM equal_not_same ORDER BY n::text;
UPDATE t SET n = n + 1, k = k + 1 WHERE id % 4 = 0;
UPDATE t SET id = id + 1000 WHERE id < 4;
SELECT * FROM verified();
BEGIN;
DELETE FROM t WHERE k = 0 OR id = 102;
DELETE FROM u WHERE k < 3;
INSERT INTO t SELECT i, i % 2, 100, 'y', NULL FROM generate_series(200, 220) i;
COMMIT;
SELECT * FROM verified();
-- what is read by nobody changes nothing
UPDATE u SET v = v + 1;
SELECT * FROM verified();
TRUNCATE u;
SELECT * FROM verified();
TRUNCATE t;
SELECT * FROM verified();
INSERT INTO t VALUES (1, 1, 1, 'x', '1'), (2, 1, 1, 'x', '1'), (3, 2, 0, 'y', '2');
SELECT * FROM verified();
SELECT view, oracle(view) FROM derive.views WHERE name = ANY ('{top,page,nulls_first,from_behind,nothing,half,with_ties,largest_groups,groups_by_hidden,distinct_first,of_union,in_union,in_join,in_group,in_with,sets,ordered}') ORDER BY name;

-- A limit reads the stored rows of what can be maintained.
SELECT regexp_replace(line, '(state|rows)_\d+', '\1_N', 'g') FROM derive.explain('largest_groups') line;

SET client_min_messages = warning;
DROP SCHEMA limits CASCADE;
