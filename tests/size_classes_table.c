/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The table of size classes against its own definition: for every size and every offset there is, not for samples.
 */
#include <criterion/criterion.h>

#include "size_classes.h"

static bool is_block_start(unsigned tag, size_t offset, size_t remainder)
{
	return bp_class_starts_at(tag, offset) == (remainder == 0);
}

/* Volatile, so that bp_class_of and bp_class_size meet a variable and go through their tables. */
static unsigned class_at_run_time(size_t n)
{
	volatile size_t variable = n;

	return bp_class_of(variable);
}

static size_t size_at_run_time(unsigned cls)
{
	volatile unsigned variable = cls;

	return bp_class_size(variable);
}

Test(size_classes_table, rows_ascend_to_the_largest_cap)
{
	for (unsigned cls = 1; cls < BP_CLASS_COUNT; cls++)
		cr_assert_gt(bp_classes[cls].size, bp_classes[cls - 1].size, "class %u", cls);
	cr_assert_eq(bp_classes[0].size, 8);
	cr_assert_eq(bp_classes[BP_CLASS_COUNT_64K - 1].size, 65536);
	cr_assert_eq(bp_classes[BP_CLASS_COUNT - 1].size, BP_CLASS_SIZE_MAX);
	cr_assert_eq(BP_CLASS_COUNT, 69);
	cr_assert_eq(BP_CLASS_COUNT_64K, 45);
}

Test(size_classes_table, every_size_gets_the_smallest_class_that_holds_it)
{
	unsigned expected = 1; /* never the 8-byte class: see bp_class_of */

	for (size_t n = 0; n <= BP_CLASS_SIZE_MAX; n++) {
		if (n > bp_classes[expected].size)
			expected++;
		cr_assert_eq(class_at_run_time(n), expected, "%zu: class %u, not %u", n, class_at_run_time(n),
			     expected);
		cr_assert_eq(bp_class_closed_form(n), expected, "%zu: closed form %u, not %u", n,
			     bp_class_closed_form(n), expected);
	}
}

Test(size_classes_table, sizes_over_the_largest_class_have_none)
{
	for (size_t n = BP_CLASS_SIZE_MAX + (size_t)1; n; n *= 2)
		cr_assert_geq(class_at_run_time(n), BP_CLASS_COUNT, "%zu", n);
	cr_assert_geq(class_at_run_time(SIZE_MAX), BP_CLASS_COUNT);
}

Test(size_classes_table, slabs_hold_whole_blocks_in_as_few_pages_as_can_be)
{
	for (unsigned cls = 0; cls < BP_CLASS_COUNT; cls++) {
		size_t size = size_at_run_time(cls);
		size_t pages = 1;

		while (pages * BP_CLASS_PAGE % size)
			pages++;
		cr_assert_eq(bp_classes[cls].slab_pages, pages, "class %zu: %u pages, not %zu", size,
			     bp_classes[cls].slab_pages, pages);
		cr_assert_eq(bp_classes[cls].slab_blocks, pages * BP_CLASS_PAGE / size, "class %zu", size);
		cr_assert_eq(cls >= BP_CLASS_COUNT_SLAB, size >= 4 * BP_CLASS_PAGE, "class %zu", size);
	}
}

Test(size_classes_table, the_reciprocal_finds_every_block_of_a_slab_and_nothing_else)
{
	for (unsigned cls = 0; cls < BP_CLASS_COUNT; cls++) {
		size_t size = size_at_run_time(cls);
		size_t end = (size_t)bp_classes[cls].slab_pages * BP_CLASS_PAGE;
		size_t remainder = 0;

		cr_assert_eq(bp_classes[cls].reciprocal, UINT64_MAX / size + 1, "class %zu", size);
		cr_assert_eq(bp_class_reciprocal[cls + 1], bp_classes[cls].reciprocal, "class %zu", size);
		for (size_t offset = 0; offset < end; offset++) {
			cr_assert(is_block_start(cls + 1, offset, remainder), "class %zu, offset %zu", size, offset);
			remainder = remainder + 1 == size ? 0 : remainder + 1;
		}
	}
}

/* Between two multiples the product only grows, so the first offset after and the last before a multiple stand for all
 * of them. */
Test(size_classes_table, the_reciprocal_holds_up_to_16_MiB)
{
	const size_t end = (size_t)1 << 24;

	for (unsigned cls = 0; cls < BP_CLASS_COUNT; cls++) {
		size_t size = size_at_run_time(cls);

		for (size_t start = 0; start < end; start += size) {
			cr_assert(is_block_start(cls + 1, start, 0), "class %zu, offset %zu", size, start);
			cr_assert(is_block_start(cls + 1, start + 1, 1), "class %zu, offset %zu", size, start + 1);
			cr_assert(is_block_start(cls + 1, start + size - 1, size - 1), "class %zu, offset %zu", size,
				  start + size - 1);
		}
	}
}

Test(size_classes_table, no_block_starts_where_there_is_no_class)
{
	cr_assert_eq(bp_class_reciprocal[0], 0);
	for (size_t offset = 0; offset < (size_t)1 << 24; offset++)
		cr_assert_not(bp_class_starts_at(0, offset), "offset %zu", offset);
}

/* Through a variable: clang decides about a call at once, before it has inlined anything. */
#define IS_CONSTANT(expression) ({ __auto_type value_ = (expression); __builtin_constant_p(value_); })
#define FOLDS(cls, below, bytes, pages, inverse) \
	cr_assert(IS_CONSTANT(bp_class_of(below + 1)), "%d", below + 1); \
	cr_assert(IS_CONSTANT(bp_class_of(bytes)), "%d", bytes); \
	cr_assert(IS_CONSTANT(bp_class_size(cls)), "class %d", cls); \
	cr_assert_eq(bp_class_of(below + 1), cls == 0 ? 1 : cls, "%d", below + 1); \
	cr_assert_eq(bp_class_of(bytes), cls == 0 ? 1 : cls, "%d", bytes); \
	cr_assert_eq(bp_class_size(cls), bytes, "class %d", cls);

Test(size_classes_table, constant_sizes_fold_to_constant_classes)
{
#ifdef __OPTIMIZE__
	volatile size_t variable = 40000;

	cr_assert_not(IS_CONSTANT(bp_class_of(variable)), "this test can't tell constants from variables");
	cr_assert(IS_CONSTANT(bp_class_of(0)));
	cr_assert(IS_CONSTANT(bp_class_size(bp_class_of(40000))));
	BP_CLASSES(FOLDS)
#else
	cr_skip_test("compiled without optimisation: nothing is folded");
#endif
}
