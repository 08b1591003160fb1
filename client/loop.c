/*-------------------------------------------------------------------------
 *
 * loop.c
 *	  An event loop: descriptors, timers and signals of one thread.
 *
 * The epoll descriptor holds the watched descriptors, one timerfd, which is set to
 * the first timer, and one signalfd.
 *
 * epoll_wait() hands out several events at a time, and the handler of the first may
 * remove what the second is for.  So an event carries no pointer but a number, which
 * is given to each watch anew whenever it is watched, and is looked up.
 *
 *-------------------------------------------------------------------------
 */
#include "loop.h"

#include "clock.h"
#include "log.h"
#include "memory.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS		64
#define MAX_SIGNALS		8

/* Numbers of those events that are not of watches. */
#define TIMER_EVENT		UINT64_C(0)
#define SIGNAL_EVENT	UINT64_C(1)
#define FIRST_NUMBER	UINT64_C(2)

typedef struct SignalHandler
{
	int			signal;
	void		(*handler) (void *arg, int signal);
	void	   *arg;
} SignalHandler;

struct ClientLoop
{
	int			epoll_fd;
	int			timer_fd;
	int			signal_fd;		/* -1: no signals */
	sigset_t	signals;
	SignalHandler handlers[MAX_SIGNALS];
	int			handler_count;
	ClientTimer *timers;		/* first the one that is due first */
	int64_t		timer_set_to;	/* of timer_fd; 0: not set */
	ClientWatch **watches;
	int			watch_count;
	int			watch_size;		/* of the array */
	uint64_t	next_number;
};

static void
add_own(ClientLoop *loop, int fd, uint64_t number)
{
	struct epoll_event event = {.events = EPOLLIN,.data.u64 = number};

	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		client_fatal("epoll_ctl: %s", strerror(errno));
}

ClientLoop *
client_loop_create(void)
{
	ClientLoop *loop = client_alloc(sizeof(ClientLoop));

	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	loop->signal_fd = -1;
	loop->next_number = FIRST_NUMBER;
	if (loop->epoll_fd < 0 || loop->timer_fd < 0)
		client_fatal("cannot create an event loop: %s", strerror(errno));
	sigemptyset(&loop->signals);
	add_own(loop, loop->timer_fd, TIMER_EVENT);
	return loop;
}

void
client_loop_destroy(ClientLoop *loop)
{
	close(loop->epoll_fd);
	close(loop->timer_fd);
	if (loop->signal_fd >= 0)
		close(loop->signal_fd);
	free(loop->watches);
	free(loop);
}

int
client_loop_fd(ClientLoop *loop)
{
	return loop->epoll_fd;
}


/* ----------------------------------------------------------------
 *		Descriptors
 * ----------------------------------------------------------------
 */

static uint32_t
to_epoll(short events)
{
	return ((events & POLLIN) ? EPOLLIN : 0u) | ((events & POLLOUT) ? EPOLLOUT : 0u);
}

static short
to_poll(uint32_t events)
{
	return (short) (((events & EPOLLIN) ? POLLIN : 0) | ((events & EPOLLOUT) ? POLLOUT : 0) |
					((events & EPOLLERR) ? POLLERR : 0) | ((events & EPOLLHUP) ? POLLHUP : 0));
}

static void
remember(ClientLoop *loop, ClientWatch *watch)
{
	if (loop->watch_count == loop->watch_size)
	{
		loop->watch_size = loop->watch_size ? 2 * loop->watch_size : 16;
		loop->watches = client_realloc(loop->watches, (size_t) loop->watch_size * sizeof(ClientWatch *));
	}
	loop->watches[loop->watch_count++] = watch;
}

void
client_watch(ClientLoop *loop, ClientWatch *watch, int fd, short events,
			 ClientWatchHandler handler, void *arg)
{
	struct epoll_event event = {.events = to_epoll(events)};

	if (watch->loop != NULL && watch->fd != fd)
		client_unwatch(watch);
	if (watch->loop == NULL)
	{
		watch->loop = loop;
		watch->number = loop->next_number++;
		remember(loop, watch);
	}
	watch->fd = fd;
	watch->events = events;
	watch->handler = handler;
	watch->arg = arg;
	event.data.u64 = watch->number;
	/* whoever closed the descriptor has removed it from the set */
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0 &&
		(errno != ENOENT || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0))
		client_fatal("epoll_ctl: %s", strerror(errno));
}

