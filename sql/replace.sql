-- A view gets another query by derive.replace_view(): built beside, then in its place, under the same OID.
SET client_min_messages = warning;
CREATE SCHEMA replace;
SET search_path = replace, public;

-- It has been replaced, and is exact, and so are all others.
CREATE FUNCTION replaced(view regclass) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF NOT derive.wait_replaced(view, '60 s') THEN
		RETURN 'timeout';
	END IF;
	RETURN (SELECT string_agg(DISTINCT o.result, ', ') FROM oracle_all() o);
END $$;

CREATE TABLE orders (id int PRIMARY KEY, region text, amount numeric(10,2), note text);
INSERT INTO orders SELECT i, 'r' || i % 5, i, 'n' || i FROM generate_series(1, 100) i;

--
-- What stays: OID, grants, comments, indexes, what reads it, who subscribed
--
CREATE ROLE regress_reads;
SELECT derive.create_view('totals', 'SELECT region, sum(amount) AS total FROM orders GROUP BY region');
SELECT derive.create_view('of_totals', 'SELECT count(*) AS n, sum(total) AS s FROM totals');
SELECT derive.create_view('of_both', 'SELECT o.id, t.total, s.s FROM orders o JOIN totals t USING (region), of_totals s');
CREATE VIEW plain AS SELECT region, total FROM totals;
CREATE FUNCTION grand_total() RETURNS numeric LANGUAGE sql BEGIN ATOMIC SELECT sum(total) FROM totals; END;
CREATE INDEX totals_desc ON totals (total DESC NULLS LAST) WHERE total > 10;
CREATE INDEX totals_expr ON totals (upper(region) text_pattern_ops) INCLUDE (total) WITH (fillfactor = 70);
CREATE INDEX totals_row ON totals ((totals IS NULL));
COMMENT ON MATERIALIZED VIEW totals IS 'what they are';
COMMENT ON COLUMN totals.total IS 'how much';
COMMENT ON INDEX totals_desc IS 'from above';
GRANT SELECT ON totals TO regress_reads;
CREATE STATISTICS totals_stat ON region, total FROM totals;
ALTER MATERIALIZED VIEW totals ALTER COLUMN region SET STATISTICS 77;
ALTER MATERIALIZED VIEW totals SET (autovacuum_enabled = off);
SELECT derive.wait();
SELECT derive.subscribe('totals', 'replace_sub');
SELECT count(*) FROM derive.poll('replace_sub');
CREATE TABLE before AS SELECT 'totals'::regclass::oid AS oid, array_agg(indexrelid ORDER BY indexrelid) AS indexes
FROM pg_index WHERE indrelid = 'totals'::regclass;
SELECT derive.replace_view('totals', 'SELECT region, sum(amount) * 2 AS total FROM orders WHERE id > 10 GROUP BY region');
SELECT replaced('totals');
SELECT * FROM totals ORDER BY 1;
SELECT * FROM plain ORDER BY 1;
SELECT grand_total();
SELECT * FROM of_totals;
SELECT oid = 'totals'::regclass AS same_oid, indexes <@ (SELECT array_agg(indexrelid) FROM pg_index WHERE indrelid = 'totals'::regclass AND indisvalid) AS same_indexes FROM before;
\d totals
SELECT reloptions, attstattarget FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum = 1 WHERE c.oid = 'totals'::regclass;
SELECT obj_description('totals'::regclass, 'pg_class'), col_description('totals'::regclass, 2), obj_description('totals_desc'::regclass, 'pg_class'), has_table_privilege('regress_reads', 'totals', 'SELECT') AS granted;
-- nothing else is left
SELECT view, replacement FROM derive.replacements;
SELECT relname FROM pg_class WHERE relnamespace = 'replace'::regnamespace AND relname LIKE '%replacement%';
SELECT count(*) AS strays FROM pg_class WHERE relnamespace = 'derive_state'::regnamespace AND relkind = 'm'
	AND relname ~ '^(state|rows)_' AND oid NOT IN (SELECT relid FROM derive_state.relations);
