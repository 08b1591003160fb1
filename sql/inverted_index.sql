-- The derivation "inverted_index": the words of documents.
CREATE TABLE docs (id int PRIMARY KEY, title text, body text);
INSERT INTO docs VALUES
	(1, 'Logs', 'The log is a log of changes: a database inside-out.'),
	(2, 'Streams', 'Streams of changes are turned into tables, and tables into streams.'),
	(3, 'Empty', ''),
	(4, 'Nothing', NULL),
	(5, 'Stop words', 'the and of a');
SELECT derive.create_view('words', derivation => 'inverted_index', sources => '{docs}',
	options => '{"text": "body", "config": "pg_catalog.english"}');
SELECT derive.wait('words');
SELECT * FROM words ORDER BY document, word;
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'words'::regclass AND attnum > 0 ORDER BY attnum;
SELECT oracle('words');
SELECT * FROM derive.explain('words');
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'words'::regclass ORDER BY 1;

-- the same by to_tsvector()
CREATE VIEW expected_words AS
	SELECT lexeme AS word, id AS document, positions::int[] AS positions, cardinality(positions) AS frequency,
		sum(cardinality(positions)) OVER (PARTITION BY id)::int AS length
	FROM docs, unnest(to_tsvector('pg_catalog.english', body));
CREATE FUNCTION check_words() RETURNS text LANGUAGE sql AS $$
	SELECT derive.wait('words');
	SELECT CASE WHEN count(*) = 0 THEN 'same' ELSE count(*) || ' differences' END
	FROM ((TABLE words EXCEPT ALL TABLE expected_words)
		  UNION ALL (TABLE expected_words EXCEPT ALL TABLE words)) d $$;
SELECT check_words();

-- every operation
INSERT INTO docs VALUES (6, 'More', 'A stream is a table in motion, a table is a stream at rest'), (7, 'More', 'one one one');
SELECT check_words();
SELECT * FROM words WHERE document > 5 ORDER BY document, word;
UPDATE docs SET title = 'other';
UPDATE docs SET body = 'A stream is a view in motion, a table is a stream at rest' WHERE id = 6;
UPDATE docs SET body = NULL WHERE id = 1;
UPDATE docs SET body = 'Something' WHERE id = 4;
UPDATE docs SET body = body || ' two' WHERE id = 7;
UPDATE docs SET id = 50 WHERE id = 5;
UPDATE docs SET id = 20 WHERE id = 2;
DELETE FROM docs WHERE id = 3;
SELECT check_words();
SELECT * FROM words ORDER BY document, word;
SELECT oracle('words');

-- only words that changed are written
UPDATE docs SET title = 'counted';	-- figures of a batch are there before the next one
SELECT derive.wait('words');
SELECT rows_inserted AS inserted, rows_updated AS updated, rows_deleted AS deleted FROM derive.stats WHERE view = 'words'::regclass \gset
UPDATE docs SET body = 'A stream is a view in motion, a table is a stream at bay' WHERE id = 6;
SELECT check_words();
UPDATE docs SET title = 'counted again';
SELECT derive.wait('words');
SELECT rows_inserted - :inserted AS inserted, rows_updated - :updated AS updated, rows_deleted - :deleted AS deleted
FROM derive.stats WHERE view = 'words'::regclass;

-- transactions, savepoints, rollbacks, keys that change places
BEGIN;
INSERT INTO docs VALUES (8, '', 'alpha beta'), (9, '', 'beta gamma');
SAVEPOINT s;
DELETE FROM docs;
ROLLBACK TO s;
UPDATE docs SET body = 'delta alpha' WHERE id = 8;
UPDATE docs SET id = -1 WHERE id = 8;
UPDATE docs SET id = 8 WHERE id = 9;
UPDATE docs SET id = 9 WHERE id = -1;
INSERT INTO docs VALUES (10, '', 'gone');
DELETE FROM docs WHERE id = 10;
COMMIT;
BEGIN;
DELETE FROM docs;
ROLLBACK;
SELECT check_words();
SELECT word, document FROM words WHERE document IN (8, 9, 10) ORDER BY 1, 2;

