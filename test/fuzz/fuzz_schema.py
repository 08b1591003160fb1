"""Random tables: types, values, partitions, indexes.

Values are chosen so that every query of the generator has one right answer:
floats are small multiples of 1/4, whose sums are exact in any order; an
interval has one spelling; jsonb holds no two spellings of one number.  Only
numeric has equal values that look different (1.5 and 1.50), on purpose: the
comparison is by value, and no expression looks at a numeric's spelling.

Moments are long ago, or around the present, for the conditions of fuzz_time.py.
These are the only values that differ between runs with the same seed.
"""

import datetime

WORDS = ['a', 'b', 'Ab', 'abc', '', ' x', 'zed', 'Ä', "o''k", 'q"q', 'back\\slash', 'null', '%', 'été']

# key: SQL name, has equality, has min/max
TYPES = {
    'int4': ('integer', True, True),
    'int8': ('bigint', True, True),
    'num': ('numeric', True, True),
    'num2': ('numeric(10,2)', True, True),
    'f8': ('double precision', True, True),
    'f8x': ('double precision', True, True),    # results that are not exact in binary
    'text': ('text', True, True),
    'ci': ('text COLLATE ci', True, False),     # equal is not the same
    'vc': ('varchar(20)', True, True),
    'bpchar': ('char(5)', True, True),
    'bool': ('boolean', True, False),
    'date': ('date', True, True),
    'ts': ('timestamp', True, True),
    'tstz': ('timestamptz', True, True),
    'uuid': ('uuid', True, False),
    'jsonb': ('jsonb', True, False),
    'json': ('json', False, False),
    'xml': ('xml', False, False),
    'inta': ('integer[]', True, True),
    'texta': ('text[]', True, True),
    'enum': ('mood', True, True),
    'dom': ('small', True, True),
    'comp': ('pair', True, False),
    'bytea': ('bytea', True, False),
    'ivl': ('interval', True, True),
    'inet': ('inet', True, True),
    'range': ('int4range', True, False),
    'point': ('point', False, False),
}

COLUMN_TYPES = [t for t in TYPES if t != 'f8x']
# of a key that is not a number; some have equal values that are not the same
KEY_TYPES = ['num', 'num', 'f8', 'ci', 'ci', 'bpchar', 'text', 'text', 'uuid', 'date', 'int8']
COMMON_TYPES = ['int4', 'int8', 'num', 'num2', 'text', 'bool', 'date', 'f8']

PRELUDE = [
    "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
    "CREATE DOMAIN small AS integer CHECK (VALUE <> 666)",
    "CREATE TYPE pair AS (x integer, y text)",
    "CREATE FUNCTION f_sql(a integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT a * 2 - 1 $$",
    "CREATE FUNCTION f_pl(a integer, b text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS "
    "$$ BEGIN RETURN coalesce(b, '-') || '/' || coalesce(a % 5, -1); END $$",
    "CREATE FUNCTION f_strict(a text) RETURNS integer LANGUAGE plpgsql IMMUTABLE STRICT AS "
    "$$ BEGIN RETURN length(a); END $$",
    "CREATE FUNCTION f_srf(a integer) RETURNS SETOF integer LANGUAGE sql IMMUTABLE AS "
    "$$ SELECT i * a FROM generate_series(1, 2) i $$",
    # of more than 2000 bytes that cannot be compressed, and equal in all but the last of them
    "CREATE FUNCTION long_text(a integer) RETURNS text LANGUAGE sql IMMUTABLE AS "
    "$$ SELECT string_agg(md5(i::text), '') || a FROM generate_series(1, 66) i $$",
    "CREATE FUNCTION mix_step(s bigint, a integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS "
    "$$ SELECT s + coalesce(a::bigint * a, 7) $$",
    "CREATE FUNCTION mix_back(s bigint, a integer) RETURNS bigint LANGUAGE sql IMMUTABLE AS "
    "$$ SELECT s - coalesce(a::bigint * a, 7) $$",
    "CREATE FUNCTION mix_join(a bigint, b bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT a + b - 1 $$",
    "CREATE AGGREGATE mix(integer) (SFUNC = mix_step, STYPE = bigint, INITCOND = '1')",
    "CREATE AGGREGATE mixinv(integer) (SFUNC = mix_step, STYPE = bigint, INITCOND = '1', "
    "MSFUNC = mix_step, MINVFUNC = mix_back, MSTYPE = bigint, MINITCOND = '1', COMBINEFUNC = mix_join)",
]