SELECT regexp_replace(line, 'state_\d+', 'state_N') FROM derive.explain('totals') line;
-- its indexes find its rows
SET enable_seqscan = off;
SELECT region FROM totals WHERE upper(region) LIKE 'R1%';
SELECT region FROM totals WHERE total > 10 ORDER BY total DESC NULLS LAST LIMIT 1;
SELECT count(*) FROM totals WHERE (totals IS NULL) = false;
RESET enable_seqscan;
-- the subscriber gets the difference, and follows
SELECT operation, old, new FROM derive.poll('replace_sub') ORDER BY new->>'region';
UPDATE orders SET amount = amount + 1 WHERE id IN (1, 51);
SELECT derive.wait();
SELECT operation, old, new FROM derive.poll('replace_sub');
INSERT INTO orders VALUES (101, 'new', 5, 'x');
SELECT * FROM oracle_all();

--
-- More columns at the end
--
CREATE TABLE holder (t totals);
INSERT INTO holder SELECT t FROM totals t WHERE region = 'new';
SELECT derive.create_view('whole_rows', 'SELECT t, t.region FROM totals t');
SELECT derive.replace_view('totals', $$SELECT region, sum(amount) AS total, count(*) AS n, string_agg(note, ',' ORDER BY id) COLLATE "C" AS notes, '{}'::int[] AS a FROM orders GROUP BY region$$);
SELECT replaced('totals');
SELECT region, total, n, length(notes), a FROM totals ORDER BY 1;
SELECT attname, format_type(atttypid, atttypmod), attcollation::regcollation, attnum FROM pg_attribute WHERE attrelid = 'totals'::regclass AND attnum > 0;
SELECT t, (t).n IS NULL AS missing FROM holder;
SELECT * FROM plain ORDER BY 1 LIMIT 1;
INSERT INTO holder SELECT t FROM totals t WHERE region = 'new';
SELECT t FROM holder;
SELECT operation, old->'n' AS old, new->'n' AS new, new->'a' AS a FROM derive.poll('replace_sub') ORDER BY new->>'region';
SELECT derive.unsubscribe('replace_sub');
CREATE INDEX totals_new ON totals (n);
-- rows out of line
UPDATE orders SET note = repeat(md5(id::text), 300) WHERE id = 101;
ALTER MATERIALIZED VIEW totals ALTER COLUMN notes SET STORAGE EXTERNAL;
INSERT INTO orders SELECT i, 'new', 1, repeat(md5(i::text), 100) FROM generate_series(201, 210) i;
SELECT * FROM oracle_all();
SELECT derive.replace_view('totals', $$SELECT region, sum(amount) AS total, count(*) AS n, string_agg(note || id, ',' ORDER BY id) COLLATE "C" AS notes, '{1}'::int[] AS a FROM orders GROUP BY region$$);
SELECT replaced('totals');
SELECT region, length(notes) > 30000 AS long FROM totals WHERE region = 'new';
SELECT c.reltoastrelid::regclass::text = 'pg_toast.pg_toast_' || c.oid AS toast_name, refobjid = c.oid AS toast_belongs
FROM pg_class c JOIN pg_depend ON classid = 'pg_class'::regclass AND objid = c.reltoastrelid WHERE c.oid = 'totals'::regclass;
DELETE FROM orders WHERE id = 101;
VACUUM (FULL, ANALYZE) totals;
UPDATE orders SET amount = 7 WHERE id = 202;
SELECT * FROM oracle_all();
DROP TABLE holder, before;
DROP MATERIALIZED VIEW whole_rows;

