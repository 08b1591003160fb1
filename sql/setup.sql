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

-- The oracle: waits until the view includes everything so far, then compares it
-- with its query as multisets, both ways, from outside; and lets
-- derive.verify() do the same from inside.  Types without equality are
-- compared as text.
CREATE FUNCTION oracle(view regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	columns text;
	differences bigint;
	verified record;
BEGIN
	IF NOT derive.wait(view, timeout => '60 s') THEN
		RETURN 'timeout';
	END IF;
	SELECT string_agg(CASE WHEN atttypid::regtype::text IN ('json', 'xml', 'point', 'box', 'json[]')
					  THEN quote_ident(attname) || '::text' ELSE quote_ident(attname) END, ', ' ORDER BY attnum)
	INTO columns FROM pg_attribute WHERE attrelid = view AND attnum > 0 AND NOT attisdropped;
	EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL SELECT %1$s FROM (%3$s) q)
					UNION ALL (SELECT %1$s FROM (%3$s) q EXCEPT ALL SELECT %1$s FROM %2$s)) d',
				   columns, view, rtrim(pg_get_viewdef(view), ';')) INTO differences;
	IF differences > 0 THEN
		RETURN format('%s differences', differences);
	END IF;
	SELECT * INTO verified FROM derive.verify(view);
	IF verified.missing + verified.extra > 0 THEN
		RETURN format('verify: %s missing, %s extra', verified.missing, verified.extra);
	END IF;
	RETURN 'exact';
END $$;

-- All views of a schema at once: one row if all are exact.
CREATE FUNCTION oracle_all() RETURNS TABLE (result text, views bigint) LANGUAGE sql AS $$
	SELECT oracle(v.view), count(*) FROM derive.views v GROUP BY 1 ORDER BY 1 $$;
