-- Subscriptions: the rows of a view, then its changes, each once and in order.
SET client_min_messages = warning;
CREATE SCHEMA subs;
SET search_path = subs, public;

CREATE TABLE t (id int PRIMARY KEY, g int, x text);
INSERT INTO t SELECT i, i % 3, 'x' || i FROM generate_series(1, 9) i;
SELECT derive.create_view('v', 'SELECT g, count(*) AS n, max(x) AS m FROM t GROUP BY g');
SELECT derive.wait();

--
-- From the beginning
--
SELECT derive.subscribe('v', 'a');
SELECT operation, old, new, lsn IS NOT NULL AS lsn FROM derive.poll('a') ORDER BY new->'g';
SELECT * FROM derive.poll('a');
INSERT INTO t VALUES (100, 1, 'z');
SELECT derive.wait();
DELETE FROM t WHERE g = 2;
SELECT derive.wait();
INSERT INTO t VALUES (101, 7, 'new');
SELECT derive.wait();
SELECT operation, old, new FROM derive.poll('a', 2);
SELECT operation, old, new FROM derive.poll('a', 2);
SELECT operation, old, new FROM derive.poll('a', 2);
-- what was rolled back comes again
UPDATE t SET g = 8 WHERE g = 7;
SELECT derive.wait();
BEGIN;
SELECT operation, old, new FROM derive.poll('a') ORDER BY operation;
SELECT * FROM derive.poll('a');
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT count(*) FROM derive.poll('a', 1);
ROLLBACK TO s;
SELECT operation, old, new FROM derive.poll('a') ORDER BY operation;
COMMIT;
SELECT * FROM derive.poll('a');

-- a second one begins with what is there now, and disturbs nobody
SELECT derive.subscribe('v', 'b');
INSERT INTO t VALUES (200, 0, 'b');
SELECT derive.wait();
SELECT operation, old, new FROM derive.poll('b') ORDER BY new->'g';
SELECT operation, old, new FROM derive.poll('a') ORDER BY new->'g';
SELECT * FROM derive.poll('b');

-- some rows now, the others later, changes after them
SELECT derive.subscribe('v', 'c');
SELECT count(*) FROM derive.poll('c', 1);
DELETE FROM t WHERE g = 0;
SELECT derive.wait();
SELECT subscriber, view, state, behind, polled_at IS NOT NULL AS polled FROM derive.subscriptions ORDER BY 1;
SELECT operation, count(*) FROM derive.poll('c', 2) GROUP BY 1;
SELECT operation, old, new FROM derive.poll('c', 2);
SELECT operation, count(*) FROM derive.poll('c', 2) GROUP BY 1;
SELECT subscriber, state, behind FROM derive.subscriptions ORDER BY 1;
SELECT derive.unsubscribe('b');
SELECT derive.unsubscribe('c');

-- an empty view, and a name that is anything
CREATE TABLE e (a int);
SELECT derive.create_view('"of E"', 'SELECT a AS "the A" FROM e');
SELECT derive.wait();
SELECT derive.subscribe('"of E"', 'it''s "e" ✓');
SELECT * FROM derive.poll('it''s "e" ✓');
INSERT INTO e VALUES (1), (1), (NULL);
SELECT derive.wait();
SELECT operation, old, new FROM derive.poll('it''s "e" ✓') ORDER BY new;
-- columns have the names that they have now
ALTER MATERIALIZED VIEW "of E" RENAME COLUMN "the A" TO aa;
ALTER MATERIALIZED VIEW "of E" RENAME TO ee;
DELETE FROM e WHERE a = 1;
SELECT derive.wait();
SELECT operation, old, new FROM derive.poll('it''s "e" ✓');