--
-- What is refused
--
SELECT derive.replace_view('totals', 'SELECT region, sum(amount) AS total FROM orders GROUP BY region');
SELECT derive.create_view('two', 'SELECT id, region, amount FROM orders');
SELECT derive.wait();
SELECT derive.replace_view('two', 'SELECT id, region FROM orders');
SELECT derive.replace_view('two', 'SELECT id, amount, region FROM orders');
SELECT derive.replace_view('two', 'SELECT id::bigint, region, amount FROM orders');
SELECT derive.replace_view('two', 'SELECT id, region, amount::numeric(12,2) FROM orders');
SELECT derive.replace_view('two', 'SELECT id, region COLLATE "C", amount FROM orders');
SELECT derive.replace_view('two', 'SELECT id, region AS place, amount FROM orders');
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE random() > 2');
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM nowhere');
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders; SELECT 1');
SELECT derive.replace_view('two', 'SELECT * FROM two');
SELECT derive.create_view('reads_two', 'SELECT id, region, amount FROM two WHERE id > 5');
CREATE VIEW plain_reads AS SELECT * FROM reads_two;
SELECT derive.replace_view('two', 'SELECT * FROM reads_two');
SELECT derive.replace_view('two', 'SELECT * FROM plain_reads');
SELECT derive.replace_view('two', $$SELECT * FROM derive.apply('history', '{orders}', NULL, NULL) AS t(id int, region text, amount numeric(10,2))$$);
SELECT derive.replace_view(NULL, 'SELECT 1');
SELECT derive.replace_view('two', NULL);
SELECT derive.replace_view('orders', 'SELECT 1');
SELECT derive.replace_view('plain', 'SELECT 1');
SELECT derive.replace_view(0::oid::regclass, 'SELECT 1');
CREATE MATERIALIZED VIEW ordinary AS SELECT id FROM orders;
SELECT derive.replace_view('ordinary', 'SELECT id FROM orders WHERE id > 1');
SELECT derive.create_view('h', 'history', '{orders}');
SELECT derive.replace_view('h', 'SELECT 1');
SELECT derive.create_topic('topic', 'a int');
SELECT derive.replace_view('topic', 'SELECT 1');
SET pg_derive.allow_recompute = off;
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders ORDER BY id OFFSET 3');
RESET pg_derive.allow_recompute;
SET default_transaction_read_only = on;
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 1');
RESET default_transaction_read_only;
SET ROLE regress_reads;
SELECT derive.replace_view('totals', 'SELECT 1');
RESET ROLE;
SELECT count(*) FROM derive.replacements;
DROP MATERIALIZED VIEW h, topic, ordinary;
SELECT * FROM oracle_all();

--
-- Transactions; second thoughts
--
BEGIN;
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 7');
SELECT derive.wait_replaced('two');
ROLLBACK;
BEGIN;
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 7');
ROLLBACK;
SELECT count(*) FROM derive.replacements;
SELECT derive.wait_replaced('two');
BEGIN;
SAVEPOINT s;
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 7');
ROLLBACK TO s;
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 8');
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 9');
SELECT view, replacement FROM derive.replacements;
COMMIT;
SELECT replaced('two');
SELECT min(id) FROM two;
-- held, to be looked at: it cannot take the place of a view that somebody reads
CREATE FUNCTION held(view regclass) RETURNS regclass LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT r.state <> 'ready' FROM derive.replacements r WHERE r.view = held.view) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	PERFORM derive.pause(r.replacement) FROM derive.replacements r WHERE r.view = held.view;
	RETURN (SELECT r.replacement FROM derive.replacements r WHERE r.view = held.view AND r.state = 'paused');
