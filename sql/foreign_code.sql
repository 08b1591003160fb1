-- Code of the owner of a view must not run as whoever reads it, nor code of whoever
-- writes to a topic as its owner; and one value that has no JSON stops nobody.
-- Whatever runs here says as whom, and under which search_path.
SET client_min_messages = warning;
CREATE ROLE regress_owner;
CREATE ROLE regress_caller;
CREATE SCHEMA m AUTHORIZATION regress_owner;
CREATE SCHEMA c AUTHORIZATION regress_caller;
GRANT USAGE ON SCHEMA m, c TO PUBLIC;
CREATE FUNCTION ran() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_user || ' with ' || current_setting('search_path') $$;
SET ROLE regress_owner;
CREATE TYPE m.e AS ENUM ('a', 'b', 'bad');
CREATE FUNCTION m.to_json(v m.e) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	IF v = 'bad' THEN
		EXECUTE 'RESET ROLE';
	END IF;
	RETURN to_json(format('%s by %s', enum_out(v), public.ran()));
END $$;
CREATE CAST (m.e AS json) WITH FUNCTION m.to_json(m.e);
CREATE FUNCTION m.to_text(v m.e) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN public.ran(); END $$;
CREATE CAST (m.e AS text) WITH FUNCTION m.to_text(m.e) AS ASSIGNMENT;
CREATE FUNCTION m.from_text(v text) RETURNS m.e LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'from text as %', public.ran(); RETURN 'b'; END $$;
CREATE CAST (text AS m.e) WITH FUNCTION m.from_text(text) AS ASSIGNMENT;
CREATE FUNCTION m.is_good(v int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'check as %', public.ran(); RETURN v > 0; END $$;
REVOKE EXECUTE ON FUNCTION m.is_good FROM PUBLIC;
CREATE DOMAIN m.good AS int CHECK (m.is_good(VALUE));
CREATE TABLE m.t (id int PRIMARY KEY, e m.e, es m.e[], j json);
INSERT INTO m.t VALUES (1, 'a', '{a,b}', '1');
SELECT derive.create_view('m.v', 'SELECT * FROM m.t');
SELECT derive.create_view('m.h', 'history', '{m.t}');
SELECT derive.wait();
RESET ROLE;

-- poll()
SELECT derive.subscribe('m.v', 'reader');
SELECT operation, old, new, omitted FROM derive.poll('reader');
UPDATE m.t SET e = 'b', es = NULL;
SELECT derive.wait();
SELECT operation, old, new, omitted FROM derive.poll('reader') ORDER BY operation;
SELECT current_user, current_setting('search_path') AS path;

-- what has no JSON is left out, and the others still come
INSERT INTO m.t VALUES (2, 'bad', '{a}', '2'), (3, 'a', '{a,bad}', '{"x": "\u0000"}'), (4, NULL, NULL, '4'), (5, NULL, NULL, '"\u0000"');
SELECT derive.wait();
SELECT operation, old, new, omitted FROM derive.poll('reader', 2) ORDER BY new->'id';
SELECT operation, old, new, omitted FROM derive.poll('reader') ORDER BY new->'id';
UPDATE m.t SET id = 33 WHERE id = 3;
UPDATE m.t SET id = 44 WHERE id = 4;
DELETE FROM m.t WHERE id = 5;
SELECT derive.wait();
SELECT operation, old, new, omitted FROM derive.poll('reader') ORDER BY operation, coalesce(old, new)->'id';
SELECT * FROM derive.poll('reader');
SELECT state, behind FROM derive.subscriptions WHERE subscriber = 'reader';
-- also among the initial rows, and those of later calls
SELECT derive.subscribe('m.v', 'late');
SELECT count(*), count(omitted) FROM derive.poll('late', 1);
SELECT count(*), count(omitted) FROM derive.poll('late');
SELECT derive.unsubscribe('reader'), derive.unsubscribe('late');

-- changes_of(): casts, and operators that somebody has put in the way
CREATE SCHEMA trap;
CREATE FUNCTION trap.equal(int, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE 'the wrong operator'; END $$;
CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = int, RIGHTARG = int, HASHES, MERGES);
DELETE FROM m.t;
INSERT INTO m.t VALUES (1, 'a', NULL, '1'), (2, 'bad', NULL, '2');
UPDATE m.t SET e = 'b', j = '"\u0000"' WHERE id = 1;
SELECT derive.wait();
SELECT until_xid AS xid FROM m.h WHERE id = 1 AND ended_by = 'update' AND e = 'a' ORDER BY version DESC LIMIT 1 \gset
SET search_path = trap, pg_catalog, public;
SELECT operation, before, after, now, conflict, omitted FROM derive.changes_of('m.h', :'xid');
RESET search_path;

-- as_of(): a cast that the reader has not written himself does not run as he
SELECT id, e, j FROM derive.as_of('m.h', now(), NULL::m.t) ORDER BY id;
SELECT * FROM derive.as_of('m.h', now()) AS t(id int, e m.e) ORDER BY id;
SELECT * FROM derive.as_of('m.h', now()) AS t(id bigint) ORDER BY id;
SELECT * FROM derive.as_of('m.h', now()) AS t(e text);
SELECT * FROM derive.as_of('m.h', now()) AS t(es text[]);
SELECT * FROM derive.as_of('m.h', now()) AS t(id m.good);
SELECT * FROM derive.as_of('m.h', now()) AS t(id trap.nothing);
SELECT e::text FROM derive.as_of('m.h', now()) AS t(e m.e) LIMIT 1;
SET ROLE regress_owner;
SELECT * FROM derive.as_of('m.h', now()) AS t(e text) LIMIT 1;
RESET ROLE;

-- append(): domains of the topic as its owner, casts of nobody else
SET ROLE regress_owner;
SELECT derive.create_topic('m.plain', 'id int, e m.e');
SELECT derive.create_topic('m.checked', 'id m.good, ids m.good[]');
SELECT derive.wait();
GRANT INSERT ON m.plain, m.checked TO regress_caller;
RESET ROLE;
SELECT derive.append('m.plain', ROW(1, 'a')) IS NOT NULL AS sent;
SELECT derive.append('m.plain', '{"id": 2, "e": "a"}') IS NOT NULL AS sent;
SELECT derive.append('m.plain', ROW(3, 'a'::text)) IS NOT NULL AS sent;
SELECT derive.append('m.plain', ROW('4', 'a')) IS NOT NULL AS sent;
SELECT derive.append('m.plain', ROW(5::numeric, 'a')) IS NOT NULL AS sent;
SELECT derive.append('m.checked', ROW(6, NULL::int[])) IS NOT NULL AS sent;
SELECT derive.append('m.checked', ROW('7', '{8}')) IS NOT NULL AS sent;
SELECT derive.append('m.checked', ROW(9, '{10}'::int[])) IS NOT NULL AS sent;
SELECT derive.append('m.checked', '{"id": 11, "ids": [12]}') IS NOT NULL AS sent;
SELECT derive.append('m.checked', '{"id": -1, "ids": [12]}') IS NOT NULL AS sent;
SELECT current_user, current_setting('search_path') AS path;
SET ROLE regress_caller;
CREATE TYPE c.mine AS (i int);
CREATE FUNCTION c.to_int(v c.mine) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'to int as %', public.ran(); RETURN v.i; END $$;
CREATE CAST (c.mine AS int) WITH FUNCTION c.to_int(c.mine) AS ASSIGNMENT;
SELECT derive.append('m.plain', ROW(ROW(20)::c.mine, 'a')) IS NOT NULL AS sent;
SELECT derive.append('m.checked', ROW(ROW(21)::c.mine, NULL::int[])) IS NOT NULL AS sent;
SELECT derive.append('m.checked', ROW(ROW(22)::c.mine::int, NULL::int[])) IS NOT NULL AS sent;
RESET ROLE;
SELECT derive.append('m.plain', ROW(ROW(23)::c.mine, 'a')) IS NOT NULL AS sent;
SELECT derive.wait();
SELECT id, e FROM m.plain ORDER BY event_id;
SELECT id, ids FROM m.checked ORDER BY event_id;

SELECT oracle('m.v'), (SELECT count(*) FROM derive.verify() WHERE missing + extra > 0) AS others;
DROP SCHEMA m, c, trap CASCADE;
DROP FUNCTION ran();
DROP ROLE regress_owner, regress_caller;

-- Arguments of a definition are computed by whoever works with the view, so they must not run code of its author's.
RESET client_min_messages;
CREATE ROLE regress_derive_author;
CREATE SCHEMA author AUTHORIZATION regress_derive_author;
SET ROLE regress_derive_author;
CREATE TABLE author.t (a int);
ALTER TABLE author.t REPLICA IDENTITY FULL;
CREATE FUNCTION author.options() RETURNS jsonb LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	RAISE NOTICE 'computed by %', CASE current_user WHEN 'regress_derive_author' THEN 'the author' ELSE 'somebody else' END;
	RETURN '{"value": "a"}';
END $$;
CREATE MATERIALIZED VIEW author.v AS
	SELECT * FROM derive.apply('approx_distinct', ARRAY['author.t'::regclass], NULL, author.options()) AS t(estimate bigint) WITH NO DATA;
CREATE MATERIALIZED VIEW author.w AS
	SELECT * FROM derive.apply('approx_distinct', ARRAY['author.t'::regclass], NULL, (SELECT author.options())) AS t(estimate bigint) WITH NO DATA;
RESET ROLE;
SELECT derive.maintain('author.v');
SELECT derive.maintain('author.w');
SET client_min_messages = warning;
DROP SCHEMA author CASCADE;
RESET client_min_messages;
DROP ROLE regress_derive_author;
