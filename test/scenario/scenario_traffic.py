"""Writers that go on while actions are taken, and stand still while views are looked at.

Each is a thread with a session of its own and the transactions of the fuzzer's
Writer.  These wait for each other's locks; so what pg_derive costs a writer is
measured by one more, the probe, which changes a row of its own that a view reads,
and writes down how long that took.  A connection that is lost is made again, so
they outlive everything that happens to the server.
"""

import threading
import time

from fuzz_load import Writer
from fuzz_server import Lost


class Traffic:
    def __init__(self, rng, world, number, pace, probed):
        self.world = world
        self.writers = []
        self.threads = []
        self.pace = pace                # seconds between the transactions of one writer
        self.stopping = False
        self.running = threading.Event()
        self.still = []                 # of each thread: it stands still
        self.times = []                 # (end, seconds) of transactions of the probe
        self.errors = []
        for i in range(number):
            # decisions of a writer depend on the seed alone
            writer_rng = type(rng)('%s writer %d' % (rng.random(), i))
            self.writers.append(Writer(writer_rng, world.session('w%d' % i), world.schema, world.feeds.topics,
                                       'r%d_w%d' % (world.number, i), True, False))
            self.add(self.writers[i].run, 1)
        if probed:
            self.probe = world.session('probe')
            for sql in ('CREATE TABLE probe (id integer PRIMARY KEY, n bigint)', 'INSERT INTO probe VALUES (1, 0)',
                        "SELECT derive.create_view('probed', 'SELECT sum(n) FROM probe')"):
                self.probe.must(sql)
            self.add(self.measure)

    def add(self, step, *args):
        """A thread that does something again and again."""
        self.still.append(threading.Event())
        self.threads.append(threading.Thread(target=self.loop, args=(self.still[-1], step) + args, daemon=True))

    def measure(self):
        start = time.time()
        try:
            if self.probe.run('UPDATE probe SET n = n + 1').ok:
                self.times.append((time.time(), time.time() - start))
        except Lost:
            self.probe.connect()

    def start(self):
        self.running.set()
        for thread in self.threads:
            thread.start()

    def loop(self, still, step, *args):
        try:
            while not self.stopping:
                if not self.running.is_set():
                    still.set()
                    self.running.wait()
                    still.clear()
                    continue
                step(*args)
                time.sleep(self.pace)
        except BaseException as e:
            self.errors.append(e)
        still.set()

    def pause(self):
        self.running.clear()
        for i, still in enumerate(self.still):
            if self.threads[i].is_alive() and not still.wait(180):
                raise RuntimeError('writer %d does not come to the end of its transaction' % i)
        if self.errors:
            raise self.errors[0]

    def go_on(self):
        for i, thread in enumerate(self.threads):
            if thread.is_alive():
                self.still[i].clear()
        self.running.set()

    def stop(self):
        self.stopping = True
        self.running.set()
        for thread in self.threads:
            if thread.is_alive():
                thread.join(60)

    def transactions(self):
        return sum(w.transactions for w in self.writers)

    def complaints(self):
        """What they met that nobody should meet, once each."""
        found = []
        for writer in self.writers:
            found += writer.complaints
            writer.complaints = []
        return found

    def p99(self, since, until):
        """Seconds, of the probe's transactions that ended in this period; None if they were few."""
        times = sorted(t for end, t in self.times if since <= end <= until)
        return times[len(times) * 99 // 100] if len(times) >= 50 else None
