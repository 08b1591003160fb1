"""The server of a scenario: its disk can run full, and a standby can take its place.

As root the data directory is on a file system of its own (a tmpfs of DISK_SIZE),
and the log is elsewhere.  A full disk is then a file that takes what is left; what
PostgreSQL answers with PANIC when there is no space for the log is not provoked.

Log lines are looked at more strictly than by the fuzzer: internal errors (XX000)
of any process are problems as well.  An action may excuse lines until the next
look at the log, where it makes something fail.
"""

import copy
import errno
import os
import re
import shutil
import subprocess
import time

from fuzz_load import CONCURRENT_DDL
from fuzz_server import Server

DISK_SIZE = '1200m'

SETTINGS = {
    'log_min_messages': 'info',
    # who held a relation that is gone
    'backtrace_functions': "'RelationClearRelation,RelationRebuildRelation'",
    'max_wal_senders': 8,
    'max_replication_slots': 12,
    # the log of a server that is killed all the time is to be read quickly
    'min_wal_size': "'4MB'",
    'max_wal_size': "'64MB'",
    'wal_keep_size': 0,
    'checkpoint_timeout': "'30s'",
}


class ScenarioServer(Server):
    def __init__(self, workdir, port, disk):
        super().__init__(workdir, port=port, settings=SETTINGS)
        self.ports = (port, port + 1)
        self.disk = os.path.join(self.workdir, 'disk')
        self.separate = disk and os.geteuid() == 0
        self.datadir = os.path.join(self.disk, 'data')
        self.initdb = ('--wal-segsize=1', '--waldir=' + self.waldir())
        self.excused = None         # pattern of lines that are no problems now
        self.standbys = 0
        self.standby = None

    def waldir(self):
        return os.path.join(self.workdir, 'wal-of-' + os.path.basename(self.datadir))

    def make_folders(self):
        super().make_folders()
        os.makedirs(self.disk)
        if self.separate:
            subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=' + DISK_SIZE, 'scenario', self.disk], check=True)
        if self.user:
            shutil.chown(self.disk, self.user)

    def remove(self, keep):
        """After it was stopped.  What is to be kept is kept on the ordinary disk."""
        if self.separate and keep:
            subprocess.run(['cp', '-a', self.datadir, os.path.join(self.workdir, 'data')], check=False)
        if self.separate:
            subprocess.run(['umount', self.disk], check=False)
        if not keep:
            shutil.rmtree(self.workdir, ignore_errors=True)

    # ---- the disk

    def fill_disk(self):
        """Not a byte is left."""
        with open(os.path.join(self.disk, 'ballast'), 'wb', buffering=0) as f:
            try:
                while True:
                    f.write(bytes(1 << 16))
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise

    def empty_disk(self):
        path = os.path.join(self.disk, 'ballast')
        if os.path.exists(path):
            os.unlink(path)

    # ---- failover

    def make_standby(self):
        """A streaming standby of this server, started."""
        standby = copy.copy(self)
        standby.standby = None
        self.standbys += 1
        standby.datadir = os.path.join(self.disk, 'data%d' % self.standbys)
        standby.port = self.ports[self.standbys % 2]
        made = self.program('pg_basebackup', '-h', self.workdir, '-p', str(self.port), '-U', 'postgres', '-D', standby.datadir,
                            '--waldir', standby.waldir(), '-R', '-X', 'stream', '-c', 'fast', check=False)
        if made.returncode:
            raise RuntimeError('pg_basebackup: ' + made.stdout)
        with open(os.path.join(standby.datadir, 'postgresql.conf'), 'a') as f:
            f.write('port = %d\n' % standby.port)
        # not until it can be read: a prepared transaction with many subtransactions may stand against that
        standby.program('pg_ctl', '-D', standby.datadir, '-l', standby.logfile, '-W', '-s', 'start')
        self.standby = standby
        return standby

    def become(self, standby):
        """From now on this is the server; the old one is gone."""
        super().stop('immediate')
        shutil.rmtree(self.datadir, ignore_errors=True)
        shutil.rmtree(self.waldir(), ignore_errors=True)
        self.datadir, self.port = standby.datadir, standby.port
        self.standby = None

    def stop(self, mode='fast'):
        super().stop(mode)
        if self.standby:
            self.standby.stop('immediate')

    # ---- the log

    def is_problem(self, line):
        if self.excused and re.search(self.excused, line):
            return False
        if super().is_problem(line):
            return True
        if 'its changes could not be computed' in line:
            return False        # for a reason that is accepted there
        if re.search(r'process.* crashed.*, while ', line):
            return False        # what comes of deaths, each of which is a line of its own
        return re.search(r'\bXX\d{3} (WARNING|ERROR|FATAL|LOG):', line) is not None and \
            not any(text in line for text in CONCURRENT_DDL)

    def wait_for_log(self, text, start, seconds):
        """Has this been written since?"""
        deadline = time.time() + seconds
        while time.time() < deadline:
            if self.log_has(text, start):
                return True
            time.sleep(0.005)
        return False