END $$;
BEGIN; SELECT FROM two LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 20');
SELECT held('two');
COMMIT PREPARED 'reader';
SELECT view, replacement, state, error FROM derive.replacements;
SELECT derive.wait_replaced('two');
SELECT count(*) FROM two_replacement;
SELECT objoid::regclass AS view, left(label, 10) AS label FROM pg_seclabel WHERE objoid IN ('two'::regclass, 'two_replacement'::regclass);
SELECT derive.replace_view('two_replacement', 'SELECT id, region, amount FROM orders');
SELECT derive.resume('two_replacement');
SELECT replaced('two');
SELECT min(id) FROM two;
-- given up: by the present query, by DROP, by release of either
SET client_min_messages = notice;
BEGIN; SELECT FROM two LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 30');
SELECT held('two');
COMMIT PREPARED 'reader';
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 20');
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 20');
BEGIN; SELECT FROM two LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 30');
SELECT held('two');
COMMIT PREPARED 'reader';
DROP MATERIALIZED VIEW two_replacement;
BEGIN; SELECT FROM two LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('two', 'SELECT id, region, amount FROM orders WHERE id > 30');
SELECT held('two');
COMMIT PREPARED 'reader';
SELECT derive.release('two_replacement');
SELECT count(*) FROM derive.replacements;
DROP MATERIALIZED VIEW two_replacement;
SELECT derive.create_view('three', 'SELECT id FROM orders');
SELECT derive.wait('three');
BEGIN; SELECT FROM three LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('three', 'SELECT id FROM orders WHERE id > 3');
SELECT held('three');
COMMIT PREPARED 'reader';
SELECT derive.release('three');
SELECT count(*) FROM derive.replacements;
SELECT derive.maintain('three');
BEGIN; SELECT FROM three LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('three', 'SELECT id FROM orders WHERE id > 3');
SELECT held('three');
COMMIT PREPARED 'reader';
DROP MATERIALIZED VIEW three;
SET client_min_messages = warning;
SELECT count(*) FROM derive.replacements;
SELECT relname FROM pg_class WHERE relnamespace = 'replace'::regnamespace AND relname LIKE '%replacement%';
SELECT * FROM oracle_all();
-- before the view has been built
BEGIN;
SELECT derive.create_view('early', 'SELECT id FROM orders');
SELECT derive.replace_view('early', 'SELECT id FROM orders WHERE id > 3');
COMMIT;
SELECT replaced('early');
-- a table of it goes, or changes
CREATE TABLE other (id int, x int);
BEGIN; SELECT FROM early LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('early', 'SELECT o.id FROM orders o JOIN other USING (id)');
SELECT held('early');
COMMIT PREPARED 'reader';
DROP TABLE other;
ALTER TABLE other ALTER x TYPE bigint;
INSERT INTO other VALUES (1, 1), (2, 2);
ALTER TABLE other RENAME id TO number;
SELECT derive.resume('early_replacement');
SELECT replaced('early');
SELECT id FROM early ORDER BY id;
CREATE TABLE another (number int);
BEGIN; SELECT FROM early LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('early', 'SELECT o.id FROM orders o JOIN another ON number = o.id');
SELECT held('early');
COMMIT PREPARED 'reader';
DROP TABLE another CASCADE;
SELECT count(*) FROM derive.replacements;
SELECT to_regclass('early'), to_regclass('early_replacement');

