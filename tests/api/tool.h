/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the programs share that the API tests start (helper.c, pools_tool.c): each runs one command, with one argument at
 * most. Its exit status is 0 where all was well; what went wrong is printed.
 */
#ifndef BUFPOOL_TESTS_API_TOOL_H
#define BUFPOOL_TESTS_API_TOOL_H

#include "support.h"

#include <stdio.h>
#include <string.h>

static unsigned wrong;

#define CHECK(condition) \
	do { \
		if (!(condition) && ++wrong) \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
	} while (0)

struct command {
	const char *name;
	void (*run)(const char *argument);
};

static int run_command(int argc, char **argv, const struct command *commands, size_t count)
{
	for (size_t i = 0; argc > 1 && i < count; i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		commands[i].run(argv[2]);
		return wrong ? 1 : 0;
	}
	fprintf(stderr, "no such command\n");
	return 2;
}

#endif
