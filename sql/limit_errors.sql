-- A select list that fails for rows behind LIMIT: these are not shown, and it is not evaluated for them.
CREATE SCHEMA limit_errors;
SET search_path = limit_errors, public;
CREATE TABLE t (id int PRIMARY KEY, k int, x int, v text);
CREATE TABLE u (id int PRIMARY KEY, y int);
INSERT INTO t SELECT i, i % 10, CASE WHEN i = 11 THEN 0 ELSE i % 7 + 1 END, CASE WHEN i > 5 THEN 'none' ELSE i::text END
FROM generate_series(1, 200) i;
INSERT INTO u SELECT i, i % 5 FROM generate_series(1, 50) i;
CREATE INDEX ON t (k);
ANALYZE t, u;

-- the query alone does without these rows by some plans only
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
SET enable_incremental_sort = off;
SET enable_hashagg = off;

SET client_min_messages = warning;
SELECT derive.create_view('divided', 'SELECT id, 1.0 / x AS r FROM t ORDER BY id LIMIT 10');
SELECT derive.create_view('cast_', 'SELECT v::int AS n FROM t ORDER BY id LIMIT 3 OFFSET 2');
SELECT derive.create_view('ties', 'SELECT k, 12 / (x * (id - 20)) AS r FROM t WHERE id < 9 OR id = 20 ORDER BY id FETCH FIRST 3 ROWS WITH TIES');
SELECT derive.create_view('tied', 'SELECT 100 / (k - 5) AS r FROM t ORDER BY k LIMIT 25');
SELECT derive.create_view('groups', 'SELECT k, 100 / (max(k) - 5) AS r, count(*) AS n FROM t GROUP BY k ORDER BY k LIMIT 4');
SELECT derive.create_view('groups_of', 'SELECT 10 / (k % 10 - 5) + k AS r FROM t GROUP BY k HAVING count(*) > 1 ORDER BY k DESC LIMIT 3');
SELECT derive.create_view('joined', 'SELECT t.id, 10 / x + coalesce(y, 0) AS r FROM t LEFT JOIN u ON u.id = t.id ORDER BY t.id LIMIT 10');
SELECT derive.create_view('with_subquery', 'SELECT t.id, 10 / x AS r, (SELECT max(u.id) FROM u WHERE u.y = t.x) AS m FROM t ORDER BY t.id LIMIT 10');
SELECT derive.create_view('in_from', 'SELECT r, count(*) AS n FROM (SELECT 10 / x AS r FROM t ORDER BY id LIMIT 10) q GROUP BY r');
SELECT derive.create_view('in_order', 'SELECT array_agg(r) AS a FROM (SELECT 10 / x AS r FROM t ORDER BY id LIMIT 10) q');
SELECT derive.create_view('in_array', 'SELECT ARRAY(SELECT 10 / x FROM t ORDER BY id LIMIT 10) AS a, y FROM u');
SELECT derive.create_view('in_in', 'SELECT id FROM u WHERE y IN (SELECT 10 / x FROM t ORDER BY id LIMIT 10)');
SELECT derive.create_view('in_with', 'WITH q AS NOT MATERIALIZED (SELECT * FROM t WHERE id > 1) SELECT id, 10 / x AS r, (SELECT count(*) FROM q z WHERE z.k = q.k) AS n FROM q ORDER BY id LIMIT 9');
SELECT derive.create_view('whole_row', 'SELECT t, 10 / x AS r FROM t ORDER BY id LIMIT 5');
SELECT derive.create_view('constant', 'SELECT 10 / (g - 4) AS r FROM generate_series(1, 9) g LIMIT 3');
SELECT * FROM oracle_all();
SELECT * FROM divided ORDER BY id;
SELECT derive.plan('SELECT id, 1.0 / x AS r FROM t ORDER BY id LIMIT 10');

-- rows come and go within the limit, and before it
INSERT INTO t VALUES (-1, 3, 3, '7'), (0, 3, 2, '8');
SELECT * FROM oracle_all();
DELETE FROM t WHERE id IN (-1, 0);
UPDATE t SET x = 5 WHERE id IN (2, 10);
UPDATE u SET y = y + 1 WHERE id % 2 = 0;
SELECT * FROM oracle_all();
INSERT INTO t SELECT i, 0, 0, 'x' FROM generate_series(201, 300) i;
DELETE FROM t WHERE id > 150;
SELECT * FROM oracle_all();

-- now the row is one of the first, and the views that show it have no right contents
DELETE FROM t WHERE id = 3;
DO $$ BEGIN FOR i IN 1 .. 300 LOOP EXIT WHEN (SELECT count(*) = 9 FROM derive.views WHERE state = 'failed'); PERFORM pg_sleep(0.1); COMMIT; END LOOP; END $$;
SELECT name, state, error FROM derive_state.view_states WHERE state <> 'ready' ORDER BY name COLLATE "C";
INSERT INTO t VALUES (3, 3, 4, '3');
SELECT count(derive.repair(view)) FROM derive.views;
SELECT * FROM oracle_all();

DROP SCHEMA limit_errors CASCADE;
