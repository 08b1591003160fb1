-- The derivation "sessionize": clicks into sessions.
CREATE TABLE clicks (id int PRIMARY KEY, who text, at timestamp, page text);
CREATE INDEX ON clicks (who, at);
INSERT INTO clicks VALUES
	(1, 'ann', '2026-01-01 10:00', '/'),
	(2, 'ann', '2026-01-01 10:20', '/a'),
	(3, 'ann', '2026-01-01 10:50', '/b'),
	(4, 'ann', '2026-01-01 11:20:00.000001', '/c'),
	(5, 'bob', '2026-01-01 10:00', '/'),
	(6, NULL, '2026-01-01 10:00', '/'),
	(7, 'bob', NULL, '/');

-- two clicks exactly a gap apart are in the same session
SELECT derive.create_view('sessions', derivation => 'sessionize', sources => '{clicks}',
	options => '{"user": "who", "time": "at", "gap": "30 minutes"}');
SELECT derive.wait('sessions');
SELECT * FROM sessions ORDER BY who, session_start;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'sessions'::regclass AND attnum > 0 ORDER BY attnum;
SELECT oracle('sessions');
SELECT * FROM derive.explain('sessions');
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'sessions'::regclass ORDER BY 1;

-- the same by window functions, with a gap of 30 minutes
CREATE VIEW expected_sessions AS
	SELECT who, min(at) AS session_start, max(at) AS session_end, count(*) AS n
	FROM (SELECT who, at, count(*) FILTER (WHERE at > previous + interval '30 minutes') OVER (PARTITION BY who ORDER BY at, id) AS session
		  FROM (SELECT id, who, at, lag(at) OVER (PARTITION BY who ORDER BY at, id) AS previous
				FROM clicks WHERE who IS NOT NULL AND at IS NOT NULL) p) s
	GROUP BY who, session;
CREATE FUNCTION check_sessions() RETURNS text LANGUAGE sql AS $$
	SELECT derive.wait('sessions');
	SELECT CASE WHEN count(*) = 0 THEN 'same' ELSE count(*) || ' differences' END
	FROM ((TABLE sessions EXCEPT ALL TABLE expected_sessions)
		  UNION ALL (TABLE expected_sessions EXCEPT ALL TABLE sessions)) d $$;
SELECT check_sessions();

-- a click that joins two sessions, one before, one after, one within
INSERT INTO clicks VALUES (10, 'ann', '2026-01-01 11:00', '/d');
SELECT check_sessions();
SELECT * FROM sessions WHERE who = 'ann';
INSERT INTO clicks VALUES (11, 'ann', '2026-01-01 09:30', '/late'), (12, 'ann', '2026-01-01 11:45', '/e'),
	(13, 'ann', '2026-01-01 08:59', '/other'), (14, 'ann', '2026-01-01 10:10', '/within'), (15, 'carl', '2026-01-01', '/');
SELECT check_sessions();
SELECT * FROM sessions ORDER BY who, session_start;

-- deletes split, shorten and end sessions; the same time twice
DELETE FROM clicks WHERE id = 10;
SELECT check_sessions();
DELETE FROM clicks WHERE id IN (11, 12, 15);
SELECT check_sessions();
INSERT INTO clicks VALUES (16, 'ann', '2026-01-01 10:50', '/again');
DELETE FROM clicks WHERE id = 3;
SELECT check_sessions();
SELECT * FROM sessions ORDER BY who, session_start;

-- updates: of the user, of the time, of neither, to and from NULL
UPDATE clicks SET page = upper(page);
UPDATE clicks SET who = 'bob' WHERE id = 2;
UPDATE clicks SET at = at + interval '5 hours' WHERE id = 14;
SELECT check_sessions();
UPDATE clicks SET who = NULL WHERE id = 1;
UPDATE clicks SET at = NULL WHERE id = 4;
UPDATE clicks SET who = 'dora' WHERE id = 6;
UPDATE clicks SET at = '2026-01-01 10:10' WHERE id = 7;
SELECT check_sessions();
SELECT * FROM sessions ORDER BY who, session_start;
SELECT oracle('sessions');

