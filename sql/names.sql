-- Names with quotes, spaces and capitals; schemas outside of the search path; explain.
CREATE SCHEMA "Sche ma""s";
CREATE TABLE "Sche ma""s"."Ta'ble" ("Col umn" int PRIMARY KEY, "select" text, "ünïcode" int);
INSERT INTO "Sche ma""s"."Ta'ble" SELECT i, 'x' || i % 3, i FROM generate_series(1, 9) i;
SELECT derive.create_view('"Sche ma""s"."My View"', $$SELECT "select", count(*) AS "Count of", sum("ünïcode") AS "Σ" FROM "Sche ma""s"."Ta'ble" GROUP BY "select"$$);
SELECT derive.create_view('"Sche ma""s"."Join ""it"""', $$SELECT a."Col umn", b."select" FROM "Sche ma""s"."Ta'ble" a JOIN "Sche ma""s"."Ta'ble" b ON a."Col umn" = b."ünïcode"$$);
SELECT * FROM oracle_all();
UPDATE "Sche ma""s"."Ta'ble" SET "select" = 'Y' WHERE "Col umn" > 5;
SELECT * FROM oracle_all();
SELECT derive.create_view('UnQuoted', $$SELECT "select" FROM "Sche ma""s"."Ta'ble" -- a comment$$);
SELECT derive.create_view('trailing', $$SELECT "select" FROM "Sche ma""s"."Ta'ble"; $$);
SELECT * FROM oracle_all();
SELECT view, state FROM derive.views ORDER BY view::text;
SELECT regexp_replace(line, '_\d+_', '_N_', 'g') FROM derive.explain('"Sche ma""s"."My View"') AS line;
SELECT regexp_replace(line, '_\d+_', '_N_', 'g') FROM derive.explain('"Sche ma""s"."Join ""it"""') AS line;
DROP SCHEMA "Sche ma""s" CASCADE;
SELECT count(*) FROM derive.views;

-- Functions that look up names: search_path is locked while a view is evaluated.
CREATE SCHEMA app;
SET search_path = app, public;
CREATE TABLE app.f (v int);
INSERT INTO f VALUES (1), (2);
CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE FUNCTION app.label(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'n' || TWICE ($1); END $$;
CREATE FUNCTION app.inlined(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT twice($1) + 1';
CREATE FUNCTION app.state(int, int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN coalesce($1, 0) + twice($2); END $$;
CREATE AGGREGATE app.sums(int) (sfunc = app.state, stype = int);
CREATE TYPE app.pair AS (a int, b int);
CREATE FUNCTION app.typed(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN ((ROW($1, $1))::pair).a; END $$;
-- these find what they need
CREATE FUNCTION app.qualified(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN 'n' || app.twice($1) || upper('x'); END $$;
CREATE FUNCTION app.with_path(int) RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = app AS $$ BEGIN RETURN 'n' || twice($1); END $$;
CREATE FUNCTION app.parsed(int) RETURNS int LANGUAGE sql IMMUTABLE RETURN twice($1);
SELECT derive.create_view('u_fine', 'SELECT qualified(v) AS q, with_path(v) AS w, parsed(v) AS p FROM f');
-- one in SQL is looked into when the view is declared
SELECT derive.create_view('u_inlined', 'SELECT inlined(v) FROM f');
-- for others there is a guess, and later the reason
SELECT derive.create_view('u_labels', 'SELECT label(v) FROM f');
SELECT derive.create_view('u_aggregate', 'SELECT sums(v) FROM f');
SELECT derive.create_view('u_typed', 'SELECT typed(v) FROM f');
SELECT derive.wait('u_labels', timeout => '60 s');
SELECT derive.wait('u_aggregate', timeout => '60 s');
SELECT derive.wait('u_typed', timeout => '60 s');
SELECT derive.wait('u_fine', timeout => '60 s');
SELECT view, state, error FROM derive.views ORDER BY view::text;
SELECT derive.repair('u_labels');
ALTER FUNCTION app.label(int) SET search_path = app;
ALTER FUNCTION app.state(int, int) SET search_path = app;
ALTER FUNCTION app.typed(int) SET search_path = app;
INSERT INTO f VALUES (3);
SELECT * FROM oracle_all();
-- a view that was right, and whose function is replaced by one that is not
CREATE OR REPLACE FUNCTION app.qualified(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN twice($1); END $$;
SELECT derive.wait('u_fine', timeout => '60 s');
SELECT error FROM derive.views WHERE view = 'u_fine'::regclass;
RESET search_path;
DROP SCHEMA app CASCADE;
