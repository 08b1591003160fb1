"""A list of statements that change what views rest on, each with what takes it back.

Each is run in one of three ways: by itself; rolled back, with changes of rows
before and after it in the same transaction; or in flight, in a transaction that
stays open for a moment while the writers go on.  What is refused or not possible
at the time is no matter: that the views are right is what is looked at.

{t} is a table, {l} a table or partition, {c} a column, {v} a view, {n} a number
that was never used, {r} a role.  Changes of settings are in the list as well; the
sessions of the runner pin what they need.
"""

DDL = [
    # tables and columns
    (['ALTER TABLE {t} ADD COLUMN d{n} integer'], ['ALTER TABLE {t} DROP COLUMN IF EXISTS d{n}']),
    (["ALTER TABLE {t} ADD COLUMN d{n} text DEFAULT md5(random()::text)"], ['ALTER TABLE {t} DROP COLUMN IF EXISTS d{n}']),
    (['ALTER TABLE {t} ADD COLUMN d{n} serial'], ['ALTER TABLE {t} DROP COLUMN IF EXISTS d{n}']),
    (['ALTER TABLE {t} ALTER {c} SET STATISTICS 17'], ['ALTER TABLE {t} ALTER {c} SET STATISTICS -1']),
    (['ALTER TABLE {t} ALTER {c} SET DEFAULT NULL'], ['ALTER TABLE {t} ALTER {c} DROP DEFAULT']),
    (['ALTER TABLE {t} ALTER {c} SET NOT NULL'], ['ALTER TABLE {t} ALTER {c} DROP NOT NULL']),
    (['ALTER TABLE {t} RENAME {c} TO renamed'], ['ALTER TABLE {t} RENAME renamed TO {c}']),
    (['ALTER TABLE {t} RENAME TO renamed_table'], ['ALTER TABLE renamed_table RENAME TO {t}']),
    (['CREATE SCHEMA other{n}', 'ALTER TABLE {t} SET SCHEMA other{n}'],
     ['ALTER TABLE other{n}.{t} SET SCHEMA fz', 'DROP SCHEMA IF EXISTS other{n}']),
    (['ALTER TABLE {t} ADD CONSTRAINT c{n} CHECK (k > -100000) NOT VALID'], ['ALTER TABLE {t} DROP CONSTRAINT IF EXISTS c{n}']),
    (['ALTER TABLE {t} ADD CONSTRAINT c{n} CHECK (k > -100000)'], ['ALTER TABLE {t} DROP CONSTRAINT IF EXISTS c{n}']),
    (['ALTER TABLE {l} SET (fillfactor = 40)'], ['ALTER TABLE {l} RESET (fillfactor)']),
    (['ALTER TABLE {l} SET (autovacuum_enabled = off)'], ['ALTER TABLE {l} RESET (autovacuum_enabled)']),
    (['ALTER TABLE {t} REPLICA IDENTITY FULL'], ['ALTER TABLE {t} REPLICA IDENTITY DEFAULT']),
    (['ALTER TABLE {t} REPLICA IDENTITY NOTHING'], ['ALTER TABLE {t} REPLICA IDENTITY DEFAULT']),
    (['ALTER TABLE {t} ENABLE ROW LEVEL SECURITY', 'CREATE POLICY p{n} ON {t} USING (k < 20)'],
     ['DROP POLICY IF EXISTS p{n} ON {t}', 'ALTER TABLE {t} DISABLE ROW LEVEL SECURITY']),
    (['ALTER TABLE {t} OWNER TO {r}'], ['ALTER TABLE {t} OWNER TO CURRENT_USER']),
    (['ALTER TABLE {t} DISABLE TRIGGER USER'], ['ALTER TABLE {t} ENABLE TRIGGER USER']),
    (['ALTER TABLE {l} SET TABLESPACE pg_default'], []),
    (['ALTER TABLE {l} CLUSTER ON {t}_pkey'], ['ALTER TABLE {l} SET WITHOUT CLUSTER']),
    (['ALTER TABLE {t} ALTER {c} SET STORAGE EXTERNAL'], []),
    (['ALTER TABLE {t} ALTER {c} SET COMPRESSION pglz'], []),
    (["COMMENT ON TABLE {t} IS 'said {n}'"], []),
    (['CREATE TABLE child{n} () INHERITS ({t})', 'INSERT INTO child{n} SELECT * FROM ONLY {t} LIMIT 3'], ['DROP TABLE IF EXISTS child{n}']),
    (['CREATE TABLE like{n} (LIKE {t} INCLUDING ALL)', 'INSERT INTO like{n} SELECT * FROM {t}', 'TRUNCATE {t}'], ['DROP TABLE IF EXISTS like{n}']),
    # indexes, statistics, triggers, rules
    (['CREATE INDEX d{n} ON {t} ({c})'], ['DROP INDEX IF EXISTS d{n}']),
    (['CREATE UNIQUE INDEX d{n} ON {t} ({c}, k)'], ['DROP INDEX IF EXISTS d{n}']),
    (['REINDEX TABLE {t}'], []),
    (['CREATE STATISTICS s{n} ON k, {c} FROM {t}'], ['DROP STATISTICS IF EXISTS s{n}']),
    (['CREATE FUNCTION tf{n}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.k := NEW.k + 1; RETURN NEW; END $$',
      'CREATE TRIGGER tr{n} BEFORE UPDATE ON {t} FOR EACH ROW EXECUTE FUNCTION tf{n}()'], ['DROP FUNCTION IF EXISTS tf{n}() CASCADE']),
    (['CREATE RULE ru{n} AS ON DELETE TO {t} DO INSTEAD NOTHING'], ['DROP RULE IF EXISTS ru{n} ON {t}']),
    # what expressions mean
    (["ALTER TYPE mood ADD VALUE IF NOT EXISTS 'm{n}'"], []),
    (["ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'"], ["ALTER TYPE mood RENAME VALUE 'fine' TO 'ok'"]),
    (['ALTER TYPE mood RENAME TO spirits'], ['ALTER TYPE spirits RENAME TO mood']),
    (['ALTER TYPE pair RENAME ATTRIBUTE y TO z'], ['ALTER TYPE pair RENAME ATTRIBUTE z TO y']),
    (['ALTER DOMAIN small ADD CONSTRAINT c{n} CHECK (VALUE <> 667) NOT VALID'], ['ALTER DOMAIN small DROP CONSTRAINT IF EXISTS c{n}']),
    (['ALTER DOMAIN small RENAME TO smaller'], ['ALTER DOMAIN smaller RENAME TO small']),
    (['CREATE OR REPLACE FUNCTION f_strict(a text) RETURNS integer LANGUAGE plpgsql IMMUTABLE STRICT AS $$ BEGIN RETURN length(a) + {n} % 3; END $$'], []),
    (['CREATE OR REPLACE FUNCTION f_sql(a integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT a * 2 - {n} % 2 $$'], []),
    (['ALTER FUNCTION f_sql(integer) COST 7'], ['ALTER FUNCTION f_sql(integer) COST 100']),
    (['ALTER FUNCTION f_pl(integer, text) RENAME TO f_renamed'], ['ALTER FUNCTION f_renamed(integer, text) RENAME TO f_pl']),
    (['ALTER COLLATION ci RENAME TO ci2'], ['ALTER COLLATION ci2 RENAME TO ci']),
    # rights
    (['GRANT SELECT ON {t} TO PUBLIC'], ['REVOKE SELECT ON {t} FROM PUBLIC']),
    (['GRANT SELECT ({c}) ON {t} TO fuzzer'], []),
    # views
    (['ALTER MATERIALIZED VIEW {v} RENAME TO renamed_view'], ['ALTER MATERIALIZED VIEW renamed_view RENAME TO {v}']),
    (['CREATE SCHEMA other{n}', 'ALTER MATERIALIZED VIEW {v} SET SCHEMA other{n}'],
     ['ALTER MATERIALIZED VIEW other{n}.{v} SET SCHEMA fz', 'DROP SCHEMA IF EXISTS other{n}']),
    (['CREATE INDEX d{n} ON {v} (({v} IS NULL))'], ['DROP INDEX IF EXISTS d{n}']),
    (['ALTER MATERIALIZED VIEW {v} SET (fillfactor = 40)'], ['ALTER MATERIALIZED VIEW {v} RESET (fillfactor)']),
    (['CLUSTER {v}'], []),
    (["COMMENT ON MATERIALIZED VIEW {v} IS 'said {n}'"], []),
    (['CREATE VIEW plain{n} AS SELECT * FROM {v}'], ['DROP VIEW IF EXISTS plain{n}']),
    # the database and its roles
    (['CREATE PUBLICATION pub{n} FOR TABLE {t}'], ['DROP PUBLICATION IF EXISTS pub{n}']),
    (['ALTER DATABASE postgres SET extra_float_digits = 0'], ['ALTER DATABASE postgres RESET extra_float_digits']),
    (["ALTER DATABASE postgres SET search_path = 'pg_catalog'"], ['ALTER DATABASE postgres RESET search_path']),
    (["ALTER ROLE {r} SET IntervalStyle = 'iso_8601'"], ['ALTER ROLE {r} RESET IntervalStyle']),
    (["ALTER ROLE {r} SET statement_timeout = '10ms'"], ['ALTER ROLE {r} RESET statement_timeout']),
    (["ALTER ROLE {r} SET default_transaction_read_only = on"], ['ALTER ROLE {r} RESET default_transaction_read_only']),
]