-- transactions: everything in one, savepoints, rollbacks
BEGIN;
INSERT INTO clicks SELECT 100 + i, 'eve', timestamp '2026-01-02' + i * interval '20 minutes' FROM generate_series(1, 20) i;
SAVEPOINT s;
DELETE FROM clicks WHERE who = 'eve';
INSERT INTO clicks VALUES (200, 'eve', '2026-01-02 03:00', '/');
ROLLBACK TO s;
DELETE FROM clicks WHERE id IN (105, 106, 112);
UPDATE clicks SET at = at - interval '1 minute' WHERE id BETWEEN 113 AND 116;
SAVEPOINT t;
UPDATE clicks SET at = at + interval '1 day' WHERE id = 101;
UPDATE clicks SET at = at - interval '1 day' WHERE id = 101;
INSERT INTO clicks VALUES (201, 'eve', '2026-01-02 09:00', '/');
DELETE FROM clicks WHERE id = 201;
COMMIT;
BEGIN;
DELETE FROM clicks;
ROLLBACK;
SELECT check_sessions();
SELECT * FROM sessions WHERE who = 'eve' ORDER BY session_start;

-- times at the end of the world
INSERT INTO clicks VALUES (300, 'far', '-infinity'), (301, 'far', '-infinity'), (302, 'far', '4713-01-01 00:00 BC'),
	(303, 'far', '294276-12-31 23:59:59.999999'), (304, 'far', '294276-12-31 23:40'), (305, 'far', 'infinity');
SELECT derive.wait('sessions');
SELECT * FROM sessions WHERE who = 'far' ORDER BY session_start;
DELETE FROM clicks WHERE id IN (300, 304);
SELECT derive.wait('sessions');
SELECT * FROM sessions WHERE who = 'far' ORDER BY session_start;
DELETE FROM clicks WHERE who = 'far';
SELECT check_sessions();

-- TRUNCATE, and many users at once, by look-ups and all together
TRUNCATE clicks;
SELECT check_sessions();
SELECT count(*) FROM sessions;
INSERT INTO clicks SELECT i, 'user ' || i % 1500, timestamp '2026-01-01' + i * 7 % 1440 * interval '1 minute' FROM generate_series(1, 6000) i;
SELECT check_sessions();
UPDATE clicks SET at = at + interval '17 minutes' WHERE id % 3 = 0;
SELECT check_sessions();
DELETE FROM clicks WHERE id % 2 = 0;
SELECT check_sessions();
SELECT oracle('sessions');
TRUNCATE clicks;

-- at random
CREATE PROCEDURE stress_sessions(rounds int) LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	FOR round IN 1 .. rounds LOOP
		FOR i IN 1 .. 1 + (random() * 4)::int LOOP
			CASE (random() * 5)::int
				WHEN 0, 1, 2 THEN
					INSERT INTO clicks SELECT (SELECT coalesce(max(id), 0) FROM clicks) + g, 'u' || (random() * 4)::int,
						timestamp '2026-01-01' + (random() * 1000)::int * interval '1 minute'
					FROM generate_series(1, 1 + (random() * 8)::int) g;
				WHEN 3 THEN
					DELETE FROM clicks WHERE random() < 0.15;
				WHEN 4 THEN
					UPDATE clicks SET at = at + ((random() * 120)::int - 60) * interval '1 minute' WHERE random() < 0.1;
				ELSE
					UPDATE clicks SET who = nullif('u' || (random() * 5)::int, 'u5') WHERE random() < 0.1;
			END CASE;
			IF random() < 0.7 THEN
				COMMIT;
			END IF;
		END LOOP;
		COMMIT;
		result := check_sessions();
		IF result <> 'same' THEN
			RAISE EXCEPTION 'round %: %', round, result;
		END IF;
		COMMIT;
	END LOOP;
END $$;
SELECT setseed(0.25);
CALL stress_sessions(60);
SELECT oracle('sessions');
SELECT error FROM derive.views WHERE view = 'sessions'::regclass;

-- a renamed table, renamed columns of the view, other column names
ALTER TABLE clicks RENAME TO "Page Hits";
INSERT INTO "Page Hits" VALUES (100001, 'zoe', '2026-02-01'), (100002, 'zoe', '2026-02-01 00:10');
DELETE FROM "Page Hits" WHERE id = 100001;
SELECT oracle('sessions');
SELECT * FROM sessions WHERE who = 'zoe';
ALTER TABLE "Page Hits" RENAME TO clicks;
SELECT derive.create_view('visits', derivation => 'sessionize', sources => '{clicks}',
	columns => '("Visitor" text, "from" timestamp, "until" timestamp, clicks bigint)', key => '{Visitor,from}',
	options => '{"user": "who", "time": "at", "gap": 3600}');
DELETE FROM clicks WHERE id % 2 = 0;
SELECT oracle('visits');

