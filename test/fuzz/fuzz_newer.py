"""What versions after 15 know: SQL/JSON, and functions and literals that came with them.

Constructs are in tables, each with the version that has it first.  SQL/JSON
expressions are functions only to a reader: the parser makes nodes of their own
of them, with a type that they return, conversions of it, and expressions for
what is empty or an error, each of which a view may rely on.

An error is NULL wherever one may be: of 18, some releases give an item that is
NULL the ON ERROR value of the row before, so anything else has several answers.
"""

from fuzz_schema import literal

# what is looked for in documents like those of literal()
PATHS = ['$', '$.a', '$.b', '$.c', '$.c[0]', '$.c[last]', '$[1]', 'lax $.c[*] ? (@ > 1)', '$.a.type()', '$.c.size()', 'strict $.a']


class Newer:
    def newer(self, table, scope, depth):
        """One of those that this version has, or None."""
        made = [make for since, make in table if since <= self.major]
        if not made or not self.on('newer', 0.35):
            return None
        sql = self.rng.choice(made)(self, scope, depth)
        if sql is not None:
            self.used.add('newer')
        return sql

    def expr(self, scope, key, depth=2):
        made = self.newer(VALUES.get(key, ()), scope, depth - 1) if depth > 0 else None
        return made or super().expr(scope, key, depth)

    def boolean(self, s, d=1):
        return self.newer(CONDITIONS, s, d - 1) or super().boolean(s, d)

    def aggregate(self, scope):
        return self.newer(AGGREGATES, scope, 0) or super().aggregate(scope)

    def from_item(self, depth, scope):
        if self.major >= 17 and self.on('newer', 0.3):
            return self.json_table(self.alias(), scope)
        return super().from_item(depth, scope)

    # ---- parts

    def document(self, scope):
        if self.pick(scope, 'jsonb') and self.chance(0.6):
            return self.pick(scope, 'jsonb')
        return "jsonb_build_object('a', %s, 'b', %s, 'c', %s)" % tuple(self.expr(scope, k, 0) for k in ('int4', 'text', 'inta'))

    def path(self):
        return "'%s'" % self.rng.choice(PATHS)

    def passing(self, scope):
        """A path with a variable, and what that is."""
        key = self.rng.choice(['int4', 'int4', 'num', 'text', 'date'])
        path = {'int4': '$.c[*] ? (@ >= $x)', 'num': '$.a + $x', 'text': '$.* ? (@ == $x)', 'date': '$x.type()'}[key]
        return "'lax %s' PASSING %s AS x" % (path, self.expr(scope, key, 0))

    def returning(self, key):
        """A type to return, and what there is instead if there is nothing."""
        sql = {'text': 'text', 'int4': 'integer', 'num': 'numeric', 'date': 'date', 'enum': 'mood', 'vc': 'varchar(20)', 'bool': 'boolean'}[key]
        empty = self.rng.choice(['', '', ' NULL ON EMPTY', ' DEFAULT %s ON EMPTY' % literal(self.rng, key, nulls=0)])
        return ' RETURNING %s%s' % (sql, empty)

    def json_value(self, scope, key):
        path = self.passing(scope) if self.chance(0.3) else self.path()
        error = self.rng.choice(['', ' NULL ON ERROR'])
        return 'JSON_VALUE(%s, %s%s%s)' % (self.document(scope), path, self.returning(key), error)

    def json_query(self, scope):
        wrapper = self.rng.choice(['', ' WITH WRAPPER', ' WITH CONDITIONAL WRAPPER', ' OMIT QUOTES'])
        empty = self.rng.choice(['', ' EMPTY ARRAY ON EMPTY', ' EMPTY OBJECT ON EMPTY', ' NULL ON EMPTY'])
        return 'JSON_QUERY(%s, %s%s%s)' % (self.document(scope), self.rng.choice(["'$.*'", self.path()]), wrapper, empty)

    def json_table(self, a, scope):
        r = self.rng
        self.used.add('newer')
        nested, columns = '', [('n', 'int8'), ('v', 'int4'), ('e', 'bool')]
        if self.chance(0.5):
            nested = ", NESTED PATH '%s' COLUMNS (m FOR ORDINALITY, w text PATH '$')" % r.choice(['$.c[*]', '$[*]', '$.*'])
            columns = columns + [('m', 'int8'), ('w', 'text')]
        if self.chance(0.4):
            nested = ', k%s%s' % (self.returning('int4').replace(' RETURNING', '').replace('integer', "integer PATH '$.a'"), nested)
            columns = columns + [('k', 'int4')]
        sql = "JSON_TABLE(%s, '%s' COLUMNS (n FOR ORDINALITY, v integer PATH '%s', e boolean EXISTS PATH '$.b'%s)) AS %s" % (
            self.document(scope), r.choice(['$', '$.c[*]', 'lax $[*]']), r.choice(['$', '$.a']), nested, a)
        # ordinality is an integer
        columns = [(c, 'int4' if k == 'int8' else k) for c, k in columns]
        return sql, columns, a, bool(scope)

    def json_array_of_query(self, scope):
        """The rows of a query in an order of theirs, all of the same type."""
        if self.budget <= 0:
            return None
        self.budget -= 1
        with self.level(scope), self.nothing_multiplied():
            tail, s = self.inner()
            x = self.expr(s, 'int4', 0)
            return 'JSON_ARRAY(SELECT %s%s ORDER BY %s RETURNING jsonb)' % (x, tail, x)


