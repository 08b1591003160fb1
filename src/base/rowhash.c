/*-------------------------------------------------------------------------
 *
 * rowhash.c
 *	  Hash and equality of rows by their binary image.
 *
 * The image of a value is what its type's functions are given to work on, not
 * what happens to be stored: a compressed, out-of-line or short-header value
 * is the same value.  datum_image_eq() and datum_image_hash() of core see to
 * that at the top level only.  Inside of a composite value core leaves the
 * fields as they were when it was formed: a field may be compressed in one
 * copy and plain in another, depending on whether it came from a heap page or
 * from decoded WAL.  So composite values, and arrays of them, are normalised
 * first: taken apart, every field expanded, and put together again.
 *
 * A type of an extension may leave bytes of its values unset, the padding of a
 * C struct for one, so that a function which is called twice with the same
 * arguments returns two images.  Where the type has an equality operator we
 * trust it to have an image as well; where it has none, the only thing that
 * says what a value is is its text.  Such values are the same if their images
 * are, or else their texts, and their texts are hashed.  This costs a call of
 * the output function for each hash, but asks nothing of the type.  Types of
 * core are not concerned: core compares values by their images itself and sets
 * every byte of them.
 *
 *		SELECT st_extent(g) FROM t		box2d: no operator "=", six bytes of
 *										padding, the same text each time
 *
 * The hash is stored in indexes, so it must never change: neither the mixing
 * below nor the way in which values are reduced to bytes.  It is 64 bits wide
 * and chains over the columns, NULLs included, so it depends on their order.
 *
 * The image is also an order, of all values of a type: the bytes compared from
 * left to right.  It says nothing about the values, but it tells apart what
 * "=" does not (1.0 and 1.00), and every type has it.  SQL sees it as
 * derive_state.image("any").
 *
 * No type's own code is called but for those output functions; catalog look-ups
 * are made only for types outside of the built-in ones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "base/rowhash.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

typedef enum ImageKind
{
	IMAGE_PLAIN,				/* bytes */
	IMAGE_RECORD,				/* a composite value */
	IMAGE_ARRAY,				/* an array of something that is not plain */
	IMAGE_TEXT					/* known by its text only */
} ImageKind;

#define HASH_SEED		UINT64CONST(0x6a09e667f3bcc908)
#define HASH_OF_NULL	UINT64CONST(0xbb67ae8584caa73b)

PG_FUNCTION_INFO_V1(derive_row_hash_sql);
PG_FUNCTION_INFO_V1(derive_image_sql);

static Datum normalise_datum(Datum value, Oid type, bool keep_type);

/*
 * Temporary copies go here; reset by whoever begins to use it.  Nothing comes
 * back to this file while something is in it: output functions do not hash rows.
 */
