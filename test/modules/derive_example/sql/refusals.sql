-- What is refused at declaration, and how.
CREATE SCHEMA refusals;
SET search_path = refusals, public;
CREATE TABLE t (a int, b text);
CREATE VIEW plain AS SELECT * FROM t;
CREATE MATERIALIZED VIEW unmaintained AS SELECT * FROM t;
CREATE TEMP TABLE tmp (a int);
CREATE UNLOGGED TABLE unlogged (a int);
CREATE SEQUENCE seq;
CREATE INDEX idx ON t (a);
CREATE TYPE row AS (a int);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE far (a int) SERVER nowhere;
-- names
SELECT derive.create_view('v', 'nobody', '{t}');
SELECT derive.create_view('v', 'select', '{t}');
SELECT derive.create_view('', 'mirror', '{t}');
SELECT derive.create_view('no_schema.v', 'mirror', '{t}');
SELECT derive.create_view('t', 'mirror', '{t}');
SELECT derive.create_view(NULL, 'mirror', '{t}');
SELECT derive.create_view('v', NULL, '{t}');
SELECT derive.create_view('v', 'mirror', NULL);
-- sources
SELECT derive.create_view('v', 'mirror', '{}');
SELECT derive.create_view('v', 'mirror', '{nothing}');
SELECT derive.create_view('v', 'mirror', '{t, t}');
SELECT derive.create_view('v', 'mirror', ARRAY['t', NULL]::regclass[]);
SELECT derive.create_view('v', 'mirror', '{plain}');
SELECT derive.create_view('v', 'mirror', '{unmaintained}');
SELECT derive.create_view('v', 'mirror', '{unlogged}');
SELECT derive.create_view('v', 'mirror', '{seq}');
SELECT derive.create_view('v', 'mirror', '{far}');
SELECT derive.create_view('v', 'mirror', '{pg_class}');
SELECT derive.create_view('v', 'mirror', '{derive_state.views}');
SELECT derive.create_view('v', 'mirror', ARRAY[99999]::regclass[]);
SELECT derive.create_view('v', 'mirror', ARRAY[0]::regclass[]);
-- whose messages differ by session or version
DO $$
DECLARE
	source text;
BEGIN
	FOREACH source IN ARRAY '{tmp, idx, row}'::text[] LOOP
		BEGIN
			PERFORM derive.create_view('v', 'mirror', ARRAY[source]::regclass[]);
			RAISE NOTICE '% is accepted', source;
		EXCEPTION WHEN feature_not_supported OR wrong_object_type THEN
			RAISE NOTICE '% is refused', source;
		END;
	END LOOP;
