/* SPDX-License-Identifier: BSD-2-Clause
 *
 * jemalloc as the backend: every block that comes from it is a block by the page table, holes are filled before fresh
 * slabs are taken, nothing is done for a thread that is inside jemalloc already.
 */
#include "sys/backend.h"
#include "sys/pass.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"
#include "sys/range.h"

enum { MIB = 1 << 20 };

static struct bp_heap heap = { .owner = BP_OWNER_NONE };

static void start(size_t range)
{
	cr_assert(bp_range_start(range, true));
	cr_assert(bp_backend_start(&heap, 2000));
}

static int compare(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
	return x < y ? -1 : x > y;
}

static size_t least_alignment(unsigned class)
{
	size_t size = bp_class_size(class);
	if (class >= BP_CLASS_COUNT_SLAB)
		return 256;
	return size % BP_PAGE == 0 ? BP_PAGE : size < 16 ? 8 : 16;
}

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
	cr_assert_eq(asked("opt.prof", sizeof(bool)), 0);
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

Test(backend, fills_are_blocks_of_their_class_that_do_not_overlap, .timeout = 60)
{
	static void *blocks[600];
	start((size_t)4096 * MIB);
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		size_t size = bp_class_size(class), wanted = size > 65536 ? 4 : bp_backend_slab_blocks(class) > 1 ? 512 : 16;
		size_t n = bp_backend_fill(blocks, wanted, class, &heap);
		cr_assert(n >= 1 && n <= wanted, "%zu of %zu blocks of class %u", n, wanted, class);
		qsort(blocks, n, sizeof(*blocks), compare);
		for (size_t i = 0; i < n; i++) {
			cr_assert(bp_range_has(blocks[i]));
			cr_assert_eq(bp_range_start_of(blocks[i]), class + 1);
			cr_assert_eq(bp_range_start_of((char *)blocks[i] + size / 2), 0);
			if (i > 0)
				cr_assert_geq((char *)blocks[i], (char *)blocks[i - 1] + size, "class %u", class);
			cr_assert_eq((uintptr_t)blocks[i] % least_alignment(class), 0);
			memset(blocks[i], 1, size);
			cr_assert_eq(bp_backend_usable(blocks[i]), size);
		}
		cr_assert(bp_backend_give_back(blocks, n, class, &heap));
	}
}

Test(backend, holes_are_filled_before_fresh_slabs)
{
	enum { MANY = 256 * 64 };
	static void *blocks[MANY];
	unsigned class = bp_class_of(256);
	start((size_t)1024 * MIB);
	size_t n = 0;
	while (n + 512 <= MANY)
		n += bp_backend_fill(blocks + n, 512, class, &heap);
	/* One block of each slab stays: bursts that come and go must find the holes, or the range grows with each. */
	for (size_t i = 0; i < n; i++)
		if (i % 16 != 0)
			bp_backend_give_back(&blocks[i], 1, class, &heap);
	size_t used = atomic_load(&bp_range.used);
	for (int round = 0; round < 5; round++) {
		static void *again[MANY];
		size_t have = 0;
		while (have < n - n / 16 - 512)
			have += bp_backend_fill(again + have, 512, class, &heap);
		for (size_t i = 0; i < have; i++)
			cr_assert_eq(bp_range_start_of(again[i]), class + 1);
		for (size_t i = 0; i < have; i += 64)
			bp_backend_give_back(again + i, have - i < 64 ? have - i : 64, class, &heap);
	}
	cr_assert_leq(atomic_load(&bp_range.used), used + 4 * MIB, "the range grew from %zu to %zu", used,
		      atomic_load(&bp_range.used));
}

Test(backend, one_block_is_zero_where_that_is_asked)
{
	start((size_t)1024 * MIB);
	for (unsigned class = BP_CLASS_COUNT_SLAB; class < BP_CLASS_COUNT; class += 3) {
		size_t size = bp_class_size(class);
		for (int round = 0; round < 3; round++) {
			unsigned char *p = bp_backend_one(class, true, false, &heap);
			cr_assert_not_null(p);
			cr_assert_eq(bp_range_start_of(p), class + 1);
			for (size_t i = 0; i < size; i++)
				cr_assert_eq(p[i], 0, "class %u, byte %zu", class, i);
			memset(p, 0xff, size);
			void *back = p;
			cr_assert(bp_backend_give_back(&back, 1, class, &heap));
			cr_assert_eq(bp_range_start_of(p), 0, "what was given back is no block any more");
		}
	}
}