void
client_unwatch(ClientWatch *watch)
{
	ClientLoop *loop = watch->loop;

	if (loop == NULL)
		return;
	(void) epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	for (int i = 0; i < loop->watch_count; i++)
	{
		if (loop->watches[i] == watch)
		{
			loop->watches[i] = loop->watches[--loop->watch_count];
			break;
		}
	}
	watch->loop = NULL;
}

static void
call_watch(ClientLoop *loop, uint64_t number, short events)
{
	for (int i = 0; i < loop->watch_count; i++)
	{
		ClientWatch *watch = loop->watches[i];

		if (watch->number == number)
		{
			watch->handler(watch->arg, watch->fd, events);
			return;
		}
	}
}


/* ----------------------------------------------------------------
 *		Timers
 * ----------------------------------------------------------------
 */

static void
set_timer_fd(ClientLoop *loop)
{
	int64_t		due = loop->timers ? loop->timers->due : 0;
	struct itimerspec spec = {0};

	if (due == loop->timer_set_to)
		return;
	loop->timer_set_to = due;
	spec.it_value.tv_sec = due / 1000;
	spec.it_value.tv_nsec = due % 1000 * 1000000;
	(void) timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void
client_timer_set(ClientLoop *loop, ClientTimer *timer, int64_t ms, ClientTimerHandler handler, void *arg)
{
	ClientTimer **place = &loop->timers;

	client_timer_clear(timer);
	timer->loop = loop;
	/* one ms more: the present one has begun */
	timer->due = client_now_ms() + (ms > 0 ? ms + 1 : 1);
	timer->handler = handler;
	timer->arg = arg;
	while (*place != NULL && (*place)->due <= timer->due)
		place = &(*place)->next;
	timer->next = *place;
	*place = timer;
	set_timer_fd(loop);
}

void
client_timer_clear(ClientTimer *timer)
{
	ClientLoop *loop = timer->loop;
	ClientTimer **place;

	if (loop == NULL)
		return;
	for (place = &loop->timers; *place != timer; place = &(*place)->next)
		;
	*place = timer->next;
	timer->loop = NULL;
	set_timer_fd(loop);
}

/* Those that are due now, and no other that they set meanwhile: descriptors have their turn. */
static void
call_timers(ClientLoop *loop)
{
	int64_t		now = client_now_ms();
	uint64_t	times;

	if (read(loop->timer_fd, &times, sizeof(times)) < 0)
	{
		/* it was set anew before we came */
	}
	loop->timer_set_to = 0;
	while (loop->timers != NULL && loop->timers->due <= now)
	{
		ClientTimer *timer = loop->timers;

		client_timer_clear(timer);
		timer->handler(timer->arg);
	}
	set_timer_fd(loop);
}


/* ----------------------------------------------------------------
 *		Signals
 * ----------------------------------------------------------------
 */

void
client_on_signal(ClientLoop *loop, int signal, void (*handler) (void *arg, int signal), void *arg)
{
	int			fd;

	if (loop->handler_count == MAX_SIGNALS)
		client_fatal("too many signals");
	loop->handlers[loop->handler_count++] = (SignalHandler)
	{
		signal, handler, arg
	};
	sigaddset(&loop->signals, signal);
	(void) sigprocmask(SIG_BLOCK, &loop->signals, NULL);
	fd = signalfd(loop->signal_fd, &loop->signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		client_fatal("signalfd: %s", strerror(errno));
	if (loop->signal_fd < 0)
		add_own(loop, fd, SIGNAL_EVENT);
	loop->signal_fd = fd;
}

static void
call_signals(ClientLoop *loop)
{
	struct signalfd_siginfo info;

	while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info))
	{
		for (int i = 0; i < loop->handler_count; i++)
		{
			SignalHandler *handler = &loop->handlers[i];

			if (handler->signal == (int) info.ssi_signo)
				handler->handler(handler->arg, handler->signal);
		}
	}
}


/* ----------------------------------------------------------------
 *		Service
 * ----------------------------------------------------------------
 */

bool
client_loop_service(ClientLoop *loop, int timeout_ms)
{
	struct epoll_event events[MAX_EVENTS];
	int			count = epoll_wait(loop->epoll_fd, events, MAX_EVENTS, timeout_ms);

	for (int i = 0; i < count; i++)
	{
		if (events[i].data.u64 == TIMER_EVENT)
			call_timers(loop);
		else if (events[i].data.u64 == SIGNAL_EVENT)
			call_signals(loop);
		else
			call_watch(loop, events[i].data.u64, to_poll(events[i].events));
	}
	return count > 0;
}
