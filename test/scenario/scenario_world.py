"""A world: random tables and views, writers that go on, and a list of actions.

It is a round of the fuzzer (fuzz_round.py) whose load is drawn from the weights
of a mode.  Action number n of world w has a source of randomness of its own,
made of (seed, w, n); what it draws depends on nothing else.  So a world can be
run again, and with some of its actions only, and the others still do the same.

	world 3:    action   1   2   3   4 ... 7   8 ...
	after each:          positions, complaints, the server's log
	after every few:                     *       writers stand still, and every view equals its query

What a look at everything asks:
- every view equals its query, as multisets both ways, and derive.verify() agrees;
- no position of a view, nor the worker's, has gone back since the last look;
- topics, histories and the copies of consumers are right (scenario_feeds.py);
- the log of the server is clean (scenario_server.py).
"""

import collections
import random
import re
import threading
import time

from fuzz_load import Chaos, Locker, settle, tolerated
from fuzz_long import Keeper
from fuzz_query import Relation
from fuzz_round import Bug, Round, TooLarge, Totals
from fuzz_schema import key_literal, literal
from fuzz_server import Hang, Lost
from scenario_feeds import ScenarioFeeds
from scenario_traffic import Traffic

# what sessions of the runner need, whatever the server is set to
# (what was told to be committed must be: the runner remembers it)
PINNED = ['SET synchronous_commit = on', 'SET default_transaction_read_only = off', "SET default_transaction_isolation = 'read committed'",
          'SET idle_in_transaction_session_timeout = 0', 'SET session_replication_role = origin', 'SET row_security = on',
          'SET transform_null_equals = off', 'SET array_nulls = on', "SET xmloption = content", "SET IntervalStyle = 'postgres'",
          "SET default_text_search_config = 'pg_catalog.english'"]
ROWS = 250          # a table that has grown beyond twice that is cut back


class ScenarioTotals(Totals):
    def __init__(self):
        super().__init__()
        self.actions = collections.Counter()
        self.looks = 0                                      # at everything
        self.verifications = 0
        self.figures = collections.Counter()
        self.series = collections.defaultdict(list)


