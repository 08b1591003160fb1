-- WITH RECURSIVE, maintained step by step.
CREATE TABLE edge (id serial PRIMARY KEY, a int, b int);
CREATE INDEX ON edge (a);
CREATE INDEX ON edge (b);
CREATE TABLE starts (n int, label text);
CREATE TABLE person (id int PRIMARY KEY, manager int, name text);
CREATE TABLE part (whole text, piece text, quantity numeric);
INSERT INTO edge (a, b) VALUES (1, 2), (2, 3), (3, 4), (4, 2), (5, 6), (6, 5), (7, 7), (8, NULL), (NULL, 1), (4, 8);
INSERT INTO starts VALUES (1, 'one'), (5, 'five'), (NULL, NULL);
INSERT INTO person SELECT n, nullif(n / 3, 0), 'p' || n FROM generate_series(1, 60) n;
INSERT INTO part VALUES ('car', 'wheel', 4), ('wheel', 'bolt', 5.0), ('wheel', 'rim', 1), ('car', 'engine', 1), ('engine', 'bolt', 20), ('engine', 'valve', 8.50), ('bolt', 'steel', 0.1);
SET client_min_messages = warning;

-- the views that are not what their queries say, or not there in time
CREATE FUNCTION differing() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s: %s', name, CASE WHEN derive.wait(view, timeout => '100 s') THEN rows_that_differ(view) END), ', ' ORDER BY name)
	FROM derive_state.view_states WHERE NOT derive.wait(view, timeout => '100 s') OR rows_that_differ(view) > 0 $$;