-- what ranking needs is there: term frequency times inverse document frequency
SELECT document, round(sum(frequency::numeric / length * ln(total::numeric / found)), 4) AS rank
FROM (SELECT *, count(*) OVER (PARTITION BY word) AS found, (SELECT count(*) FROM docs) AS total
	  FROM words WHERE word = ANY (tsvector_to_array(to_tsvector('english', 'streams in motion')))) w
GROUP BY document ORDER BY rank DESC;
-- and a phrase: "in motion" follows "view"
SELECT a.document FROM words a JOIN words b USING (document)
WHERE a.word = 'view' AND b.word = 'motion'
	AND EXISTS (SELECT FROM unnest(a.positions) x JOIN unnest(b.positions) y ON y = x + 2);
-- the index feeds other views
SELECT derive.create_view('document_frequency', 'SELECT word, count(*) AS documents, sum(frequency) AS occurrences FROM words GROUP BY word');
INSERT INTO docs VALUES (11, '', 'alpha alpha omega');
SELECT oracle('document_frequency');
SELECT * FROM document_frequency WHERE word IN ('alpha', 'omega') ORDER BY word;

-- large documents: beyond what a tsvector takes
INSERT INTO docs SELECT 100, 'long', string_agg('word' || i % 40, ' ' ORDER BY i) FROM generate_series(1, 20000) i;
INSERT INTO docs SELECT 101, 'wide', string_agg(repeat(md5(i::text), 4), ' ' ORDER BY i) FROM generate_series(1, 16000) i;
SET client_min_messages = warning;
INSERT INTO docs SELECT 102, 'word too long', repeat('x', 5000) || ' short';
SELECT oracle('words');
RESET client_min_messages;
SELECT word, frequency, length, cardinality(positions), positions[1], positions[cardinality(positions)] AS last FROM words WHERE document = 100 AND word IN ('word0', 'word1') ORDER BY word;
SELECT count(*), min(length), max(positions[1]) FROM words WHERE document = 101;
SELECT word, positions, length FROM words WHERE document = 102;
UPDATE docs SET body = substr(body, 100000) WHERE id = 100;
DELETE FROM docs WHERE id IN (101, 102);
SELECT derive.wait('words');
SELECT count(*) FROM words WHERE document >= 101;
SELECT oracle('words');
TRUNCATE docs;
SELECT check_words();
SELECT count(*) FROM words;

-- at random
CREATE SEQUENCE numbers;
CREATE FUNCTION random_text() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN random() < 0.95 THEN
		(SELECT string_agg((ARRAY['log', 'logs', 'streams', 'the', 'table-like', 'changing', 'a@b.org', '3.14', 'x/y', ',', 'Éclair'])[1 + (random() * 10)::int], ' ')
		 FROM generate_series(1, (random() * 20)::int) WHERE random() >= 0) END $$;
CREATE PROCEDURE stress_words(rounds int) LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	FOR round IN 1 .. rounds LOOP
		FOR i IN 1 .. 1 + (random() * 4)::int LOOP
			CASE (random() * 4)::int
				WHEN 0, 1 THEN
					INSERT INTO docs SELECT nextval('numbers'), '', random_text()
					FROM generate_series(1, 1 + (random() * 4)::int) g;
				WHEN 2 THEN
					DELETE FROM docs WHERE random() < 0.15;
				WHEN 3 THEN
					UPDATE docs SET body = random_text() WHERE random() < 0.3;
				ELSE
					UPDATE docs SET id = nextval('numbers') WHERE random() < 0.1;
			END CASE;
			IF random() < 0.7 THEN
				COMMIT;
			END IF;
		END LOOP;
		COMMIT;
		result := check_words();
		IF result <> 'same' THEN
			RAISE EXCEPTION 'round %: %', round, result;
		END IF;
		COMMIT;
	END LOOP;
