/*-------------------------------------------------------------------------
 *
 * loop.h
 *	  An event loop: descriptors, timers and signals of one thread.
 *
 * All of it is one epoll descriptor, so another library's loop can drive it: that
 * loop waits until client_loop_fd() is readable, and calls client_loop_service(loop,
 * 0).  A program without such a library calls client_loop_service(loop, -1) again
 * and again.
 *
 * Handlers are called from client_loop_service().  They may add, change and remove
 * anything, themselves included.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_LOOP_H
#define CLIENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ClientLoop ClientLoop;

/* The program ends if the system refuses it. */
extern ClientLoop *client_loop_create(void);
extern void client_loop_destroy(ClientLoop *loop);

/* Readable when there is something to do.  It stays the loop's. */
extern int	client_loop_fd(ClientLoop *loop);

/* Do what there is to do; wait for it so many ms, -1: for ever.  True if something was done. */
extern bool client_loop_service(ClientLoop *loop, int timeout_ms);


/* ----------------------------------------------------------------
 *		Descriptors
 * ----------------------------------------------------------------
 */

/* "events" are POLLIN, POLLOUT, POLLERR and POLLHUP of <poll.h>. */
typedef void (*ClientWatchHandler) (void *arg, int fd, short events);

/* The caller's, and at the same address until it is removed; {0} at first. */
typedef struct ClientWatch
{
	ClientLoop *loop;			/* NULL: not watched */
	int			fd;
	short		events;
	ClientWatchHandler handler;
	void	   *arg;
	uint64_t	number;			/* the loop's own */
} ClientWatch;

/*
 * Watch a descriptor for POLLIN, POLLOUT, both or neither (0: errors only), or
 * change what it is watched for.  Call it again after the descriptor was closed and
 * another one has its number: nothing is assumed.
 */
extern void client_watch(ClientLoop *loop, ClientWatch *watch, int fd, short events,
						 ClientWatchHandler handler, void *arg);

/* Before the descriptor is closed.  No harm if it is not watched. */
extern void client_unwatch(ClientWatch *watch);


/* ----------------------------------------------------------------
 *		Timers
 * ----------------------------------------------------------------
 */

typedef void (*ClientTimerHandler) (void *arg);

/* The caller's, likewise; {0} at first. */
typedef struct ClientTimer
{
	ClientLoop *loop;			/* NULL: not set */
	int64_t		due;			/* as client_now_ms() */
	ClientTimerHandler handler;
	void	   *arg;
	struct ClientTimer *next;	/* the one that is due after it */
} ClientTimer;

/* Call the handler once, in so many ms; instead of what it was set to before. */
extern void client_timer_set(ClientLoop *loop, ClientTimer *timer, int64_t ms,
							 ClientTimerHandler handler, void *arg);
extern void client_timer_clear(ClientTimer *timer);


/* ----------------------------------------------------------------
 *		Signals
 * ----------------------------------------------------------------
 */

/* Block the signal, and call the handler when it arrives.  At most 8 signals. */
extern void client_on_signal(ClientLoop *loop, int signal, void (*handler) (void *arg, int signal), void *arg);

#endif
