"""Random views by derivations in C, over tables and views of a round.

A Derivation looks like a Query: "sql" is its definition, a SELECT over
derive.apply(), which is also what the view is compared with.  Derivations that
are no function of the present rows (topics, histories) are in fuzz_feeds.py.

Which columns a derivation accepts is left to itself: what it refuses is counted
and replaced, as for SELECTs.
"""

import json

# equal values have equal images, and so can be nodes, users, groups
IMAGE = ['int4', 'int8', 'text', 'vc', 'bpchar', 'bool', 'date', 'ts', 'tstz', 'uuid', 'enum', 'dom', 'bytea', 'inet']
TEXTS = ['text', 'vc', 'bpchar']
TIMES = ['ts', 'tstz']
HASHED = [k for k in IMAGE if k != 'dom'] + ['num', 'num2', 'f8', 'jsonb', 'inta', 'texta', 'ivl', 'range', 'comp']

# A mistake in a declaration, and that a name was changed meanwhile.
REFUSED = ('0A000', '42804', '42883')


def literal_array(values):
    return "'{%s}'" % ', '.join('"%s"' % v for v in values)


def quoted(options):
    return json.dumps(options).replace("'", "''")


class Derivation:
    several = False         # one right answer

    def __init__(self, rng, relations, tables, column_types, examples):
        self.rng = rng
        self.tables = {t.name: t for t in tables}
        self.column_types = column_types    # function: name of a relation -> {column: SQL type} or {}
        self.reads = set()
        self.degree = 1
        self.key = []
        self.options = {}
        self.columns = []
        self.sql = None
        usable = [r for r in relations if r.kind in ('table', 'leaf', 'maintained')]
        relation = rng.choice(usable)
        kinds = [self.reachability, self.reachability, self.sessionize, self.inverted_index, self.approx_distinct]
        if examples:
            kinds += [self.mirror, self.mirror]
        self.sources = [relation]
        self.types = column_types(relation.name)
        self.name = None
        if self.types:
            rng.choice(kinds)(relation)
        if self.name is not None:
            self.reads = {r.name for r in self.sources}
            self.degree *= max(r.degree for r in self.sources)
            self.sql = self.definition()

    def definition(self):
        """The SELECT, with the SQL types of its columns."""
        sources = ', '.join("'%s'::regclass" % r.name for r in self.sources)
        columns = ', '.join('%s %s' % (name, sql) for name, _, sql in self.columns)
        self.columns = [(name, key) for name, key, _ in self.columns]
        return "SELECT * FROM derive.apply('%s', ARRAY[%s], %s::text[], '%s'::jsonb) AS t(%s)" % (
            self.name, sources, literal_array(self.key), quoted(self.options), columns)

    def declare(self, view):
        """The two ways to say the same."""
        if self.rng.random() < 0.5:
            return "SELECT derive.create_view('%s', $fuzz$%s$fuzz$)" % (view, self.sql)
        return ("SELECT derive.create_view('%s', derivation => '%s', sources => '{%s}', key => %s, options => '%s', "
                "columns => $fuzz$%s$fuzz$)" % (
                    view, self.name, ', '.join(r.name for r in self.sources),
                    literal_array(self.key) if self.key else 'NULL', quoted(self.options),
                    self.sql[self.sql.rindex(' AS t(') + len(' AS t'):]))

    # ---- columns of the source

    def pick(self, relation, keys, other=None):
        found = [(n, k) for n, k in relation.columns if k in keys and n in self.types and n != other]
        return self.rng.choice(found) if found else None

    def column(self, chosen, name=None):
        return (name or chosen[0], chosen[1], self.types[chosen[0]])

    # ---- the derivations

    def reachability(self, relation):
        source = self.pick(relation, ['int4'] * 3 + IMAGE)
        if not source:
            return
        same = [c for c in relation.columns if c[1] == source[1] and c[0] != source[0]
                and self.types.get(c[0]) == self.types[source[0]]]
        if not same:
            return
        target = self.rng.choice(same)
        self.name = 'reachability'
        self.options = {'source': source[0], 'target': target[0]}
        self.columns = [self.column(source, 'src'), self.column(target, 'dst')]
        self.degree = 2

    def sessionize(self, relation):
        user = self.pick(relation, IMAGE)
        time = self.pick(relation, TIMES)
        if not user or not time:
            return
        self.name = 'sessionize'
        self.options = {'user': user[0], 'time': time[0],
                        'gap': self.rng.choice(['1 hour', '1 hour', '3 hours', '1 day', '1 microsecond', '59:59.999999'])}
        self.columns = [self.column(user, 'who'), self.column(time, 'session_start'), self.column(time, 'session_end'),
                        ('n', 'int8', 'bigint')]

    def inverted_index(self, relation):
        table = self.tables.get(relation.name)
        text = self.pick(relation, TEXTS)
        document = ('id', 'int4') if table and table.pk == ['id'] else self.pick(relation, ['id', 'int4', 'int8', 'text', 'uuid'])
        if not text or not document or document[0] not in self.types:
            return
        self.name = 'inverted_index'
        self.options = {'document': document[0], 'text': text[0]}
        if self.rng.random() < 0.5:
            self.options['config'] = self.rng.choice(['pg_catalog.simple', 'english', 'pg_catalog.german'])
        self.columns = [('word', 'text', 'text'), self.column(document, 'document'), ('positions', 'inta', 'integer[]'),
                        ('frequency', 'int4', 'integer'), ('len', 'int4', 'integer')]

    def approx_distinct(self, relation):
        value = self.pick(relation, HASHED)
        if not value:
            return
        self.name = 'approx_distinct'
        self.options = {'value': value[0]}
        if self.rng.random() < 0.4:
            self.options['bits'] = self.rng.choice([4, 5, 8, 14])
        elif self.rng.random() < 0.4:
            self.options['error'] = self.rng.choice([0.1, 0.02])
        for _ in range(self.rng.choice([0, 1, 1, 2])):
            group = self.pick(relation, IMAGE, 'estimate')
            if group and group[0] not in self.key:
                self.key.append(group[0])
                self.columns.append(self.column(group))
        self.columns.append(('estimate', 'int8', 'bigint'))

    def mirror(self, relation):
        """Of one relation, or of a column that all tables have."""
        names = [c for c in relation.columns if c[0] in self.types and c[0] != 'source']
        table = self.tables.get(relation.name)
        if table and self.rng.random() < 0.3:
            # a partition may be there beside its table
            others = [Source(name) for t in self.tables.values() for name in [t.name] + t.leaves if name != relation.name]
            self.sources += self.rng.sample(others, self.rng.randint(1, min(3, len(others))))
            names = [('k', 'int4')]
        elif table and table.pk and not table.deferrable and not table.inherits and self.rng.random() < 0.6:
            self.key = ['source'] + table.pk
            table.is_mirrored_by_key = True
        elif self.rng.random() < 0.3:
            names = self.rng.sample(names, self.rng.randint(1, len(names)))
        self.name = 'mirror'
        self.columns = [('source', 'int4', 'integer')] + [self.column(c) for c in names]


class Source:
    """A table as one more source of a mirror."""

    def __init__(self, name):
        self.name = name
        self.degree = 1
