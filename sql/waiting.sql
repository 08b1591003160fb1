-- What derive.wait() waits for, and what it says of the views that it does not wait for.
CREATE DATABASE derive_waiting;
\c derive_waiting
CREATE EXTENSION pg_derive;
SELECT derive.wait();

CREATE ROLE derive_waiting_user;
GRANT CREATE ON SCHEMA public TO derive_waiting_user;
CREATE TABLE t (a int);
CREATE MATERIALIZED VIEW plain AS SELECT a FROM t;
SELECT derive.wait('plain');

-- a view of somebody else that fails
GRANT SELECT ON t TO derive_waiting_user;
ALTER TABLE t REPLICA IDENTITY FULL;
SET ROLE derive_waiting_user;
SELECT derive.create_view('theirs', 'SELECT 10 / a AS q FROM t');
RESET ROLE;
SELECT derive.create_view('ours', 'SELECT count(*) AS n FROM t');
SELECT derive.wait();
INSERT INTO t VALUES (0);
SELECT derive.wait('theirs');
SELECT derive.wait();
SELECT n FROM ours;
INSERT INTO t VALUES (1);
SELECT derive.wait();
SELECT n FROM ours;

-- nobody sees more of it than he may
CREATE ROLE derive_waiting_other;
GRANT SELECT ON ours TO derive_waiting_other;
SET ROLE derive_waiting_other;
SELECT derive.wait();
SELECT derive.wait('theirs');
-- one has only that one
SET ROLE derive_waiting_user;
SELECT derive.wait();
RESET ROLE;

-- paused ones are not waited for, either; where there are no others, that is an error
SELECT derive.create_view('third', 'SELECT a FROM t WHERE a > 0');
SELECT derive.wait();
SELECT derive.pause('ours');
INSERT INTO t VALUES (2);
SELECT derive.wait();
SELECT count(*) FROM third;
SELECT derive.release('third');
SELECT derive.wait();
SELECT derive.resume('ours');
DELETE FROM t WHERE a = 0;
SELECT derive.repair('theirs');
SELECT derive.wait();
SELECT view, missing, extra FROM derive.verify() ORDER BY view::text;
SELECT * FROM derive.progress;

-- a view over one that stands still, and one over that, have come as far as they can, which is not all
SELECT derive.create_view('over', 'SELECT count(*) AS n FROM theirs');
SELECT derive.create_view('over_over', 'SELECT n + 1 AS n FROM over');
SELECT derive.wait();
INSERT INTO t VALUES (0), (5);
SELECT derive.wait();
SELECT derive.wait('over_over');
SELECT n, (SELECT count(*) FROM t) AS t FROM over;
SELECT view, state, regexp_replace(waiting_for, 'at .*', 'at ..') AS waiting_for, state <> 'ready' AND lag > '0' AS lags, error FROM derive.views ORDER BY view::text;
GRANT SELECT ON over_over TO derive_waiting_other;
SET ROLE derive_waiting_other;
SELECT derive.wait('over_over');
SELECT derive.wait();
RESET ROLE;
DELETE FROM t WHERE a = 0;
SELECT derive.repair('theirs');
SELECT derive.wait();
SELECT derive.wait('over_over');
SELECT n, (SELECT count(*) FROM t) AS t FROM over;
SELECT view, missing, extra FROM derive.verify() ORDER BY view::text;

-- a view that waits for another one
SELECT derive.pause('ours');
DROP MATERIALIZED VIEW theirs CASCADE;
DELETE FROM t;
INSERT INTO t VALUES (0);
SELECT derive.create_view('bad', 'SELECT 1 / a AS q FROM t');
SELECT derive.create_view('on_bad', 'SELECT q FROM bad');
SELECT derive.wait('on_bad');

\c contrib_regression
DROP DATABASE derive_waiting WITH (FORCE);
DROP ROLE derive_waiting_user, derive_waiting_other;