static MemoryContext
scratch_context(void)
{
	static MemoryContext scratch = NULL;

	if (scratch == NULL)
		scratch = AllocSetContextCreate(TopMemoryContext, "pg_derive row images",
										ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(scratch);

	return scratch;
}

static ImageKind
image_kind(Oid type, Oid *element)
{
	TypeCacheEntry *entry;

	if (type == RECORDOID)
		return IMAGE_RECORD;
	if (type == RECORDARRAYOID)
	{
		*element = RECORDOID;
		return IMAGE_ARRAY;
	}
	if (type < FirstGenbkiObjectId)
		return IMAGE_PLAIN;

	entry = lookup_type_cache(type, TYPECACHE_DOMAIN_BASE_INFO);
	if (entry->typtype == TYPTYPE_DOMAIN)
		return image_kind(entry->domainBaseType, element);
	if (entry->typtype == TYPTYPE_COMPOSITE)
		return IMAGE_RECORD;
	if (OidIsValid(entry->typelem) && entry->typsubscript == F_ARRAY_SUBSCRIPT_HANDLER)
	{
		Oid			ignored;

		*element = entry->typelem;
		return image_kind(entry->typelem, &ignored) == IMAGE_PLAIN ? IMAGE_PLAIN : IMAGE_ARRAY;
	}
	if (entry->typtype == TYPTYPE_BASE && !entry->typbyval &&
		!OidIsValid(lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr))
		return IMAGE_TEXT;

	return IMAGE_PLAIN;
}

/*
 * The text of a value, whatever the settings of the session are: as in pg_dump,
 * no digit is lost and no date can be taken for another.
 */
static Datum
text_of(Datum value, Oid type)
{
	int			level = NewGUCNestLevel();
	Oid			output;
	bool		varlena;
	char	   *text;
	const struct
	{
		const char *name;
		const char *value;
		bool		needed;
	}			settings[] =
	{
		{"extra_float_digits", "3", extra_float_digits < 1},
		{"DateStyle", "ISO", DateStyle != USE_ISO_DATES},
		{"IntervalStyle", "postgres", IntervalStyle != INTSTYLE_POSTGRES},
	};

	for (int i = 0; i < lengthof(settings); i++)
		if (settings[i].needed)
			(void) set_config_option(settings[i].name, settings[i].value, PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	getTypeOutputInfo(type, &output, &varlena);
	text = OidOutputFunctionCall(output, value);

	AtEOXact_GUC(true, level);

	return CStringGetTextDatum(text);
}

/* Is the image of this column, which may be dropped, its text? */
static inline bool
is_text(Form_pg_attribute att)
{
	Oid			element;

	return !att->attisdropped && !att->attbyval && image_kind(att->atttypid, &element) == IMAGE_TEXT;
}

/*
 * Put a composite value together again from expanded fields.  If not to keep its
 * type, as a row of no particular type and without the NULLs at its end: ALTER TYPE
 * ... ADD ATTRIBUTE must not change the image of a value that is stored somewhere.
 */
static Datum
normalise_record(Datum value, bool keep_type)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
												   HeapTupleHeaderGetTypMod(header));
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);
	int			natts = desc->natts;
	TupleDesc	row_desc;
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			nulls[i] = true;
		else if (!nulls[i] && (att->attlen == -1 || is_text(att)))
			values[i] = normalise_datum(values[i], att->atttypid, keep_type);
	}
	if (keep_type)
		return PointerGetDatum(heap_form_tuple(desc, values, nulls)->t_data);

	while (natts > 0 && nulls[natts - 1])
		natts--;
	row_desc = CreateTemplateTupleDesc(natts);
	for (int i = 1; i <= natts; i++)
	{
		if (is_text(TupleDescAttr(desc, i - 1)))
			TupleDescInitBuiltinEntry(row_desc, i, "", TEXTOID, -1, 0);
		else
			TupleDescCopyEntry(row_desc, i, desc, i);
	}

	return PointerGetDatum(heap_form_tuple(row_desc, values, nulls)->t_data);
}

static Datum
normalise_array(Datum value, Oid element, bool keep_type)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int16		length;
	bool		byval;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			n;
	Oid			ignored;

	if (ARR_NDIM(array) == 0)
		return PointerGetDatum(array);

	get_typlenbyvalalign(element, &length, &byval, &align);
	deconstruct_array(array, element, length, byval, align, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			values[i] = normalise_datum(values[i], element, keep_type);
	}
	if (image_kind(element, &ignored) == IMAGE_TEXT)
	{
		element = TEXTOID;
		length = -1;
		align = TYPALIGN_INT;
	}

	return PointerGetDatum(construct_md_array(values, nulls, ARR_NDIM(array), ARR_DIMS(array),
											  ARR_LBOUND(array), element, length, byval, align));
}

/* Expand a value that is varlena, or known by its text, in every depth; allocates in the current context. */
static Datum
normalise_datum(Datum value, Oid type, bool keep_type)
{
	Oid			element;

	switch (image_kind(type, &element))
	{
		case IMAGE_RECORD:
			return normalise_record(value, keep_type);
		case IMAGE_ARRAY:
			return normalise_array(value, element, keep_type);
		case IMAGE_TEXT:
			if (keep_type)
				return get_typlen(type) == -1 ? PointerGetDatum(PG_DETOAST_DATUM(value)) : value;
			return text_of(value, type);
		case IMAGE_PLAIN:
			break;
	}

	return PointerGetDatum(PG_DETOAST_DATUM(value));
}

