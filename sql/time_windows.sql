-- Conditions with now(): rows enter and leave as time passes.
CREATE SCHEMA tw;
SET search_path = tw, public;

-- The query with the time of the view in place of the present; then derive.verify() from inside.
CREATE FUNCTION exact(v regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	query text;
	outside bigint;
	inside record;
	present record;
	zone text := current_setting('TimeZone');
	at text := format('(SELECT as_of FROM derive.views WHERE view = %L::regclass)', v);
BEGIN
	IF NOT derive.wait(v, timeout => '60 s') THEN
		RETURN 'timeout';
	END IF;
	SELECT rtrim(views.query, ';') INTO query FROM derive.views WHERE view = v;
	query := replace(query, 'FROM recent', format('FROM (%s) recent', rtrim(pg_get_viewdef('tw.recent'::regclass), ';')));
	FOR present IN SELECT * FROM (VALUES (1, 'now()', ''), (2, 'transaction_timestamp()', ''), (3, 'CURRENT_DATE', '::date'),
			(4, 'LOCALTIMESTAMP', '::timestamp'), (5, 'CURRENT_TIMESTAMP(0)', '::timestamptz(0)'), (6, 'CURRENT_TIMESTAMP', '')) t(n, name, type) ORDER BY n LOOP
		query := replace(query, present.name, at || present.type);
	END LOOP;
	PERFORM set_config('TimeZone', substr(s, 10), true) FROM derive_state.view_states, unnest(settings) s WHERE view = v AND s LIKE 'TimeZone=%';
	EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL TABLE %1$s)) d', v, query) INTO outside;
	PERFORM set_config('TimeZone', zone, true);
	IF outside > 0 THEN
		RETURN format('%s differences', outside);
	END IF;
	SELECT * INTO inside FROM derive.verify(v);
	IF inside.missing + inside.extra > 0 THEN
		RETURN format('verify: %s missing, %s extra', inside.missing, inside.extra);
	END IF;
	RETURN 'exact';
END $$;
CREATE FUNCTION exact_all() RETURNS TABLE (result text, views bigint) LANGUAGE sql AS $$
	SELECT CASE WHEN r = 'exact' THEN r ELSE view || ': ' || r END, count(*) FROM (SELECT view::text, tw.exact(v.view) AS r FROM derive_state.view_states v WHERE v.schema = 'tw') x GROUP BY 1 ORDER BY 1 $$;
-- What is due at the clock that views go by, in hours from that of the server.
CREATE FUNCTION await_hour(v regclass, hours float8) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 6000 LOOP
		IF (SELECT abs(extract(epoch FROM as_of - clock_timestamp()) / 3600 - hours) < 0.2 FROM derive.views WHERE view = v) THEN
			RETURN true;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN false;
END $$;

-- One row for every hour, half past it seen from here.
CREATE TABLE e (id int PRIMARY KEY, g int, n int, at timestamptz, ts timestamp, d date);
CREATE INDEX ON e (at);
INSERT INTO e SELECT i, i % 3, i * 10, a, a AT TIME ZONE current_setting('TimeZone'), a::date
	FROM (SELECT i, now() + i * interval '1 hour' + interval '30 minutes' AS a FROM generate_series(-60, 59) i) s;
INSERT INTO e VALUES (1000, 1, 1, NULL, NULL, NULL), (1001, 2, 1, 'infinity', 'infinity', 'infinity'), (1002, 2, 1, '-infinity', '-infinity', '-infinity');
CREATE TABLE p (id int PRIMARY KEY, e int, price int, valid_from timestamptz, valid_to timestamptz);
INSERT INTO p SELECT i, i % 20, i, now() + (i / 20) * interval '3 hours' - interval '29 hours',
	now() + (i / 20 + 1) * interval '3 hours' - interval '29 hours' FROM generate_series(1, 380) i;
INSERT INTO p VALUES (0, 1, 0, now(), NULL);

