-- The derivation "approx_distinct": about how many different values, by HyperLogLog.
CREATE TABLE visits (id int PRIMARY KEY, site text, visitor text, seconds int);
CREATE INDEX ON visits (site);
INSERT INTO visits SELECT i, 'site ' || i % 3, 'visitor ' || i % (100 * (1 + i % 3)), i FROM generate_series(1, 3000) i;
SELECT derive.create_view('visitors', derivation => 'approx_distinct', sources => '{visits}',
	key => '{site}', options => '{"value": "visitor"}');
SELECT derive.wait('visitors');
SELECT v.*, count(DISTINCT visitor) AS exact FROM visitors v JOIN visits USING (site) GROUP BY 1, 2 ORDER BY site;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'visitors'::regclass AND attnum > 0 ORDER BY attnum;
SELECT oracle('visitors');
SELECT * FROM derive.explain('visitors');

-- The same, computed from nothing; every group is there, and near the exact number.
CREATE FUNCTION check_visitors() RETURNS text LANGUAGE sql AS $$
	SELECT derive.wait('visitors');
	WITH expected AS (SELECT * FROM derive.apply('approx_distinct', '{visits}', '{site}', '{"value": "visitor"}') AS t(site text, estimate bigint)),
	exact AS (SELECT site, count(DISTINCT visitor) AS n FROM visits GROUP BY site)
	SELECT CASE WHEN count(*) > 0 THEN count(*) || ' differences'
		WHEN EXISTS (SELECT FROM visitors v FULL JOIN exact e ON coalesce(v.site, '-') = coalesce(e.site, '-')
					 WHERE estimate IS NULL OR n IS NULL OR abs(estimate - n) > greatest(2, 0.08 * n)) THEN 'too far off'
		ELSE 'same' END
	FROM ((TABLE visitors EXCEPT ALL TABLE expected)
		  UNION ALL (TABLE expected EXCEPT ALL TABLE visitors)) d $$;
SELECT check_visitors();

-- values come: new ones, known ones, NULL; new groups, and the one of NULL
INSERT INTO visits SELECT i, 'site 1', 'new ' || i, 0 FROM generate_series(10001, 10200) i;
INSERT INTO visits SELECT i, 'site 0', 'visitor 3', 0 FROM generate_series(10201, 10300) i;
INSERT INTO visits VALUES (10301, 'site 0', NULL, 0), (10302, 'empty', NULL, 0), (10303, NULL, 'visitor 1', 0),
	(10304, NULL, 'visitor 2', 0), (10305, 'fresh', 'visitor 1', 0);
SELECT check_visitors();
SELECT * FROM visitors ORDER BY site;

-- nothing is written for what is known
UPDATE visits SET seconds = seconds + 1;	-- figures of a batch are there before the next one
SELECT derive.wait('visitors');
SELECT rows_inserted + rows_updated + rows_deleted AS written FROM derive.stats WHERE view = 'visitors'::regclass \gset
INSERT INTO visits SELECT i, 'site 0', 'visitor 3', 0 FROM generate_series(10401, 10500) i;
UPDATE visits SET seconds = seconds + 1;
SELECT derive.wait('visitors');
UPDATE visits SET seconds = seconds + 1;
SELECT derive.wait('visitors');
SELECT rows_inserted + rows_updated + rows_deleted - :written AS written FROM derive.stats WHERE view = 'visitors'::regclass;

-- values go: some, the last of a group, the last that is not NULL
DELETE FROM visits WHERE id > 10100 AND site = 'site 1';
SELECT check_visitors();
DELETE FROM visits WHERE site = 'fresh';
DELETE FROM visits WHERE site IS NULL AND visitor = 'visitor 2';
DELETE FROM visits WHERE site = 'empty';
SELECT check_visitors();
UPDATE visits SET visitor = NULL WHERE site IS NULL;
SELECT check_visitors();
UPDATE visits SET visitor = 'new', site = 'moved' WHERE id % 100 = 0;
UPDATE visits SET visitor = 'visitor 5' WHERE id % 7 = 0;
SELECT check_visitors();
SELECT * FROM visitors ORDER BY site;
SELECT oracle('visitors');