/* Does the image of this column need normalising? */
static inline bool
needs_normalising(Form_pg_attribute att)
{
	Oid			element;

	return !att->attbyval && image_kind(att->atttypid, &element) != IMAGE_PLAIN;
}

static inline uint64
mix(uint64 h)
{
	h ^= h >> 30;
	h *= UINT64CONST(0xbf58476d1ce4e5b9);
	h ^= h >> 27;
	h *= UINT64CONST(0x94d049bb133111eb);
	h ^= h >> 31;

	return h;
}

static uint64
hash_varlena(Datum value)
{
	struct varlena *packed = PG_DETOAST_DATUM_PACKED(value);
	uint64		hash;

	hash = hash_bytes_extended((unsigned char *) VARDATA_ANY(packed),
							   VARSIZE_ANY_EXHDR(packed), 0);
	if ((Pointer) packed != DatumGetPointer(value))
		pfree(packed);

	return hash;
}

static uint64
hash_byval(Datum value, int length)
{
	switch (length)
	{
		case sizeof(char):
			return mix((uint64) (int64) (int8) DatumGetChar(value));
		case sizeof(int16):
			return mix((uint64) (int64) DatumGetInt16(value));
		case sizeof(int32):
			return mix((uint64) (int64) DatumGetInt32(value));
		default:
			return mix((uint64) value);
	}
}

uint64
derive_datum_hash(Form_pg_attribute att, Datum value)
{
	uint64		hash;

	if (att->attbyval)
		return hash_byval(value, att->attlen);
	if (needs_normalising(att))
	{
		MemoryContext old = MemoryContextSwitchTo(scratch_context());

		hash = hash_varlena(normalise_datum(value, att->atttypid, false));
		MemoryContextSwitchTo(old);
		return hash;
	}
	if (att->attlen > 0)
		return hash_bytes_extended((unsigned char *) DatumGetPointer(value), att->attlen, 0);
	if (att->attlen == -2)
		return hash_bytes_extended((unsigned char *) DatumGetCString(value),
								   strlen(DatumGetCString(value)), 0);

	return hash_varlena(value);
}

bool
derive_datum_equal(Form_pg_attribute att, Datum a, Datum b)
{
	MemoryContext old;
	bool		equal;

	/* the same bytes, or the same TOAST pointer: no need to look inside */
	if (att->attlen == -1 && VARSIZE_ANY(DatumGetPointer(a)) == VARSIZE_ANY(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b), VARSIZE_ANY(DatumGetPointer(a))) == 0)
		return true;
	if (!needs_normalising(att))
		return datum_image_eq(a, b, att->attbyval, att->attlen);
	if (att->attlen != -1 && datum_image_eq(a, b, false, att->attlen))
		return true;

	old = MemoryContextSwitchTo(scratch_context());
	equal = datum_image_eq(normalise_datum(a, att->atttypid, false),
						   normalise_datum(b, att->atttypid, false), false, -1);
	MemoryContextSwitchTo(old);

	return equal;
}

/* The image as bytes, in the current context. */
static bytea *
image_of(Form_pg_attribute att, Datum value)
{
	const void *bytes = DatumGetPointer(value);
	Size		size = att->attlen;
	Datum		word;
	bytea	   *image;

	if (needs_normalising(att))
		return DatumGetByteaP(normalise_datum(value, att->atttypid, false));
	if (att->attlen == -1)
		return DatumGetByteaP(value);
	if (att->attlen == -2)
		size = strlen(DatumGetCString(value));
	else if (att->attbyval)
	{
		store_att_byval(&word, value, att->attlen);
		bytes = &word;
	}
	image = palloc(VARHDRSZ + size);
	SET_VARSIZE(image, VARHDRSZ + size);
	memcpy(VARDATA(image), bytes, size);

	return image;
}

