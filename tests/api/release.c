/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The release family: NULL, errno, every way to say the size, and wiping. What releases must not accept is in
 * misuse.c.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

TestSuite(release, .timeout = 30);

static const size_t sizes[] = { 0, 1, 8, 13, 16, 100, 128, 1000, 1024, 5000, 40000, 65535, 65536, 65537, 100000,
	1 << 20, 6 << 20 };

static void release_with(int how, void *p, size_t n)
{
	switch (how) {
	case 0:
		bufpool_release(p);
		break;
	case 1:
		bufpool_release_sized(p, n);
		break;
	case 2:
		bufpool_release_sized(p, bufpool_capacity(p));
		break;
	case 3:
		bufpool_release_aligned_sized(p, 8, n);
		break;
	case 4:
		bufpool_release_wiped(p, n);
		break;
	case 5:
		bufpool_release_many(&p, 1);
		break;
	}
}

enum { WAYS = 6 };

Test(release, null_is_nothing)
{
	const struct bufpool_stats before = t_stats();
	void *none[3] = { NULL, NULL, NULL };

	bufpool_release(NULL);
	bufpool_release_sized(NULL, 100);
	bufpool_release_sized(NULL, 0);
	bufpool_release_aligned_sized(NULL, 64, 100);
	bufpool_release_wiped(NULL, 0);
	bufpool_release_wiped(NULL, 100);
	bufpool_release_many(none, 3);
	bufpool_release_many(none, 0);
	cr_assert_eq(t_stats().released, before.released);
	cr_assert_eq(t_stats().misuse, before.misuse);
}

Test(release, every_way_for_every_size)
{
	t_need_pool(16);
	for (int how = 0; how < WAYS; how++) {
		for (size_t i = 0; i < T_COUNT(sizes); i++) {
			const struct bufpool_stats before = t_stats();
			struct bufpool_stats after;
			void *p = bufpool_acquire(sizes[i]);

			cr_assert_not_null(p);
			memset(p, 1, sizes[i]);
			cr_assert_eq(t_stats().in_use, before.in_use + 1);
			release_with(how, p, sizes[i]);
			after = t_stats();
			cr_assert_eq(after.in_use, before.in_use, "way %d, %zu bytes", how, sizes[i]);
			cr_assert_eq(after.released, before.released + 1, "way %d, %zu bytes", how, sizes[i]);
			cr_assert_eq(after.misuse, before.misuse);
		}
	}
	cr_assert(t_balanced());
}

Test(release, errno_is_preserved)
{
	enum { COUNT = 300 };
	static void *blocks[COUNT];

	for (int how = 0; how < WAYS; how++) {
		for (size_t i = 0; i < T_COUNT(sizes); i++) {
			const size_t count = sizes[i] > T_CAP ? 10 : COUNT;

			/* Many: releases run into full arrays, the shared level, jemalloc and the kernel too. */
			for (size_t k = 0; k < count; k++)
				blocks[k] = bufpool_acquire(sizes[i]);
			for (size_t k = 0; k < count; k++) {
				errno = 4711;
				release_with(how, blocks[k], sizes[i]);
				cr_assert_eq(errno, 4711, "way %d, %zu bytes", how, sizes[i]);
			}
		}
	}
	errno = 4711;
	bufpool_release(NULL);
	cr_assert_eq(errno, 4711);
}

Test(release, many_skips_nulls)
{
	enum { COUNT = 100 };
	const uint64_t in_use = t_stats().in_use;
	void *blocks[COUNT];

	for (size_t i = 0; i < COUNT; i++)
		blocks[i] = i % 3 ? bufpool_acquire(i * 700) : NULL;
	bufpool_release_many(blocks, COUNT);
	cr_assert_eq(t_stats().in_use, in_use);
	cr_assert(t_balanced());
}

Test(release, many_mixed_sizes_over_the_cap_too)
{
	enum { COUNT = 300 };
	void *blocks[COUNT];
	uint64_t random = 1;

	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < COUNT; i++) {
			const size_t n = t_random_size(&random);

			blocks[i] = bufpool_acquire(n);
			memset(blocks[i], 7, n);
		}
		bufpool_release_many(blocks, COUNT);
	}
	cr_assert_eq(t_stats().in_use, 0);
	cr_assert(t_balanced());
}

Test(release, many_leaves_the_caller_s_array_alone)
{
	void *blocks[4], *copy[4];

	cr_assert_eq(bufpool_acquire_many(blocks, 4, 64), 4);
	memcpy(copy, blocks, sizeof(copy));
	bufpool_release_many(blocks, 4);
	cr_assert_eq(memcmp(copy, blocks, sizeof(copy)), 0);
}

Test(release, aligned_sized_takes_what_aligned_gave)
{
	for (size_t alignment = 8; alignment <= 8192; alignment *= 2)
		for (size_t i = 0; i < T_COUNT(sizes); i++)
			bufpool_release_aligned_sized(bufpool_acquire_aligned(alignment, sizes[i]), alignment,
						      sizes[i]);
	cr_assert_eq(t_stats().misuse, 0);
	cr_assert_eq(t_stats().in_use, 0);
	cr_assert(t_balanced());
}

/* Looks for the secret in all blocks that the pool hands out next: the one that was wiped is among them. */
static bool secret_returns(size_t n, const unsigned char *secret, size_t length)
{
	enum { COUNT = 64 };
	unsigned char *blocks[COUNT];
	bool found = false;

	for (size_t i = 0; i < COUNT; i++) {
		size_t capacity = 0;

		blocks[i] = bufpool_acquire_at_least(&capacity, n);
		for (size_t at = 0; at + length <= capacity; at++)
			found |= !memcmp(blocks[i] + at, secret, length);
	}
	for (size_t i = 0; i < COUNT; i++)
		bufpool_release(blocks[i]);
	return found;
}

static const unsigned char secret[] = "correct horse battery staple";

Test(release, S2_wiped_bytes_are_gone_for_the_next_owner)
{
	static const size_t wiped[] = { 64, 1000, 4096, 20000 };

	for (size_t i = 0; i < T_COUNT(wiped); i++) {
		unsigned char *p = bufpool_acquire(wiped[i]);

		memcpy(p + wiped[i] - sizeof(secret), secret, sizeof(secret));
		bufpool_release_wiped(p, wiped[i]);
		cr_assert_not(secret_returns(wiped[i], secret, sizeof(secret)), "%zu bytes", wiped[i]);
	}
}

Test(release, S2_without_wiping_the_bytes_stay, .init = t_hold_epochs)
{
	unsigned char *p = bufpool_acquire(4096);

	t_need_pool(4096);
	memcpy(p + 4096 - sizeof(secret), secret, sizeof(secret));
	bufpool_release(p);
	/* Otherwise the test above would pass on a library that clears everything, or that reuses nothing. */
	cr_assert(secret_returns(4096, secret, sizeof(secret)));
}

Test(release, wiping_more_than_the_capacity_wipes_the_block)
{
	static volatile const size_t too_much = SIZE_MAX;
	unsigned char *neighbours[16];

	for (size_t i = 0; i < 16; i++) {
		neighbours[i] = bufpool_acquire(256);
		memset(neighbours[i], 0x77, 256);
	}
	bufpool_release_wiped(neighbours[5], 100000);
	bufpool_release_wiped(neighbours[9], too_much);
	for (size_t i = 0; i < 16; i++)
		if (i != 5 && i != 9)
			cr_assert(t_all(neighbours[i], 256, 0x77), "block %zu", i);
}
