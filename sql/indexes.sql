-- The indexes that rows are found by come and go.
SET client_min_messages = warning;

-- REINDEX CONCURRENTLY puts other indexes in the place of those that rows are
-- found by, and people drop indexes that they do not know.
CREATE TABLE items (id integer PRIMARY KEY, g integer, v integer);
INSERT INTO items SELECT i, i % 5, i FROM generate_series(1, 50) i;
SELECT derive.create_view('sums', $$SELECT g, sum(v) AS s FROM items GROUP BY g$$);
SELECT derive.create_view('small', $$SELECT q.s FROM (SELECT DISTINCT g, v % 3 AS s FROM items) q$$);
SELECT * FROM oracle_all();
REINDEX TABLE CONCURRENTLY sums;
REINDEX TABLE CONCURRENTLY small;
UPDATE items SET v = v + 1, g = g + 1 WHERE id % 2 = 0;
SELECT * FROM oracle_all();
REINDEX SCHEMA CONCURRENTLY derive_state;
UPDATE items SET v = v + 1, g = g + 1 WHERE id % 3 = 0;
SELECT * FROM oracle_all();
DROP INDEX sums_g_idx;
DELETE FROM items WHERE id % 4 = 0;
SELECT * FROM oracle_all();
SELECT name, state, error FROM derive_state.view_states ORDER BY name;
DROP TABLE items CASCADE;
