-- What the log has from before columns were a key, or were there at all: members of a source with different keys,
-- each in one transaction, so that the log is read with the later key in mind.
CREATE TABLE kl (a int PRIMARY KEY, b int, c int);
CREATE TABLE kl_child () INHERITS (kl);
ALTER TABLE kl_child REPLICA IDENTITY FULL;
INSERT INTO kl VALUES (1, 1, 1);
INSERT INTO kl_child VALUES (1, 1, 1), (2, 2, 2), (3, NULL, 3);
SELECT derive.create_view('kl_rows', 'SELECT a, b, c FROM kl');
SELECT derive.create_view('kl_sum', 'SELECT count(*), sum(c) FROM kl');
SELECT derive.wait(NULL, '60s');
-- it was NULL
BEGIN;
INSERT INTO kl_child VALUES (4, NULL, 4), (5, 5, 5);
UPDATE kl_child SET c = 10 WHERE b IS NULL;
UPDATE kl SET c = 11 WHERE a = 1;
DELETE FROM kl_child WHERE b IS NULL;
ALTER TABLE kl_child ADD PRIMARY KEY (b), REPLICA IDENTITY DEFAULT;
COMMIT;
SELECT * FROM oracle_all();
UPDATE kl SET c = c + 1 WHERE b < 3;
DELETE FROM kl_child WHERE a = 2;
SELECT * FROM oracle_all();
-- it was not there
BEGIN;
ALTER TABLE kl_child DROP CONSTRAINT kl_child_pkey, REPLICA IDENTITY FULL;
INSERT INTO kl_child VALUES (6, 6, 6);
UPDATE kl_child SET c = 12 WHERE a = 5;
ALTER TABLE kl ADD COLUMN d int;
UPDATE kl SET d = a + 100;
ALTER TABLE kl_child ADD PRIMARY KEY (d), REPLICA IDENTITY DEFAULT;
UPDATE kl_child SET c = 13 WHERE a = 6;
COMMIT;
SELECT * FROM oracle_all();
UPDATE kl SET c = c + 1;
DELETE FROM kl WHERE a = 6;
SELECT * FROM oracle_all();
SELECT view, missing, extra FROM derive.verify() WHERE missing <> 0 OR extra <> 0;
DROP TABLE kl CASCADE;
