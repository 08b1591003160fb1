-- Topics: events that are written to the log only.
SELECT derive.create_topic('clicks', 'user_id int, url text, at timestamptz');
SELECT derive.append('clicks', '{"user_id": 0}') IS NOT NULL AS waits_until_it_is_ready;
\d clicks
SELECT derive.append('clicks', '{"user_id": 1, "url": "/a"}') < pg_current_wal_insert_lsn() + 1 AS lsn;
SELECT derive.append('clicks', '{"user_id": 2, "url": null, "at": "2026-01-01"}'::jsonb) IS NOT NULL AS done;
SELECT derive.append('clicks', ROW(3, '/c', '2026-01-02')) IS NOT NULL AS done;
SELECT derive.append('clicks', ROW(4::bigint, '/d'::varchar, '2026-01-03'::date)) IS NOT NULL AS done;
SELECT derive.append('clicks', '{}') IS NOT NULL AS done;
PREPARE add AS SELECT derive.append('clicks', $1) IS NOT NULL AS done;
EXECUTE add('{"user_id": 5}');
DEALLOCATE add;

-- As transactions do: rolled back, in part, prepared.
BEGIN;
SELECT count(derive.append('clicks', ROW(-1, 'never', NULL))) FROM generate_series(1, 5);
ROLLBACK;
BEGIN;
SELECT count(derive.append('clicks', ROW(6, 's' || g, NULL))) FROM generate_series(1, 2) g;
SAVEPOINT a;
SELECT count(derive.append('clicks', ROW(-1, 'never', NULL))) FROM generate_series(1, 5);
ROLLBACK TO a;
SAVEPOINT b;
SELECT count(derive.append('clicks', ROW(6, 's' || g, NULL))) FROM generate_series(3, 4) g;
RELEASE b;
DO $$ BEGIN
	PERFORM derive.append('clicks', ROW(-1, 'never', NULL));
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
	PERFORM derive.append('clicks', ROW(6, 's5', NULL));
END $$;
COMMIT;
SELECT derive.wait('clicks', timeout => '60 s');
SELECT event_id, user_id, url, at AT TIME ZONE 'UTC' AS at FROM clicks ORDER BY event_id;
SELECT count(*) AS wrong FROM (SELECT *, lag(event_lsn) OVER w AS before_lsn, lag(event_time) OVER w AS before_time
	FROM clicks WINDOW w AS (ORDER BY event_id)) c WHERE before_lsn >= event_lsn OR before_time > event_time;
SELECT derive.append('clicks', '{"url": "same"}') AS lsn \gset
SELECT derive.wait('clicks', timeout => '60 s');
SELECT url FROM clicks WHERE event_lsn = :'lsn';

-- In order with changes of tables, exactly once, in views and derivations over topics.
CREATE TABLE users (id int PRIMARY KEY, name text);
INSERT INTO users SELECT g, 'user ' || g FROM generate_series(1, 6) g;
SELECT derive.create_view('clicks_of_users', 'SELECT u.name, count(*) AS n, min(c.at) AS first, max(c.event_id) AS last FROM clicks c JOIN users u ON u.id = c.user_id GROUP BY u.name');
SELECT derive.create_view('urls', 'SELECT DISTINCT url FROM clicks WHERE url IS NOT NULL');
SELECT derive.create_view('sessions', 'sessionize', '{clicks}', options => '{"user": "user_id", "time": "at", "gap": "30 min"}');
SELECT derive.wait(timeout => '60 s');
SELECT oracle('clicks_of_users'), oracle('urls'), oracle('sessions');
BEGIN;
UPDATE users SET name = 'renamed' WHERE id = 1;
SELECT count(derive.append('clicks', ROW(g % 7, '/' || g, timestamptz '2026-02-01 UTC' + g * interval '7 min'))) FROM generate_series(1, 1000) g;
DELETE FROM users WHERE id = 2;
COMMIT;
SELECT count(derive.append('clicks', ROW(g % 7, '/' || g, timestamptz '2026-03-01 UTC' + g * interval '7 min'))) FROM generate_series(1, 10000) g;
SELECT oracle('clicks_of_users'), oracle('urls'), oracle('sessions');
SELECT name, n FROM clicks_of_users ORDER BY name;
SELECT count(*) AS events, count(DISTINCT event_id) AS ids, max(event_id) FROM clicks;

