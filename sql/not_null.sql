-- Sub-queries with IN that are looked up since nothing is NULL, and columns that get and lose NOT NULL.
SET client_min_messages = warning;	-- no advice, no list of what is dropped
CREATE TABLE l (id int PRIMARY KEY, x int NOT NULL, k int);
CREATE TABLE w (id int PRIMARY KEY, y int NOT NULL);
INSERT INTO l SELECT i, i, i % 7 FROM generate_series(1, 200) i;
INSERT INTO w SELECT i, i * 2 FROM generate_series(1, 50) i;
SELECT count(derive.create_view(name, query)) FROM (VALUES
	('not_in', 'SELECT id FROM l WHERE x NOT IN (SELECT y FROM w)'),
	('counted', 'SELECT k, count(*) FROM l WHERE x NOT IN (SELECT y FROM w) GROUP BY k'),
	('shown', 'SELECT id, x IN (SELECT y FROM w WHERE w.id < 20) AS b FROM l'),
	('rows', 'SELECT id FROM l WHERE (x, id) NOT IN (SELECT y, id FROM w) OR k = 3'),
	('over_outer', 'SELECT l.id FROM l LEFT JOIN w ON w.id = l.k WHERE w.y NOT IN (SELECT x FROM l)')) AS v(name, query);
SELECT * FROM oracle_all();
UPDATE l SET x = x + 1 WHERE id % 5 = 0;
UPDATE w SET y = y + 1 WHERE id % 3 = 0;
SELECT * FROM oracle_all();
BEGIN;
INSERT INTO l VALUES (300, 7, 1);
DELETE FROM w WHERE id < 9;
UPDATE l SET x = x - 1 WHERE id % 4 = 0;
COMMIT;
SELECT * FROM oracle_all();
-- a NULL comes with the end of NOT NULL
BEGIN;
ALTER TABLE l ALTER x DROP NOT NULL;
INSERT INTO l VALUES (301, NULL, 2);
COMMIT;
SELECT * FROM oracle_all();
-- and goes before NOT NULL is back
BEGIN;
DELETE FROM l WHERE x IS NULL;
ALTER TABLE l ALTER x SET NOT NULL;
COMMIT;
SELECT * FROM oracle_all();
ALTER TABLE w ALTER y DROP NOT NULL;
INSERT INTO w VALUES (300, NULL);
SELECT * FROM oracle_all();
BEGIN;
DELETE FROM w WHERE y IS NULL;
ALTER TABLE w ALTER y SET NOT NULL;
UPDATE l SET k = k + 1 WHERE id < 5;
COMMIT;
SELECT * FROM oracle_all();
TRUNCATE w;
SELECT * FROM oracle_all();
DROP TABLE l, w CASCADE;
