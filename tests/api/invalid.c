/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is no block, a wrong size, and a write after release abort; double releases are in misuse.c.
 */
#include "crime.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(invalid, .timeout = 60);

/* ---- invalid release ---- */

static void release_inside(void *shared)
{
	struct crime *c = shared;
	unsigned char *p = bufpool_acquire(c->n);

	c->address = (uintptr_t)p + c->offset;
	release_as(c, t_launder(p + c->offset));
}

Test(invalid, release_of_the_inside_of_a_block)
{
	static const size_t inside[][2] = { { 32, 16 }, { 48, 16 }, { 100, 16 }, { 1024, 16 }, { 1024, 512 },
		{ 4096, 2048 }, { 14336, 4096 }, { 40000, 64 }, { 40000, 4096 }, { 40000, 36864 }, { 65536, 61440 } };

	for (size_t i = 0; i < T_COUNT(inside); i++) {
		struct crime *c = crime(inside[i][0]);

		c->offset = inside[i][1];
		expect_abort(release_inside, c, "invalid release", 0);
	}
}

Test(invalid, release_of_an_unaligned_pointer)
{
	static const size_t unaligned[][2] = { { 8, 1 }, { 8, 4 }, { 16, 1 }, { 16, 8 }, { 64, 1 }, { 64, 63 },
		{ 1000, 7 }, { 40000, 1 }, { 65536, 4097 } };

	for (size_t i = 0; i < T_COUNT(unaligned); i++) {
		struct crime *c = crime(unaligned[i][0]);

		c->offset = unaligned[i][1];
		expect_abort(release_inside, c, "invalid release", 0);
	}
}

Test(invalid, release_of_the_inside_over_the_cap)
{
	static const size_t inside[][2] = { { 65537, 16 }, { 100000, 4096 }, { 1 << 20, 65536 }, { 5 << 20, 4 << 20 } };

	for (size_t i = 0; i < T_COUNT(inside); i++) {
		struct crime *c = crime(inside[i][0]);

		c->offset = inside[i][1];
		expect_abort(release_inside, c, "invalid release", 0);
	}
}

Test(invalid, release_of_the_inside_by_every_way)
{
	for (int how = 0; how < RELEASE_WAYS; how++) {
		struct crime *c = crime(1000);

		c->offset = 32;
		c->how = how;
		expect_abort(release_inside, c, "invalid release", 0);
	}
}

/* ---- foreign release ---- */

static void release_foreign(void *shared)
{
	static unsigned char in_data[64] __attribute__((aligned(64)));
	unsigned char on_stack[64] __attribute__((aligned(64)));
	struct crime *c = shared;
	void *p = c->how == 0 ? on_stack : c->how == 1 ? in_data : c->how == 2 ? malloc(64) : (void *)(uintptr_t)64;

	bufpool_release(bufpool_acquire(100));
	c->address = (uintptr_t)p;
	bufpool_release(t_launder(p));
}

Test(invalid, release_of_what_is_no_block)
{
	for (int how = 0; how < 4; how++) {
		struct crime *c = crime(64);

		c->how = how;
		expect_abort(release_foreign, c, "foreign release", 0);
	}
}

/* ---- wrong size ---- */

static void release_with_wrong_size(void *shared)
{
	struct crime *c = shared;
	void *p = bufpool_acquire(c->n);

	c->address = (uintptr_t)p;
	if (c->how)
		bufpool_release_aligned_sized(p, 8, c->offset);
	else
		bufpool_release_sized(p, c->offset);
}

Test(invalid, sized_release_with_another_class)
{
	static const size_t wrong[][2] = { { 100, 5000 }, { 5000, 100 }, { 100, 96 }, { 100, 113 }, { 40000, 40 },
		{ 40, 40000 }, { 65536, 65537 }, { 1000, 1 << 20 } };

	for (size_t i = 0; i < T_COUNT(wrong); i++) {
		struct crime *c = crime(wrong[i][0]);

		c->offset = wrong[i][1];
		c->how = (int)(i & 1);
		expect_abort(release_with_wrong_size, c, "wrong size", bufpool_good_size(wrong[i][0]));
	}
}

/* ---- write after release ---- */

static void write_after_release(void *shared)
{
	struct crime *c = shared;
	unsigned char *p = bufpool_acquire(c->n), *old = t_launder(p);
	void *next;

	t_pin(t_cpu(0));
	c->address = (uintptr_t)p;
	bufpool_release(p);
	memset(old, 0x5a, c->n);
	next = bufpool_acquire(c->n);
	bufpool_release(next);
}

Test(invalid, write_after_release_is_found_at_the_hand_out)
{
	static const size_t written[] = { 16, 48, 100, 1024, 4096, 14336, 40000, 65536 };

	for (size_t i = 0; i < T_COUNT(written); i++)
		expect_abort(write_after_release, crime(written[i]), "write after release",
			     bufpool_good_size(written[i]));
}

/* ---- no pool ---- */

static void use_no_pool(void *shared)
{
	struct crime *c = shared;
	struct bufpool *pool = t_launder(c);

	c->address = (uintptr_t)pool;
	if (c->how == 0)
		bufpool_release(bufpool_acquire_from(pool, 100));
	else if (c->how == 1)
		bufpool_advance_epoch(pool);
	else
		bufpool_trim(pool, 0);
}

Test(invalid, a_pool_that_was_never_made)
{
	for (int how = 0; how < 3; how++) {
		struct crime *c = crime(100);

		c->how = how;
		expect_abort(use_no_pool, c, "no such pool", 0);
	}
}
