-- Views that read no table: filled once, and never changed by anything but repairs.
CREATE SCHEMA constants;
SET search_path = constants, public;
CREATE TABLE t (id int PRIMARY KEY, k int);
INSERT INTO t SELECT i, i % 4 FROM generate_series(1, 12) i;

SELECT derive.create_view('one', 'SELECT 1 AS one');
SELECT derive.create_view('no_column', 'SELECT');
SELECT derive.create_view('no_row', 'SELECT 1 AS one WHERE false');
SELECT derive.create_view('"values"', 'VALUES (1, ''a''), (2, NULL), (2, NULL)');
SELECT derive.create_view('series', 'SELECT g FROM generate_series(1, 10) g');
SELECT derive.create_view('unnested', $$SELECT x, n FROM unnest(ARRAY['a', 'b', NULL]) WITH ORDINALITY u(x, n)$$);
SELECT derive.create_view('in_select', 'SELECT generate_series(1, 3) AS g, (SELECT max(v) FROM (VALUES (1), (2)) q(v)) AS m');
SELECT derive.create_view('joined', 'SELECT g, v FROM generate_series(1, 5) g LEFT JOIN (VALUES (1), (2), (2)) q(v) ON v = g');
SELECT derive.create_view('lateral', 'SELECT g, h FROM generate_series(1, 4) g CROSS JOIN LATERAL generate_series(1, g) h');
SELECT derive.create_view('exists_', 'SELECT g FROM generate_series(1, 5) g WHERE EXISTS (SELECT FROM (VALUES (1), (2)) q(v) WHERE v = g) OR g IN (SELECT 5)');
SELECT derive.create_view('grouped', 'SELECT g % 3 AS k, count(*) AS n, avg(g) AS a FROM generate_series(1, 10) g GROUP BY 1 HAVING count(*) > 1');
SELECT derive.create_view('rolled_up', 'SELECT g % 2 AS k, count(*) AS n FROM generate_series(1, 10) g GROUP BY ROLLUP (1)');
SELECT derive.create_view('counted', 'SELECT count(*) AS n, sum(x) AS s FROM unnest(ARRAY[0.1, 0.2, 0.3]) x');
SELECT derive.create_view('distinct_', 'SELECT DISTINCT g / 2 AS h FROM generate_series(1, 10) g');
SELECT derive.create_view('distinct_on', 'SELECT DISTINCT ON (g % 3) g FROM generate_series(1, 10) g ORDER BY g % 3, g DESC');
SELECT derive.create_view('windows', 'SELECT g, sum(g) OVER (ORDER BY g) AS s, row_number() OVER () AS n FROM generate_series(1, 5) g');
SELECT derive.create_view('first', 'SELECT g FROM generate_series(1, 10) g ORDER BY g DESC LIMIT 3');
SELECT derive.create_view('some', 'SELECT g FROM generate_series(1, 10) g LIMIT 3');
SELECT derive.create_view('later', 'SELECT g FROM generate_series(1, 10) g ORDER BY g OFFSET 8');
SELECT derive.create_view('united', 'SELECT 1 AS a UNION SELECT 2 UNION SELECT 1');
SELECT derive.create_view('united_all', 'SELECT 1 AS a UNION ALL SELECT 2 UNION ALL (VALUES (1), (3))');
SELECT derive.create_view('without', '(SELECT 1 AS a UNION SELECT 2) EXCEPT SELECT 2 INTERSECT SELECT 2');
SELECT derive.create_view('recursive', 'WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 5) SELECT n FROM x');
SELECT derive.create_view('recursive_set', 'WITH RECURSIVE x(n) AS (VALUES (1) UNION SELECT n * 2 % 7 FROM x), y AS (SELECT 1 AS z) SELECT n, z FROM x, y');
SELECT derive.create_view('calendar', $$SELECT d::date AS day FROM generate_series('2026-01-01', '2026-01-31', interval '1 day') d$$);
SELECT derive.create_view('zoned', $$SELECT '2026-01-01 12:00:00+00'::timestamptz::text AS at$$);
CREATE MATERIALIZED VIEW taken AS SELECT g FROM generate_series(1, 3) g;
SELECT derive.maintain('taken');
SELECT * FROM oracle_all();
SELECT DISTINCT state, maintained FROM derive.views;

-- what there is to say of them
SELECT derive.plan('SELECT DISTINCT g FROM generate_series(1, 3) g');
SELECT derive.explain('grouped');
SELECT derive.explain('windows');

-- Settings are those of the session that declared the view.
SET timezone = 'Asia/Tokyo';
SELECT derive.create_view('zoned_there', $$SELECT '2026-01-01 12:00:00+00'::timestamptz::text AS at$$);
RESET timezone;
SELECT derive.wait('zoned_there');
SELECT at FROM zoned UNION ALL SELECT at FROM zoned_there ORDER BY at;
SELECT missing, extra FROM derive.verify('zoned_there');
DROP MATERIALIZED VIEW zoned_there;

