/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See misuse.h. No stdio, no allocation: the program's heap may be in any state. Under misuse:report the lines are limited
 * to a number a person can read; the counter goes on.
 */
#include "cache/misuse.h"

#include <stdlib.h>
#include <unistd.h>

#include "cache/options.h"
#include "sys/text.h"

enum { LINES_MAX = 100 };

__attribute__((weak)) bool bp_misuse_lenient = false;

static const char *const names[] = {
	[BP_MISUSE_DOUBLE] = "double release",
	[BP_MISUSE_INVALID] = "invalid release",
	[BP_MISUSE_FOREIGN] = "foreign release",
	[BP_MISUSE_SIZE] = "wrong size",
	[BP_MISUSE_POOL] = "no such pool",
	[BP_MISUSE_WRITE] = "write after release",
};

static void print(enum bp_misuse what, const void *p, size_t size)
{
	char line[256];
	struct bp_text t = BP_TEXT_ON(line);
	bp_text_add(&t, "bufpool: misuse: ");
	bp_text_add(&t, names[what]);
	bp_text_add(&t, ": ");
	bp_text_hex(&t, (uintptr_t)p);
	bp_text_add(&t, " (class ");
	if (size != 0)
		bp_text_number(&t, size);
	else
		bp_text_add(&t, "unknown");
	bp_text_add(&t, ")\n");
	bp_os_write(STDERR_FILENO, line, t.length);
}

bool bp_misuse_unchecked(void)
{
	return atomic_load_explicit(&bp_options.check, memory_order_relaxed) == BP_CHECK_OFF;
}

void bp_misuse_report(struct bp_pool *pool, enum bp_misuse what, const void *p, size_t size, bool fatal)
{
	uint64_t before = atomic_fetch_add_explicit(&pool->misuse, 1, memory_order_relaxed);
	bool goes_on = !fatal || atomic_load_explicit(&bp_options.misuse, memory_order_relaxed) == BP_MISUSE_REPORT;
	if (!goes_on || before < LINES_MAX)
		print(what, p, size);
	if (!goes_on)
		abort();
}
