-- A value without an equality operator is known by its text where its bytes say nothing.
CREATE EXTENSION pg_derive;
CREATE EXTENSION padded_type;

CREATE TYPE labelled AS (label text, value padded);
CREATE TABLE measures (g int, x double precision);
INSERT INTO measures SELECT i % 4, i % 10 + 0.1 FROM generate_series(1, 60) i;
SELECT derive.create_view(name, query) FROM (VALUES
	('extent', 'SELECT padded_max(x) FROM measures'),
	('extents', 'SELECT g, padded_max(x) FROM measures GROUP BY g'),
	('rows', 'SELECT padded(x) FROM measures'),
	('pairs', 'SELECT padded(a.x), padded(b.x) AS other FROM measures a JOIN measures b ON a.g = b.g + 1'),
	('arrays', 'SELECT ARRAY[padded(x), NULL, padded(-x)] FROM measures'),
	('records', 'SELECT (''l'' || g, padded(x))::labelled AS r, ARRAY[(''m'', padded(x))::labelled] AS rs FROM measures'),
	('listed', 'SELECT g, array_agg(padded(x)) FROM measures GROUP BY g'),
	('over_view', 'SELECT r FROM records WHERE (r).label <> ''l1''')) AS v(name, query);
SELECT derive.wait(timeout => '60 s');
SELECT * FROM derive.verify();

-- rows go, come and change; several groups in one transaction
BEGIN;
DELETE FROM measures WHERE x = 3.1;
UPDATE measures SET x = x + 5 WHERE g = 2;
INSERT INTO measures SELECT i % 3, i + 0.1 FROM generate_series(1, 9) i;
UPDATE measures SET g = 0 WHERE x = 7.1 AND g = 1;
COMMIT;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM derive.verify();
SET extra_float_digits = 0;
SELECT * FROM derive.verify();
RESET extra_float_digits;
SELECT count(*) FROM (SELECT padded(x)::text FROM measures EXCEPT ALL SELECT padded::text FROM rows) d;
SELECT count(*) FROM (SELECT padded::text FROM rows EXCEPT ALL SELECT padded(x)::text FROM measures) d;

-- what differs in its text is found
DELETE FROM measures WHERE ctid IN (SELECT ctid FROM measures WHERE x = 8.1 LIMIT 2);
SELECT derive.wait(timeout => '60 s');
SELECT * FROM derive.verify();
SELECT derive.repair('rows'), derive.repair('pairs');
SELECT derive.wait(timeout => '60 s');
SELECT * FROM derive.verify() WHERE missing + extra > 0;
