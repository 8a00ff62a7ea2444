/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is out, as a person or a program wants to read it: by the place where it was acquired, the largest sum first.
 */
#ifndef BP_CACHE_LEAKS_REPORT_H
#define BP_CACHE_LEAKS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "sys/os.h"

struct bp_pool;

/* Where it goes. */
struct bp_leaks_out {
	void (*write)(void *ctx, const char *text);
	void *ctx;
	struct bp_pool *pool; /* of this one only; NULL: of all */
	bool json;
	bool silent; /* where nothing is out */
};

/* How many blocks it listed. Nothing is locked meanwhile, and nobody waited for. */
uint64_t bp_leaks_report(const struct bp_leaks_out *out) BP_HIDDEN;

/* The lines of what is out of that pool, on standard error. */
void bp_leaks_say(struct bp_pool *pool) BP_HIDDEN;

#endif
