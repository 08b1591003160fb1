"""What is not a function of the present rows: topics, histories, subscriptions.

A topic is appended to by the writers; each event also goes into a table, by the
same statement.  A history follows a table; now and then the table is copied,
under a lock that keeps writers away, together with the place in the log.  A
subscription is polled into a table.  At the end the topic must equal the table,
the history the table and all copies of it, and what was polled the view.
"""

from fuzz_schema import TYPES, literal

EVENT_TYPES = ['int4', 'int8', 'num', 'text', 'bool', 'tstz', 'uuid', 'jsonb', 'inta', 'enum', 'dom', 'comp', 'bytea']

VIEW_ROWS = 'SELECT to_jsonb(v) FROM %s v'


class Topic:
    def __init__(self, rng, name):
        self.name = name
        self.columns = [('e%d' % i, rng.choice(EVENT_TYPES)) for i in range(rng.randint(1, 4))]
        self.columns.append(('k', 'int4'))

    def names(self):
        return ', '.join(n for n, _ in self.columns)

    def typed(self):
        return ', '.join('%s %s' % (n, TYPES[k][0]) for n, k in self.columns)

    def statement(self, rng):
        """Appends one or some events and writes them down."""
        values = ['%s AS %s' % (literal(rng, k, toast=rng.random() < 0.2), n) for n, k in self.columns[:-1]]
        values.append('i %% %d AS k' % rng.randint(1, 30))
        n = rng.choice([1, 1, 1, 2, 5, 40])
        # JSON's null would become NULL
        as_json = rng.random() < 0.3 and not any(k == 'jsonb' for _, k in self.columns)
        row = 'to_jsonb(a)' if as_json else 'ROW(%s)' % self.names()
        return ('WITH a AS (INSERT INTO %s_audit (%s) SELECT %s FROM generate_series(1, %d) i RETURNING *) '
                "SELECT count(derive.append('%s', %s)) FROM a" % (
                    self.name, self.names(), ', '.join(values), n, self.name, row))


class Followed:
    """A view that has a history."""

    leaves = ()

    def __init__(self, name, columns):
        self.name = name
        self.columns = [FollowedColumn(n, k) for n, k in columns]


class FollowedColumn:
    def __init__(self, name, key):
        self.name = name
        self.key = key
        self.virtual = False


