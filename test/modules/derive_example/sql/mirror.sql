-- Rows of several sources, whatever happens to them.
CREATE SCHEMA mirror;
SET search_path = mirror, public;
CREATE TABLE a (id int PRIMARY KEY, t text);
CREATE TABLE b (t text, id int NOT NULL, gone int, UNIQUE (id));
ALTER TABLE b DROP COLUMN gone;
CREATE TABLE p (id int, t text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 (extra int, t text, id int);
ALTER TABLE p2 DROP COLUMN extra;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200);
INSERT INTO a VALUES (1, 'one'), (2, NULL);
INSERT INTO b VALUES ('one', 1), ('three', 3);
INSERT INTO p VALUES (1, 'p1'), (101, 'p2');
SELECT derive.create_view('keyed', 'mirror', '{a, b, p}', key => '{source, id}');
SELECT derive.create_view('bag', 'mirror', '{a, b, p}');
SELECT oracle('keyed'), oracle('bag');
SELECT * FROM keyed ORDER BY 1, 2;
\d keyed
SELECT * FROM derive.explain('keyed');

-- every kind of change
INSERT INTO a VALUES (3, 'three'), (4, 'four');
UPDATE a SET t = t || '!' WHERE id > 2;
UPDATE a SET id = id + 10;
DELETE FROM a WHERE id = 13;
UPDATE b SET t = NULL, id = 4 WHERE id = 3;
INSERT INTO p SELECT i * 20, 'i ' || i FROM generate_series(3, 8) i;
UPDATE p SET id = id + 35 WHERE id IN (60, 80, 100);
SELECT oracle('keyed'), oracle('bag');
SELECT * FROM keyed ORDER BY 1, 2;
-- the same row often in one transaction
BEGIN;
INSERT INTO a VALUES (50, 'a');
UPDATE a SET t = 'b' WHERE id = 50;
DELETE FROM a WHERE id = 50;
INSERT INTO a VALUES (50, 'c');
UPDATE a SET id = 51 WHERE id = 50;
INSERT INTO a VALUES (50, 'd');
COMMIT;
SELECT oracle('keyed'), oracle('bag');
SELECT * FROM keyed WHERE source = 1 ORDER BY 1, 2;
-- TRUNCATE comes as a change, but not that of one partition among others
TRUNCATE a;
INSERT INTO a VALUES (1, 'after');
SELECT oracle('keyed'), oracle('bag');
BEGIN;
INSERT INTO b VALUES ('never', 7);
TRUNCATE a, b;
INSERT INTO b VALUES ('seen', 8);
COMMIT;
SELECT oracle('keyed'), oracle('bag');
TRUNCATE p1;
INSERT INTO p VALUES (7, 'p1 again');
SELECT oracle('keyed'), oracle('bag');
TRUNCATE p;
SELECT oracle('keyed'), oracle('bag');
SELECT * FROM keyed ORDER BY 1, 2;
SELECT * FROM derive.views WHERE error IS NOT NULL;

-- columns come and go
ALTER TABLE a ADD COLUMN more int DEFAULT 7;
INSERT INTO a VALUES (70, 'more', 1);
UPDATE a SET t = 'most' WHERE id = 1;
SELECT oracle('keyed'), oracle('bag');
ALTER TABLE a DROP COLUMN more;
INSERT INTO a VALUES (71, 'less');
SELECT oracle('keyed'), oracle('bag');
BEGIN;
INSERT INTO a VALUES (72, 'before');
ALTER TABLE a ADD COLUMN more text DEFAULT 'x';
INSERT INTO a VALUES (73, 'after', 'y');
UPDATE a SET t = 'both' WHERE id = 72;
COMMIT;
SELECT oracle('keyed'), oracle('bag');
ALTER TABLE a ALTER COLUMN more DROP DEFAULT, ALTER COLUMN more TYPE int USING 1;
INSERT INTO a VALUES (74, 'retyped', 2);
SELECT oracle('keyed'), oracle('bag');
SELECT * FROM keyed ORDER BY 1, 2;
-- names may change, but what the view was declared with must be there
ALTER TABLE a RENAME TO renamed;
ALTER MATERIALIZED VIEW keyed RENAME TO kept;
INSERT INTO renamed VALUES (80, 'renamed');
SELECT oracle('kept'), oracle('bag');
-- partitions come and go
CREATE TABLE p3 (id int, t text);
INSERT INTO p3 VALUES (300, 'attached');
ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (200) TO (400);
INSERT INTO p VALUES (301, 'routed');
SELECT oracle('kept'), oracle('bag');
ALTER TABLE p DETACH PARTITION p3;
INSERT INTO p3 VALUES (302, 'alone');
INSERT INTO p VALUES (1, 'one');
SELECT oracle('kept'), oracle('bag');
SELECT * FROM kept ORDER BY 1, 2;
SELECT view, state, error FROM derive.views ORDER BY 1;

-- A table and a partition of it: a change is one of both.
CREATE TABLE whole (id int, t text) PARTITION BY RANGE (id);
CREATE TABLE part (t text, id int);
ALTER TABLE whole ATTACH PARTITION part FOR VALUES FROM (0) TO (100);
CREATE TABLE rest PARTITION OF whole DEFAULT;
INSERT INTO whole SELECT i, 'row ' || i FROM generate_series(98, 102) i;
SELECT derive.create_view('twice', derivation => 'mirror', sources => '{whole, part}');
SELECT oracle('twice');
INSERT INTO whole VALUES (1, 'new'), (200, 'new');
UPDATE whole SET id = id - 1, t = t || ', moved' WHERE id IN (99, 100);
DELETE FROM whole WHERE id = 98;
SELECT oracle('twice');
SELECT * FROM twice ORDER BY 1, 2, 3;
DROP TABLE whole CASCADE;

-- A column that the view needs goes: the view fails, others go on.
ALTER TABLE b RENAME COLUMN t TO u;
INSERT INTO renamed VALUES (90, 'on');
SELECT derive.wait('kept', timeout => '60 s');
SELECT state, error FROM derive.views WHERE view = 'kept'::regclass;
ALTER TABLE b RENAME COLUMN u TO t;
SELECT derive.repair('kept');
SELECT derive.repair('bag');
SELECT oracle('kept'), oracle('bag');
ALTER TABLE b DROP COLUMN t;
SELECT derive.wait('kept', timeout => '60 s');
SELECT derive.repair('kept');
DROP TABLE renamed;
SET client_min_messages = warning;
DROP TABLE renamed CASCADE;
SELECT count(*) FROM derive.views;
SELECT count(*) FROM derive_state.relations;
DROP SCHEMA mirror CASCADE;