-- Views over them, and joins of tables with them.
SELECT derive.create_view('over', 'SELECT g, n FROM series JOIN grouped ON g = k');
SELECT derive.create_view('over_over', 'SELECT count(*) AS n FROM over');
SELECT derive.create_view('with_table', 'SELECT t.id, s.g FROM t LEFT JOIN series s ON s.g = t.id + 5');
SELECT derive.create_view('in_constant', 'SELECT t.id FROM t WHERE t.id NOT IN (SELECT g FROM series)');
SELECT derive.create_view('by_day', 'SELECT day, count(t.id) AS n FROM calendar LEFT JOIN t ON t.id = extract(day FROM day) GROUP BY day');
SELECT derive.create_view('or_constant', 'SELECT id, k FROM t UNION SELECT 0, 0');
INSERT INTO t VALUES (20, 1), (25, 2);
UPDATE t SET id = 30 WHERE id = 3;
DELETE FROM t WHERE id < 3;
SELECT view, oracle(view) FROM unnest(ARRAY['over', 'over_over', 'with_table', 'in_constant', 'by_day', 'or_constant']::regclass[]) view;
TRUNCATE t;
INSERT INTO t VALUES (1, 1), (11, 1);
SELECT view, oracle(view) FROM unnest(ARRAY['over', 'over_over', 'with_table', 'in_constant', 'by_day', 'or_constant']::regclass[]) view;

-- They include every change that there is, and so do not hold up who waits.
INSERT INTO t VALUES (2, 2);
SELECT derive.wait('series', '60 s', pg_current_wal_insert_lsn());
SELECT derive.wait(timeout => '60 s');

-- Whoever spoils one has it repaired.
SELECT derive.pause('series');
SELECT state FROM derive_state.view_states WHERE name = 'series';
SELECT derive.resume('series');
SELECT oracle('series');
SELECT derive.repair('series');
SELECT derive.repair('with_table');
REFRESH MATERIALIZED VIEW grouped;
SELECT oracle('series'), oracle('with_table'), oracle('grouped'), oracle('over');
SELECT derive.release('taken');
SELECT derive.maintain('taken');
SELECT oracle('taken');

-- One that calls a function follows its definition.
CREATE FUNCTION answer() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 41';
SELECT derive.create_view('answered', 'SELECT constants.answer() AS a');
SELECT derive.create_view('answered_over', 'SELECT a + 1 AS b FROM answered');
SELECT oracle('answered');
CREATE OR REPLACE FUNCTION answer() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 42';
SELECT derive.repair('answered');
SELECT oracle('answered'), oracle('answered_over');
SELECT a, b FROM answered, answered_over;

-- One that fails says so, and harms no other.
SELECT derive.create_view('fails', 'SELECT 1 / g AS x FROM generate_series(0, 1) g');
SELECT derive.wait('fails');
SELECT state, error FROM derive_state.view_states WHERE name = 'fails';
DROP MATERIALIZED VIEW fails;

-- Subscribers see what is there, and no change.
SELECT derive.subscribe('one', 'constant');
SELECT operation, new FROM derive.poll('constant');
SELECT operation, new FROM derive.poll('constant');
SELECT derive.unsubscribe('constant');

-- Another role's, without rights on anything.
CREATE ROLE regress_derive_constant;
GRANT USAGE, CREATE ON SCHEMA constants TO regress_derive_constant;
SET ROLE regress_derive_constant;
SELECT derive.create_view('theirs', 'SELECT g FROM generate_series(1, 2) g');
SELECT derive.wait('theirs');
SELECT g FROM theirs ORDER BY g;
SELECT derive.repair('one');
RESET ROLE;
SELECT oracle('theirs');

-- What changes without any table is none.
SELECT derive.create_view('r', 'SELECT random() AS x');
SELECT derive.create_view('r', 'SELECT now() AS x');
SELECT derive.create_view('r', $$SELECT 1 AS one WHERE now() > '2020-01-01'$$);
SELECT derive.create_view('r', 'SELECT g FROM generate_series(1, 3) g WHERE g > (SELECT random())');
SELECT derive.create_view('r', 'SELECT current_user AS x');
SELECT derive.create_view('r', 'WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x LIMIT 3');
SELECT derive.create_view('r', 'SELECT n FROM (WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x LIMIT 3) q');

SELECT * FROM oracle_all();
SELECT derive.release('one');
DROP MATERIALIZED VIEW series;
SET client_min_messages = warning;
DROP MATERIALIZED VIEW series CASCADE;
DROP SCHEMA constants CASCADE;
DROP ROLE regress_derive_constant;
SELECT count(*) FROM derive.views;