END $$;
SELECT setseed(0.5);
CALL stress_words(60);
SELECT oracle('words');
SELECT error FROM derive.views WHERE view = 'words'::regclass;

-- documents need not be unique; renamed table and columns; configuration "simple" by default
CREATE TABLE notes (author text, note varchar(200));
INSERT INTO notes VALUES ('ann', 'the first'), ('ann', 'the second'), ('ann', 'the first'), (NULL, 'nobody');
SELECT derive.create_view('note_words', derivation => 'inverted_index', sources => '{notes}',
	columns => '(w text, who text, at int[], n int, of int)', key => '{w,who}', options => '{"document": "author", "text": "note"}');
ALTER TABLE notes RENAME TO "Notes";
SELECT derive.wait('note_words');
SELECT * FROM note_words ORDER BY 1, 2, 3;
DELETE FROM "Notes" WHERE ctid = (SELECT min(ctid) FROM "Notes");
UPDATE "Notes" SET author = 'bob' WHERE author IS NULL;
SELECT oracle('note_words');
SELECT * FROM note_words ORDER BY 1, 2, 3;

-- a partitioned source, and a view as one
CREATE TABLE pages (url text PRIMARY KEY, content text) PARTITION BY HASH (url);
CREATE TABLE pages_0 PARTITION OF pages FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE pages_1 (content text, url text NOT NULL);
ALTER TABLE pages ATTACH PARTITION pages_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT derive.create_view('page_words', derivation => 'inverted_index', sources => '{pages}', options => '{"text": "content"}');
INSERT INTO pages SELECT 'http://example.org/' || i, 'page ' || i || ' of ' || 20 FROM generate_series(1, 20) i;
SELECT derive.create_view('upper_pages', 'SELECT url, upper(content) AS content FROM pages');
SELECT derive.create_view('upper_words', derivation => 'inverted_index', sources => '{upper_pages}', options => '{"document": "url", "text": "content"}');
UPDATE pages SET url = url || 'x', content = content || ' moved' WHERE url LIKE '%1';
DELETE FROM pages WHERE url LIKE '%2';
UPDATE pages SET content = 'new' WHERE url LIKE '%3';
SELECT oracle('page_words');
SELECT oracle('upper_words');
SELECT count(*) FROM page_words;

-- refused
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs}');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "id"}');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "content"}');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "body", "document": "number"}');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "body", "config": "klingon"}');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "body", "weights": "A"}');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => ARRAY['"Notes"'::regclass], options => '{"text": "note"}');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs,pages}', options => '{"text": "body"}');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "body"}', columns => '(word text, document bigint, positions int[], frequency int, length int)');
SELECT derive.create_view('bad', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "body"}', key => '{document,word}');

-- the rights are those of the view's owner
CREATE ROLE index_user;
GRANT CREATE ON SCHEMA public TO index_user;
SET ROLE index_user;
SELECT derive.create_view('mine', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "body"}');
RESET ROLE;
GRANT SELECT ON docs TO index_user;
SET ROLE index_user;
SELECT derive.create_view('mine', derivation => 'inverted_index', sources => '{docs}', options => '{"text": "body"}');
RESET ROLE;
UPDATE docs SET body = 'mine is yours';
SELECT oracle('mine');

SELECT * FROM oracle_all();
DROP MATERIALIZED VIEW mine, upper_words, upper_pages, page_words, note_words, document_frequency, words;
DROP VIEW expected_words;
DROP FUNCTION check_words, random_text;
DROP PROCEDURE stress_words;
DROP TABLE docs, "Notes", pages;
DROP SEQUENCE numbers;
REVOKE CREATE ON SCHEMA public FROM index_user;
DROP ROLE index_user;
