-- Histories: every version of every row.  Moments are compared with copies of the table.
CREATE TABLE orders (id int PRIMARY KEY, customer text NOT NULL, total numeric, note text, data json);
INSERT INTO orders VALUES (1, 'ann', 10, NULL, '{"a": 1}'), (2, 'bob', 20.0, 'x', NULL);
SELECT derive.create_view('orders_history', derivation => 'history', sources => '{orders}');
SELECT derive.wait('orders_history', timeout => '60 s');
\d orders_history

-- What is kept.
BEGIN;
INSERT INTO orders VALUES (3, 'cid', 30, 'y', NULL);
UPDATE orders SET total = 20.00 WHERE id = 2;
UPDATE orders SET note = 'z' WHERE id = 2;
COMMIT;
UPDATE orders SET id = 4 WHERE id = 1;
DELETE FROM orders WHERE id = 3;
BEGIN;
INSERT INTO orders VALUES (5, 'never');
SAVEPOINT a;
INSERT INTO orders VALUES (6, 'never');
ROLLBACK TO a;
INSERT INTO orders VALUES (7, 'dan');
DELETE FROM orders WHERE id = 5;
COMMIT;
BEGIN;
DELETE FROM orders;
ROLLBACK;
SELECT derive.wait();
SELECT version, id, customer, total, note, data, operation, xid IS NOT NULL AS xid, ended_by, until_xid IS NOT NULL AS until_xid,
	lsn = until_lsn AS momentary
FROM orders_history ORDER BY version;

-- Is the history consistent?  Versions of a row follow each other, and those that are open are the table.
CREATE FUNCTION check_history(history regclass, source regclass, key text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	columns text;
	n bigint;
BEGIN
	IF NOT derive.wait(history, timeout => '60 s') THEN
		RETURN 'timeout';
	END IF;
	SELECT string_agg(quote_ident(attname) || CASE WHEN atttypid = 'json'::regtype THEN '::text' ELSE '' END, ', ' ORDER BY attnum)
	INTO columns FROM pg_attribute WHERE attrelid = source AND attnum > 0 AND NOT attisdropped;
	EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL SELECT %1$s FROM %3$s WHERE until IS NULL)
					UNION ALL (SELECT %1$s FROM %3$s WHERE until IS NULL EXCEPT ALL SELECT %1$s FROM %2$s)) d',
				   columns, source, history) INTO n;
	IF n > 0 THEN
		RETURN format('%s differences', n);
	END IF;
	EXECUTE format('SELECT count(*) FROM %s WHERE until_lsn < lsn OR until < committed_at
					OR num_nulls(ended_by, until_lsn, until) NOT IN (0, 3)', history) INTO n;
	IF n > 0 THEN
		RETURN format('%s invalid versions', n);
	END IF;
	EXECUTE format('SELECT count(*) FROM (SELECT ended_by, until_lsn, until, until_xid,
						lead(version) OVER w IS NOT NULL AS more, lead(lsn) OVER w AS next_lsn,
						lead(committed_at) OVER w AS next_at, lead(operation) OVER w AS next_operation, lead(xid) OVER w AS next_xid
					FROM %s WINDOW w AS (PARTITION BY %s ORDER BY version)) v
					WHERE more AND (until_lsn IS NULL OR next_lsn < until_lsn OR next_at < until
						OR (next_operation = ''update'' AND ended_by = ''update''
							AND (next_lsn, next_at, next_xid) <> (until_lsn, until, until_xid)))',
				   history, key) INTO n;
	IF n > 0 THEN
		RETURN format('%s broken chains', n);
	END IF;
	RETURN 'consistent';
END $$;
SELECT check_history('orders_history', 'orders', 'id');

-- Moments.
CREATE TABLE moments (n serial PRIMARY KEY, lsn pg_lsn, at timestamptz);
CREATE TABLE copies (n int, id int, customer text, total numeric, note text, data json);
CREATE PROCEDURE remember() LANGUAGE plpgsql AS $$
DECLARE
	m int;
BEGIN
	COMMIT;
	INSERT INTO moments (lsn, at) VALUES (pg_current_wal_insert_lsn(), clock_timestamp()) RETURNING n INTO m;
	INSERT INTO copies SELECT m, * FROM orders;
	COMMIT;
