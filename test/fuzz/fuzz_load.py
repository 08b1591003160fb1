"""Random changes: transactions of writers, and everything else that people do
to tables and views while they are in use.

All random choices of a transaction are drawn before it is run, so that a
session's statements depend on the seed alone, not on how others interleave.
"""

import os
import signal
import threading
import time

from fuzz_long import subtransactions
from fuzz_schema import TYPES, key_literal, literal
from fuzz_server import Lost
from fuzz_time import is_timed

# What may go wrong for a writer beside others, without anybody being at fault.
TOLERATED = (
    '22',       # data exceptions
    '23',       # constraints
    '40',       # serialization failures, deadlocks
    '25P02',    # a transaction that already failed
    '3B001',    # a savepoint that is gone
    '55P03',    # lock timeout
    '55006', '55000',
    '57014',    # cancelled
    '42P01', '42703', '42704',  # renamed or dropped a moment ago
    '42P07', '42701', '42710',
    '2BP01',    # others depend on it
    '08', '57P',
    '21000',    # ON CONFLICT or MERGE met a row twice
    '44000',
)
CONCURRENT_DDL = ('tuple concurrently', 'could not open relation with OID', 'cache lookup failed',
                  'could not open relation', 'relation with OID', 'pg_attribute catalog is missing')


# what the result of an expression, or the plan of a join, may depend on; the first value of each is the one that sessions have
SETTINGS = (
    ["TimeZone = 'UTC'", "TimeZone = 'America/New_York'", "TimeZone = 'Asia/Kolkata'"],
    ["DateStyle = 'ISO, MDY'", "DateStyle = 'SQL, DMY'", "DateStyle = 'German'"],
    ["bytea_output = 'hex'", "bytea_output = 'escape'"],
    ["join_collapse_limit = 8", "join_collapse_limit = 1"],    # 1: every join is a long one
)


def tolerated(result):
    if result.ok or result.sqlstate.startswith(TOLERATED):
        return True
    return result.sqlstate == 'XX000' and any(text in result.message for text in CONCURRENT_DDL)


