-- Rows that change again and again in one batch cancel out before they are kept (delta/held.c).
CREATE SCHEMA hot_rows;
SET search_path = hot_rows, public;
SET client_min_messages = warning;

CREATE TABLE keyed (id int PRIMARY KEY, g int, v numeric, t text);
CREATE TABLE logged (id int, g int, v numeric, t text);
ALTER TABLE logged REPLICA IDENTITY FULL;
CREATE TABLE parts (id int, g int, v numeric, t text, PRIMARY KEY (id, g)) PARTITION BY LIST (g);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2) PARTITION BY LIST (g);
CREATE TABLE parts_2_2 PARTITION OF parts_2 FOR VALUES IN (2);
ALTER TABLE parts_1 REPLICA IDENTITY FULL;

INSERT INTO keyed SELECT i, i % 3, i, 'row ' || i FROM generate_series(1, 30) i;
INSERT INTO logged TABLE keyed;
INSERT INTO parts TABLE keyed;

DO $$ DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['keyed', 'logged', 'parts'] LOOP
		PERFORM derive.create_view(name || '_rows', format('SELECT * FROM %I', name));
		PERFORM derive.create_view(name || '_groups', format('SELECT g, count(*), sum(v), max(v), min(t) FROM %I GROUP BY g', name));
		PERFORM derive.create_view(name || '_pairs', format('SELECT a.id, b.id AS other, a.v + b.v AS v FROM %I a JOIN %1$I b ON b.g = a.g AND b.id > a.id', name));
	END LOOP;
END $$;
SELECT derive.wait();

-- Many changes of few rows, in one transaction.
CREATE FUNCTION change(relation text, n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		CASE i % 10
			-- there and back
			WHEN 0 THEN EXECUTE format('UPDATE %I SET v = -v WHERE id = %s', relation, 1 + i % 7);
			WHEN 1 THEN EXECUTE format('UPDATE %I SET v = -v WHERE id = %s', relation, 1 + (i - 1) % 7);
			-- the same value, stored differently
			WHEN 2 THEN EXECUTE format('UPDATE %I SET v = v + 0.00 WHERE id = 3', relation);
			WHEN 3 THEN EXECUTE format('UPDATE %I SET t = NULL WHERE id = 4', relation);
			WHEN 4 THEN EXECUTE format('UPDATE %I SET t = %L WHERE id = 4', relation, 'again');
			-- gone, and there again
			WHEN 5 THEN EXECUTE format('DELETE FROM %I WHERE id = 5', relation);
			WHEN 6 THEN EXECUTE format('INSERT INTO %I VALUES (5, %s, %s, %L)', relation, i % 3, i, repeat('five ', i % 4));
			-- to another group, which is another partition
			WHEN 7 THEN EXECUTE format('UPDATE %I SET g = (g + 1) %% 3, v = v + 1 WHERE id IN (6, 7)', relation);
			-- to another key and back
			WHEN 8 THEN EXECUTE format('UPDATE %I SET id = 1000 - id WHERE id IN (8, 992)', relation);
			-- too large to be held
			ELSE EXECUTE format('UPDATE %I SET t = %L WHERE id = 9', relation, CASE WHEN i % 20 = 9 THEN repeat(md5(i::text), 100) ELSE 'small' END);
		END CASE;
	END LOOP;
END $$;
SELECT change(r, 200) FROM unnest(ARRAY['keyed', 'logged', 'parts']) r;
SELECT * FROM oracle_all();
-- All of that undone, and more; and rows that are equal in all columns.
BEGIN;
SELECT change(r, 203) FROM unnest(ARRAY['keyed', 'logged', 'parts']) r;
INSERT INTO logged SELECT 40, 1, 1, 'twin' FROM generate_series(1, 3);
UPDATE logged SET v = v + 1 WHERE id = 40;
UPDATE logged SET v = v - 1 WHERE id = 40;
UPDATE logged SET v = v + 2 WHERE ctid = (SELECT max(ctid) FROM logged WHERE id = 40);
SAVEPOINT s;
SELECT change(r, 50) FROM unnest(ARRAY['keyed', 'logged', 'parts']) r;
ROLLBACK TO s;
SELECT change(r, 17) FROM unnest(ARRAY['keyed', 'logged', 'parts']) r;
COMMIT;
SELECT * FROM oracle_all();
-- In several transactions, some of which may come into one batch.
DO $$ BEGIN
	FOR i IN 1..30 LOOP
		PERFORM change(r, 1 + i % 13) FROM unnest(ARRAY['keyed', 'logged', 'parts']) r;
		COMMIT;
	END LOOP;
END $$;
SELECT * FROM oracle_all();

-- What is left of many updates of one row is little.
CREATE TABLE counter (n bigint);
INSERT INTO counter VALUES (0);
SELECT derive.create_view('counted', 'SELECT sum(n), count(*) FROM counter');
SELECT derive.wait();
DO $$ BEGIN FOR i IN 1..1000 LOOP UPDATE counter SET n = n + 1; END LOOP; END $$;
SELECT oracle('counted');
TABLE counted;
SELECT changes_in < 200 AS few FROM derive.stats WHERE view = 'counted'::regclass;

DROP SCHEMA hot_rows CASCADE;