int
derive_datum_compare(Form_pg_attribute att, Datum a, Datum b)
{
	MemoryContext old;
	bytea	   *x;
	bytea	   *y;
	int			result;

	if (derive_datum_equal(att, a, b))
		return 0;

	old = MemoryContextSwitchTo(scratch_context());
	x = image_of(att, a);
	y = image_of(att, b);
	result = memcmp(VARDATA(x), VARDATA(y), Min(VARSIZE(x), VARSIZE(y)) - VARHDRSZ);
	if (result == 0)
		result = VARSIZE(x) < VARSIZE(y) ? -1 : 1;
	MemoryContextSwitchTo(old);

	return result;
}

Datum
derive_datum_image(Oid type, Datum value)
{
	return normalise_datum(value, type, true);
}

static inline uint64
add_column(uint64 hash, Form_pg_attribute att, Datum value, bool isnull)
{
	uint64		column = isnull ? HASH_OF_NULL : derive_datum_hash(att, value);

	return mix(hash_combine64(hash, column));
}

int64
derive_row_hash(TupleTableSlot *slot, int nattrs, const AttrNumber *attrs)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;
	uint64		hash = HASH_SEED;

	slot_getallattrs(slot);
	if (nattrs == 0)
		return derive_values_hash(desc, slot->tts_values, slot->tts_isnull);

	for (int i = 0; i < nattrs; i++)
	{
		int			attno = attrs[i] - 1;

		hash = add_column(hash, TupleDescAttr(desc, attno),
						  slot->tts_values[attno], slot->tts_isnull[attno]);
	}

	return (int64) hash;
}

int64
derive_values_hash(TupleDesc desc, const Datum *values, const bool *nulls)
{
	uint64		hash = HASH_SEED;

	for (int i = 0; i < desc->natts; i++)
		hash = add_column(hash, TupleDescAttr(desc, i), values[i], nulls[i]);

	return (int64) hash;
}

bool
derive_row_equal(TupleTableSlot *a, TupleTableSlot *b, int nattrs, const AttrNumber *attrs)
{
	TupleDesc	desc = a->tts_tupleDescriptor;
	int			n = nattrs > 0 ? nattrs : desc->natts;

	slot_getallattrs(a);
	slot_getallattrs(b);
	for (int i = 0; i < n; i++)
	{
		int			attno = nattrs > 0 ? attrs[i] - 1 : i;

		if (a->tts_isnull[attno] != b->tts_isnull[attno])
			return false;
		if (!a->tts_isnull[attno] &&
			!derive_datum_equal(TupleDescAttr(desc, attno),
								a->tts_values[attno], b->tts_values[attno]))
			return false;
	}

	return true;
}

/*
 * derive_state.row_hash(record) returns bigint
 *
 * Dropped columns of a named composite type are passed over, so that the
 * hash of a whole row does not depend on them.
 */
Datum
derive_row_hash_sql(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header;
	TupleDesc	desc;
	HeapTupleData tuple;
	Datum	   *values;
	bool	   *nulls;
	uint64		hash = HASH_SEED;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();

	header = PG_GETARG_HEAPTUPLEHEADER(0);
	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
								  HeapTupleHeaderGetTypMod(header));
	values = palloc(sizeof(Datum) * desc->natts);
	nulls = palloc(sizeof(bool) * desc->natts);
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			hash = add_column(hash, att, values[i], nulls[i]);
	}
	ReleaseTupleDesc(desc);

	PG_RETURN_INT64((int64) hash);
}

/*
 * derive_state.image("any") returns bytea
 */
Datum
derive_image_sql(PG_FUNCTION_ARGS)
{
	FormData_pg_attribute *att = fcinfo->flinfo->fn_extra;

	if (att == NULL)
	{
		att = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(FormData_pg_attribute));
		att->atttypid = get_fn_expr_argtype(fcinfo->flinfo, 0);
		if (!OidIsValid(att->atttypid))
			elog(ERROR, "could not determine the type of the argument");
		get_typlenbyval(att->atttypid, &att->attlen, &att->attbyval);
		fcinfo->flinfo->fn_extra = att;
	}

	PG_RETURN_BYTEA_P(image_of(att, PG_GETARG_DATUM(0)));
}
