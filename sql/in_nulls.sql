-- IN, NOT IN and = ANY where NULLs make a difference: shown, under OR, under NOT.
SET client_min_messages = warning;
CREATE TABLE f (id int PRIMARY KEY, a int, b int, s varchar, n numeric);
CREATE TABLE g (id int PRIMARY KEY, c int, d int, t text, n numeric);
CREATE INDEX ON g (c, d);
INSERT INTO f SELECT i, NULLIF(i % 7, 0), NULLIF(i % 5, 0), NULLIF('s' || i % 4, 's0'), i % 3 + 0.50 FROM generate_series(1, 60) i;
INSERT INTO g SELECT i, i % 4 + 1, i % 3 + 1, 's' || i % 2 + 1, 1.5 FROM generate_series(1, 12) i;

SELECT derive.create_view('i_shown', 'SELECT id, a IN (SELECT c FROM g) AS i, a NOT IN (SELECT c FROM g WHERE d > 1) AS n FROM f');
SELECT derive.create_view('i_not', 'SELECT id FROM f WHERE a NOT IN (SELECT c FROM g)');
SELECT derive.create_view('i_or', 'SELECT id FROM f WHERE b = 2 OR a = ANY (SELECT c FROM g)');
SELECT derive.create_view('i_row', 'SELECT id, (a, b) IN (SELECT c, d FROM g) AS i FROM f');
SELECT derive.create_view('i_not_row', 'SELECT id FROM f WHERE (a, b) NOT IN (SELECT c, d FROM g WHERE id <> 3)');
SELECT derive.create_view('i_row3', 'SELECT id, (a, b, s) IN (SELECT c, d, t FROM g) AS i FROM f');
SELECT derive.create_view('i_types', 'SELECT id, s IN (SELECT t FROM g) AS s, n IN (SELECT n FROM g) AS n, a + 1 IN (SELECT c FROM g) AS e, a IN (SELECT n FROM g) AS m FROM f');
SELECT derive.create_view('i_dear', 'SELECT id, upper(s) IN (SELECT upper(t) FROM g) AS u, (SELECT max(d) FROM g WHERE c = a) IN (SELECT c FROM g) AS x FROM f');
SELECT derive.create_view('i_operator', 'SELECT id, a < ANY (SELECT c FROM g) AS l, a <> ALL (SELECT c FROM g) AS n, a > ALL (SELECT d FROM g) AS g FROM f');
SELECT derive.create_view('i_grouped', 'SELECT id, a IN (SELECT c FROM g GROUP BY c HAVING count(*) > 1) AS i FROM f');
SELECT derive.create_view('i_join', 'SELECT f.id, h.id AS hid FROM f LEFT JOIN f h ON h.id = f.a AND h.a NOT IN (SELECT c FROM g JOIN f k ON k.id = g.id WHERE k.b = 1)');
SELECT derive.create_view('i_nested', 'SELECT id FROM f WHERE EXISTS (SELECT FROM f h WHERE h.id = f.a AND (h.b = 1 OR h.a IN (SELECT c FROM g)))');
SELECT derive.create_view('i_aggregate', 'SELECT b, count(*) FILTER (WHERE a IN (SELECT c FROM g)) AS n FROM f GROUP BY b HAVING bool_or(b NOT IN (SELECT d FROM g)) IS NOT TRUE');
SELECT derive.create_view('i_window', 'SELECT id, rank() OVER (PARTITION BY b ORDER BY id) IN (SELECT c FROM g) AS w, count(*) OVER (PARTITION BY a IN (SELECT c FROM g)) AS p FROM f');
SELECT * FROM oracle_all();

