/*-------------------------------------------------------------------------
 *
 * main.c
 *	  pg_derive_kafka: tables, topics and views to Kafka, and Kafka to topics.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "sink.h"
#include "source.h"

static const struct
{
	const char *name;
	int			(*run) (int argc, char **argv);
	const char *help;
}			directions[] =

{
	{"to_kafka", to_kafka, "tables, topics and views of a database, and every change of them, to Kafka"},
	{"from_kafka", from_kafka, "records of Kafka into a topic of a database"},
};

int
main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(directions) / sizeof(directions[0]); i++)
	{
		if (strcmp(argv[1], directions[i].name) == 0)
			return directions[i].run(argc - 1, argv + 1);
	}
	fprintf(argc > 1 && strcmp(argv[1], "--help") == 0 ? stdout : stderr,
			"pg_derive_kafka DIRECTION OPTION...\n\n");
	for (size_t i = 0; i < sizeof(directions) / sizeof(directions[0]); i++)
		printf("  %-12s %s\n", directions[i].name, directions[i].help);
	printf("\nEach has its options: pg_derive_kafka %s --help\n", directions[0].name);
	return argc > 1 && strcmp(argv[1], "--help") == 0 ? 0 : 1;
}
