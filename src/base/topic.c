/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  The token that the messages of topics carry; see topic.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/topic.h"
#include "catalog/pg_control.h"
#include "common/cryptohash.h"
#include "common/sha2.h"

uint64
derive_topic_token(void)
{
	static uint64 token = 0;
	static bool known = false;
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *hash;

	if (known)
		return token;

	hash = pg_cryptohash_create(PG_SHA256);
	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) DERIVE_TOPIC_PREFIX, strlen(DERIVE_TOPIC_PREFIX)) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) GetMockAuthenticationNonce(), MOCK_AUTH_NONCE_LEN) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the token of topics");
	pg_cryptohash_free(hash);

	memcpy(&token, digest, sizeof(token));
	known = true;
	return token;
}
