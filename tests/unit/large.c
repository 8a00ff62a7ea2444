/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Blocks over the cap and of odd alignments: the page table knows them, also after a resize, and where the range is full.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "heap.h"
#include "support.h"

Test(large, large_blocks_of_any_alignment)
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

Test(large, good_size_is_what_large_gives)
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

Test(large, resizing_in_place_keeps_the_table_right)
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
Test(large, resizing_an_aligned_block_leaves_it_one_of_no_class)
{
	start((size_t)1024 * MIB);
	char *p = bp_backend_large(400000, 16 * BP_PAGE, false, &heap);
	cr_assert_eq(bp_range_start_of(p), BP_TAG_HUGE);
	cr_assert(bp_backend_large_resize(p, 200000, &heap));
	cr_assert_lt(bp_backend_usable(p), 400000);
	cr_assert_eq(bp_range_start_of(p), BP_TAG_HUGE);
}

/* ---- the range is full ---- */

Test(large, releases_are_told_of_blocks_over_the_cap_outside, .timeout = 60)
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
Test(large, where_the_range_is_full_another_cpus_arena_is_asked)
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
