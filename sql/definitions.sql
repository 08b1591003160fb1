-- Redefining what a maintained view relies on.
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t SELECT i, i FROM generate_series(1, 10) i;
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION plus(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 + $2; END';
CREATE OPERATOR <+> (leftarg = int, rightarg = int, function = plus);
CREATE VIEW small AS SELECT id, twice(v) AS v FROM t WHERE v < 5;
SELECT derive.create_view('f_plain', 'SELECT v, count(*) FROM small GROUP BY v');
SELECT derive.create_view('f_operator', 'SELECT id, id <+> v AS x FROM t');
SELECT derive.create_view('f_view', 'SELECT max(v) FROM f_plain');
SELECT * FROM oracle_all();
-- a function: recomputed
CREATE OR REPLACE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 3';
SELECT * FROM oracle_all();
CREATE OR REPLACE FUNCTION plus(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 - $2; END';
SELECT * FROM oracle_all();
UPDATE t SET v = v + 1;
SELECT * FROM oracle_all();
BEGIN;
CREATE OR REPLACE FUNCTION plus(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 0; END';
ROLLBACK;
DELETE FROM t WHERE id = 3;
SELECT * FROM oracle_all();
-- a plain view: refused
CREATE OR REPLACE VIEW small AS SELECT id, twice(v) AS v FROM t WHERE v < 3;
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO small DO INSTEAD SELECT id, v FROM t;
ALTER VIEW small RENAME TO little;
ALTER VIEW little RENAME COLUMN v TO w;
INSERT INTO t VALUES (100, 1);
SELECT * FROM oracle_all();
SELECT derive.release('f_plain');
SELECT derive.release('f_view');
SELECT derive.release('f_plain');
CREATE OR REPLACE VIEW little AS SELECT id, twice(v) AS w FROM t WHERE v < 3;
SELECT derive.maintain('f_plain');
SELECT derive.maintain('f_view');
SELECT * FROM oracle_all();
-- a function that fails: only that view, until it works again
CREATE OR REPLACE FUNCTION plus(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1 / ($1 - 100); END';
SELECT derive.wait('f_operator', timeout => '60 s');
SELECT oracle('f_plain');
SELECT view, state, error FROM derive.views ORDER BY view::text;
DELETE FROM t WHERE id = 100;
SELECT derive.resume('f_operator');
SELECT * FROM oracle_all();
INSERT INTO t VALUES (100, 1);
SELECT derive.wait('f_operator', timeout => '60 s');
DELETE FROM t WHERE id = 100;
SELECT derive.repair('f_operator');
SELECT * FROM oracle_all();
DROP FUNCTION twice(int);
DROP TABLE t CASCADE;
DROP FUNCTION twice(int);
DROP OPERATOR <+> (int, int);
DROP FUNCTION plus(int, int);

-- the values of an enum are renamed: texts made of them change
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE moods (id int, m mood, ms mood[]);
INSERT INTO moods VALUES (1, 'sad', '{sad,happy}'), (2, 'happy', NULL);
SELECT derive.create_view('e_json', 'SELECT id, to_jsonb(m) AS j, ms::text AS t FROM moods');
SELECT derive.create_view('e_group', 'SELECT m, count(*) FROM moods GROUP BY m');
-- inside of composite types, at any depth
CREATE TYPE felt AS (n int, m mood);
CREATE DOMAIN felt_often AS felt[];
CREATE TYPE remembered AS (f felt_often, at date);
CREATE TABLE memories (id int, f felt, r remembered);
INSERT INTO memories VALUES (1, (1, 'sad'), (ARRAY[(2, 'sad'), (3, 'happy')]::felt[], '2026-01-01')), (2, (1, 'happy'), NULL);
SELECT derive.create_view('e_text', 'SELECT id, f::text AS t FROM memories');
SELECT derive.create_view('e_deep', 'SELECT jsonb_agg(r) AS rs FROM memories');
SELECT * FROM oracle_all();
ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy';
SELECT * FROM oracle_all();
SELECT * FROM e_json ORDER BY id;
SELECT * FROM e_text ORDER BY id;
SELECT * FROM e_deep;
DROP TABLE moods, memories CASCADE;
DROP TYPE mood CASCADE;

-- An aggregate that is maintained in another way from now on, a function that may not be called any more.
CREATE TABLE t (id int PRIMARY KEY, g int, v int);
INSERT INTO t SELECT i, i % 4, i % 7 FROM generate_series(1, 20) i;
CREATE FUNCTION add(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, 0) + $2';
CREATE FUNCTION take(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2';
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE AGGREGATE isum(int) (sfunc = add, stype = int, initcond = '0');
SELECT derive.create_view('redefined', 'SELECT g, isum(v), count(*) FROM t GROUP BY g');
SELECT derive.create_view('called', 'SELECT twice(v) FROM t');
SELECT * FROM oracle_all();
CREATE OR REPLACE AGGREGATE isum(int) (sfunc = add, stype = int, initcond = '0', combinefunc = add, msfunc = add, minvfunc = take, mstype = int, minitcond = '0');
ALTER FUNCTION twice(int) VOLATILE;
UPDATE t SET v = v + 1;
SELECT derive.wait('redefined', timeout => '60 s');
SELECT derive.wait('called', timeout => '60 s');
SELECT derive.release('redefined');
SELECT derive.maintain('redefined');
ALTER FUNCTION twice(int) IMMUTABLE;
SELECT derive.repair('called');
UPDATE t SET v = v + 1 WHERE id < 5;
SELECT * FROM oracle_all();
DROP TABLE t CASCADE;
DROP AGGREGATE isum(int);
DROP FUNCTION add(int, int), take(int, int), twice(int);

-- to_json() and its kin call a cast to json, of types at any depth, which may come, change and go.
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN state AS mood;
CREATE TYPE pair AS (n int, s state);
CREATE TABLE moods (id int PRIMARY KEY, m mood, s state, ms mood[], p pair);
INSERT INTO moods VALUES (1, 'sad', 'happy', '{sad,happy}', (1, 'sad')), (2, 'happy', NULL, NULL, (NULL, 'happy'));
SELECT derive.create_view('j_one', 'SELECT id, to_jsonb(m) AS j FROM moods');
SELECT derive.create_view('j_domain', $$SELECT id, json_build_object('s', s)::text AS j FROM moods$$);
SELECT derive.create_view('j_array', 'SELECT id, array_to_json(ms)::text AS j FROM moods');
SELECT derive.create_view('j_row', 'SELECT id, row_to_json(ROW(1, p))::text AS j FROM moods');
SELECT derive.create_view('j_whole', 'SELECT to_json(moods)::text AS j FROM moods');
SELECT derive.create_view('j_agg', 'SELECT jsonb_agg(p ORDER BY id) AS p, json_object_agg(id, ms ORDER BY id)::text AS o FROM moods');
SELECT * FROM oracle_all();
CREATE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT to_json($1::text || '!')$$;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
SELECT * FROM oracle_all();
SELECT * FROM j_one ORDER BY id;
CREATE OR REPLACE FUNCTION mood_json(mood) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT to_json($1::text || '?')$$;
SELECT * FROM oracle_all();
UPDATE moods SET id = id + 10;
SELECT * FROM oracle_all();
SELECT p FROM j_agg;
DROP CAST (mood AS json);
SELECT * FROM oracle_all();
SELECT * FROM j_one ORDER BY id;
-- it may be called only if it is IMMUTABLE; text is made without it
ALTER FUNCTION mood_json(mood) STABLE;
SELECT derive.release(v) FROM unnest('{j_domain,j_array,j_row,j_whole,j_agg}'::regclass[]) v;
CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
SELECT derive.wait('j_one', timeout => '60 s');
SELECT derive.maintain('j_domain');
SELECT derive.maintain('j_array');
SELECT derive.maintain('j_row');
SELECT derive.maintain('j_whole');
SELECT derive.maintain('j_agg');
SELECT derive.create_view('j_text', $$SELECT id, m::text, p::text AS t, concat(ms, s), format('%s', p) FROM moods$$);
DROP FUNCTION mood_json(mood) CASCADE;
SELECT derive.repair('j_one');
SELECT derive.maintain('j_agg');
SELECT * FROM oracle_all();
DROP TABLE moods CASCADE;
DROP TYPE pair;
DROP DOMAIN state;
DROP TYPE mood;

-- how rows and arrays of a type are compared, and its values sorted, grouped and numbered
CREATE TYPE version AS (major int, minor int);
CREATE TYPE tagged AS (tag int, v version);
CREATE TABLE releases (id int PRIMARY KEY, v version, w version);
INSERT INTO releases SELECT i, ROW(i % 4, i % 5)::version, ROW(i % 3, i % 2)::version FROM generate_series(1, 30) i;
CREATE FUNCTION version_compare(a version, b version) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp(b.minor, a.minor)';
DO $$
DECLARE
	o record;
BEGIN
	FOR o IN SELECT * FROM (VALUES ('lt', '<'), ('le', '<='), ('eq', '='), ('ge', '>='), ('gt', '>')) o(name, operator) LOOP
		EXECUTE format('CREATE FUNCTION version_%s(version, version) RETURNS boolean LANGUAGE sql IMMUTABLE AS ''SELECT public.version_compare($1, $2) %s 0''', o.name, o.operator);
		EXECUTE format('CREATE OPERATOR %s (leftarg = version, rightarg = version, function = version_%s, restrict = scalarltsel)', o.operator, o.name);
	END LOOP;
END $$;
SELECT derive.create_view('r_arrays', 'SELECT id, ARRAY[v] < ARRAY[w] AS less FROM releases');
SELECT derive.create_view('r_rows', 'SELECT id, ROW(id % 2, v)::tagged < ROW(1, w)::tagged AS less FROM releases');
SELECT derive.create_view('r_groups', 'SELECT less, count(*) FROM r_arrays GROUP BY less');
SELECT * FROM oracle_all();
SELECT derive.create_view('r_history', 'history', 'releases');
SELECT derive.create_topic('r_events', 'id int, v version');
SELECT derive.wait(timeout => '60 s');
-- what has happened is what it was: histories and topics go on, without a gap
BEGIN;
SELECT derive.append('r_events', '{"id": 1}') IS NOT NULL AS appended;
UPDATE releases SET v = ROW(9, 1)::version WHERE id = 30;
CREATE OPERATOR CLASS version_ops DEFAULT FOR TYPE version USING btree AS
	OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 version_compare(version, version);
SELECT derive.append('r_events', '{"id": 2}') IS NOT NULL AS appended;
UPDATE releases SET v = ROW(9, 2)::version WHERE id = 30;
CREATE OR REPLACE FUNCTION version_compare(a version, b version) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp(b.minor, a.minor) + 0';
SELECT derive.append('r_events', '{"id": 3}') IS NOT NULL AS appended;
UPDATE releases SET v = ROW(9, 3)::version WHERE id = 30;
COMMIT;
SELECT derive.wait(timeout => '60 s');
SELECT event_id, id FROM r_events ORDER BY event_id;
SELECT v, operation, ended_by FROM r_history WHERE id = 30 ORDER BY version;
DROP MATERIALIZED VIEW r_history, r_events;
SELECT * FROM oracle_all();
SELECT derive.create_view('r_numbers', 'SELECT id, rank() OVER (ORDER BY v) FROM releases');
SELECT derive.create_view('r_one', 'SELECT DISTINCT ON (id % 5) id, v FROM releases ORDER BY id % 5, v, id');
SELECT * FROM oracle_all();
CREATE OR REPLACE FUNCTION version_compare(a version, b version) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp(a.minor, b.minor)';
SELECT * FROM oracle_all();
UPDATE releases SET v = w, w = v WHERE id % 7 = 0;
SELECT * FROM oracle_all();
DROP MATERIALIZED VIEW r_numbers, r_one;
BEGIN;
DROP OPERATOR FAMILY version_ops USING btree CASCADE;
ROLLBACK;
DROP OPERATOR FAMILY version_ops USING btree CASCADE;
SELECT * FROM oracle_all();
UPDATE releases SET v = w, w = v WHERE id % 5 = 0;
SELECT * FROM oracle_all();
SET client_min_messages = warning;
DROP TABLE releases CASCADE;
DROP TYPE version, tagged CASCADE;
RESET client_min_messages;