-- none of these is computed anew as a whole
SET pg_derive.allow_recompute = off;
SELECT count(derive.create_view(name, query)) FROM (VALUES
	-- sets
	('closure', 'WITH RECURSIVE x(a, b) AS (SELECT a, b FROM edge UNION SELECT x.a, e.b FROM x JOIN edge e ON e.a = x.b) SELECT * FROM x'),
	('closure_left', 'WITH RECURSIVE x(a, b) AS (SELECT a, b FROM edge UNION SELECT e.a, x.b FROM edge e, x WHERE e.b = x.a) SELECT * FROM x'),
	('reachable', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT e.b FROM x JOIN edge e ON e.a = x.n) SELECT n FROM x'),
	('from_one', 'WITH RECURSIVE x AS (VALUES (1) UNION SELECT b FROM x JOIN edge ON a = column1) SELECT * FROM x'),
	('nowhere', 'WITH RECURSIVE x(n) AS (SELECT 1 WHERE false UNION SELECT b FROM x JOIN edge ON a = n) SELECT * FROM x'),
	('bounded', 'WITH RECURSIVE x(n, d) AS (SELECT n, 0 FROM starts UNION SELECT b, d + 1 FROM x JOIN edge ON a = n WHERE d < 6) SELECT n, min(d) FROM x GROUP BY n'),
	('texts', 'WITH RECURSIVE x(p) AS (SELECT label FROM starts UNION SELECT p || ''.'' || b FROM x JOIN edge ON length(p) = a WHERE length(p) < 12) SELECT p FROM x'),
	('grouped_base', 'WITH RECURSIVE x(n, c) AS (SELECT a, count(*) FROM edge GROUP BY a UNION SELECT b, c FROM x JOIN edge ON a = n) SELECT * FROM x'),
	('base_of_two', 'WITH RECURSIVE x(n) AS ((SELECT n FROM starts UNION ALL SELECT max(a) FROM edge) UNION SELECT b FROM x JOIN edge ON a = n) SELECT * FROM x'),
	('base_without', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts EXCEPT SELECT b FROM edge UNION SELECT b FROM x JOIN edge ON a = n) SELECT * FROM x'),
	('outer', 'WITH RECURSIVE x(n, l) AS (SELECT n, label FROM starts UNION SELECT e.b, s.label FROM x LEFT JOIN edge e ON e.a = x.n LEFT JOIN starts s ON s.n = e.b) SELECT * FROM x'),
	('outer_right', 'WITH RECURSIVE x(n, l) AS (SELECT n, label FROM starts UNION SELECT e.b, l FROM edge e RIGHT JOIN x ON e.a = x.n) SELECT * FROM x'),
	('unless', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT b FROM x JOIN edge e ON a = n WHERE NOT EXISTS (SELECT FROM edge f WHERE f.a = e.b AND f.b = e.a)) SELECT * FROM x'),
	('sublinks', 'WITH RECURSIVE x(n, c) AS (SELECT n, 0 FROM starts UNION SELECT b, (SELECT count(*)::int FROM starts WHERE starts.n <= b) FROM x JOIN edge ON a = n) SELECT * FROM x'),
	('inner_group', 'WITH RECURSIVE x(n, m) AS (SELECT n, 0 FROM starts UNION SELECT e.b, e.m FROM x JOIN (SELECT a, max(b) AS b, count(*)::int AS m FROM edge GROUP BY a) e ON e.a = x.n) SELECT * FROM x'),
	('lateral_step', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT l.b FROM x, LATERAL (SELECT min(b) AS b FROM edge WHERE a = x.n) l) SELECT * FROM x'),
	('sets_in_step', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT generate_series(b, b + 1) FROM x JOIN edge ON a = n) SELECT * FROM x'),
	('distinct_step', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT DISTINCT b FROM x JOIN edge ON a = n) SELECT * FROM x'),
	('two_tables', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT f.b FROM x JOIN edge e ON e.a = n JOIN edge f ON f.a = e.b JOIN starts s ON s.n <> f.b) SELECT * FROM x'),
	('chart', 'WITH RECURSIVE x(id, name, depth, path) AS (SELECT id, name, 0, ''/'' || id || ''/'' FROM person WHERE manager IS NULL UNION SELECT p.id, p.name, depth + 1, path || p.id || ''/'' FROM x JOIN person p ON p.manager = x.id AND path NOT LIKE ''%/'' || p.id || ''/%'') SELECT * FROM x'),
	-- multisets
	('paths', 'WITH RECURSIVE x(a, b, d) AS (SELECT a, b, 1 FROM edge UNION ALL SELECT x.a, e.b, d + 1 FROM x JOIN edge e ON e.a = x.b WHERE d < 5) SELECT * FROM x'),
	('shortest', 'WITH RECURSIVE x(a, b, d) AS (SELECT a, b, 1 FROM edge UNION ALL SELECT x.a, e.b, d + 1 FROM x JOIN edge e ON e.a = x.b WHERE d < 5) SELECT a, b, min(d), count(*) FROM x GROUP BY a, b'),
	('bill', 'WITH RECURSIVE x(whole, piece, quantity) AS (SELECT whole, piece, quantity FROM part UNION ALL SELECT x.whole, p.piece, x.quantity * p.quantity FROM x JOIN part p ON p.whole = x.piece) SELECT whole, piece, sum(quantity) AS quantity FROM x GROUP BY whole, piece'),
	('bill_rows', 'WITH RECURSIVE x(whole, piece, quantity) AS (SELECT whole, piece, quantity FROM part WHERE whole = ''car'' UNION ALL SELECT x.whole, p.piece, x.quantity * p.quantity FROM x JOIN part p ON p.whole = x.piece) SELECT * FROM x'),
	('chart_all', 'WITH RECURSIVE x(id, name, depth, path) AS (SELECT id, name, 0, name FROM person WHERE manager IS NULL UNION ALL SELECT p.id, p.name, depth + 1, path || ''/'' || p.name FROM x JOIN person p ON p.manager = x.id WHERE depth < 8) SELECT * FROM x'),
	('unless_all', 'WITH RECURSIVE x(n, d) AS (SELECT n, 0 FROM starts UNION ALL SELECT b, d + 1 FROM x JOIN edge e ON a = n WHERE d < 4 AND NOT EXISTS (SELECT FROM edge f WHERE f.a = e.b AND f.b = e.a)) SELECT * FROM x'),
	('no_source', 'WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 9) SELECT n, label FROM x LEFT JOIN starts USING (n)'),
	-- several of them, and what is around
	('siblings', 'WITH RECURSIVE e AS (SELECT a, b FROM edge WHERE a < 6), x(n) AS (SELECT n FROM starts UNION SELECT b FROM x JOIN e ON a = n), y(n, m) AS (SELECT n, n FROM x UNION SELECT y.n, e.b FROM y JOIN e ON e.a = y.m JOIN x ON x.n = e.b), z AS (SELECT n, count(*) AS c FROM y GROUP BY n) SELECT y.n, m, c FROM y LEFT JOIN z USING (n)'),
	('twice', 'WITH RECURSIVE x(a, b) AS (SELECT a, b FROM edge UNION SELECT x.a, e.b FROM x JOIN edge e ON e.a = x.b) SELECT v.a, w.b FROM x v JOIN x w ON v.b = w.a WHERE v.a = w.b'),
	('around', 'SELECT s.label, count(*) FROM starts s LEFT JOIN (WITH RECURSIVE x(a, b) AS (SELECT a, b FROM edge UNION SELECT x.a, e.b FROM x JOIN edge e ON e.a = x.b) SELECT * FROM x) x ON x.a = s.n GROUP BY s.label'),
	('not_in', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT b FROM x JOIN edge ON a = n) SELECT id FROM person WHERE id NOT IN (SELECT n FROM x WHERE n IS NOT NULL)'),
	('united', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT b FROM x JOIN edge ON a = n) SELECT n FROM x EXCEPT SELECT b FROM edge WHERE a = 1 UNION ALL SELECT n FROM x GROUP BY GROUPING SETS ((n), ())'),
	('whole_rows', 'WITH RECURSIVE x(n, t) AS (SELECT n, ''start'' FROM starts UNION SELECT e.b, left(to_jsonb(y)::text, 40) FROM x AS y(p, q) JOIN edge e ON e.a = y.p) SELECT e.id, to_jsonb(x) AS j, x IS NULL AS missing FROM edge e LEFT JOIN x ON x.n = e.a')
) AS v (name, query);
RESET pg_derive.allow_recompute;
SELECT * FROM oracle_all();
SELECT regexp_replace(line, '(state|rows)_\d+', '\1_N', 'g') FROM derive.explain('closure') line;
SELECT regexp_replace(line, '(state|rows)_\d+', '\1_N', 'g') FROM derive.explain('bill') line;

