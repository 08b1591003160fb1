"""Random SELECTs within the language that pg_derive maintains.

Most queries have exactly one right answer, whatever the plan: aggregates that
depend on the order of their input get a complete ORDER BY, floats stay exact
(fuzz_schema.py), and results that do not (an average of floats) are typed
'f8x' and are only looked at by order-independent operations.

A "loose" query may have several: an order with ties, the spelling of a numeric
that was grouped, columns that depend on a primary key which children repeat.
It says so (several), since only derive.verify() knows which one is expected.

A scope is a list of (SQL expression, type key).
"""

import re

from fuzz_schema import TYPES, literal

EQ = [t for t in TYPES if TYPES[t][1]]
MINMAX = [t for t in TYPES if TYPES[t][2]]
NUMBERS = ['int4', 'int8', 'num', 'num2', 'f8']
MAY_DIVIDE = '420 /'    # by zero
RESULT_OF_MINMAX = {'vc': 'text', 'dom': 'int4', 'num2': 'num'}


class Relation:
    """Something that can stand in FROM by its name."""

    def __init__(self, name, columns, kind='table', degree=1, pk=None, inherits=False):
        self.name = name
        self.columns = columns          # list of (name, type key)
        self.kind = kind
        self.degree = degree            # how often tables are multiplied in it, at most
        self.pk = pk                    # names of columns on which the others depend
        self.inherits = inherits        # has children, which may repeat the key


