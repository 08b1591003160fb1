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
SELECT * FROM oracle_all();
ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy';
SELECT * FROM oracle_all();
SELECT * FROM e_json ORDER BY id;
DROP TABLE moods CASCADE;
DROP TYPE mood;
