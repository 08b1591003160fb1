"""Join trees of any shape, LATERAL blocks, functions in FROM and in the select list.

In a tree each side of a join is a tree itself, in parentheses where it is one
of several.  What LATERAL can look at comes from the left of LEFT, inner and
cross joins only.  A tree keeps count of its columns by their names, for USING
and NATURAL: a name can be joined by if each side has it once.
"""

import collections

from fuzz_query import EQ, usable
from fuzz_schema import literal


class Tree:
    def __init__(self, sql, scope, names, lateral=False):
        self.sql = sql
        self.scope = scope
        self.names = names      # (name, type key) of columns as they can be said without an alias
        self.lateral = lateral

    def once(self):
        count = collections.Counter(n for n, _ in self.names)
        return {(n, k) for n, k in self.names if count[n] == 1}


class Joins:
    # ---- trees

    def from_clause(self, depth, n=None):
        if not self.on('outer', 0.85) and not self.on('lateral', 0.8):
            sql, scope, where = super().from_clause(depth, n or self.rng.choice([1, 1, 1, 2, 2, 2, 3, 4]))
            return sql, scope, where + self.queries(scope)
        t = self.tree(depth, n or self.rng.choice([1, 2, 2, 2, 2, 3, 3, 3, 4, 5][0 if self.levels else 1:]), [])
        where = []
        if 'outer' in self.families and t.scope:
            if self.chance(0.2):
                where.append('%s IS NULL' % self.pick(t.scope))
            elif self.chance(0.15):
                where.append('coalesce(%s, 7) <> %d' % (self.expr(t.scope, 'int4', 0), self.rng.randint(0, 9)))
            elif self.chance(0.1):
                where.append('(%s IS NULL OR %s)' % (self.pick(t.scope), self.boolean(t.scope)))
        scope = t.scope
        if ('k', 'int4') in t.once():
            scope = scope + [('k', 'int4')]
        return t.sql, scope, where + self.queries(t.scope)

    def queries(self, scope):
        """More conditions by sub-queries than WHERE would have by chance."""
        if self.budget <= 0 or not scope or not self.on('sublink', 0.15 if self.levels else 0.5):
            return []
        made = self.by_query(scope)
        return [made if self.chance(0.75) else '(%s OR %s)' % (made, self.boolean(scope, 0))]

    def tree(self, depth, n, left):
        r = self.rng
        if n == 1:
            sql, columns, a, lateral = self.from_item(depth, left)
            return Tree(sql, [('%s.%s' % (a, c), k) for c, k in columns], list(columns), lateral)
        first = n - 1 if self.chance(0.6) else r.randint(1, n - 1)
        kinds = ['JOIN', 'CROSS JOIN'] + (['LEFT JOIN'] * 4 + ['RIGHT JOIN', 'FULL JOIN', 'FULL JOIN'] if 'outer' in self.families
                                          else ['JOIN', 'LEFT JOIN'] if 'lateral' in self.families else [])
        kind = r.choice(kinds)
        a = self.tree(depth, first, left)
        # a CROSS JOIN of two tables is seldom small
        b = self.tree(depth, n - first, left + a.scope if kind not in ('RIGHT JOIN', 'FULL JOIN') else [])
        if kind == 'CROSS JOIN' and not b.lateral:
            kind = 'JOIN'
        if kind in ('LEFT JOIN', 'RIGHT JOIN', 'FULL JOIN'):
            self.used.add('outer')
        right = '(%s)' % b.sql if n - first > 1 else b.sql
        scope = a.scope + b.scope
        if kind == 'CROSS JOIN':
            return Tree('%s CROSS JOIN %s' % (a.sql, right), scope, a.names + b.names)
        merged = self.merge(a, b)
        if merged:
            how, columns = merged
            names = columns + [x for x in a.names + b.names if x not in columns]
            if how == 'NATURAL':
                return Tree('%s NATURAL %s %s' % (a.sql, kind, right), scope, names)
            using = 'USING (%s)' % ', '.join(c for c, _ in columns)
            if self.chance(0.2):
                j = self.alias()
                using += ' AS ' + j
                scope = scope + [('%s.%s' % (j, c), k) for c, k in columns]
            return Tree('%s %s %s %s' % (a.sql, kind, right, using), scope, names)
        return Tree('%s %s %s ON %s' % (a.sql, kind, right, self.on_condition(kind, a, b)), scope, a.names + b.names)

    def merge(self, a, b):
        """NATURAL or USING, with the columns that it merges."""
        common = sorted(c for c in a.once() & b.once() if c[1] in EQ)
        if not common or not self.chance(0.25):
            return None
        both = {n for n, _ in a.names} & {n for n, _ in b.names}
        if both == {n for n, _ in common} and self.chance(0.4):
            return 'NATURAL', common
        return 'USING', [('k', 'int4')] if ('k', 'int4') in common and self.chance(0.7) else self.rng.sample(common, 1)

    def on_condition(self, kind, a, b):
        r = self.rng
        c = r.random()
        both = a.scope + b.scope
        if kind == 'FULL JOIN':
            # only where it can be hashed or merged
            pairs = [(x, y) for x, kx in a.scope for y, ky in b.scope if kx == ky and kx in EQ]
            shared = [(x, y) for x, y in pairs if x.split('.')[-1] == y.split('.')[-1] in ('k', 'id')]
            if not pairs or c < 0.06:
                return r.choice(['true', 'false'])
            equal = '%s = %s' % r.choice(shared if shared and c < 0.7 else pairs)
            return '%s AND %s' % (equal, self.boolean(r.choice([both, a.scope, b.scope]))) if self.chance(0.25) else equal
        if b.lateral and c < 0.6:
            return 'true'
        if c < 0.06:
            return r.choice(['true', 'false', 'NULL', '1 = 1'])
        if c < 0.14 or ('sublink' in self.families and c < 0.25):
            return self.boolean(r.choice([a.scope, b.scope, both]) or both)
        made = self.condition(a.scope, b.scope)
        if made is None:
            return self.boolean(both) if both else 'true'
        if c < 0.3:
            return '%s AND %s' % (made, self.boolean(r.choice([a.scope, b.scope, both]) or both))
        if c < 0.36:
            return '(%s OR %s)' % (made, self.boolean(both, 0))
        if c < 0.42:
            return '%s AND %s' % (made, self.condition(a.scope, b.scope) or 'true')
        return made

    # ---- LATERAL blocks

    def from_item(self, depth, scope):
        if scope and self.on('lateral', 0.3 if self.levels else 0.55):
            return self.lateral_block(self.alias(), scope)
        if self.on('srf', 0.3):
            return self.function(self.alias(), scope)
        if self.levels and self.chance(0.6):
            return self.relation(self.rng.choice(self.relations), self.alias())
        return super().from_item(depth, scope)

    def lateral_block(self, a, scope):
        r = self.rng
        self.used.add('lateral')
        with self.level(scope):
            tail, s = self.inner()
            s = [(e, k) for e, k in s if k in EQ]
            c = r.random()
            if not s or c < 0.3:
                outputs = [self.aggregate(s) for _ in range(r.randint(1, 2))]
                key = self.pick(s)
                if key and self.chance(0.4):
                    outputs.append((key, dict(s)[key]))
                    tail += ' GROUP BY ' + key
                having = ' HAVING count(*) > %d' % r.randint(0, 2) if self.chance(0.3) else ''
                sql, columns = self.finish(outputs, '', tail, having)
            else:
                keys = [r.choice([k for _, k in s]) for _ in range(r.randint(1, 3))]
                outputs = [(self.expr(s, k, r.choice([0, 0, 1])), k) for k in keys]
                if c < 0.6:
                    sql, columns = self.finish(outputs, '', tail, ' ORDER BY %s LIMIT %d%s' % (
                        ', '.join(self.total(s)), r.choice([1, 1, 2, 3]), r.choice(['', '', ' OFFSET 1'])))
                elif c < 0.7:
                    sql, columns = self.finish(outputs, 'DISTINCT ', tail, '')
                elif c < 0.8 and 'distinct' in self.families:
                    on = self.pick(s)
                    order = [on] + [e for e in self.total(s) if e.split(' ')[0] != on]
                    sql, columns = self.finish(outputs, 'DISTINCT ON (%s) ' % on, tail, ' ORDER BY ' + ', '.join(order))
                elif c < 0.9 and 'window' in self.families:
                    sql, columns = self.finish(outputs + [('row_number() OVER (ORDER BY %s)' % ', '.join(self.total(s)), 'int8'),
                                                          ('count(*) OVER ()', 'int8')], '', tail, '')
                else:
                    sql, columns = self.finish(outputs, '', tail, '')
        return 'LATERAL (%s) AS %s' % (sql, a), usable(columns), a, True

    # ---- functions

    def function(self, a, scope):
        r = self.rng
        self.used.add('srf')
        arr = self.pick(scope, 'inta') or "'{3, 1, NULL, 1}'::integer[]"
        n = 'abs(%s %% 4)' % self.pick(scope, 'int4') if self.pick(scope, 'int4') else '3'
        text = self.pick(scope, 'text') or "'a b c'"
        made = [
            ('ROWS FROM (generate_series(1, %s), unnest(%s)) WITH ORDINALITY AS %s(f1, f2, f3)' % (n, arr, a),
             [('f1', 'int4'), ('f2', 'int4'), ('f3', 'int8')]),
            ('ROWS FROM (unnest(%s), f_srf(%s)) AS %s(f1, f2)' % (arr, n, a), [('f1', 'int4'), ('f2', 'int4')]),
            ('unnest(%s, ARRAY[1, 2]) WITH ORDINALITY AS %s(f1, f2, f3)' % (arr, a), [('f1', 'int4'), ('f2', 'int4'), ('f3', 'int8')]),
            ("json_to_recordset('[{\"k\": 1, \"t\": \"x\"}, {\"k\": %d}, {\"t\": \"y\"}]') AS %s(k integer, t text)" % (r.randint(0, 30), a),
             [('k', 'int4'), ('t', 'text')]),
            ("string_to_table(left(%s, 9), ' ') AS %s(f1)" % (text, a), [('f1', 'text')]),
            ("regexp_split_to_table(left(%s, 9), 'b') WITH ORDINALITY AS %s(f1, f2)" % (text, a), [('f1', 'text'), ('f2', 'int8')]),
            ("generate_series('2024-01-01'::timestamp, '2024-01-04', '1 day') AS %s(f1)" % a, [('f1', 'ts')]),
            ('generate_series(%s, 12, 3) AS %s(k)' % (n, a), [('k', 'int4')]),
        ]
        jsonb = self.pick(scope, 'jsonb')
        if jsonb:
            made += [("jsonb_array_elements_text(CASE WHEN jsonb_typeof(%s) = 'array' THEN %s END) AS %s(f1)" % (jsonb, jsonb, a),
                      [('f1', 'text')]),
                     ("jsonb_to_record(CASE WHEN jsonb_typeof(%s) = 'object' THEN %s END) AS %s(a integer, b text)" % (jsonb, jsonb, a),
                      [('a', 'int4'), ('b', 'text')])]
        sql, columns = r.choice(made)
        return sql, columns, a, bool(scope)

    def set_list(self, depth):
        """Functions that return sets in the select list, also of groups."""
        r = self.rng
        tail, scope = self.source(depth) if self.chance(0.8) else self.grouped_source(depth)
        scope = usable(scope) or [('1', 'int4')]
        keys = [r.choice([k for _, k in scope]) for _ in range(r.randint(1, 3))]
        outputs = [(self.expr(scope, k, r.choice([0, 1])), k) for k in keys]
        sets = [('generate_series(1, abs(%s %% 3))' % self.expr(scope, 'int4', 0), 'int4'), ('unnest(%s)' % self.expr(scope, 'inta', 0), 'int4'),
                ('f_srf(%s %% 5) + 1' % self.expr(scope, 'int4', 0), 'int4'),
                ("string_to_table(left(%s, 9), 'b')" % self.expr(scope, 'text', 0), 'text'),
                ('generate_series(1, generate_series(1, 2))', 'int4')]
        outputs += r.sample(sets, r.choice([1, 1, 2]))
        distinct = 'DISTINCT ' if self.chance(0.15) and all(k in EQ for _, k in outputs) else ''
        return self.finish(outputs, distinct, tail, '')
