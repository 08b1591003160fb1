-- The security label of a maintained view, which is in dumps, and what follows from one.
CREATE SCHEMA lb;
SET search_path = lb, public;
CREATE TABLE lb.t (id int PRIMARY KEY, at timestamptz, n int);
INSERT INTO lb.t SELECT n, '2026-01-01 12:00+00'::timestamptz + n * interval '1 hour', n FROM generate_series(1, 50) n;
-- the words of the label, and whether its settings are those of the view
CREATE FUNCTION lb.labels() RETURNS TABLE (view text, label text, settings boolean, state text) LANGUAGE sql AS $$
	SELECT c.relname::text, rtrim(split_part(l.label, '{', 1)),
		CASE WHEN l.label LIKE '%{%' AND v.view IS NOT NULL THEN substr(l.label, strpos(l.label, '{'))::text[] = v.settings END,
		CASE WHEN v.state <> 'paused' THEN 'moves' ELSE v.state END
	FROM pg_class c LEFT JOIN derive_state.view_states v ON v.view = c.oid
	LEFT JOIN pg_seclabel l ON l.objoid = c.oid AND l.classoid = 'pg_class'::regclass AND l.objsubid = 0 AND l.provider = 'pg_derive'
	WHERE c.relnamespace = 'lb'::regnamespace AND c.relkind = 'm' ORDER BY 1 $$;

