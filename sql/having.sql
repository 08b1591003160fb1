-- HAVING without groups and aggregates: one row or none, and no row of FROM is evaluated.
CREATE SCHEMA having_;
SET search_path = having_, public;
CREATE TABLE t (id int PRIMARY KEY, x int);
CREATE TABLE u (id int PRIMARY KEY, x int);
INSERT INTO t VALUES (1, 0), (2, 1);
INSERT INTO u VALUES (1, 1), (2, 1), (3, 2);

SET client_min_messages = warning;
SELECT derive.create_view('always', 'SELECT 1 AS one FROM t WHERE 1 / x > 0 HAVING true');
SELECT derive.create_view('never', 'SELECT 1 AS one FROM t HAVING false');
SELECT derive.create_view('no_set', 'SELECT 1 AS one FROM t WHERE 1 / x > 0 GROUP BY ()');
SELECT derive.create_view('if_any', 'SELECT 2 AS two FROM t WHERE 1 / x > 0 HAVING EXISTS (SELECT FROM u WHERE u.x = 2)');
SELECT derive.create_view('how_many', 'SELECT (SELECT count(*) FROM u) AS n FROM t JOIN u ON u.x = 1 / t.x HAVING (SELECT max(id) FROM u) > 2');
SELECT derive.create_view('inside', 'SELECT id, EXISTS (SELECT FROM t WHERE 1 / x > u.x HAVING u.x > 1) AS e FROM u');
SELECT derive.create_view('in_from', 'SELECT u.id, q.one FROM u, (SELECT 1 AS one FROM t WHERE 1 / x > 0 HAVING (SELECT count(*) FROM u) > 2) q');
SELECT derive.create_view('united', 'SELECT id FROM u UNION ALL SELECT 0 FROM t WHERE 1 / x > 0 HAVING EXISTS (SELECT FROM u WHERE id = 3)');
SELECT derive.create_view('limited', 'SELECT generate_series(1, 3) AS g FROM t HAVING true ORDER BY g DESC LIMIT 2');
SELECT derive.create_view('window_', 'SELECT count(*) OVER () AS n FROM t WHERE 1 / x > 0 HAVING EXISTS (SELECT FROM u)');
SELECT derive.create_view('grouped', 'SELECT count(*) AS n FROM t HAVING count(*) > 1');
SELECT * FROM oracle_all();
INSERT INTO t VALUES (3, 0);
DELETE FROM u WHERE id = 3;
SELECT * FROM oracle_all();
SELECT (SELECT count(*) FROM if_any) AS if_any, (SELECT count(*) FROM how_many) AS how_many, (SELECT count(*) FROM in_from) AS in_from;
INSERT INTO u VALUES (3, 2), (4, 3);
TRUNCATE t;
SELECT * FROM oracle_all();
TRUNCATE u;
SELECT * FROM oracle_all();
SELECT derive.explain('always');

DROP SCHEMA having_ CASCADE;