-- insertions
INSERT INTO edge (a, b) VALUES (4, 5);
SELECT differing();
INSERT INTO edge (a, b) VALUES (1, 2), (6, 9), (9, 1), (NULL, NULL);
INSERT INTO starts VALUES (7, 'seven'), (1, 'one');
SELECT differing();
-- deletions: a cycle that hangs on one edge, one of two equal edges, a row of which the other is left
DELETE FROM edge WHERE a = 6 AND b = 9;
SELECT differing();
DELETE FROM edge WHERE id = (SELECT min(id) FROM edge WHERE a = 1);
SELECT differing();
DELETE FROM edge WHERE a = 1;
SELECT differing();
DELETE FROM starts WHERE label = 'one' OR label IS NULL;
SELECT differing();
SELECT * FROM reachable ORDER BY n;
-- updates: of keys, and what changes nothing
INSERT INTO edge (a, b) VALUES (1, 2), (1, 3);
INSERT INTO starts VALUES (1, 'one');
UPDATE edge SET b = 4 WHERE a = 1 AND b = 3;
UPDATE edge SET a = b, b = a WHERE a = 2;
UPDATE edge SET id = id + 1000;
SELECT differing();
UPDATE person SET manager = 2 WHERE id = 3;
UPDATE person SET manager = 60 WHERE id = 2;
SELECT differing();
UPDATE person SET manager = NULL WHERE id = 2;
UPDATE person SET id = 100 WHERE id = 5;
UPDATE person SET name = 'chief' WHERE id = 1;
SELECT differing();
UPDATE part SET quantity = quantity * 2 WHERE piece = 'bolt';
INSERT INTO part VALUES ('wheel', 'bolt', 5.00), ('valve', 'spring', 2), ('spring', 'steel', 0.01);
DELETE FROM part WHERE whole = 'car' AND piece = 'engine';
SELECT differing();
TABLE bill ORDER BY whole, piece;

-- several tables in one transaction, savepoints
BEGIN;
INSERT INTO edge (a, b) VALUES (3, 7), (7, 1), (8, 5);
DELETE FROM starts WHERE n = 7;
SAVEPOINT s;
INSERT INTO edge (a, b) VALUES (5, 1);
DELETE FROM edge WHERE a = 4;
ROLLBACK TO s;
DELETE FROM edge WHERE a = 7 AND b = 7;
UPDATE person SET manager = manager + 1 WHERE id % 4 = 0;
COMMIT;
SELECT differing();
BEGIN;
DELETE FROM edge WHERE a = 3;
INSERT INTO edge (a, b) VALUES (3, 4), (5, 3);
UPDATE starts SET n = n + 1;
INSERT INTO starts VALUES (5, 'five');
COMMIT;
SELECT differing();
-- a derivation goes and the only other one comes, by another table and along a cycle that is closed by the same transaction
BEGIN;
DELETE FROM edge;
DELETE FROM starts;
INSERT INTO starts VALUES (1, 'one');
INSERT INTO edge (a, b) VALUES (1, 2), (2, 3), (3, 4), (4, 2);
COMMIT;
SELECT differing();
BEGIN;
DELETE FROM edge WHERE a = 1;
INSERT INTO edge (a, b) VALUES (3, 2), (1, 5);
COMMIT;
SELECT differing();
SELECT * FROM reachable ORDER BY n;
BEGIN;
INSERT INTO edge (a, b) VALUES (5, 3);
DELETE FROM edge WHERE a = 4;
COMMIT;
SELECT differing();

-- any changes at all
SELECT setseed(0.3);
CREATE PROCEDURE shake(rounds int) LANGUAGE plpgsql AS $$
DECLARE
	wrong text;
