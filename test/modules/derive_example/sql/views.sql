-- Derivations and SELECTs over each other; listing; what maintenance offers.
CREATE SCHEMA views;
SET search_path = views, public;
CREATE TABLE t (id int PRIMARY KEY, body text, g int);
INSERT INTO t SELECT i, 'word' || i % 3 || ' and word' || i % 2, i % 4 FROM generate_series(1, 20) i;

-- SELECT -> C -> SELECT -> C
SELECT derive.create_view('some', 'SELECT id, body, g FROM t WHERE g < 3');
SELECT derive.create_view('words', 'word_count', '{some}', '(word text, n bigint)', options => '{"column": "body"}');
SELECT derive.create_view('frequent', 'SELECT upper(word) AS word, n FROM words WHERE n > 3');
SELECT derive.create_view('copies', 'mirror', '{words, frequent}', key => '{source, word}');
SELECT derive.create_view('counted', 'SELECT source, count(*), sum(n) FROM copies GROUP BY source');
SELECT derive.create_view('log', 'trace', '{t, words}');
SELECT view, oracle(view) FROM derive_state.view_states WHERE name <> 'log' AND schema = 'views' ORDER BY 1;
SELECT * FROM copies ORDER BY source, word COLLATE "C";
INSERT INTO t VALUES (21, 'word1', 0), (22, 'word1 word2', 3);
UPDATE t SET g = 0 WHERE id = 22;
UPDATE t SET body = body || ' more' WHERE id <= 4;
DELETE FROM t WHERE id % 5 = 0;
SELECT view, oracle(view) FROM derive_state.view_states WHERE name <> 'log' AND schema = 'views' ORDER BY 1;
SELECT * FROM copies ORDER BY source, word COLLATE "C";
SELECT * FROM counted ORDER BY 1;
SELECT derive.wait('log', timeout => '60 s');
-- what a trace sees of a view has no transaction
SELECT operation, source, old, new, xid IS NULL AS of_view FROM log WHERE operation <> 'build' AND source = 'words' AND new LIKE '%more%'
ORDER BY n;
TRUNCATE t;
INSERT INTO t VALUES (1, 'after', 1);
SELECT view, oracle(view) FROM derive_state.view_states WHERE name <> 'log' AND schema = 'views' ORDER BY 1;
SELECT * FROM copies ORDER BY source, word COLLATE "C";

-- One of them is computed anew; those above follow.
SELECT derive.repair('words');
INSERT INTO t SELECT i, 'x' || i % 3, 1 FROM generate_series(2, 30) i;
SELECT derive.pause('words');
INSERT INTO t VALUES (31, 'not seen yet', 1);
SELECT derive.resume('words');
SELECT view, oracle(view) FROM derive_state.view_states WHERE name <> 'log' AND schema = 'views' ORDER BY 1;
SELECT * FROM derive.verify('words');

-- Lists
SELECT name, state, query LIKE '%derive.apply(%' AS by_derivation, error FROM derive_state.view_states WHERE schema = 'views' ORDER BY name;
SELECT c.relname AS name, state, batches > 0 AS batches, changes_in > 0 AS changes, rows_inserted > 0 AS inserted FROM derive.stats s JOIN pg_class c ON c.oid = s.view
WHERE c.relnamespace = 'views'::regnamespace ORDER BY c.relname;
SELECT count(*) FROM derive.progress;
SELECT * FROM derive.explain('copies');
SELECT * FROM derive.explain('frequent');
-- rows of state tables
SELECT count(*) FROM derive_state.relations WHERE view = 'copies'::regclass AND role = 's';

-- Names
ALTER TABLE t RENAME TO "T able";
ALTER MATERIALIZED VIEW words RENAME TO "W'ords";
ALTER MATERIALIZED VIEW "W'ords" SET SCHEMA public;
INSERT INTO "T able" VALUES (40, 'renamed', 1);
SELECT view, oracle(view) FROM derive_state.view_states WHERE name <> 'log' ORDER BY 1;
SELECT derive.create_view('again', 'mirror', '{"\"T able\""}');
SELECT oracle('again');

-- REFRESH
REFRESH MATERIALIZED VIEW public."W'ords";
SELECT oracle('public."W''ords"'), oracle('copies');
REFRESH MATERIALIZED VIEW CONCURRENTLY again;
SELECT derive.release('again');
REFRESH MATERIALIZED VIEW again;
REFRESH MATERIALIZED VIEW again WITH NO DATA;
SELECT derive.maintain('again');
SELECT oracle('again');

-- Release and maintain again, with rows that are missing by then.
SELECT derive.release('copies');
SELECT derive.release('counted');
SELECT derive.release('copies');
SELECT count(*) FROM derive_state.relations WHERE view = 'copies'::regclass;
INSERT INTO "T able" VALUES (41, 'missing', 1);
SELECT derive.maintain('copies');
SELECT derive.maintain('counted');
SELECT oracle('copies'), oracle('counted');

-- Written by hand, a definition is as good.
CREATE MATERIALIZED VIEW by_hand AS
	SELECT * FROM derive.apply('mirror', ARRAY['"T able"'::regclass], NULL, NULL) AS t(source int, id int, g int);
SELECT derive.maintain('by_hand');
DELETE FROM "T able" WHERE id < 10;
SELECT oracle('by_hand');
-- or an ordinary query, once
SELECT count(*) FROM derive.apply('mirror', ARRAY['"T able"'::regclass], NULL, NULL) AS t(source int, id int);
CREATE MATERIALIZED VIEW once AS
	SELECT word, sum(n) FROM derive.apply('word_count', ARRAY['"T able"'::regclass], NULL, '{"column": "body"}') AS t(word text, n bigint) GROUP BY word;
SELECT derive.maintain('once');
SELECT derive.create_view('over', 'SELECT * FROM derive.apply(''mirror'', ARRAY[''"T able"''::regclass], NULL, NULL) AS t(source int, id int) WHERE id > 1');
SELECT derive.create_view('over', 'SELECT id, source FROM derive.apply(''mirror'', ARRAY[''"T able"''::regclass], NULL, NULL) AS t(source int, id int)');
SELECT derive.create_view('over', 'SELECT * FROM derive.apply(''mirror'', ARRAY[''"T able"''::regclass], NULL, NULL) AS t(source int, id int), "T able"');

-- In one transaction with what it reads, and rolled back.
BEGIN;
CREATE TABLE young (a int, b text);
INSERT INTO young VALUES (1, 'x');
SELECT derive.create_view('youngs', 'mirror', '{young}');
INSERT INTO young VALUES (2, 'y');
ROLLBACK;
BEGIN;
CREATE TABLE young (a int, b text);
INSERT INTO young VALUES (1, 'x');
SELECT derive.create_view('youngs', 'mirror', '{young}');
INSERT INTO young VALUES (2, 'y');
COMMIT;
SELECT oracle('youngs');
DROP MATERIALIZED VIEW youngs;
DROP TABLE "T able";
SET client_min_messages = warning;
DROP TABLE "T able" CASCADE;
SELECT * FROM derive.views;
DROP SCHEMA views CASCADE;
SELECT count(*) FROM derive_state.relations;
SELECT relname FROM pg_class WHERE relnamespace = 'derive_state'::regnamespace AND relname ~ '^(state|rows|scratch)_';