class World(Round):
    max_degree = 3
    max_result = 100000

    def __init__(self, number, seed, server, options, totals, mode, actions):
        super().__init__(number, seed, server, options, totals)
        self.seed = seed
        self.mode = mode
        self.actions = actions
        self.feeds = ScenarioFeeds(self.rng, self)
        self.violent = True
        self.gentle = False
        self.serial = 0
        self.originals = {}         # first queries of views that have got others
        self.findings = []
        self.forget_positions()
        self.done = []              # (number, name, what) of actions
        self.log_mark = 0
        self.traffic = None

    def on_connect(self):
        return PINNED + super().on_connect()

    def tag(self, who):
        self.serial += 1
        return 'r%d_%s%d' % (self.number, who, self.serial)

    # ---- statements

    def finding(self, text):
        self.findings.append(text)

    def note(self, complaints):
        for sql, result in complaints:
            self.totals.complaints['%s %s' % (result.sqlstate, result.message[:100])] += 1
            if result.sqlstate.startswith('XX'):
                self.finding('internal error: %s\n%s' % (result.message, sql))

    def actor_sql(self, text):
        """By a session for rows, in which no error stops anything."""
        try:
            result = self.actor.run(text)
        except Lost:
            self.actor.connect()
            return None
        if not tolerated(result) and not result.sqlstate.startswith(('53', '58', '25', '3B')):
            self.note([(text, result)])
        return result

    def actor_reset_role(self):
        self.actor_sql('RESET ROLE')

    def ddl_sql(self, text):
        """By a session for everything else; errors of DDL are no matter unless they are internal."""
        return self.chaos.sql(text, also=('0', '2', '4', '5'))

    def sql_role(self):
        self.chaos.sql('SET ROLE %s' % self.role)

    def chaos_run(self, text):
        """For add_view(): None where the connection was lost."""
        return self.chaos.sql(text, also=('0A', '42'))

    def insist(self, statements):
        """By a superuser, until all of them succeed, whatever happens to the connection."""
        for text in statements:
            for _ in range(200):
                result = self.admin_run(text)
                if result and result.ok:
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError('cannot: ' + text)

    def admin_run(self, text):
        """None where the connection was lost."""
        try:
            return self.admin.run(text)
        except Lost:
            self.admin.connect()
            return None

    def admin_must(self, text):
        for _ in range(5):
            result = self.admin_run(text)
            if result is not None:
                break
        if result is None or not result.ok:
            raise RuntimeError('%s\n%s' % (result and result.message, text))
        return result

    def in_background(self, session, text):
        def run():
            try:
                session.run(text)
            except Lost:
                session.connect()
            except Hang:
                pass
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def connect(self):
        """After the server was restarted: the sessions of the runner, writers find their own way."""
        self.crashed = True
        self.keeper.open = False
        self.chaos.reading = False
        for session in (self.admin, self.control, self.actor, self.chaos.session, self.chaos.reader):
            session.connect()

    def process(self, kind):
        """PID of one of our processes in this database, or None."""
        result = self.admin_run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_derive %s' "
                                  "AND (datname = current_database() OR '%s' = 'launcher') ORDER BY backend_start LIMIT 1" % (kind, kind))
        return int(result.value()) if result and result.ok and result.rows else None

    def comes_back_from_crash(self, pid):
        """Until the server that a killed process took along lets sessions in again."""
        self.crashed = True
        deadline = time.time() + 60
        while time.time() < deadline:
            self.admin.connect()
            self.keeper.open = False
            result = self.admin_run('SELECT count(*) FROM pg_stat_activity WHERE pid = %d' % pid)
            if result and result.value() == '0':
                self.totals.kills += 1
                return
        raise RuntimeError('the server does not come back after a crash')

    def pass_time(self, seconds):
        """While the writers go on.  Nobody's correctness depends on how long."""
        time.sleep(seconds)

    def value_of(self, c):
        if c.in_key:
            return key_literal(self.rng, c.key, c.toast)
        return literal(self.rng, c.key, False, 0 if c.notnull else 0.12)

    def reset_settings(self, run):
        for sql in ('ALTER SYSTEM RESET ALL', 'ALTER DATABASE postgres RESET ALL', 'ALTER ROLE fuzzer RESET ALL', 'ALTER ROLE postgres RESET ALL',
                    'SELECT pg_reload_conf()'):
            run(sql)

    # ---- what is there

    def existing_views(self):
        """Also between looks, when the session of looks may be gone with a process that died."""
        return [name for name in sorted(self.views)
                if self.admin_must("SELECT to_regclass('fz.%s') IS NOT NULL" % name).value() == 't']

    def forget_dropped(self):
        """Views that are gone with others."""
        there = self.existing_views()
        for name in list(self.views):
            if name not in there:
                del self.views[name]
        gone = set(self.columns) - set(there)
        self.relations = [r for r in self.relations if r.name not in gone]

    def forget_missing(self):
        """What a standby that took over had not got yet."""
        self.forget_dropped()

        def there(name):
            return self.admin_must("SELECT to_regclass('fz.%s') IS NOT NULL" % name).value() == 't'
        feeds = self.feeds
        for name in list(feeds.histories):
            if not there(name):
                del feeds.histories[name]
                feeds.copies.pop(name, None)
        for name in feeds.copies:
            feeds.copies[name] = [(copy, lsn) for copy, lsn in feeds.copies[name] if there(copy)]
        known = {row[0] for row in self.admin_must('SELECT subscriber FROM derive.subscriptions').rows}
        for name in list(feeds.subscriptions):
            if name not in known:
                del feeds.subscriptions[name]

    def forget_positions(self):
        self.positions = {}         # of views: (xmax, LSN)
        self.safe = {}              # those that no crash can take back
        self.written = 0            # where the log was when positions were read
        self.crashed = False        # since then

    # ---- looks

    def look_at_positions(self):
        """None has gone back; after a crash, none further than what was flushed to the log before.

        A batch commits asynchronously, so a crash may take back its rows together
        with its position.  What a look has seen is safe once the log is flushed up
        to where it was written to at that time.

        A view in the slow lane that is to be computed says where it stood when it was
        last computed, although nothing has concerned it for some time after that.
        """
        result = self.admin_run("SELECT s.view::oid || ' ' || s.created_at, s.name, pg_snapshot_xmax(s.position), s.lsn - '0/0'::pg_lsn "
                                  "FROM derive_state.view_states s WHERE s.position IS NOT NULL AND NOT EXISTS (SELECT FROM derive_state.stale a WHERE a.view = s.view) "
                                  "UNION ALL SELECT 'group ' || of_group, 'of group ' || of_group, pg_snapshot_xmax(snapshot), lsn - '0/0'::pg_lsn FROM derive_state.position")
        places = self.admin_run("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn, pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        if not result or not places:
            return
        if not result.ok or not places.ok:
            raise RuntimeError(result.message or places.message)
        flushed, written = (int(x) for x in places.rows[0])
        if self.crashed:
            self.positions = self.safe
        elif flushed >= self.written:
            self.safe = self.positions
        now = {}
        for key, name, xmax, lsn in result.rows:
            before = self.positions.get(key)
            now[key] = (int(xmax), int(lsn) if lsn else before[1] if before else 0)
            if before and (now[key][0] < before[0] or now[key][1] < before[1]):
                self.finding('the position of %s went back from %s to %s' % (name, before, now[key]))
        self.positions = dict(self.positions, **now)
        self.written = written
        self.crashed = False

    def look(self):
        """After each action."""
        self.note(self.traffic.complaints() + self.chaos.complaints + self.keeper.complaints)
        self.chaos.complaints, self.keeper.complaints = [], []
        if self.traffic.errors:
            raise self.traffic.errors[0]
        self.look_at_positions()
        if self.mode.watched:
            self.watch()
        problems = self.server.log_problems()
        if problems:
            self.finding('server log:\n' + ''.join(problems[:20]))
        self.findings += self.chaos.findings + self.feeds.findings
        if self.findings:
            raise Bug('\n'.join(self.findings))

    def watch(self):
        """Memory and sizes, as they are now."""
        series = self.totals.series
        pid = self.process('worker')
        try:
            with open('/proc/%s/status' % pid) as f:
                series['MB of the worker, its own'].append(int(re.search(r'RssAnon:\s+(\d+) kB', f.read()).group(1)) / 1024)
        except (OSError, AttributeError):
            pass
        sizes = self.admin_run("SELECT sum(pg_total_relation_size(c.oid)) FILTER (WHERE n.nspname = 'derive_state' OR c.relkind = 'm'), "
                                 "sum(pg_total_relation_size(c.oid)) FILTER (WHERE n.nspname = 'fz' AND c.relkind = 'r') "
                                 "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('fz', 'derive_state') AND c.relkind IN ('r', 'm')")
        if sizes and sizes.ok and all(sizes.rows[0]):
            series['MB of views and what is kept for them'].append(int(sizes.rows[0][0]) / 1048576)
            series['MB of tables'].append(int(sizes.rows[0][1]) / 1048576)

    def count_batches(self):
        counted = self.admin_run('SELECT coalesce(sum(batches), 0), coalesce(sum(changes_in), 0) FROM derive.stats')
        if counted and counted.ok:
            self.totals.figures['batches of views'] += int(counted.rows[0][0])
            self.totals.figures['changes of rows that views took in'] += int(counted.rows[0][1])

    def check(self):
        """Everything; the writers stand still.

        A process that was to die may do so late, and take our session along.  That
        is no finding; a death that nobody expects is one, by the server's log.
        """
        for attempt in range(5):
            try:
                return self.check_once()
            except Lost:
                if attempt == 4:
                    raise
                self.crashed = True
                self.look()

    def check_once(self):
        self.totals.looks += 1
        keep = self.rng.random() < 0.5 and self.keeper.gids
        self.chaos.end_reader()
        self.chaos.locker.release()
        if not keep:
            self.keeper.end()
        for attempt in range(10):
            try:
                self.control.connect()
                self.control.must('RESET ROLE')
                if not keep:
                    settle(self.control, self)
                break
            except Lost:
                continue
        if keep and not self.soon():
            # somebody waits for what is prepared
            self.keeper.end()
            settle(self.control, self)
        self.call_back()
        self.wait()
        self.end_replacements()
        self.wait()
        for name in self.existing_views():
            self.compare(name)
        wrong = self.control.must('SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0').rows
        self.totals.verifications += 1
        if wrong:
            raise Bug('derive.verify(): %s' % wrong)
        wrong = self.feeds.check()
        if wrong:
            raise Bug('\n'.join(wrong))
        self.look()
        self.forget_dropped()
        self.cut_back(not keep)
        self.control.must('SET ROLE %s' % self.role)

    def call_back(self):
        """Whoever stays away after deaths in a row would come by himself, but later than we wait."""
        for name, state in self.control.must("SELECT name, state FROM derive_state.view_states "
                                             "WHERE coalesce(error, waiting_for) ~ 'process.* crashed.*, while ' ORDER BY state = 'failed' DESC").rows:
            self.totals.figures['calls after deaths in a row'] += 1
            if state == 'failed':
                self.control.must("SELECT derive.resume('%s')" % name)
            else:
                self.control.run("SELECT derive.repair('%s')" % name)
                break

    def soon(self):
        for _ in range(2):
            result = self.control.run("SELECT derive.wait(NULL, '10s')")
            if result.ok and result.value() == 't' or not result.ok:
                return True
        return False

    def end_replacements(self):
        """They have taken place, or cannot."""
        deadline = time.time() + 90
        while True:
            rows = self.control.must('SELECT replacement, state, error FROM derive.replacements').rows
            if not rows:
                return
            for replacement, state, error in rows:
                if state in ('failed', 'paused'):
                    self.control.must('DROP MATERIALIZED VIEW %s' % replacement)
            if time.time() > deadline:
                raise Bug('replacements do not come to an end: %s\n%s' % (rows, self.state()))
            self.control.run("SELECT derive.wait(NULL, '2s')")
            time.sleep(0.2)

    def cut_back(self, unlocked):
        """Tables that have grown are made smaller, so that a look at everything stays quick."""
        if not unlocked:
            return
        for t in self.schema.tables:
            count = self.control.run('SELECT count(*) FROM %s' % t.name)
            if count.ok and int(count.value()) > 2 * ROWS:
                self.control.run('DELETE FROM %s WHERE ctid NOT IN (SELECT ctid FROM %s LIMIT %d)' % (t.name, t.name, ROWS))

    # ---- the run

    def prepare(self):
        # always a superuser, whoever owns everything
        self.admin = self.session('admin', "SET ROLE postgres")
        self.reset_settings(self.admin.must)
        super().prepare()
        self.database_oid = self.admin.must('SELECT oid FROM pg_database WHERE datname = current_database()').value()
        self.feeds.declare()
        self.relations += [Relation(t.name, [('event_id', 'int8')] + t.columns, 'maintained') for t in self.feeds.topics]
        for i in range(self.mode.views):
            self.add_view(self.control.run, i % 3 == 2)
        self.actor = self.session('actor')
        self.keeper = Keeper(random.Random(self.rng.random()), self.session('keeper'), self.schema, tolerated)
        self.keeper.tag = 'r%d_keeper' % self.number
        self.chaos = Chaos(random.Random(self.rng.random()), self.session('chaos'), self.session('reader'), Locker(self.session('locker')),
                           self.keeper, self, True, True)
        self.traffic = Traffic(self.rng, self, self.mode.writers, self.mode.pace, self.mode.probed)

    def draw(self, n):
        """The name of action n, and its own source of randomness."""
        rng = random.Random('%s/%s/%s' % (self.seed, self.number, n))
        names = sorted(self.mode.weights)
        return rng.choices(names, [self.mode.weights[name] for name in names])[0], rng

    def act(self, n):
        name, rng = self.draw(n)
        self.rng = self.chaos.rng = self.keeper.rng = self.feeds.rng = rng
        self.log.write('scenario', '-- action %d: %s' % (n, name))
        start = time.time()
        self.done.append((n, name, '(did not come to its end)'))
        what = self.actions[name](self) or ''
        self.done[-1] = (n, name, what)
        self.totals.actions[name] += 1
        if self.options.verbose:
            print('  %3d %-16s %5.1f s  %s' % (n, name, time.time() - start, what))
        self.look()
        if rng.random() < self.mode.check_share:
            self.traffic.pause()
            self.check()
            self.traffic.go_on()

    def run(self, until, is_enough=None):
        """Until a time of the clock, or until is_enough()."""
        self.prepare()
        self.traffic.start()
        numbers = self.options.chosen or range(1, self.mode.world_actions + 1)
        for n in numbers:
            if time.time() > until or (is_enough and is_enough()):
                break
            self.act(n)
        self.traffic.pause()
        self.check()
        self.count_batches()
        self.totals.transactions += self.traffic.transactions()
        self.traffic.stop()
        self.reset_settings(self.admin.must)
        self.clean_up()
        self.look_at_log()

    def look_at_log(self):
        problems = self.server.log_problems()
        if problems:
            raise Bug('server log:\n' + ''.join(problems[:20]))

    def close(self):
        if self.traffic:
            self.traffic.stop()
        super().close()

    def story(self):
        """The actions, as lines."""
        return ['  %3d %-16s %s' % one for one in self.done]


__all__ = ['Bug', 'ScenarioTotals', 'TooLarge', 'World']
