/*-------------------------------------------------------------------------
 *
 * gateway_load.c
 *	  Many clients of the gateway and one writer, for bench/gateway.
 *
 *	gateway_load CONNINFO PORT CLIENTS WRITES-A-SECOND SECONDS
 *
 * A thread commits "UPDATE t SET n = k WHERE id = k % ROWS" for k = 1, 2, ... at a steady
 * rate, and notes when COMMIT was called and when it has returned.  Another thread has all
 * clients, by epoll, and for each event of each client adds the time since COMMIT to a
 * histogram.  In the end the last n of each row must be the same with all clients as with
 * the writer: nothing was lost.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROWS		100
#define MAX_WRITES	1000000
#define BUFFER		16384
#define BUCKETS		100000		/* of 0.1 ms */

typedef struct Client
{
	int			fd;
	int			ready;
	int			length;
	int			last[ROWS];
	char		buffer[BUFFER];
} Client;

static const char *conninfo;
static int	rate;
static int	seconds;
static _Atomic double called[MAX_WRITES];
static _Atomic double returned[MAX_WRITES];
static _Atomic int writes;
static _Atomic int go;
static long histogram_called[BUCKETS];
static long histogram_returned[BUCKETS];
static long events;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

static void *
write_rows(void *arg)
{
	PGconn	   *pq = PQconnectdb(conninfo);
	double		start;

	while (!go)
		usleep(1000);
	start = now();
	for (int k = 1; k <= rate * seconds; k++)
	{
		char		sql[100];
		double		wait = start + k * 1e3 / rate - now();

		if (wait > 0)
			usleep((useconds_t) (wait * 1e3));
		PQclear(PQexec(pq, "BEGIN"));
		snprintf(sql, sizeof(sql), "UPDATE t SET n = %d WHERE id = %d", k, k % ROWS);
		PQclear(PQexec(pq, sql));
		called[k] = returned[k] = now();
		PQclear(PQexec(pq, "COMMIT"));
		returned[k] = now();
		writes = k;
	}
	PQfinish(pq);
	return arg;
}

static void
add(long *histogram, double ms)
{
	int			bucket = ms < 0 ? 0 : (int) (ms * 10);

	histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

/* All whole events that are in the buffer. */
static void
take(Client *client, double when)
{
	char	   *place = client->buffer;
	char	   *end;

	client->buffer[client->length] = '\0';
	while ((end = strstr(place, "\n\n")) != NULL)
	{
		char	   *new;
		int			n;
		int			id;

		*end = '\0';
		if (strstr(place, "\"ready\"") != NULL)
			client->ready = 1;
		new = strstr(place, "\"new\": {");
		if (new != NULL && sscanf(new, "\"new\": {\"n\": %d, \"id\": %d", &n, &id) == 2)
		{
			client->last[id % ROWS] = n;
			if (strstr(place, "\"update\"") != NULL)
			{
				events++;
				add(histogram_called, when - called[n]);
				add(histogram_returned, when - returned[n]);
			}
		}
		place = end + 2;
	}
	client->length -= (int) (place - client->buffer);
	memmove(client->buffer, place, (size_t) client->length);
}

static void
serve(int epoll_fd, int timeout)
{
	struct epoll_event some[256];
	int			count = epoll_wait(epoll_fd, some, 256, timeout);

	for (int i = 0; i < count; i++)
	{
		Client	   *client = some[i].data.ptr;
		ssize_t		length = recv(client->fd, client->buffer + client->length, (size_t) (BUFFER - 1 - client->length), MSG_DONTWAIT);

		if (length == 0)
		{
			fprintf(stderr, "a client was dropped\n");
			exit(1);
		}
		if (length > 0)
		{
			client->length += (int) length;
			take(client, now());
		}
	}
}

static double
percentile(const long *histogram, double share)
{
	long		total = 0;
	long		seen = 0;

	for (int i = 0; i < BUCKETS; i++)
		total += histogram[i];
	for (int i = 0; i < BUCKETS; i++)
	{
		seen += histogram[i];
		if ((double) seen >= share * (double) total)
			return i / 10.0;
	}
	return -1;
}

static int
is_behind(const Client *clients, int count, int last)
{
	for (int i = 0; i < count; i++)
	{
		for (int k = last > ROWS ? last - ROWS + 1 : 1; k <= last; k++)
		{
			if (clients[i].last[k % ROWS] != k)
				return 1;
		}
	}
	return 0;
}

int
main(int argc, char **argv)
{
	int			count = argc == 6 ? atoi(argv[3]) : 0;
	Client	   *clients = calloc((size_t) count, sizeof(Client));
	int			epoll_fd = epoll_create1(0);
	struct sockaddr_in address = {.sin_family = AF_INET};
	static const char request[] = "GET /views/v/changes HTTP/1.1\r\nHost: localhost\r\n\r\n";
	pthread_t	writer;
	int			ready = 0;
	double		end;

	if (argc != 6)
		return 2;
	conninfo = argv[1];
	address.sin_port = htons((unsigned short) atoi(argv[2]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	rate = atoi(argv[4]);
	seconds = atoi(argv[5]);
	for (int i = 0; i < count; i++)
	{
		struct epoll_event event = {.events = EPOLLIN,.data.ptr = &clients[i]};

		clients[i].fd = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(clients[i].fd, (struct sockaddr *) &address, sizeof(address)) < 0)
			die("connect");
		if (send(clients[i].fd, request, sizeof(request) - 1, 0) < 0)
			die("send");
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, clients[i].fd, &event);
		serve(epoll_fd, 0);
	}
	for (end = now() + 60000; ready < count && now() < end;)
	{
		serve(epoll_fd, 100);
		ready = 0;
		for (int i = 0; i < count; i++)
			ready += clients[i].ready;
	}
	printf("ready %d\n", ready);
	fflush(stdout);
	/* the script looks at the memory of the gateway */
	if (getchar() == EOF)
		return 1;
	pthread_create(&writer, NULL, write_rows, NULL);
	go = 1;
	for (end = now() + seconds * 1e3; now() < end || writes < rate * seconds;)
		serve(epoll_fd, 10);
	for (end = now() + 30000; is_behind(clients, count, writes) && now() < end;)
		serve(epoll_fd, 10);
	pthread_join(writer, NULL);
	printf("%s %ld %.1f %.1f %.1f %.1f %.1f %.1f\n", is_behind(clients, count, writes) ? "lost" : "complete", events,
		   percentile(histogram_returned, 0.5), percentile(histogram_returned, 0.99), percentile(histogram_returned, 1),
		   percentile(histogram_called, 0.5), percentile(histogram_called, 0.99), percentile(histogram_called, 1));
	return 0;
}
