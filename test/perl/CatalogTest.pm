# What the catalogs say of the extension and its members, as text, so that two databases
# can be compared: one line for each fact, in order, without OIDs.
package CatalogTest;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(extension_catalog dependencies missing_lines);

# Everything that CREATE EXTENSION makes.  Internal tables of views, which come and go, are left out.
my $catalog = q{
WITH extension AS (SELECT * FROM pg_extension WHERE extname = 'pg_derive'),
member AS (
	SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS name FROM pg_depend d, extension e
	WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
		AND pg_describe_object(d.classid, d.objid, 0) !~ 'derive_state\.(state|rows)_\d'),
relation AS (SELECT m.name, c.* FROM member m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid),
fact AS (
	SELECT name, 'member' AS kind, '' AS value FROM member
	UNION ALL SELECT 'extension', 'properties', format('%s %s %s %s', extversion, extrelocatable, extnamespace::regnamespace,
		array(SELECT unnest(extconfig)::regclass::text ORDER BY 1)) FROM extension
	UNION ALL SELECT name, 'owner', pg_get_userbyid(relowner) FROM relation
	UNION ALL SELECT name, 'acl', x::text FROM relation, unnest(relacl) x
	UNION ALL SELECT name, 'relation', format('%s %s %s %s %s', relkind, relpersistence, reloptions, relispopulated, relreplident) FROM relation
	UNION ALL SELECT name, 'query', pg_get_viewdef(oid) FROM relation WHERE relkind IN ('v', 'm')
	UNION ALL SELECT name, 'index', pg_get_indexdef(indexrelid) FROM relation r JOIN pg_index ON indrelid = r.oid
	UNION ALL SELECT name, 'constraint', conname || ' ' || pg_get_constraintdef(c.oid) FROM relation r JOIN pg_constraint c ON conrelid = r.oid
	UNION ALL SELECT name, 'trigger', pg_get_triggerdef(t.oid) FROM relation r JOIN pg_trigger t ON tgrelid = r.oid
	UNION ALL SELECT name, 'column', format('%s %s %s %s %s %s %s %s', attnum, attname, format_type(atttypid, atttypmod),
			attcollation::regcollation, attnotnull, pg_get_expr(adbin, adrelid), attacl, col_description(r.oid, attnum))
		FROM relation r JOIN pg_attribute a ON attrelid = r.oid LEFT JOIN pg_attrdef ON adrelid = r.oid AND adnum = attnum WHERE attnum > 0
	UNION ALL SELECT name, 'function', CASE prokind WHEN 'a' THEN (SELECT format('%s %s %s %s %s %s', aggtransfn, aggfinalfn, aggcombinefn,
			aggtranstype::regtype, agginitval, proparallel) FROM pg_aggregate WHERE aggfnoid = p.oid) ELSE pg_get_functiondef(p.oid) END
		FROM member m JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
	UNION ALL SELECT name, 'owner', pg_get_userbyid(proowner) FROM member m JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid
	UNION ALL SELECT name, 'acl', x::text FROM member m JOIN pg_proc p ON classid = 'pg_proc'::regclass AND p.oid = objid, unnest(proacl) x
	UNION ALL SELECT name, 'type', format('%s %s %s %s %s %s %s', typtype, typlen, typbyval, typinput, typoutput, typowner::regrole, typacl)
		FROM member m JOIN pg_type t ON classid = 'pg_type'::regclass AND t.oid = objid
	UNION ALL SELECT name, 'schema', format('%s %s', nspowner::regrole, array(SELECT x::text FROM unnest(nspacl) x ORDER BY 1))
		FROM member m JOIN pg_namespace n ON classid = 'pg_namespace'::regclass AND n.oid = objid
	UNION ALL SELECT m.name, 'privileges of the extension', array(SELECT x::text FROM unnest(initprivs) x ORDER BY 1)::text
		FROM member m JOIN pg_init_privs i ON i.classoid = classid AND i.objoid = objid
	UNION ALL SELECT name, 'comment', obj_description(objid, (SELECT relname FROM pg_class c WHERE c.oid = classid)) FROM member
	UNION ALL SELECT name, 'label', label FROM member JOIN pg_seclabel ON classoid = classid AND objoid = objid
	UNION ALL SELECT name, 'depends', format('%s %s', deptype, pg_describe_object(refclassid, refobjid, refobjsubid))
		FROM member m JOIN pg_depend d ON d.classid = m.classid AND d.objid = m.objid WHERE deptype <> 'e')
SELECT (name || ': ' || kind || ': ' || replace(value, E'\n', ' ')) COLLATE "C" FROM fact WHERE value IS NOT NULL ORDER BY 1};

sub extension_catalog
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, $catalog);
}

# What depends on what, of the objects of people and ours.
sub dependencies
{
	my ($node, $db) = @_;
	return $node->safe_psql($db, q{
SELECT DISTINCT concat_ws(' ', pg_describe_object(classid, objid, objsubid), deptype, pg_describe_object(refclassid, refobjid, refobjsubid)) COLLATE "C"
FROM pg_depend WHERE objid >= 16384 ORDER BY 1});
}

# Lines of one text that another one does not have.
sub missing_lines
{
	my ($from, $in) = @_;
	my %there;
	$there{$_}++ for split /\n/, $in;
	return join("\n", grep { !($there{$_} && $there{$_}--) } split /\n/, $from);
}

1;