class Query:
    def __init__(self, rng, relations, depth=2, loose=False):
        self.rng = rng
        self.loose = loose
        self.several = False
        self.keyed = {}                 # alias -> relation with a primary key
        self.relations = relations
        self.aliases = 0
        self.ctes = []
        self.recursive = False          # one of them is
        self.constant = rng.random() < 0.03     # reads no table
        self.columns = []
        self.reads = set()
        self.degree = 0
        self.sql = None
        sql, columns = self.block(depth, top=True)
        if self.ctes:
            sql = 'WITH %s%s %s' % ('RECURSIVE ' if self.recursive else '', ', '.join(text for text, _ in self.ctes), sql)
        self.sql = sql
        self.columns = columns

    def declare(self, view):
        return "SELECT derive.create_view('%s', $fuzz$%s$fuzz$)" % (view, self.sql)

    # ---- small things

    def chance(self, p):
        return self.rng.random() < p

    def alias(self):
        self.aliases += 1
        return 'q%d' % self.aliases

    def pick(self, scope, key=None, keys=None):
        found = [e for e, k in scope if (key is None or k == key) and (keys is None or k in keys)]
        return self.rng.choice(found) if found else None

    # ---- expressions

    def expr(self, scope, key, depth=2):
        r = self.rng
        column = self.pick(scope, key)
        if column and (depth <= 0 or self.chance(0.6)):
            return column
        if depth <= 0:
            return literal(r, key)
        if self.chance(0.12):
            return 'coalesce(%s, %s)' % (self.expr(scope, key, depth - 1), literal(r, key, nulls=0))
        if self.chance(0.12):
            return 'CASE WHEN %s THEN %s ELSE %s END' % (
                self.boolean(scope, 1), self.expr(scope, key, depth - 1), self.expr(scope, key, depth - 1))
        if self.chance(0.05) and key in EQ:
            return 'nullif(%s, %s)' % (self.expr(scope, key, depth - 1), self.expr(scope, key, 0))
        if self.chance(0.05) and key in MINMAX and key != 'dom':
            return '%s(%s, %s)' % (r.choice(['least', 'greatest']), self.expr(scope, key, depth - 1),
                                   self.expr(scope, key, 0))
        make = getattr(self, 'make_' + key, None)
        return make(scope, depth - 1) if make else self.expr(scope, key, 0)

    def make_int4(self, s, d):
        e = self.expr
        c = self.rng.randint(0, 12)
        if c == 0:
            return '(%s %% 7)' % e(s, 'int4', d)
        if c == 1:
            return 'length(%s)' % e(s, 'text', d)
        if c == 2:
            return 'cardinality(%s)' % e(s, 'inta', d)
        if c == 3:
            return 'f_sql(%s %% 100)' % e(s, 'int4', d)
        if c == 4:
            return 'f_strict(%s)' % e(s, 'text', d)
        if c == 5:
            return "((%s ->> 'a')::integer)" % e(s, 'jsonb', 0) if self.pick(s, 'jsonb') else 'abs(%s)' % e(s, 'int4', d)
        if c == 6:
            return '((%s).x)' % e(s, 'comp', 0)
        if c == 7:
            return '(%s)[1]' % e(s, 'inta', 0)
        if c == 8:
            return '(%s - %s)' % (e(s, 'date', 0), e(s, 'date', 0))
        if c == 9:
            return '(%s::integer)' % self.boolean(s, 0)
        if c == 10 and self.chance(0.3):
            # fails, but on rows that are rare at the end of a transaction
            return '(%s (%s - 31))' % (MAY_DIVIDE, e(s, 'int4', 0))
        return '(%s %% 1000 + %s %% 1000)' % (e(s, 'int4', d), e(s, 'int4', d))

    def make_int8(self, s, d):
        return self.rng.choice(['(%s %% 100000 + %s %% 7)' % (self.expr(s, 'int8', d), self.expr(s, 'int8', d)),
                                '(%s::bigint)' % self.expr(s, 'int4', d),
                                'length(%s)::bigint' % self.expr(s, 'text', d)])

    def make_num(self, s, d):
        return self.rng.choice(['(%s + %s)' % (self.expr(s, 'num', d), self.expr(s, 'num2', d)),
                                '(%s * 2)' % self.expr(s, 'num', d),
                                '(- %s)' % self.expr(s, 'num', d),
                                'round(%s, 1)' % self.expr(s, 'num', d),
                                '(%s::numeric)' % self.expr(s, 'int4', d)])

    def make_num2(self, s, d):
        return '(%s %% 100)::numeric(10,2)' % self.expr(s, 'int4', d)

    def make_f8(self, s, d):
        return self.rng.choice(['(%s + %s)' % (self.expr(s, 'f8', d), self.expr(s, 'f8', 0)),
                                '(%s * 0.5)' % self.expr(s, 'f8', d),
                                '(%s::double precision)' % self.expr(s, 'int4', d)])

    def make_text(self, s, d):
        e = self.expr
        return self.rng.choice([
            lambda: '(%s || %s)' % (e(s, 'text', d), e(s, 'vc', d)),
            lambda: 'upper(%s)' % e(s, 'text', d),
            lambda: 'left(%s, 3)' % e(s, 'text', d),
            lambda: 'md5(%s)' % e(s, 'text', d),
            lambda: '(%s::text)' % e(s, 'int4', d),
            lambda: 'f_pl(%s, %s)' % (e(s, 'int4', d), e(s, 'text', d)),
            lambda: "(%s ->> 'b')" % e(s, 'jsonb', 0),
            lambda: '((%s).y)' % e(s, 'comp', 0),
            lambda: '(%s::text)' % e(s, 'uuid', 0),
            lambda: '(%s::text)' % e(s, 'enum', 0),
            lambda: "array_to_string(%s, ',', '-')" % e(s, 'texta', 0),
            lambda: "encode(%s, 'hex')" % e(s, 'bytea', 0),
            lambda: '(%s::text)' % e(s, self.rng.choice(['tstz', 'ts', 'date', 'bytea']), 0),
            lambda: "to_char(%s, 'HH24:MI')" % e(s, 'tstz', 0),
        ] + [lambda: self.left_open('(%s::text)' % e(s, 'num', 0))] * (4 if self.loose else 0))()

    def left_open(self, sql):
        """Something of which SQL does not say what it is."""
        self.several = True
        return sql

    def make_vc(self, s, d):
        return 'left(%s, 5)::varchar(20)' % self.expr(s, 'text', d)

    def make_bool(self, s, d):
        return self.boolean(s, d)

    def make_date(self, s, d):
        return self.rng.choice(['(%s + %s %% 30)' % (self.expr(s, 'date', d), self.expr(s, 'int4', 0)),
                                '(%s::date)' % self.expr(s, 'ts', 0),
                                '(%s::date)' % self.expr(s, 'tstz', 0)])

    def make_ts(self, s, d):
        return self.rng.choice(["date_trunc('day', %s)" % self.expr(s, 'ts', d),
                                '(%s + %s)' % (self.expr(s, 'ts', d), self.expr(s, 'ivl', 0)),
                                '(%s::timestamp)' % self.expr(s, 'date', 0),
                                '(%s::timestamp)' % self.expr(s, 'tstz', 0)])

    def make_tstz(self, s, d):
        return self.rng.choice(["date_trunc('day', %s)" % self.expr(s, 'tstz', d),
                                "(%s AT TIME ZONE 'Europe/Berlin')" % self.expr(s, 'ts', d),
                                '(%s::timestamptz)' % self.expr(s, 'ts', d)])

    def make_jsonb(self, s, d):
        return self.rng.choice(["jsonb_build_object('a', %s, 'b', %s)" % (self.expr(s, 'int4', d), self.expr(s, 'text', 0)),
                                "(%s -> 'c')" % self.expr(s, 'jsonb', d),
                                'to_jsonb(%s)' % self.expr(s, 'inta', 0)])

    def make_inta(self, s, d):
        return self.rng.choice(['ARRAY[%s, %s]' % (self.expr(s, 'int4', d), self.expr(s, 'int4', 0)),
                                '(%s || %s)' % (self.expr(s, 'inta', d), self.expr(s, 'int4', 0)),
                                'array_remove(%s, 1)' % self.expr(s, 'inta', d)])

    def make_comp(self, s, d):
        return 'ROW(%s, %s)::pair' % (self.expr(s, 'int4', d), self.expr(s, 'text', 0))

    def make_range(self, s, d):
        return '(%s * int4range(1, 8))' % self.expr(s, 'range', d)

    def make_ivl(self, s, d):
        return '(%s - %s)' % (self.expr(s, 'ts', 0), self.expr(s, 'ts', 0))

    def boolean(self, s, d=1):
        r = self.rng
        c = r.randint(0, 12)
        if c == 0 and self.pick(s, 'bool'):
            return self.pick(s, 'bool')
        if c == 1 and s:
            return '(%s IS %sNULL)' % (self.pick(s), r.choice(['', 'NOT ']))
        if c == 2 and d > 0:
            return '(%s %s %s)' % (self.boolean(s, d - 1), r.choice(['AND', 'OR']), self.boolean(s, d - 1))
        if c == 3 and d > 0:
            return '(NOT %s)' % self.boolean(s, d - 1)
        if c == 4:
            return '(%s IN (%s))' % (self.expr(s, 'int4', d), ', '.join(str(r.randint(0, 20)) for _ in range(3)))
        if c == 5:
            return "(%s LIKE '%s')" % (self.expr(s, 'text', d), r.choice(['a%', '%b%', '_', '%']))
        if c == 6 and self.pick(s, 'inta'):
            return '(%s = ANY (%s))' % (self.expr(s, 'int4', 0), self.pick(s, 'inta'))
        if c == 7 and self.pick(s, 'jsonb'):
            return "(%s %s)" % (self.pick(s, 'jsonb'), r.choice(["@> '{\"a\": 1}'", "? 'b'"]))
        if c == 8:
            key = r.choice([k for _, k in s if k in EQ] or ['int4'])
            return '(%s IS %sDISTINCT FROM %s)' % (self.expr(s, key, 0), r.choice(['', '', 'NOT ']), literal(r, key))
        if c == 9:
            return '(%s BETWEEN %d AND %d)' % (self.expr(s, 'int4', d), r.randint(-2, 9), r.randint(10, 25))
        key = r.choice([k for _, k in s if k in MINMAX] or ['int4'])
        left = self.expr(s, key, d)
        right = self.expr(s, key, 0)
        if left == right or self.chance(0.4):
            right = literal(r, key, nulls=0.02)
        return '(%s %s %s)' % (left, r.choice(['<', '<=', '<>', '<>', '>', '>=', '=']), right)

    # ---- aggregates: (SQL, type key of the result)

    def aggregate(self, scope):
        r = self.rng
        made = None
        while made is None:
            made = self.aggregate_try(scope, r.randint(0, 30 if self.loose else 22))
        sql, key, filterable = made
        if filterable and self.chance(0.2):
            sql += ' FILTER (WHERE %s)' % self.boolean(scope)
        return sql, key

    def aggregate_try(self, s, c):
        r = self.rng
        if c <= 1:
            return 'count(*)', 'int8', True
        if c == 2:
            return 'count(%s)' % self.expr(s, r.choice([k for _, k in s] or ['int4']), 1), 'int8', True
        if c in (3, 4):
            key = r.choice(NUMBERS + ['ivl'])
            result = {'int4': 'int8', 'int8': 'num', 'num2': 'num'}.get(key, key)
            if key == 'ivl':
                result = 'ivlx'
            distinct = 'DISTINCT ' if self.chance(0.12) else ''
            return 'sum(%s%s)' % (distinct, self.expr(s, key, 1)), result, True
        if c in (5, 6):
            key = r.choice(NUMBERS)
            return 'avg(%s%s)' % ('DISTINCT ' if self.chance(0.08) else '', self.expr(s, key, 1)), \
                'f8x' if key == 'f8' else 'num', True
        if c in (7, 8, 9):
            key = r.choice([k for _, k in s if k in MINMAX] or ['int4'])
            return '%s(%s)' % (r.choice(['min', 'max']), self.expr(s, key, 1)), RESULT_OF_MINMAX.get(key, key), True
        if c == 10:
            return '%s(%s)' % (r.choice(['bool_and', 'bool_or', 'every']), self.boolean(s)), 'bool', True
        if c == 11:
            return '%s(%s)' % (r.choice(['bit_and', 'bit_or', 'bit_xor']), self.expr(s, 'int4', 1)), 'int4', True
        if c == 12:
            f = r.choice(['variance', 'var_pop', 'var_samp', 'stddev', 'stddev_pop', 'stddev_samp'])
            return '%s(%s)' % (f, self.expr(s, r.choice(['int4', 'int8', 'num', 'num2']), 1)), 'num', True
        if c == 13:
            e = self.expr(s, 'f8', 1)
            return '%s(%s ORDER BY %s)' % (r.choice(['stddev', 'var_pop', 'variance']), e, e), 'f8x', True
        if c == 14:
            key = r.choice([k for _, k in s if k in EQ] or ['int4'])
            return 'count(DISTINCT %s)' % self.expr(s, key, 1), 'int8', True
        if c == 15:
            e = self.expr(s, 'int4', 1)
            return 'array_agg(%s%s ORDER BY %s%s)' % (r.choice(['', 'DISTINCT ']), e, e, r.choice(['', ' DESC'])), 'inta', True
        if c == 16:
            e = self.expr(s, 'text', 1)
            return "string_agg(%s%s, ',' ORDER BY %s)" % (r.choice(['', 'DISTINCT ']), e, e), 'text', True
        if c == 17:
            e = self.expr(s, 'jsonb', 1)
            return 'jsonb_agg(%s ORDER BY %s)' % (e, e), 'jsonb', True
        if c == 18:
            return '%s(%s)' % (r.choice(['mix', 'mixinv']), self.expr(s, 'int4', 1)), 'int8', True
        if c == 19:
            key = r.choice([k for _, k in s if k in MINMAX and k not in ('num', 'num2')] or ['int4'])
            return '%s WITHIN GROUP (ORDER BY %s)' % (r.choice(['percentile_disc(0.5)', 'mode()']),
                                                      self.expr(s, key, 1)), RESULT_OF_MINMAX.get(key, key), True
        if c == 20:
            return 'percentile_cont(%s) WITHIN GROUP (ORDER BY %s)' % (r.choice(['0.5', '0.25']), self.expr(s, 'f8', 1)), \
                'f8x', True
        if c == 21:
            a, b = self.expr(s, 'f8', 0), self.expr(s, 'f8', 0)
            return '%s(%s, %s ORDER BY %s, %s)' % (r.choice(['regr_count', 'regr_sxx', 'corr', 'covar_pop']), a, b, a, b), \
                None, True
        if c == 22:
            e = self.expr(s, 'text', 0)
            return "json_agg(%s ORDER BY %s)" % (e, e), 'json', True
        if c in (23, 24):
            return self.left_open('array_agg(%s ORDER BY %s)' % (
                self.expr(s, 'int4', 1), self.expr(s, r.choice(['int4', 'bool', 'num']), 0))), 'inta', True
        if c in (25, 26):
            return self.left_open("string_agg(%s, ',' ORDER BY %s DESC)" % (
                self.expr(s, 'text', 1), self.expr(s, r.choice(['int4', 'bool', 'enum']), 0))), 'text', True
        if c == 27:
            key = r.choice([k for _, k in s] or ['int4'])
            return self.left_open('json_agg(%s)' % self.expr(s, key, 0)), 'json', True
        if c == 28 and self.pick(s, 'xml'):
            order = r.choice(['', ' ORDER BY %s' % self.expr(s, 'int4', 0)])
            return self.left_open('xmlagg(%s%s)' % (self.pick(s, 'xml'), order)), 'xml', True
        if c == 29:
            return self.left_open('%s(%s)::text' % (r.choice(['min', 'max']), self.expr(s, 'num', 0))), 'text', False
        if c == 30:
            key = r.choice([k for _, k in s if k not in ('inta', 'texta')] or ['int4'])
            return self.left_open('array_agg(%s)::text' % self.expr(s, key, 0)), 'text', False
        return None

    # ---- FROM

    def from_item(self, depth, scope):
        """Returns (SQL, columns as (unqualified name, key), alias, lateral?, base?)."""
        r = self.rng
        c = r.random()
        a = self.alias()
        if self.constant and c >= 0.20:
            rows = ', '.join('(%d, %s, %s, %s)' % (i, literal(r, 'int4'), literal(r, 'text'), literal(r, 'num'))
                             for i in range(r.randint(1, 12)))
            return '(VALUES %s) AS %s(id, k, vt, vn)' % (rows, a), \
                [('id', 'int4'), ('k', 'int4'), ('vt', 'text'), ('vn', 'num')], a, False
        if depth > 0 and c < 0.16:
            sql, columns = self.block(depth - 1)
            return '(%s) AS %s' % (sql, a), usable(columns), a, False
        if c < 0.20:
            n = r.randint(1, 3)
            rows = ', '.join('(%d, %s)' % (r.randint(0, 12), literal(r, 'text')) for _ in range(n))
            return '(VALUES %s) AS %s(vk, vt)' % (rows, a), [('vk', 'int4'), ('vt', 'text')], a, False
        if scope and c < 0.28:
            return self.lateral(a, scope)
        if depth > 0 and c < 0.34:
            name, columns = self.cte(depth - 1)
            return '%s AS %s' % (name, a), usable(columns), a, False
        if self.ctes and c < 0.40:
            text, columns = r.choice(self.ctes)
            return '%s AS %s' % (text.split(' ', 1)[0], a), usable(columns), a, False
        return self.relation(r.choice(self.relations), a)

    def relation(self, relation, a):
        """The same of a table or view by its name."""
        self.reads.add(relation.name)
        self.degree += relation.degree
        if relation.pk:
            self.keyed[a] = relation
        only = 'ONLY ' if relation.kind == 'table' and self.chance(0.01) else ''
        return '%s%s AS %s' % (only, relation.name, a), usable(relation.columns), a, False

    def cte(self, depth):
        """A new one at the top of the query; those it reads are complete, so they stand before it."""
        sql, columns = self.block(depth)
        name = 'w%d' % len(self.ctes)
        hint = self.rng.choice(['', '', ' MATERIALIZED', ' NOT MATERIALIZED'])
        self.ctes.append(('%s AS%s (%s)' % (name, hint, sql), columns))
        return name, columns

    def lateral(self, a, scope):
        r = self.rng
        ints = self.pick(scope, 'int4')
        arr = self.pick(scope, 'inta')
        jsonb = self.pick(scope, 'jsonb')
        c = r.randint(0, 5)
        if c == 0 and arr:
            return 'unnest(%s) AS %s(u)' % (arr, a), [('u', 'int4')], a, True
        if c == 1 and arr:
            return 'unnest(%s) WITH ORDINALITY AS %s(u, n)' % (arr, a), [('u', 'int4'), ('n', 'int8')], a, True
        if c == 2 and jsonb:
            return "jsonb_each_text(CASE WHEN jsonb_typeof(%s) = 'object' THEN %s END) AS %s(ek, ev)" % (jsonb, jsonb, a), \
                [('ek', 'text'), ('ev', 'text')], a, True
        if c == 3 and ints:
            return 'LATERAL (SELECT %s AS l1, %s AS l2) AS %s' % (
                self.expr(scope, 'int4', 1), self.expr(scope, 'text', 1), a), [('l1', 'int4'), ('l2', 'text')], a, True
        if c == 4 and ints:
            return 'f_srf(%s %% 5) AS %s(sv)' % (ints, a), [('sv', 'int4')], a, True
        low = r.randint(0, 2)
        high = 'abs(%s %% 4)' % ints if ints else '3'
        return 'generate_series(%d, %s) AS %s(gi)' % (low, high, a), [('gi', 'int4')], a, True

    def from_clause(self, depth, n=None):
        """Returns (SQL, scope, conditions for WHERE)."""
        r = self.rng
        n = n or r.choice([1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 4, 5, 6])
        sql, columns, alias, _ = self.from_item(depth, [])
        scope = [('%s.%s' % (alias, c), k) for c, k in columns]
        where = []
        kitems = [alias] if ('k', 'int4') in columns else []
        merged = False
        broken = False          # k stands on the left more than once
        comma = False
        for i in range(1, n):
            item, columns, alias, lateral = self.from_item(depth, scope)
            new = [('%s.%s' % (alias, c), k) for c, k in columns]
            hask = ('k', 'int4') in columns
            natural = False
            if lateral:
                glue = r.choice([', ', ' CROSS JOIN '])
                comma = comma or glue == ', '
                sql += glue + item
            elif hask and kitems and not comma and not broken and self.chance(0.2):
                # NATURAL only where k is all they share
                common = {c for c, _ in columns} & {e.split('.')[1] for e, _ in scope}
                natural = common == {'k'} and self.chance(0.4)
                sql += ' NATURAL JOIN %s' % item if natural else ' JOIN %s USING (k)' % item
                merged = True
            else:
                condition = self.condition(scope, new)
                if self.chance(0.4):
                    comma = True
                    sql += ', ' + item
                    where += [condition] if condition else []
                elif condition and comma:
                    # JOIN binds closer than a comma: ON cannot look left of it
                    sql += ' JOIN %s ON true' % item
                    where.append(condition)
                elif condition:
                    sql += ' JOIN %s ON %s' % (item, condition)
                else:
                    sql += ' CROSS JOIN ' + item
            if hask:
                broken = broken or (bool(kitems) and ' USING (k)' not in sql[-12:] and not natural)
                kitems.append(alias)
            scope += new
        if merged and not broken:
            scope.append(('k', 'int4'))
        return sql, scope, where

    def condition(self, left, right):
        r = self.rng
        c = r.random()
        lk = [(e, k) for e, k in left if k in EQ]
        rk = [(e, k) for e, k in right if k in EQ]
        pairs = [(a, b) for a, ka in lk for b, kb in rk if ka == kb and ka != 'bool']
        ints = [(a, b) for a, ka in lk for b, kb in rk if ka == kb == 'int4']
        shared = [(a, b) for a, b in pairs if a.split('.')[-1] == b.split('.')[-1] and a.split('.')[-1] in ('k', 'id', 'u')]
        if c < 0.65 and (ints or pairs):
            a, b = r.choice(shared if shared and self.chance(0.6) else ints if ints and self.chance(0.7) else pairs)
            extra = ' AND %s' % self.boolean(left + right) if self.chance(0.12) else ''
            return '(%s = %s%s)' % (a, b, extra)
        if c < 0.75 and ints:
            a, b = r.choice(ints)
            return r.choice(['(%s + 1 = %s)', '(%s %% 11 = %s %% 11 + 1)', '(abs(%s) = %s)']) % (a, b)
        if c < 0.9 and ints:
            a, b = r.choice(ints)
            return '(%s BETWEEN %s - 1 AND %s)' % (a, b, b)
        if c < 0.95 and pairs:
            a, b = r.choice(pairs)
            return '(%s IS NOT DISTINCT FROM %s)' % (a, b)
        return None

    # ---- SELECT blocks: (SQL, [(name, key)])

    def block(self, depth, top=False):
        r = self.rng
        if self.chance(0.13):
            return self.union(depth)
        return self.select(depth, top=top)

    def union(self, depth):
        r = self.rng
        want = [r.choice(['int4', 'text', 'num', 'bool', 'date', 'int8', 'enum', 'inta']) for _ in range(r.randint(1, 3))]
        arms = r.choice([2, 2, 3])
        parts = []
        names = ['u%d' % i for i in range(len(want))]
        for i in range(arms):
            sql, _ = self.select(depth, want=want, names=names)
            parts.append(sql)
        text = parts[0]
        for i, part in enumerate(parts[1:]):
            op = r.choice(['UNION', 'UNION ALL', 'UNION ALL', 'INTERSECT', 'INTERSECT ALL', 'EXCEPT', 'EXCEPT ALL'])
            text = '(%s) %s (%s)' % (text, op, part)
        return text, list(zip(names, want))

    def select(self, depth, want=None, names=None, top=False):
        r = self.rng
        from_sql, scope, where = self.from_clause(depth)
        if self.chance(0.4):
            where.append(self.boolean(scope, 2))
        where_sql = ' WHERE ' + ' AND '.join(where) if where else ''
        tail = ' FROM %s%s' % (from_sql, where_sql)
        if want:
            outputs = [(self.expr(scope, k, 1), k) for k in want]
            distinct = 'DISTINCT ' if self.chance(0.15) else ''
            cast = ['%s::%s' % (e, TYPES[k][0]) if k != 'enum' else e for e, k in outputs]
            sql = 'SELECT %s%s%s' % (distinct, ', '.join('%s AS %s' % p for p in zip(cast, names)), tail)
            return sql, list(zip(names, want))
        return self.project(scope, tail)

    def project(self, scope, tail):
        """Groups, one group, DISTINCT or the rows as they are."""
        r = self.rng
        c = r.random()
        if c < 0.5:
            return self.grouped(scope, tail)
        if c < 0.58:
            return self.finish([self.aggregate(scope) for _ in range(r.randint(1, 4))], '', tail,
                               ' HAVING count(*) > %d' % r.randint(0, 4) if self.chance(0.2) else '')
        count = r.randint(1, 6)
        distinct = ''
        keys = [k for _, k in scope] or ['int4']
        if self.chance(0.25):
            distinct = 'DISTINCT '
            keys = [k for k in keys if k in EQ] or ['int4']
        outputs = []
        for i in range(count):
            key = r.choice(keys)
            outputs.append((self.expr(scope, key, r.choice([0, 0, 1, 2])), key))
        if not distinct and self.chance(0.04):
            outputs.append(('unnest(%s)' % self.expr(scope, 'inta', 0), 'int4'))
        return self.finish(outputs, distinct, tail, '')

    def grouped(self, scope, tail):
        r = self.rng
        keyable = [(e, k) for e, k in scope if k in EQ]
        keys = []
        for i in range(r.choice([1, 1, 1, 2, 2, 3])):
            e, k = r.choice(keyable) if keyable else ('1 + 1', 'int4')
            if self.chance(0.3):
                made = self.expr(scope, k, 1)
                if re.search(r'\bq\d+\.', made) and not made.startswith("'"):
                    e = made
            if e not in [x for x, _ in keys]:
                keys.append((e, k))
        dependent = self.dependent(scope, keys) if self.chance(0.2) else []
        aggs = [self.aggregate(scope) for _ in range(r.randint(0, 4))]
        shown = (keys if self.chance(0.85) else keys[:-1]) + dependent
        if not shown and not aggs:
            aggs = [('count(*)', 'int8')]
        having = ''
        if self.chance(0.2):
            having = ' HAVING ' + r.choice(['count(*) > %d' % r.randint(0, 4),
                                            'min(%s) < 10' % self.expr(scope, 'int4', 0),
                                            'bool_or(%s)' % self.boolean(scope, 0),
                                            'count(DISTINCT %s) >= 2' % self.expr(scope, 'int4', 0)])
        outputs = list(shown) + aggs
        if self.chance(0.1):
            outputs.append(('sum(%s) + count(*)' % self.expr(scope, 'int4', 0), 'int8'))
        if self.chance(0.15):
            r.shuffle(outputs)
        distinct = 'DISTINCT ' if self.chance(0.05) and all(k in EQ for _, k in outputs) else ''
        return self.finish(outputs, distinct, tail, ' GROUP BY %s%s' % (', '.join(e for e, _ in keys), having))

    def dependent(self, scope, keys):
        """Columns that depend on a primary key, which is added to the keys."""
        r = self.rng
        aliases = sorted(a for a, x in self.keyed.items()
                         if ('%s.%s' % (a, x.pk[0]), 'int4') in scope and (self.loose or not x.inherits))
        if not aliases:
            return []
        a = r.choice(aliases)
        for name in self.keyed[a].pk:
            if ('%s.%s' % (a, name), 'int4') not in keys:
                keys.append(('%s.%s' % (a, name), 'int4'))
        others = [(e, k) for e, k in scope if e.startswith(a + '.') and (e, k) not in keys]
        if others and self.keyed[a].inherits:
            self.several = True
        return r.sample(others, min(len(others), r.randint(1, 3)))

    def finish(self, outputs, distinct, tail, rest):
        names = ['o%d' % i for i in range(len(outputs))]
        # the shared join column keeps its name now and then, so that USING works on blocks too
        for i, (e, k) in enumerate(outputs):
            if k == 'int4' and re.fullmatch(r'(q\d+\.)?k', e) and 'k' not in names:
                names[i] = 'k'
        sql = 'SELECT %s%s%s%s' % (distinct, ', '.join('%s AS %s' % (e, n) for (e, _), n in zip(outputs, names)), tail, rest)
        columns = []
        for (_, k), n in zip(outputs, names):
            columns.append((n, k))
        return sql, columns


def usable(columns):
    """Columns another block may compute with; the rest are only shown."""
    return [(n, k) for n, k in columns if k in TYPES]
