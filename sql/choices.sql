-- Queries with several right answers: the view has one of them, whatever the
-- plan and the history, and derive.verify() expects that one.
CREATE SCHEMA choices;
SET search_path = choices, public;
SET client_min_messages = warning;

-- Views whose contents are not what they should be; nothing if all is well.
CREATE FUNCTION wrong() RETURNS TABLE (view regclass, missing bigint, extra bigint) LANGUAGE plpgsql AS $$
BEGIN
	IF NOT derive.wait(timeout => '60 s') THEN
		RAISE 'timeout';
	END IF;
	RETURN QUERY SELECT v.view::regclass, v.missing, v.extra FROM derive.verify() v WHERE v.missing + v.extra > 0;
END $$;

-- Inputs that are equal without being the same, ties, and types without an order.
CREATE TABLE t (id int PRIMARY KEY, g int, o int, n numeric, s numeric(8,2), f float8, i interval, j jsonb,
				w text, x xml, p point, d json);
CREATE FUNCTION numbers(seed int) RETURNS numeric LANGUAGE sql IMMUTABLE AS
	$$ SELECT ((seed % 3 + 1)::text || (ARRAY['', '.0', '.00', '.000'])[seed / 3 % 4 + 1])::numeric $$;
CREATE FUNCTION fill(first int, last int, seed int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO t SELECT i, r % 4, r % 3, numbers(r), r % 5, (ARRAY[0.0, -0.0, 1, 'NaN'])[r % 4 + 1],
		(ARRAY['1 day', '24 hours', '1 month', '30 days', '720 hours'])[r % 5 + 1]::interval,
		jsonb_build_object('a', numbers(r / 2)), chr(97 + r % 7), ('<a>' || r % 9 || '</a>')::xml,
		point(r % 3, r % 2), json_build_object('b', r % 6)
	FROM generate_series(first, last) i, LATERAL (SELECT abs(hashint4(i * 1000 + seed)) / 7 AS r) h $$;
SELECT fill(1, 60, 0);

-- the order of an aggregate's input
CREATE AGGREGATE chain(text) (sfunc = textcat, stype = text, initcond = '');
CREATE FUNCTION queue_add(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 || $2';
CREATE FUNCTION queue_remove(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT substr($1, length($2) + 1)';
CREATE AGGREGATE queue(text) (sfunc = queue_add, stype = text, initcond = '',
	msfunc = queue_add, minvfunc = queue_remove, mstype = text, minitcond = '');
SELECT count(derive.create_view(name, query)) FROM (VALUES
	('ties', 'SELECT g, array_agg(w ORDER BY o) AS ws, string_agg(w, '','' ORDER BY o DESC) AS s, array_agg(n ORDER BY n)::text AS ns FROM t GROUP BY g'),
	('orderless', 'SELECT g, xmlagg(x) AS x, xmlagg(x ORDER BY o) AS xo, array_agg(p) AS ps, json_agg(d ORDER BY o) AS ds, array_agg(x)::text AS xs FROM t GROUP BY g'),
	('rows', 'SELECT g, json_agg(ROW(n, w, d)) AS a, array_agg((o, n)::text) AS b, jsonb_agg(t ORDER BY o) AS c FROM t GROUP BY g'),
	('objects', 'SELECT g, jsonb_object_agg(w, n ORDER BY o) AS j, json_object_agg(w, d) AS k FROM t GROUP BY g'),
	('own', 'SELECT g, chain(w ORDER BY o) AS c, queue(w) AS q FROM t GROUP BY g'),
	('whole', 'SELECT array_agg(n ORDER BY s)::text AS ns, array_agg(j)::text AS js, chain(i::text ORDER BY i) AS c FROM t'),
	('filtered', 'SELECT g, array_agg(i ORDER BY o) FILTER (WHERE n > 1) AS i, array_agg(f)::text AS f FROM t GROUP BY g HAVING count(*) > 5'),
	('joined', 'SELECT a.g, string_agg(b.w, '''' ORDER BY a.o) FROM t a JOIN t b ON b.id = a.id + 1 GROUP BY a.g'),
	('distinct_in', 'SELECT g, array_agg(DISTINCT n) AS ns, sum(DISTINCT n) AS s, count(DISTINCT f) AS c, string_agg(DISTINCT w, '''') AS w FROM t GROUP BY g'),
	('sorted', 'SELECT g, mode() WITHIN GROUP (ORDER BY n) AS m, percentile_disc(0.5) WITHIN GROUP (ORDER BY i) AS p, percentile_cont(0.3) WITHIN GROUP (ORDER BY s) AS c FROM t GROUP BY g')) AS v(name, query);

-- what a group shows, and what is computed from it
SELECT count(derive.create_view(name, query)) FROM (VALUES
	('grouped', 'SELECT n, n::text AS shown, count(*), sum(o) FROM t GROUP BY n'),
	('grouped_two', 'SELECT f::text || i AS shown, j::text AS j, count(*), max(s) FROM t GROUP BY f, i, j'),
	('grouped_again', 'SELECT n::text, array_agg(w ORDER BY o) FROM t GROUP BY n'),
	('grouped_none', 'SELECT length(n::text) AS l, j::text FROM t GROUP BY n, j HAVING n::text <> ''1.00'''),
	('grouped_sets', 'SELECT unnest(ARRAY[n, n * 1.0]) AS u, count(*) FROM t GROUP BY 1'),
	('grouped_by', 'SELECT -n AS minus, (-n)::text AS shown, count(*) FROM t GROUP BY -n ORDER BY -n'),
	('different', 'SELECT n::text, f::text FROM (SELECT DISTINCT n, f FROM t) d'),
	('different_groups', 'SELECT m::text, g FROM (SELECT DISTINCT max(n) AS m, g % 2 AS g FROM t GROUP BY g) d'),
	('united', 'SELECT u::text FROM (SELECT n AS u FROM t UNION SELECT n FROM t WHERE o = 1 UNION SELECT s * 1.00 FROM t) d'),
	('united_all', 'SELECT u::text FROM ((SELECT n AS u FROM t UNION SELECT s FROM t) UNION ALL SELECT n FROM t WHERE o = 2) d'),
	('united_in', 'SELECT u::text FROM (SELECT o::numeric AS u FROM t UNION (SELECT n FROM t UNION ALL SELECT s FROM t)) d'),
	('extremes', 'SELECT g, max(n)::text AS a, min(n)::text AS b, max(f)::text AS c, min(i)::text AS d, max(s)::text AS e FROM t GROUP BY g'),
	('extremes_in', 'SELECT (max(n) FILTER (WHERE o = 1))::text AS a, min(DISTINCT n)::text AS b FROM t'),
	('extremes_again', 'SELECT g, max(n)::text AS a, array_agg(w ORDER BY o) AS b, (min(f) FILTER (WHERE o > 0))::text AS c FROM t GROUP BY g'),
	('over_view', 'SELECT shown, count(*), max(count) FROM grouped GROUP BY shown'),
	('of_row', 'SELECT id, (SELECT array_agg(u) FROM unnest(ARRAY[o, g, o + 1]) u) AS a FROM t'),
	('of_row_too', 'SELECT id, l.a FROM t, LATERAL (SELECT array_agg(u) AS a FROM unnest(ARRAY[o, g, o + 1]) u) l')) AS v(name, query);
SELECT * FROM wrong();

-- Rows come, go and change, of several groups in each transaction.
CREATE PROCEDURE churn(rounds int, seed int) LANGUAGE plpgsql AS $$
BEGIN
	FOR r IN 1..rounds LOOP
		DELETE FROM t WHERE (id + r + seed) % 7 = 0;
		PERFORM choices.fill(100 * (seed + r), 100 * (seed + r) + 8, r);
		UPDATE t SET n = n * 1.0, f = -f, o = (o + 1) % 3 WHERE (id + r) % 5 = 0;
		UPDATE t SET g = (g + 1) % 4, w = chr(97 + (id + r) % 7), i = i + interval '0' WHERE (id + r) % 6 = 0;
		UPDATE t SET n = trim_scale(n), j = j || '{"a": 1.0}', g = g + 1 WHERE (id + r) % 11 = 0;
		COMMIT;
	END LOOP;
END $$;
CALL churn(1, 1);
SELECT * FROM wrong();
CALL churn(1, 2);
SELECT * FROM wrong();
-- many transactions, maybe in one batch
CALL churn(9, 3);
SELECT * FROM wrong();
-- the worker plans in another way
ALTER SYSTEM SET enable_hashagg = off;
SELECT pg_reload_conf();
CALL churn(1, 20);
SELECT * FROM wrong();
ALTER SYSTEM RESET enable_hashagg;
ALTER SYSTEM SET enable_sort = off;
ALTER SYSTEM SET enable_nestloop = off;
SELECT pg_reload_conf();
CALL churn(1, 30);
SELECT * FROM wrong();
ALTER SYSTEM RESET enable_sort;
ALTER SYSTEM RESET enable_nestloop;
ALTER SYSTEM SET min_parallel_table_scan_size = 0;
ALTER SYSTEM SET parallel_setup_cost = 0;
ALTER SYSTEM SET parallel_tuple_cost = 0;
SELECT pg_reload_conf();
CALL churn(1, 40);
SELECT * FROM wrong();
ALTER SYSTEM RESET min_parallel_table_scan_size;
ALTER SYSTEM RESET parallel_setup_cost;
ALTER SYSTEM RESET parallel_tuple_cost;
SELECT pg_reload_conf();
-- with an index, extrema are looked up
CREATE INDEX ON t (g, n);
CREATE INDEX ON t (g, f);
ANALYZE t;
CALL churn(3, 13);
SELECT * FROM wrong();
-- what is shown does occur
SELECT count(*) FROM grouped WHERE shown NOT IN (SELECT n::text FROM t);
SELECT count(*) FROM extremes WHERE a NOT IN (SELECT n::text FROM t) OR d NOT IN (SELECT i::text FROM t);
SELECT count(*) FROM t JOIN extremes e USING (g) WHERE t.n > e.a::numeric OR t.n < e.b::numeric;
-- and is the least, by its image
SELECT count(*) FROM grouped v
	JOIN (SELECT n, (array_agg(n ORDER BY derive_state.image(n)))[1]::text AS least FROM t GROUP BY n) q USING (n)
	WHERE q.least <> v.shown;
-- groups that outgrow memory
ALTER SYSTEM SET pg_derive.work_mem = '64kB';
SELECT pg_reload_conf();
INSERT INTO t (id, g, o, n, s, f, w)
	SELECT i, i % 900, i % 3, (i % 700 || (ARRAY['', '.0', '.00'])[i % 3 + 1])::numeric, i % 9, i % 50, 'w' FROM generate_series(10001, 13000) i;
UPDATE t SET n = n * 1.0 WHERE id % 3 = 0;
SELECT * FROM wrong();
DELETE FROM t WHERE id > 10000 AND id % 2 = 0;
SELECT * FROM wrong();
ALTER SYSTEM RESET pg_derive.work_mem;
SELECT pg_reload_conf();
-- computed anew, and from nothing
SELECT derive.repair('extremes'), derive.repair('grouped_two'), derive.repair('ties');
SELECT * FROM wrong();
TRUNCATE t;
SELECT * FROM wrong();
SELECT fill(1, 40, 5);
SELECT * FROM wrong();

-- no telling: the result cannot be compared
SELECT derive.create_view('no', 'SELECT g, json_agg(DISTINCT n) FROM t GROUP BY g');
SELECT derive.create_view('yes', 'SELECT g, json_agg(DISTINCT s) AS s, json_agg(DISTINCT n::text) AS n FROM t GROUP BY g');
SELECT * FROM wrong();

-- Columns that depend on a primary key, which children of the table repeat: a
-- group shows them from one of its rows.
CREATE TABLE parent (id int PRIMARY KEY, a text, b int, d json);
CREATE TABLE line (parent int, amount int);
CREATE TABLE plain (id int PRIMARY KEY, a text, d json);
CREATE TABLE parts (id int PRIMARY KEY, a text, d json) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (5);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (5) TO (100);
INSERT INTO parent SELECT i, chr(96 + i), i, json_build_object('i', i) FROM generate_series(1, 9) i;
INSERT INTO plain SELECT id, a, d FROM parent;
INSERT INTO parts SELECT id, a, d FROM parent;
INSERT INTO line SELECT i % 10, i FROM generate_series(1, 40) i;
SELECT count(derive.create_view(name, query)) FROM (VALUES
	('p_count', 'SELECT id, a, b, count(*) FROM parent GROUP BY id'),
	('p_lines', 'SELECT p.id, p.a || p.b AS ab, sum(amount) FROM parent p JOIN line ON line.parent = p.id GROUP BY p.id'),
	('p_json', 'SELECT a, d, count(*) FROM parent GROUP BY id HAVING b > 1'),
	('p_listed', 'SELECT id, a, d, array_agg(b) FROM parent GROUP BY id'),
	('p_different', 'SELECT DISTINCT a FROM parent GROUP BY id'),
	('p_over', 'SELECT a, sum(count) FROM p_count GROUP BY a'),
	('plain_lines', 'SELECT p.id, p.a, p.d, sum(amount), max(amount) FROM plain p JOIN line ON line.parent = p.id GROUP BY p.id'),
	('parts_lines', 'SELECT p.id, p.a, p.d, sum(amount) FROM parts p JOIN line ON line.parent = p.id GROUP BY p.id')) AS v(name, query);
SELECT * FROM wrong();
SELECT * FROM p_count EXCEPT ALL SELECT id, a, b, count(*) FROM parent GROUP BY id;
-- a child comes later, with keys that are there
CREATE TABLE child () INHERITS (parent);
INSERT INTO child VALUES (1, 'a', 7), (1, 'A', 1), (2, 'z', 0), (2, NULL, 0), (11, 'k', 5), (11, 'j', 6);
SELECT * FROM wrong();
SELECT id, count FROM p_count WHERE id IN (1, 2, 11) ORDER BY id;
SELECT count(*) FROM p_count v WHERE NOT EXISTS
	(SELECT FROM parent p WHERE (p.id, p.b) = (v.id, v.b) AND p.a IS NOT DISTINCT FROM v.a);
BEGIN;
UPDATE parent SET a = upper(a) WHERE id < 3;
UPDATE ONLY parent SET b = b + 1, d = NULL;
UPDATE plain SET a = a || 'x' WHERE id % 2 = 0;
UPDATE parts SET a = a || 'x', id = id + 40 WHERE id = 3;
DELETE FROM child WHERE a IN ('j', 'Z');
UPDATE line SET parent = parent + 1 WHERE amount % 3 = 0;
COMMIT;
SELECT * FROM wrong();
BEGIN;
DELETE FROM ONLY parent WHERE id IN (1, 11);
INSERT INTO child SELECT 1, chr(64 + i), i FROM generate_series(1, 5) i;
DELETE FROM plain WHERE id = 2;
INSERT INTO plain VALUES (2, 'back', '{"b": 2}');
COMMIT;
SELECT * FROM wrong();
DELETE FROM child WHERE b < 3;
SELECT * FROM wrong();
SELECT (SELECT count(*) FROM p_count) = (SELECT count(DISTINCT id) FROM parent) AS one_row_each;
DROP TABLE child;
SELECT * FROM wrong();

SET client_min_messages = error;
DROP SCHEMA choices CASCADE;
