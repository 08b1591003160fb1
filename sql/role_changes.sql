-- What a view reads follows from what its owner, and the owners of plain views below it, may do.
-- That changes without a change of any table.
CREATE SCHEMA rc;
SET search_path = rc, public;
CREATE ROLE regress_rc_owner;
CREATE ROLE regress_rc_bypass BYPASSRLS;
CREATE ROLE regress_rc_member;
CREATE ROLE regress_rc_group;
CREATE ROLE regress_rc_outer;
CREATE ROLE regress_rc_below;
GRANT USAGE, CREATE ON SCHEMA rc TO PUBLIC;
GRANT regress_rc_outer TO regress_rc_group;
GRANT regress_rc_group TO regress_rc_member;
CREATE TABLE t (id int PRIMARY KEY, owner text);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON t USING (owner = 'al');
GRANT SELECT ON t TO regress_rc_below, regress_rc_bypass;
CREATE TABLE u (id int PRIMARY KEY, secret int);
GRANT SELECT ON u TO regress_rc_outer;
INSERT INTO t SELECT i, (ARRAY['al', 'bo'])[1 + i % 2] FROM generate_series(1, 6) i;
INSERT INTO u SELECT i, i FROM generate_series(1, 6) i;
CREATE VIEW invoked WITH (security_invoker) AS SELECT * FROM t;
ALTER VIEW invoked OWNER TO regress_rc_below;
CREATE VIEW inner_view AS SELECT * FROM u;
CREATE VIEW over_inner AS SELECT id, secret FROM inner_view WHERE secret > 0;
GRANT SELECT ON inner_view, over_inner TO regress_rc_owner, regress_rc_below;

-- Each is moved, then there is no right to what is new, then there is again.
CREATE FUNCTION states() RETURNS TABLE (line text) LANGUAGE sql AS $$
	SELECT concat_ws(' ', view, state, error) FROM derive.views WHERE view::text ~ '^of_' ORDER BY view::text $$;
CREATE PROCEDURE try_change(view regclass, change text, back text) LANGUAGE plpgsql AS $$
DECLARE
	seen text;
BEGIN
	EXECUTE change;
	COMMIT;
	INSERT INTO t SELECT max(id) + 1, 'bo' FROM t;
	INSERT INTO u SELECT max(id) + 1, 77 FROM u;
	COMMIT;
	BEGIN
		PERFORM derive.wait(view, timeout => '60 s');
	EXCEPTION WHEN OTHERS THEN	-- it has failed
	END;
	COMMIT;
	SELECT concat_ws(': ', state, error) INTO seen FROM derive.views v WHERE v.view = try_change.view;
	RAISE NOTICE '%: %', change, seen;
	EXECUTE back;
	COMMIT;
	IF seen ~ '^failed' THEN
		PERFORM derive.repair(view);
		COMMIT;
	END IF;
	PERFORM derive.wait(view, timeout => '60 s');
END $$;
CREATE PROCEDURE repair_all() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM derive.repair(view) FROM derive.views WHERE state = 'failed' AND view::text ~ '^of_';
END $$;
SELECT derive.create_view('of_invoked', 'SELECT id, owner FROM rc.invoked');
SET ROLE regress_rc_owner;
SELECT derive.create_view('of_inner', 'SELECT id, secret FROM rc.over_inner');
SET ROLE regress_rc_bypass;
SELECT derive.create_view('of_bypass', 'SELECT owner, count(*) FROM rc.t GROUP BY owner');
SET ROLE regress_rc_member;
SELECT derive.create_view('of_member', 'SELECT sum(secret) FROM rc.u');
SELECT derive.create_view('of_member_whole', 'SELECT secret FROM rc.u ORDER BY secret OFFSET 2');
RESET ROLE;
SELECT derive.wait(timeout => '60 s');
\set VERBOSITY terse
CALL try_change('of_invoked', 'ALTER VIEW invoked SET (security_invoker = false)', 'ALTER VIEW invoked SET (security_invoker)');
CALL try_change('of_inner', 'ALTER VIEW inner_view SET (security_invoker)', 'ALTER VIEW inner_view RESET (security_invoker)');
CALL try_change('of_inner', 'ALTER VIEW over_inner SET (security_invoker)', 'ALTER VIEW over_inner RESET (security_invoker)');
CALL try_change('of_inner', 'ALTER VIEW inner_view OWNER TO regress_rc_below', 'ALTER VIEW inner_view OWNER TO CURRENT_USER');
CALL try_change('of_inner', 'REVOKE SELECT ON over_inner FROM regress_rc_owner', 'GRANT SELECT ON over_inner TO regress_rc_owner');
CALL try_change('of_bypass', 'ALTER ROLE regress_rc_bypass NOBYPASSRLS', 'ALTER ROLE regress_rc_bypass BYPASSRLS');
CALL try_change('of_member', 'REVOKE regress_rc_outer FROM regress_rc_group', 'GRANT regress_rc_outer TO regress_rc_group');
CALL try_change('of_member_whole', 'REVOKE regress_rc_group FROM regress_rc_member', 'GRANT regress_rc_group TO regress_rc_member');
CALL repair_all();
-- what gives no other rights, and what changes nothing
CALL try_change('of_member', 'ALTER ROLE regress_rc_member CONNECTION LIMIT 7', 'ALTER ROLE regress_rc_member CONNECTION LIMIT -1');
CALL try_change('of_member', 'GRANT regress_rc_below TO regress_rc_member', 'REVOKE regress_rc_below FROM regress_rc_member');
-- roles and several tables in one transaction, taken back and not
BEGIN;
INSERT INTO u VALUES (1000, 5);
INSERT INTO t VALUES (1000, 'al');
SAVEPOINT a;
ALTER ROLE regress_rc_bypass NOBYPASSRLS;
REVOKE regress_rc_outer FROM regress_rc_group;
ROLLBACK TO a;
COMMIT;
SELECT derive.wait(timeout => '60 s');
SELECT * FROM states();
BEGIN;
INSERT INTO u VALUES (1001, 5);
INSERT INTO t VALUES (1001, 'al');
ALTER ROLE regress_rc_bypass NOBYPASSRLS;
REVOKE regress_rc_outer FROM regress_rc_group;
COMMIT;
SELECT derive.wait(view, timeout => '60 s') FROM derive.views WHERE view::text IN ('of_inner', 'of_invoked');
SELECT * FROM states();
SELECT count(*) AS not_to_be_seen FROM of_bypass WHERE count > (SELECT count(*) FROM t WHERE t.owner = of_bypass.owner AND id <= 1000);
ALTER ROLE regress_rc_bypass BYPASSRLS;
GRANT regress_rc_outer TO regress_rc_group;
CALL repair_all();
SELECT * FROM states();
SELECT view, oracle(view) FROM derive.views WHERE view::text ~ '^of_' ORDER BY view::text;
DROP SCHEMA rc CASCADE;
DROP ROLE regress_rc_owner, regress_rc_bypass, regress_rc_member, regress_rc_group, regress_rc_outer, regress_rc_below;