--
-- Views that do not move
--
CREATE TABLE ratio (id int PRIMARY KEY, a int, b int);
INSERT INTO ratio SELECT i, i, i FROM generate_series(1, 5) i;
SELECT derive.create_view('quotient', 'SELECT id, a / b AS q FROM ratio');
SELECT derive.create_view('of_quotient', 'SELECT q, count(*) FROM quotient GROUP BY q');
SELECT derive.wait();
SET client_min_messages = error;
INSERT INTO ratio VALUES (6, 1, 0);
SELECT derive.wait('quotient');
SELECT derive.replace_view('quotient', 'SELECT id, a / nullif(b, 0) AS q FROM ratio');
SELECT derive.wait_replaced('quotient');
SELECT state, error FROM derive.views WHERE view = 'quotient'::regclass;
SELECT * FROM oracle('quotient');
SELECT * FROM oracle('of_quotient');
INSERT INTO ratio VALUES (7, 1, 0), (8, 8, 2);
SELECT * FROM oracle('of_quotient');
-- the new one fails: the old one goes on
SELECT derive.replace_view('quotient', 'SELECT id, a / b AS q FROM ratio');
SELECT derive.wait_replaced('quotient');
SELECT view, replacement, state, error FROM derive.replacements;
INSERT INTO ratio VALUES (9, 9, 1);
SELECT * FROM oracle('of_quotient');
DELETE FROM ratio WHERE b = 0;
SELECT count(derive.resume(replacement)) >= 0 AS resumed FROM derive.replacements;	-- unless it is there already
SELECT replaced('quotient');
-- a paused one stays so
SELECT derive.pause('quotient');
INSERT INTO ratio VALUES (10, 100, 1);
SELECT derive.replace_view('quotient', 'SELECT id, a / b + 1 AS q FROM ratio');
SELECT derive.wait_replaced('quotient');
SELECT state FROM derive.views WHERE view = 'quotient'::regclass;
SELECT max(q) FROM quotient;
SELECT * FROM oracle('of_quotient');
INSERT INTO ratio VALUES (11, 1000, 1);
SELECT * FROM oracle('of_quotient');
SELECT max(q) FROM quotient;
-- and once more, while somebody reads it: it does not wait for itself to be resumed
BEGIN; SELECT FROM quotient LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('quotient', 'SELECT id, a / b + 2 AS q FROM ratio');
CREATE FUNCTION reason(view regclass) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 6000 LOOP
		EXIT WHEN EXISTS (SELECT FROM derive.replacements r WHERE r.view = reason.view AND waiting_for LIKE 'lock%');
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN (SELECT state || ': ' || waiting_for FROM derive.replacements r WHERE r.view = reason.view);
END $$;
SELECT reason('quotient');
COMMIT PREPARED 'reader';
SELECT derive.wait_replaced('quotient', '60 s');
SELECT state FROM derive.views WHERE view = 'quotient'::regclass;
SELECT max(q) FROM quotient;
SELECT derive.resume('quotient');
SELECT * FROM oracle_all();
-- one that cannot be loaded is ready then
CREATE TABLE cannot (id int PRIMARY KEY, x int);
SELECT derive.create_view('unloaded', 'SELECT id, x FROM cannot');
SELECT derive.create_view('of_unloaded', 'SELECT count(*) AS n FROM unloaded');
SELECT derive.wait();
ALTER TABLE cannot SET UNLOGGED;
SELECT derive.wait('unloaded');
SELECT derive.replace_view('unloaded', 'SELECT id, a AS x FROM ratio');
SELECT derive.wait_replaced('unloaded', '60 s');
SELECT state, error FROM derive.views WHERE view = 'unloaded'::regclass;
DROP TABLE cannot;
INSERT INTO ratio VALUES (12, 1, 1);
SELECT * FROM oracle_all();

--
-- Columns that cannot be added: its own rows, at any depth; a name that it has by then
--
SELECT derive.create_view('whole', 'SELECT id, a FROM ratio');
SELECT derive.create_view('part', 'SELECT id, b FROM ratio');
SELECT derive.wait();
CREATE TYPE has_whole AS (x int, w whole[]);
CREATE DOMAIN is_whole AS has_whole;
CREATE TYPE may_have_it AS (x int);
SELECT derive.replace_view('whole', 'SELECT id, a, NULL::whole AS self FROM ratio');
SELECT derive.replace_view('whole', 'SELECT id, a, NULL::has_whole AS self FROM ratio');
SELECT derive.replace_view('whole', 'SELECT id, a, 1 AS n, ''{}''::is_whole[] AS self FROM ratio');
SELECT count(*) FROM derive.replacements;
SELECT derive.replace_view('part', 'SELECT id, b, NULL::has_whole AS w FROM ratio');
SELECT replaced('part');
SELECT derive.replace_view('whole', 'SELECT id, a, NULL::part[] AS parts FROM ratio');
-- while it is built
BEGIN; SELECT FROM whole LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('whole', 'SELECT id, a, NULL::may_have_it AS self FROM ratio');
SELECT held('whole');
COMMIT PREPARED 'reader';
ALTER TYPE may_have_it ADD ATTRIBUTE w whole[];
SELECT derive.resume('whole_replacement');
SELECT derive.wait_replaced('whole', '60 s');
INSERT INTO ratio VALUES (13, 1, 1);
SELECT derive.wait();
SELECT DISTINCT whole FROM whole ORDER BY 1 LIMIT 1;
SELECT * FROM oracle('whole');
BEGIN; SELECT FROM whole LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('whole', 'SELECT id, a, b FROM ratio');
SELECT held('whole');
COMMIT PREPARED 'reader';
ALTER MATERIALIZED VIEW whole RENAME COLUMN a TO b;
SELECT derive.resume('whole_replacement');
SELECT derive.wait_replaced('whole', '60 s');
ALTER MATERIALIZED VIEW whole RENAME COLUMN b TO a;
SELECT derive.resume('whole_replacement');
SELECT replaced('whole');
SELECT whole FROM whole ORDER BY id LIMIT 1;