-- the oracle, as the session that declared the view would compare it
CREATE FUNCTION lb.oracle_recorded(view regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	item text;
BEGIN
	FOR item IN SELECT unnest(v.settings) FROM derive_state.view_states v WHERE v.view = $1 LOOP
		PERFORM set_config(split_part(item, '=', 1), substr(item, strpos(item, '=') + 1), true);
	END LOOP;
	RETURN oracle(view);
END $$;

-- It goes with what is said about the view.
SELECT derive.create_view('a1', 'SELECT at::date AS day, count(*) FROM t GROUP BY 1');
SELECT derive.create_view('a2', 'SELECT sum(count) FROM a1');
SELECT derive.create_view('a3', 'SELECT sum(n) FROM t', with_data => false);
CREATE MATERIALIZED VIEW a4 AS SELECT max(n) FROM t;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM labels();
SELECT derive.pause('a1'), derive.maintain('a4');
SELECT * FROM labels() WHERE view = 'a1';
SELECT derive.resume('a1');
SELECT * FROM labels() WHERE view = 'a1';
SELECT derive.wait(timeout => '60 s');
SELECT derive.release('a4');
SELECT derive.resume('a3');
ALTER MATERIALIZED VIEW a3 RENAME TO "A 3";
BEGIN;
SELECT derive.pause('a1'), derive.release('a2');
ROLLBACK;
DROP MATERIALIZED VIEW a4;
SELECT * FROM labels();
-- a setting that changes by itself
CREATE TEXT SEARCH CONFIGURATION lb.words (COPY = pg_catalog.simple);
SET default_text_search_config = 'lb.words';
SELECT derive.create_view('words', 'SELECT to_tsvector(n::text) AS w, count(*) FROM t GROUP BY 1');
RESET default_text_search_config;
ALTER TEXT SEARCH CONFIGURATION lb.words RENAME TO other_words;
SELECT l.*, s FROM labels() l, derive_state.view_states v, unnest(v.settings) s WHERE l.view = 'words' AND v.view = 'words'::regclass AND s ~ 'search';

-- A maintained view has the label that it has.
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW a1 IS 'maintained';
SELECT label AS a1_label FROM pg_seclabels WHERE objoid = 'a1'::regclass \gset
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW a1 IS :'a1_label';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW a1 IS NULL;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW a1 IS 'maintained paused';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW a1 IS 'maintained {TimeZone=Asia/Tokyo}';
SELECT * FROM labels() WHERE view = 'a1';

-- What is no label of a view.
CREATE MATERIALIZED VIEW b1 AS SELECT at::date AS day, at::text, n FROM t WITH NO DATA;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS '';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'Maintained';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained maybe';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained paused {TimeZone=UTC} x';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained{TimeZone=UTC}';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {TimeZone=UTC';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {}';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {TimeZone}';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {NULL}';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {{TimeZone=UTC},{DateStyle=ISO}}';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {session_authorization=postgres}';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {TimeZone=UTC,role=postgres}';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {search_path=lb}';
SECURITY LABEL FOR pg_derive ON TABLE t IS 'maintained';
SECURITY LABEL FOR pg_derive ON COLUMN b1.n IS 'maintained';
SECURITY LABEL FOR pg_derive ON SCHEMA lb IS 'maintained';
SECURITY LABEL FOR pg_derive ON ROLE postgres IS 'maintained';
SELECT * FROM labels() WHERE view = 'b1';

-- On a view without data it waits for the first REFRESH, and may be taken away again.
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained  paused';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS NULL;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b1 IS 'maintained {TimeZone=Asia/Tokyo,"DateStyle=SQL, DMY"}';
REFRESH MATERIALIZED VIEW b1 WITH NO DATA;
SELECT * FROM labels() WHERE view = 'b1';
REFRESH MATERIALIZED VIEW b1;
SHOW TimeZone;
SELECT * FROM labels() WHERE view = 'b1';
SELECT * FROM b1 WHERE n = 3;
SELECT derive.wait('b1', '60 s');
SELECT * FROM b1 WHERE n = 3;
SELECT * FROM derive.verify('b1');
-- derive.maintain() does as the label says, too, but for the pause
CREATE MATERIALIZED VIEW b2 AS SELECT at::date AS day, count(*) FROM t GROUP BY 1 WITH NO DATA;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW b2 IS 'maintained paused {TimeZone=Asia/Tokyo}';
SELECT derive.maintain('b2');
SELECT * FROM labels() WHERE view = 'b2';
SELECT s FROM derive_state.view_states, unnest(settings) s WHERE view = 'b2'::regclass AND s ~ 'TimeZone|DateStyle';

-- On a view with data it is as derive.maintain().
CREATE MATERIALIZED VIEW c1 AS SELECT at::date AS day, count(*) FROM t GROUP BY 1;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW c1 IS 'maintained paused';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW lb.c1 IS 'maintained {TimeZone=Asia/Tokyo}';
CREATE MATERIALIZED VIEW c2 AS SELECT n, random() FROM t;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW c2 IS 'maintained';
CREATE MATERIALIZED VIEW c3 AS SELECT count(*) FROM t;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW c3 IS 'maintained {TimeZone=Nowhere}';
SECURITY LABEL ON MATERIALIZED VIEW c3 IS 'maintained';
BEGIN;
CREATE MATERIALIZED VIEW c4 AS SELECT count(*) FROM c3;
SECURITY LABEL ON MATERIALIZED VIEW c4 IS 'maintained';
SELECT * FROM labels() WHERE view = 'c4';
ROLLBACK;
SELECT * FROM labels() WHERE view ~ 'c';

-- A REFRESH that cannot do all of it does what it can, for that is what restores do.
CREATE MATERIALIZED VIEW d1 AS SELECT n, random() FROM t WITH NO DATA;
SECURITY LABEL ON MATERIALIZED VIEW d1 IS 'maintained';
REFRESH MATERIALIZED VIEW d1;
CREATE MATERIALIZED VIEW d2 AS SELECT at::date AS day FROM t WITH NO DATA;
SECURITY LABEL ON MATERIALIZED VIEW d2 IS 'maintained {default_text_search_config=gone,"DateStyle=ISO, MDY"}';
REFRESH MATERIALIZED VIEW d2;
SELECT derive.maintain('d2');
CREATE MATERIALIZED VIEW d3 AS SELECT n, 100 / (n - 50) AS q FROM t WITH NO DATA;
SECURITY LABEL ON MATERIALIZED VIEW d3 IS 'maintained';
CREATE MATERIALIZED VIEW d4 AS SELECT count(*) FROM d3 WITH NO DATA;
SECURITY LABEL ON MATERIALIZED VIEW d4 IS 'maintained';
CREATE MATERIALIZED VIEW d5 AS SELECT n, 100 / (n - 50) AS q FROM t WITH NO DATA;
SECURITY LABEL ON MATERIALIZED VIEW d5 IS 'maintained paused';
CREATE MATERIALIZED VIEW d6 AS SELECT n, random() / (n - 50) AS q FROM t WITH NO DATA;
SECURITY LABEL ON MATERIALIZED VIEW d6 IS 'maintained';
REFRESH MATERIALIZED VIEW CONCURRENTLY d3;
REFRESH MATERIALIZED VIEW d3;
REFRESH MATERIALIZED VIEW d4;
REFRESH MATERIALIZED VIEW d5;
REFRESH MATERIALIZED VIEW d6;
SELECT view, relispopulated, label, l.state FROM labels() l JOIN pg_class c ON relname = view AND relnamespace = 'lb'::regnamespace WHERE view ~ '^d' ORDER BY 1;
UPDATE t SET n = 51 WHERE id = 50;
SELECT derive.resume('d5');
-- mended, they come by themselves; this only makes it sooner
SET client_min_messages = error;
DO $$ BEGIN FOR i IN 1 .. 600 LOOP
	PERFORM derive.resume(view) FROM derive_state.view_states WHERE state = 'failed'; COMMIT;
	PERFORM derive.wait(timeout => '1 s');
	EXIT WHEN NOT EXISTS (SELECT FROM derive_state.view_states WHERE state <> 'ready' AND schema = 'lb'); COMMIT;
END LOOP; END $$;
RESET client_min_messages;
SELECT * FROM labels() WHERE view ~ '^d';
-- what another REFRESH or derive.maintain() mends
ALTER MATERIALIZED VIEW d2 RENAME TO d2_gone;
SECURITY LABEL ON MATERIALIZED VIEW lb.d2_gone IS NULL;
CREATE MATERIALIZED VIEW d7 AS SELECT at::date AS day FROM t;
INSERT INTO t VALUES (60, '2026-03-01', 60);
REVOKE EXECUTE ON FUNCTION derive.maintain FROM PUBLIC;
CREATE ROLE lb_owner;
GRANT USAGE, CREATE ON SCHEMA lb TO lb_owner;
GRANT SELECT ON t TO lb_owner;
ALTER MATERIALIZED VIEW d7 OWNER TO lb_owner;
SECURITY LABEL ON MATERIALIZED VIEW d7 IS 'maintained';
REFRESH MATERIALIZED VIEW d7 WITH NO DATA;
SECURITY LABEL ON MATERIALIZED VIEW d7 IS 'maintained {TimeZone=Asia/Tokyo}';
REFRESH MATERIALIZED VIEW d7;
SELECT * FROM labels() WHERE view = 'd7';
-- an error of the query is one if the view has data
CREATE MATERIALIZED VIEW d8 AS SELECT n, 100 / (n - 70) AS q FROM t WITH NO DATA;
ALTER MATERIALIZED VIEW d8 OWNER TO lb_owner;
SECURITY LABEL ON MATERIALIZED VIEW d8 IS 'maintained paused';
SET client_min_messages = error;
REFRESH MATERIALIZED VIEW d8;
RESET client_min_messages;
INSERT INTO t VALUES (70, '2026-03-02', 70);
GRANT EXECUTE ON FUNCTION derive.maintain TO PUBLIC;
REFRESH MATERIALIZED VIEW d7;
REFRESH MATERIALIZED VIEW d8;
UPDATE t SET n = 71 WHERE n = 70;
CREATE UNIQUE INDEX ON d8 (n);
REFRESH MATERIALIZED VIEW CONCURRENTLY d8;
SELECT * FROM labels() WHERE view IN ('d7', 'd8');
INSERT INTO t VALUES (72, '2026-03-02', 72);
SELECT derive.resume('d8');

-- Only the owner labels, and it is done in the owner's name.
CREATE ROLE lb_other;
GRANT USAGE ON SCHEMA lb TO lb_other;
SET ROLE lb_other;
SECURITY LABEL ON MATERIALIZED VIEW d7 IS NULL;
SECURITY LABEL ON MATERIALIZED VIEW d1 IS NULL;
RESET ROLE;
SET ROLE lb_owner;
CREATE MATERIALIZED VIEW e1 AS SELECT count(*) FROM t;
SECURITY LABEL ON MATERIALIZED VIEW e1 IS 'maintained';
CREATE FUNCTION lb.trap(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE '% %', $1, current_user; RETURN $1; END $$;
CREATE MATERIALIZED VIEW e2 AS SELECT id, trap(2) AS x FROM t WHERE id = 1 WITH NO DATA;
SECURITY LABEL ON MATERIALIZED VIEW e2 IS 'maintained';
RESET ROLE;
REFRESH MATERIALIZED VIEW e2;
SELECT * FROM labels() WHERE view ~ 'e';
-- views that are ours have none
DO $$ BEGIN
	EXECUTE format('SECURITY LABEL ON MATERIALIZED VIEW %s IS ''maintained''', (SELECT relid::regclass FROM derive_state.relations JOIN pg_class c ON c.oid = relid AND relkind = 'm' LIMIT 1));
EXCEPTION WHEN wrong_object_type THEN RAISE NOTICE '%', sqlerrm; END $$;

-- All of them equal their queries; those of other settings as their session would compare them.
UPDATE t SET at = at + interval '3 hours' WHERE id % 3 = 0;
DELETE FROM t WHERE id < 10;
SELECT derive.wait(timeout => '60 s');
SET client_min_messages = warning;	-- of the trap
SELECT oracle_recorded(view), count(*) FROM derive_state.view_states WHERE schema = 'lb' GROUP BY 1;
SELECT count(*) FROM derive.verify() WHERE missing + extra > 0;

-- The labels of views go with the extension.
BEGIN;
DROP EXTENSION pg_derive CASCADE;
SELECT count(*) FROM pg_seclabels WHERE provider = 'pg_derive';
CREATE MATERIALIZED VIEW f1 AS SELECT count(*) FROM t WITH NO DATA;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW f1 IS 'maintained';
REFRESH MATERIALIZED VIEW f1;
TABLE f1;
SAVEPOINT s;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW f1 IS 'maintained';
ROLLBACK TO s;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW f1 IS NULL;
ROLLBACK;
SELECT count(*) > 0 AS there FROM pg_seclabels WHERE provider = 'pg_derive' AND objtype = 'materialized view';
DROP SCHEMA lb CASCADE;
DROP ROLE lb_owner, lb_other;
SELECT count(*) FROM pg_seclabels WHERE provider = 'pg_derive' AND objtype = 'materialized view' AND objname LIKE 'lb.%';