def near(rng, key):
    """A constant of a type of moments, within minutes of the present, or hours; a day or two in dates."""
    moment = datetime.datetime.now(datetime.timezone.utc)
    moment += datetime.timedelta(seconds=rng.choice([rng.randint(-60, 60), rng.randint(-60, 60), rng.randint(-300, 300), 3600, -7200]))
    if key == 'date':
        return moment.strftime("'%Y-%m-%d'::date")
    zone = '+00' if key == 'tstz' else ''
    return "'%s%s'::%s" % (moment.strftime('%Y-%m-%d %H:%M:%S.%f'), zone, TYPES[key][0])


def literal(rng, key, toast=False, nulls=0.12):
    """A constant of the type, castable where it stands; may be NULL."""
    if rng.random() < nulls:
        return 'NULL::%s' % TYPES[key][0]
    sql = TYPES[key][0]
    if key == 'int4':
        return str(rng.choice([rng.randint(0, 30), rng.randint(-5, 5), rng.randint(-1000, 1000)]))
    if key == 'dom':
        return '%d::small' % rng.randint(-3, 9)
    if key == 'int8':
        return '%d::bigint' % rng.choice([rng.randint(0, 9), rng.randint(-10**12, 10**12)])
    if key == 'num':
        r = rng.random()
        if r < 0.03:
            return "'%s'::numeric" % rng.choice(['NaN', 'Infinity', '-Infinity'])
        if r < 0.06:
            return '%d.%023d7::numeric' % (rng.randint(0, 9), rng.randint(0, 9))
        return rng.choice(['%d', '%d.5', '%d.50', '%d.0', '%d.125']) % rng.randint(-9, 30) + '::numeric'
    if key == 'num2':
        return '%d.%02d::numeric(10,2)' % (rng.randint(-20, 99), rng.choice([0, 25, 50, 99]))
    if key in ('f8', 'f8x'):
        if rng.random() < 0.02:
            return "'%s'::double precision" % rng.choice(['NaN', 'Infinity', '-Infinity'])
        if rng.random() < 0.03:
            return "'-0'::double precision"
        return "'%s'::double precision" % (rng.randint(-40, 120) * 0.25)
    if key == 'ci':
        return "'%s'::%s" % (rng.choice(WORDS + ['A', 'B', 'aB', 'ABC', 'Zed', 'ä', 'ÉTÉ']), sql)
    if key in ('text', 'vc', 'bpchar'):
        if toast and key == 'text' and rng.random() < 0.3:
            if rng.random() < 0.5:
                return "repeat(md5('%d'), %d)" % (rng.randint(0, 5), rng.randint(70, 400))
            # cannot be compressed
            return "(SELECT string_agg(md5(x::text), '') FROM generate_series(1, %d) x)" % rng.choice([70, 80, 300])
        if key == 'text' and rng.random() < 0.02:
            return 'long_text(%d)' % rng.randint(0, 3)
        word = rng.choice(WORDS)
        return "'%s'::%s" % (word[:4] if key == 'bpchar' and "'" not in word else word, sql)
    if key == 'bool':
        return rng.choice(['true', 'false'])
    if key in ('date', 'ts', 'tstz') and rng.random() < 0.6:
        return near(rng, key)
    if key == 'date':
        return "'2024-%02d-%02d'::date" % (rng.randint(1, 3), rng.randint(1, 28))
    if key == 'ts':
        return "'2024-01-%02d %02d:30:00'::timestamp" % (rng.randint(1, 9), rng.randint(0, 23))
    if key == 'tstz':
        return "'2024-03-%02d %02d:30:00%s'::timestamptz" % (rng.randint(28, 31), rng.randint(0, 23),
                                                            rng.choice(['+00', '+02', '-05']))
    if key == 'uuid':
        return "'00000000-0000-0000-0000-%012d'::uuid" % rng.randint(0, 20)
    if key in ('jsonb', 'json'):
        value = rng.choice(['{"a": %d, "b": "%s"}' % (rng.randint(0, 9), rng.choice('xyz')),
                            '{"a": %d}' % rng.randint(0, 9), '[1, %d]' % rng.randint(0, 3),
                            '[]', '{}', 'null', '"s"', '{"c": [%d, null], "a": null}' % rng.randint(0, 3)])
        if toast and rng.random() < 0.2:
            return "jsonb_build_object('a', 1, 'big', repeat(md5('%d'), 200))::%s" % (rng.randint(0, 3), sql)
        return "'%s'::%s" % (value, sql)
    if key == 'xml':
        return "'<a>%d</a>'::xml" % rng.randint(0, 9)
    if key == 'inta':
        return rng.choice(["'{}'::integer[]",
                           'ARRAY[%d, %d]' % (rng.randint(0, 5), rng.randint(0, 5)),
                           'ARRAY[%d, NULL, %d]' % (rng.randint(0, 5), rng.randint(0, 5)),
                           'ARRAY[%d]' % rng.randint(0, 9)])
    if key == 'texta':
        return "ARRAY['%s', '%s']::text[]" % (rng.choice('abc'), rng.choice('abc'))
    if key == 'enum':
        return "'%s'::mood" % rng.choice(['sad', 'ok', 'happy'])
    if key == 'comp':
        return "ROW(%s, '%s')::pair" % (rng.choice(['1', '2', 'NULL']), rng.choice('ab'))
    if key == 'bytea':
        return "'\\x%s'::bytea" % rng.choice(['00', '', 'deadbeef', 'ff00'])
    if key == 'ivl':
        return "'%d days %d hours'::interval" % (rng.randint(0, 20), rng.randint(0, 23))
    if key == 'inet':
        return "'10.0.0.%d%s'::inet" % (rng.randint(0, 9), rng.choice(['', '/24']))
    if key == 'range':
        return rng.choice(["'empty'::int4range", 'int4range(%d, %d)' % (rng.randint(0, 5), rng.randint(6, 9))])
    if key == 'point':
        return 'point(%d, %d)' % (rng.randint(0, 3), rng.randint(0, 3))
    raise KeyError(key)


