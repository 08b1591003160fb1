"""Sessions that go on during the whole load: one that keeps transactions open or
prepared, across kills too, and one that runs VACUUM all the time.
"""

from fuzz_server import Lost


def subtransactions(rng, t, n):
    """Rows of a table changed by many subtransactions, nested, of which some fail."""
    spare = [c.name for c in t.writable() if c.name not in ['id', 'k'] + t.key]
    column = rng.choice(spare or ['k'])
    return ("DO $$ BEGIN FOR i IN 1..%d LOOP BEGIN UPDATE %s SET %s = %s WHERE k = i %% 31; "
            "BEGIN DELETE FROM %s WHERE k = (i + 7) %% 31 AND i %% 5 = 0; "
            "IF i %% 7 = 0 THEN RAISE EXCEPTION USING errcode = 'P0001'; END IF; "
            "EXCEPTION WHEN raise_exception THEN UPDATE %s SET k = k + 1 WHERE k = i %% 31; END; "
            "IF i %% 11 = 0 THEN RAISE EXCEPTION USING errcode = 'P0001'; END IF; "
            "EXCEPTION WHEN raise_exception OR integrity_constraint_violation THEN NULL; END; END LOOP; END $$"
            % (n, t.name, column, column, t.name, t.name))


class Guest:
    """A session of which nothing but errors is of interest."""

    def __init__(self, rng, session, schema, tolerated):
        self.rng = rng
        self.session = session
        self.schema = schema
        self.tolerated = tolerated
        self.complaints = []

    def sql(self, text):
        """Was it done?"""
        try:
            result = self.session.run(text)
        except Lost:
            self.lost()
            self.session.connect()
            return False
        if not self.tolerated(result):
            self.complaints.append((text, result))
        return result.ok

    def lost(self):
        pass


class Vacuum(Guest):
    """Takes away what nobody needs any more."""

    def run(self, stop):
        while not stop.is_set():
            t = self.rng.choice(self.schema.tables)
            self.sql(self.rng.choice(['VACUUM %s', 'VACUUM (FREEZE, INDEX_CLEANUP ON) %s', 'VACUUM (TRUNCATE) %s',
                                      'VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) %s']) % t.name)
            stop.wait(self.rng.choice([0, 0.02, 0.1]))


class Keeper(Guest):
    """Keeps a transaction with many subtransactions open, or prepared."""

    tag = ''
    open = False

    def __init__(self, *args):
        super().__init__(*args)
        self.gids = []
        self.serial = 0

    def lost(self):
        self.open = False

    def step(self):
        """Begins one, or goes on with it."""
        r = self.rng
        if self.gids and r.random() < 0.6:
            self.sql("%s PREPARED '%s'" % (r.choice(['COMMIT', 'COMMIT', 'ROLLBACK']), self.gids.pop()))
        elif not self.open:
            self.open = self.sql('BEGIN')
            for _ in range(r.randint(1, 3)):
                if self.open:
                    self.work()
        elif r.random() < 0.4:
            self.work()
        else:
            self.finish()

    def work(self):
        r = self.rng
        t = r.choice(self.schema.tables)
        # mostly rows of its own, so that others are not held up all the time
        k = r.choice([40, 41, 41, r.randint(0, 30)])
        row = 'INSERT INTO %s (%s) VALUES %s%s' % (t.name, t.names(), t.row(r, k), ' ON CONFLICT DO NOTHING' if t.unique else '')
        if not self.sql('SAVEPOINT a'):
            return
        done = self.sql("DO $$ BEGIN FOR i IN 1..%d LOOP BEGIN UPDATE %s SET k = k WHERE k = %d; %s; "
                        "IF i %% 3 = 0 THEN RAISE EXCEPTION USING errcode = 'P0001'; END IF; "
                        "EXCEPTION WHEN raise_exception OR integrity_constraint_violation THEN NULL; END; END LOOP; END $$"
                        % (r.choice([3, 20, 130]), t.name, k, row))
        if self.open:
            self.sql(r.choice(['ROLLBACK TO a', 'RELEASE a', 'SAVEPOINT b']) if done else 'ROLLBACK TO a')

    def finish(self):
        self.open = False
        c = self.rng.random()
        if c < 0.5:
            self.serial += 1
            gid = '%s_%d' % (self.tag, self.serial)
            if self.sql("PREPARE TRANSACTION '%s'" % gid):
                self.gids.append(gid)
        else:
            self.sql('COMMIT' if c < 0.85 else 'ROLLBACK')

    def end(self):
        if self.open:
            self.finish()
        while self.gids:
            self.sql("COMMIT PREPARED '%s'" % self.gids.pop())
