"""One round: random tables, views over them, a load, and what must be true at its end.

fuzz runs rounds one after the other; test/scenario has one whose load is a list
of actions.  Both find here how queries are made that PostgreSQL runs quickly,
how a view is declared and compared with its query, and what may be in the way
of a view without being a fault: a query that fails, a result that has grown too
large, a name that was changed.
"""

import collections
import json
import os
import random
import re
import signal
import threading
import time

from fuzz_derive import REFUSED, Derivation
from fuzz_feeds import Feeds
from fuzz_load import SETTINGS, Chaos, Locker, Writer, settle, tolerated
from fuzz_long import Keeper, Vacuum
from fuzz_query import MAY_DIVIDE, Query, Relation
from fuzz_schema import COLUMN_TYPES, Schema
from fuzz_server import Log, Lost, Session
from fuzz_sql import FAMILIES, Select, choose, known
from fuzz_time import at, is_timed

# sessions have these, the server has others at times, and views are declared under any
PINNED = ['SET %s' % values[0] for values in SETTINGS]
MAX_WORK = 20000        # rows through any node of a query's plan at the start of a round


MAX_DEGREE = 6          # tables multiplied with each other: results grow with that power
MAX_UNTRIED = 3         # likewise, of queries of which nobody knows how many rows they have
# derivations know the columns of their sources by name, and stop when one is renamed
RENAMED = (r'^column "\w+" of source "\w+" does not exist$|^source "\w+" has no column "\w+"$|'
           r'^derivation "\w+" needs a column "\w+" in the view$|^key column "\w+" is not a column of the view$')
# of what the generator does not take care not to run into
MAY_FAIL = ('division by zero', 'more than one row returned by a subquery used as an expression')
MAX_RESULT = 500000     # rows of a query at the end of a round


class Bug(Exception):
    pass


class TooLarge(Exception):
    """A query's result has grown beyond what can be compared in reasonable time."""


class Totals:
    def __init__(self):
        self.rounds = 0
        self.views = 0
        self.checks = 0
        self.transactions = 0
        self.kills = 0
        self.generator_errors = 0
        self.failed_with_query = 0
        self.too_large = 0
        self.batches = collections.Counter()    # by the round's old_rows
        self.notes = {}
        self.refused = collections.Counter()
        self.complaints = collections.Counter()
        self.accepted = collections.Counter()   # families of constructs, of queries that use one only
        self.tried = collections.Counter()


