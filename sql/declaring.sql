-- derive.create_view() in all of its forms, with and without data, and derive.drop_view().
CREATE SCHEMA dcl;
SET search_path = dcl, public;
CREATE TABLE dcl.log (id int PRIMARY KEY, user_id int, at timestamptz);
CREATE TABLE dcl.log2 (LIKE dcl.log INCLUDING ALL);
CREATE TABLE dcl."S s" (LIKE dcl.log INCLUDING ALL);
CREATE TABLE dcl.t (LIKE dcl.log INCLUDING ALL);
INSERT INTO dcl.log SELECT n, n % 3, timestamptz '2026-01-01 UTC' + n * interval '10 min' FROM generate_series(1, 20) n;
\set options '\'{"user": "user_id", "time": "at"}\''

-- Which function is meant?
SELECT derive.create_view('a1', 'SELECT id FROM log');
SELECT derive.create_view('a2', 'SELECT id FROM log', true);
SELECT derive.create_view('a3', 'SELECT id FROM log', false, true);
SELECT derive.create_view('a4', query => 'SELECT id FROM log', if_not_exists => 'on');
SELECT derive.create_view(name => 'a5', query => 'SELECT id FROM log', with_data => true);
SELECT derive.create_view('b1', 'sessionize', 'log', options => :options);
SELECT derive.create_view('b2', 'sessionize', '{log}', options => :options);
SELECT derive.create_view('b3', 'sessionize', ' { log2 } ', NULL, NULL, :options);
SELECT derive.create_view('b4', 'sessionize', '"S s"', NULL, NULL, :options, true);
SELECT derive.create_view('b5', 'sessionize', '{"\"S s\""}', NULL, NULL, :options, true, true);
SELECT derive.create_view('b6', 'sessionize', ARRAY['log'], options => :options);
SELECT derive.create_view('b7', 'sessionize', ARRAY['log'::regclass], options => :options);
SELECT derive.create_view('b8', 'sessionize', 'log'::text, options => :options, if_not_exists => true);
SELECT derive.create_view('b9', derivation => 'sessionize', sources => 'log', options => :options);
SELECT derive.create_view(name => 'b10', derivation => 'sessionize', sources => '{log}', options => :options, with_data => true);
SELECT derive.create_view('b11', 'sessionize', 't', options => :options);
SELECT derive.create_view('b12', 'sessionize', 'dcl.log', options => :options);
SELECT derive.create_view(n, 'sessionize', s, options => :options) FROM (VALUES ('b13', 'log'), ('b14', '{log2}')) v(n, s);
-- a parameter of unknown type is a text, as a literal
PREPARE p1 AS SELECT derive.create_view($1, $2);
PREPARE p2 AS SELECT derive.create_view($1, $2, $3);
PREPARE p3 AS SELECT derive.create_view($1, $2, $3, options => $4);
PREPARE p4 AS SELECT derive.create_view($1, $2, if_not_exists => $3);
PREPARE p5 (text, text, boolean) AS SELECT derive.create_view($1, $2, $3);
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
EXECUTE p1('c1', 'SELECT id FROM log');
EXECUTE p3('c2', 'sessionize', 'log', :options);
EXECUTE p3('c3', 'sessionize', '{log}', :options);
EXECUTE p4('c4', 'SELECT id FROM log', 'true');
EXECUTE p4('c4', 'SELECT id FROM log', 'true');
EXECUTE p5('c5', 'SELECT id FROM log', true);
EXECUTE p5('c5', 'SELECT id FROM log', true);
EXECUTE p2('c6', 'SELECT id FROM log', 'true');
DEALLOCATE ALL;
-- what is neither
SELECT derive.create_view('d', 'SELECT id FROM log', 'yes');
SELECT derive.create_view('d', 'sessionize', 'nothing');
SELECT derive.create_view('d', 'sessionize', '{log, nothing}');
SELECT derive.create_view('d', 'sessionize', '');
SELECT derive.create_view('d', 'sessionize', '{log');
SELECT derive.create_view('d', 'sessionize', 'a.b.c.d');
SELECT derive.create_view('d', 'sessionize', NULL);
SELECT derive.create_view('d', 'sessionize', '-');
SELECT derive.create_view('d', 'sessionize', 'log', if_not_exists => NULL);
SELECT derive.create_view('d', 'SELECT 1', NULL::boolean);
SELECT derive.create_view('d', 'SELECT 1', with_data => NULL);
SELECT derive.create_view('d', 'SELECT 1', 1);
SELECT derive.wait(NULL, '60s');
SELECT * FROM oracle_all();
SELECT count(*), count(DISTINCT v::text) FROM (SELECT b1::text FROM b1 UNION ALL SELECT b2::text FROM b2 UNION ALL SELECT b6::text FROM b6 UNION ALL SELECT b8::text FROM b8) s(v);