-- a partitioned source, users that are numbers, times with time zone, days in the gap
CREATE TABLE events (who int, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 (at timestamptz, dropped int, who int);
ALTER TABLE events_2 DROP COLUMN dropped;
ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
SELECT derive.create_view('stays', derivation => 'sessionize', sources => '{events}',
	options => '{"user": "who", "time": "at", "gap": "1 day 12:00"}');
INSERT INTO events SELECT i % 5, timestamptz '2026-01-20' + i * i * interval '1 minute' FROM generate_series(1, 200) i;
SELECT oracle('stays');
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'stays'::regclass ORDER BY 1;
UPDATE events SET at = at + interval '2 days' WHERE at BETWEEN '2026-01-30' AND '2026-02-02';
DELETE FROM events WHERE at::date = '2026-02-05';
SELECT oracle('stays');
SELECT who, count(*), sum(n) FROM stays GROUP BY who ORDER BY who;
-- a view is a source, and the view one of another
SELECT derive.create_view('busy', 'SELECT who, at FROM events WHERE who < 3');
SELECT derive.create_view('busy_stays', derivation => 'sessionize', sources => '{busy}',
	options => '{"user": "who", "time": "at", "gap": "1 day 12:00"}');
SELECT derive.create_view('stay_count', 'SELECT who, count(*), max(session_end - session_start) FROM busy_stays GROUP BY who');
DELETE FROM events WHERE who = 1 AND at > '2026-02-01';
UPDATE events SET who = who + 1;
INSERT INTO events VALUES (0, '2026-02-20'), (0, '2026-02-20');
SELECT oracle('busy_stays');
SELECT oracle('stay_count');

-- a session that has lost its user is no reason to crash when all of them are read
CREATE TABLE many_clicks (id int PRIMARY KEY, who text, at timestamp);
INSERT INTO many_clicks SELECT i, CASE WHEN i % 7 > 0 THEN 'user ' || i % 1500 END, timestamp '2026-01-01' + i * interval '1 s' FROM generate_series(1, 3000) i;
SELECT derive.create_view('many', derivation => 'sessionize', sources => '{many_clicks}', options => '{"user": "who", "time": "at"}');
SELECT derive.wait('many');
DO $$ BEGIN
	PERFORM set_config('allow_system_table_mods', 'on', true);
	UPDATE pg_class SET relkind = 'r', relhasrules = false WHERE oid = 'many'::regclass;
	UPDATE many SET who = NULL WHERE who = 'user 8';
	UPDATE pg_class SET relkind = 'm', relhasrules = true WHERE oid = 'many'::regclass;
END $$;
UPDATE many_clicks SET at = at + id * interval '1 hour';
SELECT derive.wait('many'), oracle('many');
DROP MATERIALIZED VIEW many;
DROP TABLE many_clicks;

-- refused
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"time": "at"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "nobody", "time": "at"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "page"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at", "gap": "soon"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at", "gap": "1 month"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at", "gap": "-5 minutes"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at", "gap": "2147483647 days"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at", "pause": 1}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks,events}', options => '{"user": "who", "time": "at"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": ["who"], "time": "at"}');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at"}', columns => '(who text, at timestamp)');
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at"}', key => '{who}');
CREATE TABLE numeric_clicks (who numeric, at timestamp);
SELECT derive.create_view('bad', derivation => 'sessionize', sources => '{numeric_clicks}', options => '{"user": "who", "time": "at"}');

-- the rights are those of the view's owner
CREATE ROLE sessionize_user;
GRANT CREATE ON SCHEMA public TO sessionize_user;
SET ROLE sessionize_user;
SELECT derive.create_view('mine', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at"}');
RESET ROLE;
GRANT SELECT ON clicks TO sessionize_user;
SET ROLE sessionize_user;
SELECT derive.create_view('mine', derivation => 'sessionize', sources => '{clicks}', options => '{"user": "who", "time": "at"}');
RESET ROLE;
DELETE FROM clicks WHERE id % 5 = 0;
INSERT INTO clicks VALUES (200001, 'zoe', '2026-03-01');
SELECT oracle('mine');

SELECT * FROM oracle_all();
DROP MATERIALIZED VIEW mine, stay_count, busy_stays, busy, stays, visits, sessions;
DROP VIEW expected_sessions;
DROP FUNCTION check_sessions;
DROP PROCEDURE stress_sessions;
DROP TABLE clicks, events, numeric_clicks;
REVOKE CREATE ON SCHEMA public FROM sessionize_user;
DROP ROLE sessionize_user;
