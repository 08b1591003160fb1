-- What a derivation sees, in which order, once.
CREATE SCHEMA trace;
SET search_path = trace, public;
CREATE TABLE a (id int PRIMARY KEY, t text);
CREATE TABLE b (id int, v numeric);
INSERT INTO a VALUES (1, 'one');
INSERT INTO b VALUES (1, 1.0), (2, 2.00);
SELECT derive.create_view('log', 'trace', '{a, b}');
SELECT derive.wait('log', timeout => '60 s');
CREATE VIEW seen AS SELECT n, operation AS op, source, old, new FROM log;
SELECT * FROM seen ORDER BY n;
-- while it is built, changes have no transaction of their own
SELECT count(*) FROM log WHERE xid IS NOT NULL;
SELECT count(DISTINCT commit_lsn), bool_and(commit_lsn <= pg_current_wal_insert_lsn()),
	bool_and(commit_time BETWEEN now() - interval '5 min' AND clock_timestamp()) FROM log;

-- Of one transaction in the order of its statements, without what was rolled back
-- to a savepoint.
BEGIN;
INSERT INTO a VALUES (2, 'two');
INSERT INTO b VALUES (3, 3);
UPDATE a SET t = 'TWO' WHERE id = 2;
SAVEPOINT s;
DELETE FROM b;
INSERT INTO a VALUES (99, 'never');
ROLLBACK TO s;
UPDATE b SET v = -v WHERE id = 2;
SAVEPOINT s2;
DELETE FROM a WHERE id = 1;
RELEASE s2;
UPDATE a SET id = 3;
SELECT pg_current_xact_id() AS xid1 \gset
COMMIT;
BEGIN;
INSERT INTO a VALUES (98, 'never');
ROLLBACK;
BEGIN;
TRUNCATE a;
INSERT INTO a SELECT i, 'new' FROM generate_series(1, 3) i;
SELECT pg_current_xact_id() AS xid2 \gset
COMMIT;
SELECT derive.wait('log', timeout => '60 s');
SELECT * FROM seen WHERE n > 3 ORDER BY n;
SELECT xid = :'xid1' AS first, xid = :'xid2' AS second, count(*), count(DISTINCT commit_lsn) AS lsns, count(DISTINCT commit_time) AS times
FROM log WHERE n > 3 GROUP BY 1, 2 ORDER BY 1 DESC;
SELECT max(commit_lsn) FILTER (WHERE xid = :'xid1') < min(commit_lsn) FILTER (WHERE xid = :'xid2') AS ordered FROM log;
SELECT count(*) AS not_ordered FROM (SELECT commit_lsn < lag(commit_lsn) OVER (ORDER BY n) AS back FROM log) s WHERE back;
-- no change, no entry
UPDATE a SET t = t WHERE false;
-- but an update that changes nothing is one
UPDATE a SET t = t WHERE id = 1;
SELECT derive.wait('log', timeout => '60 s');
SELECT * FROM seen WHERE n > 13 ORDER BY n;
-- values outside of the row
INSERT INTO a VALUES (4, repeat('x', 100000));
ALTER TABLE a ALTER t SET STORAGE EXTERNAL;
INSERT INTO a VALUES (5, repeat('y', 100000));
UPDATE a SET id = id + 10 WHERE id IN (4, 5);
DELETE FROM a WHERE id = 14;
SELECT derive.wait('log', timeout => '60 s');
SELECT n, op, length(old), md5(replace(old, 'id=14', 'id=4')) AS old, length(new), md5(replace(replace(new, 'id=14', 'id=4'), 'id=15', 'id=5')) AS new
FROM seen WHERE n > 14 ORDER BY n;

-- It is not a function of the rows that there are now.
SELECT * FROM derive.verify('log');
SELECT view FROM derive.verify() WHERE view = 'log'::regclass;
REFRESH MATERIALIZED VIEW log;
SELECT derive.repair('log');
SELECT derive.wait('log', timeout => '60 s');
SELECT * FROM seen WHERE n > 19 ORDER BY n;
SELECT * FROM derive.explain('log');