def key_literal(rng, key, toast):
    """A value of a key column, out of line if it is to be toasted, but not too long for an index."""
    if toast and rng.random() < 0.7:
        return "repeat(md5('%d'), 70)" % rng.randint(0, 40)
    return literal(rng, key, nulls=0)


class Column:
    def __init__(self, name, key, generated=None, toast=False, notnull=False):
        self.name = name
        self.key = key
        self.generated = generated      # None, or what stands behind GENERATED
        self.toast = toast
        self.notnull = notnull
        self.in_key = False     # of a key that is not "id"

    @property
    def virtual(self):
        return 'VIRTUAL' in (self.generated or '')

    @property
    def indexable(self):
        return self.key not in ('json', 'xml', 'point') and not self.toast and not self.virtual


class Table:
    def __init__(self, name):
        self.name = name
        self.columns = []
        self.pk = None          # list of column names
        self.deferrable = False
        self.key = []           # columns of a unique index other than the primary key, or of a primary key without "id"
        self.bounds = {}        # of partitions, by their names
        self.partition = None   # 'list', 'range', 'hash'
        self.leaves = []        # partitions and children that rows can be sent to directly
        self.spare = None       # (bounds) of a partition that comes and goes
        self.inherits = False
        self.is_mirrored_by_key = False     # a view relies on its primary key

    @property
    def unique(self):
        """Something that ON CONFLICT can be about."""
        return bool(self.pk or self.key) and not self.deferrable

    def writable(self):
        return [c for c in self.columns if c.generated is None]

    def row(self, rng, k=None):
        values = []
        for c in self.writable():
            if c.name == 'id':
                values.append(str(rng.randint(0, 250)))
            elif c.name == 'k' and k is not None:
                values.append(str(k))
            elif c.name == 'k':
                values.append('NULL' if not c.notnull and rng.random() < 0.08 else str(rng.randint(0, 30)))
            elif c.in_key:
                values.append(key_literal(rng, c.key, c.toast))
            else:
                values.append(literal(rng, c.key, c.toast, 0 if c.notnull else 0.12))
        return '(' + ', '.join(values) + ')'

    def names(self):
        return ', '.join(c.name for c in self.writable())