class Round:
    max_degree = MAX_DEGREE
    max_result = MAX_RESULT

    def __init__(self, number, seed, server, options, totals):
        self.number = number
        self.rng = random.Random('%s/%s' % (seed, number))
        self.server = server
        self.options = options
        self.engine = not options.no_engine
        self.totals = totals
        self.log = Log(os.path.join(server.workdir, 'round-%d.sql' % number))
        self.views = {}
        self.columns = {}
        self.above = set()      # views that read maintained views and nothing else
        self.several = set()    # views whose query has several right answers
        self.assumes = {}       # of a view: tables without whose primary keys it had several
        self.names_changed = False  # the queries, as texts, may no longer mean what they did
        self.schema = None
        self.relations = []
        self.wide = []          # ordinary views over all of SQL, for queries of all of SQL
        self.sessions = []
        self.loading = False
        self.violent = self.engine and self.rng.random() < options.violence
        self.gentle = not self.violent and self.rng.random() < 0.3
        # an ordinary role owns everything, or a superuser does
        self.role = 'fuzzer' if self.rng.random() < 0.3 else 'postgres'
        self.old_rows = self.rng.choice(['auto'] * 7 + ['log'] + ['auto, log by turns'] * 2)
        self.feeds = Feeds(self.rng, self)
        self.control = self.session('control')
        self.lock = threading.Lock()

    def on_connect(self):
        return ["SET ROLE %s" % self.role, 'SET search_path = fz, public', "SET lock_timeout = '1s'", "SET statement_timeout = '120s'",
                "SET extra_float_digits = 1"] + PINNED

    def session(self, name, *more):
        """more: statements that each of its connections begins with, besides those of all."""
        s = Session(self.server, name, self.log)
        s.on_connect = self.on_connect() + list(more)
        s.connect()
        self.sessions.append(s)
        return s

    # ---- set up

    def prepare(self):
        c = self.control
        c.must('RESET ROLE')
        if self.engine:
            self.set_limits()
        c.run('DROP SCHEMA IF EXISTS fz CASCADE')
        c.must('CREATE SCHEMA fz AUTHORIZATION %s' % self.role)
        c.must('SET ROLE %s' % self.role)
        # who may come to own views
        c.must('GRANT USAGE ON SCHEMA fz TO fuzzer')
        c.must('ALTER DEFAULT PRIVILEGES IN SCHEMA fz GRANT SELECT ON TABLES TO fuzzer')
        self.schema = Schema(self.rng, self.server.major)
        for sql in self.schema.ddl:
            c.must(sql)
        for sql in self.schema.load:
            result = c.run(sql)
            if not result.ok and result.sqlstate[:2] not in ('23',):
                raise RuntimeError('%s: %s\n%s' % (result.sqlstate, result.message, sql))
        c.must('ANALYZE')
        self.relations = [Relation(t.name, [(x.name, x.key) for x in t.columns], pk=None if t.deferrable else t.pk,
                                   inherits=t.inherits) for t in self.schema.tables]
        for t in self.schema.tables:
            if t.leaves and self.rng.random() < 0.3:
                leaf = self.rng.choice(t.leaves)
                self.relations.append(Relation(leaf, [(x.name, x.key) for x in t.columns], 'leaf'))
        for i in range(self.rng.choice([0, 0, 1, 2])):
            query = self.query(1)
            if query and not query.several and c.run('CREATE VIEW pv%d AS %s' % (i, query.sql)).ok:
                self.relations.append(Relation('pv%d' % i, query.columns, 'view', query.degree))
        if self.rng.random() < 0.3:
            query = self.query(1, wide=True, timeless=True)
            if query and not query.several and not query.assumes and c.run('CREATE VIEW wv AS %s' % query.sql).ok:
                self.wide.append(Relation('wv', query.columns, 'view', query.degree))

    def set_limits(self):
        """From where, and for how long, tables as they were can be had."""
        rng = self.rng
        for setting in ("pg_derive.old_rows = '%s'" % self.old_rows.split(',')[0],
                        "pg_derive.max_hold = '%s'" % rng.choice(['30min', '30min', '1s']),
                        'pg_derive.max_hold_age = %d' % rng.choice([50000000, 50000000, 50000000, 20, 200]),
                        "pg_derive.time_resolution = '%s'" % rng.choice(['1s', '200ms', '50ms'])):
            self.control.must('ALTER SYSTEM SET ' + setting)
        self.control.must('SELECT pg_reload_conf()')

    def query(self, depth, wide=False, timeless=False):
        """A query that PostgreSQL accepts and finishes quickly; wide: of all of SQL; timeless: without now()."""
        families = choose(self.rng, known(self.options.only, self.server.major))
        if timeless:
            families -= {'time'}    # where it stands in a plain view, at() does not find it
        for _ in range(60):
            loose = self.engine and self.rng.random() < 0.15
            if wide:
                query = Select(self.rng, self.relations + self.wide, depth, loose, families, self.server.major)
                if not query.used or not query.reads:
                    continue
            else:
                query = Query(self.rng, self.relations, depth, loose)
            if query.degree > self.max_degree or self.fails_by_plan(query.sql):
                continue
            try:
                result = self.control.run('EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) ' + query.sql)
            except Lost:
                self.control.connect()
                return None
            if result.sqlstate == '55000':
                # it reads a view that is still being built: wait for that, or declare it all the same
                if self.rng.random() < 0.3 and query.degree <= MAX_UNTRIED:
                    return query
                self.control.run("SELECT derive.wait(NULL, '30s')")
                continue
            if not result.ok or not result.rows:
                self.totals.generator_errors += 1
                if self.options.verbose:
                    print('generator: %s %s\n  %s' % (result.sqlstate, result.message, query.sql))
                continue
            plan = json.loads('\n'.join(row[0] for row in result.rows))[0]['Plan']
            if work(plan) > MAX_WORK or (plan.get('Actual Rows', 0) == 0 and self.rng.random() < 0.85):
                continue        # too slow, or as good as empty
            return query
        return None

    def fails_by_plan(self, sql):
        """18 does not even look at the right side of EXCEPT or INTERSECT if there is nothing on the left; views always do."""
        return self.server.major >= 18 and MAY_DIVIDE in sql and re.search('EXCEPT|INTERSECT', sql)

    def column_types(self, relation):
        """SQL types of its columns; nothing if it is not there."""
        try:
            result = self.control.run("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
                                      "WHERE attrelid = to_regclass('fz.%s') AND attnum > 0 AND NOT attisdropped" % relation)
        except Lost:
            self.control.connect()
            return {}
        return {row[0]: row[1] for row in result.rows}

    def derivation(self):
        for _ in range(20):
            made = Derivation(self.rng, self.relations, self.schema.tables, self.column_types, self.options.examples)
            if made.sql and made.degree <= self.max_degree:
                return made
        return None

    def add_view(self, run, wide=False):
        """Declare one more view; refused constructs are counted and replaced."""
        for _ in range(10 if wide else 30):
            query = self.derivation() if self.engine and not wide and self.rng.random() < 0.5 else None
            query = query or self.query(self.rng.choice([0, 1, 1, 2] if wide else [1, 1, 2, 2]), wide)
            if not query:
                return
            name = 'v%d' % len(self.columns)
            if self.engine:
                changed = ['SET %s' % self.rng.choice(values) for values in SETTINGS if self.rng.random() < 0.15]
                result = run('; '.join(changed + [query.declare(name)]))
                if changed:
                    run('; '.join(PINNED))
            else:
                result = run('CREATE MATERIALIZED VIEW %s AS %s' % (name, query.sql))
            if result is None:
                return
            family = ', '.join(query.used) if wide and len(query.used) == 1 else 'several' if wide else None
            if family and (result.ok or result.sqlstate == '0A000'):
                self.totals.tried[family] += 1
                self.totals.accepted[family] += result.ok
            if result.ok:
                self.views[name] = query.sql
                self.columns[name] = query.columns
                self.assumes[name] = query.assumes if wide else ()
                if query.several:
                    self.several.add(name)
                if query.reads and all(r in self.views or r.startswith('topic') for r in query.reads):
                    self.above.add(name)
                self.relations.append(Relation(name, query.columns, 'maintained', query.degree))
                self.totals.views += 1
                if self.options.verbose:
                    print('%s: %s' % (name, query.sql))
                return
            if result.sqlstate == '0A000' or (isinstance(query, Derivation) and result.sqlstate in REFUSED) or \
               'must be in one group' in result.message:
                self.totals.refused[result.message[:90]] += 1
                continue
            if result.sqlstate in ('55P03', '40P01', '42P07', '57014') or result.sqlstate[:2] == '08':
                return
            if isinstance(query, Derivation) and self.loading and result.sqlstate in ('42P01', '42703'):
                return          # renamed a moment ago
            raise Bug('create_view: %s %s\n%s' % (result.sqlstate, result.message, query.sql))

    # ---- the load

    def violence(self, chaos):
        """The worker or the whole server dies."""
        self.totals.kills += 1
        c = self.rng.random()
        if c < 0.5:
            pid = chaos.worker()
            if pid:
                self.server.expected_signals += 1
                self.log.write('fuzz', '-- kill -9 of the worker')
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        elif c < 0.75:
            self.log.write('fuzz', '-- kill -9 of the postmaster')
            self.server.kill_postmaster()
            time.sleep(0.2)
            self.server.start()
        else:
            self.log.write('fuzz', '-- immediate restart')
            self.server.stop('immediate')
            self.server.start()

    def load(self):
        rng = self.rng
        writers = []
        threads = []
        errors = []
        prepared = rng.random() < 0.5
        patient = self.engine and rng.random() < 0.35
        for i in range(rng.randint(1, 2) if patient else rng.randint(2, 4)):
            name = 's%d' % i
            writers.append(Writer(random.Random('%s %d' % (rng.random(), i)), self.session(name), self.schema, self.feeds.topics,
                                  'r%d_%s' % (self.number, name), prepared, patient))
        keeper = Keeper(random.Random(rng.random()), self.session('keeper'), self.schema, tolerated)
        keeper.tag = 'r%d_keeper' % self.number
        vacuum = Vacuum(random.Random(rng.random()), self.session('vacuum'), self.schema, tolerated)
        chaos = Chaos(random.Random(rng.random()), self.session('chaos'), self.session('reader'), Locker(self.session('locker')),
                      keeper, self, self.engine, self.violent)
        stop = threading.Event()

        def guarded(function, *args):
            try:
                function(*args)
            except BaseException as e:
                errors.append(e)

        for w in writers:
            threads.append(threading.Thread(target=guarded, args=(w.run, self.options.transactions)))
        threads.append(threading.Thread(target=guarded, args=(chaos.run, self.options.actions)))
        if rng.random() < 0.6:
            background = [threading.Thread(target=guarded, args=(vacuum.run, stop))]
        else:
            background = []
        self.loading = True
        for t in threads + background:
            t.start()
        for t in threads:
            t.join()
        stop.set()
        for t in background:
            t.join()
        self.loading = False
        self.totals.transactions += sum(w.transactions for w in writers)
        for complaint in [c for x in writers + [chaos, keeper, vacuum] for c in x.complaints]:
            sql, result = complaint
            self.totals.complaints['%s %s' % (result.sqlstate, result.message[:100])] += 1
            if result.sqlstate.startswith('XX') or self.options.verbose:
                print('complaint: %s %s\n  %s' % (result.sqlstate, result.message, sql[:400]))
            if result.sqlstate.startswith('XX'):
                errors.append(Bug('internal error: %s\n%s' % (result.message, sql)))
        if chaos.findings:
            raise Bug('\n'.join(chaos.findings))
        if errors:
            raise errors[0]

    # ---- the oracle

    def check(self):
        c = self.control
        for attempt in range(10):
            try:
                # a killed worker takes all sessions along, a moment later
                time.sleep(0.5 if self.violent else 0)
                c.connect()
                settle(c, self)
                break
            except Lost:
                continue
        if self.engine:
            self.wait()
        for name in self.existing_views():
            self.compare(name)
        if self.engine:
            wrong = c.must('SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0').rows
            if wrong:
                raise Bug('derive.verify(): %s' % wrong)
            wrong = self.feeds.check()
            if wrong:
                raise Bug('\n'.join(wrong))

    def definition(self, name):
        """The query of a view, as it is now."""
        if not self.names_changed:
            return self.views[name]
        return self.control.must("SELECT pg_get_viewdef('%s'::regclass)" % name).text().rstrip(';')

    def run_like(self, session, name, sql):
        """A statement at the view's time and under the settings that it is evaluated under."""
        if not self.engine:
            return session.run(sql)
        session.run('BEGIN' + (' ISOLATION LEVEL REPEATABLE READ' if is_timed(sql) else ''))
        session.run("SELECT count(set_config(split_part(s, '=', 1), substr(s, strpos(s, '=') + 1), true)) "
                    "FROM derive_state.view_states v, unnest(v.settings) s WHERE v.view = to_regclass('fz.%s')" % name)
        if is_timed(sql):
            time = session.run("SELECT to_char(as_of AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00' "
                               "FROM derive_state.view_states WHERE view = to_regclass('fz.%s')" % name)
            sql = at(sql, time.value() if time.ok else None)
        result = session.run(sql)
        session.run('ROLLBACK')
        return result

    def existing_views(self):
        """Some were dropped by the load, some because their own query fails."""
        return [name for name in sorted(self.views)
                if self.control.must("SELECT to_regclass('fz.%s') IS NOT NULL" % name).value() == 't']

    def wait(self):
        c = self.control
        start = time.time()
        for row in c.must("SELECT name FROM derive_state.view_states WHERE state = 'paused'").rows:
            c.must("SELECT derive.resume('%s')" % row[0])
        for _ in range(20):
            failed = c.must("SELECT name, error FROM derive_state.view_states WHERE state = 'failed'").rows
            bad = [r[0] for r in failed if self.query_fails(r[0].split('.')[-1])]
            self.totals.failed_with_query += len(bad)
            for name in bad:
                c.must('DROP MATERIALIZED VIEW %s CASCADE' % name)
            mended = [r[0] for r in failed if r[0] not in bad and
                      (r[1] in MAY_FAIL or re.search(RENAMED, r[1]))]
            self.totals.failed_with_query += len(mended)
            alone = self.rng.random() < 0.5 and all(r[1] in MAY_FAIL for r in failed if r[0] in mended)
            for name in mended:
                if not alone or not self.comes_back(name):
                    c.run("SELECT derive.repair('%s')" % name)
            if failed and not bad and not mended:
                raise Bug('view failed though its query runs: %s\n%s' % (failed, self.state()))
            result = c.run("SELECT derive.wait(NULL, '90s')", 150)
            if result.ok and result.value() == 't':
                return
            if result.ok and self.too_large():
                raise TooLarge()
            # a view that took long rests for ten times as long, twice at most
            rests = c.must("SELECT count(*) FROM derive.views WHERE waiting_for LIKE 'more time than %'").value() != '0'
            if result.ok and not (rests and time.time() - start < 600):
                raise Bug('derive.wait() timed out\n' + self.state())
            if result.ok:
                continue
            if c.must("SELECT count(*) FROM derive.views WHERE state = 'failed'").value() == '0':
                raise Bug('derive.wait(): %s %s\n%s' % (result.sqlstate, result.message, self.state()))
        raise Bug('views keep failing\n' + self.state())

    def comes_back(self, name):
        """Its query runs again, so it is tried again; False if it was dropped, say."""
        deadline = time.time() + 100
        while time.time() < deadline:
            result = self.control.must("SELECT state <> 'failed' FROM derive_state.view_states WHERE name = '%s'" % name)
            if result.value() != 'f':
                return bool(result.rows)
            time.sleep(0.5)
        raise Bug('view %s was not tried again\n%s' % (name, self.state()))

    def too_large(self):
        """Many rows were added to tables that some query multiplies with each other."""
        c = self.control
        c.must("SET statement_timeout = '10s'")
        counts = [self.run_like(c, v, 'SELECT count(*) FROM (%s) q' % self.definition(v)) for v in self.existing_views()]
        c.must("SET statement_timeout = '120s'")
        return any(r.sqlstate == '57014' or (r.ok and int(r.value()) > self.max_result) for r in counts)

    def abandon(self):
        """The worker is busy with what we do not want to know any more."""
        c = self.control
        c.must('RESET ROLE')
        for attempt in range(20):
            c.run("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE plugin = 'pg_derive'")
            if c.run('DROP SCHEMA fz CASCADE').ok:
                return
        raise Bug('DROP SCHEMA\n' + self.state())

    def query_fails(self, name):
        return name in self.views and not self.run_like(
            self.control, name, 'SELECT count(q) FROM (%s) q' % self.definition(name)).ok

    def state(self):
        text = []
        for sql in ('SELECT * FROM derive.views', 'SELECT * FROM derive.stats', 'SELECT * FROM pg_replication_slots',
                    'SELECT pid, backend_type, state, wait_event_type, wait_event, left(query, 100) FROM pg_stat_activity',
                    'SELECT relation::regclass, mode, granted, pid FROM pg_locks WHERE relation IS NOT NULL'):
            text.append(sql)
            try:
                text += ['  ' + ' | '.join(r) for r in self.control.run(sql).rows]
            except Lost:
                text.append('  (connection lost)')
        return '\n'.join(text) + '\n' + self.server.log_tail()

    def keys_lost(self, name):
        """Does a primary key not tell rows apart any more, by which a query's order was total?"""
        for table in self.schema.tables:
            if table.name in self.assumes.get(name, ()):
                found = self.control.run('SELECT 1 FROM %s GROUP BY %s HAVING count(*) > 1 LIMIT 1' % (table.name, ', '.join(table.pk)))
                if not found.ok or found.rows:
                    return True
        return False

    def compare(self, name):
        c = self.control
        self.totals.checks += 1
        if name in self.several or self.keys_lost(name):
            return              # derive.verify() knows which answer is expected
        query = self.definition(name)
        columns = c.must(
            "SELECT quote_ident(a.attname), coalesce(e.typname, t.typname) IN ('json', 'xml', 'point') "
            "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A' "
            "WHERE a.attrelid = '%s'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum" % name).rows
        shown = ', '.join(n + '::text' if text == 't' else n for n, text in columns)
        view = 'SELECT %s FROM %s' % (shown, name)
        fresh = 'SELECT %s FROM (%s) q(%s)' % (shown, query, ', '.join(n for n, text in columns))
        if not self.engine:
            if is_timed(query) or not c.run('REFRESH MATERIALIZED VIEW %s' % name).ok:
                return
            for s in ('hashagg', 'hashjoin', 'nestloop', 'memoize'):
                c.must('SET enable_%s = off' % s)
        missing = self.run_like(c, name, '%s EXCEPT ALL %s' % (fresh, view))
        extra = self.run_like(c, name, '%s EXCEPT ALL %s' % (view, fresh))
        if not self.engine:
            for s in ('hashagg', 'hashjoin', 'nestloop', 'memoize'):
                c.must('RESET enable_%s' % s)
        if not missing.ok or not extra.ok:
            if missing.sqlstate == '57014':
                return
            if missing.sqlstate.startswith('22') and extra.sqlstate == missing.sqlstate:
                # of a column of WITH .. AS MATERIALIZED, say, that nobody reads: a view does not compute it
                self.totals.failed_with_query += 1
                return
            raise Bug('oracle: %s\n%s' % (missing.message or extra.message, query))
        if missing.rows or extra.rows:
            text = ['view %s differs from its query' % name, query, '%d missing:' % len(missing.rows)]
            text += ['  ' + ' | '.join(r)[:400] for r in missing.rows[:10]]
            text += ['%d extra:' % len(extra.rows)] + ['  ' + ' | '.join(r)[:400] for r in extra.rows[:10]]
            if self.engine:
                text += ['explain:'] + ['  ' + r[0] for r in c.run("SELECT derive.explain('%s')" % name).rows]
                text.append('derive.verify(): %s' % c.run("SELECT * FROM derive.verify('%s')" % name).rows)
            raise Bug('\n'.join(text))

    def clean_up(self):
        c = self.control
        c.must('RESET ROLE')
        for attempt in range(5):
            done = c.run('DROP SCHEMA fz CASCADE')
            if done.ok:
                break
        else:
            raise Bug('DROP SCHEMA: %s %s' % (done.sqlstate, done.message))
        if self.engine:
            left = c.must("SELECT 'views', count(*) FROM derive.views HAVING count(*) > 0 UNION ALL "
                          "SELECT 'relations', count(*) FROM derive_state.relations HAVING count(*) > 0 UNION ALL "
                          "SELECT 'tables', count(*) FROM pg_class c WHERE relnamespace = 'derive_state'::regnamespace "
                          "AND relkind IN ('r', 'm') AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass "
                          "AND d.objid = c.oid AND d.deptype = 'e') HAVING count(*) > 0").rows
            if left:
                raise Bug('left behind after DROP SCHEMA: %s' % left)

    def close(self):
        for s in self.sessions:
            s.close()
        self.log.file.close()

    def run(self):
        self.prepare()
        if self.engine:
            self.feeds.declare()
            self.relations += [Relation(t.name, [('event_id', 'int8')] + t.columns, 'maintained') for t in self.feeds.topics]
        wanted = [False] * self.rng.randint(3, 5) + [True] * self.rng.randint(2, 4) if len(self.options.only) == len(FAMILIES) \
            else [False] * self.rng.randint(0, 1) + [True] * self.rng.randint(3, 6)
        early = self.rng.random() < 0.5
        for wide in wanted:
            self.add_view(self.control.run, wide)
        if self.engine:
            self.feeds.follow()
        if self.engine and early:
            self.wait()
            for name in self.existing_views():
                self.compare(name)
        self.load()
        self.check()
        if self.engine:
            self.totals.batches[self.old_rows] += int(self.control.must('SELECT coalesce(sum(batches), 0) FROM derive.stats').value())
        before = self.server.notes.copy()
        problems = self.server.log_problems()
        self.totals.notes.setdefault(self.old_rows, collections.Counter()).update(self.server.notes - before)
        if problems:
            raise Bug('server log:\n' + ''.join(problems[:20]))
        self.clean_up()


