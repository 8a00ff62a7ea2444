/* SPDX-License-Identifier: BSD-2-Clause */
#include "leaks_common.h"
#include "support.h"

#include <criterion/criterion.h>
#include <string.h>

static char text[1 << 20];

void t_note_leaks(void)
{
	cr_assert_eq(bufpool_option_set("leaks", "true"), 0);
}

static void append(void *ctx, const char *more)
{
	size_t length = strlen(text);

	(void)ctx;
	cr_assert_lt(length + strlen(more), sizeof(text));
	strcpy(text + length, more);
}

const char *t_leaks(const char *opts)
{
	text[0] = '\0';
	bufpool_leaks_print(append, NULL, opts);
	return text;
}

bool t_lists(const char *report, const char *part)
{
	return strstr(report, part) != NULL;
}
