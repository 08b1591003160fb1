-- What functions refuse: calls that come too early, or with what cannot be used.
CREATE TABLE t (a int PRIMARY KEY, b text);
INSERT INTO t VALUES (1, 'x'), (2, 'y');

-- in the transaction that declares a view nothing can be done with it yet
BEGIN;
SELECT derive.create_view('v', 'SELECT a FROM t');
SELECT derive.wait('v');
ROLLBACK;
BEGIN;
SELECT derive.create_view('v', 'SELECT a FROM t');
SELECT derive.pause('v');
ROLLBACK;
BEGIN;
SELECT derive.create_view('v', 'SELECT a FROM t');
SELECT * FROM derive.verify('v');
ROLLBACK;

-- a history before it is built, and after it is no longer maintained
BEGIN;
SELECT derive.create_view('h', derivation => 'history', sources => '{t}');
SELECT * FROM derive.as_of('h', now(), NULL::t);
ROLLBACK;
SELECT derive.create_view('h', derivation => 'history', sources => '{t}');
SELECT derive.wait();
SELECT derive.release('h');
SELECT count(*) FROM h;
SELECT * FROM derive.as_of('h', now(), NULL::t);

-- arguments that are missing, of the wrong type, or too large
SELECT derive.create_view('v', 'SELECT * FROM derive.apply(NULL, ARRAY[]::regclass[], ARRAY[]::text[], ''{}''::jsonb) AS r(a int)');
SELECT derive_state.row_image(1);
SELECT 'x'::derive.derivation_handler;
SELECT derive.create_topic('big', 'a text');
SELECT derive.append('big', ROW(repeat('x', 268435456)));
SELECT derive.wait('big');
SELECT * FROM derive.verify('big');
SELECT count(*) FROM big;

DROP MATERIALIZED VIEW h, big;
DROP TABLE t;
