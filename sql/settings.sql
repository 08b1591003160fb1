-- A view is evaluated under the settings that its declaration had, whatever becomes of the server's.
CREATE FUNCTION setting(text, view regclass) RETURNS text LANGUAGE sql AS $$
	SELECT substr(s, length($1) + 2) FROM derive_state.view_states v, unnest(v.settings) s
	WHERE v.view = $2 AND s LIKE $1 || '=%' $$;
-- The oracle of a view that was declared in another session: as that session would compare it.
CREATE FUNCTION oracle_recorded(view regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	item text;
BEGIN
	PERFORM set_config('standard_conforming_strings', 'on', true);
	FOR item IN SELECT unnest(v.settings) FROM derive_state.view_states v WHERE v.view = $1 LOOP
		PERFORM set_config(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1), true);
	END LOOP;
	EXECUTE 'DISCARD PLANS';	-- functions keep what they read under other settings
	RETURN oracle(view);
END $$;
CREATE FUNCTION oracle_recorded() RETURNS TABLE (result text, views bigint) LANGUAGE sql AS $$
	SELECT oracle_recorded(v.view), count(*) FROM derive.views v GROUP BY 1 ORDER BY 1 $$;

-- This session has settings of its own.
SET TimeZone = 'Asia/Tokyo';
SET DateStyle = 'SQL, DMY';
SET IntervalStyle = 'iso_8601';
SET extra_float_digits = -3;
SET bytea_output = 'escape';
SET xmlbinary = 'hex';
SET xmloption = 'document';
SET default_text_search_config = 'pg_catalog.german';
SET array_nulls = off;
SET quote_all_identifiers = on;
SET transform_null_equals = on;
CREATE TABLE ev (id int PRIMARY KEY, at timestamptz, d text, f float8, b bytea, i interval, t text, a text);
INSERT INTO ev VALUES
	(1, '2026-01-01 23:30+00', '02/03/2026', 1.0 / 3, 'abc', '1 day 2 hours', 'Häuser und Boote', '{NULL,1}'),
	(2, '2026-01-02 01:00+00', '04/05/2026', 2.0 / 3, '', '-3 mons', 'houses and boats', '{x}');