SELECT derive.create_view('last_hours', $$SELECT id, n FROM e WHERE at > now() - interval '3 hours' AND at <= now()$$);
SELECT derive.create_view('turned', $$SELECT id FROM e WHERE now() - interval '5 hours' < at$$);
SELECT derive.create_view('betw', $$SELECT id, at FROM e WHERE at BETWEEN CURRENT_TIMESTAMP - interval '2 hours' AND transaction_timestamp() + interval '2 hours'$$);
SELECT derive.create_view('expression', $$SELECT id FROM e WHERE at + n * interval '1 minute' >= CURRENT_TIMESTAMP(0)$$);
SELECT derive.create_view('today', $$SELECT id FROM e WHERE d = CURRENT_DATE$$);
SELECT derive.create_view('days', $$SELECT d, count(*) AS n FROM e WHERE d >= CURRENT_DATE - 1 GROUP BY d$$);
SELECT derive.create_view('months', $$SELECT id FROM e WHERE at > now() - interval '1 month'$$);
SELECT derive.create_view('local', $$SELECT id FROM e WHERE ts < LOCALTIMESTAMP$$);
SELECT derive.create_view('mixed', $$SELECT id FROM e WHERE ts < now()$$);
SELECT derive.create_view('sums', $$SELECT g, count(*) AS c, sum(n) AS s, avg(n) AS a, min(n), max(at) FROM e WHERE at > now() - interval '4 hours' AND at < now() GROUP BY g$$);
SELECT derive.create_view('total', $$SELECT count(*) AS c, sum(n) AS s FROM e WHERE at > now() - interval '4 hours' AND at < now()$$);
SELECT derive.create_view('arrays', $$SELECT g, array_agg(n ORDER BY n) AS a FROM e WHERE at > now() - interval '4 hours' AND at < now() GROUP BY g$$);
SELECT derive.create_view('havings', $$SELECT g, d, max(at) AS latest FROM e GROUP BY g, d HAVING max(at) < now() AND count(*) > 1$$);
SELECT derive.create_view('having_between', $$SELECT g, max(at) AS latest FROM e WHERE at < '2100-01-01' GROUP BY g, d HAVING max(at) BETWEEN now() - interval '30 hours' AND now() AND count(*) > 1 AND EXISTS (SELECT 1 FROM p WHERE p.price = g)$$);
SELECT derive.create_view('distincts', $$SELECT DISTINCT g FROM e WHERE at > now() - interval '90 minutes' AND at < now()$$);
SELECT derive.create_view('firsts', $$SELECT DISTINCT ON (g) g, id FROM e WHERE at > now() ORDER BY g, at, id$$);
SELECT derive.create_view('ranks', $$SELECT id, row_number() OVER (PARTITION BY g ORDER BY at, id) AS r, lag(n) OVER (PARTITION BY g ORDER BY at, id) FROM e WHERE at > now() - interval '5 hours'$$);
SELECT derive.create_view('next_ones', $$SELECT id FROM e WHERE at > now() ORDER BY at, id LIMIT 3$$);
SELECT derive.create_view('sets', $$SELECT g, d, count(*) AS c FROM e WHERE at > now() - interval '30 hours' GROUP BY ROLLUP (g, d)$$);
SELECT derive.create_view('current_prices', $$SELECT e.id, p.price FROM e JOIN p ON p.e = e.id AND p.valid_from <= now() AND now() < p.valid_to$$);
SELECT derive.create_view('both_sides', $$SELECT e.id, p.price FROM e JOIN p ON p.e = e.id WHERE e.at > now() - interval '10 hours' AND p.valid_to > now()$$);
SELECT derive.create_view('kept_side', $$SELECT e.id, p.price FROM e LEFT JOIN p ON p.e = e.id AND p.price > 100 WHERE e.at > now() - interval '10 hours'$$);
SELECT derive.create_view('after_outer', $$SELECT e.id, p.price FROM e LEFT JOIN p ON p.e = e.id WHERE p.valid_to > now()$$);
SELECT derive.create_view('missing_side', $$SELECT e.id, p.price FROM e LEFT JOIN (SELECT * FROM p WHERE valid_from <= now() AND valid_to > now()) p ON p.e = e.id$$);
SELECT derive.create_view('full_join', $$SELECT e.id, p.price FROM e FULL JOIN p ON p.e = e.id WHERE e.at > now() - interval '10 hours'$$);
SELECT derive.create_view('unions', $$SELECT id, 'late' AS w FROM e WHERE at < now() - interval '40 hours' UNION ALL SELECT id, 'soon' FROM e WHERE at > now() AND at < now() + interval '5 hours' UNION ALL SELECT id, 'p' FROM p$$);
SELECT derive.create_view('union_once', $$SELECT g FROM e WHERE at < now() - interval '58 hours' UNION SELECT g FROM e WHERE at > now() + interval '58 hours'$$);
SELECT derive.create_view('excepts', $$SELECT id FROM e EXCEPT SELECT id FROM e WHERE at > now() - interval '20 hours'$$);
SELECT derive.create_view('exist', $$SELECT id FROM e WHERE EXISTS (SELECT 1 FROM p WHERE p.e = e.id AND p.valid_to > now() + interval '15 hours')$$);
SELECT derive.create_view('not_in', $$SELECT id FROM e WHERE id NOT IN (SELECT p.e FROM p WHERE p.valid_from < now() - interval '20 hours')$$);
SELECT derive.create_view('scalar', $$SELECT id, (SELECT count(*) FROM p WHERE p.e = e.id AND p.valid_from < now()) AS c FROM e$$);
SELECT derive.create_view('laterals', $$SELECT e.id, l.price FROM e, LATERAL (SELECT price FROM p WHERE p.e = e.id AND p.valid_to > now() ORDER BY price LIMIT 1) l$$);
CREATE VIEW recent AS SELECT * FROM e WHERE at > now() - interval '3 hours' AND at < now();
SELECT derive.create_view('of_plain_view', $$SELECT g, count(*) AS c FROM recent GROUP BY g$$);
SELECT derive.create_view('of_views', $$SELECT l.id, e.at FROM last_hours l JOIN e USING (id) WHERE e.at > now() - interval '2 hours'$$);
SELECT derive.create_view('timeless', $$SELECT count(*) AS c, sum(n) AS s FROM last_hours$$);
SELECT * FROM exact_all();
SELECT id FROM last_hours ORDER BY id;
SELECT count(*) AS without_time FROM derive_state.view_states WHERE schema = 'tw' AND as_of IS NULL;

