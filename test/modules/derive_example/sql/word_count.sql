-- The derivation of the tutorial.
CREATE SCHEMA word_count;
SET search_path = word_count, public;
CREATE TABLE docs (id int PRIMARY KEY, body text);
INSERT INTO docs VALUES (1, 'to be, or not to be'), (2, NULL), (3, '');
SELECT derive.create_view('words', derivation => 'word_count', sources => '{docs}',
	columns => '(word text, n bigint)', options => '{"column": "body"}');
SELECT oracle('words');
SELECT * FROM words ORDER BY word COLLATE "C";
\d words

INSERT INTO docs VALUES (4, 'that is the question: to be or not');
UPDATE docs SET body = 'nobler' WHERE id = 3;
UPDATE docs SET body = NULL WHERE id = 1;
SELECT oracle('words');
SELECT * FROM words ORDER BY word COLLATE "C";
BEGIN;
DELETE FROM docs WHERE id = 4;
INSERT INTO docs VALUES (4, 'to');
UPDATE docs SET body = 'to sleep' WHERE id = 4;
SAVEPOINT s;
UPDATE docs SET body = 'to dream' WHERE id = 4;
ROLLBACK TO s;
COMMIT;
SELECT oracle('words');
SELECT * FROM words ORDER BY word COLLATE "C";
-- words outside of the row
INSERT INTO docs SELECT 5, string_agg(md5(i::text), ' ') FROM generate_series(1, 2000) i;
SELECT oracle('words');
UPDATE docs SET id = 6 WHERE id = 5;
SELECT oracle('words');
SELECT count(*) FROM words;
TRUNCATE docs;
SELECT oracle('words');
SELECT count(*) FROM words;
INSERT INTO docs VALUES (1, 'again and again');
SELECT oracle('words');
SELECT * FROM words ORDER BY word COLLATE "C";

-- What is wrong with a declaration is said at once.
SELECT derive.create_view('v', 'word_count', '{docs}', '(word text, n bigint)');
SELECT derive.create_view('v', 'word_count', '{docs}', '(word text, n bigint)', options => '{"column": "nobody"}');
SELECT derive.create_view('v', 'word_count', '{docs}', '(word text, n bigint)', options => '{"column": "id"}');
SELECT derive.create_view('v', 'word_count', '{docs}', '(word text, m bigint)', options => '{"column": "body"}');
SELECT derive.create_view('v', 'word_count', '{docs}', '(word text, n int)', options => '{"column": "body"}');
SELECT derive.create_view('v', 'word_count', '{docs}', options => '{"column": "body"}');
SELECT derive.create_view('v', 'word_count', '{docs}', '(word text, n bigint)', options => '{"column": "body", "colour": 1}');
SELECT derive.create_view('v', 'word_count', '{}', '(word text, n bigint)', options => '{"column": "body"}');
SET client_min_messages = warning;
DROP SCHEMA word_count CASCADE;