class Writer:
    """One session's stream of transactions."""

    def __init__(self, rng, session, schema, topics, tag, prepared, patient):
        self.rng = rng
        self.patience = 3 if patient else 0     # it waits for views, until that took too long so often
        self.session = session
        self.schema = schema
        self.topics = topics
        self.tag = tag
        self.prepared = prepared
        self.transactions = 0
        self.open_gids = []
        self.complaints = []

    # ---- statements

    def target(self, table):
        if table.leaves and self.rng.random() < 0.12:
            return self.rng.choice(table.leaves)
        return table.name

    def where(self, t):
        r = self.rng
        choices = ['k = %d' % r.randint(0, 30), 'k BETWEEN %d AND %d' % ((lambda a: (a, a + 4))(r.randint(0, 28))),
                   'k IS NULL', 'k %% 5 = %d' % r.randint(0, 4)]
        if t.pk:
            choices += ['id = %d' % r.randint(0, 250)] * 2 + ['id IN (%s)' % ', '.join(
                str(r.randint(0, 250)) for _ in range(6))]
        return r.choice(choices)

    def assignment(self, t):
        r = self.rng
        c = r.choice(t.writable())
        if c.name == 'k':
            return 'k = ' + r.choice(['k + 1', 'k - 1', '%d' % r.randint(0, 30), 'least(k * 2, 30)', 'k'])
        if c.name == 'id':
            return 'id = ' + r.choice(['id + 1000', 'id', 'id - 1000', str(r.randint(0, 250))])
        if r.random() < 0.1:
            return '%s = %s' % (c.name, c.name)
        if c.in_key:
            # often another spelling of what it is
            same = {'num': '%s + 0.00', 'f8': '-(%s)', 'ci': 'upper(%s)', 'text': "%s || ''"}.get(c.key, '%s')
            return '%s = %s' % (c.name, same % c.name if r.random() < 0.4 else key_literal(r, c.key, c.toast))
        return '%s = %s' % (c.name, literal(r, c.key, c.toast, 0 if c.notnull else 0.12))

    def assignments(self, t):
        made = {}
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            a = self.assignment(t)
            made[a.split(' =')[0]] = a
        return ', '.join(made.values())

    def value(self, c):
        """Of a column, for a row of its own."""
        if c.in_key:
            return key_literal(self.rng, c.key, c.toast)
        return literal(self.rng, c.key, c.toast, 0 if c.notnull else 0.12)

    def reborn(self, t):
        """Rows with one key that come and go."""
        r = self.rng
        key = t.pk or t.key or ['k']
        values = {c.name: self.value(c) if c.in_key else str(r.randint(0, 30)) for c in t.writable() if c.name in key}
        where = ' AND '.join('%s = %s' % v for v in values.items())
        ranges = {'id': 250, 'k': 30}
        row = [values.get(c.name) or (str(r.randint(0, ranges[c.name])) if c.name in ranges else self.value(c))
               for c in t.writable()]
        insert = 'INSERT INTO %s (%s) VALUES (%s)%s' % (self.target(t), t.names(), ', '.join(row),
                                                        ' ON CONFLICT DO NOTHING' if t.unique else '')
        steps = [insert, insert, 'DELETE FROM %s WHERE %s' % (t.name, where), 'UPDATE %s SET k = k WHERE %s' % (t.name, where),
                 'UPDATE %s SET %s WHERE %s' % (t.name, self.assignments(t), where)]
        return [r.choice(steps) for _ in range(r.randint(2, 6))]

    def swap(self, t):
        """Keys change places, by way of another one or of a check that comes later."""
        a, b = self.rng.randint(0, 100), self.rng.randint(101, 250)
        if t.deferrable:
            return ['SET CONSTRAINTS ALL DEFERRED', 'UPDATE %s SET id = %d WHERE id = %d' % (t.name, b, a),
                    'UPDATE %s SET id = %d WHERE id = %d AND ctid = (SELECT min(ctid) FROM %s WHERE id = %d)' % (t.name, a, b, t.name, b)]
        return ['UPDATE %s SET id = -1 WHERE id = %d' % (t.name, a), 'UPDATE %s SET id = %d WHERE id = %d' % (t.name, a, b),
                'UPDATE %s SET id = %d WHERE id = -1' % (t.name, b)]

    def everywhere(self):
        """Rows of all tables that may meet in a join."""
        k = self.rng.randint(0, 30)
        return [self.rng.choice(['UPDATE %s SET %s WHERE k = %d' % (t.name, self.assignments(t), k),
                                 'UPDATE %s SET k = k + 1 WHERE k = %d' % (t.name, k),
                                 'DELETE FROM %s WHERE k = %d' % (t.name, k),
                                 'INSERT INTO %s (%s) VALUES %s%s' % (t.name, t.names(), t.row(self.rng),
                                                                     ' ON CONFLICT DO NOTHING' if t.unique else '')])
                for t in self.schema.tables]

    def single(self, t):
        """One row, whichever it is."""
        r = self.rng
        row = '(tableoid, ctid) = (SELECT tableoid, ctid FROM %s ORDER BY k %% 7, k, tableoid, ctid OFFSET %d LIMIT 1)' % (
            t.name, r.choice([0, 1, 3, 8, 20, 40]))
        return r.choice(['INSERT INTO %s (%s) VALUES %s%s' % (t.name, t.names(), t.row(r), ' ON CONFLICT DO NOTHING' if t.unique else ''),
                         'UPDATE %s SET %s WHERE %s' % (t.name, self.assignments(t), row),
                         'UPDATE %s SET k = %s WHERE %s' % (t.name, r.choice(['k + 1', 'k - 1', str(r.randint(0, 30))]), row),
                         'DELETE FROM %s WHERE %s' % (t.name, row)])

    def few(self):
        """A change or three, which take other plans than many."""
        tables = self.schema.tables
        same = self.rng.choice(tables) if self.rng.random() < 0.3 else None
        return [self.single(same or self.rng.choice(tables)) for _ in range(self.rng.choice([1, 1, 2, 2, 3]))]

    def both_sides(self):
        """What met in a join, in one transaction: both gone, one of them changed, both new."""
        r = self.rng
        a, b = r.choice(self.schema.tables), r.choice(self.schema.tables)
        k = r.randint(0, 30)
        gone = ['DELETE FROM %s WHERE k = %d' % (a.name, k)]
        other = r.choice(['DELETE FROM %s WHERE k = %d' % (b.name, k), 'DELETE FROM %s WHERE k = %d' % (b.name, k),
                          'UPDATE %s SET k = %d WHERE k = %d' % (b.name, r.randint(0, 30), k),
                          'UPDATE %s SET %s WHERE k = %d' % (b.name, self.assignments(b), k)])
        back = ['INSERT INTO %s (%s) VALUES %s%s' % (t.name, t.names(), t.row(r, k), ' ON CONFLICT DO NOTHING' if t.unique else '')
                for t in (a, b)]
        return r.choice([gone + [other], [other] + gone, gone + [other] + back[:r.randint(1, 2)], back, back[:1] + gone + [other]])

    def move(self):
        """Rows from one table to another, or back to where they are from."""
        r = self.rng
        a, b = r.choice(self.schema.tables), r.choice(self.schema.tables)
        have = [c.name for c in a.columns if c.name in ('k', 'id')]
        values = [c.name if c.name in have else str(r.randint(0, 250)) if c.name == 'id' else self.value(c) for c in b.writable()]
        k = r.randint(0, 30)
        conflict = ' ON CONFLICT DO NOTHING' if b.unique else ''
        insert = 'INSERT INTO %s (%s) SELECT %s FROM ' % (b.name, b.names(), ', '.join(values))
        if r.random() < 0.5:
            return ['WITH gone AS (DELETE FROM %s WHERE k = %d RETURNING *) %sgone%s' % (a.name, k, insert, conflict)]
        return ['%s%s WHERE k = %d%s' % (insert, a.name, k, conflict), 'DELETE FROM %s WHERE k = %d' % (a.name, k)]

    def frozen(self, t):
        """Rows that look as if everybody saw them."""
        columns = [x for x in t.writable() if x.name in ('id', 'k')]
        if t.partition or not all(x.name in ('id', 'k') for x in t.writable() if x.notnull):
            return []
        lines = ''.join(','.join(str(i if x.name == 'id' else self.rng.randint(0, 30)) for x in columns) + '\\n' for i in range(9))
        return ['TRUNCATE ' + t.name, "COPY %s (%s) FROM PROGRAM 'printf ''%s'' ' (FORMAT csv, FREEZE)" % (
            t.name, ', '.join(x.name for x in columns), lines)]

    def statement(self):
        r = self.rng
        if self.topics and r.random() < 0.15:
            return r.choice(self.topics).statement(r)
        t = r.choice(self.schema.tables)
        name = self.target(t)
        c = r.random()
        if c < 0.28:
            rows = ', '.join(t.row(r) for _ in range(r.choice([1, 1, 2, 5])))
            tail = ''
            if t.unique and r.random() < 0.5:
                key = t.pk or t.key
                other = [x for x in t.writable() if x.name not in ['id', 'k'] + key]
                tail = ' ON CONFLICT DO NOTHING'
                if name == t.name and other and r.random() < 0.6:
                    x = r.choice(other)
                    tail = ' ON CONFLICT (%s) DO UPDATE SET %s = EXCLUDED.%s' % (', '.join(key), x.name, x.name)
            return 'INSERT INTO %s (%s) VALUES %s%s' % (name, t.names(), rows, tail)
        if c < 0.55:
            return 'UPDATE %s SET %s WHERE %s' % (name, self.assignments(t), self.where(t))
        if c < 0.58:
            return 'UPDATE %s SET %s' % (name, self.assignments(t))
        if c < 0.74:
            return 'DELETE FROM %s WHERE %s' % (name, self.where(t))
        if c < 0.80:
            return 'DELETE FROM %s WHERE (SELECT count(*) > 150 FROM %s) AND coalesce(k, 1) %% 2 = %d' % (
                t.name, t.name, r.randint(0, 1))
        if c < 0.83:
            low = r.randint(0, 100)
            values = []
            for x in t.writable():
                if x.name == 'id':
                    values.append('i')
                elif x.name == 'k':
                    values.append('i % 31')
                elif x.in_key and x.key in ('num', 'int8', 'f8'):
                    values.append('i')
                else:
                    values.append(self.value(x))
            tail = ' ON CONFLICT DO NOTHING' if t.unique else ''
            return 'INSERT INTO %s (%s) SELECT %s FROM generate_series(%d, %d) i%s' % (
                name, t.names(), ', '.join(values), low, low + r.choice([30, 80, 150]), tail)
        if c < 0.87:
            o = r.choice(self.schema.tables)
            x = r.choice([x for x in t.writable() if x.name != 'id'])
            value = 'o.k' if x.name == 'k' else self.value(x)
            return 'UPDATE %s SET %s = %s FROM %s o WHERE %s.k = o.k + %d AND o.k = %d' % (
                t.name, x.name, value, o.name, t.name, r.randint(0, 1), r.randint(0, 30))
        if c < 0.90 and t.pk:
            other = [x for x in t.writable() if x.name not in ('id', 'k')]
            update = 'UPDATE SET %s = %s' % (other[0].name, literal(r, other[0].key, nulls=0)) if other else 'DO NOTHING'
            low = r.randint(0, 200)
            return ('MERGE INTO %s m USING (SELECT i, i %% 31 AS j FROM generate_series(%d, %d) i) s '
                    'ON m.id = s.i AND m.k = s.j WHEN MATCHED AND s.i %% 3 = 0 THEN DELETE WHEN MATCHED THEN %s%s'
                    % (t.name, low, low + 20, update, self.not_matched(t)))
        if c < 0.93 and t.pk and not t.partition:
            a, b = r.randint(0, 100), r.randint(101, 250)
            if t.deferrable:
                return 'UPDATE %s SET id = CASE id WHEN %d THEN %d ELSE %d END WHERE id IN (%d, %d)' % (t.name, a, b, a, a, b)
            return ('DO $$ BEGIN UPDATE %s SET id = -1 WHERE id = %d; UPDATE %s SET id = %d WHERE id = %d; '
                    'UPDATE %s SET id = %d WHERE id = -1; END $$' % (t.name, a, t.name, a, b, t.name, b))
        if c < 0.95:
            columns = [x for x in t.writable() if x.name in ('id', 'k')]
            if all(x.name in ('id', 'k') for x in t.writable() if x.notnull):
                lines = ''.join(','.join(str(r.randint(0, 250) if x.name == 'id' else r.randint(0, 30))
                                         for x in columns) + '\\n' for _ in range(4))
                return "COPY %s (%s) FROM PROGRAM 'printf ''%s''' (FORMAT csv)" % (
                    t.name, ', '.join(x.name for x in columns), lines)
        if c < 0.965:
            return 'TRUNCATE %s' % (', '.join(sorted({t.name, r.choice(self.schema.tables).name}))
                                    if r.random() < 0.3 else name)
        if c < 0.985:
            n = r.choice([3, 5, 70, 150])
            if r.random() < 0.5:
                return subtransactions(r, t, n)
            return ('DO $$ BEGIN FOR i IN 1..%d LOOP BEGIN INSERT INTO %s (%s) VALUES %s; '
                    'IF i %% 3 = 0 THEN RAISE EXCEPTION USING errcode = \'P0001\'; END IF; '
                    'EXCEPTION WHEN raise_exception OR integrity_constraint_violation OR data_exception THEN NULL; END; END LOOP; END $$' % (n, t.name, t.names(), t.row(r)))
        if c < 0.99:
            return 'SELECT 1 FROM %s WHERE %s FOR UPDATE' % (t.name, self.where(t))
        return 'SELECT pg_current_xact_id()'

    def not_matched(self, t):
        """The rest of a MERGE."""
        if self.session.server.major < 17 or self.rng.random() < 0.5:
            return ''
        return ' WHEN NOT MATCHED BY SOURCE AND m.k = %d THEN %s' % (
            self.rng.randint(0, 30), self.rng.choice(['DELETE', 'UPDATE SET %s' % self.assignments(t)]))

    # ---- transactions

    def draw(self):
        """A transaction as a list of statements."""
        r = self.rng
        c = r.random()
        if c < 0.36:
            return [self.statement()]
        if c < 0.6:
            body = self.few() if c < 0.46 else self.both_sides() if c < 0.54 else self.move()
            return body if len(body) == 1 else ['BEGIN'] + body + [r.choice(['COMMIT'] * 9 + ['ROLLBACK'])]
        body = ['BEGIN']
        if r.random() < 0.1:
            body[0] += ' ISOLATION LEVEL REPEATABLE READ'
        if r.random() < 0.2:
            body.append('SET LOCAL synchronous_commit = off')
        points = []
        with_id = [t for t in self.schema.tables if t.pk]
        for _ in range(r.choice([1, 2, 3, 5, 8])):
            x = r.random()
            if x < 0.2:
                points.append('sp%d' % r.randint(0, 2))
                body.append('SAVEPOINT ' + points[-1])
            elif x < 0.32 and points:
                body.append('ROLLBACK TO ' + r.choice(points))
            elif x < 0.37 and points:
                body.append('RELEASE ' + r.choice(points))
            elif x < 0.42:
                t = r.choice(self.schema.tables)
                body += ['TRUNCATE ' + t.name, 'INSERT INTO %s (%s) VALUES %s' % (t.name, t.names(), t.row(r))] \
                    if x < 0.375 else []
            elif x < 0.50:
                body += self.reborn(r.choice(self.schema.tables))
            elif x < 0.54 and with_id:
                body += self.swap(r.choice(with_id))
            elif x < 0.60:
                body += self.everywhere()
            elif x < 0.67:
                body += r.choice([self.few, self.both_sides, self.move])()
            elif x < 0.68:
                body += self.frozen(r.choice(self.schema.tables))
            else:
                body.append(self.statement())
        if self.prepared and r.random() < 0.12:
            gid = '%s_%d' % (self.tag, self.transactions)
            body.append("PREPARE TRANSACTION '%s'" % gid)
            finish = "%s PREPARED '%s'" % (r.choice(['COMMIT', 'COMMIT', 'ROLLBACK']), gid)
            self.open_gids.append(gid)
            return body + [self.statement() for _ in range(r.randint(0, 2))] + [finish]
        body.append(r.choice(['COMMIT'] * 5 + ['ROLLBACK']))
        return body

    def sql(self, text):
        """False if the connection was lost; it is there again then."""
        try:
            result = self.session.run(text)
        except Lost:
            self.session.connect()
            return False
        if not tolerated(result):
            self.complaints.append((text, result))
        return True

    def run(self, count):
        for _ in range(count):
            body = self.draw()
            self.transactions += 1
            for text in body:
                if not self.sql(text):
                    break
            if len(body) > 1:
                # an error on the way may have left us inside
                self.sql('ROLLBACK')
                if 'PREPARED' in body[-1]:
                    self.sql("ROLLBACK PREPARED '%s'" % self.open_gids[-1])
            if self.patience:
                self.wait()

    def wait(self):
        """Until the views have it, so that a batch is one transaction."""
        try:
            result = self.session.run("SELECT derive.wait(NULL, '1s')")
            self.patience -= not result.ok or result.value() != 't'
        except Lost:
            self.session.connect()


