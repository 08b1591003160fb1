-- What views call may only read while our own processes run it: nothing that it wrote would reach any view.
CREATE ROLE regress_derive_a;
CREATE ROLE regress_derive_b;
CREATE SCHEMA uc_a AUTHORIZATION regress_derive_a;
CREATE SCHEMA uc_b AUTHORIZATION regress_derive_b;
GRANT USAGE ON SCHEMA uc_a, uc_b TO regress_derive_a, regress_derive_b;
SET ROLE regress_derive_a;
CREATE TABLE uc_a.t (x int);
CREATE SEQUENCE uc_a.s;
GRANT INSERT ON uc_a.t TO regress_derive_b;
GRANT USAGE ON SEQUENCE uc_a.s TO regress_derive_b;
CREATE FUNCTION uc_a.definer(i int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO uc_a.t VALUES (i); RETURN i; END $$;
SELECT derive.create_view('uc_a.v', 'SELECT count(*) AS n FROM uc_a.t');
SELECT derive.create_topic('uc_a.topic', 'what text');
RESET ROLE;
GRANT ALL ON uc_a.topic TO regress_derive_b;

-- One view for each way to write; f() runs the command that its table gives, as late as it can.
SET ROLE regress_derive_b;
CREATE TABLE uc_b.commands (name text, command text);
CREATE FUNCTION uc_b.run(command text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; RETURN 1; END $$;
CREATE FUNCTION uc_b.f(command text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN uc_b.run(command); END $$;
CREATE FUNCTION uc_b.careless(command text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN uc_b.run(command);
EXCEPTION WHEN OTHERS THEN
	RETURN -1;
END $$;
-- from 17 on the server itself refuses this setting of a function
DO $do$
BEGIN
	EXECUTE $$CREATE FUNCTION uc_b.determined(command text) RETURNS int LANGUAGE plpgsql SET transaction_read_only = off AS
		'BEGIN EXECUTE command; RETURN 1; END'$$;
EXCEPTION WHEN OTHERS THEN
	EXECUTE $$CREATE FUNCTION uc_b.determined(command text) RETURNS int LANGUAGE plpgsql AS
		'BEGIN SET transaction_read_only = off; EXECUTE command; RETURN 1; END'$$;
END $do$;
CREATE TABLE uc_b.mine (x int);
CREATE TABLE uc_b.way (id int PRIMARY KEY, command text);
SELECT derive.create_view('uc_b.v', 'SELECT id, uc_b.f(command) AS done FROM uc_b.way');
SELECT derive.create_view('uc_b.other', 'SELECT x, count(*) FROM uc_b.mine GROUP BY x');
SELECT derive.create_view('uc_b.catching', 'SELECT id, uc_b.careless(command) AS done FROM uc_b.way');
RESET ROLE;
SELECT result, views FROM (SELECT derive.wait(v.view, timeout => '60 s') AS result, count(*) AS views FROM derive.views v GROUP BY 1) w;
INSERT INTO uc_b.way VALUES (0, 'SELECT count(*) FROM uc_b.mine'), (1, 'SET work_mem = 100');
SELECT oracle('uc_b.v'), oracle('uc_b.catching');

-- Try a command; what became of the view?  Then put it right again.
CREATE PROCEDURE try_command(command text) LANGUAGE plpgsql AS $$
DECLARE
	row record;
BEGIN
	INSERT INTO uc_b.way VALUES (2, command);
	COMMIT;
	PERFORM derive.wait('uc_b.catching', timeout => '60 s');
	SELECT state, error INTO row FROM derive.views WHERE view = 'uc_b.v'::regclass;
	RAISE NOTICE '%: %, %', command, row.state, row.error;
	RAISE NOTICE 'the one that catches errors: %', (SELECT done FROM uc_b.catching WHERE id = 2);
	COMMIT;
	DELETE FROM uc_b.way WHERE id = 2;
	COMMIT;
	PERFORM derive.repair('uc_b.v');
	COMMIT;
END $$;
CALL try_command('INSERT INTO uc_a.t VALUES (1)');
CALL try_command('WITH w AS (INSERT INTO uc_a.t VALUES (1) RETURNING x) SELECT * FROM w');
CALL try_command('SELECT uc_a.definer(1)');
CALL try_command('UPDATE uc_b.mine SET x = 1');
CALL try_command('TRUNCATE uc_b.mine');
CALL try_command('CREATE TABLE uc_b.made (x int)');
CALL try_command($$SELECT nextval('uc_a.s')$$);
CALL try_command($$SET transaction_read_only = off; INSERT INTO uc_a.t VALUES (1)$$);
CALL try_command($$SELECT set_config('transaction_read_only', 'off', true); INSERT INTO uc_a.t VALUES (1)$$);
CALL try_command($$SET TRANSACTION READ WRITE; INSERT INTO uc_a.t VALUES (1)$$);
CALL try_command($$SELECT uc_b.determined('INSERT INTO uc_a.t VALUES (1)')$$);
CALL try_command($$SET transaction_read_only = on; SELECT uc_b.careless('INSERT INTO uc_a.t VALUES (1)'); INSERT INTO uc_a.t VALUES (2)$$);
CALL try_command('SELECT * FROM uc_b.mine FOR UPDATE');
CALL try_command('LOCK TABLE uc_b.mine');
CALL try_command('NOTIFY uc');
CALL try_command($$SELECT pg_notify('uc', 'x')$$);
CALL try_command($$SELECT pg_logical_emit_message(true, 'uc', 'x')$$);
CALL try_command($$SELECT derive.append('uc_a.topic', '{"what": "x"}')$$);
CALL try_command($$SELECT derive.repair('uc_b.other')$$);
CALL try_command($$SELECT derive.pause('uc_b.other')$$);
CALL try_command($$SELECT lo_create(0)$$);
CALL try_command($$SELECT lo_from_bytea(0, 'x')$$);
CALL try_command('REINDEX TABLE uc_b.way');
CALL try_command('CLUSTER uc_b.way USING way_pkey');
-- what reads still may, whatever it sets for itself
CALL try_command('SET transaction_read_only = on');
CALL try_command($$SET LOCAL search_path = uc_b; SELECT count(*) FROM mine$$);
-- nothing was written; the views of both are right
SELECT count(*) FROM uc_a.t;
SELECT count(*) FROM pg_largeobject_metadata;
SELECT to_regclass('uc_b.made');
INSERT INTO uc_a.t VALUES (5);
INSERT INTO uc_b.mine VALUES (6);
SELECT view, oracle(view) FROM derive.views WHERE view <> 'uc_a.topic'::regclass ORDER BY view::text;

-- Likewise where a view is built, where its indexes are kept up, and for those that plan or compare.
SET ROLE regress_derive_b;
INSERT INTO uc_b.way VALUES (2, 'INSERT INTO uc_a.t VALUES (1)');
SELECT derive.create_view('uc_b.built', 'SELECT id, uc_b.f(command) AS done FROM uc_b.way');
SELECT derive.wait('uc_b.built', timeout => '60 s');
CREATE FUNCTION uc_b.of_index(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RETURN CASE WHEN x < 100 THEN x ELSE uc_b.run('INSERT INTO uc_a.t VALUES (1)') END;
END $$;
CREATE INDEX ON uc_b.other (uc_b.of_index(x));
INSERT INTO uc_b.mine VALUES (7), (100);
SELECT derive.wait('uc_b.other', timeout => '60 s');
DELETE FROM uc_b.mine WHERE x = 100;
SELECT derive.repair('uc_b.other');
RESET ROLE;
SELECT name, state, error FROM derive_state.view_states WHERE schema = 'uc_b' ORDER BY name;
SELECT oracle('uc_a.v'), oracle('uc_b.other');

-- In somebody's session it is his own business.
SELECT uc_b.f('INSERT INTO uc_a.t VALUES (8)');
SELECT oracle('uc_a.v');
SET client_min_messages = warning;
DROP SCHEMA uc_a, uc_b CASCADE;
DROP PROCEDURE try_command;
DROP ROLE regress_derive_a, regress_derive_b;

-- Functions in indexes of a view are its owner's, too: whoever replaces its query, they never run with more rights.
CREATE ROLE uc_owner;
CREATE SCHEMA uc_schema AUTHORIZATION uc_owner;
SET SESSION AUTHORIZATION uc_owner;
CREATE TABLE uc_schema.log (id int PRIMARY KEY, x int, n bigint);
INSERT INTO uc_schema.log SELECT i, i % 3, i FROM generate_series(1, 20) i;
CREATE FUNCTION uc_schema.more() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'ALTER ROLE uc_owner SUPERUSER'; END$$;
CREATE FUNCTION uc_schema.f(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN PERFORM uc_schema.more(); END IF;
	RETURN i;
EXCEPTION WHEN OTHERS THEN RETURN i;
END$$;
SELECT derive.create_view('uc_schema.v', 'SELECT x, count(*) AS n FROM uc_schema.log GROUP BY x');
SELECT derive.wait('uc_schema.v');
CREATE INDEX ON uc_schema.v ((n + uc_schema.f(1)));
CREATE INDEX ON uc_schema.v (n) WHERE n >= uc_schema.f(0);
SELECT derive.replace_view('uc_schema.v', 'SELECT x, n FROM uc_schema.log');
SELECT derive.wait_replaced('uc_schema.v', '60 s');
SELECT derive.replace_view('uc_schema.v', 'SELECT x, count(*) AS n FROM uc_schema.log GROUP BY x');
SELECT derive.wait_replaced('uc_schema.v', '60 s');
RESET SESSION AUTHORIZATION;
SELECT rolsuper FROM pg_roles WHERE rolname = 'uc_owner';
SELECT derive.replace_view('uc_schema.v', 'SELECT x, count(*) + 2 AS n FROM uc_schema.log GROUP BY x');
SELECT derive.wait_replaced('uc_schema.v', '60 s');
SELECT count(*) > 0 AS lines FROM derive.explain('uc_schema.v');
SELECT derive.release('uc_schema.v');
SELECT derive.maintain('uc_schema.v');
SELECT derive.wait('uc_schema.v');
SELECT rolsuper FROM pg_roles WHERE rolname = 'uc_owner';
SELECT missing, extra FROM derive.verify('uc_schema.v');
DROP OWNED BY uc_owner CASCADE;
DROP ROLE uc_owner;
