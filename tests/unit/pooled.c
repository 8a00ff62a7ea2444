/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Blocks of the pooled classes: each that comes from jemalloc is a block by the page table, holes are filled before fresh slabs
 * are taken, and what the explicit tcache keeps ready is nobody's for long.
 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "support.h"

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

Test(pooled, fills_are_blocks_of_their_class_that_do_not_overlap, .timeout = 60)
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

Test(pooled, holes_are_filled_before_fresh_slabs)
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

Test(pooled, one_block_is_zero_where_that_is_asked)
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
Test(pooled, blocks_with_pages_begin_at_different_places_of_them_or_where_that_is_asked_at_the_page)
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

/* ---- the explicit tcache ---- */

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
Test(pooled, an_epoch_flushes_the_explicit_tcache)
{
	start_with_blocks();
	cr_assert_eq(give_back_four_and_take_one(), blocks_of_256[23]);
	bp_backend_give_back(blocks_of_256 + 23, 1, bp_class_of(256), &heap);
	bp_backend_decay();
	void *p;
	cr_assert_eq(bp_backend_fill(&p, 1, bp_class_of(256), &heap), 1);
	cr_assert_neq(p, blocks_of_256[23], "the last is the first: it was still in the tcache");
}

/* ---- fork ---- */

static _Atomic bool stop;

/* Another thread may have been changing it. */
Test(pooled, a_child_leaves_alone_what_the_explicit_tcache_held)
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

Test(pooled, a_child_has_a_tcache_whoever_held_the_parents, .timeout = 60)
{
	pthread_t other;
	start_with_blocks();
	cr_assert_eq(pthread_create(&other, NULL, fill_all_the_time, NULL), 0);
	for (int i = 0; i < 40; i++) {
		int status = -1;
		pid_t child = fork();
		if (child == 0) {
			alarm(30);
			bp_backend_child();
			_exit(give_back_four_and_take_one() != blocks_of_256[23]);
		}
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0, "child %d: status %x", i, status);
	}
	stop = true;
	pthread_join(other, NULL);
}
