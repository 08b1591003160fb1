"""Random SELECTs in all of SQL, nested.

A Select takes everything from Query (fuzz_query.py) and adds families of
constructs, of which each query uses the few that it is given.  A family hooks
in where its constructs can stand:

	outer		LEFT, RIGHT, FULL joins in trees of any shape		fuzz_joins.py
	lateral		LATERAL blocks that group, limit, ..				fuzz_joins.py
	srf			functions in FROM and in the select list			fuzz_joins.py
	sublink		EXISTS, IN, ANY, ALL, scalar, ARRAY					fuzz_sublink.py
	window		window functions									fuzz_window.py
	limit		ORDER BY, LIMIT, OFFSET, FETCH FIRST .. WITH TIES	here
	distinct	DISTINCT ON											here
	setop		UNION, INTERSECT, EXCEPT							here
	grouping	GROUPING SETS, ROLLUP, CUBE							here
	ordered_set	ordered-set and hypothetical-set aggregates			here
	cte			WITH that is used several times						here
	recursive	WITH RECURSIVE										fuzz_recursive.py
	time		conditions with now()								fuzz_time.py
	newer		what versions after 15 know, SQL/JSON most of it	fuzz_newer.py

Where SQL leaves an answer open, the order is made total: by the primary keys
of all tables in FROM (assumes names these tables, since the load may take
their keys away) or by all columns that can be sorted.  Those that cannot (json,
xml, point) are left out of such blocks.  Loose queries have ties instead, and
then say that they have several answers.
"""

import re

from fuzz_joins import Joins
from fuzz_newer import Newer
from fuzz_query import EQ, MINMAX, RESULT_OF_MINMAX, Query, usable
from fuzz_recursive import Recursion
from fuzz_schema import TYPES, literal
from fuzz_sublink import Sublinks
from fuzz_time import Times
from fuzz_window import Windows

FAMILIES = ('outer', 'lateral', 'srf', 'sublink', 'window', 'limit', 'distinct', 'setop', 'grouping', 'ordered_set', 'cte',
            'recursive', 'time', 'newer')


def known(families, major):
    """Those of which this version has constructs."""
    return families if major > 15 else families - {'newer'}


def choose(rng, allowed):
    """Families of one query: mostly one or two, so that it is known which one an engine lacks."""
    count = rng.choice([1, 1, 1, 1, 2, 2, 3, len(allowed)])
    return frozenset(rng.sample(sorted(allowed), min(count, len(allowed))))


def sortable(scope):
    return [(e, k) for e, k in scope if k in EQ]