-- All kinds of columns; what does not fit is refused at once.
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN positive AS int NOT NULL CHECK (value > 0);
CREATE TYPE pair AS (a int, b text);
SELECT derive.create_topic('kinds', '(m mood, d positive, v varchar(3), n numeric(5,2), j jsonb, l int[], c "char", p pair, b bytea, "Odd name" text)');
SELECT derive.append('kinds', ROW('good', 1, 'abc', 1.239, '{}', '{1,2}', 'x', '(1,b)', '\xff', 'odd')) IS NOT NULL AS done;
SELECT derive.append('kinds', '{"m": "bad", "d": 2, "v": "x", "n": 1.239, "j": [1], "l": [3], "c": "c", "p": {"a": 4}, "b": "\\xfe", "Odd name": "odd"}') IS NOT NULL AS done;
SELECT derive.wait('kinds', timeout => '60 s');
SELECT derive.append('kinds', k) IS NOT NULL AS again FROM kinds k WHERE event_id = 1;
SELECT derive.append('kinds', ROW(m, d, v, n, j, l, c, p, b, repeat('long ', 100000))) IS NOT NULL AS done FROM kinds WHERE event_id = 2;
SELECT derive.append('kinds', jsonb_build_object('d', 3, 'Odd name', repeat(md5(event_id::text), 10000))) IS NOT NULL AS done FROM kinds WHERE event_id = 2;
SELECT derive.wait('kinds', timeout => '60 s');
SELECT event_id, m, d, v, n, j, l, c, p, b, length("Odd name") FROM kinds ORDER BY event_id;
SELECT derive.append('kinds', ROW('good', 0, 'abc', 1, NULL, NULL, NULL, NULL, NULL, NULL));
SELECT derive.append('kinds', ROW('good', NULL::int, 'abc', 1, NULL, NULL, NULL, NULL, NULL, NULL));
SELECT derive.append('kinds', ROW('good', 1, 'abcd', 1, NULL, NULL, NULL, NULL, NULL, NULL));
SELECT derive.append('kinds', ROW('good', 1, 'abc', 12345, NULL, NULL, NULL, NULL, NULL, NULL));
SELECT derive.append('kinds', ROW('fair', 1, 'abc', 1, NULL, NULL, NULL, NULL, NULL, NULL));
SELECT derive.append('kinds', ROW('good', 1, 'abc', 1, 5, NULL, NULL, NULL, NULL, NULL));
SELECT derive.append('kinds', ROW('good', 1));
SELECT derive.append('kinds', '{"d": -1}');
SELECT derive.append('kinds', '{"m": "bad"}');
SELECT derive.append('kinds', '{"d": "one"}');
SELECT derive.append('kinds', '{"d": 1, "odd name": 1}');
SELECT derive.append('kinds', '{"d": 1, "event_id": 1}');
SELECT derive.append('kinds', '[1]');
SELECT derive.append('kinds', '"d"');
SELECT derive.append('kinds', 'nonsense');
SELECT derive.append('kinds', 5);
SELECT derive.append('kinds', NULL::jsonb);
SELECT derive.append('kinds', NULL::kinds);
SELECT derive.append(NULL, '{}');
SELECT derive.append('users', '{}');
SELECT derive.append('clicks_of_users', '{}');
SELECT derive.append('nowhere', '{}');
SELECT derive.append(1::regclass, '{}');
DO $$
DECLARE
	columns text := (SELECT string_agg(format('c%s uuid', g), ', ') FROM generate_series(1, 600) g);
BEGIN
	PERFORM derive.create_topic('wide', columns);
END $$;
SELECT derive.append('wide', (SELECT jsonb_object_agg('c' || g, gen_random_uuid()) FROM generate_series(1, 600) g));
SELECT derive.append('wide', (SELECT jsonb_object_agg('c' || g, gen_random_uuid()) FROM generate_series(1, 400) g)) IS NOT NULL AS done;
BEGIN READ ONLY;
SELECT derive.append('clicks', '{}');
ROLLBACK;
BEGIN;
SELECT derive.create_topic('early', 'a int');
SELECT derive.append('early', '{}');
ROLLBACK;
BEGIN;
ALTER MATERIALIZED VIEW clicks RENAME url TO address;
SELECT derive.append('clicks', '{"address": "renamed"}') IS NOT NULL AS done;
ROLLBACK;
SELECT derive.append('clicks', '{"address": "renamed"}');

