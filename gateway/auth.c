/*-------------------------------------------------------------------------
 *
 * auth.c
 *	  Who a client is: the role that it reads as.
 *
 * A token is good for the algorithm of the key that verifies it, and for no other: else
 * a token "signed" with HS256 by the public key, which everybody has, would be taken.
 *
 * An API key has enough bits of its own, so that its hash needs no salt and no slowness.
 *
 *-------------------------------------------------------------------------
 */
#include "auth.h"

#include "buffer.h"
#include "log.h"
#include "memory.h"
#include "settings.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <jwt.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

typedef struct ApiKey
{
	char		role[GW_MAX_NAME + 1];
	unsigned char hash[SHA256_DIGEST_LENGTH];
} ApiKey;

/* What the files have; replaced as a whole. */
typedef struct Secrets
{
	char	   *hmac;			/* for HS256; or NULL */
	size_t		hmac_length;
	char	   *public_key;		/* for RS256; or NULL */
	size_t		public_key_length;
	ApiKey	   *keys;
	int			key_count;
} Secrets;

static Secrets secrets;


/* ----------------------------------------------------------------
 *		Files
 * ----------------------------------------------------------------
 */

static void
free_secrets(Secrets *old)
{
	if (old->hmac != NULL)
		OPENSSL_cleanse(old->hmac, old->hmac_length);
	free(old->hmac);
	free(old->public_key);
	free(old->keys);
}

/* The text of a file, for free(); or NULL, and why. */
static char *
read_file(const char *path, size_t *length, char **wrong)
{
	ClientBuffer text = {0};
	char		part[4096];
	size_t		n;
	FILE	   *file = fopen(path, "r");

	if (file == NULL)
	{
		*wrong = client_sprintf("cannot read \"%s\": %s", path, strerror(errno));
		return NULL;
	}
	while ((n = fread(part, 1, sizeof(part), file)) > 0)
		client_buffer_add(&text, part, n);
	if (ferror(file))
		*wrong = client_sprintf("cannot read \"%s\": %s", path, strerror(errno));
	fclose(file);
	*length = text.length;
	if (*wrong != NULL)
	{
		client_buffer_free(&text);
		return NULL;
	}
	return client_buffer_take(&text);
}

static int
hex_digit(char c)
{
	return isdigit((unsigned char) c) ? c - '0' : isxdigit((unsigned char) c) ? (c | 0x20) - 'a' + 10 : -1;
}

bool
gw_auth_parse_key(const char *line, char role[GW_MAX_NAME + 1], unsigned char hash[32])
{
	const char *end;

	role[0] = '\0';
	line += strspn(line, " \t");
	if (*line == '\0' || *line == '#')
		return true;
	end = line + strcspn(line, " \t");
	if (end - line > GW_MAX_NAME)
		return false;
	memcpy(role, line, (size_t) (end - line));
	role[end - line] = '\0';
	end += strspn(end, " \t");
	for (int i = 0; i < SHA256_DIGEST_LENGTH; i++, end += 2)
	{
		if (hex_digit(end[0]) < 0 || hex_digit(end[1]) < 0)
			return false;
		hash[i] = (unsigned char) (hex_digit(end[0]) * 16 + hex_digit(end[1]));
	}
	return end[strspn(end, " \t\r")] == '\0';
}

static char *
read_keys(Secrets *new, char *text, const char *path)
{
	int			number = 0;

	for (char *line; (line = strsep(&text, "\n")) != NULL;)
	{
		ApiKey		key;

		number++;
		if (!gw_auth_parse_key(line, key.role, key.hash))
			return client_sprintf("%s, line %d: not of the form: ROLE SHA256", path, number);
		if (key.role[0] == '\0')
			continue;
		new->keys = client_realloc(new->keys, (size_t) (new->key_count + 1) * sizeof(ApiKey));
		new->keys[new->key_count++] = key;
	}
	return NULL;
}

