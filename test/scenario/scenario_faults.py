"""Actions of misfortune: processes that die, a disk that is full, a log that is lost,
a standby that takes over, a database that is restored elsewhere.

Figures that are asked for (how long until the views were right again, what
writers noticed) are kept in world.totals, by name.
"""

import glob
import os
import re
import shutil
import signal
import subprocess
import threading
import time

from fuzz_server import Lost, Session

# the names in src/; a process kills itself there (builds with assertions only)
POINTS = ('batch-applied', 'batch-changes-applied', 'batch-committed', 'batch-decoded', 'batch-locked', 'batch-mid-apply', 'batch-snapshot',
          'batch-view-applied', 'build-after-fill', 'build-before-fill', 'build-before-identity', 'build-renewed', 'build-tracked',
          'decode-change', 'decode-record', 'decoded', 'lane-before-commit', 'lane-committed', 'lane-computed', 'lane-locked',
          'lane-snapshot', 'replace-before-lock', 'replace-begin', 'replace-committing', 'replace-done', 'replace-exchanged', 'top-fill')


# numbers of epoll_wait() and epoll_pwait(), of x86-64 and of arm64
EPOLL_WAIT = ('232', '281', '22')


# ---- processes

def kill(world, kind):
    """SIGKILL; the server starts all its processes anew."""
    pid = world.process(kind)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    world.server.expected_signals += 1
    world.totals.figures['kills of the ' + kind] += 1
    world.comes_back_from_crash(pid)
    return True


def kill_worker(world):
    return 'done' if kill(world, 'worker') else 'there is none'


def kill_builder(world):
    """Of a view that is declared for it."""
    world.sql_role()
    world.add_view(world.chaos_run, world.rng.random() < 0.5)
    deadline = time.time() + 1
    while time.time() < deadline:
        if kill(world, 'builder'):
            return 'done'
        time.sleep(0.01)
    return 'there is none'


def kill_other(world):
    kind = world.rng.choice(['launcher', 'slow lane', 'verifier', 'builder'])
    return '%s: %s' % (kind, 'done' if kill(world, kind) else 'there is none')


def kill_at_point(world):
    """A process kills itself at a named point, when it comes there.

    Once, if we are quick to disarm it.
    """
    point = world.rng.choice(POINTS)
    server = world.server
    start = server.log_size()
    before = server.crashes
    world.crashed = True
    server.expected_signals += 1000
    world.insist(["ALTER SYSTEM SET pg_derive.debug_point = '%s:kill'" % point, 'SELECT pg_reload_conf()'])
    watcher = threading.Thread(target=disarm, args=(server, start), daemon=True)
    watcher.start()
    if point.startswith('build'):
        world.sql_role()
        world.add_view(world.chaos_run, False)
    elif point.startswith('replace'):
        world.actions['replace_view'](world)
    watcher.join()
    died = server.log_has('was terminated by signal 9', start)
    world.insist(['ALTER SYSTEM RESET pg_derive.debug_point', 'SELECT pg_reload_conf()'])
    world.sql_role()
    # who was armed may still come there: after this the setting is seen by all
    time.sleep(0.3)
    server.log_problems()
    world.totals.figures['kills at a named point'] += server.crashes - before
    server.expected_signals = server.crashes + 2
    return '%s: %s' % (point, 'died' if died else 'did not come there')


def disarm(server, start):
    """As soon as a process has died, or nothing came there."""
    server.wait_for_log('was terminated by signal 9', start, 1.5)
    path = os.path.join(server.datadir, 'postgresql.auto.conf')
    with open(path) as f:
        lines = [line for line in f if not line.startswith('pg_derive.debug_point')]
    with open(path, 'w') as f:
        f.writelines(lines)
    server.reload()


def kill_postmaster(world):
    world.server.kill_postmaster()
    time.sleep(world.rng.choice([0, 0.2, 1]))
    world.server.start()
    world.totals.figures['kills of the postmaster'] += 1
    world.connect()


def restart(world):
    mode = world.rng.choice(['fast', 'immediate', 'immediate'])
    world.server.stop(mode)
    world.server.start()
    world.totals.figures['restarts'] += 1
    world.connect()
    return mode


def without_library(world):
    """The server runs without the library for a while; what is changed then is known all the same."""
    server = world.server
    server.stop('fast')
    server.start('-c', 'shared_preload_libraries=')
    world.connect()
    world.actions['dml'](world)
    world.pass_time(world.rng.choice([0.2, 1]))
    server.stop('fast')
    server.start()
    world.connect()


