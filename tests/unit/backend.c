/* SPDX-License-Identifier: BSD-2-Clause
 *
 * jemalloc as the backend: it is set up as the start believes, gives memory back when it is told to, is asked for more
 * where the range is full, and nothing is done for a thread that is inside it already. Blocks: pooled.c and large.c.
 */
#include "sys/pass.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "heap.h"
#include "support.h"
#include "sys/arena.h"

static int64_t asked(const char *name, size_t size)
{
	int64_t value = 0;
	cr_assert_eq(bp_jemalloc_mallctl(name, &value, &size, NULL, 0), 0, "%s", name);
	return value;
}

/* What the start takes for known where nobody has set jemalloc up. That it may then do without questions altogether is
 * tested under the shim (engine.c): here there are more threads. */
Test(backend, jemalloc_is_set_up_as_the_start_believes)
{
	const char *junk, *own;
	char name[64];
	size_t size = sizeof(junk);
	start((size_t)64 * MIB);
	for (unsigned class = 1; class < BP_CLASS_COUNT_SLAB; class++) {
		snprintf(name, sizeof(name), "arenas.bin.%u.nregs", class);
		cr_assert_eq(bp_backend_slab_blocks(class), asked(name, sizeof(uint32_t)), "%s", name);
	}
	cr_assert_eq(asked("arenas.page", sizeof(size_t)), BP_PAGE);
	cr_assert_not(bp_arena_setting_is("opt.prof")); /* some are built without */
	cr_assert_eq(asked("opt.zero", sizeof(bool)), 0);
	cr_assert_eq(asked("opt.cache_oblivious", sizeof(bool)), 1);
	cr_assert_eq(bp_jemalloc_mallctl("opt.junk", &junk, &size, NULL, 0), 0);
	cr_assert_str_eq(junk, "false");
	cr_assert_eq(bp_jemalloc_mallctl("config.malloc_conf", &own, &size, NULL, 0), 0);
	cr_assert_str_eq(own, "", "jemalloc was built with settings of its own");
	snprintf(name, sizeof(name), "arena.%u.dirty_decay_ms", heap.arena);
	cr_assert_eq(asked(name, sizeof(ssize_t)), -1, "the pool purges, nobody else");
	snprintf(name, sizeof(name), "arena.%u.muzzy_decay_ms", heap.arena);
	cr_assert_eq(asked(name, sizeof(ssize_t)), 0);
	snprintf(name, sizeof(name), "arena.%u.retain_grow_limit", heap.arena);
	cr_assert_eq(asked(name, sizeof(size_t)), 32 * MIB);
	cr_assert_eq(asked("arenas.narenas", sizeof(unsigned)), heap.arena + 1);
	cr_assert_neq(asked("arenas.create", sizeof(unsigned)), heap.arena, "the next arena is another one");
}

Test(backend, what_is_purged_is_with_the_kernel_and_no_block_any_more)
{
	static void *blocks[512], *first;
	unsigned class = bp_class_of(16384);
	start((size_t)1024 * MIB);
	for (size_t i = 0; i < 512; i++) {
		cr_assert_eq(bp_backend_fill(&blocks[i], 1, class, &heap), 1);
		memset(blocks[i], 1, 16384);
	}
	first = blocks[0];
	cr_assert_geq(u_mapped(bp_range.base, bp_range.reserved).resident, 8 * MIB);
	cr_assert(bp_backend_give_back(blocks, 512, class, &heap));
	bp_backend_purge(&heap);
	size_t left = u_mapped(bp_range.base, bp_range.reserved).resident;
	cr_assert_leq(left, MIB, "%zu bytes are still there", left);
	cr_assert_eq(bp_range_start_of(first), 0);
}

/* ---- decay ---- */

static ssize_t decay_ms(const char *name)
{
	ssize_t ms = -2;
	size_t size = sizeof(ms);
	return bp_jemalloc_mallctl(name, &ms, &size, NULL, 0) == 0 ? ms : -2;
}

static unsigned arenas_without_decay(void)
{
	unsigned arenas = 0, n = 0;
	size_t size = sizeof(arenas);
	cr_assert_eq(bp_jemalloc_mallctl("arenas.narenas", &arenas, &size, NULL, 0), 0);
	for (unsigned i = 0; i < arenas; i++) {
		char name[64];
		snprintf(name, sizeof(name), "arena.%u.dirty_decay_ms", i);
		n += decay_ms(name) == -1;
	}
	return n;
}