-- transactions, savepoints, rollbacks
BEGIN;
INSERT INTO visits VALUES (20001, 'brief', 'x', 0), (20002, 'stays', 'x', 0), (20003, 'stays', 'y', 0);
SAVEPOINT s;
DELETE FROM visits;
ROLLBACK TO s;
DELETE FROM visits WHERE id IN (20001, 20003);
INSERT INTO visits VALUES (20003, 'stays', 'y', 0);
UPDATE visits SET visitor = 'z' WHERE id = 20003;
COMMIT;
BEGIN;
DELETE FROM visits;
ROLLBACK;
SELECT check_visitors();
SELECT * FROM visitors WHERE site IN ('brief', 'stays');
TRUNCATE visits;
SELECT check_visitors();
SELECT count(*) FROM visitors;

-- so many groups lose values that the source is read as a whole
INSERT INTO visits SELECT i, 'site ' || i % 1200, 'visitor ' || i, 0 FROM generate_series(1, 5000) i;
SELECT check_visitors();
DELETE FROM visits WHERE id % 2 = 0 OR id < 1200;
SELECT check_visitors();
SELECT oracle('visitors');
TRUNCATE visits;

-- at random
CREATE PROCEDURE stress_visits(rounds int) LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	FOR round IN 1 .. rounds LOOP
		FOR i IN 1 .. 1 + (random() * 4)::int LOOP
			CASE (random() * 4)::int
				WHEN 0, 1 THEN
					INSERT INTO visits SELECT (SELECT coalesce(max(id), 0) FROM visits) + g, nullif('s' || (random() * 4)::int, 's4'),
						nullif('v' || (random() * 30)::int, 'v30')
					FROM generate_series(1, 1 + (random() * 8)::int) g;
				WHEN 2 THEN
					DELETE FROM visits WHERE random() < 0.2;
				WHEN 3 THEN
					UPDATE visits SET visitor = nullif('v' || (random() * 30)::int, 'v30') WHERE random() < 0.1;
				ELSE
					UPDATE visits SET site = 's' || (random() * 6)::int WHERE random() < 0.1;
			END CASE;
			IF random() < 0.7 THEN
				COMMIT;
			END IF;
		END LOOP;
		COMMIT;
		result := check_visitors();
		IF result <> 'same' THEN
			RAISE EXCEPTION 'round %: %', round, result;
		END IF;
		COMMIT;
	END LOOP;
END $$;
SELECT setseed(0.75);
CALL stress_visits(60);
SELECT oracle('visitors');
SELECT error FROM derive.views WHERE view = 'visitors'::regclass;

-- without a key: one row, always; the precision as a number of bits or as an error
SELECT derive.create_view('everybody', derivation => 'approx_distinct', sources => '{visits}', options => '{"value": "visitor", "bits": 4}');
SELECT derive.create_view('exactly', derivation => 'approx_distinct', sources => '{visits}', options => '{"value": "visitor", "error": 0.005}');
TRUNCATE visits;
SELECT derive.wait();
SELECT (TABLE everybody), (TABLE exactly);
INSERT INTO visits SELECT i, '', 'visitor ' || i % 2000 FROM generate_series(1, 4000) i;
SELECT derive.wait();
SELECT (TABLE everybody), (TABLE exactly);
DELETE FROM visits WHERE id % 2000 > 100;
SELECT derive.wait();
SELECT (TABLE everybody), (TABLE exactly);
INSERT INTO visits VALUES (5001, '', 'one more'), (5002, '', 'one more'), (5003, '', NULL);
SELECT oracle('everybody');
SELECT oracle('exactly');
DELETE FROM visits;
SELECT oracle('everybody');
SELECT oracle('exactly');
SELECT (TABLE everybody), (TABLE exactly);
SELECT explain FROM derive.explain('everybody');

-- several columns for the key, values of other types: equal ones count once
CREATE TABLE measures (day date, sensor int, registers text, value numeric);
INSERT INTO measures VALUES ('2026-01-01', 1, 'a', 1.0), ('2026-01-01', 1, 'a', 1.00), ('2026-01-01', 1, 'a', 2), ('2026-01-01', NULL, 'a', 1),
	('2026-01-02', 1, 'b', 1), (NULL, NULL, NULL, 1);
