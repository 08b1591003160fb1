-- Sub-queries in FROM that refer to what is around them, and sets of rows in other places than FROM.

-- An outer reference to a query further out than the next one.
CREATE TABLE a (id int PRIMARY KEY, x int, arr int[], s text);
CREATE TABLE b (id int PRIMARY KEY, x int, y int);
CREATE TABLE c (x int, z int, s varchar(10));
INSERT INTO a SELECT i, i % 5, ARRAY[i, i + 1], 's' || i % 3 FROM generate_series(1, 12) i;
INSERT INTO b SELECT i, i % 5, i % 3 FROM generate_series(1, 12) i;
INSERT INTO c SELECT i % 4, i % 3, 's' || i % 4 FROM generate_series(1, 12) i;
SELECT derive.create_view('lateral_group', 'SELECT a.id, q.n FROM a, LATERAL (SELECT n FROM (SELECT count(*) n FROM b WHERE b.x = a.x) r) q');
SELECT derive.create_view('lateral_distinct', 'SELECT a.id, q.n FROM a, LATERAL (SELECT b.y n FROM b WHERE b.x = a.x UNION ALL (SELECT DISTINCT z FROM c WHERE c.x = a.x)) q');

-- A LATERAL UNION ALL in its state before the batch lies one level deeper.
SELECT derive.create_view('lateral_union', 'SELECT a.id, q.y FROM a, LATERAL (SELECT b.y FROM b WHERE b.x = a.x UNION ALL SELECT c.z FROM c WHERE c.x = a.x) q');
SELECT derive.create_view('lateral_cte', 'WITH w AS (SELECT x, id FROM a WHERE x > 1) SELECT b.id, q.id AS aid FROM b, LATERAL (WITH z AS (SELECT * FROM w WHERE w.x = b.x) SELECT * FROM z UNION ALL SELECT z1.* FROM z z1 JOIN z z2 ON z1.id = z2.id + 5) q');
SELECT derive.wait(timeout => '60 s');
BEGIN;
UPDATE a SET x = x + 1 WHERE id % 3 = 0;
UPDATE b SET x = x + 1 WHERE id % 4 = 0;
UPDATE c SET x = x + 1 WHERE z = 1;
DELETE FROM b WHERE id IN (3, 7);
COMMIT;
SELECT * FROM oracle_all();

-- A set-returning function that only ORDER BY has multiplies the rows.
SELECT derive.create_view('order_set', 'SELECT x FROM a ORDER BY generate_series(1, 2)');
SELECT derive.create_view('order_set_inside', 'SELECT q.x FROM (SELECT x FROM a ORDER BY unnest(arr)) q');
SELECT derive.create_view('group_set', 'SELECT count(*) FROM a GROUP BY generate_series(1, 2) ORDER BY generate_series(1, 2)');

-- IN with a sub-query that reads no table is a function of the row.
SELECT derive.create_view('in_values', 'SELECT a.id FROM a JOIN b ON (a.x, a.id) IN (VALUES (b.x, b.id), (b.y, b.x), (1, 2))');
UPDATE a SET x = 1, arr = '{}' WHERE id = 2;
UPDATE b SET y = 2, x = 3 WHERE id = 2;
SELECT * FROM oracle_all();
DROP TABLE a, b, c CASCADE;
