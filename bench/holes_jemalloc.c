/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The experiment with holes (holes.h) on bare jemalloc.
 *
 *     holes_jemalloc mallocx    past the thread cache, as the pool's own refills go
 *     holes_jemalloc malloc
 */
#include "holes.h"

#include <jemalloc/jemalloc.h>

static void *acquire_mallocx(size_t n)
{
	return mallocx(n, MALLOCX_TCACHE_NONE);
}

static void release_mallocx(void *p)
{
	dallocx(p, MALLOCX_TCACHE_NONE);
}

static void nothing(void)
{
}

static void purge(void)
{
	/* 4096: MALLCTL_ARENAS_ALL */
	if (mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) || mallctl("arena.4096.purge", NULL, NULL, NULL, 0))
		bench_fail("mallctl");
}

int main(int argc, char **argv)
{
	int plain = argc == 2 && !strcmp(argv[1], "malloc");

	if (argc != 2 || (!plain && strcmp(argv[1], "mallocx")))
		bench_fail("usage: holes_jemalloc mallocx|malloc");
	holes_run(&(struct holes_allocator){ plain ? malloc : acquire_mallocx, plain ? free : release_mallocx,
					     nothing, purge });
	return 0;
}
