/*-------------------------------------------------------------------------
 *
 * log.h
 *	  Lines on standard error.
 *
 * A line is the time in UTC, the level, and the message:
 *
 *	2026-11-29T08:00:00.123Z warning: view "public.totals": connection lost
 *
 * Where systemd's journal reads it, it has the journal's level instead of both.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_LOG_H
#define CLIENT_LOG_H

typedef enum ClientLogLevel
{
	CLIENT_ERROR,
	CLIENT_WARNING,
	CLIENT_INFO,
	CLIENT_DEBUG
} ClientLogLevel;

/*
 * What is more detailed than the level of this name ("error", "warning", "info", "debug") is not
 * logged; it is "info" at first.  The program ends where there is no such level.
 */
extern void client_log_set_level(const char *name);

/* One line.  Line ends within the message become blanks. */
extern void client_log(ClientLogLevel level, const char *format,...) __attribute__((format(printf, 2, 3)));

/* The same as an error, and the program ends with status 1. */
extern void client_fatal(const char *format,...) __attribute__((format(printf, 1, 2), noreturn));

#endif