-- Rights: INSERT on the topic.  A forged message is nobody's.
CREATE ROLE regress_appender;
SET ROLE regress_appender;
SELECT derive.append('clicks', '{}');
RESET ROLE;
GRANT INSERT ON clicks TO regress_appender;
SET ROLE regress_appender;
SELECT derive.append('clicks', '{"user_id": 100}') IS NOT NULL AS done;
SELECT * FROM clicks;
SELECT pg_logical_emit_message(true, 'pg_derive.topic', repeat('x', 100)) IS NOT NULL AS done;
SELECT pg_logical_emit_message(true, 'pg_derive.topic', '') IS NOT NULL AS done;
SELECT pg_logical_emit_message(false, 'pg_derive.topic', repeat('x', 10)) IS NOT NULL AS done;
RESET ROLE;
REVOKE INSERT ON clicks FROM regress_appender;
SET ROLE regress_appender;
SELECT derive.append('clicks', '{}');
RESET ROLE;
DROP ROLE regress_appender;
SELECT derive.wait(timeout => '60 s');
SELECT count(*) FROM clicks WHERE user_id = 100;
SELECT count(*) FROM wide;

-- Retention and compaction.
ALTER SYSTEM SET pg_derive.cleanup_interval = '10ms';
SELECT pg_reload_conf();
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE
	met boolean;
BEGIN
	LOOP
		EXECUTE 'SELECT ' || condition INTO met;
		EXIT WHEN met;
		PERFORM derive.wait();
		COMMIT;
	END LOOP;
END $$;
SELECT derive.create_topic('newest_rows', 'a int', options => '{"retention_rows": 100}');
SELECT derive.create_topic('newest_bytes', 'a int, b text', options => '{"retention_size": "10 kB"}');
SELECT derive.create_topic('newest_hour', 'a int', options => '{"retention_age": "1 hour"}');
SELECT derive.create_topic('no_age', 'a int', options => '{"retention_age": "1 us"}');
SELECT derive.create_topic('newest_keys', 'k text, a int', key => '{k}', options => '{"compact": true}');
SELECT derive.create_topic('few_keys', 'k text, a int', key => '{k}', options => '{"compact": true, "retention_rows": 3}');
SELECT derive.create_view('sum_of_rows', 'SELECT count(*), sum(a) FROM newest_rows');
SELECT derive.create_view('sum_of_keys', 'SELECT count(*), sum(a) FROM newest_keys');
SELECT derive.wait(timeout => '60 s');
SELECT count(derive.append('newest_rows', ROW(g))) FROM generate_series(1, 1000) g;
SELECT count(derive.append('newest_bytes', ROW(g, repeat('x', 1000)))) FROM generate_series(1, 100) g;
SELECT count(derive.append('newest_hour', ROW(g))) FROM generate_series(1, 1000) g;
SELECT count(derive.append('no_age', ROW(g))) FROM generate_series(1, 1000) g;
SELECT count(derive.append('newest_keys', ROW('k' || g % 10, g))) FROM generate_series(1, 1005) g;
SELECT count(derive.append('newest_keys', ROW(NULL, g))) FROM generate_series(1, 5) g;
SELECT count(derive.append('few_keys', ROW('k' || g % 10, g))) FROM generate_series(1, 1005) g;
SELECT derive.wait(timeout => '60 s');
CALL until('(SELECT count(*) FROM newest_rows) = 100');
CALL until('(SELECT count(*) FROM newest_bytes) = 9');
CALL until('(SELECT count(*) FROM no_age) = 0');
CALL until('(SELECT count(*) FROM few_keys) = 3');
SELECT oracle('sum_of_rows'), oracle('sum_of_keys');
SELECT min(event_id), max(event_id), count(*), min(a), max(a) FROM newest_rows;
SELECT min(event_id), max(event_id), count(*), min(a), max(a) FROM newest_bytes;
SELECT count(*) FROM newest_hour;
SELECT event_id, k, a FROM newest_keys ORDER BY event_id;
SELECT event_id, k, a FROM few_keys ORDER BY event_id;
SELECT derive.append('no_age', '{}') IS NOT NULL AS done;
SELECT derive.append('newest_rows', ROW(-1)) IS NOT NULL AS done;
SELECT derive.wait(timeout => '60 s');
SELECT min(event_id), max(event_id), count(*) FROM newest_rows;
SELECT oracle('sum_of_rows');
SELECT derive.explain('few_keys');
SELECT derive.explain('clicks');
ALTER SYSTEM RESET pg_derive.cleanup_interval;
SELECT pg_reload_conf();