class Select(Newer, Times, Joins, Sublinks, Windows, Recursion, Query):
    def __init__(self, rng, relations, depth, loose, families, major):
        self.families = families
        self.major = major      # version of the server
        self.used = set()       # those of which there is a construct
        self.assumes = set()    # tables whose primary key makes an order total
        self.levels = []        # scopes of the enclosing queries, outermost first
        self.budget = 4         # sub-queries in expressions
        super().__init__(rng, relations, depth, loose)

    def on(self, family, p=1.0):
        """Is it one of this query, and is it its turn?"""
        return family in self.families and self.chance(p)

    # ---- blocks

    def block(self, depth, top=False):
        makers = {'window': self.windowed, 'limit': self.limited, 'distinct': self.distinct_on, 'setop': self.set_operation,
                  'grouping': self.grouping_sets, 'cte': self.shared, 'recursive': self.recursion, 'srf': self.set_list}
        possible = [f for f in makers if f in self.families]
        if possible and self.chance(0.8 if top else 0.3):
            family = self.rng.choice(possible)
            self.used.add(family)
            return makers[family](depth)
        return super().block(depth, top)

    def cte(self, depth):
        # it stands at the top, where nothing encloses it
        levels, self.levels = self.levels, []
        try:
            return super().cte(depth)
        finally:
            self.levels = levels

    def source(self, depth, n=None):
        """FROM and WHERE of a block: (SQL, scope)."""
        sql, scope, where = self.from_clause(depth, n)
        if self.chance(0.4):
            where.append(self.boolean(scope, 2))
        return ' FROM %s%s' % (sql, ' WHERE ' + ' AND '.join(where) if where else ''), scope

    def grouped_source(self, depth):
        """FROM, WHERE and GROUP BY, and what can be said above them."""
        tail, scope = self.source(depth)
        columns = sortable(scope)
        keys = self.rng.sample(columns, min(len(columns), self.rng.choice([1, 1, 2, 3])))
        above = sortable(keys + [self.aggregate(scope) for _ in range(self.rng.randint(1, 3))])
        if keys:
            tail += ' GROUP BY ' + ', '.join(e for e, _ in keys)
        return tail, above

    def grouped(self, scope, tail):
        """HAVING and the select list of Query know nothing of keys and aggregates beside sub-queries."""
        columns = sortable(scope)
        if not columns or not self.on('sublink', 0.5):
            return super().grouped(scope, tail)
        keys = self.rng.sample(columns, min(len(columns), self.rng.choice([1, 1, 2])))
        above = keys + [self.aggregate(scope) for _ in range(self.rng.randint(1, 3))]
        seen = usable_scope(above)
        outputs = list(above)
        having = ' HAVING ' + self.boolean(seen, 1) if self.chance(0.5) else ''
        for _ in range(self.rng.choice([0, 1, 1])):
            key = self.rng.choice([k for _, k in seen])
            outputs.append((self.expr(seen, key, 1), key))
        return self.finish(outputs, '', tail, ' GROUP BY %s%s' % (', '.join(e for e, _ in keys), having))

    # ---- order

    def direction(self):
        return self.rng.choice(['', '', '', ' DESC', ' DESC NULLS LAST', ' NULLS FIRST'])

    def total(self, scope):
        """ORDER BY expressions over which rows of the scope are either in order or equal."""
        r = self.rng
        columns = [e for e, _ in sortable(scope)]
        if self.loose and columns and self.chance(0.5):
            return self.left_open([r.choice(columns) + self.direction()])
        first = r.sample(columns, min(len(columns), r.randint(0, 2)))
        rest = list(columns)
        if self.chance(0.5):
            for a in sorted({e.split('.')[0] for e in columns if re.fullmatch(r'q\d+\.\w+', e)}):
                relation = self.keyed.get(a)
                key = ['%s.%s' % (a, c) for c in relation.pk] if relation and not relation.inherits else ['-']
                if all(c in columns for c in key):
                    rest = [e for e in rest if not e.startswith(a + '.')] + key
                    self.assumes.add(relation.name)
        r.shuffle(rest)
        return [e + self.direction() for e in first + [e for e in rest if e not in first]]

    def limit(self):
        r = self.rng
        n, m = r.choice([0, 1, 1, 2, 3, 5, 10, 30, 80]), r.choice([1, 2, 3, 10, 40])
        count = '(SELECT count(*) / 2 FROM %s)' % r.choice(self.relations).name if self.on('sublink', 0.1) else n
        return r.choice([' LIMIT %s' % count, ' LIMIT %s' % count, ' LIMIT %s OFFSET %d' % (count, m), ' OFFSET %d' % m,
                         ' FETCH FIRST %d ROWS ONLY' % n, ' OFFSET %d ROWS FETCH NEXT %d ROWS ONLY' % (m, n), ' FETCH FIRST ROW ONLY',
                         ' LIMIT NULL'])

    def limited(self, depth):
        """Some rows of a block by the order of its columns."""
        r = self.rng
        inner = [self.select, self.select, self.union, self.by_input]
        inner += [f for family, f in (('window', self.windowed), ('setop', self.set_operation), ('distinct', self.distinct_on))
                  if family in self.families]
        make = r.choice(inner)
        if make == self.by_input:
            return self.by_input(depth)
        sql, columns = make(depth)
        names = [n for n, k in columns if k in EQ]
        if not names:
            return sql, columns
        if len(names) < len(columns) or make in (self.distinct_on, self.set_operation, self.windowed):
            # ORDER BY must reach all columns, and may be there already
            sql = 'SELECT %s FROM (%s) AS %s' % (', '.join(names), sql, self.alias())
            columns = [(n, k) for n, k in columns if k in EQ]
        r.shuffle(names)
        if self.chance(0.15):
            # all of those that are equal to the last one
            some = names[:r.randint(1, len(names))]
            return '%s ORDER BY %s FETCH FIRST %d ROWS WITH TIES' % (
                sql, ', '.join(n + self.direction() for n in some), r.choice([1, 1, 2, 5])), columns
        if self.loose and self.chance(0.5):
            names = names[:1]
            self.several = True
        tail = '' if self.chance(0.06) else self.limit()
        return '%s ORDER BY %s%s' % (sql, ', '.join(n + self.direction() for n in names), tail), columns

    def by_input(self, depth):
        """Ordered by columns that need not be shown."""
        tail, scope = self.source(depth) if self.chance(0.7) else self.grouped_source(depth)
        scope = sortable(scope)
        if not scope:
            return self.select(depth)
        keys = [self.rng.choice([k for _, k in scope]) for _ in range(self.rng.randint(1, 4))]
        outputs = [(self.above(scope, k), k) for k in keys]
        return self.finish(outputs, '', tail, ' ORDER BY %s%s' % (', '.join(self.total(scope)), self.limit()))

    def above(self, scope, key):
        """An expression over a scope that may be one of groups."""
        return self.expr(scope, key, self.rng.choice([0, 0, 1]))

    def distinct_on(self, depth):
        r = self.rng
        tail, scope = self.source(depth) if self.chance(0.8) else self.grouped_source(depth)
        scope = sortable(scope)
        if not scope:
            return self.select(depth)
        on = [e for e, _ in r.sample(scope, min(len(scope), r.choice([1, 1, 1, 2])))]
        order = [e + self.direction() for e in on]
        order += [e for e in self.total(scope) if e.split(' ')[0] not in on and re.sub(r' (DESC|NULLS).*', '', e) not in on]
        keys = [r.choice([k for _, k in scope]) for _ in range(r.randint(1, 4))]
        outputs = [(self.above(scope, k), k) for k in keys]
        if self.chance(0.6):
            outputs.append((on[0], dict(scope)[on[0]]))
        limit = self.limit() if self.on('limit', 0.3) else ''
        return self.finish(outputs, 'DISTINCT ON (%s) ' % ', '.join(on), tail, ' ORDER BY %s%s' % (', '.join(order), limit))

    # ---- set operations

    def set_operation(self, depth):
        r = self.rng
        want = [r.choice(['int4', 'int4', 'int4', 'text', 'num', 'bool', 'date', 'enum', 'inta', 'f8', 'ci'])
                for _ in range(r.choice([1, 1, 2, 3]))]
        names = ['u%d' % i for i in range(len(want))]
        return self.operands(depth, want, names, r.choice([2, 2, 3, 4])), list(zip(names, want))

    def operands(self, depth, want, names, n):
        r = self.rng
        if n == 1:
            sql, _ = self.alike(want, names) if self.chance(0.6) else self.select(max(depth - 1, 0), want=want, names=names)
            if self.on('limit', 0.3):
                sql += ' ORDER BY %s%s' % (', '.join(names), self.limit())
            return sql
        left = r.randint(1, n - 1)
        op = r.choice(['UNION', 'UNION ALL', 'INTERSECT', 'INTERSECT ALL', 'EXCEPT', 'EXCEPT', 'EXCEPT ALL', 'EXCEPT ALL'])
        return '(%s) %s (%s)' % (self.operands(depth, want, names, left), op, self.operands(depth, want, names, n - left))

    def alike(self, want, names):
        """Columns of one table, so that the operands have rows in common."""
        sql, scope, where = self.from_clause(0, 1)
        if self.chance(0.5):
            where.append(self.boolean(scope, 1))
        outputs = []
        for key in want:
            shared = [e for e, k in scope if k == key and e.split('.')[-1] in ('k', 'id')]
            e = self.rng.choice(shared) if shared and self.chance(0.7) else self.expr(scope, key, 0)
            outputs.append(e if key == 'enum' else '%s::%s' % (e, TYPES[key][0]))
        return 'SELECT %s FROM %s%s' % (', '.join('%s AS %s' % p for p in zip(outputs, names)), sql,
                                        ' WHERE ' + ' AND '.join(where) if where else ''), None

    # ---- groups

    def grouping_sets(self, depth):
        r = self.rng
        tail, scope = self.source(depth)
        columns = sortable(scope)
        if not columns:
            return self.select(depth)
        keys = r.sample(columns, min(len(columns), r.choice([1, 2, 2, 3])))
        e = [x for x, _ in keys]

        def some():
            return '(%s)' % ', '.join(r.sample(e, r.randint(0, len(e))))

        every = ', '.join(e)
        c = r.random()
        if c < 0.3:
            by = 'ROLLUP (%s)' % every
        elif c < 0.5:
            by = 'CUBE (%s)' % every
        elif c < 0.6:
            by = '%s, %s' % (e[0], r.choice(['ROLLUP (%s)', 'CUBE (%s)']) % ', '.join(e[1:] or e))
        elif c < 0.7:
            by = 'DISTINCT ROLLUP (%s), CUBE (%s)' % (every, r.choice(e))
        else:
            sets = ['(%s)' % every] + [r.choice([some(), some(), '()', 'ROLLUP (%s)' % every]) for _ in range(r.randint(1, 3))]
            by = 'GROUPING SETS (%s)' % ', '.join(sets)
        above = list(keys) + [('GROUPING(%s)' % ', '.join(r.sample(e, r.randint(1, len(e)))), 'int4')] * self.chance(0.6)
        above += [self.aggregate(scope) for _ in range(r.randint(0, 3))]
        having = ''
        if self.chance(0.3):
            having = ' HAVING ' + r.choice(['count(*) > 1', 'GROUPING(%s) = 0' % e[0], self.boolean(usable_scope(above), 1)])
        return self.finish(above, 'DISTINCT ' if self.chance(0.05) and sortable(above) == above else '', tail,
                           ' GROUP BY %s%s' % (by, having))

    def aggregate(self, scope):
        if not self.on('ordered_set', 0.5):
            return super().aggregate(scope)
        r = self.rng
        self.used.add('ordered_set')
        order = self.direction()
        c = r.randint(0, 6)
        if c == 0:
            made = 'percentile_disc(ARRAY[0, 0.3, 0.5, 1]) WITHIN GROUP (ORDER BY %s%s)' % (self.expr(scope, 'int4', 1), order), 'inta'
        elif c == 1:
            made = 'percentile_cont(%s) WITHIN GROUP (ORDER BY %s%s)' % (r.choice(['0', '0.5', '0.9']), self.expr(scope, 'f8', 1), order), \
                'f8x'
        elif c == 2:
            made = 'percentile_cont(ARRAY[0.1, 0.5]) WITHIN GROUP (ORDER BY %s)' % self.expr(scope, 'ivl', 0), None
        elif c in (3, 4):
            key = r.choice([k for _, k in scope if k in MINMAX and k not in ('num', 'num2')] or ['int4'])
            made = '%s WITHIN GROUP (ORDER BY %s%s)' % (r.choice(['percentile_disc(0.7)', 'mode()']), self.expr(scope, key, 1), order), \
                RESULT_OF_MINMAX.get(key, key)
        else:
            f, result = r.choice([('rank', 'int8'), ('dense_rank', 'int8'), ('percent_rank', 'f8x'), ('cume_dist', 'f8x')])
            keys = [r.choice(['int4', 'int4', 'text', 'num', 'date']) for _ in range(r.choice([1, 1, 2]))]
            made = '%s(%s) WITHIN GROUP (ORDER BY %s)' % (
                f, ', '.join(literal(r, k) for k in keys), ', '.join(self.expr(scope, k, 1) + self.direction() for k in keys)), result
        sql, key = made
        return sql + (' FILTER (WHERE %s)' % self.boolean(scope) if self.chance(0.2) else ''), key

    # ---- WITH

    def shared(self, depth):
        """A CTE that is read several times."""
        name, columns = self.cte(max(depth - 1, 0))
        shown = usable(columns)
        a, b = self.alias(), self.alias()
        left, right = [[('%s.%s' % (x, c), k) for c, k in shown] for x in (a, b)]
        kind = self.rng.choice(['JOIN', 'JOIN', 'LEFT JOIN', 'FULL JOIN'] if 'outer' in self.families else ['JOIN'])
        scope = left + right
        c = self.rng.random()
        if c < 0.6 or not sortable(left):
            tail = ' FROM %s AS %s %s %s AS %s ON %s' % (name, a, kind, name, b, self.condition(left, right) or 'true')
        else:
            key = self.rng.choice(sortable(left))[0]
            other = key.replace(a + '.', b + '.')
            scope = left
            tail = ' FROM %s AS %s JOIN (SELECT %s AS g, count(*) AS n FROM %s AS %s GROUP BY %s) AS %s ON %s.g = %s' % (
                name, a, other, name, b, other, 'g' + b, 'g' + b, key)
            scope = scope + [('g%s.n' % b, 'int8')]
        return self.project(scope, tail)


def usable_scope(scope):
    return [(e, k) for e, k in scope if k in TYPES] or [('1', 'int4')]
