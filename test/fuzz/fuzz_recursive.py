"""WITH RECURSIVE, over edges that are made from two numbers of a table's rows.

Numbers are taken modulo a few, so that there are paths and cycles.  UNION ends
by itself; UNION ALL has a bound for its depth, since it counts every path.
"""

from fuzz_query import usable


class Recursion:
    def recursion(self, depth):
        made = self.edges()
        if made is None:
            return self.select(depth)
        relation, edge = made
        name = 'r%d' % len(self.ctes)
        text, columns = self.rng.choice([self.closure, self.closure, self.parts, self.parts, self.searched, self.series])(name, relation, edge)
        local = self.chance(0.4)
        if local:
            # beside the block, where it could see what encloses it
            with_sql = 'WITH RECURSIVE %s ' % text
        else:
            self.recursive = True
            self.ctes.append((text, columns))
            with_sql = ''
        sql, columns = self.reader(name, columns)
        return with_sql + sql, columns

    def edges(self):
        """A table and how an edge is made from one of its rows: functions of an alias."""
        r = self.rng
        found = [x for x in self.relations if sum(k == 'int4' for _, k in x.columns) >= 2] or \
            [x for x in self.relations if any(k == 'int4' for _, k in x.columns)]
        if not found:
            return None
        relation = r.choice(found)
        names = [n for n, k in relation.columns if k == 'int4']
        a, b = r.choice(names), r.choice(names)
        m = r.choice([7, 12, 20])
        shift = '' if a != b else ' + %d' % r.randint(1, 3)
        return relation, (lambda q: '%s.%s %% %d' % (q, a, m), lambda q: '(%s.%s%s) %% %d' % (q, b, shift, m))

    def two(self, relation):
        """The table twice: for the start and for each step."""
        items = []
        for _ in range(2):
            sql, columns, a, _ = self.relation(relation, self.alias())
            items.append((sql, a, [('%s.%s' % (a, n), k) for n, k in columns]))
        return items

    def start(self, scope):
        return ' WHERE ' + self.boolean(scope) if self.chance(0.5) else ''

    def step(self, scope):
        return ' AND ' + self.boolean(scope, 0) if self.chance(0.3) else ''

    # ---- (text of the CTE, its columns)

    def closure(self, name, relation, edge):
        source, target = edge
        (sql0, a0, s0), (sql1, a1, s1) = self.two(relation)
        join = self.rng.choice(['JOIN', 'JOIN', 'LEFT JOIN']) if 'outer' in self.families else 'JOIN'
        text = ('%s AS (SELECT %s AS a, %s AS b FROM %s%s UNION SELECT %s.a, %s FROM %s %s %s ON %s = %s.b%s)' % (
            name, source(a0), target(a0), sql0, self.start(s0), name, target(a1), name, join, sql1, source(a1), name, self.step(s1)))
        return text, [('a', 'int4'), ('b', 'int4')]

    def parts(self, name, relation, edge):
        """A bill of materials: quantities multiply along each path, of which there are not too many."""
        source, target = edge
        (sql0, a0, s0), (sql1, a1, s1) = self.two(relation)
        union = self.rng.choice(['UNION ALL', 'UNION ALL', 'UNION'])
        text = ('%s AS (SELECT %s AS a, %s AS b, 1 AS d, 1 + abs(%s)::bigint AS n FROM %s%s %s '
                'SELECT %s.a, %s, %s.d + 1, %s.n * 2 + %s.d FROM %s JOIN %s ON %s = %s.b%s WHERE %s.d < %d)' % (
                    name, source(a0), target(a0), target(a0), sql0, self.start(s0), union,
                    name, target(a1), name, name, name, name, sql1, source(a1), name, self.step(s1), name,
                    self.rng.choice([2, 2, 3]) if union == 'UNION ALL' else 4))
        self.degree += relation.degree
        return text, [('a', 'int4'), ('b', 'int4'), ('d', 'int4'), ('n', 'int8')]

    def searched(self, name, relation, edge):
        source, target = edge
        (sql0, a0, s0), (sql1, a1, s1) = self.two(relation)
        c = self.rng.random()
        columns = [('a', 'int4'), ('b', 'int4'), ('d', 'int4')]
        clause = ''
        if c < 0.6:
            clause = ' SEARCH %s FIRST BY a, b SET place' % self.rng.choice(['DEPTH', 'BREADTH'])
            columns.append(('place', None))
        if c > 0.4:
            clause += ' CYCLE b SET again USING path'
            columns += [('again', 'bool'), ('path', None)]
        text = ('%s AS (SELECT %s AS a, %s AS b, 1 AS d FROM %s%s %s SELECT %s.a, %s, %s.d + 1 FROM %s JOIN %s ON %s = %s.b%s '
                'WHERE %s.d < %d)%s' % (
                    name, source(a0), target(a0), sql0, self.start(s0), self.rng.choice(['UNION ALL', 'UNION']),
                    name, target(a1), name, name, sql1, source(a1), name, self.step(s1), name, self.rng.choice([2, 2, 3]), clause))
        self.degree += relation.degree
        return text, columns

    def series(self, name, relation, edge):
        """Numbers up to one that a table says."""
        (sql0, a0, s0), (sql1, a1, s1) = self.two(relation)
        source, target = edge
        text = ('%s AS (SELECT coalesce(min(%s), 0) AS a FROM %s UNION ALL SELECT %s.a + %d FROM %s WHERE %s.a < (SELECT max(%s) FROM %s))' % (
            name, source(a0), sql0, name, self.rng.randint(1, 3), name, name, target(a1), sql1))
        return text, [('a', 'int4')]

    # ---- what is asked of it

    def reader(self, name, columns):
        r = self.rng
        a = self.alias()
        shown = [('%s.%s' % (a, n), k) for n, k in usable(columns)]
        c = r.random()
        if c < 0.3:
            hidden = ['%s.%s::text' % (a, n) for n, k in columns if k is None]
            return self.finish([(e, k) for e, k in shown] + [(e, 'text') for e in hidden], '', ' FROM %s AS %s' % (name, a), '')
        if c < 0.45 and len(shown) > 2:
            return self.finish([shown[0], shown[1], ('min(%s)' % shown[2][0], 'int4'), ('count(*)', 'int8')], '',
                               ' FROM %s AS %s' % (name, a), ' GROUP BY %s, %s' % (shown[0][0], shown[1][0]))
        if c < 0.75:
            item, other, b, _ = self.relation(r.choice(self.relations), self.alias())
            right = [('%s.%s' % (b, n), k) for n, k in other]
            join = r.choice(['JOIN', 'LEFT JOIN', 'RIGHT JOIN']) if 'outer' in self.families else 'JOIN'
            return self.project(shown + right, ' FROM %s AS %s %s %s ON %s' % (
                name, a, join, item, self.condition(shown, right) or 'false'))
        return self.project(shown, ' FROM %s AS %s' % (name, a))
