-- JSON_VALUE, JSON_QUERY, JSON_EXISTS and JSON_TABLE, which PostgreSQL has from 17 on.
SELECT current_setting('server_version_num')::integer < 170000 AS before_17 \gset
\if :before_17
\quit
\endif
CREATE TYPE color AS ENUM ('red', 'green');
CREATE TYPE pair AS (x int, y text);
CREATE TABLE shape (x int, y text);
CREATE TABLE kind (a text COLLATE "C", n numeric(10, 2));
CREATE TABLE t (id int PRIMARY KEY, j jsonb);
INSERT INTO t VALUES (1, '{"a": 1, "c": "red", "p": {"x": 1, "y": "why"}}'), (2, '{"a": 2, "c": "blue", "p": {"z": "zed"}}'), (3, '{"a": 3}');

-- what is to be an error has no value of its own
SELECT derive.create_view('e_value', $$SELECT id, JSON_VALUE(j, '$.a' ERROR ON EMPTY) AS v FROM t$$);
SELECT derive.create_view('e_both', $$SELECT id, JSON_VALUE(j, '$.a' RETURNING int ERROR ON EMPTY ERROR ON ERROR) AS v FROM t$$);
SELECT derive.create_view('e_query', $$SELECT id, JSON_QUERY(j, '$.p' ERROR ON ERROR) AS v FROM t$$);
SELECT derive.create_view('e_exists', $$SELECT id, JSON_EXISTS(j, '$.p' ERROR ON ERROR) AS v FROM t$$);
SELECT derive.create_view('e_table', $$SELECT id, x.* FROM t, JSON_TABLE(j, '$' COLUMNS (a int PATH '$.a' ERROR ON EMPTY ERROR ON ERROR, c text PATH '$.c', e boolean EXISTS PATH '$.p' ERROR ON ERROR)) x$$);
SELECT derive.create_view('e_all', $$SELECT x.a, count(*) FROM t, JSON_TABLE(j, '$' COLUMNS (a int PATH '$.a') ERROR ON ERROR) x GROUP BY x.a$$);
SELECT * FROM oracle_all();
INSERT INTO t SELECT i, jsonb_build_object('a', i % 4, 'c', 'green') FROM generate_series(4, 9) i;
UPDATE t SET j = j || '{"a": 5}' WHERE id < 3;
SELECT * FROM oracle_all();

-- a value of an enum that was none; other names of values, and of what a row consists of
SELECT derive.create_view('r_enum', $$SELECT id, JSON_VALUE(j, '$.c' RETURNING color NULL ON ERROR) AS v FROM t$$);
SELECT derive.create_view('r_text', $$SELECT id, JSON_VALUE(j, '$.c' RETURNING color NULL ON ERROR)::text AS v FROM t$$);
SELECT derive.create_view('r_array', $$SELECT id, JSON_QUERY(j, '$.c' RETURNING color[] WITH WRAPPER NULL ON ERROR)::text AS v FROM t$$);
SELECT derive.create_view('r_table', $$SELECT x.v::text, count(*) FROM t, JSON_TABLE(j, '$' COLUMNS (v color PATH '$.c' DEFAULT 'green' ON ERROR)) x GROUP BY x.v$$);
SELECT derive.create_view('r_pair', $$SELECT id, (JSON_QUERY(j, '$.p' RETURNING pair)).y AS v FROM t$$);
SELECT derive.create_view('r_pairs', $$SELECT id, (JSON_QUERY(j, '$.p' RETURNING pair[] WITH WRAPPER))[1].y AS v FROM t$$);
SELECT derive.create_view('r_row', $$SELECT id, to_jsonb(JSON_QUERY(j, '$.p' RETURNING shape)) AS v FROM t$$);
SELECT derive.create_view('r_build', $$SELECT id, JSON_ARRAY(JSON_QUERY(j, '$.p' RETURNING shape) RETURNING jsonb) AS v FROM t$$);
CREATE VIEW plain AS SELECT id, JSON_VALUE(j, '$.c' RETURNING color NULL ON ERROR)::text AS v FROM t;
SELECT derive.create_view('r_plain', 'SELECT v, count(*) FROM plain GROUP BY v');
SELECT derive.create_view('r_json', $$SELECT id, JSON_ARRAY(JSON_VALUE(j, '$.c' RETURNING color NULL ON ERROR) RETURNING text) AS v FROM t$$);
SELECT * FROM oracle_all();
ALTER TYPE color ADD VALUE 'blue';
SELECT * FROM oracle_all();
SELECT v FROM r_text WHERE id = 2;
ALTER TYPE color RENAME VALUE 'red' TO 'pink';
SELECT * FROM oracle_all();
ALTER TYPE pair RENAME ATTRIBUTE y TO z;
ALTER TYPE pair RENAME ATTRIBUTE x TO y;
ALTER TABLE shape RENAME COLUMN y TO z;
SELECT * FROM oracle_all();
SELECT v FROM r_row WHERE id = 2;
ALTER TABLE shape ADD COLUMN y int;
SELECT * FROM oracle_all();
CREATE FUNCTION color_json(color) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT to_json($1::text || '!')$$;
CREATE CAST (color AS json) WITH FUNCTION color_json(color);
SELECT * FROM oracle_all();
CREATE OR REPLACE FUNCTION color_json(color) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT to_json($1::text || '?')$$;
SELECT * FROM oracle_all();
SELECT v FROM r_json WHERE id IN (1, 4);
UPDATE t SET j = j || '{"c": "pink"}';
SELECT * FROM oracle_all();
DROP CAST (color AS json);
SELECT * FROM oracle_all();

