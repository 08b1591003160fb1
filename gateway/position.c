/*-------------------------------------------------------------------------
 *
 * position.c
 *	  Places in the changes of a view: the ids of events.
 *
 *-------------------------------------------------------------------------
 */
#include "position.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

char *
gw_position_text(GwPosition position, char *text)
{
	uint32_t	high = (uint32_t) (position.lsn >> 32);
	uint32_t	low = (uint32_t) position.lsn;

	if (position.lsn == 0)
		(void) snprintf(text, GW_POSITION_SIZE, "start-%" PRIu64, position.number);
	else if (position.number == 1)
		(void) snprintf(text, GW_POSITION_SIZE, "%" PRIX32 "/%" PRIX32, high, low);
	else
		(void) snprintf(text, GW_POSITION_SIZE, "%" PRIX32 "/%" PRIX32 "-%" PRIu64, high, low, position.number);
	return text;
}

/* At most so many digits of a number to a base; behind them, or NULL if there are none. */
static const char *
read_digits(const char *c, unsigned base, int most, uint64_t *result)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *start = c;

	*result = 0;
	for (; *c != '\0' && c - start < most; c++)
	{
		const char *digit = memchr(digits, *c >= 'a' && *c <= 'f' ? *c - 32 : *c, base);

		if (digit == NULL)
			break;
		*result = *result * base + (uint64_t) (digit - digits);
	}
	return c > start ? c : NULL;
}

static const char *
read_lsn(const char *c, uint64_t *lsn)
{
	uint64_t	high;
	uint64_t	low;

	c = read_digits(c, 16, 8, &high);
	if (c == NULL || *c != '/')
		return NULL;
	c = read_digits(c + 1, 16, 8, &low);
	*lsn = high << 32 | low;
	return c;
}

uint64_t
gw_lsn_parse(const char *text)
{
	uint64_t	lsn;
	const char *end = read_lsn(text, &lsn);

	return end != NULL && *end == '\0' ? lsn : 0;
}

bool
gw_position_parse(const char *text, GwPosition *position)
{
	const char *c;

	position->number = 1;
	if (strncmp(text, "start-", 6) == 0)
	{
		position->lsn = 0;
		c = read_digits(text + 6, 10, 18, &position->number);
	}
	else
	{
		c = read_lsn(text, &position->lsn);
		if (c == NULL || position->lsn == 0)
			return false;
		if (*c == '-')
			c = read_digits(c + 1, 10, 18, &position->number);
	}
	return c != NULL && *c == '\0';
}

int
gw_position_compare(GwPosition a, GwPosition b)
{
	if (a.lsn != b.lsn)
		return a.lsn < b.lsn ? -1 : 1;
	return a.number < b.number ? -1 : a.number > b.number;
}
