-- Who may call what: the table in docs/security.md, cell by cell.  And what is seen of
-- views that one may not read.
SET client_min_messages = warning;
CREATE ROLE regress_stranger;
CREATE ROLE regress_outside;		-- may read the views and append, but has no right to use their schema
CREATE ROLE regress_reader;
CREATE ROLE regress_writer;			-- may append to the topic
CREATE ROLE regress_monitor;
CREATE ROLE regress_table_owner;
CREATE ROLE regress_view_owner;
CREATE ROLE regress_super SUPERUSER;
GRANT pg_read_all_stats TO regress_monitor;
CREATE SCHEMA r;
CREATE FUNCTION r.another_handler(internal) RETURNS derive.derivation_handler AS '$libdir/pg_derive', 'derive_history_handler' LANGUAGE C STRICT;
GRANT USAGE ON SCHEMA r TO regress_stranger, regress_reader, regress_writer, regress_monitor, regress_table_owner, regress_view_owner;
GRANT CREATE ON SCHEMA r TO regress_table_owner, regress_view_owner;
SET ROLE regress_table_owner;
CREATE TABLE r.t (id int PRIMARY KEY, x int);
ALTER TABLE r.t REPLICA IDENTITY FULL;
GRANT SELECT ON r.t TO regress_view_owner;
INSERT INTO r.t VALUES (1, 1), (2, 2);
SET ROLE regress_view_owner;
SELECT derive.create_view('r.v', 'SELECT * FROM r.t');
SELECT derive.create_view('r.h', 'history', '{r.t}');
SELECT derive.create_topic('r.topic', 'a int');
CREATE MATERIALIZED VIEW r.plain AS SELECT x FROM r.t;
SELECT derive.wait();
GRANT SELECT ON r.v, r.h, r.topic TO regress_outside, regress_reader;
GRANT INSERT ON r.topic TO regress_outside, regress_writer;
RESET ROLE;
REVOKE CREATE ON SCHEMA r FROM regress_table_owner;
SET ROLE regress_reader;
SELECT derive.subscribe('r.v', 'readers');
RESET ROLE;
SELECT derive.wait();

SELECT derive.create_group('empty');

-- The calls, and who may: the superuser always
CREATE TABLE calls (n serial, call text, may text[]);
INSERT INTO calls (call, may) VALUES
	('SELECT derive.create_view(''r.new'', ''SELECT x FROM r.t'')', '{view_owner}'),
	('SELECT derive.create_view(''r.new'', ''history'', ARRAY[%t])', '{view_owner}'),
	('SELECT derive.create_topic(''r.new'', ''a int'')', '{view_owner}'),
	('SELECT * FROM derive.apply(''history'', ARRAY[%t], NULL, NULL) AS t(id int, x int, version bigint, operation text, xid xid8, lsn pg_lsn, '
	 'committed_at timestamptz, ended_by text, until_xid xid8, until_lsn pg_lsn, until timestamptz)', '{table_owner, view_owner}'),
	('SELECT derive.plan(''SELECT x FROM r.t'')', '{table_owner, view_owner}'),
	('SELECT derive.create_view(''r.new'', ''history'', ''r.t'')', '{view_owner}'),
	('SELECT derive.drop_view(''r.v'')', '{view_owner}'),
	('SELECT derive.maintain(%p)', '{view_owner}'),
	('SELECT derive.release(%v)', '{view_owner}'),
	('SELECT derive.pause(%v)', '{view_owner}'),
	('SELECT derive.resume(%v)', '{view_owner}'),
	('SELECT derive.repair(%v)', '{view_owner}'),
	('SELECT derive.reset_stats(%v)', '{view_owner}'),
	('SELECT derive.reset_stats()', '{stranger, outside, reader, writer, monitor, table_owner, view_owner}'),
	('SELECT derive.replace_view(%v, ''SELECT * FROM r.t WHERE x > 0'')', '{view_owner}'),
	('SELECT derive.create_or_replace_view(''r.v'', ''SELECT * FROM r.t WHERE x > 0'')', '{view_owner}'),
	('SELECT derive.wait(%v)', '{reader, view_owner}'),
	('SELECT derive.wait_replaced(%v)', '{reader, view_owner}'),
	('SELECT derive.create_group(''new'')', '{}'),
	('SELECT derive.drop_group(''empty'')', '{}'),
	('SELECT derive.move(%v, ''empty'')', '{view_owner}'),
	('SELECT derive.wait_moved(%v)', '{reader, view_owner}'),
	('SELECT derive.wait()', '{stranger, outside, reader, writer, monitor, table_owner, view_owner}'),
	('SELECT derive.verify(%v)', '{reader, view_owner}'),
	('SELECT derive.verify()', '{stranger, outside, reader, writer, monitor, table_owner, view_owner}'),
	('SELECT derive.check()', '{stranger, outside, reader, writer, monitor, table_owner, view_owner}'),
	('SELECT derive.health()', '{stranger, outside, reader, writer, monitor, table_owner, view_owner}'),
	('SELECT derive.explain(%v)', '{reader, monitor, view_owner}'),
	('SELECT derive.explain(%h)', '{reader, monitor, view_owner}'),
	('SELECT * FROM derive.as_of(%h, now()) AS t(id int)', '{reader, view_owner}'),
	('SELECT * FROM derive.as_of(%h, pg_current_wal_lsn()) AS t(id int)', '{reader, view_owner}'),
	('SELECT derive.changes_of(%h, ''1'')', '{reader, view_owner}'),
	('SELECT derive.append(%e, ROW(1))', '{writer, view_owner}'),
	('SELECT derive.append(%e, ''{"a": 1}''::text)', '{writer, view_owner}'),
	('SELECT derive.append(%e, ''{"a": 1}''::jsonb)', '{writer, view_owner}'),
	('SELECT derive.subscribe(%v, ''new'')', '{reader, view_owner}'),
	('SELECT derive.poll(''readers'')', '{reader}'),
	('SELECT derive.unsubscribe(''readers'')', '{reader}'),
	('SELECT derive.register(''new'', ''r.another_handler'')', '{}'),
	('SELECT derive.unregister(''sessionize'')', '{}'),
	('SELECT derive_state.counters()', '{}'),
	('SELECT derive_state.row_hash(ROW(1))', '{}'),
	('SELECT FROM derive_state.spool', '{}'),
	('SELECT FROM derive.views, derive.stats, derive.progress, derive.worker, derive.groups, derive.replacements, derive.derivations, derive.subscriptions',
	 '{stranger, outside, reader, writer, monitor, table_owner, view_owner}');
