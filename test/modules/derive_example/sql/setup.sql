-- Both extensions, and what the other tests rely on.
CREATE EXTENSION derive_example CASCADE;
SELECT * FROM derive.derivations WHERE handler::text LIKE 'derive_example.%' ORDER BY name;
-- for expire(); before the worker starts
ALTER SYSTEM SET pg_derive.cleanup_interval = '10ms';
SELECT pg_reload_conf();

-- Wait until the view includes everything so far, then compare it with its
-- definition from outside and from inside.
CREATE FUNCTION oracle(view regclass) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	differences bigint;
	verified record;
BEGIN
	IF NOT derive.wait(view, timeout => '60 s') THEN
		RETURN 'timeout';
	END IF;
	EXECUTE format('SELECT count(*) FROM ((SELECT * FROM %1$s EXCEPT ALL (%2$s))
					UNION ALL ((%2$s) EXCEPT ALL SELECT * FROM %1$s)) d',
				   view, rtrim(pg_get_viewdef(view), ';')) INTO differences;
	IF differences > 0 THEN
		RETURN format('%s differences', differences);
	END IF;
	SELECT * INTO verified FROM derive.verify(view);
	IF verified.missing + verified.extra > 0 THEN
		RETURN format('verify: %s missing, %s extra', verified.missing, verified.extra);
	END IF;
	RETURN 'exact';
END $$;
