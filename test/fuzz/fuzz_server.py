"""A private PostgreSQL server, and psql processes as its sessions.

The server lives in a work directory of its own, listens on a socket there
only, and runs as an ordinary user even if we are root.  Where the library was
installed under DESTDIR (environment variable DERIVE_DESTDIR), the server is
told to look there.

A Session is one psql process.  Statements go in through its standard input,
each followed by an echoed marker that carries psql's ERROR, SQLSTATE and
LAST_ERROR_MESSAGE; so an answer is everything up to the marker.
"""

import collections
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import threading
import time

FS = '\x1f'


# what the log tells of a worker that cannot do its work by old and new rows
NOTES = re.compile(r'DEBUG:  (recomputing [a-z ]+) ".*?": (.*)|DEBUG:  (reading [a-z ]+) (?:[0-9]+|".*?")(.*)|'
                   r'(?:LOG|WARNING):  (old row versions are no longer kept|view .* is computed anew because.*)|'
                   r'LOG:  (view .* is built anew)')


class Lost(Exception):
    """The connection is gone."""


class Hang(Exception):
    """A statement did not come back in time."""


class Result:
    def __init__(self, rows, sqlstate, message):
        self.rows = rows
        self.sqlstate = sqlstate        # '' if it succeeded
        self.message = message

    @property
    def ok(self):
        return self.sqlstate == ''

    def text(self):
        """A single value of several lines."""
        return '\n'.join(FS.join(row) for row in self.rows)

    def value(self):
        return self.rows[0][0] if self.rows and self.rows[0] else None


class Log:
    """Everything sent, in the order of sending, as a file that psql can read."""

    def __init__(self, path):
        self.file = open(path, 'w', buffering=1)
        self.path = path
        self.lock = threading.Lock()
        self.start = time.time()

    def write(self, who, text):
        with self.lock:
            self.file.write('-- %.3f %s\n%s\n' % (time.time() - self.start, who, text))