BEGIN
	FOR i IN 1..rounds LOOP
		FOR j IN 1..(1 + random() * 3)::int LOOP
			CASE (random() * 7)::int
				WHEN 0, 1 THEN INSERT INTO edge (a, b) SELECT random() * 9, random() * 9 FROM generate_series(1, (random() * 3)::int);
				WHEN 2, 3 THEN DELETE FROM edge WHERE id IN (SELECT id FROM edge ORDER BY random() LIMIT 2);
				WHEN 4 THEN UPDATE edge SET a = b, b = (random() * 9)::int WHERE id IN (SELECT id FROM edge ORDER BY random() LIMIT 2);
				WHEN 5 THEN INSERT INTO starts VALUES ((random() * 9)::int, 'x'); DELETE FROM starts WHERE n = (random() * 9)::int;
				WHEN 6 THEN UPDATE person SET manager = (random() * 60)::int WHERE id % 20 = (random() * 20)::int;
				ELSE UPDATE edge SET b = b + 1 WHERE a = (random() * 9)::int;
			END CASE;
		END LOOP;
		COMMIT;
		IF i % 5 = 0 THEN
			wrong := differing();
			IF wrong IS NOT NULL THEN
				RAISE 'round %: %', i, wrong;
			END IF;
		END IF;
	END LOOP;
END $$;
CALL shake(20);
SELECT * FROM oracle_all();
-- nothing went wrong on the way
SELECT name, state, error FROM derive_state.view_states WHERE state <> 'ready' OR error IS NOT NULL;

-- nothing is known of what changed; old rows from the log
TRUNCATE starts;
SELECT differing();
INSERT INTO starts SELECT n, 's' || n FROM generate_series(1, 3) n;
TRUNCATE edge;
INSERT INTO edge (a, b) VALUES (1, 2), (2, 1), (2, 3);
SELECT differing();

-- a view over one, and one that reads such a view itself
SELECT derive.create_view('over', 'SELECT a, count(*) FROM closure GROUP BY a');
SELECT derive.create_view('again', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT b FROM x JOIN closure ON a = n) SELECT * FROM x');
DELETE FROM edge WHERE a = 1;
INSERT INTO edge (a, b) VALUES (3, 4), (4, 5);
SELECT differing();
CALL shake(10);
SELECT differing();

-- more rows than there is memory for: the whole by difference
ALTER SYSTEM SET pg_derive.work_mem = 64;
SELECT pg_reload_conf();
INSERT INTO edge (a, b) SELECT n, n + 1 FROM generate_series(1, 60) n;
SELECT differing();
DELETE FROM edge WHERE a = 30;
SELECT differing();
ALTER SYSTEM RESET pg_derive.work_mem;
SELECT pg_reload_conf();

-- what does not change step by step says so
DELETE FROM edge;
INSERT INTO edge (a, b) VALUES (1, 2), (2, 1), (2, 3), (3, 4);
SET client_min_messages = notice;
SELECT derive.create_view('searched', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION ALL SELECT b FROM x JOIN edge ON a = n WHERE n < b) SEARCH BREADTH FIRST BY n SET o SELECT n FROM x ORDER BY o');
SELECT derive.create_view('cycles', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION ALL SELECT b FROM x JOIN edge ON a = n) CYCLE n SET c USING p SELECT n, c FROM x');
SELECT derive.create_view('ranked', 'WITH RECURSIVE x(n, r) AS (SELECT n, 1::bigint FROM starts UNION SELECT b, rank() OVER (ORDER BY b) FROM x JOIN edge ON a = n WHERE r < 5) SELECT n, r FROM x');
SELECT derive.create_view('some', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION ALL SELECT n + 1 FROM x WHERE n < 50) SELECT n FROM x ORDER BY n LIMIT 5');
SELECT derive.create_view('beside', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT b FROM x JOIN edge ON a = n), y(n) AS (SELECT n FROM x UNION ALL SELECT b FROM y JOIN edge ON a = n) CYCLE n SET c USING p SELECT n, c FROM y');
-- what SEARCH and CYCLE add says nothing that the other columns do not: it is no reason against UNION
SELECT derive.create_view('cycles_once', 'WITH RECURSIVE x(n) AS (SELECT n FROM starts UNION SELECT b FROM x JOIN edge ON a = n) CYCLE n SET c USING p SELECT c, count(*) FROM x GROUP BY c');
SELECT derive.create_view('searched_once', 'WITH RECURSIVE x(n, m) AS (SELECT n, 1 FROM starts UNION SELECT b, m + 1 FROM x JOIN edge ON a = n WHERE m < 9) SEARCH DEPTH FIRST BY m, n SET o CYCLE n SET c USING p SELECT n, m, c FROM x WHERE NOT c');
INSERT INTO starts VALUES (2, 'more');
DELETE FROM edge WHERE a = 3;
SELECT * FROM oracle_all();

SET client_min_messages = warning;
DROP TABLE edge, starts, person, part CASCADE;
DROP PROCEDURE shake;
DROP FUNCTION differing;