--
-- Indexes that the new contents violate
--
CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b));
INSERT INTO pairs SELECT i % 3, i FROM generate_series(1, 9) i;
SELECT derive.create_view('firsts', 'SELECT a, min(b) AS b FROM pairs GROUP BY a');
SELECT derive.wait();
CREATE UNIQUE INDEX firsts_a ON firsts (a);
SELECT derive.replace_view('firsts', 'SELECT a, b FROM pairs');
SELECT derive.wait_replaced('firsts');
SELECT error FROM derive.replacements;
INSERT INTO pairs VALUES (3, 3);
SELECT * FROM oracle('firsts');
DROP INDEX firsts_a;
SELECT derive.replace_view('firsts', 'SELECT a, b FROM pairs');
SELECT replaced('firsts');
SELECT count(*) FROM firsts;
-- and one that came later
BEGIN; SELECT FROM firsts LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('firsts', 'SELECT a, b FROM pairs UNION ALL SELECT a, b FROM pairs');
SELECT held('firsts');
COMMIT PREPARED 'reader';
CREATE UNIQUE INDEX firsts_ab ON firsts (a, b);
SELECT derive.resume('firsts_replacement');
SELECT derive.wait_replaced('firsts');
SELECT error FROM derive.replacements;
SELECT * FROM oracle('firsts');
DROP INDEX firsts_ab;
CREATE INDEX firsts_late ON firsts (b);
SELECT derive.resume('firsts_replacement');
SELECT replaced('firsts');
SET enable_seqscan = off;
SELECT count(*) FROM firsts WHERE b = 3;
RESET enable_seqscan;
-- and one that runs a function, which does not end in time
CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	IF pg_backend_pid() <> ALL (SELECT pid FROM pg_stat_activity WHERE application_name = 'pg_derive worker') THEN
		RETURN $1;
	END IF;
	PERFORM pg_sleep(3600);
END $$;
BEGIN; SELECT FROM firsts LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('firsts', 'SELECT a, b FROM pairs WHERE b > 3');
SELECT held('firsts');
COMMIT PREPARED 'reader';
CREATE INDEX firsts_slow ON firsts (slow(b));
SELECT derive.resume('firsts_replacement');
SELECT derive.wait_replaced('firsts');
DROP INDEX firsts_slow;
SELECT derive.resume('firsts_replacement');
SELECT replaced('firsts');
-- whose columns have other names by then
SELECT derive.replace_view('firsts', 'SELECT a, b FROM pairs WHERE b > 2');
SELECT replaced('firsts');
BEGIN; SELECT FROM firsts LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('firsts', 'SELECT a, b FROM pairs WHERE b > 1');
SELECT held('firsts');
COMMIT PREPARED 'reader';
ALTER MATERIALIZED VIEW firsts RENAME COLUMN b TO second;
ALTER MATERIALIZED VIEW firsts RENAME TO fronts;
SELECT derive.resume('firsts_replacement');
SELECT replaced('fronts');
SET enable_seqscan = off;
SELECT a, second FROM fronts WHERE second = 3 ORDER BY a;
RESET enable_seqscan;
ALTER MATERIALIZED VIEW fronts RENAME COLUMN second TO b;
ALTER MATERIALIZED VIEW fronts RENAME TO firsts;
-- the other way round: rows are found by another key, or by none
SELECT derive.replace_view('firsts', 'SELECT a, b FROM pairs');
SELECT replaced('firsts');
SELECT derive.replace_view('firsts', 'SELECT a, count(*)::int AS b FROM pairs GROUP BY a');
SELECT replaced('firsts');
SELECT derive.replace_view('firsts', 'SELECT a, b FROM pairs');
SELECT replaced('firsts');
DELETE FROM pairs WHERE b = 4;
INSERT INTO pairs VALUES (0, 4), (1, 40);
UPDATE pairs SET b = b + 100;
SELECT * FROM oracle_all();
SELECT count(*) AS locators FROM pg_index WHERE indrelid = 'firsts'::regclass;

