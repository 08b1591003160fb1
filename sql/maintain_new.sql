-- pg_derive.maintain_new: CREATE MATERIALIZED VIEW by whoever makes maintained views.
CREATE SCHEMA mn;
SET search_path = mn, public;
CREATE TABLE mn.t (id int PRIMARY KEY, x int);
CREATE TABLE mn.u (id int PRIMARY KEY, x int);
INSERT INTO mn.t SELECT n, n % 5 FROM generate_series(1, 50) n;
CREATE FUNCTION mn.states() RETURNS TABLE (view text, maintained boolean, populated boolean) LANGUAGE sql AS $$
	SELECT c.relname::text, v.view IS NOT NULL, c.relispopulated
	FROM pg_class c LEFT JOIN derive.views v ON v.view = c.oid
	WHERE c.relnamespace = 'mn'::regnamespace AND c.relkind = 'm' ORDER BY 1 $$;

-- off
SHOW pg_derive.maintain_new;
CREATE MATERIALIZED VIEW off AS SELECT count(*) FROM t;
CREATE MATERIALIZED VIEW off_empty AS SELECT count(*) FROM t WITH NO DATA;
-- on, in all kinds of places
SET pg_derive.maintain_new = on;
CREATE MATERIALIZED VIEW a1 AS SELECT x, count(*) AS n FROM t GROUP BY x;
TABLE a1 ORDER BY x;
CREATE MATERIALIZED VIEW IF NOT EXISTS a1 AS SELECT 1;
CREATE MATERIALIZED VIEW IF NOT EXISTS off AS SELECT 1;
CREATE MATERIALIZED VIEW IF NOT EXISTS a2 (k, m) WITH (fillfactor = 50) AS SELECT x, n FROM a1 WHERE n > 1 WITH DATA;
DO $$ BEGIN CREATE MATERIALIZED VIEW a3 AS SELECT * FROM t; END $$;
CREATE FUNCTION mn.make(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN EXECUTE format('CREATE MATERIALIZED VIEW %I AS SELECT max(x) FROM t', name); END $$;
SELECT make('a4');
CREATE PROCEDURE mn.make_two() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM make('a5');
	PERFORM derive.create_view('a6', 'SELECT min(x) FROM t');
	COMMIT;
	PERFORM make('a7');
	PERFORM derive.create_view('a8', 'SELECT min(x) FROM t', with_data => false);
END $$;
CALL make_two();
DO $$ BEGIN
	EXECUTE 'EXPLAIN ANALYZE CREATE MATERIALIZED VIEW a9 AS SELECT x FROM t WHERE id = 1';
	EXECUTE 'EXPLAIN CREATE MATERIALIZED VIEW nothing AS SELECT x FROM t WHERE id = 1';
END $$;
-- its query creates another one
CREATE FUNCTION mn.make_within(name text) RETURNS int LANGUAGE plpgsql SET search_path = mn AS $$ BEGIN PERFORM make(name); RETURN 1; END $$;
CREATE MATERIALIZED VIEW a10 AS SELECT make_within('a11') FROM t WHERE id = 1;
-- no views
CREATE TABLE mn.copy AS SELECT * FROM t;
SELECT * INTO mn.copy2 FROM t;
CREATE VIEW mn.plain AS SELECT * FROM t;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM states();
-- rolled back, as a whole or in part
BEGIN;
CREATE MATERIALIZED VIEW b1 AS SELECT count(*) FROM t;
SELECT count(*) FROM derive.views WHERE view = 'b1'::regclass;
ROLLBACK;
BEGIN;
SAVEPOINT s;
CREATE MATERIALIZED VIEW b1 AS SELECT count(*) FROM t;
ROLLBACK TO s;
CREATE MATERIALIZED VIEW b2 AS SELECT count(*) FROM t;
INSERT INTO t VALUES (51, 1);
COMMIT;
DO $$ BEGIN
	BEGIN
		CREATE MATERIALIZED VIEW b3 AS SELECT count(*) FROM t;
		RAISE 'no';
	EXCEPTION WHEN raise_exception THEN
		CREATE MATERIALIZED VIEW b4 AS SELECT count(*) FROM t;
	END;
END $$;
CREATE MATERIALIZED VIEW b5 AS SELECT 1 / (x - x) FROM t;
SELECT * FROM states() WHERE view LIKE 'b%';

-- What cannot be maintained stays as it is, and says why.
CREATE MATERIALIZED VIEW c1 AS SELECT random() FROM t;
CREATE MATERIALIZED VIEW c2 AS SELECT current_user AS a FROM t;
CREATE MATERIALIZED VIEW c3 AS SELECT relname FROM pg_class;
SET pg_derive.allow_recompute = off;
CREATE MATERIALIZED VIEW c4 AS SELECT x FROM t ORDER BY id OFFSET 3;
RESET pg_derive.allow_recompute;
SELECT * FROM states() WHERE view LIKE 'c%';
SELECT count(*) FROM c3 WHERE relname = 'pg_class';
REFRESH MATERIALIZED VIEW c3;
DROP MATERIALIZED VIEW c1;

-- Without data: maintained from the first REFRESH on.
CREATE MATERIALIZED VIEW d1 AS SELECT x, count(*) FROM t GROUP BY x WITH NO DATA;
CREATE MATERIALIZED VIEW d2 AS SELECT x FROM t WHERE x < 0 WITH NO DATA;
CREATE MATERIALIZED VIEW d3 AS SELECT random() FROM t WITH NO DATA;
CREATE MATERIALIZED VIEW d4 AS SELECT count(*) FROM t WITH NO DATA;
REFRESH MATERIALIZED VIEW CONCURRENTLY d1;
REFRESH MATERIALIZED VIEW d1 WITH NO DATA;
SELECT * FROM states() WHERE view LIKE 'd%';
REFRESH MATERIALIZED VIEW d1;
BEGIN;
REFRESH MATERIALIZED VIEW d2;
INSERT INTO t VALUES (52, -1);
REFRESH MATERIALIZED VIEW d2;
TABLE d2;
CREATE MATERIALIZED VIEW d5 AS SELECT x FROM t WHERE x < 0;
INSERT INTO t VALUES (53, -2);
REFRESH MATERIALIZED VIEW d5;
TABLE d5 ORDER BY x;
COMMIT;
REFRESH MATERIALIZED VIEW d3;
REFRESH MATERIALIZED VIEW d3;
SET pg_derive.maintain_new = off;
REFRESH MATERIALIZED VIEW d4;
SET pg_derive.maintain_new = on;
REFRESH MATERIALIZED VIEW d4;
REFRESH MATERIALIZED VIEW off;
REFRESH MATERIALIZED VIEW off_empty;
SELECT * FROM states() WHERE view LIKE 'd%' OR view LIKE 'off%';
SELECT derive.release('d1');
REFRESH MATERIALIZED VIEW d1;
SELECT derive.maintain('d2');
SELECT * FROM states() WHERE view LIKE 'd%';

-- Derivations, histories and topics
CREATE MATERIALIZED VIEW e1 AS SELECT * FROM derive.apply('history', ARRAY['t'::regclass], NULL, NULL)
	AS t(id int, x int, version bigint, operation text, xid xid8, lsn pg_lsn, committed_at timestamptz, ended_by text, until_xid xid8, until_lsn pg_lsn, until timestamptz);
CREATE MATERIALIZED VIEW e2 AS SELECT * FROM derive.apply('topic', NULL, NULL, NULL)
	AS t(event_id bigint, event_lsn pg_lsn, event_time timestamptz, word text) WITH NO DATA;
REFRESH MATERIALIZED VIEW e2;
SELECT derive.wait(NULL, '60s');
SELECT derive.append('e2', '{"word": "hello"}') IS NOT NULL AS appended;
INSERT INTO t SELECT n, n % 7 FROM generate_series(101, 150) n;
UPDATE t SET x = x + 1 WHERE id % 2 = 0;
DELETE FROM t WHERE id % 7 = 0;
SELECT derive.wait(NULL, '60s');
SELECT word FROM e2;
SELECT count(*) > 100 AS versions FROM e1;
SELECT v.result, count(*) FROM (SELECT oracle(view) AS result FROM derive.views WHERE state <> 'paused' AND view NOT IN ('e1'::regclass, 'e2'::regclass)) v GROUP BY 1;

-- Roles: by setting, by rights
CREATE ROLE mn_plain;
CREATE ROLE mn_maker;
CREATE ROLE mn_other;
ALTER ROLE mn_maker SET pg_derive.maintain_new = on;
GRANT USAGE, CREATE ON SCHEMA mn TO mn_plain, mn_maker;
GRANT USAGE ON SCHEMA mn TO mn_other;
GRANT SELECT ON t TO mn_plain, mn_maker;
CREATE TABLE mn.keyless (a int);
GRANT SELECT ON keyless TO mn_maker;
RESET pg_derive.maintain_new;
SET ROLE mn_other;
SET pg_derive.maintain_new = on;
CREATE MATERIALIZED VIEW f0 AS SELECT 1;
RESET pg_derive.maintain_new;
SET ROLE mn_plain;
CREATE MATERIALIZED VIEW f1 AS SELECT count(*) FROM t;
SET SESSION AUTHORIZATION mn_maker;
SHOW pg_derive.maintain_new;
SET pg_derive.maintain_new = on;
CREATE MATERIALIZED VIEW f2 AS SELECT count(*) FROM t;
CREATE MATERIALIZED VIEW f3 AS SELECT count(*) FROM keyless;
CREATE MATERIALIZED VIEW f4 AS SELECT count(*) FROM keyless WITH NO DATA;
CREATE MATERIALIZED VIEW f5 AS SELECT sum(x) FROM t WITH NO DATA;
RESET SESSION AUTHORIZATION;
SET pg_derive.maintain_new = on;
-- not more than its owner may do, whoever fills it
REFRESH MATERIALIZED VIEW f4;
REFRESH MATERIALIZED VIEW f5;
SELECT relreplident FROM pg_class WHERE oid = 'keyless'::regclass;
ALTER TABLE keyless OWNER TO mn_maker;
SET ROLE mn_maker;
CREATE MATERIALIZED VIEW f6 AS SELECT count(*) FROM keyless;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION derive.maintain(regclass) FROM PUBLIC;
SET ROLE mn_maker;
CREATE MATERIALIZED VIEW f7 AS SELECT count(*) FROM t;
RESET ROLE;
GRANT EXECUTE ON FUNCTION derive.maintain(regclass) TO PUBLIC;
REVOKE USAGE ON SCHEMA derive FROM PUBLIC;
SET ROLE mn_maker;
CREATE MATERIALIZED VIEW f8 AS SELECT count(*) FROM t;
RESET ROLE;
GRANT USAGE ON SCHEMA derive TO PUBLIC;
-- a function with the rights of its owner makes views of that one
CREATE FUNCTION mn.make_as_owner(name text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN EXECUTE format('CREATE MATERIALIZED VIEW mn.%I AS SELECT count(*) FROM mn.t', name); END $$;
ALTER FUNCTION mn.make_as_owner(text) OWNER TO mn_maker;
SET ROLE mn_plain;
SELECT mn.make_as_owner('f9');
RESET ROLE;
SELECT c.relname, v.view IS NOT NULL AS maintained, pg_get_userbyid(relowner) AS owner
FROM pg_class c LEFT JOIN derive.views v ON v.view = c.oid
WHERE c.relnamespace = 'mn'::regnamespace AND c.relkind = 'm' AND c.relname LIKE 'f%' ORDER BY 1;
INSERT INTO keyless VALUES (1), (2);
INSERT INTO t VALUES (200, 1);
SELECT oracle(view) FROM unnest('{f2, f5, f6, f9}'::regclass[]) view;

-- nothing of ours is a view of people's
SELECT count(*) FROM derive.views WHERE view::text LIKE 'derive%';
SET client_min_messages = warning;
DROP OWNED BY mn_plain, mn_maker, mn_other;
DROP SCHEMA mn CASCADE;
DROP ROLE mn_plain, mn_maker, mn_other;
RESET client_min_messages;
RESET pg_derive.maintain_new;
RESET search_path;