-- Wrong declarations.
SELECT derive.create_topic('clicks', 'a int');
\set VERBOSITY terse
SELECT derive.create_topic('t', '');
SELECT derive.create_topic('t', 'a nonsense');
\set VERBOSITY default
SELECT derive.create_topic('t', 'event_id int');
SELECT derive.create_topic('t', 'a int', key => '{a}');
SELECT derive.create_topic('t', 'a int', options => '{"compact": true}');
SELECT derive.create_topic('t', 'a int', key => '{event_id}', options => '{"compact": true}');
SELECT derive.create_topic('t', 'a int', key => '{b}', options => '{"compact": true}');
SELECT derive.create_topic('t', 'a int', options => '{"retention_age": "-1 s"}');
SELECT derive.create_topic('t', 'a int', options => '{"retention_size": "big"}');
SELECT derive.create_topic('t', 'a int', options => '{"retention_rows": 0}');
SELECT derive.create_topic('t', 'a int', options => '{"retention": 0}');
SELECT derive.create_view('t', 'topic', '{}', columns => '(a int)');
SELECT derive.create_view('t', 'topic', '{users}', columns => '(event_id bigint, event_lsn pg_lsn, event_time timestamptz, a int)');

-- What a topic has stays where other views are computed anew.
REFRESH MATERIALIZED VIEW kinds;
SELECT derive.repair('kinds');
SELECT count(*) FROM kinds;
SELECT derive.append('kinds', '{"d": 9}') IS NOT NULL AS done;
SELECT derive.wait(timeout => '60 s');
SELECT max(event_id) FROM kinds;

-- A topic that was not maintained for a while goes on with the events that it has.
SELECT derive.create_topic('released', 'k int, v int', key => '{k}', options => '{"compact": true}');
SELECT derive.append('released', ROW(1, 1)) IS NOT NULL, derive.append('released', ROW(2, 2)) IS NOT NULL;
SELECT derive.wait('released', timeout => '60 s');
SELECT derive.release('released');
SELECT derive.append('released', ROW(1, 0));
SELECT derive.maintain('released');
SELECT derive.append('released', ROW(1, 3)) IS NOT NULL;
SELECT derive.wait('released', timeout => '60 s');
SELECT event_id, k, v FROM released ORDER BY 1;
DROP MATERIALIZED VIEW released;

-- The key follows its columns, whatever they are called.
SELECT derive.create_topic('latest', 'k int, v text', key => '{k}', options => '{"compact": true}');
SELECT derive.append('latest', ROW(1, 'one')) IS NOT NULL, derive.append('latest', ROW(2, 'two')) IS NOT NULL;
ALTER MATERIALIZED VIEW latest RENAME COLUMN k TO kk;
SELECT derive.append('latest', ROW(1, 'one again')) IS NOT NULL;
SELECT derive.wait('latest', timeout => '60 s');
ALTER MATERIALIZED VIEW latest RENAME COLUMN v TO k;
SELECT derive.append('latest', ROW(2, 'two again')) IS NOT NULL;
SELECT derive.wait('latest', timeout => '60 s');
SELECT derive.repair('latest');
SELECT derive.append('latest', ROW(3, 'three')) IS NOT NULL;
SELECT derive.wait('latest', timeout => '60 s');
SELECT * FROM (SELECT DISTINCT ON (kk) event_id, kk, k FROM latest ORDER BY kk, event_id DESC) l ORDER BY 1;
SELECT derive.explain('latest');
DROP MATERIALIZED VIEW latest;

-- Of a topic that has failed events may be lost, so a number is left out.
SELECT derive.create_topic('fails', 'a int');
SELECT derive.append('fails', ROW(1)) IS NOT NULL;
SELECT derive.wait('fails', timeout => '60 s');
SELECT derive.repair('fails');
SELECT derive.append('fails', ROW(2)) IS NOT NULL;
SELECT derive.wait('fails', timeout => '60 s');
SET client_min_messages = error;
CREATE UNIQUE INDEX a_mistake ON fails (a);
SELECT derive.append('fails', ROW(2)) IS NOT NULL;
DO $$ BEGIN PERFORM derive.wait('fails', timeout => '60 s'); EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL; END $$;
RESET client_min_messages;
SELECT state, error FROM derive.views WHERE view = 'fails'::regclass;
DROP INDEX a_mistake;
SELECT derive.repair('fails');
SELECT derive.append('fails', ROW(3)) IS NOT NULL;
SELECT derive.wait('fails', timeout => '60 s');
SELECT event_id, a FROM fails ORDER BY event_id;
DROP MATERIALIZED VIEW fails;

SELECT view, state FROM derive.views WHERE state <> 'ready';
DROP MATERIALIZED VIEW sum_of_rows, sum_of_keys, clicks_of_users, urls, sessions;
DROP MATERIALIZED VIEW clicks, kinds, wide, newest_rows, newest_bytes, newest_hour, no_age, newest_keys, few_keys;
DROP TABLE users;
DROP TYPE mood, pair;
DROP DOMAIN positive;
DROP PROCEDURE until;