--
-- What else makes it fail
--
CREATE ROLE regress_owner;
GRANT CREATE, USAGE ON SCHEMA replace TO regress_owner;
GRANT SELECT ON pairs TO regress_owner;
BEGIN; SELECT FROM firsts LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('firsts', 'SELECT a, b + 1 AS b FROM pairs');
SELECT held('firsts');
COMMIT PREPARED 'reader';
ALTER MATERIALIZED VIEW firsts OWNER TO regress_owner;
SELECT derive.resume('firsts_replacement');
SELECT derive.wait_replaced('firsts');
SET ROLE regress_owner;
SELECT view, replacement, state, error FROM derive.replacements;
SELECT derive.replace_view('firsts', 'SELECT a, b + 1 AS b FROM pairs');
RESET ROLE;
DROP MATERIALIZED VIEW firsts_replacement;
SET ROLE regress_owner;
SELECT derive.replace_view('firsts', 'SELECT a, b + 1 AS b FROM pairs');
SELECT derive.wait_replaced('firsts', '60 s');
RESET ROLE;
SELECT * FROM oracle('firsts');
BEGIN; SELECT FROM firsts LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('firsts', 'SELECT a, b + 2 AS b FROM pairs');
SELECT held('firsts');
COMMIT PREPARED 'reader';
CREATE VIEW on_it AS SELECT * FROM firsts_replacement;
SELECT derive.resume('firsts_replacement');
SELECT derive.wait_replaced('firsts');
SELECT error FROM derive.replacements;
SELECT derive.replace_view('firsts', 'SELECT a, b + 2 AS b FROM pairs');
DROP VIEW on_it;
SELECT derive.resume('firsts_replacement');
SELECT replaced('firsts');
-- a circle that closed meanwhile
SELECT derive.create_view('x', 'SELECT a, b FROM pairs');
SELECT derive.create_view('y', 'SELECT a, b FROM pairs');
SELECT derive.wait();
BEGIN; SELECT FROM x LIMIT 0; PREPARE TRANSACTION 'reader';
SELECT derive.replace_view('x', 'SELECT a, b FROM y');
SELECT held('x');
COMMIT PREPARED 'reader';
SELECT derive.replace_view('y', 'SELECT a, b FROM x');
SELECT derive.wait_replaced('y', '60 s');
SELECT derive.resume('x_replacement');
SELECT derive.wait_replaced('x');
SELECT error FROM derive.replacements;
DROP MATERIALIZED VIEW x_replacement;
SELECT * FROM oracle_all();