SELECT derive.create_view('per_day', derivation => 'approx_distinct', sources => '{measures}', key => '{day,registers,sensor}',
	columns => '(about bigint, sensor int, day date, registers text)', options => '{"value": "value"}');
SELECT derive.wait('per_day');
SELECT day, registers, sensor, about FROM per_day ORDER BY 1, 2, 3;
ALTER TABLE measures RENAME TO "Measures";
DELETE FROM "Measures" WHERE value = 2 OR sensor IS NULL;
INSERT INTO "Measures" VALUES ('2026-01-02', 1, 'b', 1.000), ('2026-01-02', 1, 'b', 'NaN'), (NULL, 5, NULL, 0);
SELECT oracle('per_day');
SELECT day, registers, sensor, about FROM per_day ORDER BY 1, 2, 3;

-- a partitioned source; a view as the source, and a view of the estimates
CREATE TABLE calls (region int, caller bigint) PARTITION BY HASH (caller);
CREATE TABLE calls_0 PARTITION OF calls FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE calls_1 (caller bigint, region int);
ALTER TABLE calls ATTACH PARTITION calls_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT derive.create_view('callers', derivation => 'approx_distinct', sources => '{calls}', key => '{region}', options => '{"value": "caller"}');
SELECT derive.create_view('even_calls', 'SELECT * FROM calls WHERE caller % 2 = 0');
SELECT derive.create_view('even_callers', derivation => 'approx_distinct', sources => '{even_calls}', key => '{region}', options => '{"value": "caller"}');
SELECT derive.create_view('all_even_callers', 'SELECT sum(estimate) FROM even_callers');
INSERT INTO calls SELECT i % 4, i / 2 FROM generate_series(1, 400) i;
UPDATE calls SET caller = caller + 1 WHERE region = 2;
DELETE FROM calls WHERE region = 3 AND caller % 3 = 0;
SELECT oracle('callers');
SELECT oracle('even_callers');
SELECT oracle('all_even_callers');
SELECT * FROM even_callers ORDER BY region;

-- refused
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{page}', options => '{"value": "visitor"}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "who"}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "visitor", "bits": 3}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "visitor", "bits": "many"}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "visitor", "error": 0.001}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "visitor", "error": "NaN"}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "visitor", "error": 0.1, "bits": 10}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "visitor", "registers": 10}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits,calls}', key => '{site}', options => '{"value": "visitor"}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', columns => '(site text, n int)', options => '{"value": "visitor"}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{visits}', key => '{site,site}', options => '{"value": "visitor"}');
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => ARRAY['"Measures"'::regclass], key => '{value}', options => '{"value": "sensor"}');
CREATE TABLE things (thing json, place point);
SELECT derive.create_view('bad', derivation => 'approx_distinct', sources => '{things}', options => '{"value": "thing"}');

-- the rights are those of the view's owner
CREATE ROLE count_user;
GRANT CREATE ON SCHEMA public TO count_user;
SET ROLE count_user;
SELECT derive.create_view('mine', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "visitor"}');
RESET ROLE;
GRANT SELECT ON visits TO count_user;
SET ROLE count_user;
SELECT derive.create_view('mine', derivation => 'approx_distinct', sources => '{visits}', key => '{site}', options => '{"value": "visitor"}');
RESET ROLE;
INSERT INTO visits SELECT i, i % 5, i % 7 FROM generate_series(1, 100) i;
DELETE FROM visits WHERE id % 5 = 0 OR id % 3 = 0;
SELECT oracle('mine');

SELECT * FROM oracle_all();
DROP MATERIALIZED VIEW mine, all_even_callers, even_callers, even_calls, callers, per_day, exactly, everybody, visitors;
DROP FUNCTION check_visitors;
DROP PROCEDURE stress_visits;
DROP TABLE visits, "Measures", calls, things;
REVOKE CREATE ON SCHEMA public FROM count_user;
DROP ROLE count_user;
