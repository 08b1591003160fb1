"""Sub-queries in expressions: as conditions, as values, as arrays.

They stand wherever Query puts a condition or a value: WHERE, ON, HAVING, the
select list, CASE, arguments of aggregates, FILTER.  While one is made, levels
has the scopes of the queries around it, and it compares with any of these.

A scalar sub-query returns one row: an aggregate, the first one by a total
order, the one of a primary key.  A few do not take care, and fail at times.
"""

import contextlib

from fuzz_query import EQ, MINMAX
from fuzz_schema import TYPES, literal


class Sublinks:
    @contextlib.contextmanager
    def level(self, scope):
        self.levels.append(scope)
        try:
            yield
        finally:
            self.levels.pop()

    def boolean(self, s, d=1):
        if self.budget > 0 and self.on('sublink', 0.3):
            return self.by_query(s)
        return super().boolean(s, d)

    def by_query(self, s):
        self.budget -= 1
        self.used.add('sublink')
        with self.level(s), self.nothing_multiplied():
            return self.condition_by_query(s)

    @contextlib.contextmanager
    def nothing_multiplied(self):
        """The tables of a sub-query in an expression do not add rows to the result."""
        degree = self.degree
        yield
        self.degree = degree

    def expr(self, scope, key, depth=2):
        if depth > 0 and self.budget > 0 and self.on('sublink', 0.15):
            self.budget -= 1
            self.used.add('sublink')
            with self.level(scope), self.nothing_multiplied():
                return self.scalar(scope, key)
        return super().expr(scope, key, depth)

    # ---- the sub-query itself

    def inner(self):
        """FROM and WHERE of a sub-query that looks at those around it: (SQL, scope)."""
        r = self.rng
        sql, scope, where = self.from_clause(0, r.choice([1, 1, 1, 2]))
        for _ in range(r.choice([0, 1, 1, 1, 1, 2])):
            outer = self.levels[-1] if self.chance(0.75) else r.choice(self.levels)
            made = self.condition(outer, scope) if self.chance(0.85) else self.boolean(outer + scope)
            if made:
                where.append(made)
        if self.chance(0.3):
            where.append(self.boolean(scope))
        return ' FROM %s%s' % (sql, ' WHERE ' + ' AND '.join(where) if where else ''), scope

    def column_of(self, key):
        """A query of one column."""
        r = self.rng
        if self.chance(0.06):
            return 'VALUES %s' % ', '.join('(%s)' % literal(r, key) for _ in range(3))
        tail, scope = self.inner()
        same = [e for e, k in scope if k == key]
        e = r.choice(same) if same and self.chance(0.8) else self.expr(scope, key, 1)
        c = r.random()
        if c < 0.1 and same:
            return 'SELECT %s%s GROUP BY %s%s' % (same[0], tail, same[0], r.choice(['', ' HAVING count(*) > 1']))
        if c < 0.15 and key in MINMAX and key not in ('dom', 'vc', 'num2'):
            return 'SELECT %s(%s)%s' % (r.choice(['min', 'max']), e, tail)
        if c < 0.2:
            return 'SELECT DISTINCT %s%s' % (e, tail)
        if c < 0.27 and key in EQ:
            return 'SELECT %s AS o%s ORDER BY o%s LIMIT %d' % (e, tail, self.direction(), r.choice([1, 2, 5]))
        if c < 0.35:
            other, s = self.inner()
            return '(SELECT %s%s) %s (SELECT %s%s)' % (e, tail, r.choice(['UNION ALL', 'UNION', 'EXCEPT', 'INTERSECT'])
                                                      if 'setop' in self.families else 'UNION ALL', self.expr(s, key, 0), other)
        return 'SELECT %s%s' % (e, tail)

    # ---- conditions

    def condition_by_query(self, s):
        r = self.rng
        known = [(e, k) for e, k in s if k in EQ] or [('1', 'int4')]
        near = [x for x in known if x[1] == 'int4']
        e, key = r.choice(near if near and self.chance(0.7) else known)
        c = r.random()
        if c < 0.35:
            tail, scope = self.inner()
            what = r.choice(['1', '*', '', self.pick(scope) or '1'])
            group = ' GROUP BY %s HAVING count(*) > 1' % self.pick(scope, keys=EQ) if self.chance(0.1) and self.pick(scope, keys=EQ) else ''
            what = '1' if group else what
            limit = r.choice([' LIMIT 1', ' OFFSET 1', ' LIMIT 3 OFFSET 1']) if self.chance(0.06) else ''
            return '%sEXISTS (SELECT %s%s%s%s)' % (r.choice(['', '', 'NOT ']), what, tail, group, limit)
        if c < 0.37 and key == 'int4':
            return '(CASE WHEN %s <> 0 THEN 420 / %s %sIN (%s) END)' % (e, e, r.choice(['', '', 'NOT ']), self.column_of(key))
        if c < 0.92:
            e, key = self.left_side(e, key)
        if c < 0.6:
            return '(%s %sIN (%s))' % (e, r.choice(['', '', 'NOT ']), self.column_of(key))
        if c < 0.72:
            return '(%s %s %s (%s))' % (e, r.choice(['=', '<>', '<', '>=', '>']) if key in MINMAX else r.choice(['=', '<>']),
                                        r.choice(['ANY', 'ALL']), self.column_of(key))
        if c < 0.84:
            other, k2 = r.choice(known)
            tail, scope = self.inner()
            return '((%s, %s) %s (SELECT %s, %s%s))' % (
                e, other, r.choice(['IN', 'IN', 'NOT IN', '= ANY', '<> ALL', '< ANY', '>= ALL']),
                self.expr(scope, key, 0), self.expr(scope, k2, 0), tail)
        if c < 0.88:
            other, k2 = r.choice(known)
            tail, scope = self.inner()
            if self.sorted_by(scope):
                return '((%s, %s) %s (SELECT %s, %s%s ORDER BY %s LIMIT 1))' % (
                    e, other, r.choice(['=', '<>', '<', '>=']), self.expr(scope, key, 0), self.expr(scope, k2, 0), tail,
                    ', '.join(self.total(scope)))
        if c < 0.92:
            return '(%s = ANY (ARRAY(%s)))' % (e, self.column_of(key))
        if c < 0.95:
            tail, _ = self.inner()
            return '((SELECT count(*)%s) %s %d)' % (tail, r.choice(['>', '=', '<']), r.randint(0, 4))
        key = key if key in MINMAX else 'int4'
        return '(%s %s %s)' % (self.expr(s, key, 0), r.choice(['<', '>', '=', '<>', 'IS DISTINCT FROM']), self.scalar(s, key))

    def left_side(self, e, key):
        """What is compared with a sub-query may be made of a comparison with another one."""
        if self.budget <= 0 or not self.chance(0.1):
            return e, key
        self.budget -= 1
        inside = '(%s %sIN (%s))' % (e, self.rng.choice(['', 'NOT ']), self.column_of(key))
        return (inside, 'bool') if self.chance(0.5) else ('(CASE WHEN %s THEN 1 ELSE 2 END)' % inside, 'int4')

    def sorted_by(self, scope):
        return any(k in EQ for _, k in scope)

    # ---- values

    def scalar(self, s, key):
        r = self.rng
        c = r.random()
        sql = TYPES[key][0]
        if key == 'bool' and c < 0.6:
            return self.condition_by_query(s)
        if key == 'inta' and c < 0.6:
            tail, scope = self.inner()
            e = self.expr(scope, 'int4', 0)
            return 'ARRAY(SELECT %s%s%s ORDER BY 1%s)' % (r.choice(['', 'DISTINCT ']), e + ' AS o', tail, self.direction())
        if c < 0.1:
            made = self.by_key(s, key)
            if made:
                return made
        if c < 0.13 and key in EQ:
            # fails when there are several
            relation = r.choice(self.relations)
            item, columns, a, _ = self.relation(relation, self.alias())
            columns = [('%s.%s' % (a, n), k) for n, k in columns]
            key_column = self.pick(columns, 'int4')
            if key_column and self.pick(columns, key):
                return '(SELECT %s FROM %s WHERE %s = %s %% 5 + %d LIMIT 2)' % (
                    self.pick(columns, key), item, key_column, self.expr(s, 'int4', 0), r.randint(30, 200))
        tail, scope = self.inner()
        if key == 'int8' and c < 0.7:
            return '(SELECT %s%s)' % (r.choice(['count(*)', 'count(%s)' % (self.pick(scope) or '1'), 'sum(%s)' % self.expr(scope, 'int4', 0)]), tail)
        if key == 'num' and c < 0.7:
            return '(SELECT %s(%s)%s)' % (r.choice(['sum', 'avg', 'max']), self.expr(scope, r.choice(['num', 'num2', 'int8']), 0), tail)
        if key == 'text' and c < 0.3:
            e = self.expr(scope, 'text', 0)
            return "(SELECT string_agg(%s, '/' ORDER BY %s)%s)" % (e, e, tail)
        if key in MINMAX and c < 0.65:
            return '(SELECT %s(%s)::%s%s)' % (r.choice(['min', 'max']), self.expr(scope, key, 0), sql, tail) if key != 'ci' else \
                literal(r, key)
        if not self.sorted_by(scope):
            return super().expr(s, key, 0)
        return '(SELECT %s%s ORDER BY %s LIMIT 1%s)' % (self.expr(scope, key, 0), tail, ', '.join(self.total(scope)),
                                                      r.choice(['', '', ' OFFSET 1']))

    def by_key(self, s, key):
        """By the primary key, of which there is one row."""
        found = [x for x in self.relations if x.pk and not x.inherits and any(k == key for _, k in x.columns)]
        if not found:
            return None
        relation = self.rng.choice(found)
        item, columns, a, _ = self.relation(relation, self.alias())
        if item.startswith('ONLY'):
            return None
        self.assumes.add(relation.name)
        where = ' AND '.join('%s.%s = %s' % (a, c, self.expr(s, 'int4', 0)) for c in relation.pk)
        return '(SELECT %s FROM %s WHERE %s)' % (self.rng.choice(['%s.%s' % (a, n) for n, k in columns if k == key]), item, where)