--
-- Types, values out of line
--
CREATE TYPE pair AS (a int, b text);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE ty (id int PRIMARY KEY, n numeric, f float8, b bool, by bytea, ts timestamptz, j json, jb jsonb, a int[], p pair, m mood, r int4range, big text);
ALTER TABLE ty ALTER big SET STORAGE EXTERNAL;
SELECT derive.create_view('tv', 'SELECT *, p AS p2 FROM ty');
SELECT derive.wait();
SELECT derive.subscribe('tv', 'types');
SELECT * FROM derive.poll('types');
INSERT INTO ty VALUES (1, 1.50, 'Infinity', true, '\x00ff', '2026-01-01 12:00+00', '{"a": [1, null]}', '{"b": "c"}', '{1,NULL}', '(1,"x y")', 'bad', '[1,3)', repeat('abc', 10000)),
	(2, 'NaN', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT derive.wait();
UPDATE ty SET n = 3 WHERE id = 1;
SELECT derive.wait();
SELECT operation, old->'n' AS old, new - 'big' AS new, length(new->>'big') AS big, md5(old->>'big') = md5(new->>'big') AS same
FROM derive.poll('types') ORDER BY new->'id', operation;
SELECT derive.unsubscribe('types');

--
-- A consumer that keeps a copy, in the same transaction as the position
--
CREATE TABLE copies (subscriber text, r jsonb);
CREATE PROCEDURE consume(subscriber text, max_rows int, wait interval DEFAULT '0') LANGUAGE plpgsql AS $$
DECLARE
	c record;
	n int;
	victim tid;
BEGIN
	LOOP
		n := 0;
		FOR c IN SELECT * FROM derive.poll(subscriber, max_rows, wait) LOOP
			n := n + 1;
			IF c.operation IN ('update', 'delete') THEN
				SELECT k.ctid INTO STRICT victim FROM copies k WHERE k.subscriber = consume.subscriber AND k.r = c.old LIMIT 1;
				DELETE FROM copies k WHERE k.ctid = victim;
			END IF;
			IF c.operation <> 'delete' THEN
				INSERT INTO copies VALUES (subscriber, c.new);
			END IF;
		END LOOP;
		COMMIT;
		EXIT WHEN n = 0;
	END LOOP;
END $$;
CREATE FUNCTION differences(subscriber text, view regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((SELECT to_jsonb(v) FROM %1$s v EXCEPT ALL SELECT r FROM copies WHERE subscriber = %2$L)
		UNION ALL (SELECT r FROM copies WHERE subscriber = %2$L EXCEPT ALL SELECT to_jsonb(v) FROM %1$s v)) d', view, differences.subscriber) INTO n;
	RETURN n;
END $$;
CREATE TABLE orders (id int PRIMARY KEY, customer int, amount numeric);
CREATE TABLE customers (customer int, name text);
INSERT INTO customers SELECT i % 20, 'c' || i % 20 FROM generate_series(1, 25) i;
INSERT INTO orders SELECT i, i % 20, i FROM generate_series(1, 500) i;
SELECT derive.create_view('per_customer', 'SELECT customer, count(*), sum(amount), min(amount) FROM orders GROUP BY customer');
SELECT derive.create_view('joined', 'SELECT c.name, o.amount FROM orders o JOIN customers c USING (customer)');
SELECT derive.create_view('top', 'SELECT max(sum) AS most, count(*) AS n FROM per_customer');
SELECT derive.wait();
SELECT derive.subscribe('per_customer', 'k1'), derive.subscribe('joined', 'k2'), derive.subscribe('top', 'k3'), derive.subscribe('joined', 'k4');
CALL consume('k1', 7);
CALL consume('k2', 1000);
CALL consume('k3', 1);
SELECT count(*) FROM derive.poll('k4', 100);
-- many batches, many small transactions
DO $$
BEGIN
	FOR i IN 1 .. 40 LOOP
		UPDATE orders SET amount = amount + 1, customer = (customer + i) % 20 WHERE id % 10 = i % 10;
		DELETE FROM orders WHERE id % 50 = i;
		INSERT INTO orders SELECT 1000 * i + j, j % 23, j FROM generate_series(1, 20) j;
		UPDATE customers SET name = name || '+' WHERE customer = i % 5;
		COMMIT;
		IF i % 10 = 0 THEN
			PERFORM derive.wait();
		END IF;
	END LOOP;
END $$;
SELECT derive.wait();
CALL consume('k1', 1000);
CALL consume('k2', 100);
CALL consume('k3', 1000);
SELECT differences('k1', 'per_customer') AS k1, differences('k2', 'joined') AS k2, differences('k3', 'top') AS k3;
-- computed anew: what differs
TRUNCATE orders;
INSERT INTO orders SELECT i, i % 7, i FROM generate_series(1, 300) i;
SELECT derive.repair('joined');
REFRESH MATERIALIZED VIEW per_customer;
SELECT derive.pause('top');
DELETE FROM orders WHERE customer = 3;
SELECT derive.resume('top');
SELECT derive.wait();
CALL consume('k1', 1000);
CALL consume('k2', 1000);
CALL consume('k3', 1000);
CALL consume('k1', 1000, '10 ms');
SELECT differences('k1', 'per_customer') AS k1, differences('k2', 'joined') AS k2, differences('k3', 'top') AS k3;
SELECT subscriber, view, state, behind > 0 AS behind FROM derive.subscriptions WHERE subscriber LIKE 'k%' ORDER BY 1;

--
-- Isolation levels
--
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM v;
SELECT count(*) FROM derive.poll('a');
SELECT count(*) FROM derive.poll('a', timeout => '1 hour');		-- nothing can come
COMMIT;
BEGIN READ ONLY;
SELECT * FROM derive.poll('a');
ROLLBACK;

--
-- Bad input
--
SELECT derive.subscribe(NULL, 'x');
SELECT derive.subscribe('v', NULL);
SELECT derive.subscribe('v', '');
SELECT derive.subscribe('v', repeat('x', 64));
SELECT derive.subscribe('v', 'a');
SELECT derive.subscribe('t', 'x');
SELECT derive.subscribe('nosuch', 'x');
SELECT derive.subscribe(0, 'x');
CREATE MATERIALIZED VIEW plain AS SELECT 1 AS one;
SELECT derive.subscribe('plain', 'x');
SELECT * FROM derive.poll('nosuch');
SELECT * FROM derive.poll(NULL);
SELECT * FROM derive.poll(repeat('x', 100));
SELECT * FROM derive.poll('a', 0);
SELECT * FROM derive.poll('a', -1);
SELECT * FROM derive.poll('a', NULL);
SELECT * FROM derive.poll('a', 1, '-1 s');
SELECT derive.unsubscribe('nosuch');
SELECT derive.unsubscribe(NULL);
-- not before anybody knows of it
CREATE TABLE n (a int);
SELECT derive.create_view('nv', 'SELECT a FROM n');
SELECT derive.wait('nv');
BEGIN;
SELECT derive.subscribe('nv', 'mine');
SELECT * FROM derive.poll('mine');
ROLLBACK;
SELECT * FROM derive.poll('mine');
-- a view that stands still cannot start
SELECT derive.pause('nv');
SELECT derive.subscribe('nv', 'mine');
SELECT * FROM derive.poll('mine');
SELECT derive.resume('nv');
INSERT INTO n VALUES (1);
SELECT derive.wait('nv');
SELECT operation, new FROM derive.poll('mine');

--
-- Rights
--
CREATE ROLE regress_reader;
CREATE ROLE regress_friend;
GRANT USAGE ON SCHEMA subs TO regress_reader, regress_friend;
SET ROLE regress_reader;
SELECT derive.subscribe('v', 'r');
RESET ROLE;
GRANT SELECT ON v TO regress_reader;
SET ROLE regress_reader;
SELECT derive.subscribe('v', 'r');
SELECT count(*) > 0 AS rows FROM derive.poll('r');
SELECT * FROM derive.poll('a');
SELECT derive.unsubscribe('a');
SELECT subscriber, owner FROM derive.subscriptions WHERE subscriber = 'r';
SELECT * FROM derive_state.changes;
RESET ROLE;
SET ROLE regress_friend;
SELECT * FROM derive.poll('r');
RESET ROLE;
GRANT regress_reader TO regress_friend;
SET ROLE regress_friend;
SELECT * FROM derive.poll('r');
RESET ROLE;
REVOKE USAGE ON SCHEMA subs FROM regress_reader;
SELECT 'v'::regclass::oid AS v_oid \gset
SET ROLE regress_reader;
SELECT * FROM derive.poll('r');
SELECT derive.subscribe(:v_oid, 'r2');
RESET ROLE;
GRANT USAGE ON SCHEMA subs TO regress_reader;
REVOKE SELECT ON v FROM regress_reader;
SET ROLE regress_reader;
SELECT * FROM derive.poll('r');
SELECT derive.unsubscribe('r');
RESET ROLE;
DROP OWNED BY regress_reader, regress_friend;
DROP ROLE regress_reader, regress_friend;

--
-- With its view, a subscription goes
--
SELECT derive.release('nv');
SELECT * FROM derive.poll('mine');
SELECT derive.maintain('nv');
SELECT * FROM derive.poll('mine');
SELECT derive.subscribe('nv', 'mine');
SELECT derive.wait();
SELECT operation, new FROM derive.poll('mine');
DROP MATERIALIZED VIEW nv;
SELECT * FROM derive.poll('mine');
SELECT derive.subscribe('v', 'mine');
SELECT count(*) > 0 AS rows FROM derive.poll('mine');
BEGIN;
DROP MATERIALIZED VIEW v CASCADE;
SELECT * FROM derive.poll('mine');
ROLLBACK;
SELECT * FROM derive.poll('mine');
SELECT oracle('v'), oracle('joined'), oracle('per_customer'), oracle('top');

--
-- The output plugin's option views: replaying its lines gives the view
--
CREATE TABLE replica (r jsonb);
CREATE TABLE flush ();
CREATE FUNCTION replay(name text) RETURNS TABLE (events text, n bigint) LANGUAGE plpgsql AS $$
DECLARE
	e jsonb;
	victim tid;
	counts jsonb := '{}';
BEGIN
	FOR e IN SELECT data::jsonb FROM pg_logical_slot_get_changes('views', NULL, NULL,
			'views', 'subs.' || name, 'origin', 'none', 'include_xids', 'off') LOOP
		CASE e->>'event'
			WHEN 'begin', 'commit' THEN CONTINUE;
			WHEN 'truncate' THEN
				DELETE FROM replica;
			ELSE
				IF e->>'schema' <> 'subs' OR e->>'table' <> name THEN
					RAISE 'not wanted: %', e;
				END IF;
				IF e ? 'old' THEN
					SELECT k.ctid INTO STRICT victim FROM replica k WHERE k.r = e->'old' LIMIT 1;
					DELETE FROM replica k WHERE k.ctid = victim;
				END IF;
				IF e ? 'new' THEN
					INSERT INTO replica VALUES (e->'new');
				END IF;
		END CASE;
		counts := jsonb_set(counts, ARRAY[e->>'event'], to_jsonb(coalesce((counts->>(e->>'event'))::int, 0) + 1));
	END LOOP;
	RETURN QUERY SELECT k, v::bigint FROM jsonb_each_text(counts) AS c(k, v) ORDER BY 1;
END $$;
CREATE FUNCTION replica_differences(view regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM ((SELECT to_jsonb(v) FROM %1$s v EXCEPT ALL SELECT r FROM replica)
		UNION ALL (SELECT r FROM replica EXCEPT ALL SELECT to_jsonb(v) FROM %1$s v)) d', view) INTO n;
	RETURN n;
END $$;
SELECT slot_name FROM pg_create_logical_replication_slot('views', 'pg_derive');
SELECT derive.create_view('followed', 'SELECT o.id, c.name, o.amount FROM orders o JOIN customers c USING (customer)');
ALTER MATERIALIZED VIEW followed REPLICA IDENTITY FULL;
SELECT derive.wait();
INSERT INTO flush DEFAULT VALUES;
SELECT * FROM replay('followed');
SELECT replica_differences('followed');
UPDATE orders SET amount = amount * 2 WHERE id % 2 = 0;
DELETE FROM orders WHERE id % 5 = 0;
INSERT INTO orders SELECT i, i % 20, i FROM generate_series(5000, 5100) i;
INSERT INTO customers VALUES (1, 'again'), (1, 'again');
SELECT derive.wait();
INSERT INTO flush DEFAULT VALUES;
SELECT events FROM replay('followed');
SELECT replica_differences('followed');
-- computed anew
TRUNCATE customers;
INSERT INTO customers SELECT i % 20, repeat('name ', 1000) || i % 20 FROM generate_series(1, 25) i;
SELECT derive.repair('followed');
INSERT INTO flush DEFAULT VALUES;
SELECT events FROM replay('followed');
SELECT replica_differences('followed');
-- rewrites are of no concern; being made anew is, even if nothing is left
VACUUM FULL followed;
SELECT derive.release('followed');
BEGIN;
REFRESH MATERIALIZED VIEW followed;
REFRESH MATERIALIZED VIEW followed;
COMMIT;
INSERT INTO flush DEFAULT VALUES;
SELECT * FROM replay('followed');
SELECT replica_differences('followed');
REFRESH MATERIALIZED VIEW followed WITH NO DATA;
DELETE FROM orders;
SELECT derive.maintain('followed');
SELECT derive.wait();
INSERT INTO flush DEFAULT VALUES;
SELECT * FROM replay('followed');
SELECT replica_differences('followed'), count(*) FROM followed;
-- tables only if they are asked for
INSERT INTO orders VALUES (1, 1, 1);
SELECT derive.wait();
INSERT INTO flush DEFAULT VALUES;
SELECT e->>'event' AS event, e->>'table' AS "table" FROM (
	SELECT data::jsonb AS e FROM pg_logical_slot_peek_changes('views', NULL, NULL, 'views', 'subs.followed', 'tables', '*.orders')) c;
SELECT DISTINCT e->>'event' AS event, e->>'schema' AS schema, e->>'table' AS "table" FROM (
	SELECT data::jsonb AS e FROM pg_logical_slot_peek_changes('views', NULL, NULL)) c WHERE e ? 'table' ORDER BY 1, 2, 3;
SELECT data FROM pg_logical_slot_peek_changes('views', NULL, NULL, 'views', 'nonsense');
SELECT pg_drop_replication_slot('views');

SELECT * FROM oracle_all();
DROP SCHEMA subs CASCADE;
SELECT count(*) FROM derive.subscriptions;
