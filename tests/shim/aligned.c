/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The aligned half of the family, cfree, and C23's sized frees. glibc 2.36 is the reference but for aligned_alloc,
 * which there takes any alignment; C17 and newer glibcs reject what is no power of two, and so does the shim.
 */
#include "harness.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const size_t sizes[] = {0, 1, 8, 16, 17, 24, 48, 63, 64, 65, 100, 1000, 4095, 4096, 4097, 10000, 40000, 65535,
	65536, 65537, 100000, 1 << 20, 5000000};

static bool is_aligned(const void *p, size_t alignment)
{
	return (uintptr_t)p % alignment == 0;
}

/* A block as an allocator's user may treat it: written whole, resized, freed. */
static void use(unsigned char *p, size_t alignment, size_t n, size_t i)
{
	unsigned char *q;

	NEED(p);
	CHECK(is_aligned(p, alignment));
	CHECK(malloc_usable_size(p) >= n);
	memset(p, 0x6b, malloc_usable_size(p));
	if (i % 3) {
		free(p);
		return;
	}
	NEED(q = realloc(p, n + 100));
	CHECK(t_is_filled(q, 0x6b, n));
	free(q);
}

TEST(posix_memalign_aligns)
{
	for (size_t alignment = sizeof(void *); alignment <= (4 << 20); alignment *= 2)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			void *p = NULL;

			errno = 4711;
			CHECK(posix_memalign(&p, alignment, sizes[i]) == 0);
			CHECK(errno == 4711);
			use(p, alignment, sizes[i], i);
		}
}

TEST(posix_memalign_errors)
{
	static const volatile size_t wrong[] = {0, 1, 2, 4, 3, 24, 12, 48, 4097, SIZE_MAX};
	void *p, *const before = &p;

	p = before;
	for (size_t i = 0; i < COUNT(wrong); i++) {
		CHECK(posix_memalign(&p, wrong[i], 100) == EINVAL);
		CHECK(p == before);
	}
	CHECK(posix_memalign(&p, 64, SIZE_MAX) == ENOMEM);
	CHECK(posix_memalign(&p, 4096, SIZE_MAX - 4096) == ENOMEM);
	CHECK(posix_memalign(&p, 16, PTRDIFF_MAX) == ENOMEM);
	CHECK(posix_memalign(&p, (size_t)1 << 62, (size_t)1 << 62) == ENOMEM);
	CHECK(p == before);
}

/* It returns its errors. */
TEST(posix_memalign_leaves_errno_alone, T_SHIM)
{
	void *p;

	errno = 4711;
	CHECK(posix_memalign(&p, 24, 100) == EINVAL);
	CHECK(posix_memalign(&p, 64, SIZE_MAX) == ENOMEM);
	CHECK(posix_memalign(&p, 16, PTRDIFF_MAX) == ENOMEM);
	CHECK(posix_memalign(&p, 65536, 1 << 20) == 0);
	free(p);
	CHECK(errno == 4711);
}

TEST(aligned_alloc_aligns)
{
	for (size_t alignment = 1; alignment <= (4 << 20); alignment *= 2)
		for (size_t i = 0; i < COUNT(sizes); i++)
			use(aligned_alloc(alignment, sizes[i]), alignment, sizes[i], i);
}

TEST(aligned_alloc_rejects_what_is_no_power_of_two, T_SHIM)
{
	static const volatile size_t wrong[] = {0, 3, 24, 48, 100, 4097, SIZE_MAX};

	for (size_t i = 0; i < COUNT(wrong); i++) {
		errno = 0;
		CHECK(aligned_alloc(wrong[i], 96) == NULL);
		CHECK(errno == EINVAL);
	}
}

TEST(aligned_alloc_fails_with_ENOMEM)
{
	static const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 63, SIZE_MAX - 4096, PTRDIFF_MAX,
		(size_t)PTRDIFF_MAX + 1};

	for (size_t alignment = 8; alignment <= (1 << 20); alignment *= 4)
		for (size_t i = 0; i < COUNT(impossible); i++) {
			errno = 0;
			CHECK(aligned_alloc(alignment, impossible[i]) == NULL);
			CHECK(errno == ENOMEM);
			errno = 0;
			CHECK(memalign(alignment, impossible[i]) == NULL);
			CHECK(errno == ENOMEM);
		}
}

/* glibc rounds an alignment that is no power of two up to the next one. */
TEST(memalign_aligns_and_rounds_up)
{
	static const volatile size_t odd[] = {0, 3, 5, 24, 48, 100, 1000, 4097, 5000};

	for (size_t alignment = 1; alignment <= (4 << 20); alignment *= 2)
		for (size_t i = 0; i < COUNT(sizes); i++)
			use(memalign(alignment, sizes[i]), alignment, sizes[i], i);
	for (size_t j = 0; j < COUNT(odd); j++)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			size_t rounded = 1;

			while (rounded < odd[j])
				rounded *= 2;
			use(memalign(odd[j], sizes[i]), rounded, sizes[i], i);
		}
}

