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
 * The hash is stored in indexes, so it must never change: neither the mixing
 * below nor the way in which values are reduced to bytes.  It is 64 bits wide
 * and chains over the columns, NULLs included, so it depends on their order.
 *
 * No type's own code is called, only catalog look-ups are made, and those only
 * for types outside of the built-in ones.
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
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

typedef enum ImageKind
{
	IMAGE_PLAIN,				/* bytes */
	IMAGE_RECORD,				/* a composite value */
	IMAGE_ARRAY					/* an array of something that is not plain */
} ImageKind;

#define HASH_SEED		UINT64CONST(0x6a09e667f3bcc908)
#define HASH_OF_NULL	UINT64CONST(0xbb67ae8584caa73b)

PG_FUNCTION_INFO_V1(derive_row_hash_sql);

static Datum normalise_datum(Datum value, Oid type);

/*
 * Temporary copies go here; reset by whoever begins to use it.  No function
 * of this file runs foreign code while it holds something in it.
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

	return IMAGE_PLAIN;
}

/*
 * Put a composite value together again from expanded fields, as a row of no
 * particular type and without the NULLs at its end: ALTER TYPE ... ADD ATTRIBUTE
 * must not change the image of a value that is stored somewhere.
 */
static Datum
normalise_record(Datum value)
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
		else if (!nulls[i] && att->attlen == -1)
			values[i] = normalise_datum(values[i], att->atttypid);
	}

	while (natts > 0 && nulls[natts - 1])
		natts--;
	row_desc = CreateTemplateTupleDesc(natts);
	for (int i = 1; i <= natts; i++)
		TupleDescCopyEntry(row_desc, i, desc, i);

	return PointerGetDatum(heap_form_tuple(row_desc, values, nulls)->t_data);
}

static Datum
normalise_array(Datum value, Oid element)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int16		length;
	bool		byval;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (ARR_NDIM(array) == 0)
		return PointerGetDatum(array);

	get_typlenbyvalalign(element, &length, &byval, &align);
	deconstruct_array(array, element, length, byval, align, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			values[i] = normalise_datum(values[i], element);
	}

	return PointerGetDatum(construct_md_array(values, nulls, ARR_NDIM(array), ARR_DIMS(array),
											  ARR_LBOUND(array), element, length, byval, align));
}

/* Expand a varlena value in every depth; allocates in the current context. */
static Datum
normalise_datum(Datum value, Oid type)
{
	Oid			element;

	switch (image_kind(type, &element))
	{
		case IMAGE_RECORD:
			return normalise_record(value);
		case IMAGE_ARRAY:
			return normalise_array(value, element);
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

	return att->attlen == -1 && image_kind(att->atttypid, &element) != IMAGE_PLAIN;
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
	if (att->attlen > 0)
		return hash_bytes_extended((unsigned char *) DatumGetPointer(value), att->attlen, 0);
	if (att->attlen == -2)
		return hash_bytes_extended((unsigned char *) DatumGetCString(value),
								   strlen(DatumGetCString(value)), 0);

	if (needs_normalising(att))
	{
		MemoryContext old = MemoryContextSwitchTo(scratch_context());

		hash = hash_varlena(normalise_datum(value, att->atttypid));
		MemoryContextSwitchTo(old);
	}
	else
		hash = hash_varlena(value);

	return hash;
}

bool
derive_datum_equal(Form_pg_attribute att, Datum a, Datum b)
{
	MemoryContext old;
	bool		equal;

	if (att->attlen != -1)
		return datum_image_eq(a, b, att->attbyval, att->attlen);

	/* the same bytes, or the same TOAST pointer: no need to look inside */
	if (VARSIZE_ANY(DatumGetPointer(a)) == VARSIZE_ANY(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b), VARSIZE_ANY(DatumGetPointer(a))) == 0)
		return true;
	if (!needs_normalising(att))
		return datum_image_eq(a, b, false, -1);

	old = MemoryContextSwitchTo(scratch_context());
	equal = datum_image_eq(normalise_datum(a, att->atttypid),
						   normalise_datum(b, att->atttypid), false, -1);
	MemoryContextSwitchTo(old);

	return equal;
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