-- Paused, it does not see what happens; it is told so.
SELECT derive.pause('log');
INSERT INTO b VALUES (5, 5);
SELECT derive.wait('log', timeout => '0');
SELECT derive.resume('log');
SELECT derive.wait('log', timeout => '60 s');
INSERT INTO b VALUES (6, 6);
SELECT derive.wait('log', timeout => '60 s');
SELECT * FROM seen WHERE n > 21 ORDER BY n;

-- Without resync() it stands still where changes are lost.
SELECT derive.create_view('strict', 'strict_trace', '{b}');
SELECT derive.wait('strict', timeout => '60 s');
INSERT INTO b VALUES (7, 7);
TRUNCATE b;
INSERT INTO b VALUES (8, 8);
SELECT derive.wait('strict', timeout => '60 s');
SELECT state, error FROM derive.views WHERE view = 'strict'::regclass;
SELECT derive.repair('strict');
SELECT derive.release('strict');
SELECT derive.maintain('strict');
SELECT derive.wait('strict', timeout => '60 s');
SELECT n, operation, source, old, new FROM strict ORDER BY n;
SELECT derive.wait('log', timeout => '60 s');
-- released, it stays as it is; REFRESH gives it what it would be if it began now
SELECT derive.release('strict');
INSERT INTO b VALUES (9, 9);
SELECT derive.wait('log', timeout => '60 s');
SELECT count(*) FROM strict;
REFRESH MATERIALIZED VIEW strict;
SELECT n, operation, source, old, new FROM strict ORDER BY n;

-- With resync() it goes on from what it has.
SELECT derive.release('log');
INSERT INTO a VALUES (900, 'missed');
SELECT derive.maintain('log');
SELECT derive.wait('log', timeout => '60 s');
INSERT INTO a VALUES (901, 'seen');
SELECT derive.wait('log', timeout => '60 s');
SELECT * FROM (SELECT * FROM seen ORDER BY n DESC LIMIT 4) s ORDER BY n;
SELECT count(*) - max(n) AS gaps FROM log;

-- After an ERROR it is not computed anew, which would leave out what happened.
SELECT derive.create_view('fragile', 'trace', '{b}', options => '{"fail": "=666"}');
SELECT derive.wait('fragile', timeout => '60 s');
INSERT INTO b VALUES (10, 10);
INSERT INTO b VALUES (666, 666);
SELECT derive.wait('fragile', timeout => '60 s');
SELECT derive.wait('log', timeout => '60 s');
SELECT state, error FROM derive.views WHERE view = 'fragile'::regclass;
SELECT derive.repair('fragile');
INSERT INTO b VALUES (11, 11);
SELECT derive.wait('fragile', timeout => '60 s');
SELECT operation, new FROM fragile WHERE n > 2 AND new IS DISTINCT FROM 'id=10, v=10' ORDER BY n;
DROP MATERIALIZED VIEW fragile;
DELETE FROM b WHERE id > 9;

-- expire() is called now and then.
SELECT derive.create_view('short', 'trace', '{b}', options => '{"keep": 2}');
SELECT derive.wait('short', timeout => '60 s');
INSERT INTO b SELECT i, i FROM generate_series(10, 19) i;
DO $$ BEGIN
	WHILE (SELECT min(n) FROM trace.short) < 11 LOOP
		PERFORM derive.wait('trace.short');
		COMMIT;
	END LOOP;
END $$;
SELECT n, new FROM short ORDER BY n;
INSERT INTO b VALUES (20, 20);
DO $$ BEGIN
	WHILE (SELECT min(n) FROM trace.short) < 12 LOOP
		PERFORM derive.wait('trace.short');
		COMMIT;
	END LOOP;
END $$;
SELECT n, new FROM short ORDER BY n;
-- those of a batch are there when a later one is through
INSERT INTO a VALUES (902, 'later');
SELECT derive.wait('log', timeout => '60 s');
SELECT rows_inserted, rows_deleted FROM derive.stats WHERE view = 'short'::regclass;
SET client_min_messages = warning;
DROP SCHEMA trace CASCADE;
