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
DROP FUNCTION looked_up(regclass), indexes(regclass), comes_by(regclass, text);