/* In the pool's arena nothing decays by itself, in the others in the time that was asked for. */
Test(backend, pages_decay_in_the_time_of_an_epoch_but_for_the_pools)
{
	start((size_t)1024 * MIB);
	bp_backend_large_free(bp_backend_large(MIB, 1, false, &heap));
	cr_assert_eq(decay_ms("arenas.dirty_decay_ms"), 2000);
	cr_assert_eq(decay_ms("arena.0.dirty_decay_ms"), 2000);
	cr_assert_eq(arenas_without_decay(), 1);
	bp_backend_set_decay(300);
	cr_assert_eq(decay_ms("arenas.dirty_decay_ms"), 300);
	cr_assert_eq(decay_ms("arena.0.dirty_decay_ms"), 300);
	cr_assert_eq(arenas_without_decay(), 1);
}

/* ---- address space ---- */

Test(backend, the_range_is_for_blocks_alone_and_taken_in_small_steps)
{
	start((size_t)4096 * MIB);
	cr_assert_eq(atomic_load(&bp_range.used), 0, "jemalloc's own data lies in it");
	for (int i = 0; i < 600; i++)
		cr_assert_not_null(bp_backend_one(bp_class_of(MIB), false, false, &heap));
	cr_assert_leq(atomic_load(&bp_range.used), 664 * MIB, "%zu MiB for 600", atomic_load(&bp_range.used) >> 20);
}

/* ---- the range is full ---- */

Test(backend, where_the_range_is_full_blocks_come_from_outside, .timeout = 60)
{
	void *p;
	int within = 0;
	start((size_t)64 * MIB);
	cr_assert_not(atomic_load(&bp_range.incomplete));
	do {
		p = bp_backend_one(bp_class_of(4 * MIB), false, false, &heap);
		cr_assert_not_null(p);
	} while (bp_range_has(p) && ++within < 100);
	cr_assert_geq(within, 4);
	cr_assert_not(bp_range_has(p));
	cr_assert(atomic_load(&bp_range.incomplete), "releases would take it for foreign");
	memset(p, 1, 4 * MIB);
	bp_pass_free(p);
	p = bp_backend_large(30 * MIB, 1, true, &heap);
	cr_assert_not_null(p);
	cr_assert_not(bp_range_has(p));
	cr_assert(bp_backend_large_free(p));
}

/* ---- signals ---- */

static _Atomic unsigned met, let_in;

static void intrude(int signal)
{
	void *p;
	(void)signal;
	if (!bp_backend_busy())
		return;
	atomic_fetch_add(&met, 1);
	if (bp_backend_fill(&p, 1, bp_class_of(512), &heap) != 0 || bp_backend_one(bp_class_of(65536), false, false, &heap) != NULL ||
	    bp_backend_large(100000, 1, false, &heap) != NULL || bp_backend_give_back(&p, 1, 3, &heap) || bp_backend_large_free(p) ||
	    bp_backend_large_resize(p, 1, &heap))
		atomic_fetch_add(&let_in, 1);
	bp_backend_purge(&heap);
	bp_backend_decay();
	bp_backend_trim();
}

Test(backend, handlers_that_come_into_it_are_refused, .timeout = 60)
{
	static void *blocks[512];
	struct itimerval often = { { 0, 50 }, { 0, 50 } }, never = { 0 };
	start((size_t)1024 * MIB);
	signal(SIGALRM, intrude);
	setitimer(ITIMER_REAL, &often, NULL);
	for (uint64_t start = u_now_us(); u_now_us() < start + 300000 || (met < 20 && u_now_us() < start + 20000000);) {
		size_t n = bp_backend_fill(blocks, 200, bp_class_of(512), &heap);
		cr_assert_gt(n, 0);
		cr_assert(bp_backend_give_back(blocks, n, bp_class_of(512), &heap));
		bp_backend_purge(&heap);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	cr_assert_geq(atomic_load(&met), 20, "no signal came while the thread was inside");
	cr_assert_eq(atomic_load(&let_in), 0);
	cr_assert_not(bp_backend_busy());
}
