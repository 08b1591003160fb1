"""Queries by sqlsmith (Debian package) over the tables and views of a world.

Its role may read and write all of them and call what everybody may call; it owns
nothing.  What it gets as answers is not looked at: no query may bring a process
down, and the views are right afterwards.
"""

import re
import subprocess

QUERIES = 250       # of one action


def available():
    try:
        return subprocess.run(['sqlsmith', '--version'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def sqlsmith(world):
    rng = world.rng
    seed = rng.randint(1, 10 ** 6)
    world.insist(["DO $$ BEGIN CREATE ROLE smith LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
                  'GRANT USAGE ON SCHEMA fz TO smith', 'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA fz TO smith'])
    server = world.server
    target = 'host=%s port=%d dbname=postgres user=smith' % (server.workdir, server.port)
    command = ['sqlsmith', '--target=' + target, '--max-queries=%d' % QUERIES, '--seed=%d' % seed]
    if rng.random() < 0.7:
        command.append('--exclude-catalog')
    start = server.log_size()
    # PostgreSQL has some of its own; they are listed in the end.  And it may unlock advisory locks that it has not.
    server.excused = "client backend (XX000 ERROR|01000 WARNING:  you don't own a lock of type)"
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace', timeout=300)
        ended = 'status %d' % done.returncode
    except subprocess.TimeoutExpired:
        ended = 'too slow'
    server.log_problems()
    server.excused = None
    with open(server.logfile, errors='replace') as f:
        f.seek(start)
        world.totals.complaints.update('sqlsmith: ' + text for text in re.findall(r'client backend (XX000 ERROR: .{1,100})', f.read()))
    world.totals.figures['queries by sqlsmith'] += QUERIES
    return 'seed %d, %s' % (seed, ended)


ACTIONS = {'sqlsmith': sqlsmith}