TEST(memalign_rejects_an_alignment_beyond_all_bounds)
{
	volatile size_t beyond = SIZE_MAX / 2 + 2, all = SIZE_MAX; /* compilers take an alignment's word for it */

	errno = 0;
	CHECK(memalign(beyond, 1) == NULL);
	CHECK(errno == EINVAL);
	errno = 0;
	CHECK(memalign(all, 1) == NULL);
	CHECK(errno == EINVAL);
	beyond = (size_t)1 << 60;
	CHECK(memalign(beyond, 1) == NULL);
}

TEST(valloc_and_pvalloc_are_page_aligned)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t i = 0; i < COUNT(sizes); i++) {
		unsigned char *p;

		use(valloc(sizes[i]), page, sizes[i], i);
		NEED(p = pvalloc(sizes[i]));
		CHECK(malloc_usable_size(p) >= (sizes[i] + page - 1) / page * page);
		use(p, page, sizes[i], i);
	}
}

TEST(valloc_and_pvalloc_fail_with_ENOMEM)
{
	static const size_t impossible[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 4094, SIZE_MAX - 4095, SIZE_MAX - 4096,
		PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1};

	for (size_t i = 0; i < COUNT(impossible); i++) {
		errno = 0;
		CHECK(valloc(impossible[i]) == NULL);
		CHECK(errno == ENOMEM);
		errno = 0;
		CHECK(pvalloc(impossible[i]) == NULL);
		CHECK(errno == ENOMEM);
	}
}

/* Aligned and plain blocks of one class come from the same place: each must still be aligned after the other's use. */
TEST(alignment_survives_reuse)
{
	for (int round = 0; round < 200; round++)
		for (size_t i = 1; i < COUNT(sizes) - 2; i++) {
			size_t alignment = (size_t)8 << (round + i) % 10;
			void *plain[3], *aligned = aligned_alloc(alignment, sizes[i]);

			NEED(aligned && is_aligned(aligned, alignment));
			for (int j = 0; j < 3; j++)
				NEED(plain[j] = malloc(sizes[i]));
			free(aligned);
			for (int j = 0; j < 3; j++)
				free(plain[j]);
			NEED(aligned = memalign(alignment, sizes[i]));
			CHECK(is_aligned(aligned, alignment));
			free(aligned);
		}
}

TEST(cfree_frees, T_SHIM)
{
	void (*cfree_)(void *) = t_shim_symbol("cfree");

	errno = 4711;
	for (size_t i = 0; i < COUNT(sizes); i++)
		cfree_(malloc(sizes[i]));
	cfree_(NULL);
	CHECK(errno == 4711);
	for (int i = 0; i < 20000; i++) {
		char *p = malloc(50000);

		NEED(p);
		memset(p, 1, 50000);
		cfree_(p);
	}
	CHECK(t_resident() < (size_t)200 << 20); /* 1 GB where it leaked */
}

TEST(sized_frees_free, T_SHIM)
{
	void (*free_sized_)(void *, size_t) = t_shim_symbol("free_sized");
	void (*free_aligned_sized_)(void *, size_t, size_t) = t_shim_symbol("free_aligned_sized");

	errno = 4711;
	for (int round = 0; round < 100; round++)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			size_t alignment = (size_t)8 << (round + i) % 12;
			void *p = malloc(sizes[i]), *q = calloc(sizes[i], 1);

			NEED(p && q);
			free_sized_(p, sizes[i]);
			free_sized_(q, sizes[i]);
			NEED(p = aligned_alloc(alignment, sizes[i]));
			free_aligned_sized_(p, alignment, sizes[i]);
			NEED(p = realloc(malloc(10), sizes[i] + 1));
			free_sized_(p, sizes[i] + 1);
		}
	free_sized_(NULL, 100);
	free_aligned_sized_(NULL, 64, 128);
	CHECK(errno == 4711);
	CHECK(t_resident() < (size_t)300 << 20);
}

/* free of anything that any member of the family has given, in any order. */
TEST(one_free_for_the_whole_family)
{
	enum { EACH = 9 };
	static void *p[COUNT(sizes)][EACH];

	for (size_t i = 0; i < COUNT(sizes); i++) {
		size_t n = sizes[i];

		p[i][0] = malloc(n);
		p[i][1] = calloc(n, 1);
		p[i][2] = realloc(NULL, n);
		p[i][3] = reallocarray(NULL, n, 1);
		CHECK(posix_memalign(&p[i][4], 256, n) == 0);
		p[i][5] = aligned_alloc(128, n);
		p[i][6] = memalign(512, n);
		p[i][7] = valloc(n);
		p[i][8] = pvalloc(n);
		for (size_t j = 0; j < EACH; j++) {
			NEED(p[i][j]);
			memset(p[i][j], (int)(i * EACH + j), malloc_usable_size(p[i][j]));
		}
	}
	for (size_t j = 0; j < EACH; j++)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			size_t k = (i * 7) % COUNT(sizes);

			CHECK(t_is_filled(p[k][j], (int)(k * EACH + j), malloc_usable_size(p[k][j])));
			free(p[k][j]);
		}
}