/* So that not all of them share the few sets of the cache that a page's first lines fall into. */
Test(backend, blocks_with_pages_begin_at_different_places_of_them_or_where_that_is_asked_at_the_page)
{
	enum { BLOCKS = 64, STEP = 256 };
	static void *blocks[BLOCKS];
	start((size_t)1024 * MIB);
	for (unsigned class = BP_CLASS_COUNT_SLAB; class < BP_CLASS_COUNT; class += 3) {
		size_t size = bp_class_size(class);
		unsigned seen = 0;
		for (int i = 0; i < BLOCKS; i++) {
			unsigned char *p = blocks[i] = bp_backend_one(class, false, i % 4 == 3, &heap);
			uintptr_t offset = (uintptr_t)p & (BP_PAGE - 1);
			cr_assert(p != NULL && offset % STEP == 0 && (i % 4 != 3 || offset == 0));
			seen |= i % 4 == 3 ? 0 : 1u << offset / STEP;
			memset(p, i, size);
			cr_assert_eq(bp_range_start_of(p), class + 1);
			cr_assert_eq(bp_range_start_of(p + STEP), 0);
			void *before = p - offset - STEP; /* the end of another block, or what is spare of it */
			cr_assert(!bp_range_has(before) || bp_range_start_of(before) == 0);
			cr_assert_eq(bp_range_around(p + size - 1), class + 1);
		}
		cr_assert_geq(__builtin_popcount(seen), 6, "class %u begins at %d places", class, __builtin_popcount(seen));
		for (int i = 0; i < BLOCKS; i++)
			for (size_t at = 0; at < size; at += size - 1)
				cr_assert_eq(((unsigned char *)blocks[i])[at], i, "blocks overlap");
		cr_assert(bp_backend_give_back(blocks, BLOCKS, class, &heap));
	}
}

Test(backend, large_blocks_of_any_alignment)
{
	start((size_t)4096 * MIB);
	static const size_t sizes[] = { 1, 8, 16, 100, 4097, 14336, 14337, 65537, 300000, 4194304, 4194305, 20000000 };
	for (size_t i = 0; i < U_COUNT(sizes); i++)
		for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 8) {
			char *p = bp_backend_large(sizes[i], alignment, alignment % 64 == 0, &heap);
			cr_assert_not_null(p);
			cr_assert_eq((uintptr_t)p % alignment, 0);
			size_t usable = bp_backend_usable(p);
			cr_assert_geq(usable, sizes[i]);
			unsigned tag = bp_range_start_of(p);
			cr_assert_neq(tag, 0, "%zu bytes aligned to %zu are no block", sizes[i], alignment);
			cr_assert_geq(usable, 16, "a mark in the second word would lie in the next block");
			if (tag != BP_TAG_HUGE)
				cr_assert_eq(bp_class_size(tag - 1), usable);
			else
				cr_assert(usable > BP_CLASS_SIZE_MAX || alignment > BP_PAGE);
			cr_assert_eq(bp_range_start_of(p + usable / 2), 0);
			if (alignment % 64 == 0)
				for (size_t at = 0; at < sizes[i]; at += 511)
					cr_assert_eq(p[at], 0);
			memset(p, 1, usable);
			cr_assert(bp_backend_large_free(p));
			cr_assert_eq(bp_range_start_of(p), 0);
		}
}

Test(backend, good_size_is_what_large_gives)
{
	start((size_t)4096 * MIB);
	for (size_t n = 65537; n < 40 * MIB; n = n * 5 / 4) {
		void *p = bp_backend_large(n, 1, false, &heap);
		cr_assert_eq(bp_backend_usable(p), bp_backend_good_size(n));
		bp_backend_large_free(p);
	}
	cr_assert_eq(bp_backend_good_size(SIZE_MAX), 0);
	cr_assert_eq(bp_backend_good_size((size_t)PTRDIFF_MAX + 1), 0);
	cr_assert_null(bp_backend_large(PTRDIFF_MAX, 1, false, &heap));
}

Test(backend, resizing_in_place_keeps_the_table_right)
{
	start((size_t)1024 * MIB);
	char *p = bp_backend_large(20 * MIB, 1, false, &heap);
	cr_assert(bp_backend_large_resize(p, 100000, &heap), "shrinking is always possible");
	size_t usable = bp_backend_usable(p);
	cr_assert_lt(usable, MIB);
	cr_assert_eq(bp_range_start_of(p), bp_class_of(usable) + 1, "tag %u", bp_range_start_of(p));
	for (size_t at = BP_PAGE; at < usable; at += BP_PAGE)
		cr_assert_eq(bp_range_start_of(p + at), 0);
	char *next = bp_backend_large(usable, 1, false, &heap);
	if (next == p + usable) {
		cr_assert_not(bp_backend_large_resize(p, 2 * usable, &heap));
		cr_assert_eq(bp_range_start_of(next), bp_class_of(usable) + 1, "a refusal cleared the neighbour");
	}
}

