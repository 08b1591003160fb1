-- Derived tables are found by the columns that joins look them up by.
CREATE FUNCTION looked_up(v regclass) RETURNS TABLE (line text) LANGUAGE sql AS $$
	SELECT regexp_replace(line, '(rows|state)_\d+_', '\1_', 'g') FROM derive.explain(v) AS line WHERE line ~ 'Looks up|Would help' $$;
-- the indexes of the first derived table
CREATE FUNCTION indexes(v regclass) RETURNS TABLE (def text) LANGUAGE sql AS $$
	SELECT regexp_replace(pg_get_indexdef(indexrelid), '.*USING ', '') FROM pg_index
	WHERE indrelid = (SELECT min(relid) FROM derive_state.relations WHERE view = v AND role = 'd') ORDER BY 1 $$;
-- Has the worker used the index?
CREATE FUNCTION comes_by(v regclass, columns text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	scans bigint;
BEGIN
	FOR i IN 1..600 LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT sum(pg_stat_get_numscans(indexrelid)) INTO scans FROM pg_index
		WHERE indrelid = (SELECT min(relid) FROM derive_state.relations WHERE view = v AND role = 'd')
			AND pg_get_indexdef(indexrelid) LIKE '%USING ' || columns;
		IF scans > 0 THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.1);
	END LOOP;
	RETURN false;
END $$;

CREATE TABLE f (id int PRIMARY KEY, k text, i int, j bigint, m numeric);
CREATE TABLE g (k text, i int, j int, m numeric, v int);
CREATE INDEX ON f USING hash (k);
CREATE INDEX ON f (i);
CREATE INDEX ON f (j);
CREATE INDEX ON f (m);
CREATE INDEX ON g USING hash (k);
INSERT INTO g SELECT 'key ' || n, n, n % 100, n, n FROM generate_series(1, 20000) n;
INSERT INTO g VALUES (NULL, NULL, NULL, NULL, 1), ('', 0, 0, 0, 1);
INSERT INTO f SELECT n, 'key ' || n, n, n, n FROM generate_series(1, 100) n;
ANALYZE f, g;

SELECT derive.create_view('by_text', 'SELECT f.id, s.n FROM f JOIN (SELECT k, count(*) AS n FROM g GROUP BY k) s ON s.k = f.k');
SELECT derive.create_view('by_int', 'SELECT f.id, s.n FROM f JOIN (SELECT i, count(*) AS n FROM g GROUP BY i) s USING (i)');
SELECT derive.create_view('by_other', 'SELECT f.id, s.top FROM f, (SELECT k, max(v) AS top FROM g GROUP BY k) s WHERE s.top = f.i');
SELECT derive.create_view('by_two', 'SELECT f.id, s.n FROM f JOIN (SELECT i, j, k, count(*) AS n FROM g GROUP BY i, j, k) s ON s.j = f.j AND s.i = f.i');
SELECT derive.create_view('by_mixed', 'SELECT f.id, s.n FROM f JOIN (SELECT k, i, m, sum(v) AS n FROM g GROUP BY k, i, m) s USING (k, i, m)');
SELECT derive.create_view('by_more', 'SELECT f.id, s.n FROM f JOIN (SELECT i, j, count(*) AS n FROM g GROUP BY i, j) s USING (i, j)');
SELECT derive.create_view('by_distinct', 'SELECT f.id, a.v FROM f JOIN (SELECT DISTINCT k, v FROM g) d USING (k) JOIN (SELECT v, count(*) FROM g GROUP BY v) a ON a.v = d.v');
SELECT derive.create_view('by_expression', 'SELECT f.id, s.n FROM f JOIN (SELECT lower(k) AS k, count(*) AS n FROM g GROUP BY lower(k)) s ON s.k = lower(f.k)');
SELECT derive.create_view('by_nested', 'SELECT f.id, s.n FROM f JOIN (SELECT k AS key, n FROM (SELECT k, count(*) AS n FROM g GROUP BY k) t WHERE n > 0) s ON s.key = f.k');
SELECT derive.create_view('by_union', 'SELECT f.id, s.k FROM f JOIN (SELECT k FROM g GROUP BY k UNION ALL SELECT DISTINCT k FROM g) s ON s.k = f.k');
SELECT derive.wait(timeout => '60 s');
SELECT v.view, l.line FROM derive.views v, looked_up(v.view) l ORDER BY 1, 2;
SELECT v.view, i.def FROM derive.views v, indexes(v.view) i ORDER BY 1, 2;

INSERT INTO f VALUES (1001, 'key 1500', 1500, 0, 1500), (1002, NULL, NULL, NULL, NULL), (1003, '', 0, 0, 0);
UPDATE f SET k = 'key ' || id + 7, i = id + 7, j = (id + 7) % 100, m = id + 7 WHERE id < 10;
SELECT * FROM oracle_all();
SELECT comes_by('by_text', 'hash (c1)'), comes_by('by_two', 'btree (c1, c2)'), comes_by('by_other', 'btree (c2)'), comes_by('by_nested', 'hash (c1)');

-- keys that are longer than a page of an index takes, and are not the same
INSERT INTO g SELECT string_agg(md5(n::text), '') || tail, 1, 1, repeat('9', 3000)::numeric, 1 FROM generate_series(1, 300) n, (VALUES ('a'), ('b')) t(tail) GROUP BY tail;
INSERT INTO f SELECT 2000 + row_number() OVER (), k, i, j, m FROM g WHERE length(k) > 3000;
SELECT * FROM oracle_all();
DELETE FROM g WHERE k LIKE '%b' OR v = 2;
UPDATE g SET k = upper(k) WHERE length(k) > 3000;
SELECT * FROM oracle_all();
SELECT count(*) FROM by_text;
DROP TABLE f, g CASCADE;

