/*-------------------------------------------------------------------------
 *
 * blob.c
 *	  Bytes that are sent to many clients, and are there once.
 *
 *-------------------------------------------------------------------------
 */
#include "blob.h"

#include "memory.h"

#include <stdlib.h>
#include <string.h>

int64_t		gw_result_bytes;

GwBlob *
gw_blob_create(ClientBuffer *buffer)
{
	GwBlob	   *blob = client_alloc(sizeof(GwBlob) + buffer->length + 1);

	blob->references = 1;
	blob->is_result = false;
	blob->length = buffer->length;
	if (buffer->length > 0)
		memcpy(blob->data, buffer->data, buffer->length);
	client_buffer_clear(buffer);
	return blob;
}

GwBlob *
gw_blob_create_result(ClientBuffer *buffer)
{
	GwBlob	   *blob = gw_blob_create(buffer);

	blob->is_result = true;
	gw_result_bytes += (int64_t) blob->length;
	return blob;
}

GwBlob *
gw_blob_keep(GwBlob *blob)
{
	blob->references++;
	return blob;
}

void
gw_blob_release(GwBlob *blob)
{
	if (blob == NULL || --blob->references > 0)
		return;
	if (blob->is_result)
		gw_result_bytes -= (int64_t) blob->length;
	free(blob);
}
