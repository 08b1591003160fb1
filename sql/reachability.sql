-- The derivation "reachability": the transitive closure of a graph.
CREATE TABLE edges (a int, b int, note text);
CREATE INDEX ON edges (a, b);
INSERT INTO edges VALUES (1, 2), (2, 3), (3, 4), (10, 11), (11, 10), (20, 20), (NULL, 1), (4, NULL);
SELECT derive.create_view('paths', derivation => 'reachability', sources => '{edges}');
SELECT derive.wait('paths');
SELECT * FROM paths ORDER BY a, b;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'paths'::regclass AND attnum > 0 ORDER BY attnum;
SELECT oracle('paths');
SELECT * FROM derive.explain('paths');
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'paths'::regclass ORDER BY 1;

-- the same by a recursive query
CREATE VIEW expected_paths AS
	WITH RECURSIVE p AS (
		SELECT a, b FROM edges WHERE a IS NOT NULL AND b IS NOT NULL
		UNION
		SELECT p.a, e.b FROM p JOIN edges e ON e.a = p.b WHERE e.b IS NOT NULL)
	SELECT * FROM p;
CREATE FUNCTION check_paths() RETURNS text LANGUAGE sql AS $$
	SELECT derive.wait('paths');
	SELECT CASE WHEN count(*) = 0 THEN 'same' ELSE count(*) || ' differences' END
	FROM ((TABLE paths EXCEPT ALL TABLE expected_paths)
		  UNION ALL (TABLE expected_paths EXCEPT ALL TABLE paths)) d $$;
SELECT check_paths();

-- edges come: to both ends, between, twice, a cycle, a loop
INSERT INTO edges VALUES (0, 1), (4, 5);
SELECT check_paths();
INSERT INTO edges VALUES (5, 10);
SELECT check_paths();
INSERT INTO edges VALUES (1, 2), (1, 2), (1, 4);
SELECT check_paths();
INSERT INTO edges VALUES (5, 2);
SELECT check_paths();
INSERT INTO edges VALUES (7, 7), (7, 8);
SELECT check_paths();
SELECT a, array_agg(b ORDER BY b) FROM paths GROUP BY a ORDER BY a;

-- edges go: one of several, one with a way around, one without, a loop, out of a cycle
DELETE FROM edges WHERE ctid = (SELECT min(ctid) FROM edges WHERE a = 1 AND b = 2);
SELECT check_paths();
DELETE FROM edges WHERE a = 3 AND b = 4;
SELECT check_paths();
DELETE FROM edges WHERE a = 5 AND b = 2;
SELECT check_paths();
DELETE FROM edges WHERE a = 7 AND b = 7;
DELETE FROM edges WHERE a = 11;
SELECT check_paths();
DELETE FROM edges WHERE a = 1 AND b = 2;
SELECT check_paths();
SELECT a, array_agg(b ORDER BY b) FROM paths GROUP BY a ORDER BY a;

-- updates: of an end, of neither, to and from NULL
UPDATE edges SET note = 'x';
UPDATE edges SET b = 3 WHERE a = 1 AND b = 4;
UPDATE edges SET a = 5 WHERE a IS NULL;
UPDATE edges SET b = NULL WHERE a = 10;
UPDATE edges SET b = 6 WHERE b IS NULL;
SELECT check_paths();
SELECT a, array_agg(b ORDER BY b) FROM paths GROUP BY a ORDER BY a;
SELECT oracle('paths');

-- edges come and go in one batch, savepoints, rollbacks
BEGIN;
INSERT INTO edges SELECT i, i + 1 FROM generate_series(100, 110) i;
DELETE FROM edges WHERE a = 105;
SAVEPOINT s;
DELETE FROM edges;
INSERT INTO edges VALUES (1, 1000);
ROLLBACK TO s;
INSERT INTO edges VALUES (105, 108), (111, 100), (104, 200);
DELETE FROM edges WHERE a = 104 AND b = 200;
DELETE FROM edges WHERE a = 4;
INSERT INTO edges VALUES (4, 5), (3, 100);
COMMIT;
BEGIN;
DELETE FROM edges;
ROLLBACK;
SELECT check_paths();
BEGIN;
DELETE FROM edges WHERE a BETWEEN 103 AND 106;
INSERT INTO edges VALUES (103, 106), (106, 104), (104, 111), (103, 104);
COMMIT;
SELECT check_paths();
SELECT count(*) FROM paths;

-- TRUNCATE; a batch so large that everything is computed anew; most of the closure in doubt
TRUNCATE edges;
SELECT check_paths();
SELECT count(*) FROM paths;
INSERT INTO edges SELECT i, i * 7 % 1501 FROM generate_series(1, 1500) i;
SELECT check_paths();
DELETE FROM edges WHERE a % 3 = 0;
SELECT check_paths();
TRUNCATE edges;
INSERT INTO edges SELECT i, i % 400 + 1 FROM generate_series(1, 400) i;
SELECT check_paths();
SELECT count(*) FROM paths;
DELETE FROM edges WHERE a = 17;
SELECT check_paths();
SELECT count(*) FROM paths;
INSERT INTO edges VALUES (17, 17), (17, 19), (400, 399);
SELECT check_paths();
SELECT oracle('paths');
TRUNCATE edges;

