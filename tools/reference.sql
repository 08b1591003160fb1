-- reference.sql: the generated parts of docs/reference.md, from the comments on the objects
-- of the extension and from pg_settings.  tools/update-reference puts them into the page;
-- each part begins with a line "<!-- generated: NAME -->" and ends with "<!-- end -->".
--
-- Functions are grouped by hand: one that is in no group stops the script.
\set ON_ERROR_STOP on
\set QUIET on
\pset format unaligned
\pset tuples_only on
\pset fieldsep ''
BEGIN;
SET LOCAL search_path = pg_catalog;

CREATE TEMP TABLE groups (number int, title text, functions text[]) ON COMMIT DROP;
INSERT INTO groups VALUES
	(1, 'Declaring', '{create_view, replace_view, create_or_replace_view, wait_replaced, drop_view, maintain, release, apply}'),
	(2, 'Reading', '{wait}'),
	(3, 'Checking and mending', '{health, check, verify, repair, explain, plan, pause, resume, reset_stats}'),
	(4, 'Histories', '{as_of, changes_of}'),
	(5, 'Topics', '{create_topic, append}'),
	(6, 'Subscriptions', '{subscribe, poll, unsubscribe}'),
	(7, 'Derivations in C', '{register, unregister}'),
	(8, 'Groups', '{create_group, move, wait_moved, drop_group}');

CREATE TEMP TABLE functions ON COMMIT DROP AS
	SELECT p.oid, p.proname, g.number, g.title, array_position(g.functions, p.proname::text) AS place
	FROM pg_proc p LEFT JOIN groups g ON p.proname = ANY (g.functions)
	WHERE p.pronamespace = 'derive'::regnamespace AND NOT '2281'::oid = ANY (p.proargtypes);

DO $$
DECLARE
	missing text;
BEGIN
	SELECT string_agg(coalesce(o.what, f), ', ') INTO missing
	FROM (
		SELECT oid::regprocedure::text AS what, NULL AS f FROM pg_temp.functions WHERE number IS NULL OR obj_description(oid, 'pg_proc') IS NULL
		UNION ALL
		SELECT NULL, f FROM pg_temp.groups, unnest(functions) f WHERE f NOT IN (SELECT proname FROM pg_temp.functions)
		UNION ALL
		SELECT c.oid::regclass::text || '.' || a.attname, NULL FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
		WHERE c.relnamespace = 'derive'::regnamespace AND c.relkind = 'v' AND a.attnum > 0
			AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)) o;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION 'no comment, or no group in tools/reference.sql: %', missing;
	END IF;
END $$;

SELECT '<!-- generated: functions -->' || E'\n' || string_agg(part, E'\n' ORDER BY number) || E'\n<!-- end -->'
FROM (
	SELECT number, format(E'### %s\n\n| Function | What it does |\n| --- | --- |\n', title) ||
		string_agg(format('| `%s(%s)` returns `%s` | %s |', proname, regexp_replace(pg_get_function_arguments(oid), '::[a-z_]+(\[\])?', '', 'g'), pg_get_function_result(oid),
				replace(obj_description(oid, 'pg_proc'), '|', '\|')),
			E'\n' ORDER BY place, pronargs, pg_get_function_arguments(oid)) || E'\n' AS part
	FROM pg_temp.functions JOIN pg_proc USING (oid, proname)
	GROUP BY number, title) parts;

SELECT '<!-- generated: views -->' || E'\n' || string_agg(part, E'\n' ORDER BY place) || E'\n<!-- end -->'
FROM (
	SELECT array_position('{views, progress, worker, stats, groups, replacements, subscriptions, derivations}', c.relname::text) AS place,
		format(E'### `derive.%s`\n\n%s.\n\n| Column | Type | |\n| --- | --- | --- |\n', c.relname,
			regexp_replace(obj_description(c.oid, 'pg_class'), '^.', upper(left(obj_description(c.oid, 'pg_class'), 1)))) ||
		string_agg(format('| `%s` | `%s` | %s |', a.attname, format_type(a.atttypid, a.atttypmod),
			replace(col_description(c.oid, a.attnum), '|', '\|')), E'\n' ORDER BY a.attnum) || E'\n' AS part
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'derive'::regnamespace AND c.relkind = 'v'
	GROUP BY c.oid, c.relname) parts;

SELECT '<!-- generated: settings -->' || E'\n| Setting | Default | What it does | Takes effect |\n| --- | --- | --- | --- |\n' ||
	string_agg(format('| `%s` | %s | %s%s | %s |', name,
		CASE
			WHEN unit = 'kB' THEN pg_size_pretty(boot_val::bigint * 1024)
			WHEN unit IN ('ms', 's') THEN (SELECT
				CASE
					WHEN ms % 86400000 = 0 THEN ms / 86400000 || ' d'
					WHEN ms % 3600000 = 0 THEN ms / 3600000 || ' h'
					WHEN ms % 60000 = 0 THEN ms / 60000 || ' min'
					WHEN ms % 1000 = 0 THEN ms / 1000 || ' s'
					ELSE ms || ' ms'
				END FROM (SELECT boot_val::bigint * CASE unit WHEN 's' THEN 1000 ELSE 1 END AS ms) m)
			ELSE '`' || boot_val || '`'
		END,
		short_desc, coalesce(' ' || replace(extra_desc, '  ', ' '), ''),
		CASE context WHEN 'user' THEN 'per session' WHEN 'superuser' THEN 'per session, by superusers'
			WHEN 'sighup' THEN 'reload' WHEN 'postmaster' THEN 'restart' END),
		E'\n' ORDER BY name) || E'\n<!-- end -->'
FROM pg_settings WHERE name LIKE 'pg_derive.%' AND name NOT LIKE 'pg_derive.debug%';
COMMIT;
