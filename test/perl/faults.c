/*-------------------------------------------------------------------------
 *
 * faults.c
 *	  Faults of the machine for a whole server, by LD_PRELOAD.
 *
 * A test maps a file of two numbers, "clock" and "full" (DERIVE_FAULTS names it), which all
 * processes of the server see at once.  So it needs no rights, and no file system of its own:
 *
 *	clock	microseconds by which the clock that people set is off.  The one that measures
 *			how long something takes goes on, as on a machine whose clock is set
 *	full	no more temporary files can be written
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile long long *faults;

#define CLOCK	0
#define FULL	1

/* The function that we stand in for. */
#define REAL(name) \
	static __typeof__(name) *real; \
	if (real == NULL) \
		real = (__typeof__(real)) dlsym(RTLD_NEXT, #name)

__attribute__((constructor))
static void
map_faults(void)
{
	const char *path = getenv("DERIVE_FAULTS");
	int			fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void	   *map = fd >= 0 ? mmap(NULL, 2 * sizeof(*faults), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

	if (map != MAP_FAILED)
		faults = map;
	if (fd >= 0)
		close(fd);
}

static int
is_full(int fd)
{
	char		link[64];
	char		path[4096];
	ssize_t		length;

	if (faults == NULL || faults[FULL] == 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return 0;
	path[length] = '\0';
	if (strstr(path, "/pgsql_tmp") == NULL)
		return 0;
	errno = ENOSPC;
	return 1;
}

#define WRITES(name, parameters, arguments) \
ssize_t \
name parameters \
{ \
	REAL(name); \
	return is_full(fd) ? -1 : real arguments; \
}

WRITES(pwrite, (int fd, const void *buf, size_t n, off_t at), (fd, buf, n, at))
WRITES(pwrite64, (int fd, const void *buf, size_t n, off64_t at), (fd, buf, n, at))
WRITES(pwritev, (int fd, const struct iovec *iov, int n, off_t at), (fd, iov, n, at))
WRITES(pwritev64, (int fd, const struct iovec *iov, int n, off64_t at), (fd, iov, n, at))

int
gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	long long	us;
	int			result;

	REAL(gettimeofday);
	result = real(tv, tz);
	if (result == 0 && faults != NULL)
	{
		us = tv->tv_sec * 1000000LL + tv->tv_usec + faults[CLOCK];
		tv->tv_sec = us / 1000000;
		tv->tv_usec = us % 1000000;
	}
	return result;
}

time_t
time(time_t *t)
{
	struct timeval tv;

	gettimeofday(&tv, NULL);
	if (t != NULL)
		*t = tv.tv_sec;
	return tv.tv_sec;
}