-- Sub-queries are looked up by what they are compared with, and so are outer rows; partitions by their columns.
CREATE TABLE f (id int PRIMARY KEY, k int, x int, y int, z int);
CREATE TABLE g (k int, x int, y int, h int);
CREATE TABLE h (id int PRIMARY KEY, x int);
INSERT INTO f SELECT n, n, n % 500, n % 70, n % 7 FROM generate_series(1, 5000) n;
INSERT INTO g SELECT n, n % 600, n % 80, n % 50 FROM generate_series(1, 5000) n;
INSERT INTO h SELECT n, n FROM generate_series(1, 50) n;
ANALYZE f, g, h;
CREATE FUNCTION would_help(query text) RETURNS TABLE (line text) LANGUAGE sql AS $$
	SELECT query UNION ALL SELECT '    ' || ltrim(line) FROM derive.plan(query) AS line WHERE line ~ 'Looks up|Would help' $$;
\pset tuples_only on
SELECT would_help('SELECT f.id FROM f LEFT JOIN g ON g.k = f.k AND g.y < f.y');
SELECT would_help('SELECT f.id, g.h FROM f LEFT JOIN g USING (x, y)');
SELECT would_help('SELECT id FROM f WHERE EXISTS (SELECT FROM g JOIN h ON h.id = g.h WHERE g.x = f.x)');
SELECT would_help('SELECT id FROM f WHERE x IN (SELECT x FROM g)');
SELECT would_help('SELECT id FROM f WHERE x IN (SELECT x FROM g WHERE g.y = f.y)');
SELECT would_help('SELECT id FROM f WHERE (x, y) = ANY (SELECT x, y FROM g)');
SELECT would_help('SELECT id FROM f WHERE x = 1 OR NOT EXISTS (SELECT FROM g WHERE g.x = f.x AND g.y = f.y)');
SELECT would_help('SELECT id, (SELECT max(h) FROM g WHERE g.x = f.x) FROM f');
SELECT would_help('SELECT x, count(*) FROM f GROUP BY x HAVING count(*) > (SELECT max(id) FROM h WHERE h.x = f.x)');
SELECT would_help('SELECT f.id, l.h FROM f, LATERAL (SELECT h FROM g WHERE g.x = f.x ORDER BY h LIMIT 2) l');
SELECT would_help('SELECT f.id, l.n FROM f LEFT JOIN LATERAL (SELECT count(*) AS n FROM g JOIN h ON h.id = g.h WHERE g.x = f.x) l ON true');
SELECT would_help('SELECT id FROM f WHERE EXISTS (SELECT FROM g WHERE g.k = f.k AND NOT EXISTS (SELECT FROM h WHERE h.id = g.h AND h.x = f.x))');
SELECT would_help('SELECT id, rank() OVER (PARTITION BY x, z ORDER BY y), count(*) OVER (PARTITION BY z, y, x) FROM f');
SELECT would_help('SELECT DISTINCT ON (z) z, id FROM f ORDER BY z, y');
SELECT would_help('SELECT id, rank() OVER (PARTITION BY lower(x::text) ORDER BY y) FROM f');
\pset tuples_only off

CREATE INDEX ON f (x);
CREATE INDEX ON g (x);
SELECT derive.create_view('in_groups', 'SELECT id FROM f WHERE x IN (SELECT h FROM g GROUP BY h HAVING count(*) > 100)');
SELECT derive.create_view('scalar_of_groups', 'SELECT id, (SELECT n FROM (SELECT k, y, count(*) AS n FROM g GROUP BY k, y) s WHERE s.y = f.x AND s.n = 1 AND s.k = f.k) AS n FROM f');
SELECT derive.create_view('outer_groups', 'SELECT f.id, s.x FROM f LEFT JOIN (SELECT x, y, sum(k) AS n FROM g GROUP BY x, y) s ON s.n = f.k');
SELECT derive.create_view('lateral_groups', 'SELECT h.id, l.n FROM h LEFT JOIN LATERAL (SELECT count(*) AS n FROM (SELECT DISTINCT x, y, h FROM g) d WHERE d.h = h.id) l ON true');
SELECT derive.create_view('windows_of_groups', 'SELECT s.x, rank() OVER (PARTITION BY n ORDER BY s.x) AS r FROM (SELECT x, count(*) AS n FROM g GROUP BY x) s JOIN h ON h.id = s.n');
SELECT derive.wait(timeout => '60 s');
SELECT v.view, l.line FROM derive.views v, looked_up(v.view) l WHERE l.line LIKE '%rows\_%' ORDER BY 1, 2;
SELECT v.view, i.def FROM derive.views v, indexes(v.view) i ORDER BY 1, 2;
INSERT INTO f VALUES (6000, 7, 7, 7, 7), (6001, NULL, NULL, NULL, NULL);
UPDATE g SET h = h + 1 WHERE k < 10;
DELETE FROM g WHERE k BETWEEN 100 AND 105;
UPDATE h SET x = x + 1 WHERE id < 3;
SELECT * FROM oracle_all();
SELECT comes_by('outer_groups', 'btree (c3)'), comes_by('lateral_groups', 'btree (c3)');
DROP TABLE f, g, h CASCADE;
DROP FUNCTION looked_up(regclass), indexes(regclass), comes_by(regclass, text), would_help(text);