def sql(since, text, *keys):
    """A construct made of expressions of these types."""
    return since, lambda q, s, d: text % tuple(q.expr(s, k, d if i == 0 else 0) for i, k in enumerate(keys))


def value(key):
    return 17, lambda q, s, d: q.json_value(s, key)


# by the type key that they have
VALUES = {
    'int4': [value('int4'), value('int4'), sql(16, '(%s %% 0x1F)', 'int4'), sql(16, '(1_0 + %s %% 9)', 'int4'), sql(18, '(%s::bytea::integer)', 'int4'),
             (17, lambda q, s, d: '(JSON_QUERY(%s, %s RETURNING jsonb WITH WRAPPER) IS NULL)::integer' % (q.document(s), q.path()))],
    'int8': [sql(18, 'crc32(%s)', 'bytea'), sql(18, 'crc32c(%s)', 'bytea')],
    'num': [value('num'), sql(16, "(%s + 1_000.5)", 'num')],
    'text': [value('text'), value('text'), sql(17, 'JSON_SERIALIZE(JSON_SCALAR(%s))', 'int4'), sql(17, 'to_bin(%s)', 'int4'),
             sql(17, 'to_oct(%s)', 'int4'), sql(18, 'casefold(%s)', 'text'), sql(17, 'uuid_extract_version(%s)::text', 'uuid'),
             sql(17, "JSON_QUERY(%s, '$.b' RETURNING text OMIT QUOTES)", 'jsonb')],
    'vc': [value('vc')],
    'bool': [value('bool')],
    'date': [value('date')],
    'enum': [value('enum')],
    'tstz': [sql(16, "date_add(%s, %s, 'Europe/Berlin')", 'tstz', 'ivl'), sql(16, "date_subtract(%s, %s, 'America/New_York')", 'tstz', 'ivl')],
    'inta': [sql(18, 'array_sort(%s)', 'inta'), sql(18, 'array_sort(%s, true)', 'inta'), sql(18, 'array_reverse(%s)', 'inta')],
    'bytea': [sql(18, 'reverse(%s)', 'bytea')],
    'json': [sql(17, 'JSON_SCALAR(%s)', 'int4'), sql(17, 'JSON_SCALAR(%s)', 'tstz'), sql(16, "JSON_OBJECT('a': %s, 'b' VALUE %s)", 'inta', 'date')],
    'jsonb': [sql(16, "JSON_OBJECT('a': %s, 'b': %s ABSENT ON NULL RETURNING jsonb)", 'int4', 'text'),
              sql(16, "JSON_OBJECT('a': %s, 'c': JSON_ARRAY(%s, 2 RETURNING jsonb) RETURNING jsonb)", 'enum', 'int4'),
              sql(16, 'JSON_ARRAY(%s, %s NULL ON NULL RETURNING jsonb)', 'int4', 'comp'),
              sql(16, 'JSON_ARRAY(%s, %s RETURNING jsonb)', 'date', 'bool'),
              sql(18, 'jsonb_strip_nulls(%s, true)', 'jsonb'),
              (16, lambda q, s, d: q.json_array_of_query(s)), (17, lambda q, s, d: q.json_query(s)), (17, lambda q, s, d: q.json_query(s))],
}

CONDITIONS = [
    sql(16, '(%s IS JSON)', 'text'), sql(16, '(%s IS NOT JSON SCALAR)', 'text'), sql(16, '(%s IS JSON OBJECT)', 'jsonb'),
    sql(16, '(%s IS JSON ARRAY)', 'jsonb'), sql(16, '(%s IS JSON WITH UNIQUE KEYS)', 'json'),
    (17, lambda q, s, d: 'JSON_EXISTS(%s, %s)' % (q.document(s), q.passing(s) if q.chance(0.5) else q.path())),
    (17, lambda q, s, d: "JSON_EXISTS(%s, '$.a ? (@ > %d)')" % (q.document(s), q.rng.randint(0, 8))),
    sql(17, 'unicode_assigned(%s)', 'text'),
]


def of_array(q, s, d):
    x = q.expr(s, q.rng.choice(['int4', 'text', 'date', 'enum']), 1)
    null = q.rng.choice(['', ' NULL ON NULL', ' ABSENT ON NULL'])
    return 'JSON_ARRAYAGG(%s ORDER BY %s%s RETURNING jsonb)' % (x, x, null), 'jsonb'


def of_object(q, s, d):
    """A key that comes again comes with the same value."""
    x = q.expr(s, 'text', 0)
    return "JSON_OBJECTAGG(coalesce(%s, '-') : length(%s)%s RETURNING jsonb)" % (x, x, q.rng.choice(['', ' ABSENT ON NULL'])), 'jsonb'


def largest(key):
    return 18, lambda q, s, d: ('%s(%s)::text' % (q.rng.choice(['min', 'max']), q.expr(s, key, 1)), 'text')


def of_any(q, s, d):
    key = q.rng.choice([k for _, k in s] or ['int4'])
    return (q.left_open('any_value(%s)::text' % q.expr(s, key, 0)), 'text') if q.loose else None


# (SQL, type key)
AGGREGATES = [(16, of_array), (16, of_array), (16, of_object), (16, of_any), largest('bytea')]