-- With nothing else to do they move every pg_derive.time_resolution.
ALTER SYSTEM SET pg_derive.debug_clock_offset = '5 h';
SELECT pg_reload_conf();
SELECT await_hour('last_hours', 5);
SELECT * FROM exact_all();
SELECT id FROM last_hours ORDER BY id;

-- A clock that is set back is followed, and rows that had left are back.
ALTER SYSTEM SET pg_derive.debug_clock_offset = '-30 h';
SELECT pg_reload_conf();
SELECT await_hour('last_hours', -30);
SELECT * FROM exact_all();
SELECT id FROM last_hours ORDER BY id;

-- Changes and time in one batch: time alone does not make one for now.  (The worker has read its settings by
-- then; if not, the views are as exact, but less is tested.)
ALTER SYSTEM SET pg_derive.time_resolution = '10 d';
ALTER SYSTEM SET pg_derive.debug_clock_offset = '-2 h';
SELECT pg_reload_conf();
SELECT pg_sleep(0.2);
BEGIN;
INSERT INTO e SELECT 2000 + i, i % 3, i, now() + i * interval '1 hour', now() + i * interval '1 hour', now() + i * interval '1 hour' FROM generate_series(-10, 10) i;
UPDATE e SET at = at + interval '2 hours', n = n + 1 WHERE id % 4 = 0;
UPDATE p SET valid_to = valid_to + interval '5 hours' WHERE id % 5 = 0;
UPDATE p SET e = e + 1, valid_from = valid_from - interval '2 hours' WHERE id % 7 = 0;
DELETE FROM e WHERE id % 9 = 0;
DELETE FROM p WHERE id % 11 = 0;
COMMIT;
SELECT * FROM exact_all();
ALTER SYSTEM SET pg_derive.debug_clock_offset = '90 min';
SELECT pg_reload_conf();
SELECT pg_sleep(0.2);
BEGIN;
UPDATE e SET at = at - interval '1 hours', g = (g + 1) % 3 WHERE id % 4 = 1;
UPDATE p SET price = price + 1, e = e - 1 WHERE id % 3 = 0;
DELETE FROM e WHERE id % 13 = 0;
INSERT INTO p SELECT 1000 + i, i % 30, i, now(), now() + interval '1 hour' FROM generate_series(1, 50) i;
COMMIT;
SELECT * FROM exact_all();
ALTER SYSTEM SET pg_derive.debug_clock_offset = '8 h';
SELECT pg_reload_conf();
SELECT pg_sleep(0.2);
TRUNCATE p;
INSERT INTO e VALUES (3000, 0, 0, now() + interval '7 hours', now(), now());
SELECT * FROM exact_all();

