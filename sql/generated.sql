-- Generated columns: from PostgreSQL 17 on they can be given another expression,
-- from 18 on they may be computed only when they are read.
SET client_min_messages = warning;
CREATE SCHEMA generated;
SET search_path = generated, public;

DO $$
BEGIN
	EXECUTE format('CREATE TABLE g (id integer PRIMARY KEY, a integer,
					s integer GENERATED ALWAYS AS (a * 3) STORED,
					w integer GENERATED ALWAYS AS (a * 2) %1$s, z integer GENERATED ALWAYS AS (coalesce(a, -1)) %1$s, note text)',
				   CASE WHEN current_setting('server_version_num')::integer >= 180000 THEN 'VIRTUAL' ELSE 'STORED' END);
END $$;
CREATE TABLE names (w integer, name text);
CREATE TABLE parts (id integer, a integer, s integer GENERATED ALWAYS AS (a * 3) STORED) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (20);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (20) TO (1000);
INSERT INTO g (id, a) SELECT i, i % 7 FROM generate_series(1, 50) i;
INSERT INTO names SELECT i, 'name ' || i FROM generate_series(0, 20) i;
INSERT INTO parts (id, a) SELECT i, i % 7 FROM generate_series(1, 50) i;

SELECT derive.create_view('g_columns', 'SELECT id, s, w FROM g');
SELECT derive.create_view('g_group', 'SELECT w, count(*), sum(s) FROM g GROUP BY w');
SELECT derive.create_view('g_having', 'SELECT s, max(w) AS m FROM g GROUP BY s HAVING max(w) > 4');
SELECT derive.create_view('g_distinct', 'SELECT DISTINCT w + s AS x FROM g WHERE w <> 6');
SELECT derive.create_view('g_join', 'SELECT g.id, names.name FROM g JOIN names USING (w)');
SELECT derive.create_view('g_using', 'SELECT w, j.id FROM (g NATURAL JOIN names) j');
SELECT derive.create_view('g_row', 'SELECT g::text AS r FROM g');
SELECT derive.create_view('g_join_row', 'SELECT g::text AS r, name FROM g JOIN names ON names.w = g.a');
SELECT derive.create_view('g_outer', 'SELECT name, z, g.w, g IS NULL AS missing, g::text AS r FROM names LEFT JOIN g ON g.id = names.w + 40');
SELECT derive.create_view('g_sub', 'SELECT q.w, q.note FROM (SELECT * FROM g) q UNION ALL SELECT s, NULL FROM parts');
SELECT derive.create_view('p_group', 'SELECT s, count(*) FROM parts GROUP BY s');
SELECT derive.create_view('p_view', 'SELECT max(count) FROM p_group');
SELECT * FROM oracle_all();

INSERT INTO g (id, a) VALUES (101, 1), (102, NULL), (103, 6), (104, 100);
INSERT INTO parts (id, a) VALUES (15, 1), (101, 9), (102, NULL);
SELECT * FROM oracle_all();
UPDATE g SET a = a + 1 WHERE id % 3 = 0;
UPDATE g SET note = 'x' WHERE id % 4 = 0;
UPDATE names SET w = w + 1;
UPDATE parts SET a = a + 1 WHERE id % 3 = 0;
SELECT * FROM oracle_all();
DELETE FROM g WHERE id % 5 = 0;
SELECT * FROM oracle_all();

DO $$
BEGIN
	IF current_setting('server_version_num')::integer >= 170000 THEN
		EXECUTE 'ALTER TABLE g ALTER COLUMN s SET EXPRESSION AS (a * 5), ALTER COLUMN w SET EXPRESSION AS (a + 2)';
		EXECUTE 'ALTER TABLE parts ALTER COLUMN s SET EXPRESSION AS (a * 5)';
	END IF;
END $$;
SELECT * FROM oracle_all();
DO $$
BEGIN
	IF current_setting('server_version_num')::integer >= 170000 THEN
		EXECUTE 'ALTER TABLE parts_1 ALTER COLUMN s SET EXPRESSION AS (a * 7)';
	END IF;
END $$;
SELECT * FROM oracle_all();
INSERT INTO g (id, a) SELECT i, i % 7 FROM generate_series(201, 220) i;
UPDATE g SET a = a + 1 WHERE id % 3 = 0;
DELETE FROM parts WHERE id % 5 = 0;
SELECT * FROM oracle_all();

-- derivations know nothing of virtual columns, which the log does not have: not of those that come later either
CREATE TABLE priced (id integer PRIMARY KEY, a integer, note text);
INSERT INTO priced SELECT i, i FROM generate_series(1, 10) i;
SELECT derive.create_view('h_before', 'history', 'priced');
SELECT derive.wait();
DO $$
BEGIN
	EXECUTE format('ALTER TABLE priced ADD COLUMN twice integer GENERATED ALWAYS AS (a * 2) %s',
				   CASE WHEN current_setting('server_version_num')::integer >= 180000 THEN 'VIRTUAL' ELSE 'STORED' END);
END $$;
UPDATE priced SET a = a + 1 WHERE id % 2 = 0;
SELECT derive.create_view('h_after', 'history', 'priced');
SELECT derive.create_view('values_of_a', derivation => 'approx_distinct', sources => '{priced}', options => '{"value": "a"}');
DELETE FROM priced WHERE id % 5 = 0;
INSERT INTO priced (id, a, note) VALUES (11, 11, 'new'), (12, NULL, NULL);
ALTER TABLE priced ADD COLUMN more text DEFAULT 'more';
UPDATE priced SET note = more WHERE id < 4;
SELECT derive.wait();
-- from 18 on: another expression changes no row
BEGIN;
UPDATE priced SET a = a + 100 WHERE id = 1;
DO $$
BEGIN
	IF current_setting('server_version_num')::integer >= 180000 THEN
		EXECUTE 'ALTER TABLE priced ALTER COLUMN twice SET EXPRESSION AS (a * 22)';
	END IF;
END $$;
UPDATE priced SET a = a + 100 WHERE id = 1;
COMMIT;
SELECT derive.wait();
SELECT operation, ended_by, count(*) FROM h_before GROUP BY operation, ended_by ORDER BY operation, ended_by;
(SELECT id, a, note FROM h_before WHERE until_lsn IS NULL EXCEPT ALL SELECT id, a, note FROM priced)
UNION ALL (SELECT id, a, note FROM priced EXCEPT ALL SELECT id, a, note FROM h_before WHERE until_lsn IS NULL);
(SELECT id, a, note FROM h_after WHERE until_lsn IS NULL EXCEPT ALL SELECT id, a, note FROM priced)
UNION ALL (SELECT id, a, note FROM priced EXCEPT ALL SELECT id, a, note FROM h_after WHERE until_lsn IS NULL);
DO $$
BEGIN
	PERFORM derive.create_view('values_of_twice', derivation => 'approx_distinct', sources => '{priced}', options => '{"value": "twice"}');
	IF current_setting('server_version_num')::integer >= 180000 THEN
		RAISE 'a virtual column was accepted';
	END IF;
EXCEPTION
	WHEN feature_not_supported THEN
		IF SQLERRM <> 'a derivation cannot read the virtual generated column "twice" of source "priced"' THEN
			RAISE;
		END IF;
END $$;
SELECT derive.wait();
SELECT name, state, error FROM derive_state.view_states WHERE schema = 'generated' AND state <> 'ready';

DROP SCHEMA generated CASCADE;
