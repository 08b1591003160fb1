-- The extension, and what every other test relies on.
CREATE EXTENSION pg_derive;

-- Everything it made is a member, and every function and view says what it is.
SELECT count(*) AS objects_without_comment
FROM (SELECT p.oid, 'pg_proc'::regclass AS class
      FROM pg_proc p WHERE p.pronamespace = 'derive'::regnamespace
      UNION ALL
      SELECT c.oid, 'pg_class'::regclass
      FROM pg_class c WHERE c.relnamespace = 'derive'::regnamespace AND c.relkind IN ('r', 'v', 'm')) AS o
WHERE obj_description(o.oid, o.class::name) IS NULL;

SELECT extversion FROM pg_extension WHERE extname = 'pg_derive';

\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/test/oracle.sql'
\i :file

-- The same once the view includes everything so far; and then derive.verify() looks from inside.
CREATE FUNCTION oracle(view regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outside bigint;
	inside record;
BEGIN
	IF NOT derive.wait(view, timeout => '60 s') THEN
		RETURN 'timeout';
	END IF;
	outside := rows_that_differ(view);
	IF outside > 0 THEN
		RETURN format('%s differences', outside);
	END IF;
	SELECT * INTO inside FROM derive.verify(view);
	IF inside.missing + inside.extra > 0 THEN
		RETURN format('verify: %s missing, %s extra', inside.missing, inside.extra);
	END IF;
	RETURN 'exact';
END $$;

-- All views of a schema at once: one row if all are exact.
CREATE FUNCTION oracle_all() RETURNS TABLE (result text, views bigint) LANGUAGE sql AS $$
	SELECT oracle(v.view), count(*) FROM derive.views v GROUP BY 1 ORDER BY 1 $$;