class Schema:
    """A round's base tables: self.ddl creates them, self.tables describes them."""

    def __init__(self, rng, major, rows=60):
        self.rng = rng
        self.major = major      # version of the server
        self.tables = []
        self.ddl = list(PRELUDE)
        self.load = []
        for i in range(rng.randint(2, 4)):
            self._table('t%d' % i, rows)

    def _table(self, name, rows):
        rng = self.rng
        t = Table(name)
        t.partition = rng.choice([None] * 6 + ['list', 'range', 'hash'])
        t.inherits = t.partition is None and rng.random() < 0.15
        with_pk = rng.random() < 0.65
        knotnull = t.partition is not None and (with_pk or rng.random() < 0.7)
        columns = [Column('k', 'int4', notnull=knotnull)]
        if with_pk:
            t.pk = ['id', 'k'] if t.partition else ['id']
            t.deferrable = t.partition is None and rng.random() < 0.2
            columns.append(Column('id', 'int4', notnull=True))
        if t.partition is None and rng.random() < (0.25 if with_pk else 0.45):
            key = rng.choice(KEY_TYPES)
            columns.append(Column('u', key, toast=key == 'text' and rng.random() < 0.6, notnull=True))
            columns[-1].in_key = True
            t.key = ['u']
            if rng.random() < 0.3:
                columns[0].notnull = True
                t.key = rng.choice([['u', 'k'], ['k', 'u']])
        for i in range(rng.randint(0, 6)):
            key = rng.choice(COMMON_TYPES) if rng.random() < 0.5 else rng.choice(COLUMN_TYPES)
            toast = key in ('text', 'jsonb') and rng.random() < 0.25
            columns.append(Column('%s%d' % (name[0] + name[1:] + '_', i), key, toast=toast,
                                  notnull=rng.random() < 0.1))
        if rng.random() < 0.2:
            kind = rng.choice(['STORED', 'VIRTUAL']) if self.major >= 18 else 'STORED'
            columns.append(Column(name + '_g', 'int4', generated='ALWAYS AS (coalesce(k, 3) * 2) ' + kind))
        if t.partition is None and rng.random() < 0.3:
            rng.shuffle(columns)
        t.columns = columns

        defs = []
        drop = []
        for c in columns:
            if t.partition is None and rng.random() < 0.08:
                drop.append('gone%d' % len(drop))
                defs.append('%s %s DEFAULT %s' % (drop[-1], *rng.choice(
                    [('text', "'gone'"), ('bigint', '1'), ('integer[]', "'{1}'")])))
            line = '%s %s' % (c.name, TYPES[c.key][0])
            if c.generated:
                line += ' GENERATED ' + c.generated
            elif c.notnull:
                line += ' NOT NULL'
            defs.append(line)
        if t.pk:
            defs.append('PRIMARY KEY (%s)%s' % (', '.join(t.pk),
                                               ' DEFERRABLE INITIALLY IMMEDIATE' if t.deferrable else ''))
        tail = ''
        if t.partition:
            tail = ' PARTITION BY %s (k)' % t.partition.upper()
        elif rng.random() < 0.2:
            tail = ' WITH (fillfactor = 60)'
        self.ddl.append('CREATE TABLE %s (%s)%s' % (name, ', '.join(defs), tail))
        if t.partition:
            self._partitions(t)
        if t.inherits:
            self._children(t, rows)
        self._identity(t)
        for c in columns:
            if c.toast:
                self.ddl.append('ALTER TABLE %s ALTER %s SET STORAGE EXTERNAL' % (name, c.name))
        for i in range(rng.randint(0, 3)):
            self._index(t, i)
        n = rng.choice([0, 1, rows // 3, rows, rows, rows, 2 * rows, 2 * rows])
        conflict = ' ON CONFLICT DO NOTHING' if t.unique else ''
        tuples = []
        for i in range(n):
            tuples.append(t.row(rng))
        for at in range(0, n, 20):
            self.load.append('INSERT INTO %s (%s) VALUES %s%s' % (
                name, t.names(), ', '.join(tuples[at:at + 20]), conflict))
        for column in drop:
            self.load.append('ALTER TABLE %s DROP COLUMN %s' % (name, column))
        self.tables.append(t)

    def _children(self, t, rows):
        """With keys of their own, or without; keys of the parent among them, which nothing forbids."""
        rng = self.rng
        for suffix in rng.choice([['_child'], ['_child', '_child2']]):
            child = t.name + suffix
            self.ddl.append('CREATE TABLE %s () INHERITS (%s)' % (child, t.name))
            t.leaves.append(child)
            names = [c.name for c in t.columns if c.name in ('id', 'u')]
            if names and rng.random() < 0.7:
                key = rng.choice([names, names[:1], names[-1:]])
                if rng.random() < 0.5:
                    self.ddl.append('ALTER TABLE %s ADD PRIMARY KEY (%s)' % (child, ', '.join(key)))
                else:
                    self._unique(child, key)
            elif rng.random() < 0.5:
                self.ddl.append('ALTER TABLE %s REPLICA IDENTITY FULL' % child)
            self.load += ['INSERT INTO %s (%s) VALUES %s ON CONFLICT DO NOTHING' % (child, t.names(), t.row(rng))
                          for _ in range(rows // 4)]

    def _unique(self, name, key):
        """An index that names rows, perhaps with another column in it that does not."""
        include = ' INCLUDE (k)' if 'k' not in key and self.rng.random() < 0.2 else ''
        self.ddl.append('CREATE UNIQUE INDEX %s_key ON %s (%s)%s' % (name, name, ', '.join(key), include))
        if self.rng.random() < 0.8:
            self.ddl.append('ALTER TABLE %s REPLICA IDENTITY USING INDEX %s_key' % (name, name))

    def _identity(self, t):
        rng = self.rng
        if t.key and not t.pk and rng.random() < 0.4:
            self.ddl.append('ALTER TABLE %s ADD PRIMARY KEY (%s)' % (t.name, ', '.join(t.key)))
        elif t.key:
            self._unique(t.name, t.key)
        for name in [t.name] + t.leaves:
            if rng.random() < 0.12:
                self.ddl.append('ALTER TABLE %s REPLICA IDENTITY FULL' % name)

    def _partitions(self, t):
        rng = self.rng
        n = t.name
        two = rng.random() < 0.4
        sub = ' PARTITION BY HASH (k)' if two else ''
        if t.partition == 'hash':
            for i in range(3):
                t.leaves.append('%s_p%d' % (n, i))
                self.ddl.append('CREATE TABLE %s_p%d PARTITION OF %s FOR VALUES WITH (MODULUS 3, REMAINDER %d)'
                                % (n, i, n, i))
            return
        if t.partition == 'list':
            bounds = ['IN (%s)' % ', '.join(str(v) for v in range(0, 11)),
                      'IN (%s)' % ', '.join(str(v) for v in range(11, 26))]
            t.spare = 'IN (99)'
        else:
            bounds = ['FROM (MINVALUE) TO (10)', 'FROM (10) TO (26)']
            t.spare = 'FROM (99) TO (100)'
        for i, bound in enumerate(bounds):
            p = '%s_p%d' % (n, i)
            if i == 1 and rng.random() < 0.5:
                self._attach(t, p, bound)
                continue
            self.ddl.append('CREATE TABLE %s PARTITION OF %s FOR VALUES %s%s' % (p, n, bound, sub if i == 0 else ''))
            if i == 0 and two:
                for j in range(2):
                    self.ddl.append('CREATE TABLE %s_%d PARTITION OF %s FOR VALUES WITH (MODULUS 2, REMAINDER %d)'
                                    % (p, j, p, j))
                    t.leaves.append('%s_%d' % (p, j))
            else:
                t.leaves.append(p)
                t.bounds[p] = bound
        self.ddl.append('CREATE TABLE %s_rest PARTITION OF %s DEFAULT' % (n, n))
        t.leaves.append(n + '_rest')

    def _attach(self, t, name, bound):
        """A partition that has its columns in another order."""
        columns = list(t.columns)
        self.rng.shuffle(columns)
        defs = ['%s %s%s' % (c.name, TYPES[c.key][0], ' GENERATED ' + c.generated if c.generated
                             else ' NOT NULL' if c.notnull else '') for c in columns]
        if self.rng.random() < 0.3:
            defs.insert(0, 'gone integer')
        self.ddl.append('CREATE TABLE %s (%s)' % (name, ', '.join(defs)))
        if defs[0].startswith('gone'):
            self.ddl.append('ALTER TABLE %s DROP COLUMN gone' % name)
        self.ddl.append('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s' % (t.name, name, bound))
        t.leaves.append(name)
        t.bounds[name] = bound

    def _index(self, t, i):
        rng = self.rng
        c = rng.choice([c for c in t.columns if c.indexable])
        method = 'hash' if rng.random() < 0.15 and c.key not in ('comp',) else 'btree'
        where = ' WHERE k > 5' if rng.random() < 0.15 and method == 'btree' else ''
        self.ddl.append('CREATE INDEX %s_i%d ON %s USING %s (%s)%s' % (t.name, i, t.name, method, c.name, where))