-- at random: sparse and dense graphs
CREATE PROCEDURE stress_paths(rounds int, nodes int) LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	FOR round IN 1 .. rounds LOOP
		FOR i IN 1 .. 1 + (random() * 4)::int LOOP
			CASE (random() * 4)::int
				WHEN 0, 1 THEN
					INSERT INTO edges SELECT (random() * nodes)::int, nullif((random() * nodes)::int, nodes)
					FROM generate_series(1, 1 + (random() * 4)::int);
				WHEN 2 THEN
					DELETE FROM edges WHERE random() < 0.15;
				WHEN 3 THEN
					UPDATE edges SET b = (random() * nodes)::int WHERE random() < 0.1;
				ELSE
					UPDATE edges SET a = b, b = a WHERE random() < 0.1;
			END CASE;
			IF random() < 0.7 THEN
				COMMIT;
			END IF;
		END LOOP;
		COMMIT;
		result := check_paths();
		IF result <> 'same' THEN
			RAISE EXCEPTION 'round %: %', round, result;
		END IF;
		COMMIT;
	END LOOP;
END $$;
SELECT setseed(0.125);
CALL stress_paths(60, 25);
CALL stress_paths(60, 8);
SELECT oracle('paths');
SELECT error FROM derive.views WHERE view = 'paths'::regclass;

-- released and maintained again: the indexes are there already
SELECT derive.release('paths');
DELETE FROM edges WHERE a = 3;
SELECT derive.maintain('paths');
INSERT INTO edges VALUES (3, 5);
SELECT oracle('paths');
SELECT count(*) FROM pg_index WHERE indrelid = 'paths'::regclass;

-- named columns, texts for nodes, a renamed table
CREATE TABLE links (id int PRIMARY KEY, to_page text, from_page text);
INSERT INTO links VALUES (1, 'b', 'a'), (2, 'c', 'b');
SELECT derive.create_view('reachable', derivation => 'reachability', sources => '{links}',
	columns => '("from" text, "to" text)', key => '{from,to}', options => '{"source": "from_page", "target": "to_page"}');
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'reachable'::regclass ORDER BY 1;
ALTER TABLE links RENAME TO "Links";
INSERT INTO "Links" VALUES (3, 'd', 'c'), (4, 'a', 'd'), (5, repeat('long', 2000), 'd');
DELETE FROM "Links" WHERE id = 2;
SELECT oracle('reachable');
SELECT "from", left("to", 10) AS "to" FROM reachable ORDER BY 1, 2;

-- a partitioned source; a view as the source, and a view of the closure
CREATE TABLE follows (follower int, followed int) PARTITION BY LIST (follower);
CREATE TABLE follows_1 PARTITION OF follows FOR VALUES IN (1, 2, 3);
CREATE TABLE follows_2 (followed int, follower int);
ALTER TABLE follows ATTACH PARTITION follows_2 DEFAULT;
SELECT derive.create_view('followers', derivation => 'reachability', sources => '{follows}');
SELECT derive.create_view('mutual', 'SELECT f.follower, f.followed FROM follows f JOIN follows g ON g.follower = f.followed AND g.followed = f.follower');
SELECT derive.create_view('circles', derivation => 'reachability', sources => '{mutual}');
SELECT derive.create_view('circle_size', 'SELECT follower, count(*) FROM circles GROUP BY follower');
INSERT INTO follows SELECT i, i + 1 FROM generate_series(1, 6) i;
INSERT INTO follows SELECT i + 1, i FROM generate_series(1, 6) i;
DELETE FROM follows WHERE follower = 3 AND followed = 4;
UPDATE follows SET follower = 1 WHERE follower = 6 AND followed = 7;
SELECT oracle('followers');
SELECT oracle('circles');
SELECT oracle('circle_size');
SELECT * FROM circle_size ORDER BY follower;

-- refused
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{edges}', options => '{"source": "b", "target": "b"}');
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{edges}', options => '{"target": "note"}');
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{edges}', options => '{"target": "c"}');
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{edges}', options => '{"depth": 3}');
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{edges,follows}');
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{edges}', columns => '(a int, b text)');
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{edges}', key => '{a}');
CREATE TABLE float_edges (a float8, b float8);
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{float_edges}');
CREATE TABLE json_edges (a json, b json);
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{json_edges}');
CREATE TABLE one_column (a int);
SELECT derive.create_view('bad', derivation => 'reachability', sources => '{one_column}');

-- the rights are those of the view's owner
CREATE ROLE path_user;
GRANT CREATE ON SCHEMA public TO path_user;
SET ROLE path_user;
SELECT derive.create_view('mine', derivation => 'reachability', sources => '{edges}');
RESET ROLE;
GRANT SELECT ON edges TO path_user;
SET ROLE path_user;
SELECT derive.create_view('mine', derivation => 'reachability', sources => '{edges}');
RESET ROLE;
DELETE FROM edges WHERE a % 3 = 0;
INSERT INTO edges VALUES (3, 4), (0, 3);
SELECT oracle('mine');

SELECT * FROM oracle_all();
DROP MATERIALIZED VIEW mine, circle_size, circles, mutual, followers, reachable, paths;
DROP VIEW expected_paths;
DROP FUNCTION check_paths;
DROP PROCEDURE stress_paths;
DROP TABLE edges, "Links", follows, float_edges, json_edges, one_column;
REVOKE CREATE ON SCHEMA public FROM path_user;
DROP ROLE path_user;

-- A derivation that was run from nothing leaves nothing behind in the transaction.
CREATE TABLE edges (a int, b int);
INSERT INTO edges VALUES (1, 2), (2, 3);
BEGIN;
SELECT count(*) FROM derive.apply('reachability', '{edges}', NULL, NULL) AS t(a int, b int);
PREPARE TRANSACTION 'derived';
COMMIT PREPARED 'derived';
SELECT relname FROM pg_class WHERE relname LIKE 'derive_scratch%';
DROP TABLE edges;
