-- A publication FOR ALL TABLES publishes people's tables, and nothing of ours.
CREATE SCHEMA publications;
SET search_path = publications, public;
CREATE TABLE p (id int PRIMARY KEY, g int, t text COLLATE "C");
CREATE PUBLICATION everything FOR ALL TABLES;
SELECT count(*) FROM pg_create_logical_replication_slot('everything', 'pgoutput');

SELECT derive.create_view('pv', 'SELECT g, count(*), max(t), avg(id), array_agg(DISTINCT t) FROM p GROUP BY g');
SELECT derive.create_view('pvv', 'SELECT max, sum(count) FROM pv GROUP BY max');
SELECT derive.create_view('ph', 'history', '{p}');
SELECT derive.create_topic('pt', 'a int, b text');
SELECT derive.wait();
SELECT derive.subscribe('pv', 'published');
SELECT count(*) FROM derive.poll('published');
INSERT INTO p SELECT i, i % 3, 't' || i % 5 FROM generate_series(1, 20) i;
UPDATE p SET g = g + 1 WHERE id < 5;
DELETE FROM p WHERE id = 20;
SELECT derive.append('pt', ROW(1, 'x')) IS NOT NULL AS appended;
SELECT count(*) > 0 AS polled FROM derive.poll('published', timeout => '60 s');
SELECT oracle('pv'), oracle('pvv');

SELECT schemaname, count(*) FROM pg_publication_tables
	WHERE pubname = 'everything' AND schemaname IN ('publications', 'derive', 'derive_state') GROUP BY schemaname;
SELECT relname FROM pg_class WHERE relnamespace = 'derive_state'::regnamespace AND relkind NOT IN ('m', 'i', 'v');
SELECT count(*) > 0 AS published, count(*) FILTER (WHERE position('derive_state'::bytea IN data) > 0) AS of_ours
	FROM pg_logical_slot_get_binary_changes('everything', NULL, NULL, 'proto_version', '1', 'publication_names', 'everything');

-- They are materialized views in name only.
INSERT INTO derive_state.views SELECT * FROM derive_state.views;
DELETE FROM derive_state.position;
REFRESH MATERIALIZED VIEW derive_state.views;
REFRESH MATERIALIZED VIEW derive_state.position WITH NO DATA;
SELECT derive_state.is_written_by_us();
SELECT derive.maintain('derive_state.views');
SELECT derive.create_view('over', 'SELECT count(*) FROM derive_state.views');
-- each has a query, which pg_upgrade makes it by
SELECT count(*) > 8 AS several, count(*) FILTER (WHERE pg_get_viewdef(oid) LIKE '%NULL::%WHERE derive_state.is_written_by_us();') = count(*) AS all
	FROM pg_class WHERE relnamespace = 'derive_state'::regnamespace AND relkind = 'm';

-- and people's types and collations go without the extension
CREATE SCHEMA going;
CREATE TYPE going.mood AS ENUM ('a', 'b');
CREATE TYPE going.pair AS (x int, y text);
CREATE COLLATION going.coll FROM "C";
CREATE TABLE kept (g int, m going.mood, p going.pair, t text COLLATE going.coll);
SELECT derive.create_view('pg', 'SELECT g, max(m), max(t) AS t, array_agg(p) FROM kept GROUP BY g');
SELECT derive.create_view('pd', 'SELECT DISTINCT m, p, t FROM kept');
SELECT derive.create_view('pk', 'SELECT g, count(*) FROM kept GROUP BY g');
INSERT INTO kept VALUES (1, 'a', ROW(1, 'x'), 'y');
SELECT oracle('pg'), oracle('pd'), oracle('pk');
SET client_min_messages = warning;
DROP SCHEMA going CASCADE;
RESET client_min_messages;
INSERT INTO kept VALUES (1);
SELECT oracle('pk');
SELECT view FROM derive.views WHERE view::text ~ '^p[gdk]$';

SELECT count(*) FROM pg_drop_replication_slot('everything');
DROP PUBLICATION everything;
SET client_min_messages = warning;
DROP SCHEMA publications CASCADE;