END $$;
-- columns
SELECT derive.create_view('v', 'mirror', '{t}', '');
SELECT derive.create_view('v', 'mirror', '{t}', '()');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, a');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, a int) WHERE true');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, a int); SELECT 1');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, a int, a int)');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, a no_type)');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, a internal)');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, a int), t AS u(x)');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, c int)');
SELECT derive.create_view('v', 'mirror', '{t}', '(source int, a bigint)');
SELECT derive.create_view('v', 'mirror', '{t}', '(a int, source int)');
SELECT derive.create_view('v', 'mirror', '{t}', 'source int, a int, ');
-- key
SELECT derive.create_view('v', 'mirror', '{t}', key => '{nothing}');
SELECT derive.create_view('v', 'mirror', '{t}', key => '{source, a, a}');
SELECT derive.create_view('v', 'mirror', '{t}', key => '{source, null}');
SELECT derive.create_view('v', 'mirror', '{t}', key => '{{source, a}, {b, b}}');
SELECT derive.create_view('v', 'mirror', '{t}', key => '{a}');
-- options
SELECT derive.create_view('v', 'mirror', '{t}', options => '[]');
SELECT derive.create_view('v', 'mirror', '{t}', options => '1');
SELECT derive.create_view('v', 'mirror', '{t}', options => '"x"');
SELECT derive.create_view('v', 'mirror', '{t}', options => 'null');
SELECT derive.create_view('v', 'mirror', '{t}', options => '{"a": 1}');
SELECT derive.create_view('v', 'trace', '{t}', options => '{"keep": "many"}');
SELECT derive.create_view('v', 'trace', '{t}', options => '{"keep": {}}');
SELECT derive.create_view('v', 'trace', '{t}', options => '{"keep": [1]}');
SELECT derive.create_view('v', 'trace', '{t}', options => '{"keep": 1.5}');
SELECT derive.create_view('v', 'trace', '{t}', options => '{"keep": true}');
SELECT derive.create_view('v', 'trace', '{t}', options => '{"keep": 99999999999999999999}');
SELECT derive.create_view('v', 'trace', '{t}', options => '{"keep": ""}');
-- where it cannot be
BEGIN READ ONLY;
SELECT derive.create_view('v', 'mirror', '{t}');
ROLLBACK;
SELECT count(*) FROM derive.views;
-- as it can be
SELECT derive.create_view('v1', 'mirror', '{t}', 'source int, b text, a int', options => '{}');
SELECT derive.create_view('v2', 'mirror', '{t}', ' (source int, "a" integer) ', '{}', NULL);
SELECT derive.create_view('v3', 'trace', '{t}', options => '{"keep": null}');
SELECT derive.create_view('v4', 'trace', '{t}', options => '{"keep": "5"}');
SELECT derive.create_view('v5', 'mirror', '{refusals.t}', '(source int, a int -- a comment
)');
SELECT derive.create_view('v6', 'mirror', '{t}', '(source int, b text COLLATE "C")');
INSERT INTO t VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
SELECT oracle('v1'), oracle('v2'), oracle('v5'), oracle('v6');
SELECT attname, attcollation::regcollation FROM pg_attribute WHERE attrelid = 'v6'::regclass AND attnum = 2;

-- a table that this view cannot have
SELECT derive.create_view('keyed', 'mirror', '{t}', key => '{source, a}');
SELECT derive.wait('keyed', timeout => '60 s');
SELECT error FROM derive.views WHERE view = 'keyed'::regclass;
DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE a = 1 LIMIT 1);
SELECT derive.repair('keyed');
SELECT oracle('keyed');
INSERT INTO t VALUES (1, 'y');
SELECT derive.wait('keyed', timeout => '60 s');
SELECT oracle('v1');
DELETE FROM t WHERE b = 'y';
SELECT derive.repair('keyed');
SELECT oracle('keyed');
DROP MATERIALIZED VIEW keyed, v2, v3, v4, v5, v6;

-- derive.apply()
SELECT * FROM derive.apply('mirror', '{t}', '{}', '{}');
SELECT * FROM derive.apply('mirror', '{t}', '{}', '{}') AS v(source text);
SELECT * FROM derive.apply(NULL, '{t}', '{}', '{}') AS v(source int);
SELECT * FROM derive.apply('nobody', '{t}', '{}', '{}') AS v(source int);
SELECT * FROM derive.apply('select', '{t}', '{}', '{}') AS v(source int);
SELECT * FROM derive.apply('mirror', NULL, NULL, NULL) AS v(source int);
SELECT * FROM derive.apply('mirror', '{t}', '{source, a}', '{}') AS v(source int, a int) ORDER BY 1, 2;
INSERT INTO t VALUES (1, 'z');
SELECT * FROM derive.apply('mirror', '{t}', '{source, a}', '{}') AS v(source int, a int) ORDER BY 1, 2;
SELECT 1 AS still_working;
BEGIN;
SAVEPOINT s;
SELECT * FROM derive.apply('mirror', '{t}', '{source, a}', '{}') AS v(source int, a int) ORDER BY 1, 2;
ROLLBACK TO s;
SELECT * FROM derive.apply('mirror', '{t}', '{}', '{}') AS v(source int, a int) ORDER BY 1, 2;
DELETE FROM t WHERE b = 'z';
SELECT count(*) FROM derive.apply('mirror', '{t}', '{}', '{}') AS v(source int, a int), derive.apply('mirror', '{t}', '{}', '{}') AS w(source int, a int);
COMMIT;

