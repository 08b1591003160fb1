-- What is not maintained is refused when it is declared, with the reason.
CREATE TABLE t (a int PRIMARY KEY, b text, c timestamptz);
CREATE UNLOGGED TABLE ul (a int);
CREATE TEMP TABLE tmp (a int);
CREATE TABLE sec (a int);
CREATE MATERIALIZED VIEW mv AS SELECT a FROM t;
CREATE MATERIALIZED VIEW mv2 AS SELECT a FROM t ORDER BY b LIMIT (SELECT 3);
CREATE VIEW pv AS SELECT t.a, u.b FROM t LEFT JOIN t u USING (a);
CREATE FUNCTION vol(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE FUNCTION sta(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT count(*)::int FROM t WHERE a > $1';
-- what is computed anew as a whole, where that is not wanted
SET pg_derive.allow_recompute = off;
SELECT derive.create_view('r', 'SELECT a, ntile(3) OVER (ORDER BY b) FROM t');
SELECT derive.create_view('r', 'SELECT a FROM t ORDER BY b OFFSET 3');
SELECT derive.create_view('r', 'SELECT a FROM t ORDER BY b LIMIT 5000 OFFSET 1');
SELECT derive.create_view('r', 'WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x JOIN t ON t.a = n) CYCLE n SET c USING p SELECT n FROM x');
SELECT derive.maintain('mv2');
RESET pg_derive.allow_recompute;
-- what cannot be told from the log, or is not determined at all
SELECT derive.create_view('r', 'SELECT a, random() FROM t');
SELECT derive.create_view('r', 'SELECT a FROM t WHERE c <> now()');
SELECT derive.create_view('r', 'SELECT a, current_date FROM t');
SELECT derive.create_view('r', 'SELECT vol(a) FROM t');
SELECT derive.create_view('r', 'SELECT sta(a) FROM t');
SELECT derive.create_view('r', 'SELECT a, ctid AS c FROM t');
SELECT derive.create_view('r', 'SELECT tableoid AS o, a FROM t');
SELECT derive.create_view('r', 'SELECT a FROM ul');
SELECT derive.create_view('r', 'SELECT a FROM tmp');
SELECT derive.create_view('r', 'SELECT a FROM mv');
SELECT derive.create_view('r', 'SELECT relname FROM pg_class');
SELECT derive.create_view('r', 'SELECT a FROM t TABLESAMPLE bernoulli (10)');
SELECT derive.create_view('r', 'SELECT a FROM t TABLESAMPLE bernoulli (10) REPEATABLE (1)');
SELECT derive.create_view('r', 'SELECT a FROM t FOR UPDATE');
SELECT derive.create_view('r', 'SELECT a FROM t WHERE a IN (SELECT a FROM t WHERE c <> now() LIMIT 1)');
SELECT derive.create_view('r', 'SELECT a, (SELECT ctid FROM t u WHERE u.a = t.a) AS c FROM t');
SELECT derive.create_view('r', 'WITH RECURSIVE x(n) AS (SELECT a FROM tmp UNION ALL SELECT n + 1 FROM x WHERE n < 3) SELECT n FROM x');
SELECT derive.create_view('r', 'WITH RECURSIVE x(n) AS (SELECT a::numeric FROM t UNION SELECT n + 1 FROM x WHERE n < 3) SELECT n FROM x');
SELECT derive.create_view('r', 'SELECT ROW(a, b) AS x, count(*) FROM t GROUP BY 1');
-- cut by LIMIT alone
SELECT derive.create_view('r', 'WITH RECURSIVE x(n) AS (SELECT a FROM t UNION ALL SELECT n + 1 FROM x) SELECT n FROM x LIMIT 10');
SELECT derive.create_view('r', 'WITH RECURSIVE x AS (SELECT a FROM t UNION ALL (WITH y AS (SELECT * FROM x) SELECT a FROM y)) SELECT a FROM x LIMIT 10');
-- not a query, not one query, not a name
SELECT derive.create_view('r', 'DELETE FROM t RETURNING a');
SELECT derive.create_view('r', 'SELECT a FROM t; DROP TABLE t');
SELECT derive.create_view('r', 'SELECT a INTO x FROM t');
SELECT derive.create_view('r', 'SELECT nothing FROM t');
SELECT derive.create_view('r', '');
SELECT derive.create_view('', 'SELECT a FROM t');
SELECT derive.create_view(NULL, 'SELECT a FROM t');
SELECT derive.create_view('nosuchschema.r', 'SELECT a FROM t');
SELECT derive.create_view('t', 'SELECT a FROM t');
SELECT derive.maintain('t');
SELECT derive.maintain('pv');
SELECT derive.maintain('nosuch');
SELECT derive.repair('mv');
SELECT derive.verify('mv');
SELECT derive.explain('mv');
SELECT derive.pause('mv');
SELECT derive.resume('mv');
-- but a sub-query that reads no table is a function of the row, and these are fine
SELECT derive.create_view('fine', $$SELECT a, (SELECT max(x) FROM generate_series(1, a) x) AS m, to_char(c, 'YYYY') AS y, VARIADIC_TEST
	FROM (SELECT *, concat(b, a) AS VARIADIC_TEST FROM t) q ORDER BY a$$);
INSERT INTO t VALUES (1, 'x', '2026-01-01'), (2, NULL, NULL);
SELECT oracle('fine');
-- row-level security
ALTER TABLE sec ENABLE ROW LEVEL SECURITY;
CREATE ROLE regress_derive_owner;
GRANT CREATE ON SCHEMA public TO regress_derive_owner;
ALTER TABLE sec REPLICA IDENTITY FULL;
GRANT SELECT ON sec TO regress_derive_owner;
SET ROLE regress_derive_owner;
SELECT derive.create_view('r', 'SELECT a FROM sec');
SELECT derive.create_view('r', 'SELECT a FROM t');
RESET ROLE;
-- only its owner may have the old rows of a table logged
CREATE TABLE plain (a int);
GRANT SELECT ON plain TO regress_derive_owner;
SET ROLE regress_derive_owner;
SELECT derive.create_view('r', 'SELECT a FROM plain');
RESET ROLE;
ALTER TABLE plain REPLICA IDENTITY FULL;
SET ROLE regress_derive_owner;
SELECT derive.create_view('allowed', 'SELECT a FROM plain');
RESET ROLE;
INSERT INTO plain VALUES (1);
SELECT oracle('allowed');
REVOKE SELECT ON plain FROM regress_derive_owner;
SELECT derive.wait('allowed', timeout => '60 s');
GRANT SELECT ON plain TO regress_derive_owner;
SELECT derive.repair('allowed');
INSERT INTO plain VALUES (2);
SELECT oracle('allowed');
DROP MATERIALIZED VIEW allowed;
-- nothing is left of all those
SELECT view FROM derive.views;
SELECT count(*) FROM pg_class c WHERE relnamespace = 'derive_state'::regnamespace AND relname ~ '^(state|rows)_';
DROP TABLE t, ul, sec, plain CASCADE;
DROP FUNCTION vol, sta;
REVOKE CREATE ON SCHEMA public FROM regress_derive_owner;
DROP ROLE regress_derive_owner;

-- What pglogical does not cope with is said before it is done.
BEGIN;
SET LOCAL allow_system_table_mods = on;
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
	SELECT 16383, 'pglogical', extowner, extnamespace, false, '2' FROM pg_extension WHERE extname = 'plpgsql';
CREATE TABLE replicated (id int, v int);
SELECT derive.create_view('over_replicated', 'SELECT v, count(*) FROM replicated GROUP BY v');
ALTER TABLE replicated REPLICA IDENTITY FULL;
SELECT derive.create_view('over_full', 'SELECT v, count(*) FROM replicated GROUP BY v');
ROLLBACK;
