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