END $$;
CREATE PROCEDURE live(rounds int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. rounds LOOP
		INSERT INTO orders SELECT g, 'c' || g, g, 'n' || i, json_build_object('i', i) FROM generate_series(100 + i, 100 + i + i % 4) g
		ON CONFLICT (id) DO UPDATE SET total = orders.total + 1, note = NULL;
		UPDATE orders SET total = total * 2, note = repeat(note, 3) WHERE id % 5 = i % 5 AND length(note) < 10000;
		UPDATE orders SET id = id + 1000 WHERE id = 100 + i;
		DELETE FROM orders WHERE id % 7 = i % 7 AND id > 1000;
		IF i % 15 = 0 THEN
			DELETE FROM orders WHERE id > 100;
		END IF;
		IF i % 20 = 0 THEN
			TRUNCATE orders;
			INSERT INTO orders SELECT g, 'again', 0 FROM generate_series(1, 9) g;
		END IF;
		IF i % 3 = 0 THEN
			ROLLBACK;
		END IF;
		CALL remember();
	END LOOP;
END $$;
CALL remember();
CALL live(50);
CREATE FUNCTION wrong_moments(history regclass) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM moments m
	WHERE EXISTS ((SELECT id, customer, total::text, note, data::text FROM copies c WHERE c.n = m.n
				   EXCEPT ALL SELECT id, customer, total::text, note, data::text FROM derive.as_of(history, m.lsn, NULL::orders))
				  UNION ALL (SELECT id, customer, total::text, note, data::text FROM derive.as_of(history, m.lsn, NULL::orders)
				   EXCEPT ALL SELECT id, customer, total::text, note, data::text FROM copies c WHERE c.n = m.n))
	   OR EXISTS ((SELECT id, customer, total::text, note, data::text FROM copies c WHERE c.n = m.n
				   EXCEPT ALL SELECT id, customer, total::text, note, data::text FROM derive.as_of(history, m.at, NULL::orders))
				  UNION ALL (SELECT id, customer, total::text, note, data::text FROM derive.as_of(history, m.at, NULL::orders)
				   EXCEPT ALL SELECT id, customer, total::text, note, data::text FROM copies c WHERE c.n = m.n))
$$;
SELECT count(*) > 40 AS moments, wrong_moments('orders_history') AS wrong FROM moments;
SELECT check_history('orders_history', 'orders', 'id');
SELECT count(*) FROM derive.as_of('orders_history', (SELECT lsn FROM moments WHERE n = 1)) AS t(customer text, id int) WHERE id = 4;

-- Many changes at once, and TOAST.
UPDATE orders SET note = (SELECT string_agg(md5(i::text || id), '') FROM generate_series(1, 200) i);
UPDATE orders SET total = -1;
INSERT INTO orders SELECT g, 'many', g, NULL, NULL FROM generate_series(10000, 12000) g;
UPDATE orders SET total = total + 1 WHERE id >= 10000;
CALL remember();
DELETE FROM orders WHERE id >= 10000;
SELECT check_history('orders_history', 'orders', 'id');
SELECT wrong_moments('orders_history');

-- Moments that it does not know; others who may not look; wrong arguments.
\set VERBOSITY terse
SELECT * FROM derive.as_of('orders_history', '0/1'::pg_lsn, NULL::orders);
SELECT * FROM derive.as_of('orders_history', '2000-01-01'::timestamptz, NULL::orders);
SELECT * FROM derive.as_of('orders_history', 'infinity'::timestamptz, NULL::orders);
SELECT * FROM derive.as_of('orders_history', 'FFFF/0'::pg_lsn, NULL::orders);
\set VERBOSITY default
SELECT * FROM derive.as_of('orders', now(), NULL::orders);
SELECT * FROM derive.as_of('orders_history', now(), 1);
CREATE DOMAIN order_domain AS orders;
SELECT * FROM derive.as_of('orders_history', now(), NULL::order_domain);
DROP DOMAIN order_domain;
SELECT * FROM derive.as_of('orders_history', now());
SELECT * FROM derive.as_of('orders_history', now()) AS t(id int, version bigint);
SELECT count(*) FROM derive.as_of(NULL, now(), NULL::orders);
CREATE ROLE regress_reader;
SET ROLE regress_reader;
SELECT * FROM derive.as_of('orders_history', now(), NULL::orders);
SELECT * FROM derive.changes_of('orders_history', '3');
RESET ROLE;
GRANT SELECT ON orders_history TO regress_reader;
SET ROLE regress_reader;
SELECT count(*) = 0 AS empty FROM derive.as_of('orders_history', now(), NULL::orders);
RESET ROLE;

-- Accountants don't use erasers: take back what one transaction did, unless somebody changed it since.
TRUNCATE orders;
INSERT INTO orders SELECT g, 'customer ' || g, g * 10, 'note', NULL FROM generate_series(1, 6) g;
BEGIN;
SELECT pg_current_xact_id() AS bad \gset
UPDATE orders SET total = 0 WHERE id <= 3;
DELETE FROM orders WHERE id = 4;
INSERT INTO orders VALUES (7, 'made up', 1);
UPDATE orders SET total = 5 WHERE id = 3;
INSERT INTO orders VALUES (8, 'gone', 1);
DELETE FROM orders WHERE id = 8;
COMMIT;
UPDATE orders SET note = 'changed since' WHERE id = 2;
SELECT operation, before->>'id' AS id, before->>'total' AS before, after->>'total' AS after, now->>'total' AS now, conflict
FROM derive.changes_of('orders_history', :'bad') ORDER BY 2;
BEGIN;
CREATE TEMP TABLE undo ON COMMIT DROP AS SELECT * FROM derive.changes_of('orders_history', :'bad') WHERE NOT conflict;
DELETE FROM orders o USING undo u WHERE o.id = (u.after->>'id')::int;
INSERT INTO orders SELECT r.* FROM undo u, jsonb_populate_record(NULL::orders, u.before) r WHERE u.before IS NOT NULL;
COMMIT;
SELECT id, customer, total, note FROM orders ORDER BY id;
SELECT check_history('orders_history', 'orders', 'id');

-- Tables without a primary key, with equal rows; partitions; views.
CREATE TABLE bag (a int, b float8);
INSERT INTO bag SELECT g % 3, g % 2 FROM generate_series(1, 20) g;
SELECT derive.create_view('bag_history', 'history', '{bag}');
CREATE TABLE parts (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts2 (v text, part int NOT NULL, id int NOT NULL);
ALTER TABLE parts ATTACH PARTITION parts2 FOR VALUES IN (2);
INSERT INTO parts SELECT g, 1 + g % 2, 'v' || g FROM generate_series(1, 10) g;
SELECT derive.create_view('parts_history', 'history', '{parts}');
SELECT derive.create_view('bag_sums', 'SELECT a, count(*) AS n, sum(b) AS b FROM bag GROUP BY a');
SELECT derive.create_view('sums_history', 'history', '{bag_sums}', key => '{a}');
SELECT derive.create_view('bag_versions', 'SELECT a, ended_by, count(*) AS n FROM bag_history GROUP BY a, ended_by');
SELECT derive.wait(timeout => '60 s');
UPDATE bag SET b = b + 1 WHERE a = 1;
DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE a = 2 LIMIT 2);
INSERT INTO bag VALUES (NULL, NULL), (NULL, NULL), (9, 'NaN'), (1, -0.0);
UPDATE bag SET a = NULL WHERE a = 0;
UPDATE parts SET part = 3 - part, v = v || 'x' WHERE id < 4;
DELETE FROM parts WHERE id = 5;
BEGIN;
TRUNCATE parts1;
INSERT INTO parts VALUES (2, 1, 'new');
UPDATE parts SET v = 'changed' WHERE id = 3;
COMMIT;
SELECT check_history('bag_history', 'bag', 'a, b, version'), check_history('parts_history', 'parts', 'id, part'),
	check_history('sums_history', 'bag_sums', 'a');
SELECT id, part, v, operation, ended_by FROM parts_history ORDER BY id, part, version;
SELECT oracle('bag_versions'), oracle('bag_sums');
TRUNCATE bag, parts;
SELECT check_history('bag_history', 'bag', 'a, b, version'), check_history('parts_history', 'parts', 'id, part'),
	check_history('sums_history', 'bag_sums', 'a');
SELECT oracle('bag_versions'), oracle('bag_sums');

-- Changes that were lost: what is there is put right, and marked.
SELECT derive.pause('orders_history');
SELECT derive.pause('bag_history');
UPDATE orders SET total = 99 WHERE id = 1;
DELETE FROM orders WHERE id = 5;
INSERT INTO orders VALUES (20, 'new', 1);
INSERT INTO bag SELECT 1, 1 FROM generate_series(1, 1000);
SELECT derive.resume('orders_history');
SELECT derive.resume('bag_history');
SELECT check_history('orders_history', 'orders', 'id'), check_history('bag_history', 'bag', 'a, b, version');
SELECT id, total, operation, ended_by, xid IS NULL AS unknown FROM orders_history WHERE 'resync' IN (operation, ended_by) ORDER BY version;
SELECT operation, count(*) FROM bag_history WHERE until IS NULL GROUP BY 1;
DELETE FROM bag WHERE a = 1;
SELECT check_history('bag_history', 'bag', 'a, b, version');

-- The source's columns change.
ALTER TABLE orders ADD COLUMN extra int DEFAULT 7;
UPDATE orders SET extra = 8, total = total + 1;
SELECT derive.wait('orders_history', timeout => '60 s');
SELECT id, extra IS NULL AS unknown FROM derive.as_of('orders_history', clock_timestamp(), NULL::orders) ORDER BY id LIMIT 1;
BEGIN;
ALTER TABLE orders RENAME customer TO client;
ALTER MATERIALIZED VIEW orders_history RENAME customer TO client;
COMMIT;
UPDATE orders SET client = upper(client) WHERE id = 1;
SELECT derive.wait('orders_history', timeout => '60 s');
SELECT client, count(*) FROM orders_history WHERE id = 1 AND until IS NULL GROUP BY 1;
ALTER MATERIALIZED VIEW orders_history RENAME committed_at TO began;
SELECT count(*) > 0 AS known FROM derive.as_of('orders_history', clock_timestamp(), NULL::orders);
ALTER TABLE orders DROP COLUMN note;
SELECT derive.wait('orders_history', timeout => '60 s');

SELECT derive.explain('orders_history');
DROP MATERIALIZED VIEW orders_history;

-- Its primary key comes and goes; columns that were dropped before; equal rows.
CREATE TABLE keyed (gone int, id int PRIMARY KEY, v text);
ALTER TABLE keyed DROP COLUMN gone;
INSERT INTO keyed SELECT g, 'v' || g FROM generate_series(1, 20) g;
SELECT derive.create_view('keyed_history', 'history', '{keyed}');
SELECT derive.wait(timeout => '60 s');
UPDATE keyed SET v = v || 'x' WHERE id < 5;
ALTER TABLE keyed DROP CONSTRAINT keyed_pkey;
INSERT INTO keyed VALUES (1, 'second'), (1, 'second'), (2, 'second');
UPDATE keyed SET v = 'changed' WHERE ctid = (SELECT ctid FROM keyed WHERE v = 'second' LIMIT 1);
DELETE FROM keyed WHERE v = 'v2x';
SELECT check_history('keyed_history', 'keyed', 'id, version');
DELETE FROM keyed WHERE id IN (1, 2);
ALTER TABLE keyed ADD PRIMARY KEY (id);
UPDATE keyed SET v = v || 'y';
SELECT check_history('keyed_history', 'keyed', 'id, version');
UPDATE keyed SET id = id + 100;
SELECT check_history('keyed_history', 'keyed', 'id, version');
SELECT * FROM derive.as_of('keyed_history', clock_timestamp(), NULL::keyed) ORDER BY id LIMIT 1;
SELECT derive.as_of('keyed_history', clock_timestamp(), NULL::keyed) AS r ORDER BY r LIMIT 1;
SELECT DISTINCT operation FROM keyed_history ORDER BY 1;
DROP MATERIALIZED VIEW keyed_history;
DROP TABLE keyed;

-- Retention and compaction.
ALTER SYSTEM SET pg_derive.cleanup_interval = '10ms';
SELECT pg_reload_conf();
CREATE PROCEDURE until(condition text) LANGUAGE plpgsql AS $$
DECLARE
	met boolean;
BEGIN
	LOOP
		EXECUTE 'SELECT ' || condition INTO met;
		EXIT WHEN met;
		PERFORM derive.wait();
		COMMIT;
	END LOOP;
END $$;
CREATE TABLE kv (k text PRIMARY KEY, v int);
SELECT derive.create_view('kv_none', 'history', '{kv}', options => '{"retention": "0"}');
SELECT derive.create_view('kv_compact', 'history', '{kv}', options => '{"compact": true}');
SELECT derive.create_view('kv_compact', 'history', '{kv}', key => '{k}', options => '{"compact": true}');
SELECT derive.create_view('kv_both', 'history', '{kv}', key => '{k}', options => '{"compact": true, "retention": "1 hour"}');
SELECT derive.create_view('kv_long', 'history', '{kv}', options => '{"retention": "1 day"}');
SELECT derive.wait(timeout => '60 s');
INSERT INTO kv SELECT 'k' || g, 0 FROM generate_series(1, 100) g;
SELECT pg_current_wal_insert_lsn() AS early, clock_timestamp() AS early_time \gset
UPDATE kv SET v = v + 1;
UPDATE kv SET v = v + 1;
DELETE FROM kv WHERE k < 'k5';
INSERT INTO kv VALUES ('k1', -1);
UPDATE kv SET k = 'k' || k WHERE k = 'k99';
SELECT derive.wait(timeout => '60 s');
CALL until('NOT EXISTS (SELECT FROM kv_none WHERE until IS NOT NULL)');
CALL until('(SELECT count(*) FROM kv_compact) = 101');
SELECT check_history('kv_none', 'kv', 'k'), check_history('kv_compact', 'kv', 'k'), check_history('kv_long', 'kv', 'k');
SELECT (SELECT count(*) FROM kv_none) AS kept_none, (SELECT count(*) FROM kv_long) AS kept_long,
	(SELECT count(*) FROM kv_both) AS kept_both, (SELECT max(n) FROM (SELECT count(*) AS n FROM kv_compact GROUP BY k) c) AS of_one_key,
	(SELECT ended_by FROM kv_compact WHERE k = 'k99'), (SELECT v FROM kv_compact WHERE k = 'k2');
CREATE FUNCTION knows(history regclass, lsn pg_lsn, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT count(*) FROM derive.as_of(history, lsn, NULL::kv)) || ' ' || (SELECT count(*) FROM derive.as_of(history, at, NULL::kv));
EXCEPTION WHEN data_exception THEN
	RETURN regexp_replace(SQLERRM, 'of [\dA-F]+/.*', 'of then');
END $$;
SELECT h, knows(h, :'early', :'early_time') AS early, knows(h, pg_current_wal_insert_lsn(), clock_timestamp()) AS now
FROM unnest('{kv_none, kv_compact, kv_both, kv_long}'::regclass[]) h;
SELECT derive.explain('kv_both');
ALTER SYSTEM RESET pg_derive.cleanup_interval;
SELECT pg_reload_conf();

-- Wrong declarations.
CREATE TABLE collides (id int, xid int);
SELECT derive.create_view('h', 'history', '{collides}');
SELECT derive.create_view('h', 'history', '{kv,bag}');
SELECT derive.create_view('h', 'history', '{}');
SELECT derive.create_view('h', 'history', '{kv}', columns => '(k text, v int)');
SELECT derive.create_view('h', 'history', '{kv}', columns => '(k text, w int, n bigint, op text, x xid8, l pg_lsn, t timestamptz, op2 text, x2 xid8, l2 pg_lsn, t2 timestamptz)');
SELECT derive.create_view('h', 'history', '{kv}', columns => '(k int, v int, n bigint, op text, x xid8, l pg_lsn, t timestamptz, op2 text, x2 xid8, l2 pg_lsn, t2 timestamptz)');
SELECT derive.create_view('h', 'history', '{kv}', key => '{nope}');
SELECT derive.create_view('h', 'history', '{kv}', key => '{version}');
SELECT derive.create_view('h', 'history', '{kv}', options => '{"retention": "soon"}');
SELECT derive.create_view('h', 'history', '{kv}', options => '{"retention": "-1 day"}');
SELECT derive.create_view('h', 'history', '{kv}', options => '{"retain": "1 day"}');
SELECT derive.create_view('collides_history', 'history', '{collides}', columns => '(id int, xid int, n bigint, op text, x xid8, l pg_lsn, t timestamptz, op2 text, x2 xid8, l2 pg_lsn, t2 timestamptz)');
SELECT derive.wait('collides_history', timeout => '60 s');
INSERT INTO collides VALUES (1, 2);
SELECT id, xid FROM derive.as_of('collides_history', clock_timestamp(), NULL::collides);
SELECT derive.verify('collides_history');

-- A history that was not maintained for a while keeps what it has, and is compared with the table.
CREATE TABLE gap (id int PRIMARY KEY, v int);
INSERT INTO gap VALUES (1, 1), (2, 2);
SELECT derive.create_view('gap_history', 'history', '{gap}');
SELECT derive.wait('gap_history', timeout => '60 s');
UPDATE gap SET v = 5 WHERE id = 1;
SELECT derive.wait('gap_history', timeout => '60 s');
SELECT derive.release('gap_history');
UPDATE gap SET v = 6 WHERE id = 1;
SELECT derive.maintain('gap_history');
SELECT derive.wait('gap_history', timeout => '60 s');
UPDATE gap SET v = 7 WHERE id = 1;
SELECT derive.wait('gap_history', timeout => '60 s');
SELECT version, id, v, operation, ended_by FROM gap_history ORDER BY 1;

-- What happened while it stood still is not known, and nobody is told otherwise.
CREATE TABLE gap_moments (name text, lsn pg_lsn, at timestamptz);
CREATE PROCEDURE gap_moment(text) LANGUAGE sql AS $$ INSERT INTO gap_moments VALUES ($1, pg_current_wal_insert_lsn(), clock_timestamp()) $$;
CREATE FUNCTION gap_rows(text, by_time boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	m gap_moments;
	result text;
BEGIN
	SELECT * INTO STRICT m FROM gap_moments WHERE name = $1;
	IF by_time THEN
		SELECT string_agg(g::text, ' ' ORDER BY id) INTO result FROM derive.as_of('gap_history', m.at, NULL::gap) g;
	ELSE
		SELECT string_agg(g::text, ' ' ORDER BY id) INTO result FROM derive.as_of('gap_history', m.lsn, NULL::gap) g;
	END IF;
	RETURN result;
EXCEPTION WHEN data_exception THEN
	RETURN 'not known';
END $$;
CALL gap_moment('before');
UPDATE gap SET v = 8 WHERE id = 1;
SELECT derive.wait('gap_history', timeout => '60 s');
SELECT derive.pause('gap_history');
UPDATE gap SET v = 9 WHERE id = 1;
CALL gap_moment('first gap');
UPDATE gap SET v = 10 WHERE id = 1;
SELECT derive.resume('gap_history');
SELECT derive.wait('gap_history', timeout => '60 s');
CALL gap_moment('between');
UPDATE gap SET v = 11 WHERE id = 1;
SELECT derive.wait('gap_history', timeout => '60 s');
SELECT name, gap_rows(name, false), gap_rows(name, true) FROM gap_moments ORDER BY at;
-- Of two gaps the history is good behind the first.
SELECT derive.pause('gap_history');
UPDATE gap SET v = 12 WHERE id = 1;
CALL gap_moment('second gap');
UPDATE gap SET v = 13 WHERE id = 1;
SELECT derive.resume('gap_history');
SELECT derive.wait('gap_history', timeout => '60 s');
CALL gap_moment('after');
SELECT name, gap_rows(name, false), gap_rows(name, true) FROM gap_moments ORDER BY at;
DROP FUNCTION gap_rows;
DROP PROCEDURE gap_moment;
DROP TABLE gap_moments;
DROP MATERIALIZED VIEW gap_history;
DROP TABLE gap;

-- Equal rows without a key that end in one transaction: each is found without passing those that have ended before.
CREATE TABLE equal_rows (v int);
SELECT derive.create_view('equal_history', 'history', '{equal_rows}');
INSERT INTO equal_rows SELECT 1 FROM generate_series(1, 60000);
SELECT derive.wait('equal_history', timeout => '60 s');
DELETE FROM equal_rows;
SELECT derive.wait('equal_history', timeout => '60 s');
INSERT INTO equal_rows SELECT i % 3 FROM generate_series(1, 60000) i;
SELECT derive.wait('equal_history', timeout => '60 s');
UPDATE equal_rows SET v = v + 1 WHERE v < 2;
DELETE FROM equal_rows WHERE ctid IN (SELECT ctid FROM equal_rows WHERE v = 2 LIMIT 10000);
SELECT derive.wait('equal_history', timeout => '60 s');
SELECT v, ended_by, count(*) FROM equal_history GROUP BY 1, 2 ORDER BY 1, 2;
SELECT v, count(*) FROM equal_rows GROUP BY 1 ORDER BY 1;
-- The same where a partition was truncated: of the open versions, which are many, all but the newest are ended.
CREATE TABLE equal_parts (v int) PARTITION BY LIST (v);
CREATE TABLE equal_parts_1 PARTITION OF equal_parts FOR VALUES IN (1);
CREATE TABLE equal_parts_2 PARTITION OF equal_parts FOR VALUES IN (2);
SELECT derive.create_view('equal_parts_history', 'history', '{equal_parts}');
INSERT INTO equal_parts SELECT 1 FROM generate_series(1, 60000);
INSERT INTO equal_parts VALUES (2);
SELECT derive.wait('equal_parts_history', timeout => '60 s');
BEGIN;
TRUNCATE equal_parts_1;
INSERT INTO equal_parts SELECT 1 FROM generate_series(1, 3);
COMMIT;
SELECT derive.wait('equal_parts_history', timeout => '60 s');
SELECT v, ended_by, count(*), min(version), max(version) FROM equal_parts_history GROUP BY 1, 2 ORDER BY 1, 2;
DROP MATERIALIZED VIEW equal_parts_history;
DROP TABLE equal_parts;
DROP MATERIALIZED VIEW equal_history;
DROP TABLE equal_rows;

-- The key of the declaration follows its columns.
CREATE TABLE renamed (id int PRIMARY KEY, v text);
INSERT INTO renamed VALUES (1, 'a'), (2, 'b');
SELECT derive.create_view('renamed_history', 'history', '{renamed}', key => '{id}', options => '{"compact": true, "retention": "1 day"}');
SELECT derive.wait('renamed_history', timeout => '60 s');
BEGIN;
ALTER TABLE renamed RENAME id TO ident;
ALTER MATERIALIZED VIEW renamed_history RENAME id TO ident;
COMMIT;
UPDATE renamed SET v = 'c' WHERE ident = 1;
SELECT derive.wait('renamed_history', timeout => '60 s');
BEGIN;
SELECT pg_current_xact_id() AS did \gset
UPDATE renamed SET v = 'd';
COMMIT;
SELECT check_history('renamed_history', 'renamed', 'ident');
SELECT operation, before, after, conflict FROM derive.changes_of('renamed_history', :'did') ORDER BY 2;
SELECT derive.release('renamed_history');
SELECT derive.maintain('renamed_history');
UPDATE renamed SET v = 'e' WHERE ident = 1;
SELECT check_history('renamed_history', 'renamed', 'ident');
DROP MATERIALIZED VIEW renamed_history;
DROP TABLE renamed;

-- What a transaction did, whatever the columns are called.
CREATE TABLE letters (a int PRIMARY KEY, b int, n int, r bigint, h text, pair int4range, b1 int, version_ int);
INSERT INTO letters VALUES (1, 2, 3, 4, 'five', '[6,7)', 8, 9), (2, 2, 3, 4, 'five', '[6,7)', 8, 9);
SELECT derive.create_view('letters_history', 'history', '{letters}');
SELECT derive.wait('letters_history', timeout => '60 s');
BEGIN;
SELECT pg_current_xact_id() AS did \gset
UPDATE letters SET r = r + 1 WHERE a = 1;
DELETE FROM letters WHERE a = 2;
COMMIT;
BEGIN;
SELECT * FROM derive.changes_of('letters_history', :'did');
-- who may read the history, and not the source, does not keep that locked
SELECT mode FROM pg_locks WHERE relation = 'letters'::regclass AND pid = pg_backend_pid();
COMMIT;
-- By a key that several rows have, or none, nobody can tell which became which; where a row is the only one, it can be told.
CREATE TABLE visits (id int PRIMARY KEY, customer text, v int);
INSERT INTO visits VALUES (1, 'ann', 1), (2, 'ann', 2), (3, NULL, 3), (4, 'bob', 4), (5, 'cid', 5), (6, 'cid', 6);
SELECT derive.create_view('visits_history', 'history', '{visits}', key => '{customer}');
SELECT derive.wait('visits_history', timeout => '60 s');
BEGIN;
SELECT pg_current_xact_id() AS did \gset
UPDATE visits SET v = v + 10 WHERE id < 5;
DELETE FROM visits WHERE id = 5;
COMMIT;
UPDATE visits SET v = 0 WHERE id = 2;
SELECT operation, before, after, now, conflict FROM derive.changes_of('visits_history', :'did') ORDER BY 2, 3;
-- Nor does it help that the key is unique later.
DELETE FROM visits WHERE id IN (1, 3, 5);
ALTER TABLE visits ALTER customer SET NOT NULL, ADD UNIQUE (customer);
SELECT operation, before, after, now, conflict FROM derive.changes_of('visits_history', :'did') ORDER BY 2, 3;
-- The key of a parent says nothing of its children.
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child () INHERITS (parent);
INSERT INTO parent VALUES (1, 1), (2, 1);
INSERT INTO child VALUES (1, 100);
SELECT derive.create_view('parent_history', 'history', '{parent}', key => '{id}');
SELECT derive.wait('parent_history', timeout => '60 s');
BEGIN;
SELECT pg_current_xact_id() AS did \gset
UPDATE parent SET v = v + 1;
COMMIT;
SELECT operation, before, after, now, conflict FROM derive.changes_of('parent_history', :'did') ORDER BY 2, 3;

-- A retention that reaches behind the first moment that there is keeps all.
SELECT derive.create_view('forever', 'history', '{letters}', options => '{"retention": "9999 years"}');
SELECT derive.create_topic('forever_topic', 'a int', options => '{"retention_age": "9999 years"}');
SELECT derive.append('forever_topic', '{"a": 1}') IS NOT NULL AS appended;
SELECT derive.wait('forever_topic', timeout => '60 s');
SELECT count(*) FROM forever_topic;

-- One that has failed can be looked into, up to where it stands.
SELECT pg_current_wal_insert_lsn() AS reached \gset
UPDATE letters SET n = 33;
UPDATE visits SET v = 33;
SELECT derive.wait(timeout => '60 s');
BEGIN;
ALTER TABLE letters DROP COLUMN n;
INSERT INTO letters VALUES (3);
COMMIT;
DO $$ BEGIN PERFORM derive.wait('letters_history'); EXCEPTION WHEN object_not_in_prerequisite_state THEN RAISE NOTICE '%', SQLERRM; END $$;
SELECT * FROM derive.as_of('letters_history', :'reached'::pg_lsn) AS t(a int, n int);
SELECT * FROM derive.as_of('letters_history', pg_current_wal_insert_lsn()) AS t(a int, n int);
SELECT derive.pause('visits_history');
SELECT count(*) FROM derive.as_of('visits_history', :'reached'::pg_lsn) AS t(id int);
DROP MATERIALIZED VIEW letters_history, visits_history, parent_history, forever, forever_topic;
DROP TABLE letters, visits, parent, child;

SELECT view, state FROM derive.views WHERE state <> 'ready';
DROP MATERIALIZED VIEW kv_none, kv_compact, kv_both, kv_long, collides_history, bag_versions, bag_history, sums_history, bag_sums, parts_history;
REVOKE ALL ON orders FROM regress_reader;
DROP ROLE regress_reader;
DROP TABLE orders, moments, copies, bag, parts, kv, collides;
DROP PROCEDURE live, remember, until;
DROP FUNCTION check_history, wrong_moments, knows;
