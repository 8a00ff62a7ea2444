/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Questions about blocks: bufpool_capacity, bufpool_good_size, bufpool_owns. owns is asked about pointers of every
 * origin, unmapped ones too: it may not read through them.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

TestSuite(blocks, .timeout = 30);

Test(blocks, capacity_of_null_is_0)
{
	cr_assert_eq(bufpool_capacity(NULL), 0);
}

Test(blocks, capacity_is_constant_while_owned)
{
	for (size_t n = 0; n < 3 * T_CAP; n = n * 2 + 3) {
		void *p = bufpool_acquire(n), *others[32];
		const size_t capacity = bufpool_capacity(p);

		cr_assert_eq(bufpool_acquire_many(others, 32, n), 32);
		bufpool_release_many(others, 32);
		bufpool_advance_epoch(NULL);
		bufpool_trim(NULL, 0);
		cr_assert_eq(bufpool_capacity(p), capacity);
		bufpool_release_sized(p, capacity);
	}
}

Test(blocks, good_size_is_what_a_request_gets)
{
	t_need_pool(16);
	for (size_t n = 0; n <= T_CAP; n += n < 1100 ? 1 : 97) {
		void *p = bufpool_acquire(n);

		cr_assert_eq(bufpool_capacity(p), bufpool_good_size(n), "%zu bytes: %zu", n, bufpool_capacity(p));
		bufpool_release(p);
	}
	for (size_t n = T_CAP + 1; n <= 8u << 20; n += n / 3) {
		void *p = bufpool_acquire(n);

		cr_assert_eq(bufpool_capacity(p), bufpool_good_size(n), "%zu bytes: %zu", n, bufpool_capacity(p));
		bufpool_release(p);
	}
}

Test(blocks, good_size_is_monotonic_and_a_fixed_point)
{
	size_t before = 0;

	for (size_t n = 0; n <= T_LARGEST; n += n < 70000 ? 1 : 1021) {
		const size_t good = bufpool_good_size(n);

		cr_assert_geq(good, n);
		cr_assert_geq(good, before);
		cr_assert_eq(bufpool_good_size(good), good);
		/* The classes: four per doubling, so never more than a quarter above, 16 bytes apart at the bottom. */
		cr_assert(n < 64 ? good <= n + 15 || good == 16 : good <= n + n / 4 + 1, "%zu gets %zu", n, good);
		before = good;
	}
}

Test(blocks, good_size_knows_the_classes_up_to_64K)
{
	static const size_t classes[] = { 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
		640, 768, 896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240,
		12288, 14336, 16384, 20480, 24576, 28672, 32768, 40960, 49152, 57344, 65536 };

	for (size_t i = 0; i < T_COUNT(classes); i++) {
		cr_assert_eq(bufpool_good_size(classes[i]), classes[i]);
		cr_assert_eq(bufpool_good_size(classes[i] - 1), classes[i]);
		if (i + 1 < T_COUNT(classes))
			cr_assert_eq(bufpool_good_size(classes[i] + 1), classes[i + 1]);
	}
}

Test(blocks, good_size_is_0_where_no_block_can_be)
{
	cr_assert_eq(bufpool_good_size(SIZE_MAX), 0);
	cr_assert_eq(bufpool_good_size((size_t)PTRDIFF_MAX + 1), 0);
}

Test(blocks, owns_its_blocks_of_every_size)
{
	t_need_pool(16);
	for (size_t n = 0; n <= 8u << 20; n = n * 2 + 1) {
		void *p = bufpool_acquire(n), *q = bufpool_acquire_aligned(64, n);

		cr_assert(p && q);
		cr_assert(bufpool_owns(p), "%zu bytes", n);
		cr_assert(bufpool_owns(q), "%zu bytes, aligned", n);
		bufpool_release(p);
		bufpool_release(q);
	}
}

Test(blocks, owns_what_was_resized)
{
	t_need_pool(16);
	void *p = bufpool_acquire(10);

	for (size_t n = 20; n < 1 << 20; n *= 3) {
		p = bufpool_resize(p, n);
		cr_assert(bufpool_owns(p), "%zu bytes", n);
	}
	bufpool_release(p);
}

Test(blocks, owns_a_released_block_as_long_as_the_pool_keeps_it)
{
	void *p, *old;

	t_hold_epochs();
	t_need_pool(1000);
	p = bufpool_acquire(1000);
	old = t_launder(p);
	bufpool_release(p);
	cr_assert(bufpool_owns(old));
}

Test(blocks, owns_nothing_of_the_program_s)
{
	static int in_data;
	int on_stack = 0;
	void *heap = malloc(100), *large = malloc(1 << 20);
	void *mapped = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *block = bufpool_acquire(64);

	cr_assert(block && heap && large && mapped != MAP_FAILED);
	cr_assert_not(bufpool_owns(NULL));
	cr_assert_not(bufpool_owns(&in_data));
	cr_assert_not(bufpool_owns(&on_stack));
	cr_assert_not(bufpool_owns("text"));
	cr_assert_not(bufpool_owns(heap));
	cr_assert_not(bufpool_owns(large));
	cr_assert_not(bufpool_owns(mapped));
	munmap(mapped, 1 << 16);
	cr_assert_not(bufpool_owns(t_launder(mapped)), "unmapped by now");
	free(heap);
	free(large);
	bufpool_release(block);
}

Test(blocks, owns_survives_any_bit_pattern)
{
	unsigned char *block = bufpool_acquire(64);
	uint64_t random = 77;
	unsigned owned = 0;

	for (int i = 0; i < 200000; i++)
		owned += bufpool_owns((void *)(uintptr_t)(t_random(&random) | 1));
	cr_assert_eq(owned, 0, "no block starts at an odd address");
	/* Every distance from a block, far outside of what is committed. */
	for (uintptr_t distance = 16; distance < (uintptr_t)1 << 46; distance *= 2) {
		owned += bufpool_owns((void *)((uintptr_t)block + distance + 1));
		owned += bufpool_owns((void *)((uintptr_t)block - distance - 1));
	}
	cr_assert_eq(owned, 0);
	cr_assert_not(bufpool_owns((void *)1));
	cr_assert_not(bufpool_owns((void *)UINTPTR_MAX));
	bufpool_release(block);
}

Test(blocks, owns_no_inside_of_a_block)
{
	t_need_pool(16);
	for (size_t n = 32; n <= 2u << 20; n = n * 3) {
		const size_t capacity = bufpool_good_size(n);
		unsigned char *p = bufpool_acquire(n);

		cr_assert(bufpool_owns(p));
		for (size_t at = 1; at < capacity; at += at < 256 ? 1 : 509)
			cr_assert_not(bufpool_owns(p + at), "%zu bytes into a block of %zu", at, capacity);
		cr_assert_not(bufpool_owns(p + capacity / 2));
		for (size_t at = 4096; at < capacity; at += 4096)
			cr_assert_not(bufpool_owns(p + at), "%zu bytes into a block of %zu", at, capacity);
		bufpool_release(p);
	}
}

Test(blocks, capacity_of_aligned_blocks_fits_their_request)
{
	for (size_t alignment = 16; alignment <= 65536; alignment *= 2) {
		for (size_t n = 1; n <= 1 << 18; n = n * 3 + 1) {
			void *p = bufpool_acquire_aligned(alignment, n);
			const size_t capacity = bufpool_capacity(p);

			cr_assert_geq(capacity, n);
			cr_assert_eq(bufpool_good_size(capacity), capacity, "%zu is no class", capacity);
			bufpool_release_sized(p, capacity);
		}
	}
}
