"""Actions of who uses the database: changes of rows, and everything that is done with views.

An action takes the world, draws what it does from world.rng, which depends on the
seed and the action's number only, and returns a few words about it.
"""

from fuzz_load import Writer


def dml(world):
    """Some transactions, one after the other, beside those of the writers."""
    n = world.rng.choice([1, 3, 10])
    writer = Writer(world.rng, world.actor, world.schema, world.feeds.topics, world.tag('a'), True, False)
    writer.run(n)
    world.note(writer.complaints)
    return '%d transactions' % n


def big(world):
    """One transaction with many rows: decoding and deltas spill; in half of them most is taken back."""
    rng = world.rng
    t = rng.choice(world.schema.tables)
    n = rng.choice([2000, 5000, 20000])
    values = []
    for c in t.writable():
        values.append('i' if c.name == 'id' else '1000 + i %% %d' % rng.choice([1000, 50000]) if c.name == 'k'
                      else 'i' if c.in_key and c.key in ('num', 'int8', 'f8') else world.value_of(c))
    insert = 'INSERT INTO %s (%s) SELECT %s FROM generate_series(100000, %d) i%s' % (
        t.name, t.names(), ', '.join(values), 100000 + n, ' ON CONFLICT DO NOTHING' if t.unique else '')
    end = rng.choice(['COMMIT', 'COMMIT', 'ROLLBACK'])
    body = ['BEGIN', insert, 'SAVEPOINT a', 'UPDATE %s SET k = k + 1 WHERE k >= 1000' % t.name,
            rng.choice(['ROLLBACK TO a', 'RELEASE a']), 'DELETE FROM %s WHERE k >= 1000' % t.name, end]
    if rng.random() < 0.5:
        # two transactions: the views have the rows for a moment
        body[5:5] = ['COMMIT', 'BEGIN']
    for sql in body:
        world.actor_sql(sql)
    world.actor_sql('ROLLBACK')
    world.actor_sql('DELETE FROM %s WHERE k >= 1000' % t.name)
    return '%d rows in %s, %s' % (n, t.name, end)


def savepoints(world):
    rng = world.rng
    t = rng.choice(world.schema.tables)
    body = ['BEGIN']
    for i in range(rng.choice([3, 10, 70])):
        body += ['SAVEPOINT s%d' % i, 'UPDATE %s SET k = (k + 1) %% 31 WHERE k = %d' % (t.name, rng.randint(0, 30))]
        if rng.random() < 0.4:
            body.append('%s s%d' % (rng.choice(['ROLLBACK TO', 'RELEASE']), rng.randint(0, i)))
    for sql in body + [rng.choice(['COMMIT', 'COMMIT', 'ROLLBACK'])]:
        world.actor_sql(sql)
    world.actor_sql('ROLLBACK')
    return '%d statements' % len(body)


def prepared(world):
    """Begins, prepares or finishes a transaction that stays, over several actions."""
    world.keeper.step()
    return '%d are prepared' % len(world.keeper.gids)


def truncate(world):
    rng = world.rng
    tables = rng.sample(world.schema.tables, rng.randint(1, len(world.schema.tables)))
    names = ', '.join(t.name for t in tables)
    if rng.random() < 0.3:
        body = ['BEGIN', 'TRUNCATE ' + names, 'ROLLBACK']
    else:
        body = ['BEGIN', 'TRUNCATE ' + names] + ['INSERT INTO %s (%s) VALUES %s' % (t.name, t.names(), t.row(rng)) for t in tables] + ['COMMIT']
    for sql in body:
        world.actor_sql(sql)
    world.actor_sql('ROLLBACK')
    return names


# ---- views


def create_view(world):
    """By a query of the small language or of all of SQL, or by a derivation; often over other views."""
    world.sql_role()
    before = set(world.views)
    world.add_view(world.chaos_run, world.rng.random() < 0.4)
    made = sorted(set(world.views) - before)
    if len(world.views) > world.mode.most_views:
        return '%s; %s' % (', '.join(made), drop_view(world))
    return ', '.join(made) or 'none'


def drop_view(world):
    v = world.chaos.view()
    if not v:
        return 'none'
    done = world.chaos.sql(world.rng.choice(['DROP MATERIALIZED VIEW %s', 'DROP MATERIALIZED VIEW %s CASCADE', "SELECT derive.drop_view('%s', cascade => true)"]) % v)
    if done and done.ok:
        world.forget_dropped()
    return v


def pause(world):
    """Until it is resumed by another action, or by the next look at all views."""
    v = world.chaos.view()
    if v:
        world.chaos.sql("SELECT derive.pause('%s')" % v)
    return str(v)


def resume(world):
    v = world.chaos.view()
    if v:
        world.chaos.sql("SELECT derive.resume('%s')" % v)
    return str(v)


def replace_view(world):
    """Each row twice, or as it was in the beginning; not waited for."""
    v = world.chaos.view()
    if not v or v in world.several:
        return 'none'
    first = world.originals.setdefault(v, world.views[v])
    query = world.rng.choice([first, '(SELECT * FROM (%s) a) UNION ALL (SELECT * FROM (%s) b)' % (first, first),
                              'SELECT * FROM (%s) a WHERE true' % first])
    done = world.chaos.sql("SELECT derive.replace_view('%s', $fuzz$%s$fuzz$)" % (v, query), also=('0A000', '42', '55000'))
    world.names_changed = True
    return '%s%s' % (v, '' if done and done.ok else ': refused')


def subscribe(world):
    v = world.chaos.view()
    if v:
        world.feeds.subscribe(world.chaos, v)
    return str(v)


def history(world):
    v = world.chaos.view()
    if v:
        world.feeds.follow_view(world.chaos, v)
    return str(v)


def consistent(world):
    """A view of views agrees with them in any snapshot while nothing stands still."""
    world.chaos.consistent()


# methods of the fuzzer's Chaos, by the names that they have here
OF_CHAOS = ('create_index', 'drop_index', 'reindex', 'index_of_key', 'constraints', 'other_identity', 'part_again', 'unused_column',
            'rewrite', 'vacuum', 'columns', 'rename', 'change_type', 'swap_names', 'column_again', 'partition', 'slow_reader',
            'hold_lock', 'verify', 'move', 'release', 'repair', 'refresh', 'view_again', 'view_ddl', 'owner', 'identity', 'freeze', 'terminate', 'old_rows')


def of_chaos(name):
    def action(world):
        getattr(world.chaos, name)()
        return ''
    return action


def remember(world):
    world.feeds.remember(world.chaos)


def poll(world):
    world.feeds.poll(world.chaos)


ACTIONS = {f.__name__: f for f in (dml, big, savepoints, prepared, truncate, create_view, drop_view, pause, resume, replace_view, subscribe,
                                   history, consistent, remember, poll)}
ACTIONS.update({name: of_chaos(name) for name in OF_CHAOS})