-- Functions whose bodies are read when they run; as a body that is a string, IMMUTABLE is what their author says.
CREATE FUNCTION is_null(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN NULLIF($1, '') = NULL; END $$;
CREATE FUNCTION after_new_year(timestamptz) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN RETURN $1 >= '2026-01-02'; END $$;
SELECT derive.create_view('s_day', 'SELECT at::date AS day, count(*), max(d::date) AS d FROM ev GROUP BY 1');
SELECT derive.create_view('s_text', $$SELECT id, at::text AS at, d::date AS d, f::text AS f, b::text AS b, i::text AS i,
	to_char(at, 'HH24:MI TZ') AS c, date_trunc('day', at) AS t, a::text[] AS a, quote_ident(t) AS q FROM ev$$);
SELECT derive.create_view('s_xml', 'SELECT id, xmlelement(name x, b)::text AS x FROM ev WHERE xml_is_well_formed(t) IS NOT NULL');
SELECT derive.create_view('s_words', 'SELECT word, count(*) FROM ev, unnest(tsvector_to_array(to_tsvector(t))) word GROUP BY word');
SELECT derive.create_view('s_body', 'SELECT id, is_null(t) AS n FROM ev');
SELECT derive.create_view('s_year', 'SELECT after_new_year(at) AS x, count(*) FROM ev GROUP BY 1');
SELECT derive.wait(timeout => '60 s');
SELECT * FROM s_day ORDER BY 1;
SELECT * FROM s_text ORDER BY id;
SELECT * FROM s_words ORDER BY 1;
SELECT * FROM oracle_all();
SELECT unnest(settings) FROM derive_state.view_states WHERE view = 's_day'::regclass;
SELECT regexp_replace(line, '_[0-9]+_', '_N_', 'g') FROM derive.explain('s_day') AS line;

-- Another session has others, and the same queries mean something else to it.
\c
SELECT derive.create_view('o_day', 'SELECT at::date AS day, count(*) FROM ev GROUP BY 1');
SELECT derive.create_view('o_words', 'SELECT word, count(*) FROM ev, unnest(tsvector_to_array(to_tsvector(t))) word GROUP BY word');
SELECT derive.create_view('o_body', 'SELECT id, is_null(t) AS n FROM ev');
SELECT derive.create_view('o_year', 'SELECT after_new_year(at) AS x, count(*) FROM ev GROUP BY 1');
SELECT derive.create_view('o_view', 'SELECT day, count, d::text AS d FROM s_day');
INSERT INTO ev SELECT 2 + g, '2026-01-01 12:00+00'::timestamptz + g * interval '1 hour', '0' || g || '/0' || g + 1 || '/2026', g / 7.0, 'x', '1 hour',
	'die Häuser, the houses', '{null}' FROM generate_series(1, 8) g;
UPDATE ev SET at = at + interval '10 hours' WHERE id % 3 = 0;
DELETE FROM ev WHERE id = 1;
SELECT * FROM oracle_recorded();
SELECT setting('TimeZone', 's_day') AS s, setting('TimeZone', 'o_day') AS o;
SELECT regexp_replace(line, '_[0-9]+_', '_N_', 'g') FROM derive.explain('s_day') AS line;
SELECT regexp_replace(line, '_[0-9]+_', '_N_', 'g') FROM derive.explain('o_day') AS line;

-- The bodies of functions are read in one way for all views.
CREATE FUNCTION read_string(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 || 'a\\b'; END $$;
SELECT derive.create_view('o_string', 'SELECT id, read_string(t) AS s FROM ev');
SET standard_conforming_strings = off;
SELECT derive.create_view('s_string', 'SELECT id, read_string(t) AS s FROM ev');
RESET standard_conforming_strings;
SELECT derive.wait(timeout => '60 s');
SELECT count(*) AS differences FROM s_string JOIN o_string USING (id) WHERE s_string.s <> o_string.s;

-- The server's change: for the database, for a role, for all by a reload.
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET TimeZone = 'America/New_York';
ALTER DATABASE :"db" SET DateStyle = 'German';
ALTER DATABASE :"db" SET default_text_search_config = 'pg_catalog.simple';
ALTER ROLE ALL SET extra_float_digits = 0;
ALTER SYSTEM SET TimeZone = 'Asia/Kathmandu';
ALTER SYSTEM SET standard_conforming_strings = off;
ALTER SYSTEM SET IntervalStyle = 'sql_standard';
ALTER SYSTEM SET bytea_output = 'hex';
SELECT pg_reload_conf();
\c
SELECT derive.create_view('n_day', 'SELECT at::date AS day, count(*) FROM ev GROUP BY 1');
SELECT setting('TimeZone', 'n_day');
UPDATE ev SET at = at - interval '3 hours', t = t || ' Bücher books', f = f / 3;
INSERT INTO ev VALUES (100, '2026-01-01 23:30+00', '05.06.2026', 0.1, 'y', '1 day', 'x', '{1}');
SELECT * FROM oracle_recorded();
-- computed anew and built anew: the same
SELECT derive.repair('s_text');
REFRESH MATERIALIZED VIEW s_words;
SELECT derive.pause('s_xml');
UPDATE ev SET b = 'z' WHERE id = 3;
SELECT derive.resume('s_xml');
TRUNCATE ev;
SELECT * FROM oracle_recorded();
INSERT INTO ev SELECT g, '2026-01-01 12:00+00'::timestamptz + g * interval '1 hour', '02/03/2026', g / 3.0, 'x y', '1 day', 'Häuser', '{NULL}' FROM generate_series(1, 20) g;
SELECT * FROM oracle_recorded();
-- released and put under maintenance again: recorded anew
SELECT derive.release('n_day');
SET TimeZone = 'Europe/Berlin';
SELECT derive.maintain('n_day');
SELECT setting('TimeZone', 'n_day');
SELECT * FROM oracle_recorded();
-- a function that sets them for its call declares with these
CREATE FUNCTION declare() RETURNS regclass LANGUAGE sql SET TimeZone = 'UTC' AS $$ SELECT derive.create_view('f_day', 'SELECT at::date AS day FROM ev') $$;
SELECT declare();
SELECT setting('TimeZone', 'f_day');
SELECT * FROM oracle_recorded();
ALTER SYSTEM RESET TimeZone;
ALTER SYSTEM RESET standard_conforming_strings;
ALTER SYSTEM RESET IntervalStyle;
ALTER SYSTEM RESET bytea_output;
ALTER ROLE ALL RESET extra_float_digits;
ALTER DATABASE :"db" RESET TimeZone;
ALTER DATABASE :"db" RESET DateStyle;
ALTER DATABASE :"db" RESET default_text_search_config;
SELECT pg_reload_conf();
\c
DELETE FROM ev WHERE id % 2 = 0;
SELECT * FROM oracle_recorded();

-- A role that may not see the view's query does not see its settings either.
CREATE ROLE regress_derive_reader;
SET ROLE regress_derive_reader;
SELECT count(*) AS views, count(query) AS queries FROM derive.views;
RESET ROLE;
DROP ROLE regress_derive_reader;
DROP TABLE ev CASCADE;

-- Text search: what configurations and dictionaries say changes without a word in the log.
CREATE TABLE docs (id int PRIMARY KEY, body text, config regconfig, config_name text);
CREATE TEXT SEARCH CONFIGURATION mine (COPY = pg_catalog.simple);
CREATE TEXT SEARCH CONFIGURATION other (COPY = pg_catalog.simple);
CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = pg_catalog.simple);
ALTER TEXT SEARCH CONFIGURATION mine ALTER MAPPING FOR asciiword WITH words;
INSERT INTO docs VALUES (1, 'the houses', 'mine', 'public.mine'), (2, 'a boat', 'other', 'public.other');
CREATE FUNCTION search(text) RETURNS tsvector LANGUAGE sql IMMUTABLE RETURN to_tsvector('mine', $1);
CREATE VIEW vectors AS SELECT id, to_tsvector('mine', body) AS v FROM docs;
SELECT derive.create_view('t_constant', $$SELECT id, to_tsvector('mine', body) AS v FROM docs$$);
SELECT derive.create_view('t_plain', 'SELECT id, v::text AS v FROM vectors');
SELECT derive.create_view('t_column', 'SELECT id, to_tsvector(config, body) AS v FROM docs');
SELECT derive.create_view('t_function', 'SELECT search(body) AS v, count(*) FROM docs GROUP BY 1');
SELECT derive.create_view('t_index', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "body", "config": "public.mine"}');
SET default_text_search_config = 'mine';
SELECT derive.create_view('t_default', 'SELECT id, to_tsvector(body) AS v FROM docs');
SELECT derive.create_view('t_match', $$SELECT count(*) FROM docs WHERE body @@ 'house'$$);
SELECT derive.create_view('t_without', 'SELECT count(*) FROM docs');
RESET default_text_search_config;
SELECT derive.create_view('t_simple', $$SELECT id, to_tsvector('simple', body) AS v FROM docs$$);
SELECT derive.wait(timeout => '60 s');
SELECT * FROM oracle_recorded();
SELECT setting('default_text_search_config', 't_default');
CREATE TEMP TABLE before AS SELECT view, batches FROM derive.stats;
-- a mapping
ALTER TEXT SEARCH CONFIGURATION mine ALTER MAPPING FOR asciiword WITH english_stem;
SELECT * FROM oracle_recorded();
SELECT * FROM t_default ORDER BY id;
SELECT word, document FROM t_index ORDER BY 1, 2;
SELECT view, s.batches > b.batches AS computed FROM derive.stats s JOIN before b USING (view) ORDER BY view::text;
-- a dictionary of one
ALTER TEXT SEARCH CONFIGURATION mine ALTER MAPPING FOR asciiword WITH words;
ALTER TEXT SEARCH DICTIONARY words (StopWords = english);
SELECT * FROM oracle_recorded();
SELECT * FROM t_constant ORDER BY id;
-- one that only rows name
ALTER TEXT SEARCH CONFIGURATION other ALTER MAPPING FOR asciiword WITH english_stem, words;
SELECT * FROM oracle_recorded();
-- PostgreSQL's own, which are pinned
ALTER TEXT SEARCH CONFIGURATION pg_catalog.simple ALTER MAPPING FOR asciiword WITH words;
SELECT * FROM oracle_recorded();
SELECT * FROM t_simple ORDER BY id;
ALTER TEXT SEARCH CONFIGURATION pg_catalog.simple ALTER MAPPING FOR asciiword WITH simple;
SELECT * FROM oracle_recorded();
-- other names; an option says its own
CREATE SCHEMA elsewhere;
ALTER TEXT SEARCH CONFIGURATION mine RENAME TO yours;
UPDATE docs SET body = body || ' cats';
SELECT derive.wait('t_index', timeout => '60 s');
DROP MATERIALIZED VIEW t_index;
SELECT * FROM oracle_recorded();
SELECT oracle_recorded('t_default'), setting('default_text_search_config', 't_default');
ALTER TEXT SEARCH CONFIGURATION yours SET SCHEMA elsewhere;
UPDATE docs SET body = body || ' dogs';
SELECT * FROM oracle_recorded();
SELECT setting('default_text_search_config', 't_default');
-- it cannot go while a view is evaluated with it
DROP TEXT SEARCH CONFIGURATION elsewhere.yours;
SELECT derive.release('t_without');
SELECT derive.release('t_default');
SELECT count(*) FROM pg_depend WHERE refobjid = 'elsewhere.yours'::regconfig AND objid IN ('t_without'::regclass, 't_default'::regclass) AND classid = 'pg_class'::regclass;
DROP TABLE docs CASCADE;
DROP FUNCTION search;
DROP TEXT SEARCH CONFIGURATION elsewhere.yours, other;
DROP TEXT SEARCH DICTIONARY words;
DROP SCHEMA elsewhere;
SELECT count(*) FROM derive.views;
DROP FUNCTION setting, oracle_recorded(regclass), oracle_recorded(), declare, read_string, is_null, after_new_year;
