"""Conditions with now(): rows enter and leave while a round runs.

A condition compares a column, or a moment made of a number, with the present plus
or minus a constant.  It is one of those that must hold in WHERE, in ON or in
HAVING; what pg_derive refuses (ON of an outer join, say) is counted.  Moments of
the tables are around the time when the round was made (fuzz_schema.py: near()),
and the constants as well, so that rows pass them all the time.

What the query of a view is, is a question of the time: at() puts the one at which
the view stands, derive.views.as_of, in place of the present.
"""

import re

from fuzz_schema import near

PRESENT = {
    'now()': "'%s'::timestamptz",
    'transaction_timestamp()': "'%s'::timestamptz",
    'CURRENT_TIMESTAMP': "'%s'::timestamptz",
    'LOCALTIMESTAMP': "('%s'::timestamptz)::timestamp",
    'CURRENT_DATE': "('%s'::timestamptz)::date",
}
PATTERN = re.compile('|'.join(re.escape(p) for p in PRESENT))


def at(sql, time):
    """The statement as it is at this time; as it stands if it is none."""
    return PATTERN.sub(lambda m: '(' + PRESENT[m.group()] % time + ')', sql) if time else sql


def is_timed(sql):
    return PATTERN.search(sql) is not None


class Times:
    def block(self, depth, top=False):
        if self.on('time', 0.15):
            made = self.recent_groups(depth)
            if made:
                return made
        return super().block(depth, top)

    def from_clause(self, depth, n=None):
        sql, scope, where = super().from_clause(depth, n)
        if scope and self.on('time', 0.3 if self.levels else 0.6):
            where = where + [self.passing(scope) for _ in range(self.rng.choice([1, 1, 1, 2]))]
        return sql, scope, where

    def condition(self, left, right):
        made = super().condition(left, right)
        return '(%s AND %s)' % (made, self.passing(left + right)) if made and self.on('time', 0.1) else made

    def recent_groups(self, depth):
        """Groups come and go with their last row, or by a condition in HAVING."""
        tail, scope = self.source(depth, 1)
        moments = [(e, k) for e, k in scope if k in ('tstz', 'ts')]
        keys = [(e, k) for e, k in scope if k in ('int4', 'text', 'date', 'bool')]
        if not moments or not keys:
            return None
        key, moment = self.rng.choice(keys), self.rng.choice(moments)
        last = ('%s(%s)' % (self.rng.choice(['max', 'min']), moment[0]), moment[1])
        having = self.compared(last[0], last[1])
        return self.finish([key, last, ('count(*)', 'int8')], '', tail, ' GROUP BY %s HAVING %s' % (key[0], having))

    def passing(self, scope):
        """A condition by which rows of the scope come and go."""
        r = self.rng
        self.used.add('time')
        moments = [(e, k) for e, k in scope if k in ('tstz', 'ts', 'date')]
        numbers = [e for e, k in scope if k == 'int4']
        if numbers and (not moments or self.chance(0.4)):
            # one that lies so many seconds after another one
            key = r.choice(['ts', 'ts', 'tstz'])
            return self.compared("(%s + %s * interval '%s')" % (near(r, key), r.choice(numbers), r.choice(['1 second', '0.2 seconds', '-1 second'])),
                                 key)
        if not moments:
            return self.compared(near(r, 'tstz'), 'tstz')
        e, key = r.choice(moments)
        if self.chance(0.15):
            e = "coalesce(%s, '%s')" % (e, r.choice(['infinity', '-infinity']))
        return self.compared(e, key)

    def compared(self, e, key):
        r = self.rng
        c = r.random()
        if c < 0.2:
            return '%s BETWEEN %s AND %s' % (e, self.present(key), self.present(key))
        if c < 0.35:
            return '%s %s %s' % (self.present(key), r.choice(['<', '<=', '>', '>=']), e)
        return '%s %s %s' % (e, r.choice(['<', '<=', '>', '>=', '>', '='] if key == 'date' else ['<', '<=', '>', '>=']), self.present(key))

    def present(self, key):
        """Now, plus or minus a constant."""
        r = self.rng
        if key == 'date':
            return 'CURRENT_DATE' + r.choice(['', '', ' - 1', ' + 1', ' - 600'])
        now = 'LOCALTIMESTAMP' if key == 'ts' else r.choice(['now()', 'now()', 'CURRENT_TIMESTAMP', 'transaction_timestamp()'])
        c = r.random()
        if c < 0.2:
            return now
        if c < 0.3:
            return "date_trunc('%s', %s)" % (r.choice(['second', 'minute', 'hour']), now)
        length = '%d seconds' % r.choice([r.randint(0, 60), r.randint(0, 200), 3600, 86400]) if self.chance(0.85) else '1 month'
        return "(%s %s interval '%s')" % (now, r.choice('-+'), length)