char *
gw_auth_load(void)
{
	Secrets		new = {0};
	char	   *wrong = NULL;

	if (gw_settings.jwt_secret != NULL)
	{
		new.hmac = read_file(gw_settings.jwt_secret, &new.hmac_length, &wrong);
		/* the line end of an editor is not meant */
		if (new.hmac != NULL && new.hmac_length > 0 && new.hmac[new.hmac_length - 1] == '\n')
			new.hmac_length--;
		if (wrong == NULL && new.hmac_length < 32)
			wrong = client_sprintf("the secret in \"%s\" is shorter than 32 bytes, which HS256 asks for", gw_settings.jwt_secret);
	}
	if (wrong == NULL && gw_settings.jwt_public_key != NULL)
		new.public_key = read_file(gw_settings.jwt_public_key, &new.public_key_length, &wrong);
	if (wrong == NULL && gw_settings.api_keys != NULL)
	{
		size_t		length;
		char	   *text = read_file(gw_settings.api_keys, &length, &wrong);

		if (text != NULL)
			wrong = read_keys(&new, text, gw_settings.api_keys);
		free(text);
	}
	if (wrong != NULL)
	{
		free_secrets(&new);
		return wrong;
	}
	free_secrets(&secrets);
	secrets = new;
	return NULL;
}

int
gw_auth_hash_key(const char *role)
{
	char		key[1024];
	unsigned char hash[SHA256_DIGEST_LENGTH];

	if (fgets(key, sizeof(key), stdin) == NULL)
		return 1;
	key[strcspn(key, "\r\n")] = '\0';
	if (strlen(key) < 16)
	{
		fprintf(stderr, "a key of less than 16 characters can be guessed; try: openssl rand -hex 24\n");
		return 1;
	}
	SHA256((const unsigned char *) key, strlen(key), hash);
	printf("%s ", role);
	for (size_t i = 0; i < sizeof(hash); i++)
		printf("%02x", hash[i]);
	printf("\n");
	return 0;
}


/* ----------------------------------------------------------------
 *		Clients
 * ----------------------------------------------------------------
 */

static const char *
identify_by_key(const char *api_key, GwIdentity *identity)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];

	SHA256((const unsigned char *) api_key, strlen(api_key), hash);
	for (int i = 0; i < secrets.key_count; i++)
	{
		if (CRYPTO_memcmp(secrets.keys[i].hash, hash, sizeof(hash)) == 0)
		{
			memcpy(identity->role, secrets.keys[i].role, sizeof(identity->role));
			identity->proof = GW_API_KEY;
			memcpy(identity->secret, hash, sizeof(hash));
			return NULL;
		}
	}
	return "the API key is not known";
}

/* Is this one of the token's audiences?  The claim is a text or an array of texts. */
static bool
has_audience(jwt_t *jwt, const char *audience)
{
	const char *one = jwt_get_grant(jwt, "aud");
	char	   *text;
	json_t	   *array;
	json_t	   *element;
	size_t		i;
	bool		result = false;

	if (one != NULL)
		return strcmp(one, audience) == 0;
	text = jwt_get_grants_json(jwt, "aud");
	array = text ? json_loads(text, 0, NULL) : NULL;
	json_array_foreach(array, i, element)
	{
		if (json_is_string(element) && strcmp(json_string_value(element), audience) == 0)
			result = true;
	}
	json_decref(array);
	free(text);
	return result;
}

/* A claim that is a time: 0 if there is none, -1 if it is no integer. */
static int64_t
time_claim(jwt_t *jwt, const char *name)
{
	int64_t		result;

	errno = 0;
	result = jwt_get_grant_int(jwt, name);
	if (errno == ENOENT)
		return 0;
	return errno != 0 || result <= 0 ? -1 : result;
}