# settings of the whole server that must not concern our processes, or that they must follow
SERVER_SETTINGS = [
    ('statement_timeout', ['10ms', '1s']), ('lock_timeout', ['1ms', '100ms']), ('idle_in_transaction_session_timeout', ['1ms', '1s']),
    ('default_transaction_isolation', ['serializable', 'repeatable read']), ('default_transaction_read_only', ['on']),
    ('row_security', ['off']), ('session_replication_role', ['replica']), ('work_mem', ['64kB', '64MB']), ('enable_hashjoin', ['off']),
    ('enable_seqscan', ['off']), ('enable_nestloop', ['off']), ('jit', ['on', 'off']), ('extra_float_digits', ['0', '3']),
    ('xmloption', ['document']), ('bytea_output', ['escape']), ('IntervalStyle', ['iso_8601', 'sql_standard']),
    ('TimeZone', ['America/New_York', 'Asia/Kolkata']), ('DateStyle', ['German', 'SQL, DMY']), ('default_text_search_config', ['pg_catalog.german']),
    ('search_path', ['pg_catalog']), ('synchronous_commit', ['off']), ('transform_null_equals', ['on']), ('array_nulls', ['off']),
    ('default_table_access_method', ['heap']), ('event_triggers', []), ('hot_standby_feedback', ['on']), ('autovacuum', ['off']),
    ('pg_derive.batch_interval', ['0', '200ms']), ('pg_derive.batch_share', ['0.001', '1']), ('pg_derive.view_timeout', ['100ms', '0']), ('pg_derive.max_builds', ['1', '4']),
    ('pg_derive.recompute_share', ['0.05', '1']), ('pg_derive.lock_timeout', ['10ms', '1s']), ('pg_derive.waiting_max_size', ['64kB']),
    ('pg_derive.work_mem', ['64kB', '128MB']), ('pg_derive.cleanup_interval', ['1s']), ('pg_derive.view_max_memory', ['10MB']),
    ('pg_derive.max_hold', ['1s']), ('pg_derive.time_resolution', ['100ms']),
]
SERVER_SETTINGS = [(name, values) for name, values in SERVER_SETTINGS if values]


