-- Callbacks that fail, and misuse of what a derivation is given.
CREATE SCHEMA misbehaving;
SET search_path = misbehaving, public;
CREATE TABLE t (a int, b text);
INSERT INTO t VALUES (1, 'x');
CREATE FUNCTION declare_one(fail text, options jsonb DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM derive.create_view('refused', 'misbehaving', '{t}', options => options || jsonb_build_object('fail', fail));
	DROP MATERIALIZED VIEW refused;
	RETURN fail || ': accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN format('%s: %s%s', fail, SQLERRM, '; ' || nullif(detail, ''));
END $$;
-- in declare()
SELECT declare_one(f) FROM unnest(ARRAY['columns', 'no columns', 'declare',
	'option', 'required option', 'option default', 'option type',
	'source_column', 'source_column number', 'view_column', 'view_column type',
	'set_key column', 'set_key number', 'set_key twice',
	'declare_state keys', 'declare_state NULL', 'declare_state type',
	'insert early', 'get early', 'next_change early', 'rewind_changes early', 'read_source early', 'read_table early']) f;
SELECT declare_one('many options', o::jsonb) FROM unnest(ARRAY['{}', '{"number": 5, "day": "2026-02-03", "flag": false, "list": "{1,2}"}',
	'{"number": "5"}', '{"number": "five"}', '{"number": true}', '{"number": [5]}', '{"day": "someday"}', '{"day": 1}', '{"flag": "perhaps"}', '{"list": "1,2"}', '{"other": 1}']) o;

-- While it is built.
CREATE FUNCTION run_one(fail text, options jsonb DEFAULT '{}', derivation text DEFAULT 'misbehaving') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	detail text;
BEGIN
	SELECT string_agg(k || '=' || coalesce(t, 'null'), ', ' ORDER BY k) INTO result
	FROM derive.apply(derivation, '{t}', '{}', options || jsonb_build_object('fail', fail)) AS v(k int, t text);
	RETURN format('%s: accepted, %s', fail, result);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN format('%s: %s%s', fail, SQLERRM, '; ' || nullif(detail, ''));
END $$;
SELECT run_one(f) FROM unnest(ARRAY['', 'begin', 'apply', 'change', 'expire', 'end', 'explain',
	'declare_state late', 'set_key late', 'declare_state again',
	'insert twice', 'replace nothing', 'replace missing', 'replace twice', 'replace key', 'take away too much',
	'no such table', 'negative table', 'read_source number']) f;
SELECT run_one(f, derivation => 'misbehaving_buffered') FROM unnest(ARRAY['',
	'insert twice', 'replace nothing', 'replace missing', 'replace twice', 'replace key', 'no such table', 'negative table']) f;
-- what SPI may do
SELECT run_one('', jsonb_build_object('sql', s)) FROM unnest(ARRAY['SELECT current_user = session_user', 'SHOW search_path',
	'SELECT count(*) FROM misbehaving.t', 'SELECT count(*) FROM t', 'SET ROLE postgres', 'SELECT 1/0', 'COMMIT']) s;

-- Maintained: the view fails, others go on.
CREATE VIEW states AS SELECT name, state, error FROM derive_state.view_states WHERE schema = 'misbehaving';
SELECT derive.create_view('good', 'mirror', '{t}');
SELECT derive.create_view('never', 'misbehaving', '{t}', options => '{"fail": "apply"}');
SELECT derive.wait('never', timeout => '60 s');
SELECT derive.create_view('first', 'misbehaving', '{t}', options => '{"fail": "begin"}');
SELECT derive.wait('first', timeout => '60 s');
INSERT INTO t VALUES (2, 'y');
SELECT oracle('good');
SELECT * FROM states ORDER BY name;
SELECT derive.repair('never');
DROP MATERIALIZED VIEW never, first;
-- only with changes: it is computed anew, which works
SELECT derive.create_view('anew', 'misbehaving', '{t}', options => '{"fail": "change"}');
SELECT oracle('anew');
INSERT INTO t VALUES (3, 'z');
SELECT oracle('anew'), oracle('good');
SELECT * FROM states ORDER BY name;
DROP MATERIALIZED VIEW anew;
-- a row that it does not like: it fails, and is repaired once the row is gone
SELECT derive.create_view('picky', 'misbehaving', '{t}', options => '{"fail": "row", "sql": "SELECT sum(a) FROM misbehaving.t"}');
SELECT derive.create_view('over', 'SELECT k, t FROM picky WHERE k > 1');
SELECT oracle('picky'), oracle('over');
SELECT * FROM over;
INSERT INTO t VALUES (-1, 'bad');
SELECT derive.wait('picky', timeout => '60 s');
SELECT oracle('good');
SELECT * FROM states ORDER BY name;
SELECT derive.repair('picky');
UPDATE t SET a = 1 WHERE a = -1;
SELECT derive.repair('picky');
SELECT oracle('picky'), oracle('over'), oracle('good');
SELECT * FROM over;
INSERT INTO t VALUES (5, 'v');
SELECT oracle('picky'), oracle('over'), oracle('good');
SELECT * FROM over;
SELECT * FROM states ORDER BY name;
DROP MATERIALIZED VIEW over, picky;
-- misuse in the worker
SELECT derive.create_view('twice', 'misbehaving', '{t}', options => '{"fail": "replace twice"}');
SELECT derive.wait('twice', timeout => '60 s');
DROP MATERIALIZED VIEW twice;
-- another declaration than that of the tables
SELECT derive.create_view('other', 'misbehaving', '{t}', options => '{"fail": "declare_state again"}');
SELECT derive.wait('other', timeout => '60 s') IS NOT NULL AS waited;
DROP MATERIALIZED VIEW other;
-- expire() and end() that fail
SELECT derive.create_view('expiring', 'misbehaving', '{t}', options => '{"fail": "expire"}');
SELECT derive.wait('expiring', timeout => '60 s') IS NOT NULL AS waited;
INSERT INTO t VALUES (6, 'w');
SELECT oracle('good');
DROP MATERIALIZED VIEW expiring;
SELECT derive.create_view('ending', 'misbehaving', '{t}', options => '{"fail": "end"}');
SELECT derive.create_view('ending', 'misbehaving', '{t}', options => '{"fail": "end in worker"}');
SELECT derive.wait('ending', timeout => '60 s') IS NOT NULL AS waited;
DROP MATERIALIZED VIEW ending;
INSERT INTO t VALUES (7, 'u');
SELECT oracle('good');
-- explain
SELECT derive.create_view('explained', 'misbehaving', '{t}', options => '{"fail": "explain"}');
SELECT * FROM derive.explain('explained');
DROP MATERIALIZED VIEW explained;
SELECT derive.create_view('explained', 'misbehaving', '{t}', options => '{"fail": "get early"}');
SELECT derive.create_view('explained', 'misbehaving', '{t}');
SELECT * FROM derive.explain('explained');
SELECT oracle('explained');
DROP MATERIALIZED VIEW explained;
SELECT derive.create_view('silent', 'misbehaving', '{t}', options => '{"fail": "silent explain"}');
SELECT * FROM derive.explain('silent');
SELECT oracle('silent'), oracle('good');
SELECT * FROM states ORDER BY name;
SET client_min_messages = warning;
DROP SCHEMA misbehaving CASCADE;
SELECT count(*) FROM derive_state.relations;