static const char *
check_claims(jwt_t *jwt, GwIdentity *identity)
{
	int64_t		now = time(NULL);
	int64_t		not_before = time_claim(jwt, "nbf");
	const char *role = jwt_get_grant(jwt, gw_settings.jwt_role_claim);

	identity->expires = time_claim(jwt, "exp");
	if (identity->expires < 0 || not_before < 0)
		return "exp and nbf of a token are integers";
	if (identity->expires != 0 && identity->expires <= now)
		return "the token has expired";
	if (not_before > now)
		return "the token is not valid yet";
	if (gw_settings.jwt_audience != NULL && !has_audience(jwt, gw_settings.jwt_audience))
		return "the token is for somebody else";
	if (role == NULL || role[0] == '\0' || strlen(role) > GW_MAX_NAME)
		return "the token has no role";
	(void) snprintf(identity->role, sizeof(identity->role), "%s", role);
	return NULL;
}

/* What verifies tokens of one kind. */
typedef struct Verifier
{
	GwProof		proof;
	jwt_alg_t	algorithm;
	const unsigned char *key;	/* or NULL */
	size_t		length;
} Verifier;

#define VERIFIERS	2

static Verifier
verifier(int i)
{
	const Verifier all[VERIFIERS] = {
		{GW_HMAC_TOKEN, JWT_ALG_HS256, (const unsigned char *) secrets.hmac, secrets.hmac_length},
		{GW_SIGNED_TOKEN, JWT_ALG_RS256, (const unsigned char *) secrets.public_key, secrets.public_key_length},
	};

	return all[i];
}

static const char *
identify_by_token(const char *token, GwIdentity *identity)
{
	const char *wrong = "the token is not valid";

	for (int i = 0; i < VERIFIERS; i++)
	{
		Verifier	by = verifier(i);
		jwt_t	   *jwt = NULL;

		if (by.key == NULL || jwt_decode(&jwt, token, by.key, (int) by.length) != 0)
			continue;
		if (jwt_get_alg(jwt) == by.algorithm)
			wrong = check_claims(jwt, identity);
		jwt_free(jwt);
		if (wrong == NULL)
		{
			identity->proof = by.proof;
			SHA256(by.key, by.length, identity->secret);
			return NULL;
		}
	}
	return wrong;
}

bool
gw_auth_holds(const GwIdentity *identity)
{
	unsigned char hash[SHA256_DIGEST_LENGTH];

	for (int i = 0; i < secrets.key_count && identity->proof == GW_API_KEY; i++)
	{
		if (memcmp(secrets.keys[i].hash, identity->secret, sizeof(hash)) == 0)
			return strcmp(secrets.keys[i].role, identity->role) == 0;
	}
	for (int i = 0; i < VERIFIERS; i++)
	{
		Verifier	by = verifier(i);

		if (by.proof == identity->proof && by.key != NULL)
			return memcmp(SHA256(by.key, by.length, hash), identity->secret, sizeof(hash)) == 0;
	}
	return identity->proof == GW_NO_PROOF;
}

const char *
gw_auth_identify(const char *authorization, const char *api_key, const char *url_token, GwIdentity *identity)
{
	memset(identity, 0, sizeof(*identity));
	if (api_key != NULL)
		return identify_by_key(api_key, identity);
	if (authorization != NULL)
	{
		if (strncasecmp(authorization, "Bearer ", 7) != 0)
			return "only \"Bearer\" is understood";
		return identify_by_token(authorization + 7 + strspn(authorization + 7, " "), identity);
	}
	if (url_token != NULL)
		return gw_settings.token_in_url ? identify_by_token(url_token, identity) : "tokens in URLs are not accepted here (token_in_url)";
	if (gw_settings.anonymous_role == NULL)
		return "say who you are: Authorization: Bearer TOKEN, or X-API-Key: KEY";
	if (strlen(gw_settings.anonymous_role) > GW_MAX_NAME)
		return "anonymous_role is too long";
	(void) snprintf(identity->role, sizeof(identity->role), "%s", gw_settings.anonymous_role);
	return NULL;
}