-- IF NOT EXISTS: a notice, and what is there.
CREATE TABLE dcl.plain (a int);
CREATE MATERIALIZED VIEW dcl.ordinary AS SELECT 1 AS a;
SELECT derive.create_view('a1', 'SELECT user_id FROM log');
SELECT derive.create_view('a1', 'SELECT user_id FROM log', true);
SELECT derive.create_view('dcl.a1', 'not even a query', true);
SELECT derive.create_view('b1', 'sessionize', 'log', options => :options, if_not_exists => true);
SELECT derive.create_view('plain', 'SELECT 1', true);
SELECT derive.create_view('ordinary', 'SELECT 1', true);
CREATE VIEW v AS SELECT 1 AS a;
SELECT derive.create_view('v', 'SELECT 1', true);
SELECT derive.create_view('nowhere.a1', 'SELECT 1', true);
SELECT derive.create_topic('events', 'word text');
SELECT derive.create_topic('events', 'word text');
SELECT derive.create_topic('events', 'word text', if_not_exists => true);
SELECT derive.create_topic('events2', 'word text', NULL, NULL, true);
SELECT min(id) FROM a1;

-- Without data: declared, and standing still.
SELECT derive.create_view('e1', 'SELECT user_id, count(*) AS n FROM log GROUP BY user_id', with_data => false);
SELECT derive.create_view('e2', 'sessionize', 'log', options => :options, with_data => false);
SELECT derive.create_view('e3', 'SELECT user_id, count(*) AS n FROM log GROUP BY user_id', with_data => false);
SELECT derive.create_view('e4', 'topic', '{}', '(event_id bigint, event_lsn pg_lsn, event_time timestamptz, word text)', with_data => false);
SELECT view, state, error FROM derive.views WHERE view::text LIKE 'e_' ORDER BY 1;
SELECT relname FROM pg_class WHERE relnamespace = 'dcl'::regnamespace AND relname LIKE 'e_' AND NOT relispopulated ORDER BY 1;
SELECT derive.wait('e1', '10s');
SELECT * FROM e1;
SELECT derive.verify('e1');
SELECT derive.pause('e1');
SELECT derive.repair('e1');
-- others go on
INSERT INTO log VALUES (21, 1, '2026-01-02 UTC');
SELECT derive.wait('b1', '60s');
-- resumed
SELECT derive.resume('e1');
SELECT oracle('e1');
-- refreshed, alone and with what the transaction has written
SET client_min_messages = warning;
REFRESH MATERIALIZED VIEW e2;
SELECT count(*) > 0 AS filled FROM e2;
SELECT oracle('e2');
BEGIN;
INSERT INTO log VALUES (22, 1, '2026-01-03 UTC');
REFRESH MATERIALIZED VIEW e3;
SELECT sum(n) FROM e3;
SELECT state FROM derive.views WHERE view = 'e3'::regclass;
ROLLBACK;
SELECT state FROM derive.views WHERE view = 'e3'::regclass;
SELECT * FROM e3;
BEGIN;
INSERT INTO log VALUES (22, 1, '2026-01-03 UTC');
REFRESH MATERIALIZED VIEW e3;
SELECT sum(n) FROM e3;
COMMIT;
SELECT oracle('e3');
-- declared and filled by one transaction
BEGIN;
SELECT derive.create_view('e5', 'SELECT count(*) FROM log', with_data => false);
REFRESH MATERIALIZED VIEW e5;
TABLE e5;
SELECT derive.create_view('e6', 'SELECT count(*) FROM log');
REFRESH MATERIALIZED VIEW e6;
TABLE e6;
COMMIT;
RESET client_min_messages;
-- a view with data has what was committed before
SELECT derive.wait('e5', '60s'), derive.wait('e6', '60s');
BEGIN;
INSERT INTO log VALUES (24, 2, '2026-01-03 UTC');
REFRESH MATERIALIZED VIEW e5;
TABLE e5;
SELECT derive.pause('e6');
REFRESH MATERIALIZED VIEW e6;
ROLLBACK;
INSERT INTO log VALUES (24, 2, '2026-01-03 UTC');
REFRESH MATERIALIZED VIEW e5;
TABLE e5;
DELETE FROM log WHERE id = 24;
BEGIN;
REFRESH MATERIALIZED VIEW e5;
TABLE e5;
COMMIT;
INSERT INTO log VALUES (23, 2, '2026-01-03 UTC');
SELECT oracle('e5'), oracle('e6');

-- A view over one without data fails, and comes by itself when that has data.
SELECT derive.create_view('f1', 'SELECT user_id, count(*) AS n FROM log GROUP BY user_id', with_data => false);
SELECT derive.create_view('f2', 'SELECT sum(n) FROM f1');
DO $$ BEGIN
	FOR i IN 1 .. 600 LOOP
		EXIT WHEN (SELECT state = 'failed' FROM derive.views WHERE view = 'f2'::regclass);
		PERFORM pg_sleep(0.1);
		COMMIT;
	END LOOP;
END $$;
SELECT view, state, error FROM derive.views WHERE view::text LIKE 'f_' ORDER BY 1;
SELECT derive.resume('f1');
SELECT oracle('f1');
DO $$ BEGIN
	FOR i IN 1 .. 600 LOOP
		EXIT WHEN (SELECT state <> 'failed' FROM derive.views WHERE view = 'f2'::regclass);
		PERFORM pg_sleep(0.1);
		COMMIT;
	END LOOP;