class Locker:
    """A session that holds a lock for a moment, whatever the others do or wait for."""

    def __init__(self, session):
        self.session = session
        self.timer = None

    def hold(self, text, seconds):
        self.release()
        try:
            self.session.run('BEGIN')
            held = self.session.run(text).ok
        except Lost:
            self.session.connect()
            return
        self.timer = threading.Timer(seconds if held else 0, self.rollback)
        self.timer.start()

    def release(self):
        if self.timer:
            self.timer.cancel()
            self.timer.join()
            self.timer = None
            self.rollback()

    def rollback(self):
        try:
            self.session.run('ROLLBACK')
        except Lost:
            self.session.connect()


class Chaos:
    """DDL, maintenance, slow readers, functions of the extension, broken workers."""

    def __init__(self, rng, session, reader, locker, keeper, round, engine, violent):
        self.rng = rng
        self.session = session
        self.reader = reader
        self.locker = locker
        self.keeper = keeper
        self.round = round          # schema, views, create_view(), ...
        self.engine = engine
        self.violent = violent
        self.complaints = []
        self.findings = []
        self.serial = 0
        self.reading = False

    def sql(self, text, also=(), timeout=300):
        try:
            result = self.session.run(text, timeout)
        except Lost:
            self.session.connect()
            result = None
        if 'CONCURRENTLY' in text and not (result and result.ok):
            self.drop_invalid_indexes()
        if result is None:
            return None
        if not tolerated(result) and not result.sqlstate.startswith(tuple(also) or ('-',)):
            self.complaints.append((text, result))
        return result

    def run(self, count):
        actions = [(8, self.create_index), (4, self.drop_index), (4, self.reindex), (5, self.rewrite), (4, self.vacuum),
                   (4, self.columns), (3, self.rename), (2, self.settings), (3, self.change_type),
                   (2, self.swap_names), (2, self.column_again), (6, self.partition), (4, self.slow_reader),
                   (2, self.sequence_of_rows), (8, self.keeper.step), (4, self.index_of_key), (3, self.constraints),
                   (3, self.other_identity), (3, self.part_again), (3, self.unused_column)]
        if self.engine and self.round.gentle:
            actions += [(8, self.verify), (20, self.consistent), (3, self.view_ddl)]
        elif self.engine:
            actions += [(8, self.verify), (3, self.pause), (3, self.move), (2, self.release), (3, self.repair), (4, self.refresh), (3, self.view_again),
                        (3, self.view_ddl), (2, self.terminate), (1, self.identity)]
        if self.engine and self.round.role == 'postgres':
            actions += [(4, self.owner)]
        if self.engine:
            actions += [(3, self.server_settings)]
            if 'turns' in self.round.old_rows:
                actions += [(6, self.old_rows)]
            feeds = self.round.feeds
            actions += [(8, self.freeze), (8, self.hold_lock), (6, lambda: feeds.remember(self)), (6, lambda: feeds.poll(self))]
        # never both: a server that is killed while an aborted SET UNLOGGED has its init file cannot
        # be started any more ("could not create file .. File exists", ResetUnloggedRelations)
        actions += [(6, self.kill)] if self.violent else [(3, self.unlogged)]
        functions = [f for weight, f in actions for _ in range(weight)]
        for _ in range(count):
            self.rng.choice(functions)()
        self.end_reader()
        self.locker.release()
        self.keeper.end()

    def table(self):
        return self.rng.choice(self.round.schema.tables)

    def column(self, t):
        return self.rng.choice([c for c in t.columns if c.indexable])

    # ---- base tables

    def create_index(self):
        t = self.table()
        self.serial += 1
        concurrently = 'CONCURRENTLY ' if not t.partition and self.rng.random() < 0.5 else ''
        self.sql('CREATE INDEX %sx%d ON %s (%s)' % (concurrently, self.serial, t.name, self.column(t).name))

    def drop_index(self):
        if self.serial:
            name = 'x%d' % self.rng.randint(1, self.serial)
            self.sql('DROP INDEX %sIF EXISTS %s' % (self.rng.choice(['', 'CONCURRENTLY ']), name), also=('0A000',))

    def reindex(self):
        t = self.table()
        self.sql('REINDEX TABLE %s%s' % (self.rng.choice(['', 'CONCURRENTLY ']), t.name))

    def index_of_key(self):
        """Younger indexes, which lack what only older snapshots see."""
        t = self.table()
        names = (['%s_pkey' % t.name] if t.pk else []) + (['%s_key' % t.name] if t.key else [])
        if t.leaves:
            names.append('%s_pkey' % self.rng.choice(t.leaves))
        if not names:
            return
        name = self.rng.choice(names)
        key = t.pk if name.endswith('pkey') and t.pk else t.key
        self.serial += 1
        new = 'n%d' % self.serial
        c = self.rng.random()
        if t.partition or name not in ('%s_pkey' % t.name, '%s_key' % t.name) or c < 0.5:
            self.sql('REINDEX INDEX %s%s' % (self.rng.choice(['', 'CONCURRENTLY ']), name))
        elif c < 0.8 and not t.is_mirrored_by_key:
            # a GROUP BY by a view's query may forbid it
            self.sql('ALTER TABLE %s DROP CONSTRAINT %s' % (t.name, name))
            self.sql('UPDATE %s SET k = k WHERE k < 9' % t.name)
            if self.rng.random() < 0.5:
                self.sql('CREATE UNIQUE INDEX CONCURRENTLY %s ON %s (%s)' % (new, t.name, ', '.join(key)))
                self.sql('ALTER TABLE %s ADD CONSTRAINT %s PRIMARY KEY USING INDEX %s' % (t.name, name, new), also=('42P16', '42809'))
            else:
                self.sql('ALTER TABLE %s ADD CONSTRAINT %s PRIMARY KEY (%s)' % (t.name, name, ', '.join(key)), also=('42P16',))
        else:
            # unique from now on only
            column = self.column(t).name
            self.sql('DELETE FROM %s a WHERE EXISTS (SELECT FROM %s b WHERE b.%s = a.%s AND b.ctid < a.ctid AND b.tableoid = a.tableoid)'
                     % (t.name, t.name, column, column))
            self.sql('CREATE UNIQUE INDEX %s%s ON %s (%s)' % (self.rng.choice(['', 'CONCURRENTLY ']), new, t.name, column))
            self.sql('UPDATE %s SET k = k WHERE k < 9' % t.name)
            self.again('DROP INDEX IF EXISTS ' + new)

    def constraints(self):
        """What is true only from now on."""
        t = self.table()
        c = self.column(t)
        if c.notnull:
            self.sql('ALTER TABLE %s ALTER %s DROP NOT NULL' % (t.name, c.name), also=('42P16',))
            self.sql('ALTER TABLE %s ALTER %s SET NOT NULL' % (t.name, c.name))
            return
        self.sql('DELETE FROM %s WHERE %s IS NULL' % (t.name, c.name))
        self.sql('ALTER TABLE %s ALTER %s SET NOT NULL' % (t.name, c.name))
        self.sql('UPDATE %s SET k = k WHERE k < 4' % t.name)
        self.again('ALTER TABLE %s ALTER %s DROP NOT NULL' % (t.name, c.name))

    def other_identity(self):
        """Of a table, a partition or a child; what was written before had another."""
        t = self.table()
        name = self.rng.choice([t.name] + t.leaves)
        key = 'USING INDEX %s_key' % name
        self.sql('ALTER TABLE %s REPLICA IDENTITY %s' % (name, self.rng.choice(['FULL', 'DEFAULT' if t.pk else 'FULL', key, key])),
                 also=('42809', '42P16'))

    def part_again(self):
        """Takes a partition away and puts it back, with what was done to it meanwhile."""
        found = [t for t in self.round.schema.tables if t.bounds]
        if not found:
            return
        t = self.rng.choice(found)
        name = self.rng.choice(sorted(t.bounds))
        detached = self.sql('ALTER TABLE %s DETACH PARTITION %s' % (t.name, name))
        if detached and detached.ok:
            self.sql(self.rng.choice(['UPDATE %s SET k = k', 'DELETE FROM %s WHERE k < 9', 'TRUNCATE %s']) % name)
            self.again('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s' % (t.name, name, t.bounds[name]))

    def unused_column(self):
        """Rewrites the table, by a column that no view reads."""
        t = self.table()
        self.serial += 1
        name = 'other%d' % self.serial
        self.sql('ALTER TABLE %s ADD COLUMN %s integer DEFAULT 1' % (t.name, name))
        self.sql('UPDATE %s SET k = k WHERE k < 9' % t.name)
        self.sql('ALTER TABLE %s ALTER %s TYPE %s' % (t.name, name, self.rng.choice(['bigint', 'text', 'numeric'])))
        self.sql('UPDATE %s SET k = k WHERE k > 20' % t.name)
        self.again('ALTER TABLE %s DROP COLUMN IF EXISTS %s' % (t.name, name))

    def old_rows(self):
        self.sql('RESET ROLE')
        self.sql('ALTER SYSTEM SET pg_derive.old_rows = %s' % self.rng.choice(['auto', 'log']))
        self.sql('SELECT pg_reload_conf()')
        self.sql('SET ROLE %s' % self.round.role)

    def drop_invalid_indexes(self):
        """What REINDEX CONCURRENTLY leaves behind when it fails, as its documentation says.

        An invalid index of a TOAST table keeps its file in TRUNCATE, which a
        second one in the same transaction empties, for good: a rollback then
        leaves the table with an index that cannot be read.
        """
        self.sql('RESET ROLE')
        found = self.sql("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid "
                         "AND indexrelid::regclass::text ~ '_cc(new|old)[0-9]*$'")
        for row in found.rows if found else []:
            self.again('DROP INDEX IF EXISTS %s' % row[0])
        self.sql('SET ROLE %s' % self.round.role)

    def rewrite(self):
        t = self.table()
        if t.pk and not t.partition and self.rng.random() < 0.5:
            self.sql('CLUSTER %s USING %s_pkey' % (t.name, t.name))
        else:
            self.sql('VACUUM FULL %s' % t.name)

    def vacuum(self):
        self.sql(self.rng.choice(['VACUUM %s', 'ANALYZE %s', 'VACUUM (FREEZE) %s']) % self.table().name)

    def columns(self):
        t = self.table()
        self.serial += 1
        name = 'extra%d' % self.serial
        kind = self.rng.choice(['integer', 'integer DEFAULT 5', 'text DEFAULT clock_timestamp()::text',
                                'bigint GENERATED ALWAYS AS (k * 2) STORED'] +
                               ['bigint GENERATED ALWAYS AS (k * 2) VIRTUAL'] * (self.session.server.major >= 18))
        self.sql('ALTER TABLE %s ADD COLUMN %s %s' % (t.name, name, kind))
        if self.rng.random() < 0.7:
            self.sql('UPDATE %s SET k = k WHERE k < 4' % t.name)
            self.sql('ALTER TABLE %s DROP COLUMN %s' % (t.name, name))

    def rename(self):
        t = self.table()
        c = self.column(t).name
        if self.rng.random() < 0.5:
            there = 'ALTER TABLE %s RENAME COLUMN %s TO renamed' % (t.name, c)
            back = 'ALTER TABLE %s RENAME COLUMN renamed TO %s' % (t.name, c)
            meanwhile = 'UPDATE %s SET renamed = renamed' % t.name
        else:
            there = 'ALTER TABLE %s RENAME TO renamed' % t.name
            back = 'ALTER TABLE renamed RENAME TO %s' % t.name
            meanwhile = 'UPDATE renamed SET k = k WHERE k > 20'
        renamed = self.sql(there)
        self.sql(meanwhile, also=('428C9',))
        # after a lost connection nobody knows, and it does no harm to try
        if not self.again(back) and renamed and renamed.ok:
            self.round.names_changed = True

    def again(self, text):
        """A statement that must not be lost, until it is done or cannot be; was it done?"""
        for _ in range(50):
            result = self.sql(text)
            if result and result.ok:
                return True
            self.end_reader()
            self.locker.release()
            self.keeper.end()
            if result and not result.sqlstate.startswith(('55P03', '40', '57', '08')):
                break
        return False

    def change_type(self):
        """Only views by derivations can read a column whose type is changed; the type stays as it was."""
        t = self.table()
        c = self.rng.choice(t.columns)
        value = {'int4': '%s + 1', 'text': "%s || 'x'", 'bool': 'NOT %s', 'jsonb': "%s || '[1]'",
                 'ts': "%s + interval '30 minutes'", 'tstz': "%s - interval '30 minutes'"}.get(c.key)
        if value and c.name not in ('id', 'k') and not c.generated:
            self.sql('ALTER TABLE %s ALTER %s TYPE %s USING %s' % (t.name, c.name, TYPES[c.key][0], value % c.name),
                     also=('0A000', '42804', '42P16'))

    def swap_names(self):
        """Derivations know columns by their names; then those of another one."""
        t = self.table()
        a, b = self.rng.choice(t.columns), self.rng.choice(t.columns)
        if a.name == b.name or a.key != b.key or a.generated or b.generated or 'id' in (a.name, b.name):
            return
        # one statement: of several, only the last one tells whether it failed
        swap = 'DO $$ BEGIN %s END $$' % ' '.join(
            'ALTER TABLE %s RENAME COLUMN %s TO %s;' % (t.name, old, new)
            for old, new in ((a.name, 'renamed'), (b.name, a.name), ('renamed', b.name)))
        if not self.again(swap):
            return
        self.sql('UPDATE %s SET %s = %s WHERE %s IS NOT NULL AND k < 10' % (t.name, a.name, a.name, b.name))
        if self.engine:
            self.verify()
        if not self.again(swap):
            self.round.names_changed = True

    def column_again(self):
        """Refused if a SELECT reads it."""
        t = self.table()
        c = self.rng.choice(t.writable())
        if c.name not in ('id', 'k') and not c.notnull:
            self.sql('ALTER TABLE %s DROP COLUMN %s, ADD COLUMN %s %s DEFAULT %s' % (
                t.name, c.name, c.name, TYPES[c.key][0], literal(self.rng, c.key)), also=('0A000', '428C9'))

    def settings(self):
        t = self.table()
        c = self.column(t).name
        self.sql(self.rng.choice(['ALTER TABLE %s ALTER %s SET STATISTICS 50' % (t.name, c),
                                  'ALTER TABLE %s ALTER %s SET DEFAULT NULL' % (t.name, c)]), also=('42601',))

    def unlogged(self):
        """What is written meanwhile is not in the log."""
        r = self.rng
        t = self.table()
        if t in self.round.feeds.histories.values():
            return              # a history would rightly lack it
        name = r.choice(t.leaves) if t.partition else t.name
        steps = ['ALTER TABLE %s SET UNLOGGED' % name, 'UPDATE %s SET k = k WHERE k %% 2 = 0' % name,
                 'DELETE FROM %s WHERE k %% 7 = %d' % (name, r.randint(0, 6))]
        back = 'ALTER TABLE %s SET LOGGED' % name
        if r.random() < 0.6:
            self.sql('DO $$ BEGIN %s; END $$' % '; '.join(steps + [back]))
            return
        for sql in steps:
            self.sql(sql)
        self.again(back)

    def server_settings(self):
        """Whatever the server has, a view is evaluated under the settings of its declaration."""
        change = self.rng.choice(self.rng.choice(SETTINGS))
        self.sql('RESET ROLE')
        if self.rng.random() < 0.3:
            self.sql('ALTER DATABASE postgres SET %s' % change)
        else:
            self.sql('ALTER SYSTEM SET %s' % change)
            self.sql('SELECT pg_reload_conf()')
        self.sql('SET ROLE %s' % self.round.role)

    def partition(self):
        parts = [t for t in self.round.schema.tables if t.spare]
        if not parts:
            return
        t = self.rng.choice(parts)
        self.serial += 1
        name = '%s_spare%d' % (t.name, self.serial)
        row = t.row(self.rng)
        self.sql('CREATE TABLE %s (LIKE %s INCLUDING ALL)' % (name, t.name))
        self.sql('INSERT INTO %s (%s) VALUES %s' % (name, t.names(), row))
        self.sql('UPDATE %s SET k = 99' % name)
        attached = self.sql('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s' % (t.name, name, t.spare))
        if attached and attached.ok:
            self.sql('INSERT INTO %s (%s) SELECT %s FROM %s LIMIT 1' % (
                t.name, t.names(), t.names(), name))
            self.again('ALTER TABLE %s DETACH PARTITION %s%s' % (t.name, name, self.rng.choice(['', '', ' CONCURRENTLY'])))
            if self.rng.random() < 0.5:
                self.sql('UPDATE %s SET k = 7' % name)
        self.again('DROP TABLE %s' % name)

    def sequence_of_rows(self):
        """Many rows in one transaction, so that decoding spills; most are gone at its end."""
        t = self.table()
        if all(c.name == 'k' for c in t.writable() if c.notnull):
            self.sql('BEGIN')
            self.sql('INSERT INTO %s (k) SELECT 1000 + i FROM generate_series(1, 3000) i' % t.name)
            self.sql('UPDATE %s SET k = k + 5000 WHERE k >= 1000' % t.name)
            self.sql('DELETE FROM %s WHERE k > 6020' % t.name)
            self.sql('COMMIT')
            self.sql('ROLLBACK')

    # ---- readers

    def slow_reader(self):
        """Opens or closes a transaction with an old snapshot."""
        if self.reading:
            self.end_reader()
            return
        try:
            self.reader.run('BEGIN ISOLATION LEVEL REPEATABLE READ')
            # mostly without a lock on any table, which would hold up all DDL
            self.reader.run('SELECT count(*) FROM %s' % (self.table().name if self.rng.random() < 0.2 else 'pg_class'))
            self.reading = True
        except Lost:
            self.reader.connect()

    def end_reader(self):
        if not self.reading:
            return
        self.reading = False
        try:
            self.reader.run('ROLLBACK')
        except Lost:
            self.reader.connect()

    # ---- locks

    def hold_lock(self):
        """A lock that a view cannot be moved under, while everything else goes on."""
        r = self.rng
        t = self.table()
        v = self.view()
        modes = ['ACCESS EXCLUSIVE', 'ACCESS EXCLUSIVE', 'EXCLUSIVE', 'SHARE', 'ROW EXCLUSIVE']
        text = 'LOCK TABLE %s%s IN %s MODE' % (r.choice(['', 'ONLY ']), r.choice(t.leaves + [t.name]), r.choice(modes))
        if v and r.random() < 0.6:
            text = r.choice(['CREATE INDEX ON %s ((%s IS NULL))' % (v, v), 'DROP MATERIALIZED VIEW %s CASCADE' % v,
                             'ALTER MATERIALIZED VIEW %s RENAME TO renamed_view' % v])
        self.locker.hold(text, r.choice([0.1, 0.5, 1, 3]))

    # ---- the extension

    def view(self):
        names = sorted(self.round.views)
        return self.rng.choice(names) if names else None

    def verify(self):
        result = self.sql('SELECT view, missing, extra FROM derive.verify() WHERE missing <> 0 OR extra <> 0')
        if result and result.ok and result.rows:
            self.findings.append('derive.verify() during the load: %s' % result.rows)

    def consistent(self):
        """A view of views agrees with them in any snapshot (nothing is paused in gentle rounds).

        Unless it is in the slow lane, and marked there as lacking something, and they are not.
        """
        names = sorted(n for n in self.round.views if n in self.round.above and n not in self.round.several)
        if not names:
            return
        v = self.rng.choice(names)
        q = self.round.views[v]
        if is_timed(q):
            return              # the time at which it stands would have to be read in that snapshot
        sql = ('SELECT (SELECT count(*) FROM ((SELECT * FROM %s EXCEPT ALL SELECT * FROM (%s) x) UNION ALL '
               '(SELECT * FROM (%s) x EXCEPT ALL SELECT * FROM %s)) d), '
               "(SELECT count(*) FROM derive.views WHERE state <> 'ready'), "
               "(SELECT count(*) FROM derive_state.stale WHERE view = '%s'::regclass)" % (v, q, q, v, v))
        try:
            result = self.round.run_like(self.session, v, sql)
        except Lost:
            self.session.connect()
            return
        if not tolerated(result) and result.sqlstate != '42883':
            self.complaints.append((sql, result))
        if result.ok and result.rows[0][1:] == ['0', '0'] and result.rows[0][0] != '0':
            self.findings.append('%s and the views it reads differ in one snapshot: %s rows\n%s' % (v, result.value(), q))

    def pause(self):
        v = self.view()
        if v:
            self.sql("SELECT derive.pause('%s')" % v)
            self.sql('UPDATE %s SET k = k WHERE k > 20' % self.table().name)
            self.again("SELECT derive.resume('%s')" % v)

    def move(self):
        """To another group or back, with what it is connected with; not waited for."""
        v = self.view()
        if v:
            self.sql("SELECT derive.move('%s', '%s')" % (v, self.rng.choice(['default', 'moved'])))

    def release(self):
        v = self.view()
        if v and v not in self.round.feeds.subscriptions.values():
            released = self.sql("SELECT derive.release('%s')" % v)
            self.sql('UPDATE %s SET k = k + 1 WHERE k < 5' % self.table().name)
            if released and released.ok:
                self.again("SELECT derive.maintain('%s')" % v)

    def repair(self):
        v = self.view()
        if v:
            self.keeper.end()       # a builder may wait for it, and we for the builder
            self.sql("SELECT derive.repair('%s')" % v)

    def refresh(self):
        v = self.view()
        if v:
            self.sql('REFRESH MATERIALIZED VIEW %s%s' % (self.rng.choice(['', 'CONCURRENTLY ']), v))

    def view_again(self):
        v = self.view()
        if not v:
            return
        self.keeper.end()
        if self.rng.random() < 0.3 or v in self.round.feeds.subscriptions.values():
            self.round.add_view(self.sql)
            return
        dropped = self.sql('DROP MATERIALIZED VIEW %s' % v)
        if dropped and dropped.ok:
            query = self.round.views.pop(v)
            # 55000: it reads views of two groups by now
            made = self.sql("SELECT derive.create_view('%s', $fuzz$%s$fuzz$)" % (v, query), also=('0A000', '55000'))
            if made is None or made.ok:
                self.round.views[v] = query

    def view_ddl(self):
        v = self.view()
        if not v:
            return
        self.serial += 1
        c = self.rng.choice(['VACUUM FULL %s' % v, 'VACUUM %s' % v, 'ANALYZE %s' % v, 'GRANT SELECT ON %s TO PUBLIC' % v,
                             "COMMENT ON MATERIALIZED VIEW %s IS 'x'" % v, 'REINDEX TABLE %s' % v,
                             'REINDEX TABLE CONCURRENTLY %s' % v,
                             'ALTER MATERIALIZED VIEW %s SET (fillfactor = 50)' % v,
                             'CREATE INDEX y%d ON %s ((%s IS NULL))' % (self.serial, v, v),
                             "DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX ' || min(indexrelid)::regclass FROM pg_index "
                             "WHERE indrelid = '%s'::regclass HAVING count(*) > 0); END $$" % v,
                             'RENAME', 'RENAME COLUMN'])
        if c == 'RENAME':
            self.sql('ALTER MATERIALIZED VIEW %s RENAME TO renamed_view' % v)
            self.again('ALTER MATERIALIZED VIEW renamed_view RENAME TO %s' % v)
        elif c == 'RENAME COLUMN':
            column = self.rng.choice(self.round.columns[v])[0]
            self.sql('ALTER MATERIALIZED VIEW %s RENAME COLUMN %s TO renamed' % (v, column))
            self.sql('UPDATE %s SET k = k WHERE k > 20' % self.table().name)
            self.again('ALTER MATERIALIZED VIEW %s RENAME COLUMN renamed TO %s' % (v, column))
        else:
            self.sql(c)

    def owner(self):
        """Views of several roles, over tables of one of them."""
        v = self.view()
        if v:
            self.sql('ALTER MATERIALIZED VIEW %s OWNER TO %s' % (v, self.rng.choice(['fuzzer', 'postgres'])))

    def identity(self):
        self.sql('ALTER TABLE %s REPLICA IDENTITY %s' % (self.table().name, self.rng.choice(['DEFAULT', 'NOTHING'])))

    # ---- violence

    def worker(self):
        result = self.sql("SELECT active_pid FROM pg_replication_slots WHERE plugin = 'pg_derive' "
                          "AND database = current_database() AND active_pid IS NOT NULL")
        return result.value() if result else None

    def freeze(self):
        """Stop the worker for a moment, so that a batch has many changes of many tables."""
        pid = self.worker()
        if not pid:
            return
        try:
            os.kill(int(pid), signal.SIGSTOP)
            time.sleep(self.rng.choice([0.1, 0.3, 0.8]))
            os.kill(int(pid), signal.SIGCONT)
        except ProcessLookupError:
            pass

    def terminate(self):
        pid = self.worker()
        if pid:
            self.sql('SELECT pg_terminate_backend(%s)' % pid, also=('42501',))

    def kill(self):
        self.round.violence(self)


def settle(session, round):
    """After the load: nothing open, nothing paused."""
    session.run('ROLLBACK')
    session.must('RESET ROLE')
    for row in session.must('SELECT gid FROM pg_prepared_xacts').rows:
        session.run("ROLLBACK PREPARED '%s'" % row[0])
