/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The experiment with holes (holes.h) through the pool.
 *
 *     holes_pool trim    after every burst all that is cached goes back to jemalloc: each burst is all refills
 *     holes_pool keep    the pool keeps what its budget allows
 */
#include "holes.h"

#include <bufpool/bufpool.h>

static void *acquire(size_t n)
{
	return bufpool_acquire(n);
}

static void nothing(void)
{
}

static void trim(void)
{
	bufpool_trim(NULL, 0);
}

int main(int argc, char **argv)
{
	int keep = argc == 2 && !strcmp(argv[1], "keep");

	if (argc != 2 || (!keep && strcmp(argv[1], "trim")))
		bench_fail("usage: holes_pool trim|keep");
	holes_run(&(struct holes_allocator){ acquire, bufpool_release, keep ? nothing : trim, trim });
	return 0;
}
