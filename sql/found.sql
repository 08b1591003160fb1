-- What the random differential tester found once.
SET client_min_messages = warning;
CREATE SCHEMA found;
SET search_path = found, public;

-- REINDEX CONCURRENTLY puts other indexes in the place of those that rows are
-- found by, and people drop indexes that they do not know.
CREATE TABLE items (id integer PRIMARY KEY, g integer, v integer);
INSERT INTO items SELECT i, i % 5, i FROM generate_series(1, 50) i;
SELECT derive.create_view('sums', $$SELECT g, sum(v) AS s FROM items GROUP BY g$$);
SELECT derive.create_view('small', $$SELECT q.s FROM (SELECT DISTINCT g, v % 3 AS s FROM items) q$$);
SELECT * FROM oracle_all();
REINDEX TABLE CONCURRENTLY sums;
REINDEX TABLE CONCURRENTLY small;
UPDATE items SET v = v + 1, g = g + 1 WHERE id % 2 = 0;
SELECT * FROM oracle_all();
REINDEX SCHEMA CONCURRENTLY derive_state;
UPDATE items SET v = v + 1, g = g + 1 WHERE id % 3 = 0;
SELECT * FROM oracle_all();
DROP INDEX sums_g_idx;
DELETE FROM items WHERE id % 4 = 0;
SELECT * FROM oracle_all();
SELECT name, state, error FROM derive.views WHERE schema = 'found' ORDER BY name;

-- Groups that outgrow memory: a group that is half-way must not be shown, since
-- expressions may fail on it, nor may looking extrema up take for ever.
CREATE TABLE many (id integer PRIMARY KEY, g integer, v integer);
INSERT INTO many SELECT i, i % 5000, 1000 FROM generate_series(1, 20000) i;
SELECT derive.create_view('inverse', $$SELECT g, 100 / (7000 - sum(v)) AS s FROM many GROUP BY g HAVING 100 / (7000 - sum(v)) > 0$$);
SELECT derive.create_view('extrema', $$SELECT g % 4000 AS g, max(v), min(v), avg(v) FROM many GROUP BY 1$$);
SELECT * FROM oracle_all();
UPDATE many SET v = 750;
SELECT * FROM oracle_all();
INSERT INTO many SELECT i, 5000 + i % 5000, i FROM generate_series(20001, 30000) i;
UPDATE many SET v = v - 1, g = g + 1 WHERE id % 3 > 0;
DELETE FROM many WHERE id % 3 = 0;
SELECT * FROM oracle_all();

-- A delta has rows that no snapshot shows: expressions may fail on them.
CREATE TABLE halves (id integer PRIMARY KEY, v integer);
CREATE TABLE others (id integer, w integer);
INSERT INTO halves VALUES (1, 1), (2, 2);
INSERT INTO others VALUES (1, 2), (2, 4);
SELECT derive.create_view('inv', 'SELECT id, 100 / v AS i FROM halves');
SELECT derive.create_view('invs', 'SELECT v, sum(100 / v) AS i FROM halves GROUP BY v');
SELECT derive.create_view('diff', 'SELECT h.id, 100 / (o.w - h.v) AS i FROM halves h JOIN others o USING (id)');
SELECT derive.create_view('above', 'SELECT sum(i) FROM inv');
SELECT * FROM oracle_all();
BEGIN;
INSERT INTO halves VALUES (3, 0);
UPDATE halves SET v = 5 WHERE id = 3;
COMMIT;
SELECT * FROM oracle_all();
BEGIN;
UPDATE halves SET v = 2 WHERE id = 1;
UPDATE others SET w = 3 WHERE id = 1;
COMMIT;
SELECT * FROM oracle_all();
-- but where the query fails, so does the view
INSERT INTO halves VALUES (4, 0);
SELECT derive.wait('inv');
SELECT derive.wait('invs');
DELETE FROM halves WHERE id = 4;
SELECT derive.repair('inv'), derive.repair('invs');
SELECT * FROM oracle_all();

SELECT name, state, error FROM derive.views WHERE schema = 'found' ORDER BY name;
DROP SCHEMA found CASCADE;
