/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  The messages of topics: what both ends need.
 *
 * The seal is SipHash-2-4 of the transaction, the topic and the row.  Its key is
 * from the nonce that initdb put into the control file, which no SQL function
 * shows, which all processes have at hand, and which a standby that is promoted
 * has as well.  The transaction is part of it, so that somebody who may read the
 * log cannot write a message again that he found there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/topic.h"

typedef struct SipState
{
	uint64		v0,
				v1,
				v2,
				v3;
} SipState;

static inline uint64
rotate(uint64 x, int n)
{
	return (x << n) | (x >> (64 - n));
}

static inline void
sip_round(SipState *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 = rotate(s->v2, 32);
}

static inline void
sip_word(SipState *s, uint64 word)
{
	s->v3 ^= word;
	sip_round(s);
	sip_round(s);
	s->v0 ^= word;
}

uint64
derive_topic_seal(FullTransactionId xid, Oid topic, const char *row, Size size)
{
	uint64		key[2];
	uint64		word;
	SipState	s;

	memcpy(key, GetMockAuthenticationNonce(), sizeof(key));
	s.v0 = key[0] ^ UINT64CONST(0x736f6d6570736575);
	s.v1 = key[1] ^ UINT64CONST(0x646f72616e646f6d);
	s.v2 = key[0] ^ UINT64CONST(0x6c7967656e657261);
	s.v3 = key[1] ^ UINT64CONST(0x7465646279746573);

	sip_word(&s, U64FromFullTransactionId(xid));
	sip_word(&s, ((uint64) topic << 32) | (uint32) size);
	for (; size >= sizeof(word); size -= sizeof(word), row += sizeof(word))
	{
		memcpy(&word, row, sizeof(word));
		sip_word(&s, word);
	}
	word = 0;
	memcpy(&word, row, size);
	sip_word(&s, word);

	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