-- rows of f alone; then NULLs on the other side; then both
INSERT INTO f VALUES (101, 1, 1, 's1', 1.5), (102, NULL, NULL, NULL, NULL), (103, 9, NULL, 's9', 9), (104, NULL, 2, 's2', 1.50);
SELECT * FROM oracle_all();
UPDATE f SET a = b, b = a WHERE id % 3 = 0;
SELECT * FROM oracle_all();
INSERT INTO g VALUES (101, NULL, 2, NULL, NULL);
SELECT * FROM oracle_all();
UPDATE f SET a = a + 1 WHERE id % 4 = 1;
DELETE FROM f WHERE id % 5 = 1;
SELECT * FROM oracle_all();
UPDATE g SET c = 2, d = NULL WHERE id = 101;
SELECT * FROM oracle_all();
UPDATE f SET a = 2, b = 9 WHERE id IN (102, 103, 2);
SELECT * FROM oracle_all();
BEGIN;
UPDATE g SET d = NULL WHERE id % 5 = 0;
UPDATE f SET a = NULL WHERE id % 6 = 2;
INSERT INTO g VALUES (102, NULL, NULL, 's1', 2);
DELETE FROM g WHERE c = 1;
UPDATE f SET b = b + 1 WHERE id < 20;
COMMIT;
SELECT * FROM oracle_all();
-- an empty sub-query is false, whatever is compared with it
TRUNCATE g;
SELECT * FROM oracle_all();
UPDATE f SET a = NULLIF(id % 3, 0) WHERE id > 40;
INSERT INTO f VALUES (105, NULL, NULL, NULL, NULL);
SELECT * FROM oracle_all();
SELECT count(*) FROM i_shown WHERE i IS DISTINCT FROM false;
INSERT INTO g VALUES (1, NULL, NULL, NULL, NULL);
SELECT * FROM oracle_all();
-- many rows
INSERT INTO f SELECT i, NULLIF(i % 7, 0), NULLIF(i % 5, 0), 's' || i % 4, 1 FROM generate_series(1001, 1100) i;
SELECT * FROM oracle_all();
SELECT count(*) FROM derive.views WHERE state <> 'ready';
-- what is compared is compared with another sub-query itself
CREATE TABLE k (id int PRIMARY KEY, f bool);
INSERT INTO k VALUES (1, true), (2, false);
SELECT derive.create_view('n_shown', 'SELECT id, (a IN (SELECT c FROM g)) IN (SELECT f FROM k) AS i, (a NOT IN (SELECT c FROM g)) <> ALL (SELECT f FROM k) AS n FROM f');
SELECT derive.create_view('n_where', 'SELECT id FROM f WHERE CASE WHEN a IN (SELECT c FROM g) THEN b = 1 END IN (SELECT f FROM k)');
SELECT derive.create_view('n_row', 'SELECT id, (a, b IN (SELECT d FROM g)) IN (SELECT id, f FROM k) AS i FROM f');
-- an output that only some rows can have
CREATE FUNCTION is_number(text) RETURNS bool IMMUTABLE COST 1000 LANGUAGE plpgsql AS $$ BEGIN RETURN $1 ~ '^[0-9]+$'; END $$;
SELECT derive.create_view('n_guarded', 'SELECT id, a IN (SELECT substr(t, 2)::int FROM g WHERE is_number(substr(t, 2))) AS i FROM f');
SELECT * FROM oracle_all();
DELETE FROM k WHERE f;
SELECT * FROM oracle_all();
INSERT INTO k VALUES (3, NULL);
UPDATE g SET t = 'none' WHERE id = 4;
SELECT * FROM oracle_all();
BEGIN;
UPDATE k SET f = true WHERE id = 2;
UPDATE g SET c = 6 WHERE id > 8;
UPDATE f SET a = 6 WHERE id % 9 = 4;
COMMIT;
SELECT * FROM oracle_all();
UPDATE f SET a = 1 WHERE id = 7;
UPDATE g SET d = 4 WHERE id = 2;
SELECT * FROM oracle_all();
SELECT count(*) FROM derive.views WHERE state <> 'ready';
DROP TABLE f, g, k CASCADE;
DROP FUNCTION is_number;
