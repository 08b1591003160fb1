-- What a function of a view leaves in the process that maintains it does not stay there.
SET client_min_messages = warning;
CREATE ROLE regress_owner;
CREATE SCHEMA lo AUTHORIZATION regress_owner;
SET ROLE regress_owner;
SET search_path = lo, public;
-- Each of them by itself: some are refused, some end with the batch.
CREATE FUNCTION leave_all() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	what text;
BEGIN
	FOREACH what IN ARRAY ARRAY[
		'SELECT pg_advisory_lock(4711)', 'SELECT pg_advisory_lock_shared(4712)', 'SELECT pg_advisory_xact_lock(4713)',
		'SELECT set_config(''search_path'', ''lo'', false)', 'SELECT set_config(''my.setting'', ''mine'', false)', 'SET datestyle = ''German''', 'SET SESSION work_mem = ''64kB''',
		'PREPARE left_behind AS SELECT 1', 'DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1', 'LISTEN left_behind',
		'CREATE TEMP TABLE left_behind (x int)', 'CREATE TEMP VIEW left_behind AS SELECT 1', 'CREATE TEMP SEQUENCE left_behind',
		'CREATE TYPE pg_temp.left_behind AS ENUM (''x'')', 'CREATE DOMAIN pg_temp.left_behind2 AS int',
		'SELECT lo_open(4711, 131072)', 'SET SESSION AUTHORIZATION regress_owner', 'SET ROLE NONE', 'SELECT setseed(0.5)']
	LOOP
		BEGIN
			EXECUTE what;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
END $$;
CREATE FUNCTION leave(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM lo.leave_all(); RETURN i; END $$;
CREATE FUNCTION read_left_behind() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM loread(0, 1);
	RETURN 'large object';
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END $$;
CREATE FUNCTION look(i int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN concat_ws(', ',
		(SELECT 'locks ' || string_agg(objid::text, ' ') FROM pg_locks WHERE locktype = 'advisory' AND objid BETWEEN 4711 AND 4713),
		nullif(current_setting('search_path'), 'pg_catalog, pg_temp'), nullif(current_setting('my.setting', true), ''),
		(SELECT name FROM pg_settings WHERE (name = 'DateStyle' AND setting LIKE 'German%') OR (name = 'work_mem' AND setting = '64')),
		(SELECT 'prepared ' || name FROM pg_prepared_statements WHERE name = 'left_behind'), (SELECT 'cursor ' || name FROM pg_cursors WHERE name = 'left_behind'),
		(SELECT 'channel ' || c FROM pg_listening_channels() c), (SELECT 'table ' || relname FROM pg_class WHERE relname = 'left_behind' LIMIT 1),
		(SELECT 'type ' || string_agg(typname, ' ') FROM pg_type WHERE typname LIKE 'left\_behind%'),
		lo.read_left_behind(), nullif(current_user, 'regress_owner'));
END $$;
SELECT lo_create(4711);
CREATE TABLE t (id int PRIMARY KEY);
CREATE TABLE u (id int PRIMARY KEY);
INSERT INTO t VALUES (1);
SELECT derive.create_view('left_there', 'SELECT leave(id) AS i FROM t');
SELECT derive.create_view('seen', 'SELECT look(id) AS seen FROM u');
SELECT derive.wait();
INSERT INTO t VALUES (2);
SELECT derive.wait();
INSERT INTO u VALUES (1);
SELECT derive.wait();
SELECT * FROM left_there ORDER BY 1;
SELECT * FROM seen;
-- nobody has these locks
SELECT pg_advisory_lock(4711), pg_advisory_lock(4712), pg_advisory_lock(4713);
SELECT pg_advisory_unlock_all();
-- neither after an error
CREATE FUNCTION fail(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM pg_advisory_lock(4711);
	RETURN 1 / i;
END $$;
CREATE TABLE w (id int PRIMARY KEY);
SELECT derive.create_view('fails', 'SELECT fail(id) AS i FROM w');
SELECT derive.wait();
INSERT INTO w VALUES (0);
SELECT derive.wait('fails');
SELECT pg_advisory_lock(4711), pg_advisory_unlock_all();
SELECT derive.wait('left_there');
SELECT missing, extra FROM derive.verify('left_there');
SELECT lo_unlink(4711);
RESET ROLE;
DROP SCHEMA lo CASCADE;
DROP ROLE regress_owner;
