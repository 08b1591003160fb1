-- The order that rows have from a sub-query in FROM, as PostgreSQL's manual has it for aggregates.
SET client_min_messages = warning;
CREATE SCHEMA inherited_order;
SET search_path = inherited_order, public;
CREATE TABLE q (id int PRIMARY KEY, k int, y int, s text);
CREATE TABLE o (id int PRIMARY KEY, k int);
INSERT INTO q SELECT i, i % 3, (i * 7) % 23, chr(65 + (i * 5) % 26) FROM generate_series(1, 20) i;
INSERT INTO o SELECT i, i % 4 FROM generate_series(1, 6) i;
CREATE VIEW by_y AS SELECT id, k, s FROM q WHERE y > 1 ORDER BY y DESC;
SELECT derive.create_view(name, query) FROM (VALUES
	('i_array', 'SELECT array_agg(id) FROM (SELECT id FROM q ORDER BY y) s'),
	('i_shown', 'SELECT array_agg(id), count(*), sum(id) FROM (SELECT id, y FROM q ORDER BY y DESC NULLS LAST) s'),
	('i_string', 'SELECT string_agg(s, '','') FROM (SELECT s FROM q ORDER BY y, id DESC) s WHERE s <> ''B'''),
	('i_group', 'SELECT k, array_agg(id) FILTER (WHERE id > 2), json_agg(s) FROM (SELECT k, id, s FROM q ORDER BY y) s GROUP BY k'),
	('i_having', 'SELECT k FROM (SELECT k, id FROM q ORDER BY y DESC) s GROUP BY k HAVING (array_agg(id))[1] > 5'),
	('i_own', 'SELECT array_agg(id ORDER BY id DESC) AS a, array_agg(DISTINCT k) AS b FROM (SELECT id, k FROM q ORDER BY y) s'),
	('i_deep', 'SELECT array_agg(i) FROM (SELECT id + 1 AS i FROM (SELECT id FROM q ORDER BY y) a WHERE id > 3) b WHERE i < 18'),
	('i_deep_limit', 'SELECT array_agg(id) FROM (SELECT id FROM (SELECT id FROM q ORDER BY y) a LIMIT 5) b'),
	('i_view', 'SELECT k, string_agg(s, '''') FROM by_y GROUP BY k'),
	('i_with', 'WITH s AS (SELECT id FROM q ORDER BY s, y) SELECT array_agg(id) FROM s'),
	('i_union', 'SELECT array_agg(id) FROM (SELECT id FROM q UNION ALL SELECT id + 100 FROM o ORDER BY id DESC) s'),
	('i_grouped', 'SELECT array_agg(k) FROM (SELECT k FROM q GROUP BY k ORDER BY sum(y)) s'),
	('i_limit', 'SELECT * FROM (SELECT id FROM q ORDER BY y) s LIMIT 3 OFFSET 1'),
	('i_limit_view', 'SELECT s FROM by_y LIMIT 4'),
	('i_sublink', 'SELECT o.id, ARRAY(SELECT s.id FROM (SELECT id, k FROM q ORDER BY y) s WHERE s.k = o.k) AS a FROM o'),
	('i_correlated', 'SELECT o.id, (SELECT array_agg(s.id) FROM (SELECT id FROM q WHERE q.k = o.k ORDER BY y) s) AS a FROM o'),
	('i_lateral', 'SELECT o.id, l.a FROM o, LATERAL (SELECT string_agg(s.s, '''') AS a FROM (SELECT s FROM q WHERE q.k = o.k ORDER BY y DESC) s) l'),
	('i_number', 'SELECT id, row_number() OVER (), lag(id) OVER () FROM (SELECT id FROM q ORDER BY y) s'),
	('i_frame', 'SELECT id, first_value(id) OVER w, array_agg(id) OVER w, count(*) OVER w FROM (SELECT id FROM q ORDER BY y) s WINDOW w AS ()'),
	('i_rows', 'SELECT id, sum(id) OVER (ROWS 2 PRECEDING) FROM (SELECT id FROM q ORDER BY y) s'),
	('i_page', 'SELECT id, row_number() OVER () AS n, count(*) OVER () AS all_of_them FROM (SELECT id FROM q ORDER BY y DESC) s LIMIT 4 OFFSET 2'),
	('i_peers', 'SELECT id, rank() OVER () FROM (SELECT id FROM q ORDER BY y) s')) AS v(name, query);
SELECT * FROM oracle_all();
-- what is made by adding and removing is so still
SELECT line FROM derive.plan('SELECT k, sum(id), max(id) FROM (SELECT k, id FROM q ORDER BY y) s GROUP BY k') line WHERE line ~ 'sum|max';
UPDATE q SET y = 30 - y WHERE id % 2 = 0;
SELECT * FROM oracle_all();
BEGIN;
INSERT INTO q VALUES (21, 1, 0, 'x'), (22, 1, NULL, 'y'), (23, NULL, 40, 'z');
DELETE FROM q WHERE y BETWEEN 10 AND 14;
UPDATE o SET k = 1 WHERE id < 4;
UPDATE q SET k = k + 1 WHERE id % 5 = 0;
COMMIT;
SELECT * FROM oracle_all();
TABLE i_array;
DELETE FROM q WHERE id > 3;
SELECT * FROM oracle_all();
TRUNCATE q;
SELECT * FROM oracle_all();
DROP SCHEMA inherited_order CASCADE;
