"""Window functions.

Some results depend on the order of all rows (row_number, lag, anything over a
frame in ROWS): these have a total order.  Of equal rows, one comes first in it,
and which one does not show; but with another such order beside it, it would:
two rows numbered 1, 2 by both, or 1, 2 by one and 2, 1 by the other.  So all of
these in one block have the same partition and order.  The others look at peers
as one (rank, aggregates over frames in RANGE and GROUPS), and have any order or
none.
"""

from fuzz_query import EQ, MINMAX, NUMBERS, RESULT_OF_MINMAX
from fuzz_schema import literal

# distances of RANGE frames, by the type of the ordering column
DISTANCE = {'int4': ['2', '5'], 'int8': ['100::bigint'], 'num': ['2.5', '10'], 'num2': ['7.25'], 'f8': ["'1.5'::float8", '10'],
            'date': ["'3 days'::interval"], 'ts': ["'5 hours'::interval"], 'tstz': ["'1 day'::interval"], 'ivl': ["'30 hours'::interval"]}

BOUNDS = ['UNBOUNDED PRECEDING', '%s PRECEDING', 'CURRENT ROW', '%s FOLLOWING', 'UNBOUNDED FOLLOWING']


class Windows:
    def windowed(self, depth):
        r = self.rng
        grouped = self.chance(0.3)
        tail, scope = self.grouped_source(depth) if grouped else self.source(depth)
        scope = [(e, k) for e, k in scope if k in EQ]
        if not scope:
            return self.select(depth)
        named = []
        if self.chance(0.3):
            named.append('w0 AS (%s)' % self.partition(scope, 0.9))
            named.append('w1 AS (w0 ORDER BY %s)' % ', '.join(self.total(scope)))
        outputs = [(self.expr(scope, k, r.choice([0, 0, 1])), k) for k in
                   [r.choice([k for _, k in scope]) for _ in range(r.randint(1, 3))]]
        plain = len(outputs)
        partition = self.partition(scope, 0.75)
        place = 'w1' if named else ' '.join(x for x in (partition, 'ORDER BY ' + ', '.join(self.total(scope))) if x)
        for _ in range(r.choice([1, 1, 2, 3])):
            if self.chance(0.3):
                partition = self.partition(scope, 0.75)
            outputs.append(self.window(scope, partition, place, named))
        distinct = 'DISTINCT ' if self.chance(0.07) and all(k in EQ for _, k in outputs) else ''
        sql, columns = self.finish(outputs, distinct, tail, ' WINDOW ' + ', '.join(named) if named else '')
        ranks = [n for n, k in columns[plain:] if k == 'int8']
        if ranks and self.chance(0.25):
            # the first ones of each partition
            a = self.alias()
            sql = 'SELECT * FROM (%s) AS %s WHERE %s.%s <= %d' % (sql, a, a, r.choice(ranks), r.randint(1, 4))
        return sql, columns

    def partition(self, scope, p):
        r = self.rng
        if not self.chance(p):
            return ''
        columns = [e for e, k in scope if k == 'int4'] if self.chance(0.6) else []
        columns = columns or [e for e, _ in scope]
        return 'PARTITION BY ' + ', '.join(r.sample(columns, min(len(columns), r.choice([1, 1, 1, 2]))))

    # ---- (SQL, type key)

    def window(self, scope, partition, place, named):
        """place: the partition and order, or the name of both, of all that depends on each row's place."""
        r = self.rng
        if self.chance(0.5):
            sql, key = self.by_order(scope)
            frame = self.frame('ROWS', None, 0.4) if self.chance(0.7) else self.frame('GROUPS', None, 0.5)
            return '%s OVER %s' % (sql, place if named and not frame else '(%s)' % ' '.join(x for x in (place, frame) if x)), key
        sql, key = self.by_peers(scope)
        if named and self.chance(0.4):
            return '%s OVER %s' % (sql, r.choice(['w0', 'w1'])), key
        c = r.random()
        ranges = [(e, k) for e, k in scope if k in DISTANCE]
        if c < 0.25:
            order = ''
            frame = self.frame('RANGE', None, 0.1, plain=True)
        elif c < 0.6 and ranges:
            e, k = r.choice(ranges)
            order = 'ORDER BY ' + e + self.direction()
            frame = self.frame('RANGE', k, 0.8)
        elif c < 0.85:
            order = 'ORDER BY ' + ', '.join(e + self.direction() for e, _ in r.sample(scope, min(len(scope), r.choice([1, 1, 2]))))
            frame = self.frame('GROUPS', None, 0.7) if self.chance(0.6) else self.frame('RANGE', None, 0.3, plain=True)
        else:
            partition, order = '', place
            frame = self.frame('ROWS', None, 0.8)
        return '%s OVER (%s)' % (sql, ' '.join(x for x in (partition, order, frame) if x)), key

    def frame(self, mode, key, p, plain=False):
        """A frame clause; plain: with no distances."""
        r = self.rng
        if not self.chance(p):
            return ''
        start = r.choice([0, 2] if plain else [0, 0, 1, 1, 2, 3])
        end = r.choice([x for x in range(max(start, 1), 5) if not plain or x in (2, 4)])
        distances = DISTANCE[key] if key else ['0', '1', '2', '3']
        a, b = [BOUNDS[x] % r.choice(distances) if '%s' in BOUNDS[x] else BOUNDS[x] for x in (start, end)]
        sql = '%s %s' % (mode, a) if end == 2 and self.chance(0.4) and start < 3 else '%s BETWEEN %s AND %s' % (mode, a, b)
        return sql + r.choice(['', '', '', ' EXCLUDE CURRENT ROW', ' EXCLUDE GROUP', ' EXCLUDE TIES', ' EXCLUDE NO OTHERS'])

    def by_order(self, s):
        """Functions of each row's place."""
        r = self.rng
        c = r.randint(0, 9)
        known = [k for _, k in s if k not in ('dom', 'vc')] or ['int4']
        key = r.choice(known)
        e = self.expr(s, key, 0)
        if c <= 2:
            return 'row_number()', 'int8'
        if c == 3:
            return 'ntile(%d)' % r.choice([1, 2, 3, 7]), 'int4'
        if c in (4, 5):
            more = r.choice(['', '', ', 2', ', 0', ', 1, %s' % literal(r, key, nulls=0)])
            return '%s(%s%s)' % (r.choice(['lag', 'lead']), e, more), key
        if c == 6:
            return '%s(%s)' % (r.choice(['first_value', 'last_value']), e), key
        if c == 7:
            return 'nth_value(%s, %d)' % (e, r.choice([1, 2, 3])), key
        if c == 8:
            return 'array_agg(%s)' % self.expr(s, 'int4', 0), 'inta'
        return "string_agg(%s, ',')" % self.expr(s, 'text', 0), 'text'

    def by_peers(self, s):
        r = self.rng
        c = r.randint(0, 12)
        if c <= 1:
            return r.choice(['rank()', 'dense_rank()']), 'int8'
        if c == 2:
            return r.choice(['percent_rank()', 'cume_dist()']), 'f8x'
        filtered = ' FILTER (WHERE %s)' % self.boolean(s) if self.chance(0.2) else ''
        if c in (3, 4):
            return r.choice(['count(*)', 'count(%s)' % self.pick(s)]) + filtered, 'int8'
        if c in (5, 6):
            key = r.choice(NUMBERS)
            return 'sum(%s)%s' % (self.expr(s, key, 1), filtered), {'int4': 'int8', 'int8': 'num', 'num2': 'num'}.get(key, key)
        if c == 7:
            key = r.choice(['int4', 'int8', 'num', 'num2'])
            return '%s(%s)%s' % (r.choice(['avg', 'avg', 'var_pop', 'stddev']), self.expr(s, key, 1), filtered), 'num'
        if c in (8, 9):
            key = r.choice([k for _, k in s if k in MINMAX] or ['int4'])
            return '%s(%s)%s' % (r.choice(['min', 'max']), self.expr(s, key, 1), filtered), RESULT_OF_MINMAX.get(key, key)
        if c == 10:
            return '%s(%s)%s' % (r.choice(['bool_and', 'bool_or']), self.boolean(s), filtered), 'bool'
        if c == 11:
            return 'bit_xor(%s)%s' % (self.expr(s, 'int4', 1), filtered), 'int4'
        return '%s(%s)%s' % (r.choice(['mix', 'mixinv']), self.expr(s, 'int4', 1), filtered), 'int8'