-- columns of which only how exact they are, or how they are sorted, becomes another one
SELECT derive.create_view('k_row', $$SELECT id, to_jsonb(JSON_QUERY(j, '$.k' RETURNING kind)) AS v FROM t$$);
SELECT derive.create_view('k_sorted', $$SELECT id, JSON_QUERY(j, '$.k' RETURNING kind) < JSON_QUERY(jsonb '{"a": "a"}', '$' RETURNING kind) AS v FROM t$$);
UPDATE t SET j = j || '{"k": {"a": "B", "n": 1.25}}' WHERE id < 3;
SELECT * FROM oracle_all();
ALTER TABLE kind ALTER COLUMN n TYPE numeric(10, 1);
SELECT * FROM oracle_all();
SELECT v FROM k_row WHERE id = 1;
ALTER TABLE kind ALTER COLUMN a TYPE text COLLATE "und-x-icu";
SELECT * FROM oracle_all();
SELECT v FROM k_sorted WHERE id = 1;

-- a domain, whose constraints would decide on the result
CREATE DOMAIN small AS int CONSTRAINT few CHECK (VALUE < 3);
CREATE DOMAIN tiny AS small;
CREATE TYPE smalls AS (s tiny);
SELECT derive.create_view('d', $$SELECT id, JSON_VALUE(j, '$.a' RETURNING small NULL ON ERROR) AS v FROM t$$);
SELECT derive.create_view('d', $$SELECT id, JSON_VALUE(j, '$.a' RETURNING tiny) AS v FROM t$$);
SELECT derive.create_view('d', $$SELECT id, JSON_QUERY(j, '$.p' RETURNING smalls EMPTY ON ERROR)::text AS v FROM t$$);
SELECT derive.create_view('d', $$SELECT id, JSON_QUERY(j, '$.a' RETURNING small[] WITH WRAPPER NULL ON ERROR)::text AS v FROM t$$);
SELECT derive.create_view('d', $$SELECT id, x.v FROM t, JSON_TABLE(j, '$' COLUMNS (v small PATH '$.a' DEFAULT -1 ON ERROR)) x$$);
SELECT derive.create_view('d', $$SELECT id, x.v FROM t, JSON_TABLE(j, '$' COLUMNS (v int PATH '$.a', w small PATH '$.a')) x$$);
SELECT derive.create_view('d', $$SELECT id, x.v FROM t, JSON_TABLE(j, '$' COLUMNS (v small PATH '$.a') ERROR ON ERROR) x$$);
SELECT derive.create_view('d_value', $$SELECT id, JSON_VALUE(j, '$.b' RETURNING small ERROR ON ERROR) AS v FROM t$$);
SELECT derive.create_view('d_table', $$SELECT id, x.v FROM t, JSON_TABLE(j, '$' COLUMNS (v small PATH '$.b' ERROR ON ERROR)) x$$);
SELECT * FROM oracle_all();
-- one that comes to where it was none
DROP MATERIALIZED VIEW k_sorted;
ALTER TABLE kind ADD COLUMN s small;
SELECT derive.wait('k_row', timeout => '60 s');
ALTER TABLE kind DROP COLUMN s;
SELECT derive.repair('k_row');
SELECT * FROM oracle_all();
ALTER DOMAIN small DROP CONSTRAINT few;
UPDATE t SET j = j || '{"b": 4}' WHERE id = 2;
SELECT * FROM oracle_all();
SET client_min_messages = warning;
DROP TABLE t CASCADE;
DROP TABLE shape, kind;
DROP TYPE smalls, pair, color CASCADE;
DROP DOMAIN tiny, small;