-- Old rows from the log.
ALTER SYSTEM SET pg_derive.old_rows = 'log';
ALTER SYSTEM SET pg_derive.debug_clock_offset = '10 h';
SELECT pg_reload_conf();
SELECT pg_sleep(0.2);
INSERT INTO p SELECT i, i % 20, i, now() + (i / 20) * interval '3 hours' - interval '29 hours',
	now() + (i / 20 + 1) * interval '3 hours' - interval '29 hours' FROM generate_series(1, 380) i;
SELECT * FROM exact_all();
ALTER SYSTEM SET pg_derive.debug_clock_offset = '13 h';
SELECT pg_reload_conf();
SELECT pg_sleep(0.2);
BEGIN;
UPDATE p SET valid_to = valid_to + interval '1 hours', e = e + 1 WHERE id % 5 = 0;
UPDATE e SET at = at + interval '2 hours', n = n + 1 WHERE id % 3 = 0;
COMMIT;
SELECT * FROM exact_all();
ALTER SYSTEM RESET pg_derive.old_rows;
ALTER SYSTEM RESET pg_derive.time_resolution;
ALTER SYSTEM RESET pg_derive.debug_clock_offset;
SELECT pg_reload_conf();

-- Who inserts a row that is valid from now on, and waits, sees it, once the worker has the clock back.
SELECT await_hour('last_hours', 0);
INSERT INTO p VALUES (5000, 1, 1, now(), now() + interval '1 day');
INSERT INTO e VALUES (5000, 1, 1, now());
SELECT derive.wait(timeout => '60 s');
SELECT id FROM last_hours WHERE id = 5000;
SELECT await_hour('last_hours', 0);
SELECT * FROM exact_all();

-- Time zones: of the session that declares the view.
SET TimeZone = 'Pacific/Kiritimati';
SELECT derive.create_view('there', 'SELECT id FROM e WHERE at::date >= CURRENT_DATE');
SELECT exact('there');
RESET TimeZone;
SELECT missing, extra FROM derive.verify('there');

-- Paused, resumed, repaired.
SELECT derive.pause('sums');
SELECT as_of < clock_timestamp() AS has_time FROM derive.views WHERE view = 'sums'::regclass;
SELECT derive.resume('sums');
SELECT derive.repair('last_hours');
SELECT * FROM exact_all();

-- What people are told.
SELECT regexp_replace(line, 'state_\d+', 'state_N') AS line FROM derive.explain('sums') AS line;
CREATE TABLE unindexed (id int PRIMARY KEY, at timestamptz, h timestamptz);
CREATE INDEX ON unindexed USING hash (h);
SELECT derive.create_view('slow', 'SELECT id FROM unindexed WHERE at < now() AND h < now()');

-- What is refused.
SELECT derive.create_view('r', 'SELECT id, now() FROM e');
\set VERBOSITY terse
SELECT derive.create_view('r', 'SELECT id FROM e WHERE at > now() OR id = 1');
SELECT derive.create_view('r', 'SELECT id FROM e WHERE NOT at > now()');
SELECT derive.create_view('r', $$SELECT id FROM e WHERE now() - at > interval '1 hour'$$);
SELECT derive.create_view('r', 'SELECT id FROM e WHERE at <> now()');
SELECT derive.create_view('r', $$SELECT id FROM e WHERE at > now() - n * interval '1 hour'$$);
SELECT derive.create_view('r', 'SELECT id FROM e WHERE at > (SELECT now())');
SELECT derive.create_view('r', 'SELECT e.id FROM e LEFT JOIN p ON p.e = e.id AND p.valid_to > now()');
SELECT derive.create_view('r', 'SELECT count(*) FILTER (WHERE at > now()) FROM e');
SELECT derive.create_view('r', 'SELECT id FROM e WHERE at > statement_timestamp()');
SELECT derive.create_view('r', 'SELECT id FROM e WHERE at > clock_timestamp()');
SELECT derive.create_view('r', 'SELECT id FROM e WHERE ts::time > LOCALTIME');
SELECT derive.create_view('r', $$SELECT id FROM e WHERE EXISTS (SELECT 1 FROM p WHERE p.valid_to + e.n * interval '1 hour' > now())$$);
SELECT derive.create_view('r', 'WITH RECURSIVE t AS (SELECT id FROM e WHERE at > now() UNION SELECT t.id + 1 FROM t, e WHERE e.id = t.id) SELECT * FROM t');
SET client_min_messages = warning;
DROP SCHEMA tw CASCADE;
