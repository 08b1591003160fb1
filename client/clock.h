/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The time that timers go by.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_CLOCK_H
#define CLIENT_CLOCK_H

#include <stdint.h>

/* Time that only goes forward, in ms since some moment. */
extern int64_t client_now_ms(void);

#endif
