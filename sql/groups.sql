-- Groups of views: who is in which, what is refused, and views that move.
CREATE TABLE t (id int PRIMARY KEY, k int, x int);
CREATE TABLE u (k int, name text);
INSERT INTO t SELECT i, i % 5, i FROM generate_series(1, 100) i;
INSERT INTO u SELECT i, 'name ' || i FROM generate_series(0, 4) i;
CREATE VIEW places AS SELECT view::text AS name, state, group_name FROM derive.views ORDER BY 1;

-- names
SELECT derive.create_group('default');
SELECT derive.create_group('');
SELECT derive.create_group(NULL);
SELECT derive.create_group('a');
SELECT derive.create_group('a');
SELECT derive.create_group('A "grand" one');
SELECT derive.drop_group('default');
SELECT derive.drop_group('none');
SELECT derive.drop_group('none', if_exists => true);

-- where new views go
SELECT derive.create_view('v', 'SELECT k, count(*) AS n, sum(x) FROM t GROUP BY k');
SET pg_derive.default_group = 'none';
SET pg_derive.default_group = 'default';
BEGIN;
SELECT derive.create_group('none');
SET LOCAL pg_derive.default_group = 'none';
SELECT derive.drop_group('none');
SELECT derive.create_view('w', 'SELECT count(*) FROM t');
SELECT group_name FROM places WHERE name = 'w';
ROLLBACK;
SET pg_derive.default_group = 'a';
SELECT derive.create_view('w', 'SELECT t.id, u.name FROM t JOIN u USING (k)');
-- with what they read
SELECT derive.create_view('over_v', 'SELECT max(n) FROM v');
SET pg_derive.default_group = 'A "grand" one';
SELECT derive.create_view('over_w', 'SELECT name, count(*) FROM w GROUP BY name');
SELECT derive.create_view('both', 'SELECT v.k, w.name FROM v JOIN w ON w.id = v.k');
SELECT derive.create_view('g', 'SELECT DISTINCT name FROM u');
RESET pg_derive.default_group;
SELECT derive.wait();
SELECT * FROM places;
SELECT group_name, views, moving_away, moving_here, slot ~ '^pg_derive_\d+(_\d+)?$' AS slot FROM derive.groups ORDER BY 1;
SELECT count(DISTINCT pid), array_agg(group_name ORDER BY group_name), bool_and(slot IS NOT NULL) FROM derive.worker;
UPDATE t SET k = (k + 1) % 5, x = x + 1 WHERE id % 7 = 0;
DELETE FROM u WHERE k = 3;
SELECT * FROM oracle_all();

-- a view that reads views of two groups, and a replacement that would
SELECT derive.replace_view('v', 'SELECT k, count(*) AS n, sum(x) FROM t JOIN w USING (id) GROUP BY k');
SELECT derive.drop_group('a');

-- moves, with all that is connected
BEGIN;
SELECT derive.move('over_v', 'a');
SELECT derive.wait_moved('v');
ROLLBACK;
SELECT derive.move('v', 'none');
SELECT derive.move('over_v', 'a');
SELECT derive.wait_moved('v', '60 s');
UPDATE t SET x = x - 1 WHERE id % 3 = 0;
SELECT * FROM oracle_all();
SELECT * FROM places;
SELECT derive.create_view('both', 'SELECT v.k, w.name FROM v JOIN w ON w.id = v.k');
SELECT derive.wait('both', '60 s');
SELECT derive.drop_group('a');
SELECT derive.move('w', 'A "grand" one'), derive.wait('both', '60 s');
SELECT derive.wait_moved(view::regclass, '60 s') FROM derive.views;
INSERT INTO t VALUES (1000, 1, 1);
SELECT * FROM oracle_all();
SELECT * FROM places;
SELECT derive.drop_group('a');