-- Handlers
CREATE FUNCTION not_a_handler(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION wrong_result(internal) RETURNS internal AS '$libdir/derive_example', 'noop_handler' LANGUAGE C;
CREATE FUNCTION wrong_argument(int) RETURNS derive.derivation_handler AS '$libdir/derive_example', 'noop_handler' LANGUAGE C;
CREATE FUNCTION in_sql(internal) RETURNS derive.derivation_handler LANGUAGE sql AS 'SELECT NULL';
SELECT derive.register('d', 'not_a_handler');
SELECT derive.register('d', 'wrong_result');
SELECT derive.register('d', 'wrong_argument');
SELECT derive.register('d', 'nobody');
SELECT derive.register('d', 0);
SELECT derive.register('d', 99999);
SELECT derive.register('', 'derive_example.noop_handler');
SELECT derive.register('select', 'derive_example.noop_handler');
SELECT derive.register('noop', 'derive_example.noop_handler');
SELECT derive.register(NULL, 'derive_example.noop_handler');
SELECT derive.register('d', 'derive_example.other_version_handler');
SELECT derive.register('d', 'derive_example.empty_handler');
SELECT derive.register('d', 'derive_example.null_handler');
SELECT derive.unregister('nobody');
SELECT derive.unregister('select');
SELECT derive.unregister('mirror');
SELECT 'derive.noop_handler'::derive.derivation_handler;
SELECT derive_example.noop_handler(NULL);
-- one of one's own, and a name that has to be quoted
SELECT derive.register('my "own"', 'derive_example.mirror_handler');
CREATE FUNCTION mine_handler(internal) RETURNS derive.derivation_handler AS '$libdir/derive_example', 'mirror_handler' LANGUAGE C STRICT;
SELECT derive.register('my "own"', 'mine_handler');
SELECT * FROM derive.derivations WHERE name LIKE 'my%';
SELECT derive.create_view('own', 'my "own"', '{t}');
SELECT oracle('own');
SELECT derive.unregister('my "own"');
SELECT derive.release('own');
SELECT derive.unregister('my "own"');
SELECT derive.maintain('own');
REFRESH MATERIALIZED VIEW own;
-- by its label, as a dump does it
SECURITY LABEL FOR pg_derive ON FUNCTION mine_handler(internal) IS 'mirror';
SECURITY LABEL FOR pg_derive ON FUNCTION mine_handler(internal) IS '';
SECURITY LABEL FOR pg_derive ON FUNCTION oracle(regclass) IS 'mine';
SECURITY LABEL FOR pg_derive ON TABLE t IS 'mine';
SECURITY LABEL FOR pg_derive ON FUNCTION derive_state.select_handler(internal) IS NULL;
SECURITY LABEL FOR pg_derive ON FUNCTION mine_handler(internal) IS 'my "own"';
SELECT derive.maintain('own');
SELECT oracle('own');
SECURITY LABEL FOR pg_derive ON FUNCTION mine_handler(internal) IS 'another';
-- the function cannot go while a view uses it, and takes the derivation along
CREATE FUNCTION own_handler(internal) RETURNS derive.derivation_handler AS '$libdir/derive_example', 'mirror_handler' LANGUAGE C STRICT;
SELECT derive.register('by own', 'own_handler');
SELECT derive.create_view('by_own', 'by own', '{t}');
SELECT derive.create_view('by_theirs', 'mirror', '{t}');
DROP FUNCTION own_handler;
DROP MATERIALIZED VIEW v1;
DROP EXTENSION derive_example;
ALTER FUNCTION own_handler(internal) RENAME TO renamed_handler;
SELECT * FROM derive.derivations WHERE name = 'by own';
INSERT INTO t VALUES (7, 'seven');
SELECT oracle('own');
DROP MATERIALIZED VIEW own, by_own, by_theirs;
DROP FUNCTION renamed_handler;
SELECT * FROM derive.derivations WHERE name IN ('my "own"', 'by own');
DROP FUNCTION mine_handler;
SET client_min_messages = warning;
DROP EXTENSION derive_example;
SELECT name FROM derive.derivations WHERE name IN ('my "own"', 'mirror', 'by own', 'select') OR handler IS NULL;
CREATE EXTENSION derive_example;
SELECT count(*) FROM derive.derivations WHERE handler::text LIKE 'derive_example.%';
DROP SCHEMA refusals CASCADE;
DROP FOREIGN DATA WRAPPER IF EXISTS nothing CASCADE;
SELECT count(*) FROM derive.views;
