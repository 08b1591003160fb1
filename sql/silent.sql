-- What changes the rows of a table, or what they mean, without a word in the log: each command with changes before,
-- between and after it, in one transaction, and then the oracle.
CREATE TABLE st (id int PRIMARY KEY, v int, w text);
CREATE TABLE dim (v int PRIMARY KEY, name text);
CREATE TABLE sp (id int, k int, v int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE sp1 PARTITION OF sp FOR VALUES IN (1);
CREATE TABLE sp2 PARTITION OF sp FOR VALUES IN (2) PARTITION BY RANGE (id);
CREATE TABLE sp2a PARTITION OF sp2 FOR VALUES FROM (0) TO (1000);
CREATE TABLE si (id int, v int);
CREATE TABLE sc (extra int) INHERITS (si);
INSERT INTO st SELECT i, i % 3, 'word' || i FROM generate_series(1, 9) i;
INSERT INTO dim SELECT i, 'name' || i FROM generate_series(0, 20) i;
INSERT INTO sp SELECT i, 1 + i % 2, i FROM generate_series(1, 9) i;
INSERT INTO si SELECT i, i FROM generate_series(1, 3) i;
INSERT INTO sc SELECT i, i, i FROM generate_series(4, 6) i;
SELECT derive.create_view('s_rows', 'SELECT id, v FROM st');
SELECT derive.create_view('s_sum', 'SELECT v, count(*), sum(id), max(w) FROM st GROUP BY v');
SELECT derive.create_view('s_over', 'SELECT count(*), sum(sum) FROM s_sum');
SELECT derive.create_view('s_join', 'SELECT st.id, dim.name FROM st JOIN dim USING (v)');
SELECT derive.create_view('s_whole', 'SELECT id, st::text AS whole FROM st');
CREATE TEXT SEARCH DICTIONARY silent_dict (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION silent (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION silent ALTER MAPPING FOR numword, asciiword WITH silent_dict;
SELECT derive.create_view('s_words', $$SELECT id, to_tsvector('silent', w) AS words FROM st$$);
SELECT derive.create_view('s_index', derivation => 'inverted_index', sources => '{st}', options => '{"text": "w", "config": "public.silent"}');
SELECT derive.create_view('s_history', derivation => 'history', sources => '{st}');
SELECT derive.create_view('p_sum', 'SELECT k, count(*), sum(v) FROM sp GROUP BY k');
SELECT derive.create_view('p_history', derivation => 'history', sources => '{sp}');
SELECT derive.create_view('i_sum', 'SELECT count(*), sum(v) FROM si');
SELECT derive.create_view('i_only', 'SELECT count(*), sum(v) FROM ONLY si');
SELECT derive.create_view('i_history', derivation => 'history', sources => '{si}');

-- A history is right if its open versions are the rows that there are.
CREATE FUNCTION history_oracle(history regclass, source regclass, columns text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	differences bigint;
BEGIN
	IF NOT derive.wait(history, timeout => '60 s') THEN
		RETURN 'timeout';
	END IF;
	EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s WHERE until_lsn IS NULL EXCEPT ALL SELECT %1$s FROM %3$s)
					UNION ALL (SELECT %1$s FROM %3$s EXCEPT ALL SELECT %1$s FROM %2$s WHERE until_lsn IS NULL)) d',
				   columns, history, source) INTO differences;
	RETURN CASE WHEN differences > 0 THEN differences || ' differences' ELSE 'exact' END;
END $$;
CREATE FUNCTION all_right() RETURNS TABLE (result text, views text) LANGUAGE sql AS $$
	SELECT r, string_agg(name, ', ' ORDER BY name)
	FROM (SELECT v.name::text, oracle(v.view) AS r FROM derive_state.view_states v WHERE v.name NOT LIKE '%history'
		  UNION ALL SELECT 's_history', history_oracle('s_history', 'st', 'id, v')
		  UNION ALL SELECT 'p_history', history_oracle('p_history', 'sp', 'id, k, v')
		  UNION ALL SELECT 'i_history', history_oracle('i_history', 'si', 'id, v')) o
	GROUP BY r ORDER BY r $$;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM all_right();

-- unlogged for a while
BEGIN;
INSERT INTO st VALUES (10, 1, 'before');
ALTER TABLE st SET UNLOGGED;
INSERT INTO st VALUES (11, 2, 'unlogged'), (12, 3, 'unlogged');
UPDATE st SET v = 10 WHERE id = 1;
DELETE FROM st WHERE id = 2;
ALTER TABLE st SET LOGGED;
INSERT INTO st VALUES (13, 1, 'after');
COMMIT;
SELECT * FROM all_right();
UPDATE st SET v = v + 1;
SELECT * FROM all_right();
-- and empty in the end
BEGIN;
ALTER TABLE dim SET UNLOGGED;
DELETE FROM dim;
ALTER TABLE dim SET LOGGED;
COMMIT;
SELECT * FROM all_right();
INSERT INTO dim SELECT i, 'name' || i FROM generate_series(0, 20) i;
-- several at once, partitions and children among them, in subtransactions that come and go
BEGIN;
SAVEPOINT a;
ALTER TABLE sp1 SET UNLOGGED;
INSERT INTO sp VALUES (100, 1, 100);
ROLLBACK TO a;
ALTER TABLE sp2a SET UNLOGGED;
ALTER TABLE sc SET UNLOGGED;
UPDATE sp SET v = v + 1000 WHERE k = 2;
INSERT INTO sc VALUES (7, 7, 7);
SAVEPOINT b;
DELETE FROM si WHERE id = 4;
ALTER TABLE sc SET LOGGED;
RELEASE b;
ALTER TABLE sp2a SET LOGGED;
INSERT INTO sp VALUES (101, 1, 101), (102, 2, 102);
COMMIT;
SELECT * FROM all_right();
-- prepared
BEGIN;
ALTER TABLE si SET UNLOGGED;
UPDATE ONLY si SET v = v * 2;
ALTER TABLE si SET LOGGED;
PREPARE TRANSACTION 'silent';
COMMIT PREPARED 'silent';
SELECT * FROM all_right();
-- in several transactions: the views stand still meanwhile and say why
ALTER TABLE st SET UNLOGGED;
INSERT INTO st VALUES (20, 1, 'unlogged');
SELECT derive.wait('s_sum', timeout => '60 s');
ALTER TABLE sp1 SET UNLOGGED;
INSERT INTO sp VALUES (120, 1, 120);
SELECT derive.wait('p_sum', timeout => '60 s');
SELECT name, state, error FROM derive_state.view_states ORDER BY name;
SELECT derive.repair('s_sum');
UPDATE st SET v = v + 1 WHERE id < 5;
ALTER TABLE st SET LOGGED;
ALTER TABLE sp1 SET LOGGED;
INSERT INTO st VALUES (21, 1, 'logged');
SELECT * FROM all_right();
-- while it is no part of the source
BEGIN;
ALTER TABLE sp DETACH PARTITION sp1;
ALTER TABLE sp1 SET UNLOGGED;
UPDATE sp1 SET v = v + 1;
ALTER TABLE sp1 SET LOGGED;
ALTER TABLE sp ATTACH PARTITION sp1 FOR VALUES IN (1);
INSERT INTO sp VALUES (130, 1, 130);
COMMIT;
SELECT * FROM all_right();
BEGIN;
ALTER TABLE sp DETACH PARTITION sp2;
ALTER TABLE sp2a SET UNLOGGED;
DELETE FROM sp2 WHERE id % 2 = 0;
ALTER TABLE sp2a SET LOGGED;
ALTER TABLE sp ATTACH PARTITION sp2 FOR VALUES IN (2);
COMMIT;
SELECT * FROM all_right();
BEGIN;
ALTER TABLE sc NO INHERIT si;
ALTER TABLE sc SET UNLOGGED;
INSERT INTO sc VALUES (30, 30, 30);
ALTER TABLE sc SET LOGGED;
ALTER TABLE sc INHERIT si;
UPDATE si SET v = v + 1;
COMMIT;
SELECT * FROM all_right();
-- partitions and children come and go, in one transaction with changes of theirs
BEGIN;
UPDATE sp SET v = v + 1;
ALTER TABLE sp DETACH PARTITION sp1;
INSERT INTO sp1 VALUES (131, 1, 131);
ALTER TABLE sp ATTACH PARTITION sp1 FOR VALUES IN (1);
DELETE FROM sp WHERE id = 3;
ALTER TABLE sc NO INHERIT si;
INSERT INTO sc VALUES (31, 31, 31);
ALTER TABLE sc INHERIT si;
INSERT INTO sc VALUES (32, 32, 32);
COMMIT;
SELECT * FROM all_right();
ALTER TABLE sp DETACH PARTITION sp1 CONCURRENTLY;
INSERT INTO sp1 VALUES (132, 1, 132);
SELECT * FROM all_right();
ALTER TABLE sp ATTACH PARTITION sp1 FOR VALUES IN (1);
SELECT * FROM all_right();
-- rewritten
BEGIN;
INSERT INTO st VALUES (40, 1, 'before');
ALTER TABLE st ADD COLUMN r float DEFAULT random(), ADD COLUMN fast int DEFAULT 5;
UPDATE st SET fast = 6 WHERE id % 2 = 0;
ALTER TABLE st ALTER COLUMN fast SET DEFAULT 7;
INSERT INTO st VALUES (41, 1, 'between');
COMMIT;
SELECT * FROM all_right();
SELECT derive.create_view('s_fast', 'SELECT id, fast FROM st');
SELECT derive.create_view('s_fast_sum', 'SELECT sum(fast) FROM st');
SELECT * FROM all_right();
UPDATE st SET v = v + 1;
UPDATE st SET fast = fast + 1 WHERE id % 3 = 0;
DELETE FROM st WHERE id = 5;
SELECT * FROM all_right();
ALTER TABLE st ADD COLUMN other int DEFAULT 5;
SELECT derive.create_view('s_other', 'SELECT id, other FROM st');
SELECT * FROM all_right();
DELETE FROM st WHERE id = 6;
UPDATE st SET w = w || '!' WHERE id = 7;
UPDATE st SET other = 8 WHERE id = 8;
SELECT * FROM all_right();
BEGIN;
UPDATE st SET r = 1;
ALTER TABLE st ALTER COLUMN r TYPE float USING r + id;
UPDATE st SET v = v + 1 WHERE id = 1;
ALTER TABLE st DROP COLUMN r, ADD COLUMN r int DEFAULT 4;
INSERT INTO st VALUES (42, 2, 'r', 1, 2, 3);
COMMIT;
SELECT * FROM all_right();
ALTER TABLE st ALTER COLUMN r TYPE int USING r + id;
SELECT * FROM all_right();
BEGIN;
UPDATE st SET v = v + 1;
CLUSTER st USING st_pkey;
DELETE FROM st WHERE id = 7;
ALTER TABLE st SET TABLESPACE pg_default;
INSERT INTO st VALUES (43, 3, 'three');
COMMIT;
VACUUM FULL st;
SELECT * FROM all_right();
-- the log without old rows for a while
BEGIN;
UPDATE st SET v = v + 1 WHERE id = 8;
ALTER TABLE st REPLICA IDENTITY NOTHING;
UPDATE st SET v = v + 1;
DELETE FROM st WHERE id = 9;
ALTER TABLE st REPLICA IDENTITY FULL;
UPDATE st SET v = v + 1 WHERE id = 8;
COMMIT;
SELECT * FROM all_right();
BEGIN;
ALTER TABLE st REPLICA IDENTITY USING INDEX st_pkey;
UPDATE st SET v = v + 1;
ALTER TABLE st REPLICA IDENTITY FULL;
DELETE FROM st WHERE id = 10;
COMMIT;
SELECT * FROM all_right();
-- loaded as pg_restore does, and by a subscription
BEGIN;
TRUNCATE st;
COPY st (id, v, w) FROM stdin WITH (FREEZE);
1	1	one
2	1	two
3	2	three
\.
COMMIT;
SELECT * FROM all_right();
SET session_replication_role = replica;
ALTER TABLE st DISABLE TRIGGER ALL;
INSERT INTO st VALUES (4, 4, 'four');
ALTER TABLE st ENABLE TRIGGER ALL;
RESET session_replication_role;
SELECT pg_replication_origin_create('regress_derive_origin') IS NOT NULL AS created;
SELECT pg_replication_origin_session_setup('regress_derive_origin');
INSERT INTO st VALUES (5, 5, 'the words working');
UPDATE st SET v = v + 1 WHERE id < 3;
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_drop('regress_derive_origin');
SELECT * FROM all_right();
-- what texts are made of
ALTER TEXT SEARCH CONFIGURATION silent ALTER MAPPING REPLACE silent_dict WITH english_stem;
SELECT * FROM all_right();
ALTER TEXT SEARCH CONFIGURATION silent ALTER MAPPING REPLACE english_stem WITH silent_dict;
ALTER TEXT SEARCH DICTIONARY silent_dict (StopWords = english);
INSERT INTO st VALUES (6, 6, 'the word');
SELECT * FROM all_right();
-- policies
ALTER TABLE st ENABLE ROW LEVEL SECURITY;
ALTER TABLE st DISABLE ROW LEVEL SECURITY;
CREATE ROLE regress_derive_owner;
ALTER TABLE dim OWNER TO regress_derive_owner;
ALTER TABLE st OWNER TO regress_derive_owner;
ALTER MATERIALIZED VIEW s_rows OWNER TO regress_derive_owner;
SELECT * FROM all_right();
ALTER TABLE st ENABLE ROW LEVEL SECURITY;
ALTER TABLE st FORCE ROW LEVEL SECURITY;
INSERT INTO st VALUES (7, 7, 'seven');
SELECT derive.wait('s_rows', timeout => '60 s');
SELECT name, state, error FROM derive_state.view_states WHERE state <> 'ready';
ALTER TABLE st NO FORCE ROW LEVEL SECURITY;
SELECT derive.repair('s_rows');
SELECT * FROM all_right();
SELECT name, state FROM derive_state.view_states WHERE state <> 'ready';
SET client_min_messages = warning;
DROP TABLE st, dim, sp, si CASCADE;
DROP FUNCTION history_oracle, all_right;
DROP TEXT SEARCH CONFIGURATION silent;
DROP TEXT SEARCH DICTIONARY silent_dict;
DROP ROLE regress_derive_owner;