class Feeds:
    def __init__(self, rng, round):
        self.log_start = round.server.log_size()
        self.rng = rng
        self.round = round
        self.topics = []
        self.gaps = {}              # name of a topic -> numbers that its events may leave out, where some may be lost
        self.histories = {}         # name -> Table, or Followed
        self.copies = {}            # name of a table's history -> [(table with the copy, LSN)]
        self.subscriptions = {}     # name of a subscription -> view
        self.serial = 0

    def session(self):
        return self.round.control

    # ---- before the load

    def declare(self):
        rng = self.rng
        c = self.session()
        for i in range(rng.choice([0, 0, 1, 1, 2])):
            topic = Topic(rng, 'topic%d' % i)
            c.must('CREATE TABLE %s_audit (%s)' % (topic.name, topic.typed()))
            c.must("SELECT derive.create_topic('%s', '(%s)')" % (topic.name, topic.typed()))
            self.topics.append(topic)
        for t in self.round.schema.tables:
            if rng.random() < 0.25:
                name = 'h_' + t.name
                compact = ", key => '{%s}', options => '{\"compact\": true}'" % ', '.join(t.pk or ['k'])
                c.must("SELECT derive.create_view('%s', derivation => 'history', sources => '{%s}'%s)" % (
                    name, t.name, rng.choice(['', '', compact])))
                self.histories[name] = t
                self.copies[name] = []

    def follow(self):
        """Histories and subscriptions of views."""
        for view in sorted(self.round.views):
            if self.rng.random() < 0.1:
                if self.session().run("SELECT derive.create_view('h_%s', derivation => 'history', sources => '{%s}')"
                                      % (view, view)).ok:
                    self.histories['h_' + view] = Followed(view, self.round.columns[view])
            if self.rng.random() < 0.25:
                name = 'sub_' + view
                self.session().must("SELECT derive.subscribe('%s', '%s')" % (view, name))
                self.session().must('CREATE TABLE %s_got (operation text, old jsonb, new jsonb, lsn pg_lsn, omitted text[])' % name)
                self.subscriptions[name] = view

    # ---- during it, by the session of Chaos

    def remember(self, chaos):
        if not self.copies:
            return
        history = self.rng.choice(sorted(self.copies))
        t = self.histories[history]
        self.serial += 1
        copy = '%s_copy%d' % (t.name, self.serial)
        chaos.sql('BEGIN')
        locked = chaos.sql('LOCK TABLE %s IN SHARE MODE' % t.name)
        if locked and locked.ok:
            lsn = chaos.sql('SELECT pg_current_wal_insert_lsn()')
            made = chaos.sql('CREATE TABLE %s AS SELECT %s FROM %s' % (copy, self.names(t), t.name))
            done = chaos.sql('COMMIT')
            if lsn and made and done and made.ok and done.ok:
                self.copies[history].append((copy, lsn.value()))
        chaos.sql('ROLLBACK')

    def poll(self, chaos):
        if not self.subscriptions:
            return
        name = self.rng.choice(sorted(self.subscriptions))
        wait = self.rng.choice(['', '', ", timeout => '50 ms'"])
        chaos.sql('BEGIN')
        chaos.sql("INSERT INTO %s_got SELECT * FROM derive.poll('%s', %d%s)" % (
            name, name, self.rng.choice([1, 7, 100, 10000]), wait))
        chaos.sql(self.rng.choice(['COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK']))
        chaos.sql('ROLLBACK')

    # ---- after it

    def recorded(self, t):
        """The columns that a history has."""
        return [c for c in t.columns if not c.virtual]

    def names(self, t):
        return ', '.join(c.name + ('::text' if c.key in ('json', 'xml', 'point') else '') for c in self.recorded(t))

    def check(self):
        """Differences, as texts."""
        return self.check_topics() + self.check_histories() + self.check_subscriptions()

    def differ(self, what, one, other):
        """Both ways, as multisets."""
        found = []
        for title, a, b in (('missing', one, other), ('extra', other, one)):
            result = self.session().must('(%s) EXCEPT ALL (%s)' % (a, b))
            if result.rows:
                found.append('%s: %d %s\n  %s' % (what, len(result.rows), title,
                                                  '\n  '.join(' | '.join(r)[:300] for r in result.rows[:8])))
        return found

    def check_topics(self):
        found = []
        for t in self.topics:
            found += self.differ(t.name, 'SELECT %s FROM %s_audit' % (t.names(), t.name),
                                 'SELECT %s FROM %s' % (t.names(), t.name))
            row = [int(n) for n in self.session().must(
                'SELECT count(*), count(DISTINCT event_id), count(DISTINCT event_lsn), coalesce(max(event_id), 0) '
                'FROM %s' % t.name).rows[0]]
            if len(set(row[:3])) > 1 or not 0 <= row[3] - row[0] <= self.gaps.get(t.name, 0):
                found.append('%s: numbers of events are wrong: %s' % (t.name, row))
        return found

    def check_histories(self):
        found = []
        for name, t in sorted(self.histories.items()):
            if self.session().must("SELECT to_regclass('%s') IS NULL" % name).value() == 't':
                continue            # dropped with the view
            found += self.differ(name, 'SELECT %s FROM %s' % (self.names(t), t.name),
                                 'SELECT %s FROM %s WHERE until_lsn IS NULL' % (self.names(t), name))
            for copy, lsn in self.copies.get(name, []):
                columns = ', '.join('%s %s' % (c.name, TYPES[c.key][0]) for c in self.recorded(t))
                rows = "derive.as_of('%s', '%s'::pg_lsn) AS x(%s)" % (name, lsn, columns)
                known = self.session().run('SELECT count(*) FROM ' + rows)
                if known.sqlstate == '22000' and 'does not know the rows' in known.message:
                    continue        # it had not begun, or changes were lost then
                found += self.differ('%s as of %s' % (name, lsn), 'SELECT * FROM %s' % copy,
                                     'SELECT %s FROM %s' % (self.names(t), rows))
        return found

    def poll_all(self, name, view):
        """What is left; all rows again, if the view had to be built anew."""
        while True:
            result = self.session().run("WITH g AS (INSERT INTO %s_got SELECT * FROM derive.poll('%s', 1000) RETURNING 1) "
                                        'SELECT count(*) FROM g' % (name, name))
            if result.ok and int(result.value()) == 0:
                return
            if result.ok:
                continue
            if 'has fallen behind' not in result.message or not self.round.server.log_has('view "%s" is built anew' % view, self.log_start):
                raise RuntimeError('%s: %s' % (result.sqlstate, result.message))
            for sql in ("SELECT derive.unsubscribe('%s')" % name, 'TRUNCATE %s_got' % name,
                        "SELECT derive.subscribe('%s', '%s')" % (view, name)):
                self.session().must(sql)

    def check_subscriptions(self):
        found = []
        there = self.round.existing_views()
        for name, view in sorted(self.subscriptions.items()):
            if view not in there:
                continue
            self.poll_all(name, view)
            found += self.differ(
                '%s of %s' % (name, view), VIEW_ROWS % view,
                '(SELECT new FROM %s_got WHERE new IS NOT NULL) EXCEPT ALL (SELECT old FROM %s_got WHERE old IS NOT NULL)'
                % (name, name))
        return found
