-- The sources of views by derivations in C: their columns are known by names, and are altered.

-- The columns of a partition had other names when its rows were logged.
CREATE TABLE edges (a int, b int) PARTITION BY RANGE (a);
CREATE TABLE edges_low (x text, b int, gone int, a int);
ALTER TABLE edges_low DROP COLUMN gone, DROP COLUMN x;
ALTER TABLE edges ATTACH PARTITION edges_low FOR VALUES FROM (0) TO (100);
CREATE TABLE edges_rest PARTITION OF edges DEFAULT;
INSERT INTO edges SELECT i, i + 1 FROM generate_series(1, 5) i;
INSERT INTO edges VALUES (101, 102), (5, 101);
SELECT derive.create_view('reach', derivation => 'reachability', sources => '{edges}');
SELECT oracle('reach');
BEGIN;
ALTER TABLE edges RENAME COLUMN a TO renamed;
INSERT INTO edges VALUES (102, 1);
DELETE FROM edges WHERE renamed = 3;
UPDATE edges SET b = 4 WHERE renamed = 2;
ALTER TABLE edges RENAME COLUMN renamed TO a;
INSERT INTO edges VALUES (6, 7);
COMMIT;
SELECT oracle('reach');
SELECT count(*) FROM reach;
BEGIN;
ALTER TABLE edges RENAME COLUMN a TO c;
ALTER TABLE edges RENAME COLUMN b TO a;
INSERT INTO edges (c, a) VALUES (7, 50);
ALTER TABLE edges RENAME COLUMN a TO b;
ALTER TABLE edges RENAME COLUMN c TO a;
COMMIT;
SELECT oracle('reach');
SELECT count(*) FROM reach WHERE b = 50;
DROP TABLE edges CASCADE;

-- Large values are kept apart from the rows that a derivation is run on from nothing.
CREATE TABLE documents (id int PRIMARY KEY, large text, a int, b int);
INSERT INTO documents SELECT i, (SELECT string_agg(md5(i || '.' || j), '') FROM generate_series(1, 200) j), i % 5, i % 7 FROM generate_series(1, 10) i;
SELECT derive.create_view('versions', derivation => 'history', sources => '{documents}');
SELECT derive.create_view('estimates', derivation => 'approx_distinct', sources => '{documents}', key => '{large}', options => '{"value": "id"}');
SELECT derive.wait();
SELECT oracle('estimates');
SELECT count(*), sum(length(large)) FROM versions;

-- The type of a column changes, which writes all rows anew without a word in the log.
SELECT derive.create_view('reach', derivation => 'reachability', sources => '{documents}', options => '{"source": "a", "target": "b"}');
SELECT derive.create_view('per_node', 'SELECT a, count(*) FROM reach GROUP BY a');
SELECT v, oracle(v) FROM unnest('{estimates,reach,per_node}'::regclass[]) v;
ALTER TABLE documents ALTER b TYPE int USING b + 3;
SELECT v, oracle(v) FROM unnest('{estimates,reach,per_node}'::regclass[]) v;
BEGIN;
INSERT INTO documents VALUES (11, 'y', 1, 100);
ALTER TABLE documents ALTER b TYPE int USING b - 2, ALTER large TYPE text USING left(large, 3);
INSERT INTO documents VALUES (12, 'y', 98, 5);
COMMIT;
SELECT v, oracle(v) FROM unnest('{estimates,reach,per_node}'::regclass[]) v;
SELECT count(*) FROM versions WHERE until IS NULL AND length(large) <= 3;

-- Columns are known by their names, and the names are given to others.
BEGIN;
ALTER TABLE documents RENAME COLUMN a TO c;
ALTER TABLE documents RENAME COLUMN b TO a;
ALTER TABLE documents RENAME COLUMN c TO b;
COMMIT;
SELECT v, oracle(v) FROM unnest('{estimates,reach,per_node}'::regclass[]) v;
ALTER TABLE documents DROP COLUMN a, ADD COLUMN a int DEFAULT 2;
SELECT v, oracle(v) FROM unnest('{estimates,reach,per_node}'::regclass[]) v;
SELECT * FROM reach ORDER BY a, b;
DROP TABLE documents CASCADE;