class Server:
    def __init__(self, workdir, pg_config=None, port=5599, preload=True, settings=None, initdb=()):
        self.workdir = os.path.abspath(workdir)
        self.datadir = os.path.join(self.workdir, 'data')
        self.logfile = os.path.join(self.workdir, 'server.log')
        self.port = port
        pg_config = pg_config or os.environ.get('PG_CONFIG', 'pg_config')
        self.bindir = subprocess.check_output([pg_config, '--bindir'], text=True).strip()
        self.pkglibdir = subprocess.check_output([pg_config, '--pkglibdir'], text=True).strip()
        version = subprocess.check_output([pg_config, '--version'], text=True)
        self.major = int(re.search(r'(\d+)', version).group(1))
        self.user = 'postgres' if os.geteuid() == 0 else None
        self.preload = preload
        self.settings = settings or {}
        self.initdb = initdb        # options of it
        self.expected_signals = 0
        self.log_read = 0           # how much of the log was looked through
        self.crashes = 0
        self.problems = []
        self.notes = collections.Counter()  # NOTES in it
        self.shutting_down = False

    def as_user(self):
        if self.user is None:
            return {}
        entry = pwd.getpwnam(self.user)
        return dict(user=entry.pw_uid, group=entry.pw_gid, extra_groups=[], cwd=self.workdir)

    def program(self, *args, check=True, **kw):
        command = [os.path.join(self.bindir, args[0])] + list(args[1:])
        return subprocess.run(command, check=check, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              **self.as_user(), **kw)

    def make_folders(self):
        shutil.rmtree(self.workdir, ignore_errors=True)
        os.makedirs(self.workdir)
        if self.user:
            shutil.chown(self.workdir, self.user)

    def create(self):
        self.make_folders()
        self.program('initdb', '-D', self.datadir, '-U', 'postgres', '-A', 'trust',
                     '--no-locale', '-E', 'UTF8', '-N', *self.initdb)
        conf = {
            'port': self.port,
            'listen_addresses': "''",
            'unix_socket_directories': "'%s'" % self.workdir,
            'wal_level': 'logical',
            'max_replication_slots': 8,
            'max_wal_senders': 4,
            'max_worker_processes': 24,
            'max_prepared_transactions': 20,
            'max_connections': 40,
            'shared_buffers': "'64MB'",
            'timezone': "'UTC'",
            'deadlock_timeout': "'200ms'",
            'checkpoint_timeout': "'60s'",
            'autovacuum_naptime': "'2s'",
            'log_line_prefix': "'%m [%p] %b %e '",
            'log_min_messages': 'debug1',       # see NOTES
            'log_statement': 'none',
            'log_lock_waits': 'off',
            'fsync': 'off',
            'jit': 'off',                       # tiny tables, dear plans
        }
        if self.preload:
            conf['shared_preload_libraries'] = "'pg_derive'"
            # make rare paths common: spill early
            conf['logical_decoding_work_mem'] = conf['pg_derive.decoding_work_mem'] = "'64kB'"
            conf['pg_derive.work_mem'] = "'64kB'"
            describe = subprocess.run([os.path.join(self.bindir, 'postgres'), '--describe-config'],
                                      text=True, stdout=subprocess.PIPE, **self.as_user()).stdout
            if re.search(r'^output_plugin_libraries\b', describe, re.M):
                conf['output_plugin_libraries'] = "'pgoutput, test_decoding, pg_derive'"
            destdir = os.environ.get('DERIVE_DESTDIR')
            if destdir:
                path = "'%s%s:$libdir'" % (destdir, self.pkglibdir)
                conf['dynamic_library_path'] = path
                if self.major >= 18:
                    share = subprocess.check_output(
                        [os.path.join(self.bindir, 'pg_config'), '--sharedir'], text=True).strip()
                    conf['extension_control_path'] = "'%s%s:$system'" % (destdir, share)
                elif re.search(r'^extension_destdir\b', describe, re.M):
                    conf['extension_destdir'] = "'%s'" % destdir
        conf.update(self.settings)
        with open(os.path.join(self.datadir, 'postgresql.conf'), 'a') as f:
            for name, value in conf.items():
                f.write('%s = %s\n' % (name, value))

    def start(self, *options):
        """With options of the server program that hold for this time only."""
        for attempt in range(40):
            done = self.program('pg_ctl', '-D', self.datadir, '-l', self.logfile, '-w', '-s', '-o', ' '.join(options),
                                'start', check=False)
            if done.returncode == 0:
                return
            time.sleep(0.25)
        raise RuntimeError('server does not start: %s\n%s' % (done.stdout, self.log_tail()))

    def stop(self, mode='fast'):
        self.program('pg_ctl', '-D', self.datadir, '-m', mode, '-w', '-s', 'stop', check=False)

    def signal_postmaster(self, number):
        with open(os.path.join(self.datadir, 'postmaster.pid')) as f:
            os.kill(int(f.readline()), number)

    def kill_postmaster(self):
        """kill -9 of the postmaster; its children notice and go."""
        self.signal_postmaster(signal.SIGKILL)

    def reload(self):
        self.signal_postmaster(signal.SIGHUP)

    def log_tail(self, lines=40):
        try:
            with open(self.logfile, errors='replace') as f:
                return ''.join(f.readlines()[-lines:])
        except OSError:
            return ''

    def log_size(self):
        return os.path.getsize(self.logfile)

    def log_has(self, text, start):
        with open(self.logfile, 'rb') as f:
            f.seek(start)
            return text.encode() in f.read()

    def log_problems(self):
        """Lines of the server's log that no run may contain.  Counts NOTES by the way."""
        problems = self.problems
        with open(self.logfile, errors='replace') as f:
            f.seek(self.log_read)
            while True:
                line = f.readline()
                if not line.endswith('\n'):
                    break
                self.log_read = f.tell()
                note = NOTES.search(line)
                if note:
                    self.notes[' '.join(re.sub('".*?"', '...', g).strip()[:100] for g in note.groups() if g)] += 1
                if self.is_problem(line):
                    problems.append(line)
        return problems

    def is_problem(self, line):
        """May no log contain this line?"""
        if re.search(r'\bPANIC:|TRAP:|problem in alloc set|Failed assertion', line):
            return True
        # one of ours, not a program that a COPY runs
        if 'was terminated by signal' in line and 'child process was' not in line:
            if 'signal 9' in line and self.crashes < self.expected_signals:
                self.crashes += 1
                return False
            return True
        if 'WARNING:' in line and re.search(r'leak|own a lock|not active', line):
            return True
        if 'its contents were not as expected' in line:
            return True
        if 'its changes could not be computed' in line:
            return not re.search('division by zero|more than one row returned|a mirror without a key cannot take TRUNCATE', line)
        # the work directory may have our name, too
        return 'FATAL:' in line and 'derive' in line.replace(self.workdir, '') and \
            not re.search(r'due to administrator command|database system is|due to unexpected postmaster exit|'
                          r'terminating background worker|terminating connection because of crash', line)


