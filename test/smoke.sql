-- What every installation must be able to do, however it was made: run by psql with ON_ERROR_STOP, in a database without
-- the extension, on a server that is set as docs/operations.md says.  It fails where something is not right, and leaves nothing.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION pg_derive;
DO $$
BEGIN
	IF EXISTS (SELECT FROM derive.check() WHERE NOT ok) THEN
		RAISE EXCEPTION 'not all is set: %', (SELECT string_agg(format('%s must %s', setting, needed), '; ') FROM derive.check() WHERE NOT ok);
	END IF;
END $$;

CREATE SCHEMA smoke;
SET search_path = smoke;
CREATE TABLE sales (id int PRIMARY KEY, region text, amount numeric);
INSERT INTO sales SELECT i, 'region ' || i % 7, i FROM generate_series(1, 1000) i;
SELECT derive.create_view('totals', 'SELECT region, count(*) AS n, sum(amount) AS total FROM sales GROUP BY region');
SELECT derive.create_view('largest', 'SELECT * FROM totals ORDER BY total DESC, region LIMIT 3');
SELECT derive.create_view('versions', 'history', '{sales}');
SELECT derive.wait(timeout => '1 min');

UPDATE sales SET amount = amount + 1 WHERE id % 3 = 0;
DELETE FROM sales WHERE id % 10 = 0;
INSERT INTO sales VALUES (2001, 'region 8', 5), (2002, NULL, 6);
SELECT derive.wait(timeout => '1 min');

DO $$
BEGIN
	IF EXISTS (SELECT FROM derive.verify() WHERE missing <> 0 OR extra <> 0) OR (SELECT count(*) FROM totals) <> 9
		OR EXISTS (SELECT region, count(*), sum(amount) FROM sales GROUP BY region EXCEPT ALL TABLE totals)
		OR EXISTS (TABLE totals EXCEPT ALL SELECT region, count(*), sum(amount) FROM sales GROUP BY region) THEN
		RAISE EXCEPTION 'a view differs from its query';
	END IF;
	IF (SELECT count(*) FROM versions WHERE until IS NOT NULL) <> 100 + 333 THEN
		RAISE EXCEPTION 'the history has % versions that have ended', (SELECT count(*) FROM versions WHERE until IS NOT NULL);
	END IF;
	IF NOT (SELECT ok FROM derive.health()) THEN
		RAISE EXCEPTION 'not well: %', (SELECT problems FROM derive.health());
	END IF;
END $$;

DROP MATERIALIZED VIEW versions, largest, totals;
DROP SCHEMA smoke CASCADE;
DROP EXTENSION pg_derive;
\echo smoke test passed
