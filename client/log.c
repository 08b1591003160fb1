/*-------------------------------------------------------------------------
 *
 * log.c
 *	  Lines on standard error.
 *
 * A line is written by one write(), so that lines of several processes do not mix.
 *
 *-------------------------------------------------------------------------
 */
#include "log.h"

#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct
{
	const char *name;
	int			journal;		/* as of syslog(3) */
}			levels[] =

{
	[CLIENT_ERROR] = {"error", 3},
	[CLIENT_WARNING] = {"warning", 4},
	[CLIENT_INFO] = {"info", 6},
	[CLIENT_DEBUG] = {"debug", 7},
};

static ClientLogLevel most_detailed = CLIENT_INFO;

void
client_log_set_level(const char *name)
{
	const int	count = (int) (sizeof(levels) / sizeof(levels[0]));
	int			level = 0;

	while (level < count && (name == NULL || strcmp(levels[level].name, name) != 0))
		level++;
	if (level == count)
		client_fatal("log_level is error, warning, info or debug");
	most_detailed = (ClientLogLevel) level;
}

static void
add_beginning(ClientBuffer *line, ClientLogLevel level)
{
	struct timespec now;
	struct tm	parts;
	char		seconds[32];

	if (getenv("JOURNAL_STREAM") != NULL)
	{
		client_buffer_addf(line, "<%d>", levels[level].journal);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &parts);
	client_buffer_addf(line, "%s.%03ldZ %s: ", seconds, now.tv_nsec / 1000000, levels[level].name);
}

static void
write_line(ClientLogLevel level, const char *format, va_list args)
{
	ClientBuffer line = {0};
	char		message[4096];

	(void) vsnprintf(message, sizeof(message), format, args);
	for (size_t end = strlen(message); end > 0 && message[end - 1] == '\n'; end--)
		message[end - 1] = '\0';
	for (char *c = message; *c != '\0'; c++)
	{
		if ((unsigned char) *c < 0x20 || *c == 0x7f)
			*c = ' ';
	}
	add_beginning(&line, level);
	client_buffer_add_text(&line, message);
	client_buffer_add_char(&line, '\n');
	if (write(STDERR_FILENO, line.data, line.length) < 0)
	{
		/* there is nobody to tell it */
	}
	client_buffer_free(&line);
}

void
client_log(ClientLogLevel level, const char *format,...)
{
	va_list		args;

	if (level > most_detailed)
		return;
	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}

void
client_fatal(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	write_line(CLIENT_ERROR, format, args);
	va_end(args);
	exit(1);
}
