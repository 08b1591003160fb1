-- What a query guards is not evaluated for rows that it leaves out, wherever the rows are looked for.
CREATE SCHEMA guards;
SET search_path = guards, public;
CREATE TABLE f (id int PRIMARY KEY, kind text, x int, v text);
CREATE TABLE g (id int PRIMARY KEY, kind text, y int, v text);
INSERT INTO f SELECT i, CASE i % 3 WHEN 0 THEN 'int' ELSE 'text' END, i % 4, CASE i % 3 WHEN 0 THEN (i % 5)::text ELSE 'abc' END
FROM generate_series(1, 40) i;
INSERT INTO g SELECT i, CASE i % 3 WHEN 0 THEN 'int' ELSE 'text' END, i % 7, CASE i % 3 WHEN 0 THEN (i % 5)::text ELSE 'abc' END
FROM generate_series(1, 40) i;

-- A view whose changes cannot be computed is computed anew, and counts none: which are these?
CREATE TABLE counted (view regclass, changes bigint);
CREATE FUNCTION count_changes() RETURNS void LANGUAGE sql AS $$
	DELETE FROM guards.counted;
	INSERT INTO guards.counted SELECT view, changes_in FROM derive.stats;
$$;
CREATE FUNCTION computed_anew() RETURNS SETOF regclass LANGUAGE plpgsql AS $$
BEGIN
	PERFORM derive.wait(timeout => '60 s');
	FOR i IN 1 .. 50 LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM derive.stats JOIN guards.counted USING (view) WHERE changes_in <= changes);
		PERFORM pg_sleep(0.1);
	END LOOP;
	RETURN QUERY SELECT view FROM derive.stats JOIN guards.counted USING (view) WHERE changes_in <= changes ORDER BY view::text COLLATE "C";
END $$;