-- what is paused, has failed, or has no data
SELECT derive.create_group('b');
SELECT derive.create_view('empty', 'SELECT count(*) FROM u', with_data => false);
SELECT derive.create_view('ratio', 'SELECT id, 10 / (x - 5) AS r FROM t WHERE id < 5');
SELECT derive.wait('ratio', '60 s');
SELECT derive.pause('g');
UPDATE t SET x = 5 WHERE id = 4;
DO $$ BEGIN WHILE (SELECT state <> 'failed' FROM derive.views WHERE view = 'ratio'::regclass) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT derive.move('empty', 'b'), derive.move('g', 'b'), derive.move('ratio', 'b');
SELECT derive.wait_moved('empty', '60 s'), derive.wait_moved('g', '60 s'), derive.wait_moved('ratio', '60 s');
SELECT * FROM places WHERE name IN ('empty', 'g', 'ratio');
UPDATE t SET x = 6 WHERE id = 4;
INSERT INTO u VALUES (7, 'name 7');
SELECT derive.resume('g'), derive.resume('empty');
SELECT derive.repair('ratio');
SELECT * FROM oracle_all();

-- a replacement goes with its view, and is waited for
BEGIN;
SELECT derive.replace_view('g', 'SELECT DISTINCT upper(name) AS name FROM u');
SELECT derive.move('g', 'default');
ROLLBACK;
-- nor does one begin while a view, or one that goes with it, is to move
BEGIN;
SELECT derive.move('over_v', 'b');
SELECT derive.replace_view('v', 'SELECT k, count(*) AS n, sum(x + 1) FROM t GROUP BY k');
ROLLBACK;
SELECT derive.replace_view('g', 'SELECT DISTINCT upper(name) AS name FROM u');
SELECT derive.wait_replaced('g', '60 s');
SELECT * FROM places WHERE name = 'g';
SELECT oracle('g');

-- to where it is; and given up
SELECT derive.move('g', 'b');
SELECT derive.wait_moved('g', '60 s');

-- the label of a view says its group
SELECT objname, regexp_replace(label, ' {.*', '') AS label FROM pg_seclabels WHERE provider = 'pg_derive' AND objname IN ('v', 'g') ORDER BY 1;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW g IS 'maintained';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW g IS 'maintained in "b"';
CREATE MATERIALIZED VIEW by_label AS SELECT count(*) FROM t;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW by_label IS 'maintained in b';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW by_label IS 'maintained in ""';
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW by_label IS 'maintained in "c "" d"';
SELECT oracle('by_label');
SELECT * FROM places WHERE name = 'by_label';

-- a label without a group is of the default group, whatever the setting is
SET pg_derive.default_group = 'b';
CREATE MATERIALIZED VIEW at_once AS SELECT min(x) FROM t;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW at_once IS 'maintained';
CREATE MATERIALIZED VIEW restored AS SELECT min(k) FROM t WITH NO DATA;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW restored IS 'maintained';
REFRESH MATERIALIZED VIEW restored;
RESET pg_derive.default_group;
SELECT oracle('at_once'), oracle('restored');
SELECT * FROM places WHERE name IN ('at_once', 'restored');

-- who may not create a group gets the default one
CREATE ROLE regress_group_user;
ALTER ROLE regress_group_user SET pg_derive.default_group = 'none';
GRANT CREATE ON SCHEMA public TO regress_group_user;
GRANT SELECT ON t TO regress_group_user;
SET ROLE regress_group_user;
CREATE MATERIALIZED VIEW of_user AS SELECT max(x) FROM t;
SECURITY LABEL FOR pg_derive ON MATERIALIZED VIEW of_user IS 'maintained in "e"';
RESET ROLE;
SELECT oracle('of_user');
SELECT * FROM places WHERE name = 'of_user';

DROP VIEW places;
DROP TABLE t, u CASCADE;
REVOKE ALL ON SCHEMA public FROM regress_group_user;
DROP ROLE regress_group_user;
SELECT derive.drop_group(group_name::name) FROM derive.groups WHERE group_name <> 'default';
SELECT group_name FROM derive.groups;
SELECT derive.health();