END $$;
SELECT oracle('f2');
SELECT derive.create_view('f3', 'SELECT count(*) FROM log', with_data => false);
SELECT derive.release('f3');
REFRESH MATERIALIZED VIEW f3;
TABLE f3;
SELECT count(*) FROM derive.views WHERE view = 'f3'::regclass;

-- maintain() fills a view that has no data.
CREATE MATERIALIZED VIEW g1 AS SELECT count(*) FROM log WITH NO DATA;
SELECT derive.maintain('g1');
SELECT oracle('g1');
SELECT derive.create_view('g2', 'SELECT count(*) FROM log', with_data => false);
SELECT derive.maintain('g2');

-- What is advised: an index where a table is large, with its partitions; and no ORDER BY.
CREATE TABLE dcl.small (id int PRIMARY KEY, a int);
CREATE TABLE dcl.large (id int PRIMARY KEY, a int, filler text);
CREATE TABLE dcl.parts (id int, a int, filler text) PARTITION BY LIST (id);
CREATE TABLE dcl.part0 PARTITION OF dcl.parts FOR VALUES IN (0);
CREATE TABLE dcl.part1 PARTITION OF dcl.parts FOR VALUES IN (1);
INSERT INTO dcl.large SELECT n, n % 100, repeat('x', 500) FROM generate_series(1, 3000) n;
INSERT INTO dcl.parts SELECT n % 2, n % 100, repeat('x', 500) FROM generate_series(1, 3000) n;
SELECT derive.create_view('h1', 'SELECT s.id FROM small s JOIN small t ON t.a = s.id');
SELECT derive.create_view('h2', 'SELECT s.id FROM small s JOIN large t ON t.a = s.id');
SELECT derive.create_view('h3', 'SELECT s.id FROM small s JOIN parts t ON t.a = s.id ORDER BY 1');
SELECT derive.create_view('h4', 'SELECT s.a FROM small s ORDER BY a');
SELECT derive.create_view('h5', 'SELECT DISTINCT ON (s.a) s.a, id FROM small s ORDER BY a, id');
SELECT derive.create_view('h6', 'SELECT a FROM small ORDER BY a LIMIT 3');
SELECT derive.create_view('h7', 'SELECT a FROM small UNION SELECT id FROM small ORDER BY 1');
SELECT derive.create_view('h8', 'SELECT array_agg(a ORDER BY id), (SELECT max(a) FROM small t WHERE t.id = 1 ORDER BY 1) FROM small s');
CREATE MATERIALIZED VIEW h9 AS SELECT * FROM (SELECT a FROM small ORDER BY a) s ORDER BY 1;
SELECT derive.maintain('h9');
SELECT * FROM derive.explain('h1') AS line WHERE line LIKE '%Would help%';
SELECT oracle(view) FROM unnest('{h1, h2, h3, h4, h5, h6, h7, h8, h9}'::regclass[]) view;

-- drop_view
CREATE ROLE dcl_other;
SELECT derive.drop_view('g2');
SELECT derive.drop_view('g2');
SELECT derive.drop_view('g2', true);
SELECT derive.drop_view('nowhere.g2', if_exists => true);
SELECT derive.drop_view('plain');
SELECT derive.drop_view('plain', if_exists => true);
SELECT derive.drop_view('v');
SELECT derive.drop_view('ordinary', cascade => true);
SELECT derive.drop_view(NULL);
SELECT derive.drop_view('g1', NULL);
SELECT derive.drop_view('f1');
SELECT derive.drop_view('f1', cascade => true);
SELECT derive.drop_view('dcl.e1');
SELECT derive.drop_view('events');
SELECT derive.drop_view('derive_state.views', true);
GRANT USAGE ON SCHEMA dcl TO dcl_other;
GRANT SELECT ON e2 TO dcl_other;
SET ROLE dcl_other;
SELECT derive.drop_view('e2');
SELECT derive.drop_view('e2', true, true);
RESET ROLE;
ALTER MATERIALIZED VIEW e2 OWNER TO dcl_other;
SET ROLE dcl_other;
SELECT derive.drop_view('e2');
RESET ROLE;
BEGIN;
SELECT derive.drop_view('e3');
ROLLBACK;
SELECT oracle('e3');
CREATE SCHEMA "D d";
SELECT derive.create_view('"D d"."V.v"', 'SELECT count(*) FROM log');
SELECT derive.drop_view('"D d"."V.v"');
SELECT view FROM derive.views WHERE view::text ~ '^(e1|e2|f|g2|events|"D)' ORDER BY 1;
SELECT count(*) AS left_over FROM pg_class c WHERE relnamespace = 'derive_state'::regnamespace
	AND c.oid::regclass::text ~ '_\d+_\d+$' AND NOT EXISTS (
		SELECT FROM derive.views v WHERE c.relname ~ ('_' || v.view::oid || '_'));

SET client_min_messages = warning;
DROP SCHEMA dcl, "D d" CASCADE;
DROP ROLE dcl_other;
RESET client_min_messages;
RESET search_path;
