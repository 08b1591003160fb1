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
SELECT view, oracle(view) FROM derive_state.view_states WHERE name = ANY ('{top,page,nulls_first,from_behind,nothing,half,with_ties,largest_groups,groups_by_hidden,distinct_first,of_union,in_union,in_join,in_group,in_with,sets,ordered}') ORDER BY name;

-- A limit reads the stored rows of what it is over.
SELECT regexp_replace(line, '(state|rows)_\d+', '\1_N', 'g') FROM derive.explain('largest_groups') line;

SELECT regexp_replace(line, '(state|rows)_\d+', '\1_N', 'g') FROM derive.explain('with_ties') line;
SELECT name FROM derive_state.view_states WHERE maintained <> 'incrementally' ORDER BY name;

-- More of the first rows are kept than are shown, up to a bound; what is behind it is not looked at.
CREATE FUNCTION kept(view text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	IF NOT derive.wait(view::regclass, timeout => '60 s') THEN
		RETURN 'timeout';
	END IF;
	EXECUTE (SELECT format('SELECT format(''%%s rows, %%s copies, %%s'', count(*) FILTER (WHERE h = 0), sum(n) FILTER (WHERE h = 0), CASE WHEN bool_or(h = 1) THEN ''bound'' ELSE ''all'' END) FROM %s', relid::regclass)
		FROM derive_state.relations r WHERE r.view = kept.view::regclass AND role = 's' ORDER BY operator DESC LIMIT 1) INTO result;
	RETURN result;
END $$;
CREATE TABLE many (id int PRIMARY KEY, g int, n numeric, x text, f float8);
CREATE TABLE other (id int, v int);
INSERT INTO many SELECT i, i % 100, i, 'x' || i % 3, i % 4 FROM generate_series(1, 1000) i;
INSERT INTO other SELECT i, i % 7 FROM generate_series(1, 500) i;
CREATE TYPE two AS (a int, b numeric);
-- an order whose equality is another one
CREATE FUNCTION ci_cmp(text, text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT bttextcmp(lower($1) COLLATE "C", lower($2) COLLATE "C")';
CREATE FUNCTION ci_lt(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.ci_cmp($1, $2) < 0';
CREATE FUNCTION ci_le(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.ci_cmp($1, $2) <= 0';
CREATE FUNCTION ci_eq(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.ci_cmp($1, $2) = 0';
CREATE FUNCTION ci_ge(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.ci_cmp($1, $2) >= 0';
CREATE FUNCTION ci_gt(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.ci_cmp($1, $2) > 0';
CREATE OPERATOR <# (FUNCTION = ci_lt, LEFTARG = text, RIGHTARG = text, COMMUTATOR = >#);
CREATE OPERATOR <=# (FUNCTION = ci_le, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR =# (FUNCTION = ci_eq, LEFTARG = text, RIGHTARG = text, COMMUTATOR = =#);
CREATE OPERATOR >=# (FUNCTION = ci_ge, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR ># (FUNCTION = ci_gt, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR CLASS ci_ops FOR TYPE text USING btree AS OPERATOR 1 <#, OPERATOR 2 <=#, OPERATOR 3 =#, OPERATOR 4 >=#, OPERATOR 5 >#, FUNCTION 1 ci_cmp(text, text);
-- another one, of a type that is passed by value
CREATE FUNCTION mod_cmp(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($1 % 100, $2 % 100)';
CREATE FUNCTION mod_lt(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.mod_cmp($1, $2) < 0';
CREATE FUNCTION mod_le(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.mod_cmp($1, $2) <= 0';
CREATE FUNCTION mod_eq(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.mod_cmp($1, $2) = 0';
CREATE FUNCTION mod_ge(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.mod_cmp($1, $2) >= 0';
CREATE FUNCTION mod_gt(int, int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT limits.mod_cmp($1, $2) > 0';
CREATE OPERATOR <# (FUNCTION = mod_lt, LEFTARG = int, RIGHTARG = int, COMMUTATOR = >#);
CREATE OPERATOR <=# (FUNCTION = mod_le, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR =# (FUNCTION = mod_eq, LEFTARG = int, RIGHTARG = int, COMMUTATOR = =#);
CREATE OPERATOR >=# (FUNCTION = mod_ge, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR ># (FUNCTION = mod_gt, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR CLASS mod_ops FOR TYPE int USING btree AS OPERATOR 1 <#, OPERATOR 2 <=#, OPERATOR 3 =#, OPERATOR 4 >=#, OPERATOR 5 >#, FUNCTION 1 mod_cmp(int, int);
SELECT derive.create_view('m_top', 'SELECT id, n FROM many ORDER BY n DESC LIMIT 10');
SELECT derive.create_view('m_page', 'SELECT id, x FROM many ORDER BY x DESC NULLS LAST, n NULLS FIRST OFFSET 40 LIMIT 20');
SELECT derive.create_view('m_copies', 'SELECT x FROM many ORDER BY x LIMIT 10');
SELECT derive.create_view('m_any', 'SELECT f FROM many LIMIT 300 OFFSET 5');
SELECT derive.create_view('m_ties', 'SELECT id, g FROM many ORDER BY g FETCH FIRST 5 ROWS WITH TIES');
SELECT derive.create_view('m_ties_page', 'SELECT n, x FROM many ORDER BY f OFFSET 60 FETCH FIRST 2 ROWS WITH TIES');
SELECT derive.create_view('m_groups', 'SELECT g, sum(n) FROM many GROUP BY g ORDER BY 2 DESC LIMIT 3');
SELECT derive.create_view('m_join', 'SELECT m.id, o.v FROM many m JOIN other o ON o.id = m.g ORDER BY o.v DESC, m.n DESC LIMIT 8');
SELECT derive.create_view('m_window', 'SELECT id, rank() OVER (PARTITION BY g ORDER BY n DESC) AS r FROM many ORDER BY r, id DESC LIMIT 15');
SELECT derive.create_view('m_sub', 'SELECT id, (SELECT sum(v) FROM other WHERE other.id = many.g) AS s FROM many ORDER BY s DESC, id LIMIT 12');
SELECT derive.create_view('m_inside', 'SELECT q.x, count(*), max(q.r::text) FROM (SELECT x, m AS r FROM many m ORDER BY n LIMIT 30) q GROUP BY x');
SELECT derive.create_view('m_rows', 'SELECT ROW(g, n)::two AS p, id FROM many ORDER BY p DESC LIMIT 9');
SELECT derive.create_view('m_ci', 'SELECT x FROM many ORDER BY x USING <# LIMIT 4');
SELECT derive.create_view('m_ci_array', 'SELECT array_agg(x ORDER BY x USING <#) AS a FROM many');
SELECT derive.create_view('m_mod', 'SELECT id FROM many ORDER BY id USING <# LIMIT 14');
SELECT derive.create_view('m_mod_array', 'SELECT g, array_agg(id ORDER BY id USING ># ) AS a FROM many GROUP BY g');
SELECT derive.create_view('m_mod_window', 'SELECT row_number() OVER (ORDER BY id USING <#) AS r, id FROM many');
SELECT derive.create_view('m_mod_first', 'SELECT first_value(id) OVER (PARTITION BY g ORDER BY id USING <#) FROM many');
SELECT derive.create_view('m_none', 'SELECT id FROM many WHERE id < 0 ORDER BY n LIMIT 10');
SELECT * FROM verified();
SELECT kept('m_top'), kept('m_copies'), kept('m_none');

-- behind the bound, at it, before it
INSERT INTO many VALUES (2001, 1, 0.5, 'x', 0), (2002, 2, NULL, NULL, NULL), (2003, 2, 937, 'X1', -0.0);
UPDATE many SET n = n - 0.1 WHERE id BETWEEN 1 AND 500;
DELETE FROM many WHERE id BETWEEN 501 AND 520;
SELECT kept('m_top');
INSERT INTO many VALUES (-1, 3, 937.0, 'x1', 0.0);
INSERT INTO many VALUES (-2, 3, 2000, 'X0', 1), (-3, NULL, 2000, 'X0', 1);
SELECT kept('m_top');
SELECT * FROM verified();
-- the first ones go, until it takes others
DELETE FROM many WHERE n > 946;
SELECT kept('m_top');
SELECT * FROM verified();
DELETE FROM many WHERE n > 942;
SELECT kept('m_top');
SELECT * FROM verified();
-- across the bound, in both directions, with other tables
BEGIN;
UPDATE many SET n = n - 500 WHERE n > 935;
UPDATE many SET n = n + 700, x = upper(x) WHERE id BETWEEN 300 AND 304;
UPDATE many SET id = -id - 100, g = g + 1 WHERE id BETWEEN 305 AND 310;
UPDATE other SET v = 8 - v WHERE id < 20;
DELETE FROM other WHERE id BETWEEN 60 AND 90;
COMMIT;
SELECT kept('m_top');
SELECT * FROM verified();
-- more than are wanted: some, and very many at once
INSERT INTO many SELECT 3000 + i, i % 100, 3000 + i, 'x0', 0 FROM generate_series(1, 80) i;
SELECT kept('m_top');
SELECT * FROM verified();
INSERT INTO many SELECT 4000 + i, i % 100, 4000 + hashint4(i) % 1000, 'x' || i % 3, i % 2 FROM generate_series(1, 5000) i;
SELECT kept('m_top');
SELECT * FROM verified();
BEGIN;
DELETE FROM many WHERE id % 3 = 0;
INSERT INTO many SELECT 10000 + i, i % 100, 5000 + i % 500, 'x' || i % 3, i % 2 FROM generate_series(1, 3000) i;
DELETE FROM many WHERE id % 7 = 0;
COMMIT;
SELECT * FROM verified();
-- many copies and ties
SELECT split_part(kept('m_copies'), ' ', 1) AS different;
UPDATE many SET x = 'x1' WHERE x = 'x0';
SELECT * FROM verified();
UPDATE many SET g = 0 WHERE id % 2 = 0;
SELECT * FROM verified();
DELETE FROM many WHERE g = 0;
SELECT * FROM verified();
-- fewer than are wanted, none, and again
DELETE FROM many WHERE id % 150 <> 0;
SELECT kept('m_top');
SELECT * FROM verified();
TRUNCATE many;
SELECT * FROM verified();
INSERT INTO many SELECT i, i, i, 'x', 0 FROM generate_series(-4, 4) i;
SELECT * FROM verified();
DELETE FROM many;
SELECT kept('m_top');
INSERT INTO many SELECT i, i % 10, i, repeat('x', i), i FROM generate_series(1, 300) i;
SELECT kept('m_top');
SELECT * FROM verified();

SET client_min_messages = warning;
DROP SCHEMA limits CASCADE;