SET client_min_messages = warning;
SELECT derive.create_view('case_in', 'SELECT id, CASE WHEN x <> 0 THEN 10 / x IN (SELECT y FROM g) END AS r FROM f');
SELECT derive.create_view('case_not_in', 'SELECT id, CASE x WHEN 0 THEN false WHEN 17 THEN 1 / x = 0 ELSE 10 / x NOT IN (SELECT y FROM g WHERE y IS NOT NULL) END AS r FROM f');
SELECT derive.create_view('case_when', 'SELECT id, CASE WHEN x = 0 THEN 0 WHEN 10 / x IN (SELECT y FROM g) THEN 1 ELSE 2 END AS r FROM f');
SELECT derive.create_view('case_row', 'SELECT id, CASE WHEN x <> 0 THEN (10 / x, kind) IN (SELECT y, kind FROM g) END AS r FROM f');
SELECT derive.create_view('case_in_case', 'SELECT id, CASE WHEN kind = ''int'' THEN CASE WHEN v <> ''0'' THEN 4 / v::int IN (SELECT y FROM g) END END AS r FROM f');
SELECT derive.create_view('case_exists', 'SELECT id, CASE WHEN x <> 0 THEN EXISTS (SELECT FROM g WHERE g.y = 10 / f.x) END AS r FROM f');
SELECT derive.create_view('case_less', 'SELECT id, CASE WHEN x <> 0 THEN EXISTS (SELECT FROM g WHERE g.y < 10 / f.x) END AS r FROM f');
SELECT derive.create_view('case_scalar', 'SELECT id, CASE WHEN kind = ''int'' THEN (SELECT max(g.id) FROM g WHERE g.y = f.v::int) END AS r FROM f');
SELECT derive.create_view('case_array', 'SELECT id, CASE WHEN kind = ''int'' THEN ARRAY(SELECT g.id FROM g WHERE g.y = f.v::int ORDER BY id) END AS r FROM f');
SELECT derive.create_view('case_where', 'SELECT id FROM f WHERE CASE WHEN x <> 0 THEN 10 / x IN (SELECT y FROM g) ELSE true END');
SELECT derive.create_view('or_in', 'SELECT id FROM f WHERE x = 0 OR 10 / x IN (SELECT y FROM g)');
SELECT derive.create_view('and_in', 'SELECT id, x <> 0 AND 10 / x IN (SELECT y FROM g) AS r FROM f');
SELECT derive.create_view('coalesce_in', 'SELECT id, coalesce(nullif(x = 0, false), 10 / x IN (SELECT y FROM g)) AS r FROM f');
SELECT derive.create_view('two', 'SELECT id FROM f WHERE x = 0 OR kind IN (SELECT kind FROM g WHERE y = 9) OR 10 / x IN (SELECT y FROM g)');
SELECT derive.create_view('below', 'SELECT id, CASE WHEN x <> 0 THEN EXISTS (SELECT FROM g WHERE g.y = 10 / f.x AND EXISTS (SELECT FROM g h WHERE h.id = g.id + 1 AND h.y > f.x)) END AS r FROM f');
SELECT derive.create_view('inside', 'SELECT id FROM f WHERE EXISTS (SELECT FROM g WHERE f.kind = ''int'' AND g.y = f.v::int)');
SELECT derive.create_view('of_both', 'SELECT id FROM f WHERE EXISTS (SELECT FROM g WHERE g.kind = f.kind AND f.kind = ''int'' AND g.v::int = f.x)');
SELECT derive.create_view('as_case', 'SELECT id, (SELECT count(*) FROM g WHERE g.kind = f.kind AND CASE WHEN f.kind = ''int'' THEN g.v::int = f.x END) AS n FROM f');
SELECT derive.create_view('sums', 'SELECT kind, sum(10 / x) FILTER (WHERE x <> 0) AS s, count(DISTINCT 10 / x) FILTER (WHERE x <> 0) AS d, max(10 / x) FILTER (WHERE x <> 0) AS m, array_agg(10 / x ORDER BY id) FILTER (WHERE x <> 0) AS a, (SELECT count(*) FROM g) AS n FROM f GROUP BY kind');
SELECT derive.create_view('sums_in', 'SELECT kind, count(*) FILTER (WHERE x <> 0 AND 10 / x IN (SELECT y FROM g)) AS s, sum((SELECT max(id) FROM g WHERE y = 10 / f.x)) FILTER (WHERE x <> 0) AS c FROM f GROUP BY kind');
SELECT derive.create_view('grouped', 'SELECT x, CASE WHEN x <> 0 THEN 10 / x IN (SELECT y FROM g) END AS r, CASE WHEN x <> 0 THEN 100 / x * count(*) END AS n FROM f GROUP BY x');
SELECT derive.create_view('having_', 'SELECT kind, x, count(*) AS n FROM f GROUP BY kind, x HAVING min(x) = 0 OR 10 / min(x) IN (SELECT y FROM g)');
SELECT derive.create_view('windows', 'SELECT id, sum(10 / x) FILTER (WHERE x <> 0) OVER (PARTITION BY kind) AS s, CASE WHEN x <> 0 THEN 10 / x IN (SELECT y FROM g) END AS r FROM f');
SELECT * FROM oracle_all();

-- each change concerns all of them
SELECT count_changes();
INSERT INTO g VALUES (101, 'int', 3, '3'), (102, 'text', 10, 'q'), (103, 'text', NULL, NULL);
SELECT computed_anew();
SELECT * FROM oracle_all();
SELECT count_changes();
DELETE FROM g WHERE y = 5 OR y IS NULL;
SELECT computed_anew();
SELECT * FROM oracle_all();
SELECT count_changes();
UPDATE g SET y = 5 WHERE id IN (3, 4);
SELECT computed_anew();
SELECT * FROM oracle_all();
SELECT count_changes();
INSERT INTO f VALUES (101, 'int', 3, '3'), (102, 'text', 10, 'q'), (103, 'text', 0, 'z'), (104, NULL, NULL, NULL);
SELECT computed_anew();
SELECT * FROM oracle_all();
SELECT count_changes();
UPDATE f SET x = 0, kind = 'text', v = 'x' WHERE id IN (5, 101);
UPDATE g SET y = y + 1, v = '1', kind = 'int' WHERE id % 5 = 1;
SELECT computed_anew();
SELECT * FROM oracle_all();

DROP SCHEMA guards CASCADE;
