-- Who may do what, and as whom callbacks run.
CREATE ROLE regress_owner;
CREATE ROLE regress_other;
CREATE ROLE regress_reader;
CREATE SCHEMA rights;
GRANT USAGE, CREATE ON SCHEMA rights TO regress_owner, regress_other;
GRANT USAGE ON SCHEMA rights TO regress_reader;
GRANT USAGE ON SCHEMA derive_example TO regress_owner;
SET search_path = rights, public;
CREATE TABLE theirs (a int, b text);
CREATE TABLE secret (a int, b text);
INSERT INTO theirs VALUES (1, 'one');
INSERT INTO secret VALUES (1, 'secret');
ALTER TABLE theirs REPLICA IDENTITY FULL;
GRANT SELECT ON theirs TO regress_owner, regress_other;

-- only superusers make derivations
SET ROLE regress_owner;
SELECT derive.register('mine', 'derive_example.mirror_handler');
SELECT derive.unregister('mirror');
SECURITY LABEL FOR pg_derive ON FUNCTION derive_example.mirror_handler(internal) IS 'mine';
-- with nothing but SELECT on the source
SELECT derive.create_view('copy', 'mirror', '{theirs}');
SELECT derive.create_view('v', 'mirror', '{secret}');
SELECT derive.create_view('v', 'mirror', '{theirs, secret}');
SELECT * FROM derive.apply('mirror', '{secret}', NULL, NULL) AS v(source int, a int);
SELECT * FROM derive.apply('mirror', '{theirs}', NULL, NULL) AS v(source int, a int);
SELECT * FROM derive.apply('misbehaving', '{theirs}', NULL, '{"sql": "SELECT current_user"}') AS v(k int, t text) WHERE k = 2;
SELECT * FROM derive.apply('misbehaving', '{theirs}', NULL, '{"sql": "SELECT count(*) FROM rights.secret"}') AS v(k int, t text);
SELECT oracle('copy');
SELECT * FROM copy;
RESET ROLE;
-- not for everybody
ALTER TABLE secret REPLICA IDENTITY DEFAULT;
GRANT SELECT ON secret TO regress_owner;
SET ROLE regress_owner;
SELECT derive.create_view('v', 'mirror', '{secret}');
RESET ROLE;
REVOKE SELECT ON secret FROM regress_owner;
INSERT INTO theirs VALUES (2, 'two');
SELECT oracle('copy');

-- Callbacks run as the owner of the view, with nothing of the session that calls.
SET ROLE regress_owner;
SELECT derive.create_view('whoami', 'misbehaving', '{theirs}', options => '{"sql": "SELECT current_user || current_setting($$search_path$$)"}');
SELECT derive.wait('whoami', timeout => '60 s');
SELECT t FROM whoami WHERE k = 2;
RESET ROLE;
INSERT INTO theirs VALUES (3, 'three');
SELECT derive.wait('whoami', timeout => '60 s');
SELECT t FROM whoami WHERE k = 2;
REFRESH MATERIALIZED VIEW whoami;
SELECT t FROM whoami WHERE k = 2;
SELECT missing, extra FROM derive.verify('whoami');
SET ROLE regress_owner;
SELECT derive.create_view('peeking', 'misbehaving', '{theirs}', options => '{"sql": "SELECT count(*) FROM rights.secret"}');
SELECT derive.wait('peeking', timeout => '60 s');
DROP MATERIALIZED VIEW peeking;
SELECT derive.create_view('writing', 'misbehaving', '{theirs}', options => '{"sql": "DELETE FROM rights.theirs"}');
SELECT derive.wait('writing', timeout => '60 s');
DROP MATERIALIZED VIEW writing;
SELECT derive.create_view('internals', 'misbehaving', '{theirs}', options => '{"sql": "SELECT count(*) FROM derive_state.views"}');
SELECT derive.wait('internals', timeout => '60 s');
DROP MATERIALIZED VIEW internals;
RESET ROLE;

-- Others may not touch it, or see its rows.
SET ROLE regress_other;
SELECT * FROM copy;
SELECT derive.pause('copy');
SELECT derive.release('copy');
SELECT derive.repair('copy');
SELECT derive.explain('copy');
SELECT derive.verify('copy');
SELECT query FROM derive.views WHERE view = 'copy'::regclass;
DROP MATERIALIZED VIEW copy;
RESET ROLE;

-- The owner loses his right: the view fails; he has it again: repair.
REVOKE SELECT ON theirs FROM regress_owner;
INSERT INTO theirs VALUES (4, 'four');
SELECT derive.wait('copy', timeout => '60 s');
SELECT state, error FROM derive.views WHERE view = 'copy'::regclass;
SELECT derive.repair('copy');
GRANT SELECT ON theirs TO regress_owner;
SELECT derive.repair('copy');
SELECT oracle('copy');

-- Row-level security
CREATE TABLE secured (a int, b text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE secured REPLICA IDENTITY FULL;
CREATE POLICY one ON secured USING (a = 1);
GRANT SELECT ON secured TO regress_owner;
INSERT INTO secured VALUES (1, 'seen'), (2, 'hidden');
SET ROLE regress_owner;
SELECT derive.create_view('v', 'mirror', '{secured}');
SELECT * FROM derive.apply('mirror', '{secured}', NULL, NULL) AS v(source int, a int);
RESET ROLE;
ALTER TABLE theirs ENABLE ROW LEVEL SECURITY;
INSERT INTO theirs VALUES (5, 'five');
SELECT derive.wait('copy', timeout => '60 s');
SELECT state, error FROM derive.views WHERE view = 'copy'::regclass;
ALTER TABLE theirs DISABLE ROW LEVEL SECURITY;
SELECT derive.repair('copy');
SELECT oracle('copy');
ALTER MATERIALIZED VIEW copy OWNER TO regress_other;
INSERT INTO theirs VALUES (6, 'six');
SELECT oracle('copy');
ALTER MATERIALIZED VIEW copy OWNER TO regress_reader;
INSERT INTO theirs VALUES (7, 'seven');
SELECT derive.wait('copy', timeout => '60 s');

SET client_min_messages = warning;
DROP SCHEMA rights CASCADE;
REVOKE USAGE ON SCHEMA derive_example FROM regress_owner;
DROP ROLE regress_owner, regress_other, regress_reader;