def stop_asleep(pid):
    """SIGSTOP while it waits for its latch: then it has no lock of the server's shared memory, which everybody would wait for."""
    for _ in range(2000):
        os.kill(pid, signal.SIGSTOP)
        place = 'running'
        while place == 'running':
            with open('/proc/%d/syscall' % pid) as f:
                place = f.read().split()[0]
        if place in EPOLL_WAIT:
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.002)
    raise RuntimeError('process %d never waits' % pid)


def stop_and_go(world):
    """The worker stands still, and goes on with much to do."""
    pid = world.process('worker')
    if pid is None:
        return 'there is none'
    seconds = world.rng.choice([0.5, 2, 4])
    try:
        os.kill(pid, signal.SIGSTOP)
        world.pass_time(seconds)
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    return '%s s' % seconds


# ---- resources

def disk_full(world):
    """No space for the data; exact again within 30 s after there is some."""
    server = world.server
    if not server.separate:
        return 'only as root'
    server.excused = r'No space left on device|could not (write|extend|create|open|fsync)|terminated by signal|PANIC'
    server.expected_signals += 1000
    world.admin_run('CHECKPOINT')
    server.fill_disk()
    try:
        for _ in range(world.rng.choice([2, 6])):
            try:
                big_insert(world)
            except (Lost, RuntimeError):
                break
            world.pass_time(0.5)
    finally:
        server.empty_disk()
    if server.program('pg_ctl', '-D', server.datadir, 'status', check=False).returncode:
        server.start()
    start = time.time()
    world.connect()
    world.traffic.pause()
    world.wait()
    seconds = time.time() - start
    server.log_problems()
    server.excused = None
    server.expected_signals = server.crashes
    world.totals.figures['disks that were full'] += 1
    world.totals.series['seconds until exact after the disk was full'].append(seconds)
    if seconds > 30:
        world.finding('the views caught up only %.0f s after the disk had space again' % seconds)
    world.check()
    world.traffic.go_on()


def big_insert(world):
    t = world.rng.choice(world.schema.tables)
    values = ['i' if c.name in ('id', 'k') else 'i' if c.in_key and c.key in ('num', 'int8', 'f8') else world.value_of(c)
              for c in t.writable()]
    world.actor_sql('INSERT INTO %s (%s) SELECT %s FROM generate_series(200000, 230000) i%s' % (
        t.name, t.names(), ', '.join(values), ' ON CONFLICT DO NOTHING' if t.unique else ''))
    world.actor_sql('DELETE FROM %s WHERE k >= 200000' % t.name)


CGROUP = '/sys/fs/cgroup/memory/pg_derive_scenario'


def out_of_memory(world):
    """The worker gets no more memory for a while, during a large transaction; or it is killed for what it takes."""
    pid = world.process('worker')
    if pid is None:
        return 'there is none'
    if world.rng.random() < 0.5:
        return killed_for_memory(world, pid)
    server = world.server
    server.excused = r'out of memory|53200|memory'
    more = world.rng.choice([1, 4, 16])
    try:
        with open('/proc/%d/status' % pid) as f:
            size = int(re.search(r'VmSize:\s+(\d+) kB', f.read()).group(1)) * 1024
        limit_memory(server, pid, str(size + (more << 20)))
        big_insert(world)
        world.pass_time(2)
        limit_memory(server, pid, 'unlimited')
    except (OSError, AttributeError):
        return 'it went away'
    finally:
        server.log_problems()
        server.excused = None
    world.totals.figures['times without memory'] += 1
    return '%d MB more' % more


def limit_memory(server, pid, most):
    """By the server's user, since a container's root may not."""
    subprocess.run(['prlimit', '--pid', str(pid), '--as=%s:' % most], check=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **server.as_user())


def killed_for_memory(world, pid):
    """By the kernel, where it lets us (cgroup of version 1); else by us, which the server cannot tell apart."""
    how = 'by us'
    server = world.server
    start = server.log_size()
    try:
        os.makedirs(CGROUP, exist_ok=True)
        for name, value in (('memory.limit_in_bytes', 4 << 20), ('cgroup.procs', pid)):
            with open(os.path.join(CGROUP, name), 'w') as f:
                f.write(str(value))
        server.expected_signals += 1
        how = 'by the kernel'
    except OSError:
        pass
    big_insert(world)
    if how == 'by the kernel':
        if server.wait_for_log('was terminated by signal 9', start, 5):
            world.comes_back_from_crash(pid)
        else:
            server.expected_signals -= 1
            how = 'by us'
    if how == 'by us' and not kill(world, 'worker'):
        return 'it went away'
    world.totals.figures['kills for want of memory'] += 1
    return how


# ---- the log

