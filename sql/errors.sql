-- Expressions of views that fail.
SET client_min_messages = warning;

-- A delta has rows that no snapshot shows: expressions may fail on them.
CREATE TABLE halves (id integer PRIMARY KEY, v integer);
CREATE TABLE others (id integer, w integer);
INSERT INTO halves VALUES (1, 1), (2, 2);
INSERT INTO others VALUES (1, 2), (2, 4);
SELECT derive.create_view('inv', 'SELECT id, 100 / v AS i FROM halves');
SELECT derive.create_view('invs', 'SELECT v, sum(100 / v) AS i FROM halves GROUP BY v');
SELECT derive.create_view('diff', 'SELECT h.id, 100 / (o.w - h.v) AS i FROM halves h JOIN others o USING (id)');
SELECT derive.create_view('above', 'SELECT sum(i) FROM inv');
SELECT * FROM oracle_all();
BEGIN;
INSERT INTO halves VALUES (3, 0);
UPDATE halves SET v = 5 WHERE id = 3;
COMMIT;
SELECT * FROM oracle_all();
BEGIN;
UPDATE halves SET v = 2 WHERE id = 1;
UPDATE others SET w = 3 WHERE id = 1;
COMMIT;
SELECT * FROM oracle_all();
-- but where the query fails, so does the view
INSERT INTO halves VALUES (4, 0);
SELECT derive.wait('inv');
SELECT derive.wait('invs');
DELETE FROM halves WHERE id = 4;
SELECT derive.repair('inv'), derive.repair('invs');
SELECT * FROM oracle_all();

SELECT name, state, error FROM derive_state.view_states ORDER BY name;
DROP TABLE halves, others CASCADE;