def statements(world):
    """One entry of the list, filled in: what is done, what takes it back."""
    rng = world.rng
    table = rng.choice(world.schema.tables)
    column = rng.choice([c for c in table.columns if c.key not in ('json', 'xml', 'point') and not c.toast])
    world.serial += 1
    names = {'t': table.name, 'l': rng.choice([table.name] + table.leaves), 'c': column.name, 'n': str(world.serial),
             'v': rng.choice(sorted(world.views) or ['none']), 'r': rng.choice(['fuzzer', 'postgres'])}
    do, undo = rng.choice(DDL)

    def filled(text):
        for name, value in names.items():
            text = text.replace('{%s}' % name, value)
        return text

    return [filled(s) for s in do], [filled(s) for s in undo]


def ddl(world):
    rng = world.rng
    chaos = world.chaos
    do, undo = statements(world)
    way = rng.choice(['itself', 'rolled back', 'in flight', 'in flight, rolled back'])
    table = rng.choice(world.schema.tables).name
    change = 'UPDATE %s SET k = k + 1 WHERE k < 4' % table
    superuser = do[0].startswith('ALTER DATABASE') or do[0].startswith('ALTER ROLE')
    if superuser:
        chaos.sql('RESET ROLE')
    if way == 'itself':
        for sql in do:
            world.ddl_sql(sql)
        world.ddl_sql(change)
    else:
        for sql in ['BEGIN', change] + do + [change]:
            world.ddl_sql(sql)
        if way.startswith('in flight'):
            world.pass_time(rng.choice([0.1, 0.4, 1]))
        world.ddl_sql('ROLLBACK' if way.endswith('rolled back') else 'COMMIT')
        world.ddl_sql('ROLLBACK')
    if way in ('itself', 'in flight'):
        for sql in undo:
            chaos.again(sql)
    if superuser:
        chaos.sql('SET ROLE %s' % world.role)
    if 'FUNCTION f_' in do[0] or 'RENAME' in do[0] or 'SET SCHEMA' in do[0] or 'COLLATION' in do[0]:
        # what the queries mean is asked of the server from now on
        world.names_changed = True
    return '%s: %s' % (way, '; '.join(do))


def setting(world):
    """Of the server; it stays until another one is chosen, or all are taken back."""
    rng = world.rng
    chaos = world.chaos
    name, values = rng.choice(SERVER_SETTINGS)
    value = rng.choice(values)
    chaos.sql('RESET ROLE')
    if rng.random() < 0.3:
        text = 'reset of all settings'
        world.reset_settings(chaos.sql)
    elif rng.random() < 0.3 and not name.startswith('pg_derive') and name not in ('autovacuum', 'hot_standby_feedback'):
        text = 'ALTER DATABASE postgres SET %s = %s' % (name, value)
        chaos.sql("ALTER DATABASE postgres SET %s = '%s'" % (name, value))
    else:
        text = 'ALTER SYSTEM SET %s = %s' % (name, value)
        chaos.sql("ALTER SYSTEM SET %s = '%s'" % (name, value))
        chaos.sql('SELECT pg_reload_conf()')
    chaos.sql('SET ROLE %s' % world.role)
    return text