def work(plan):
    rows = (plan.get('Actual Rows', 0) + plan.get('Rows Removed by Filter', 0)
            + plan.get('Rows Removed by Join Filter', 0)) * plan.get('Actual Loops', 1)
    return max([rows] + [work(p) for p in plan.get('Plans', [])])


def install(server, options):
    """What all rounds of a server need: roles, rights, the extension."""
    setup = Session(server, 'setup').connect()
    setup.must('CREATE ROLE fuzzer')
    setup.must('GRANT pg_execute_server_program, pg_signal_backend, pg_monitor TO fuzzer')
    setup.must('GRANT CREATE ON DATABASE postgres TO fuzzer')
    if not options.no_engine:
        setup.must('CREATE EXTENSION pg_derive')
        setup.must("SELECT derive.create_group('moved')")
        # roles look up the settings and the time of views, to run their queries likewise
        setup.must('GRANT USAGE ON SCHEMA derive_state TO PUBLIC')
        setup.must('GRANT SELECT ON derive_state.view_states TO PUBLIC')
        # its derivations are for tests, and may not be installed
        options.examples = setup.run('CREATE EXTENSION derive_example').ok
    if not setup.run("SELECT '<a/>'::xml").ok:
        COLUMN_TYPES.remove('xml')      # built without libxml
    setup.close()
