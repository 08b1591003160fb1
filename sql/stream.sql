-- The readable event stream: what pg_logical_slot_get_changes() and
-- pg_recvlogical -P pg_derive see.
SET timezone = 'UTC';
SET datestyle = 'SQL, DMY';		-- dates in the stream are ISO all the same
SET intervalstyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
CREATE SCHEMA stream;
SET search_path = stream, public;

SELECT slot_name FROM pg_create_logical_replication_slot('stream', 'pg_derive');

-- All that does not differ from run to run; and every event must be JSON.
CREATE FUNCTION events(VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE sql AS $$
	SELECT data
	FROM pg_logical_slot_get_changes('stream', NULL, NULL,
		VARIADIC options || '{include_xids,off,include_lsns,off,include_times,off}')
	WHERE data::json IS NOT NULL
$$;
SELECT * FROM events();

--
-- Types
--
CREATE TYPE mood AS ENUM ('happy', 'so "so"');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE types (
	id int PRIMARY KEY,
	i2 int2, i8 int8, o oid, n numeric, f4 float4, f8 float8, b bool,
	t text, vc varchar(20), c char(5), nm name, by bytea,
	d date, tm time, tz timetz, ts timestamp, tstz timestamptz, iv interval,
	u uuid, j json, jb jsonb, x xml, p point, r int4range, mr int4multirange,
	ia int[], ta text[], m mood, pr pair, dom positive, mo money, ip inet,
	bits varbit, vec tsvector, g int GENERATED ALWAYS AS (id * 2) STORED
);
INSERT INTO types VALUES (
	1,
	-2, 9223372036854775807, 4294967295, 1.50, 1.5, 1e300, true,
	E'quote " backslash \\ tab \t newline \n bell \x07 umlaut', 'vc', 'c', 'nm', '\xdeadbeef',
	'31.12.2026', '12:34:56.789', '12:34:56+02', '31.12.2026 12:34:56.789', '31.12.2026 12:34:56.789+02', '1 year 2 days 03:04:05',
	'00000000-0000-0000-0000-00000000000a', E'{"a":\n [1, "x\\n"]}', '{"b": {"c": null}}', '<a b="c"/>', '(1,2)', '[1,5)', '{[1,2),[5,6)}',
	'{1,NULL,3}', '{a,"b c"}', 'so "so"', '(1,"x y")', 7, '12.34', '10.0.0.1/8',
	'101', 'cat sat'
);
INSERT INTO types (id, n, f4, f8, d, ts, tstz) VALUES
	(2, 'NaN', 'NaN', 'Infinity', 'infinity', '-infinity', 'infinity'),
	(3, 'Infinity', '-Infinity', '-0', '01.01.4000 BC', '01.01.4000 BC', NULL),
	(4, -123456789012345678901234567890.12345678901234567890, 1e-20, 123456789.123, NULL, NULL, NULL);
SELECT * FROM events();

--
-- Old images, by replica identity
--
CREATE TABLE changes (id int PRIMARY KEY, a text, b text);
INSERT INTO changes VALUES (1, 'x', NULL);
UPDATE changes SET a = 'y';						-- identity untouched: no old
UPDATE changes SET id = 2;
DELETE FROM changes;
SELECT * FROM events();

ALTER TABLE changes REPLICA IDENTITY FULL;
INSERT INTO changes VALUES (1, 'x', NULL);
UPDATE changes SET a = 'y';
UPDATE changes SET a = NULL, b = 'b';
DELETE FROM changes;
SELECT * FROM events();

ALTER TABLE changes REPLICA IDENTITY NOTHING;
INSERT INTO changes VALUES (1, 'x', NULL);
UPDATE changes SET id = 2;
DELETE FROM changes;
SELECT * FROM events();

CREATE UNIQUE INDEX changes_a ON changes (a, id);
ALTER TABLE changes ALTER a SET NOT NULL;
ALTER TABLE changes REPLICA IDENTITY USING INDEX changes_a;
INSERT INTO changes VALUES (1, 'x', 'b');
UPDATE changes SET a = 'y';
DELETE FROM changes;
SELECT * FROM events();

--
-- TOAST: new, unchanged with and without the old row, compressed
--
CREATE TABLE toasted (id int PRIMARY KEY, big text, small text, squeezed text);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
INSERT INTO toasted VALUES (1, repeat('0123456789', 1000), 's', repeat('z', 10000));
UPDATE toasted SET small = 't';
ALTER TABLE toasted REPLICA IDENTITY FULL;
UPDATE toasted SET small = 'u';
UPDATE toasted SET big = 'not any more';
SELECT left(data, 60) AS event, data::json #>> '{new,id}' AS id,
	length(data::json #>> '{old,big}') AS old_big, length(data::json #>> '{new,big}') AS new_big,
	length(data::json #>> '{new,squeezed}') AS new_squeezed, data::json ->> 'unchanged' AS unchanged
FROM events() AS data;

--
-- Names, dropped columns, changes of the table within a transaction
--
CREATE TABLE "Quoted ""Name"", with.dots" ("Key" int PRIMARY KEY, "a ""b""" text, gone int);
INSERT INTO "Quoted ""Name"", with.dots" VALUES (1, 'one', 1);
ALTER TABLE "Quoted ""Name"", with.dots" DROP COLUMN gone;
BEGIN;
INSERT INTO "Quoted ""Name"", with.dots" VALUES (2, 'two');
ALTER TABLE "Quoted ""Name"", with.dots" ADD COLUMN later int DEFAULT 5;
INSERT INTO "Quoted ""Name"", with.dots" VALUES (3, 'three', 3);
ALTER TABLE "Quoted ""Name"", with.dots" ALTER later TYPE text;
UPDATE "Quoted ""Name"", with.dots" SET later = later || '!';
COMMIT;
SELECT * FROM events();

CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (10) TO (20);
ALTER TABLE parted_low REPLICA IDENTITY FULL;
INSERT INTO parted VALUES (1, 'moves');
UPDATE parted SET id = 11;
SELECT * FROM events();

--
-- Transactions
--
BEGIN;
INSERT INTO changes VALUES (10, 'kept', NULL);
SAVEPOINT s;
INSERT INTO changes VALUES (11, 'undone', NULL);
ROLLBACK TO s;
INSERT INTO changes VALUES (12, 'kept', NULL);
COMMIT;
BEGIN;
INSERT INTO changes VALUES (13, 'undone', NULL);
ROLLBACK;
INSERT INTO changes VALUES (10, 'kept', 'b') ON CONFLICT (id) DO UPDATE SET b = excluded.b;
COPY changes FROM STDIN;
20	copied	\N
21	copied	c
\.
SELECT * FROM events();

TRUNCATE changes;
TRUNCATE changes, toasted RESTART IDENTITY CASCADE;
SELECT * FROM events();

-- nothing changed: no events, unless asked for
CREATE TABLE nothing ();
SELECT * FROM events();
-- (those of autovacuum, too)
BEGIN;
DROP TABLE nothing;
SELECT pg_current_xact_id() AS xid \gset
COMMIT;
SELECT data FROM pg_logical_slot_get_changes('stream', NULL, NULL,
	'include_empty', 'on', 'include_xids', 'off', 'include_lsns', 'off', 'include_times', 'off') WHERE xid::text = :'xid';

--
-- Messages
--
SELECT pg_logical_emit_message(true, 'app', 'in a "transaction"') IS NOT NULL AS sent;
SELECT pg_logical_emit_message(false, 'a"b', 'alone') IS NOT NULL AS sent;
SELECT pg_logical_emit_message(true, 'bytes', '\x00ff'::bytea) IS NOT NULL AS sent;
SELECT pg_logical_emit_message(true, '', '') IS NOT NULL AS sent;
SELECT * FROM events();

--
-- Which tables
--
CREATE TABLE orders (id int PRIMARY KEY);
CREATE TABLE orders_2026 (id int PRIMARY KEY);
CREATE TABLE "odd,.*\ " (id int PRIMARY KEY);
CREATE FUNCTION touch() RETURNS void LANGUAGE sql AS $$
	TRUNCATE stream.orders, stream.orders_2026, stream."odd,.*\ ";
	INSERT INTO stream.orders VALUES (1);
	INSERT INTO stream.orders_2026 VALUES (1);
	INSERT INTO stream."odd,.*\ " VALUES (1);
$$;
CREATE FUNCTION touched(VARIADIC options text[]) RETURNS text
LANGUAGE sql AS $$
	SELECT string_agg(json_extract_path_text(e::json, 'event') || ' ' ||
					  coalesce(json_extract_path_text(e::json, 'table'), json_extract_path_text(e::json, 'tables'), ''), '; ')
	FROM stream.events(VARIADIC options) AS e
$$;
SELECT touch();
SELECT touched('tables', 'stream.orders');
SELECT touch();
SELECT touched('tables', 'stream.orders*');
SELECT touch();
SELECT touched('tables', ' public.* , s*m.*_2*6');
SELECT touch();
SELECT touched('tables', '*.*', 'exclude', '*.orders_2026, *.odd*');
SELECT touch();
SELECT touched('exclude', '*.orders*');
SELECT touch();
SELECT touched('tables', 'stream.odd\,\.\*\\\ ');
SELECT touch();
SELECT touched('tables', 'stream.odd');
SELECT touch();
SELECT touched('tables', 'stream.orders', 'tables', 'stream.orders_2026');

--
-- The rest of an event
--
INSERT INTO orders VALUES (2);
SELECT json_object_keys(data::json) AS key,
	bool_and(xid::text = data::json ->> 'xid') AS is_xid,
	bool_and((data::json ->> 'commit_lsn')::pg_lsn > '0/0') AS commit_lsn,
	bool_and(coalesce((data::json ->> 'end_lsn')::pg_lsn = lsn, true)) AS end_lsn,
	bool_and(coalesce((data::json ->> 'commit_time')::timestamptz BETWEEN now() - interval '1 hour' AND clock_timestamp(), true)) AS commit_time
FROM pg_logical_slot_get_changes('stream', NULL, NULL, 'format', '1', 'origin', 'none')
GROUP BY 1 ORDER BY 1;

--
-- What relations are like: before the first change, and again where that has changed
--
CREATE TABLE kept (id int, key2 text, v varchar(5)[], gone int);
CREATE FUNCTION said() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_replace(regexp_replace(e, '"oid":\d+', '"oid":N'), '"(old|new)":.*', '..') FROM stream.events('relations', 'on', 'tables', 'stream.kept, public.*') AS e
	WHERE e !~ '"(begin|commit)"'
$$;
INSERT INTO kept VALUES (1, 'a');
INSERT INTO kept VALUES (2, 'b');
SELECT said();
-- not the primary key if the log has all columns: a unique index that will do
CREATE UNIQUE INDEX kept_part ON kept (id) WHERE id > 1;
CREATE UNIQUE INDEX kept_expression ON kept ((id + 1));
ALTER TABLE kept ADD CONSTRAINT kept_deferred UNIQUE (id) DEFERRABLE;
INSERT INTO kept VALUES (3, 'c');
CREATE UNIQUE INDEX kept_key ON kept (key2, id) INCLUDE (v);
INSERT INTO kept VALUES (4, 'd');
ALTER TABLE kept REPLICA IDENTITY FULL;
INSERT INTO kept VALUES (5, 'e');
BEGIN;
ALTER TABLE kept DROP COLUMN gone;
INSERT INTO kept VALUES (6, 'f');
ALTER TABLE kept RENAME key2 TO "k\2";
INSERT INTO kept VALUES (7, 'g');
ALTER TABLE kept ALTER id SET NOT NULL, ALTER "k\2" SET NOT NULL;
INSERT INTO kept VALUES (8, 'h');
COMMIT;
CREATE UNIQUE INDEX kept_equal ON kept (v) NULLS NOT DISTINCT WHERE false;
DROP INDEX kept_key;
CREATE UNIQUE INDEX kept_two ON kept (id) NULLS NOT DISTINCT;
ALTER TABLE kept ALTER id DROP NOT NULL;
UPDATE kept SET v = '{x}' WHERE id = 1;
-- what changes nothing of it is not said
ANALYZE kept;
ALTER TABLE kept SET (fillfactor = 90);
DELETE FROM kept WHERE id = 1;
ALTER TABLE kept ADD PRIMARY KEY ("k\2");
ALTER TABLE kept REPLICA IDENTITY DEFAULT;
DELETE FROM kept WHERE id = 2;
ALTER TABLE kept REPLICA IDENTITY NOTHING;
INSERT INTO kept VALUES (9, 'i');
SELECT said();
-- a new reader hears it again
INSERT INTO kept VALUES (10, 'j');
SELECT said();
-- from 18 on a column may be NOT NULL and have NULLs from before
CREATE TABLE with_nulls (a int, b int);
INSERT INTO with_nulls VALUES (NULL, 1), (NULL, 2);
DO $$
BEGIN
	IF current_setting('server_version_num')::integer >= 180000 THEN
		EXECUTE 'ALTER TABLE with_nulls ADD NOT NULL a NOT VALID';
	END IF;
END $$;
CREATE UNIQUE INDEX with_nulls_key ON with_nulls (a);
ALTER TABLE with_nulls REPLICA IDENTITY FULL;
DELETE FROM with_nulls WHERE b = 1;
SELECT regexp_replace(e, '"oid":\d+', '"oid":N') FROM events('relations', 'on', 'tables', 'stream.with_nulls') AS e WHERE e ~ '"(relation|delete)"';

--
-- Joined: a message is all that a transaction has, or some 16 kB of it
--
INSERT INTO orders SELECT generate_series(100, 1099);
SELECT pg_logical_emit_message(false, 'alone', 'x') IS NOT NULL;
INSERT INTO orders VALUES (1100), (1101);
SELECT n BETWEEN 5 AND 15 AS few, max(length(e)) BETWEEN 16384 AND 17000 AS is_long, sum(lines) FROM (
	SELECT count(*) OVER () AS n, e, (SELECT count(*) FROM regexp_split_to_table(e, '\n') l WHERE l::json IS NOT NULL) AS lines
	FROM (SELECT data AS e FROM pg_logical_slot_peek_changes('stream', NULL, NULL, 'joined', 'on')) s) s
GROUP BY n;
SELECT count(*), max(length(data)) < 300 FROM pg_logical_slot_peek_changes('stream', NULL, NULL, 'joined', 'off');
SELECT data FROM pg_logical_slot_get_changes('stream', NULL, NULL,
	'joined', 'on', 'include_xids', 'off', 'include_lsns', 'off', 'include_times', 'off') WHERE data ~ '1101|alone';

--
-- Options that are wrong
--
SELECT * FROM events('fromat', '1');
SELECT * FROM events('format', '2');
SELECT * FROM events('include_empty', 'maybe');
SELECT * FROM events('origin', 'here');
SELECT * FROM events('tables', 'orders');
SELECT * FROM events('tables', '');
SELECT * FROM events('tables', 'stream.orders,');
SELECT * FROM events('exclude', 'a.b.c');
SELECT * FROM events('tables', 'a.');

-- binary readers get the same text
INSERT INTO orders VALUES (3);
SELECT convert_from(data, 'UTF8') FROM pg_logical_slot_get_binary_changes('stream', NULL, NULL,
	'include_xids', 'off', 'include_lsns', 'off', 'include_times', 'off');

SELECT pg_drop_replication_slot('stream');
SET client_min_messages = warning;
DROP SCHEMA stream CASCADE;
