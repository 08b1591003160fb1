/*-------------------------------------------------------------------------
 *
 * auth.h
 *	  Who a client is: the role that it reads as.
 *
 *	Authorization: Bearer TOKEN		a JWT, signed with HS256 or RS256, whose claim "role" (jwt_role_claim)
 *									has it; exp, nbf and, if asked for, aud are checked
 *	X-API-Key: KEY					a line of the file api_keys has the SHA-256 of KEY
 *	neither							anonymous_role
 *
 *-------------------------------------------------------------------------
 */
#ifndef GW_AUTH_H
#define GW_AUTH_H

#include "request.h"

#include <stddef.h>

/* What proved it. */
typedef enum GwProof
{
	GW_NO_PROOF,				/* it is the anonymous role */
	GW_API_KEY,
	GW_HMAC_TOKEN,
	GW_SIGNED_TOKEN
} GwProof;

typedef struct GwIdentity
{
	char		role[GW_MAX_NAME + 1];
	int64_t		expires;		/* seconds since 1970; 0: never */
	GwProof		proof;
	unsigned char secret[32];	/* SHA-256 of the key, or of what verified the
								 * token */
} GwIdentity;

/*
 * Read the files that the settings name; again after SIGHUP.  NULL, or what is wrong,
 * for free(); then what was there before holds.
 */
extern char *gw_auth_load(void);

/*
 * By the value of a header Authorization, that of X-API-Key, and a token from the URL,
 * each of which may be NULL.  NULL, or why not, for the client.
 */
extern const char *gw_auth_identify(const char *authorization, const char *api_key, const char *url_token,
									GwIdentity *identity);

/* Is there still what proved it, with the same role?  To be asked after gw_auth_load(). */
extern bool gw_auth_holds(const GwIdentity *identity);

/* One line of the file of keys: "ROLE SHA256".  False if it is none; a comment or blank one leaves role empty. */
extern bool gw_auth_parse_key(const char *line, char role[GW_MAX_NAME + 1], unsigned char hash[32]);

/* A line of the file for a key that is read from standard input. */
extern int	gw_auth_hash_key(const char *role);

#endif
