-- Every kind of data type, with and without equality, TOAST, generated columns.
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE color AS ENUM ('red', 'green', 'blue');
CREATE TABLE t (id int, js json, x xml, pt point, jb jsonb, arr int[], r int4range, mr nummultirange, dom positive, co pair, en color,
	u uuid, ip inet, by bytea, iv interval, tv tsvector, bx box, big text,
	ch char(5), vb varbit, nm name, tt timetz, f8 float8, arr2 pair[], gen int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
CREATE FUNCTION fill_types(lo int, hi int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO t SELECT i, json_build_object('k', i), xmlparse(CONTENT '<a>' || i || '</a>'), point(i, i), jsonb_build_object('k', i % 3),
	ARRAY[i, NULL, i % 2], int4range(i, i + 5), nummultirange(numrange(i, i + 1)), i + 1, ROW(i % 3, 'p')::pair, (ARRAY['red', 'green', 'blue'])[1 + i % 3]::color,
	('00000000-0000-0000-0000-0000000000' || lpad((i % 10)::text, 2, '0'))::uuid, ('10.0.0.' || i % 5)::inet, decode(lpad(to_hex(i % 4), 2, '0'), 'hex'),
	i * interval '1 day', to_tsvector('simple', 'word' || i % 3), box(point(0, 0), point(i, i)), repeat('x' || i % 2, 5000),
	'c' || i % 3, (i % 16)::bit(4)::varbit, 'n' || i % 3, '12:00+00'::timetz + i % 3 * interval '1 hour', i / 2.0, ARRAY[ROW(i % 2, 'e')::pair]
	FROM generate_series(lo, hi) i $$;
SELECT fill_types(1, 12);
INSERT INTO t (id) VALUES (NULL), (NULL), (50);

SELECT derive.create_view('ty_all', 'SELECT * FROM t');
SELECT derive.create_view('ty_json', 'SELECT js, x, pt, bx FROM t');
SELECT derive.create_view('ty_json_join', $$SELECT l.js, r.pt FROM t l JOIN t r ON l.id = r.id + 1$$);
SELECT derive.create_view('ty_group_hash', 'SELECT jb, en, u, count(*) FROM t GROUP BY jb, en, u');
SELECT derive.create_view('ty_group_arr', 'SELECT arr2, r, count(*) AS n, max(arr) AS m FROM t GROUP BY arr2, r');
SELECT derive.create_view('ty_group_big', 'SELECT big, count(*) FROM t GROUP BY big');
SELECT derive.create_view('ty_group_co', 'SELECT co, dom, ip, by, count(*) FROM t GROUP BY co, dom, ip, by');
SELECT derive.create_view('ty_group_sortonly', 'SELECT tv, vb, ch, nm, tt, iv, count(*) FROM t GROUP BY tv, vb, ch, nm, tt, iv');
SELECT derive.create_view('ty_group_f8', 'SELECT f8, count(*) FROM t GROUP BY f8');
SELECT derive.create_view('ty_distinct_big', 'SELECT DISTINCT left(big, 3000) AS big FROM t');
SELECT derive.create_view('ty_mr', 'SELECT DISTINCT mr FROM t');
SELECT derive.create_view('ty_agg', $$SELECT en, json_agg(js ORDER BY id) AS j, array_agg(co ORDER BY id) AS c, xmlagg(x ORDER BY id) AS x, range_agg(r) AS ra FROM t WHERE id IS NOT NULL GROUP BY en$$);
SELECT derive.create_view('ty_gen', 'SELECT gen, count(*), max(big) FROM t GROUP BY gen');
SELECT derive.create_view('ty_toastless', 'SELECT id, en FROM t');
SELECT * FROM oracle_all();

SELECT fill_types(13, 20);
SELECT * FROM oracle_all();
-- TOASTed values that do not change
UPDATE t SET dom = dom + 1 WHERE id % 2 = 0;
SELECT * FROM oracle_all();
UPDATE t SET big = big || 'y' WHERE id % 5 = 0;
SELECT * FROM oracle_all();
UPDATE t SET js = '{"other": 1}', x = '<b/>', pt = '(9,9)', co = NULL, arr = NULL, f8 = '-0' WHERE id % 4 = 0;
SELECT * FROM oracle_all();
UPDATE t SET f8 = '0' WHERE id = 4;
UPDATE t SET f8 = 'NaN' WHERE id = 8;
SELECT * FROM oracle_all();
DELETE FROM t WHERE id IS NULL AND ctid IN (SELECT min(ctid) FROM t WHERE id IS NULL);
SELECT * FROM oracle_all();
DELETE FROM t WHERE id > 9;
SELECT * FROM oracle_all();
-- a row of some megabytes
INSERT INTO t (id, big) VALUES (100, repeat('0123456789', 500000));
UPDATE t SET dom = 3 WHERE id = 100;
SELECT * FROM oracle_all();
DELETE FROM t WHERE id = 100;
SELECT * FROM oracle_all();

-- 200 columns; an empty table; a table without columns that matter
SELECT 'CREATE TABLE wide (' || string_agg('c' || i || ' int', ', ') || ')' FROM generate_series(1, 200) i \gexec
SELECT derive.create_view('ty_wide', 'SELECT * FROM wide');
SELECT derive.create_view('ty_wide_distinct', 'SELECT DISTINCT * FROM wide');
SELECT derive.create_view('ty_wide_count', 'SELECT count(*) FROM wide');
SELECT * FROM oracle_all();
INSERT INTO wide (c1, c200) SELECT i, i FROM generate_series(1, 10) i;
UPDATE wide SET c100 = 1 WHERE c1 < 4;
DELETE FROM wide WHERE c1 = 9;
SELECT * FROM oracle_all();
DROP TABLE wide, t CASCADE;
DROP FUNCTION fill_types;
DROP TYPE pair, color CASCADE;
DROP DOMAIN positive;
