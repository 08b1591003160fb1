"""Consumers of subscriptions, and topics and histories after the log was lost.

A consumer keeps a copy of a view.  In one transaction it polls, removes exactly
one row for each old row that it is told, and adds the new ones; so a change that
comes twice, or not at all, is an error at once or a difference in the end, also
over crashes.  The places in the log that it is told never go back.

Where the log is lost (a slot that was dropped, a standby that takes over),
events of topics that were not derived yet are lost as well: a topic may lack
some then, and must not have others.
"""

from fuzz_feeds import VIEW_ROWS, Feeds, Followed

FUNCTIONS = ('''
CREATE FUNCTION follow(v regclass, s text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %I (shown jsonb)', s || '_copy');
    EXECUTE format('CREATE INDEX ON %I USING hash (shown)', s || '_copy');
    INSERT INTO consumed VALUES (s);
    PERFORM derive.subscribe(v, s);
END $$''', '''
CREATE TABLE consumed (subscriber text PRIMARY KEY, lsn pg_lsn NOT NULL DEFAULT '0/0', rows bigint NOT NULL DEFAULT 0)''', '''
CREATE FUNCTION consume(s text, n integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    r record; copied bigint := 0; hits bigint; place pg_lsn := (SELECT lsn FROM consumed WHERE subscriber = s);
BEGIN
    FOR r IN SELECT * FROM derive.poll(s, n) LOOP
        IF r.lsn < place THEN
            RAISE EXCEPTION USING errcode = 'SC001', message = format('subscription %s went back from %s to %s', s, place, r.lsn);
        END IF;
        place := r.lsn;
        copied := copied + 1;
        IF r.old IS NOT NULL THEN
            EXECUTE format('DELETE FROM %1$I WHERE ctid = (SELECT ctid FROM %1$I WHERE shown = $1 LIMIT 1)', s || '_copy') USING r.old;
            GET DIAGNOSTICS hits = ROW_COUNT;
            IF hits <> 1 THEN
                RAISE EXCEPTION USING errcode = 'SC002', message = format('subscription %s: %s of a row that is not there: %s', s, r.operation, left(r.old::text, 300));
            END IF;
        END IF;
        IF r.new IS NOT NULL THEN
            EXECUTE format('INSERT INTO %I VALUES ($1)', s || '_copy') USING r.new;
        END IF;
    END LOOP;
    UPDATE consumed SET lsn = place, rows = rows + copied WHERE subscriber = s;
    RETURN copied;
END $$''')


class ScenarioFeeds(Feeds):
    def __init__(self, rng, world):
        super().__init__(rng, world)
        self.log_lost = 0           # so often since the last look
        self.findings = []

    def declare(self):
        for sql in FUNCTIONS:
            self.session().must(sql)
        super().declare()

    def follow(self):
        """Nothing yet: actions subscribe, and make histories."""

    def follow_view(self, chaos, view):
        """A history of a view."""
        name = 'h_' + view
        if name not in self.histories:
            made = chaos.sql("SELECT derive.create_view('%s', derivation => 'history', sources => '{%s}')" % (name, view), also=('0A000',))
            if made and made.ok:
                self.histories[name] = Followed(view, self.round.columns[view])

    def subscribe(self, chaos, view):
        self.serial += 1
        name = 'sub%d_%s' % (self.serial, view)
        made = chaos.sql("SELECT follow('%s', '%s')" % (view, name), also=('42P01',))
        if made and made.ok:
            self.subscriptions[name] = view

    def poll(self, chaos):
        if not self.subscriptions:
            return
        name = self.rng.choice(sorted(self.subscriptions))
        chaos.sql('BEGIN')
        result = chaos.sql("SELECT consume('%s', %d)" % (name, self.rng.choice([1, 7, 100, 10000])), also=('SC', '55000', '42704', '22'))
        if result and result.sqlstate.startswith('SC'):
            self.findings.append(result.message)
        chaos.sql(self.rng.choice(['COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK']))
        chaos.sql('ROLLBACK')

    def poll_all(self, name, view):
        """What is left; all rows again, if the view had to be built anew."""
        c = self.session()
        while True:
            result = c.run("SELECT consume('%s', 1000)" % name)
            if result.ok and result.value() == '0':
                return
            if result.ok:
                continue
            if result.sqlstate.startswith('SC'):
                self.findings.append(result.message)
                return
            reasons = ('view "%s" is built anew' % view, 'view "%s" is computed anew because the server has run without library' % view)
            if 'has fallen behind' not in result.message or not any(self.round.server.log_has(r, self.log_start) for r in reasons):
                raise RuntimeError('%s: %s' % (result.sqlstate, result.message))
            for sql in ("SELECT derive.unsubscribe('%s')" % name, 'TRUNCATE %s_copy' % name,
                        "UPDATE consumed SET lsn = '0/0' WHERE subscriber = '%s'" % name,
                        "SELECT derive.subscribe('%s', '%s')" % (view, name)):
                c.must(sql)

    def check_subscriptions(self):
        found = []
        there = self.round.existing_views()
        known = {row[0] for row in self.session().must('SELECT subscriber FROM derive.subscriptions').rows}
        for name, view in sorted(self.subscriptions.items()):
            if view not in there or name not in known:
                del self.subscriptions[name]
                if view in there:
                    found.append('subscription %s is gone, and view %s is not' % (name, view))
                continue
            self.poll_all(name, view)
            found += self.differ('the copy of %s by %s' % (view, name), VIEW_ROWS % view, 'SELECT shown FROM %s_copy' % name)
        found += self.findings
        return found

    def check_topics(self):
        """Where the log was lost, what is missing is written off."""
        if self.log_lost:
            for t in self.topics:
                extra = self.differ(t.name + ' after the log was lost', 'SELECT %s FROM %s WHERE false' % (t.names(), t.name),
                                    '(SELECT %s FROM %s) EXCEPT ALL (SELECT %s FROM %s_audit)' % (t.names(), t.name, t.names(), t.name))
                if extra:
                    return extra
                self.gaps[t.name] = self.gaps.get(t.name, 0) + self.log_lost
                self.session().must('TRUNCATE %s_audit' % t.name)
                self.session().must('INSERT INTO %s_audit (%s) SELECT %s FROM %s' % (t.name, t.names(), t.names(), t.name))
            self.log_lost = 0
        return super().check_topics()