-- by OID, as a role could that may not look into the schema
UPDATE calls SET call = replace(replace(replace(replace(replace(call,
	'%t', 'r.t'::regclass::oid || '::regclass'), '%v', 'r.v'::regclass::oid || '::regclass'), '%h', 'r.h'::regclass::oid || '::regclass'),
	'%e', 'r.topic'::regclass::oid || '::regclass'), '%p', 'r.plain'::regclass::oid || '::regclass');

-- Each of them in a subtransaction that is undone
CREATE FUNCTION try(role text, call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', 'regress_' || role);
	EXECUTE call;
	RAISE SQLSTATE 'UNDO1';
EXCEPTION
	WHEN SQLSTATE 'UNDO1' THEN RETURN 'yes';
	WHEN insufficient_privilege THEN RETURN 'no';
	WHEN OTHERS THEN RETURN SQLERRM;
END $$;
SELECT regexp_replace(regexp_replace(call, '\d+::regclass', '...', 'g'), ' AS t.*', '') AS call, c.*,
	stranger = CASE WHEN 'stranger' = ANY (may) THEN 'yes' ELSE 'no' END
	AND outside = CASE WHEN 'outside' = ANY (may) THEN 'yes' ELSE 'no' END
	AND reader = CASE WHEN 'reader' = ANY (may) THEN 'yes' ELSE 'no' END
	AND writer = CASE WHEN 'writer' = ANY (may) THEN 'yes' ELSE 'no' END
	AND monitor = CASE WHEN 'monitor' = ANY (may) THEN 'yes' ELSE 'no' END
	AND table_owner = CASE WHEN 'table_owner' = ANY (may) THEN 'yes' ELSE 'no' END
	AND view_owner = CASE WHEN 'view_owner' = ANY (may) THEN 'yes' ELSE 'no' END
	AND super = 'yes' AS as_expected
FROM calls, LATERAL (SELECT try('stranger', call) AS stranger, try('outside', call) AS outside, try('reader', call) AS reader,
	try('writer', call) AS writer, try('monitor', call) AS monitor, try('table_owner', call) AS table_owner,
	try('view_owner', call) AS view_owner, try('super', call) AS super OFFSET 0) c
ORDER BY n;

-- Every function is in the table.
SELECT p.oid::regprocedure AS not_tested FROM pg_proc p
WHERE pronamespace = 'derive'::regnamespace
	AND NOT EXISTS (SELECT FROM calls WHERE call LIKE '%derive.' || proname || '(%');

-- Explaining leaves no lock behind.
SET ROLE regress_reader;
BEGIN;
SELECT count(*) > 0 AS lines FROM derive.explain('r.v');
SELECT relation::regclass, mode FROM pg_locks
WHERE pid = pg_backend_pid() AND relation >= 16384 AND relation::regclass::text NOT LIKE 'derive%';
COMMIT;
RESET ROLE;

-- A view that has failed: its message may have values in it.
SET ROLE regress_view_owner;
SELECT derive.create_view('r.fails', 'SELECT 10 / x AS q FROM r.t');
SELECT derive.wait();
GRANT SELECT ON r.fails TO regress_reader;
RESET ROLE;
INSERT INTO r.t VALUES (0, 0);
SELECT derive.wait('r.fails');
SET ROLE regress_reader;
SELECT derive.wait('r.fails');
SELECT derive.wait();
SELECT derive.wait('r.v');
SELECT view, state, waiting_for ~ '^another try' AS tried, query, error FROM derive.views WHERE view::text = 'r.fails';
-- nobody else has to do with it
SET ROLE regress_stranger;
SELECT derive.wait();
SELECT derive.wait('r.fails');
SET ROLE regress_writer;
SELECT derive.wait();
RESET ROLE;

DELETE FROM r.t WHERE x = 0;
SELECT derive.repair('r.fails');
SELECT oracle('r.v'), oracle('r.fails');
SELECT derive.unsubscribe('readers');
DROP SCHEMA r CASCADE;
DROP FUNCTION try;
DROP TABLE calls;
DROP ROLE regress_stranger, regress_outside, regress_reader, regress_writer, regress_monitor, regress_table_owner, regress_view_owner, regress_super;