class Session:
    def __init__(self, server, name, log=None, dbname='postgres', user='postgres'):
        self.server = server
        self.name = name
        self.log = log
        self.dbname = dbname
        self.dbuser = user
        self.process = None
        self.counter = 0
        self.buffer = b''
        self.on_connect = []

    def connect(self, patience=60):
        """Start psql; retries while the server recovers."""
        self.close()
        deadline = time.time() + patience
        while True:
            env = dict(os.environ, PGOPTIONS='-c client_min_messages=error', PGAPPNAME='fuzz ' + self.name)
            errors = open(os.path.join(self.server.workdir, 'psql.err'), 'ab')
            self.process = subprocess.Popen(
                [os.path.join(self.server.bindir, 'psql'), '-XqAt', '-F', FS,
                 '-h', self.server.workdir, '-p', str(self.server.port),
                 '-U', self.dbuser, '-d', self.dbname],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=env)
            errors.close()
            self.buffer = b''
            try:
                self._exchange('SELECT 1', 30)
                for sql in self.on_connect:
                    self._exchange(sql, 30)
                return self
            except Lost:
                if time.time() > deadline:
                    raise RuntimeError('cannot connect:\n' + self.server.log_tail())
                time.sleep(0.1)

    def close(self):
        if self.process:
            try:
                self.process.stdin.close()
            except OSError:
                pass
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
            self.process = None

    def run(self, sql, timeout=300):
        """One statement (or several, of which the last one counts)."""
        if self.log:
            self.log.write(self.name, sql + ';')
        if self.process is None:
            self.connect()
        result = self._exchange(sql, timeout)
        if self.log and not result.ok:
            self.log.write(self.name, '-- %s: %s' % (result.sqlstate, result.message))
        return result

    def must(self, sql, timeout=300):
        result = self.run(sql, timeout)
        if not result.ok:
            raise RuntimeError('%s: %s\n%s' % (result.sqlstate, result.message, sql))
        return result

    def _exchange(self, sql, timeout):
        self.counter += 1
        marker = '@@%d@@' % self.counter
        text = '%s\n;\n\\echo %s :ERROR :SQLSTATE :LAST_ERROR_MESSAGE\n' % (sql, marker)
        try:
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            self._lost()
        rows = []
        deadline = time.time() + timeout
        while True:
            line = self._line(deadline, sql)
            if line.startswith(marker):
                words = line[len(marker):].strip().split(' ', 2)
                failed = words[0] == 'true'
                return Result(rows, words[1] if failed else '',
                              words[2] if failed and len(words) > 2 else '')
            rows.append(line.split(FS))

    def _line(self, deadline, sql):
        fd = self.process.stdout.fileno()
        while b'\n' not in self.buffer:
            left = deadline - time.time()
            if left <= 0:
                raise Hang('no answer in time (%s): %s' % (self.name, sql))
            if not select.select([fd], [], [], min(left, 5))[0]:
                continue
            data = os.read(fd, 1 << 16)
            if not data:
                self._lost()
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return line.decode(errors='replace')

    def _lost(self):
        self.close()
        raise Lost(self.name)
