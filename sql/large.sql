-- Batches and builds that outgrow memory: the test server has 64 kB of it.
CREATE TABLE big (id int PRIMARY KEY, g int, h text, v numeric, w float8);
CREATE INDEX ON big (g, id);
INSERT INTO big SELECT i, i % 5000, 'text ' || i % 3000, i, i / 4.0 FROM generate_series(1, 20000) i;
SELECT derive.create_view('l_groups', 'SELECT g, count(*), sum(v), min(id), max(id), sum(w) AS w FROM big GROUP BY g');
SELECT derive.create_view('l_text', 'SELECT h, count(*), avg(v) FROM big GROUP BY h');
SELECT derive.create_view('l_distinct', 'SELECT DISTINCT g % 2500 AS g, h FROM big');
SELECT derive.create_view('l_recompute', 'SELECT g, count(DISTINCT h), string_agg(h, $$,$$ ORDER BY id) AS s FROM big GROUP BY g');
SELECT derive.create_view('l_union', 'SELECT g FROM big UNION SELECT id FROM big');
SELECT derive.create_view('l_all', 'SELECT * FROM big');
SELECT derive.create_view('l_self', 'SELECT a.id, b.h FROM big a JOIN big b ON a.id = b.g');
SELECT * FROM oracle_all();
INSERT INTO big SELECT i, i % 7000, 'text ' || i % 3000, i / 3.0, i FROM generate_series(20001, 40000) i;
SELECT * FROM oracle_all();
-- every group changes, all extrema go, some inverse transitions give up
UPDATE big SET v = v + 0.001 WHERE id % 7 = 0;
DELETE FROM big WHERE id <= 5000 OR id > 33000;
SELECT * FROM oracle_all();
BEGIN;
UPDATE big SET g = g + 1;
DELETE FROM big WHERE id % 3 = 0;
INSERT INTO big SELECT i, i % 9000, 'new ' || i % 100, i, -i FROM generate_series(50001, 60000) i;
COMMIT;
SELECT * FROM oracle_all();
DELETE FROM big WHERE id % 10 <> 0;
SELECT * FROM oracle_all();
-- one extremum of a large group: looked up in the index
UPDATE big SET g = 1;
SELECT oracle('l_groups');
DELETE FROM big WHERE id IN (SELECT max(id) FROM big UNION SELECT min(id) FROM big);
SELECT oracle('l_groups');
DROP TABLE big CASCADE;
-- a row that changes over and over in one transaction, in each table of a join:
-- what it was in between must not meet what the others were
CREATE TABLE hot1 (id int, v int);
CREATE TABLE hot2 (id int, v int);
CREATE TABLE hot3 (id int, v int);
INSERT INTO hot1 SELECT i, i FROM generate_series(1, 10) i;
INSERT INTO hot2 SELECT * FROM hot1;
INSERT INTO hot3 SELECT * FROM hot1;
SELECT derive.create_view('l_hot', 'SELECT a.id, a.v AS a, b.v AS b, c.v AS c FROM hot1 a JOIN hot2 b USING (id) JOIN hot3 c USING (id)');
SELECT derive.create_view('l_hot_sum', 'SELECT sum(a.v + b.v + c.v) FROM hot1 a JOIN hot2 b USING (id) JOIN hot3 c USING (id)');
SELECT * FROM oracle_all();
DO $$
DECLARE
	at1 tid;
	at2 tid;
	at3 tid;
BEGIN
	UPDATE hot1 SET v = v + 1 WHERE id = 5 RETURNING ctid INTO at1;
	UPDATE hot2 SET v = v + 1 WHERE id = 5 RETURNING ctid INTO at2;
	UPDATE hot3 SET v = v + 1 WHERE id = 5 RETURNING ctid INTO at3;
	FOR i IN 1 .. 20000 LOOP
		UPDATE hot1 SET v = v + 1 WHERE ctid = at1 RETURNING ctid INTO at1;
		UPDATE hot2 SET v = v + 1 WHERE ctid = at2 RETURNING ctid INTO at2;
		UPDATE hot3 SET v = v + 1 WHERE ctid = at3 RETURNING ctid INTO at3;
	END LOOP;
END $$;
SELECT derive.wait(NULL, '60s');
SELECT * FROM l_hot WHERE id = 5;
SELECT * FROM oracle_all();
DROP TABLE hot1, hot2, hot3 CASCADE;

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
SELECT name, state, error FROM derive_state.view_states ORDER BY name;
DROP TABLE many CASCADE;

-- Large transactions that abort, in whole or in part, before they are decoded
CREATE TABLE aborted (id int, v text);
SELECT derive.create_view('ab_all', 'SELECT id, v FROM aborted');
SELECT derive.create_view('ab_count', 'SELECT count(*) FROM aborted');
SELECT * FROM oracle_all();
BEGIN;
INSERT INTO aborted SELECT i, repeat('x', 50) FROM generate_series(1, 5000) i;
ROLLBACK;
BEGIN;
INSERT INTO aborted SELECT i, 'kept' FROM generate_series(1, 3000) i;
SAVEPOINT s;
INSERT INTO aborted SELECT i, 'undone' FROM generate_series(1, 3000) i;
ROLLBACK TO s;
UPDATE aborted SET v = 'kept twice' WHERE id < 1000;
COMMIT;
BEGIN;
DELETE FROM aborted;
ROLLBACK;
BEGIN;
SAVEPOINT a;
INSERT INTO aborted SELECT i, 'one' FROM generate_series(1, 3000) i;
RELEASE a;
SAVEPOINT b;
INSERT INTO aborted SELECT i, 'two' FROM generate_series(1, 3000) i;
SAVEPOINT c;
UPDATE aborted SET v = 'three';
ROLLBACK TO b;
INSERT INTO aborted SELECT i, 'four' FROM generate_series(1, 3000) i;
ROLLBACK;
BEGIN;
SAVEPOINT a;
INSERT INTO aborted SELECT i, 'one' FROM generate_series(1, 3000) i;
ROLLBACK TO a;
INSERT INTO aborted SELECT i, 'two' FROM generate_series(1, 3000) i;
PREPARE TRANSACTION 'aborted';
ROLLBACK PREPARED 'aborted';
BEGIN;
INSERT INTO aborted SELECT i, 'two' FROM generate_series(1, 3000) i;
SAVEPOINT a;
INSERT INTO aborted SELECT i, 'one' FROM generate_series(1, 3000) i;
PREPARE TRANSACTION 'aborted';
SELECT derive.wait('ab_count');
ROLLBACK PREPARED 'aborted';
SELECT * FROM oracle_all();
SELECT * FROM ab_count;
DROP TABLE aborted CASCADE;