def shown(world, since):
    """Seconds until the database says that its views are not up to date, or has them computed anew."""
    deadline = time.time() + 20
    while time.time() < deadline:
        result = world.admin_run("SELECT count(*) FILTER (WHERE state NOT IN ('ready', 'paused')), (SELECT state FROM derive.worker LIMIT 1) FROM derive.views")
        if result and result.ok and result.rows and (result.rows[0][0] != '0' or result.rows[0][1] in ('missing', 'starting')):
            break
        if world.server.log_has('are computed anew', world.log_mark):
            break
        time.sleep(0.05)
    return time.time() - since


def slot_dropped(world):
    """By hand, while the worker is away; or its files are gone after a stop."""
    world.log_mark = world.server.log_size()
    world.feeds.log_lost += 1
    if world.rng.random() < 0.4:
        world.server.stop('fast')
        for folder in glob.glob(os.path.join(world.server.datadir, 'pg_replslot', 'pg_derive*')):
            shutil.rmtree(folder)
        world.server.start()
        world.connect()
        world.totals.figures['slots removed'] += 1
        return 'as files'
    world.chaos.sql('RESET ROLE')
    dropped = False
    for _ in range(100):
        pid = world.process('worker')
        done = world.chaos.sql("DO $$ BEGIN %s FOR i IN 1..400 LOOP BEGIN PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                               "WHERE plugin = 'pg_derive' AND database = current_database(); EXIT; EXCEPTION WHEN object_in_use THEN PERFORM pg_sleep(0.001); END; END LOOP; "
                               "IF EXISTS (SELECT FROM pg_replication_slots WHERE plugin = 'pg_derive' AND database = current_database()) THEN RAISE EXCEPTION 'there'; END IF; END $$"
                               % ('PERFORM pg_terminate_backend(%d);' % pid if pid else ''), also=('P0001', '42704'))
        if done and done.ok:
            dropped = True
            break
    world.sql_role()
    world.totals.figures['slots dropped'] += dropped
    return 'by hand' if dropped else 'could not'


def slot_limit(world):
    """The worker is held up while more log is written than may be kept: the slot loses it."""
    server = world.server
    world.log_mark = server.log_size()
    calm = time.time() - 8
    before = world.traffic.p99(calm, time.time())
    world.insist(["ALTER SYSTEM SET max_slot_wal_keep_size = '3MB'", 'SELECT pg_reload_conf()',
                  'CREATE TABLE IF NOT EXISTS fz.filler (t text)'])
    pid = world.process('worker')
    start = time.time()
    world.feeds.log_lost += 1
    lost = None
    try:
        if pid:
            stop_asleep(pid)
        for i in range(30):
            world.admin_run("INSERT INTO fz.filler SELECT repeat(md5(i::text), 30) FROM generate_series(1, 2000) i")
            world.admin_run('SELECT pg_switch_wal()')
            if i == 4:
                # it is asked to let go of the slot, which it can only when it runs
                world.actor_reset_role()
                checkpoint = world.in_background(world.actor, 'CHECKPOINT')
                time.sleep(0.5)
                if pid:
                    os.kill(pid, signal.SIGCONT)
                lost = time.time()
                checkpoint.join(60)
                break
    except ProcessLookupError:
        lost = lost or time.time()
    finally:
        if pid:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
    seconds = shown(world, lost or time.time())
    world.insist(['ALTER SYSTEM RESET max_slot_wal_keep_size', 'SELECT pg_reload_conf()', 'DROP TABLE IF EXISTS fz.filler'])
    world.actor_sql('SET ROLE %s' % world.role)
    after = world.traffic.p99(start, time.time())
    if not server.wait_for_log('invalidating', world.log_mark, 1):
        return 'it was not lost'        # the worker had moved it before it went
    # a new slot waits for transactions that are open, also prepared ones; until then nothing is read
    if not server.wait_for_log('was not read for database', world.log_mark, 30) and \
            not server.log_has('Waiting for transactions', world.log_mark):
        world.finding('a slot was lost, and the log does not say which part of it was not read')
    world.totals.figures['slots lost at the limit'] += 1
    world.totals.series['seconds until a lost slot was shown'].append(seconds)
    if before and after:
        world.totals.series['p99 of writers during the loss of a slot, relative'].append(after / before)
    if seconds > 5:
        world.finding('a lost slot was shown only after %.1f s' % seconds)
    return '%.1f s until shown' % seconds


# ---- other servers

def replayed(world, lsn):
    """Waits until the standby has replayed the log up to here."""
    deadline = time.time() + 60
    while world.admin_must("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn >= '%s'" % lsn).value() == '0':
        if time.time() > deadline:
            raise RuntimeError('the standby does not catch up')
        time.sleep(0.05)


