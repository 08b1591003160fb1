-- The oracle, from outside: how many rows the view has too many or too few, compared with its query as multisets.
-- Columns of types without equality are compared as text.
CREATE FUNCTION has_equality(type oid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT NULL::%1$s EXCEPT ALL SELECT NULL::%1$s', format_type(type, NULL));
	RETURN true;
EXCEPTION
	WHEN undefined_function THEN
		RETURN false;
	WHEN not_null_violation THEN
		RETURN true;	-- a domain
END $$;
CREATE FUNCTION rows_that_differ(view regclass) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	columns text;
	result bigint;
BEGIN
	SELECT string_agg(quote_ident(attname) || CASE WHEN has_equality(atttypid) THEN '' ELSE '::text' END, ', ' ORDER BY attnum)
	INTO columns FROM pg_attribute WHERE attrelid = view AND attnum > 0 AND NOT attisdropped;
	-- each is read once
	EXECUTE format('WITH "the query" AS MATERIALIZED (SELECT %1$s FROM (%3$s) q),
						"the view" AS MATERIALIZED (SELECT %1$s FROM %2$s)
					SELECT count(*) FROM ((TABLE "the view" EXCEPT ALL TABLE "the query")
						UNION ALL (TABLE "the query" EXCEPT ALL TABLE "the view")) d',
				   columns, view, rtrim(pg_get_viewdef(view), ';')) INTO result;
	RETURN result;
END $$;