/* Blocks aligned to more than a page are never kept, and are known by their tag. */
Test(backend, resizing_an_aligned_block_leaves_it_one_of_no_class)
{
	start((size_t)1024 * MIB);
	char *p = bp_backend_large(400000, 16 * BP_PAGE, false, &heap);
	cr_assert_eq(bp_range_start_of(p), BP_TAG_HUGE);
	cr_assert(bp_backend_large_resize(p, 200000, &heap));
	cr_assert_lt(bp_backend_usable(p), 400000);
	cr_assert_eq(bp_range_start_of(p), BP_TAG_HUGE);
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

static void *blocks_of_256[64];

static void start_with_blocks(void)
{
	start((size_t)1024 * MIB);
	cr_assert_eq(bp_backend_fill(blocks_of_256, 64, bp_class_of(256), &heap), 64);
	qsort(blocks_of_256, 64, sizeof(void *), compare);
}

/* Gives back four blocks, lowest first, and takes one: the last through the explicit tcache, the first where that is
 * not used. The tcache is made by the first fill that finds a hole. */
static void *give_back_four_and_take_one(void)
{
	void *p = NULL;
	bp_backend_give_back(blocks_of_256 + 40, 1, bp_class_of(256), &heap);
	bp_backend_fill(blocks_of_256 + 40, 1, bp_class_of(256), &heap);
	bp_backend_give_back(blocks_of_256 + 20, 4, bp_class_of(256), &heap);
	bp_backend_fill(&p, 1, bp_class_of(256), &heap);
	return p;
}

/* What lies ready in the explicit tcache is nobody's use. */
Test(backend, an_epoch_flushes_the_explicit_tcache)
{
	start_with_blocks();
	cr_assert_eq(give_back_four_and_take_one(), blocks_of_256[23]);
	bp_backend_give_back(blocks_of_256 + 23, 1, bp_class_of(256), &heap);
	bp_backend_decay();
	void *p;
	cr_assert_eq(bp_backend_fill(&p, 1, bp_class_of(256), &heap), 1);
	cr_assert_neq(p, blocks_of_256[23], "the last is the first: it was still in the tcache");
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

Test(backend, releases_are_told_of_blocks_over_the_cap_outside, .timeout = 60)
{
	start((size_t)64 * MIB);
	cr_assert(bp_range_has(bp_backend_large(40 * MIB, 1, false, &heap)));
	cr_assert_not(atomic_load(&bp_range.incomplete));
	void *p = bp_backend_large(40 * MIB, 1, false, &heap);
	cr_assert_not_null(p);
	cr_assert_not(bp_range_has(p));
	cr_assert(atomic_load(&bp_range.incomplete), "their release would be taken for foreign");
	bp_backend_large_free(p);
}

/* Blocks over the cap have an arena for each CPU, and address space stays with the arena that carved it. */
Test(backend, where_the_range_is_full_another_cpus_arena_is_asked)
{
	if (u_cpu(1) < 0)
		cr_skip_test("one CPU only");
	start((size_t)128 * MIB);
	u_pin(u_cpu(0));
	void *p = bp_backend_large(100 * MIB, 1, false, &heap);
	cr_assert(bp_range_has(p));
	bp_backend_large_free(p);
	u_pin(u_cpu(1));
	void *q = bp_backend_large(90 * MIB, 1, false, &heap);
	cr_assert(bp_range_has(q), "it lies outside, though the range has room");
	bp_backend_large_free(q);
}

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

/* ---- fork ---- */

static _Atomic bool stop;

/* Another thread may have been changing it. */
Test(backend, a_child_leaves_alone_what_the_explicit_tcache_held)
{
	void *again[8];
	start_with_blocks();
	cr_assert_eq(give_back_four_and_take_one(), blocks_of_256[23], "the explicit tcache was not used");
	bp_backend_child();
	size_t n = bp_backend_fill(again, 8, bp_class_of(256), &heap);
	for (size_t i = 0; i < n; i++)
		for (int old = 20; old < 23; old++)
			cr_assert_neq(again[i], blocks_of_256[old], "it came from the parent's tcache");
}

static void *fill_all_the_time(void *argument)
{
	void *blocks[64];
	while (!stop)
		bp_backend_give_back(blocks, bp_backend_fill(blocks, 64, bp_class_of(512), &heap), bp_class_of(512), &heap);
	return argument;
}

Test(backend, a_child_has_a_tcache_whoever_held_the_parents, .timeout = 60)
{
	pthread_t other;
	start_with_blocks();
	cr_assert_eq(pthread_create(&other, NULL, fill_all_the_time, NULL), 0);
	for (int i = 0; i < 40; i++) {
		int status = -1;
		pid_t child = fork();
		if (child == 0) {
			alarm(5);
			bp_backend_child();
			_exit(give_back_four_and_take_one() != blocks_of_256[23]);
		}
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0, "child %d: status %x", i, status);
	}
	stop = true;
	pthread_join(other, NULL);
}
