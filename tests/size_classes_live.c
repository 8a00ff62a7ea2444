/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The table of size classes against the jemalloc that is installed: its classes must be ours.
 *
 * Unusual: from 5.3.1 on jemalloc gives sizes above its slabs whole pages instead of classes, so that there only the
 * class sizes themselves can be compared; and where its pages aren't 4 KiB, nothing can.
 */
#include <criterion/criterion.h>

#include <jemalloc/jemalloc.h>
#include <stdio.h>

#include "size_classes.h"

static void skip_unless_pages_match(void)
{
	size_t page;
	size_t len = sizeof(page);

	cr_assert_eq(mallctl("arenas.page", &page, &len, NULL, 0), 0);
	if (page != BP_CLASS_PAGE)
		cr_skip_test("this jemalloc has pages of %zu bytes, the table holds for %d", page, BP_CLASS_PAGE);
}

/* A fact about one of jemalloc's bins: nregs is 32 bits wide, the sizes are 64. On little-endian machines, ours, both
 * land in the low bytes. */
static size_t bin_fact(unsigned bin, const char *fact, size_t width)
{
	char name[64];
	size_t value = 0;
	size_t len = width;

	snprintf(name, sizeof(name), "arenas.bin.%u.%s", bin, fact);
	cr_assert_eq(mallctl(name, &value, &len, NULL, 0), 0, "%s", name);
	return value;
}

/* What jemalloc says to a size that is no multiple of a class but not far from one of pages tells the two ways apart;
 * a third answer is an error. */
static bool rounds_to_pages(void)
{
	size_t answer = nallocx(32769, 0);

	cr_assert(answer == 40960 || answer == 36864, "nallocx(32769) is %zu: neither a class nor whole pages", answer);
	return answer == 36864;
}

Test(size_classes_live, every_size_gets_the_block_it_gets_from_jemalloc)
{
	skip_unless_pages_match();
	bool pages_only = rounds_to_pages();
	size_t slab_max = bp_class_size(BP_CLASS_COUNT_SLAB - 1);

	for (size_t n = 9; n <= BP_CLASS_SIZE_MAX; n++) {
		size_t expected = bp_class_size(bp_class_of(n));

		if (pages_only && n > slab_max && n != expected)
			continue;
		cr_assert_eq(nallocx(n, 0), expected, "%zu: %zu from jemalloc, %zu from the table", n, nallocx(n, 0),
			     expected);
	}
	if (pages_only)
		cr_log_warn("this jemalloc rounds to pages above %zu bytes: compared at the class sizes only",
			    slab_max);
}

Test(size_classes_live, slabs_are_those_of_jemalloc)
{
	unsigned bins;
	size_t len = sizeof(bins);

	skip_unless_pages_match();
	cr_assert_eq(mallctl("arenas.nbins", &bins, &len, NULL, 0), 0);
	cr_assert_eq(bins, BP_CLASS_COUNT_SLAB);
	for (unsigned cls = 0; cls < bins; cls++) {
		const struct bp_class *row = &bp_classes[cls];
		size_t slab = bin_fact(cls, "slab_size", sizeof(size_t));

		cr_assert_eq(bin_fact(cls, "size", sizeof(size_t)), row->size, "class %u", cls);
		cr_assert_eq(slab, (size_t)row->slab_pages * BP_CLASS_PAGE,
			     "class of %u: slabs of %zu bytes, not %u pages", row->size, slab, row->slab_pages);
		cr_assert_eq(bin_fact(cls, "nregs", sizeof(uint32_t)), row->slab_blocks, "class of %u", row->size);
	}
}
