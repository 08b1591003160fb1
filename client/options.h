/*-------------------------------------------------------------------------
 *
 * options.h
 *	  Settings of a program: a table, read from a file and the command line.
 *
 * Each setting has one name, in both places:
 *
 *	file			listen_port = 8080			# as in postgresql.conf
 *					database = 'host=/run/postgresql dbname=shop'
 *	command line	--listen-port=8080 or --listen_port 8080
 *
 * The command line comes before the file, which --config=FILE names, and that
 * before the default.  --help and --version are known to every program.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CLIENT_OPTIONS_H
#define CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum ClientOptionType
{
	CLIENT_STRING,				/* const char **; "" is NULL.  Lives as long
								 * as the program */
	CLIENT_INTEGER,				/* int64_t * */
	CLIENT_DURATION,			/* int64_t *, in ms; "500ms", "10 s", "5min",
								 * "1h", "1d"; plain number: s */
	CLIENT_SIZE,				/* int64_t *, in bytes; "64kB", "16 MB",
								 * "1GB"; plain number: bytes */
	CLIENT_BOOLEAN				/* bool *; on, off, true, false, yes, no, 1, 0 */
} ClientOptionType;

typedef struct ClientOption
{
	const char *name;			/* with underscores */
	ClientOptionType type;
	void	   *target;
	const char *preset;			/* its default, as in a file */
	int64_t		min;			/* of numbers; not looked at if both are 0 */
	int64_t		max;
	const char *help;			/* one sentence */
} ClientOption;

/*
 * Sets all targets.  The table ends with a name that is NULL.  What is wrong is
 * reported with the name, and where it stands, and the program ends (status 1; 0
 * after --help or --version).
 */
extern void client_options_read(const ClientOption *options, int argc, char **argv,
								const char *program, const char *version, const char *about);

/* The same from one text in the form of a file.  NULL, or what is wrong, for free(). */
extern char *client_options_parse(const ClientOption *options, const char *text);

/* Elements of a list with commas, without blanks around them.  Ends with NULL; free() the array only. */
extern char **client_split_list(const char *list);

#endif