def promote(world):
    """A standby takes over, at times one that lacks the last transactions."""
    server = world.server
    standby = server.make_standby()
    clean = world.rng.random() < 0.5
    replayed(world, '0/0')
    world.pass_time(world.rng.choice([0.2, 1]))
    if clean:
        world.traffic.pause()
        replayed(world, world.admin_must('SELECT pg_current_wal_flush_lsn()').value())
    world.log_mark = server.log_size()
    server.become(standby)
    server.program('pg_ctl', '-D', server.datadir, '-w', '-s', 'promote')
    start = time.time()
    world.feeds.log_lost += 1
    world.connect()
    world.forget_positions()
    world.forget_missing()
    if clean:
        world.traffic.go_on()
    resumed = None
    while time.time() - start < 60:
        result = world.admin_run("SELECT derive.wait(NULL, '10s')")
        if result and (result.value() == 't' or not result.ok):
            resumed = time.time() - start
            break
    world.totals.figures['failovers'] += 1
    if resumed is None:
        world.finding('the views were not maintained 60 s after a promotion')
        return ''
    world.totals.series['seconds until views were maintained after a promotion'].append(resumed)
    if resumed > 10:
        world.finding('the views were maintained only %.1f s after a promotion' % resumed)
    return '%s, %.1f s' % ('all replayed' if clean else 'cut off', resumed)


def dump_restore(world):
    """Into another database of the same server, which then maintains the same views."""
    server = world.server
    form = world.rng.choice(['-Fc', '-Fd', '-Fp'])
    name = 'copy%d_%d' % (world.number, world.serial)
    world.serial += 1
    path = os.path.join(server.workdir, name)
    where = ['-h', server.workdir, '-p', str(server.port), '-U', 'postgres']
    dumped = server.program('pg_dump', *where, form, '-f', path, '--lock-wait-timeout=10s', 'postgres', check=False)
    if dumped.returncode:
        if re.search('lock timeout|canceling statement due to|deadlock', dumped.stdout):
            return 'a lock was in the way'
        world.finding('pg_dump: ' + dumped.stdout[-1500:])
        return ''
    try:
        # the slot of the other database waits for transactions that are open
        world.keeper.end()
        expected = int(world.admin_must("SELECT count(*) FROM derive_state.view_states v WHERE state NOT IN ('failed')").value())
        created = server.program('createdb', *where, name, check=False)
        if created.returncode:      # not ours; it is listed in the end
            world.totals.complaints['createdb: ' + created.stdout.strip()[-150:]] += 1
            return 'no database to restore into'
        if form == '-Fp':
            restored = server.program('psql', *where, '-XqAt', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=0', '-d', name, '-f', path, check=False)
            errors = re.findall('ERROR:.*', restored.stdout)
        else:
            restored = server.program('pg_restore', *where, '-j', '2', '-d', name, path, check=False)
            errors = re.findall('error:.*', restored.stdout)
        peer = Session(server, 'copy', dbname=name)
        peer.connect()
        waited = peer.run("SELECT derive.wait(NULL, '90s')")
        wrong = peer.run('SELECT * FROM derive.verify() WHERE missing <> 0 OR extra <> 0')
        there = int(peer.must('SELECT count(*) FROM derive.views').value())
        states = peer.must("SELECT view, state, error FROM derive.views WHERE state <> 'ready'").rows
        oid = peer.must('SELECT oid FROM pg_database WHERE datname = current_database()').value()
        peer.close()
        bad = [r for r in states if r[1] not in ('paused', 'failed')]
        if bad or (waited.ok and waited.value() != 't'):
            world.finding('the restored database does not catch up: %s %s' % (waited.rows, bad))
        if not wrong.ok or wrong.rows:
            world.finding('the restored database: derive.verify(): %s %s %s' % (wrong.sqlstate, wrong.message, wrong.rows))
        world.totals.figures['databases restored'] += 1
        text = '%s, %d of %d views, %s' % (form, there, expected, 'no errors' if not errors else errors[:3])
        world.admin_run('DROP DATABASE %s WITH (FORCE)' % name)
        deadline = time.time() + 30
        while world.admin_must("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pg_derive_%s'" % oid).value() != '0':
            if time.time() > deadline:
                world.finding('the slot of a dropped database is still there after 30 s')
                break
            time.sleep(0.2)
        return text
    finally:
        world.admin_run('DROP DATABASE IF EXISTS %s WITH (FORCE)' % name)


ACTIONS = {f.__name__: f for f in (kill_worker, kill_builder, kill_other, kill_at_point, kill_postmaster, restart, without_library, stop_and_go,
                                   disk_full, out_of_memory, slot_dropped, slot_limit, promote, dump_restore)}