--
-- How it is maintained is another matter: as a whole, over views, by the time
--
CREATE TABLE t (id int PRIMARY KEY, k int, at timestamptz);
INSERT INTO t SELECT i, i % 4, '2000-01-01' FROM generate_series(1, 20) i;
SELECT derive.create_view('v', 'SELECT k, count(*) AS n FROM t GROUP BY k');
SELECT derive.create_view('of_v', 'SELECT n, count(*) AS c FROM v GROUP BY n');
SELECT derive.subscribe('v', 'replace_sub');
SELECT derive.wait();
SELECT count(*) FROM derive.poll('replace_sub');
SELECT derive.replace_view('v', 'SELECT k, count(*) AS n FROM (SELECT k FROM t ORDER BY id OFFSET 3) q GROUP BY k');
SELECT replaced('v');
SELECT operation, old, new FROM derive.poll('replace_sub', timeout => '60 s') ORDER BY new->'k';
INSERT INTO t VALUES (21, 1);
SELECT * FROM oracle('v');
SELECT * FROM oracle('of_v');
SELECT operation, new FROM derive.poll('replace_sub', timeout => '60 s');
SELECT maintained FROM derive.views WHERE view = 'v'::regclass;
SELECT derive.replace_view('v', 'SELECT k, count(*) + 1 AS n FROM (SELECT k FROM t ORDER BY id OFFSET 2) q GROUP BY k');
SELECT replaced('v');
INSERT INTO t VALUES (22, 1);
SELECT * FROM oracle_all();
SELECT operation, old, new FROM derive.poll('replace_sub') ORDER BY new->'k', new->'n';
SELECT derive.replace_view('v', 'SELECT k, sum(k) AS n FROM t WHERE at > now() - interval ''1 day'' GROUP BY k');
SELECT replaced('v');
INSERT INTO t VALUES (23, 7, now());
SELECT * FROM oracle('v');
SELECT * FROM v;
SELECT as_of IS NOT NULL AS timed FROM derive.views WHERE view = 'v'::regclass;
SELECT derive.replace_view('v', 'SELECT a AS k, count(*) AS n FROM x JOIN t ON t.id = x.b GROUP BY a');
SELECT replaced('v');
DELETE FROM t WHERE id < 5;
INSERT INTO pairs VALUES (77, 7);
SELECT * FROM oracle_all();
SELECT operation, old, new FROM derive.poll('replace_sub') ORDER BY old->'k', new->'k';
SELECT derive.unsubscribe('replace_sub');
TRUNCATE t;
SELECT * FROM oracle_all();

--
-- With settings of its declaration
--
SET datestyle = 'SQL, DMY';
SELECT derive.create_view('dates', 'SELECT id, at::date::text AS d FROM t');
INSERT INTO t VALUES (1, 1, '2001-02-03');
SELECT * FROM oracle('dates');
SET datestyle = 'German';
SELECT derive.replace_view('dates', 'SELECT id, at::date::text AS d FROM t WHERE id > 0');
SELECT replaced('dates');
SELECT label LIKE '%German%' AS label FROM pg_seclabel WHERE objoid = 'dates'::regclass;
SELECT * FROM dates;
-- the oracle would compute it with other settings
DROP MATERIALIZED VIEW dates;
RESET datestyle;

--
-- derive.create_or_replace_view()
--
SELECT derive.create_or_replace_view('either', 'SELECT id FROM t');
SELECT derive.wait();
SELECT derive.create_or_replace_view('either', 'SELECT id FROM t WHERE k > 0');
SELECT replaced('either');
CREATE SCHEMA replace2;
SET search_path = replace2, replace, public;
SELECT derive.create_or_replace_view('either', 'SELECT id FROM t');
SELECT derive.create_or_replace_view('replace.either', 'SELECT id FROM t WHERE k > 1');
SELECT replaced('replace.either');
SELECT view, query LIKE '%k > 1%' AS replaced FROM derive_state.view_states WHERE name = 'either' ORDER BY schema;
SELECT derive.create_or_replace_view('replace.t', 'SELECT 1');
SELECT derive.create_or_replace_view(NULL, 'SELECT 1');
SELECT derive.create_or_replace_view('either', NULL);

--
-- The event stream
--
SET search_path = replace, public;
SELECT slot_name FROM pg_create_logical_replication_slot('replace_stream', 'pg_derive');
SELECT derive.replace_view('either', 'SELECT id FROM t WHERE k > 0');
SELECT replaced('either');
INSERT INTO t VALUES (50, 1);
SELECT derive.wait();
-- (the worker's commits are flushed with somebody else's)
INSERT INTO t VALUES (51, 0);
SELECT data FROM pg_logical_slot_get_changes('replace_stream', NULL, NULL, 'include_xids', 'off', 'include_lsns', 'off', 'include_times', 'off', 'views', 'replace.either*');
SELECT pg_drop_replication_slot('replace_stream');

DROP SCHEMA replace, replace2 CASCADE;
DROP ROLE regress_reads, regress_owner;
SELECT count(*) FROM derive.views;
