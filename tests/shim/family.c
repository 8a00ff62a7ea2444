/* SPDX-License-Identifier: BSD-2-Clause
 *
 * malloc, calloc, realloc, reallocarray, free and malloc_usable_size as glibc documents them. What glibc itself does
 * not promise (a size class, an address) is not asked for; the same tests run against plain glibc as the reference.
 */
#include "harness.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Both sides of every class boundary that matters, of the default cap (65536), and beyond what any pool keeps. */
static const size_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 64, 65, 100, 127, 128, 129, 160, 200,
	256, 257, 500, 512, 1000, 1024, 1025, 2000, 2048, 4000, 4095, 4096, 4097, 8192, 10000, 14336, 14337, 16384,
	20000, 32767, 32768, 32769, 40000, 49152, 57344, 65535, 65536, 65537, 70000, 81920, 100000, 131072, 131073,
	262144, 300000, 1 << 20, (1 << 20) + 1, 4 << 20, (4 << 20) + 1, 5000000, 16 << 20};

/* The alignment that every type fitting into n bytes needs. */
static size_t natural_alignment(size_t n)
{
	size_t alignment = _Alignof(max_align_t);

	while (alignment > n)
		alignment /= 2;
	return alignment;
}

static bool is_aligned(const void *p, size_t alignment)
{
	return (uintptr_t)p % alignment == 0;
}

static unsigned random_next(unsigned *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

TEST(malloc_gives_what_was_asked_for)
{
	for (size_t i = 0; i < COUNT(sizes); i++) {
		unsigned char *p = malloc(sizes[i]);

		NEED(p);
		CHECK(is_aligned(p, natural_alignment(sizes[i])));
		CHECK(malloc_usable_size(p) >= sizes[i]);
		memset(p, (int)i, sizes[i]);
		CHECK(t_is_filled(p, (int)i, sizes[i]));
		free(p);
	}
}

TEST(blocks_do_not_overlap)
{
	enum { EACH = 8 };
	static unsigned char *p[COUNT(sizes)][EACH];

	for (size_t i = 0; i < COUNT(sizes); i++)
		for (size_t j = 0; j < EACH; j++) {
			NEED(p[i][j] = malloc(sizes[i]));
			memset(p[i][j], (int)(i * EACH + j), malloc_usable_size(p[i][j]));
		}
	for (size_t i = 0; i < COUNT(sizes); i++)
		for (size_t j = 0; j < EACH; j++) {
			CHECK(t_is_filled(p[i][j], (int)(i * EACH + j), malloc_usable_size(p[i][j])));
			free(p[i][j]);
		}
}

TEST(usable_size_is_writable_to_the_last_byte)
{
	for (size_t i = 0; i < COUNT(sizes); i++)
		for (int round = 0; round < 3; round++) {
			unsigned char *p = malloc(sizes[i]), *q = malloc(sizes[i]);
			size_t usable = malloc_usable_size(p);

			NEED(p && q);
			memset(q, 0x11, malloc_usable_size(q));
			memset(p, 0xee, usable);
			CHECK(t_is_filled(q, 0x11, malloc_usable_size(q)));
			CHECK(malloc_usable_size(p) == usable);
			free(p);
			free(q);
		}
	CHECK(malloc_usable_size(NULL) == 0);
}

TEST(usable_size_is_constant_while_owned)
{
	enum { KEPT = 300 };
	static void *kept[KEPT];
	static size_t usable[KEPT];
	unsigned random = 1;

	for (size_t i = 0; i < KEPT; i++) {
		NEED(kept[i] = malloc(sizes[i % COUNT(sizes)] % 200000 + 1));
		usable[i] = malloc_usable_size(kept[i]);
	}
	for (int round = 0; round < 20000; round++) {
		size_t n = random_next(&random) % 70000;
		void *p = malloc(n);

		CHECK(p);
		if (round % 8 == 0)
			p = realloc(p, n / 2 + 1);
		free(p);
		CHECK(malloc_usable_size(kept[round % KEPT]) == usable[round % KEPT]);
	}
	for (size_t i = 0; i < KEPT; i++)
		free(kept[i]);
}

TEST(zero_bytes_are_a_distinct_block_each)
{
	void *p[64];

	for (size_t i = 0; i < COUNT(p); i++) {
		switch (i % 4) {
		case 0: p[i] = malloc(0); break;
		case 1: p[i] = calloc(0, 8); break;
		case 2: p[i] = calloc(8, 0); break;
		case 3: p[i] = realloc(NULL, 0); break;
		}
		NEED(p[i]);
		for (size_t j = 0; j < i; j++)
			CHECK(p[i] != p[j]);
	}
	for (size_t i = 0; i < COUNT(p); i++)
		free(p[i]);
}

TEST(calloc_is_zero_after_dirty_reuse)
{
	for (size_t i = 0; i < COUNT(sizes); i++) {
		unsigned char *p[4], *q[4];

		for (size_t j = 0; j < COUNT(p); j++) {
			NEED(p[j] = malloc(sizes[i]));
			memset(p[j], 0xa5, malloc_usable_size(p[j]));
		}
		for (size_t j = 0; j < COUNT(p); j++)
			free(p[j]);
		for (size_t j = 0; j < COUNT(q); j++) {
			NEED(q[j] = j % 2 ? calloc(1, sizes[i]) : calloc(sizes[i], 1));
			CHECK(t_is_filled(q[j], 0, sizes[i]));
			CHECK(is_aligned(q[j], natural_alignment(sizes[i])));
		}
		for (size_t j = 0; j < COUNT(q); j++)
			free(q[j]);
	}
}

/* A sparse table of which one page is touched must not cost all of its pages. */
TEST(large_calloc_is_not_resident)
{
	size_t n = (size_t)256 << 20, before = t_resident();
	char *p = calloc(n, 1);

	NEED(p);
	p[n / 2] = 1;
	CHECK(p[0] == 0 && p[n - 1] == 0);
	CHECK(t_resident() < before + (16 << 20));
	free(p);
}

TEST(calloc_overflow_fails_with_ENOMEM)
{
	static const size_t pairs[][2] = {{SIZE_MAX, 2}, {2, SIZE_MAX}, {SIZE_MAX / 2 + 1, 2}, {(size_t)1 << 32,
		(size_t)1 << 32}, {SIZE_MAX, SIZE_MAX}, {SIZE_MAX / 16 + 1, 16}, {3, SIZE_MAX / 2}};

	for (size_t i = 0; i < COUNT(pairs); i++) {
		errno = 0;
		CHECK(calloc(pairs[i][0], pairs[i][1]) == NULL);
		CHECK(errno == ENOMEM);
	}
}

TEST(impossible_sizes_fail_with_ENOMEM)
{
	static const size_t impossible[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15,
		SIZE_MAX - 4095, SIZE_MAX - 65535, SIZE_MAX / 2 + 2, PTRDIFF_MAX, (size_t)1 << 62, (size_t)1 << 50};
	char *kept = malloc(100);

	NEED(kept);
	memset(kept, 0x33, 100);
	for (size_t i = 0; i < COUNT(impossible); i++) {
		errno = 0;
		CHECK(malloc(impossible[i]) == NULL);
		CHECK(errno == ENOMEM);
		errno = 0;
		CHECK(calloc(1, impossible[i]) == NULL);
		CHECK(errno == ENOMEM);
		errno = 0;
		CHECK(realloc(NULL, impossible[i]) == NULL);
		CHECK(errno == ENOMEM);
		errno = 0;
		CHECK(realloc(kept, impossible[i]) == NULL);
		CHECK(errno == ENOMEM);
		CHECK(t_is_filled(kept, 0x33, 100));
	}
	free(kept);
}

TEST(realloc_keeps_the_contents)
{
	for (size_t i = 0; i < COUNT(sizes); i++)
		for (size_t j = 0; j < COUNT(sizes); j++) {
			size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
			unsigned char *p, *q;

			if (sizes[i] > (2 << 20) && sizes[j] > (2 << 20))
				continue;
			NEED(p = malloc(sizes[i]));
			memset(p, (int)(i + j), sizes[i]);
			NEED(q = realloc(p, sizes[j]));
			CHECK(t_is_filled(q, (int)(i + j), kept));
			CHECK(malloc_usable_size(q) >= sizes[j]);
			CHECK(is_aligned(q, natural_alignment(sizes[j])));
			q[sizes[j] - 1] = 1;
			free(q);
		}
}

TEST(realloc_grows_and_shrinks_step_by_step)
{
	unsigned char *p = NULL;
	size_t n = 0;

	for (n = 1; n < 300000; n += n / 7 + 1) {
		NEED(p = realloc(p, n));
		p[n - 1] = (unsigned char)n;
		CHECK(p[0] == 1);
	}
	for (; n > 1; n -= n / 7 + 1) {
		NEED(p = realloc(p, n));
		CHECK(p[0] == 1);
		CHECK(malloc_usable_size(p) >= n);
	}
	free(p);
}

/* What a block over the cap was must not stay its size after it has been shrunk below the cap in place, nor the
 * other way round. */
TEST(realloc_across_the_cap_changes_the_usable_size)
{
	static const size_t pairs[][2] = {{65536, 65537}, {65536, 81920}, {100000, 60000}, {131072, 65536}, {65537, 16},
		{5 << 20, 65536}, {65536, 5 << 20}, {(4 << 20) + 1, 4 << 20}};

	for (size_t i = 0; i < COUNT(pairs); i++) {
		unsigned char *p = malloc(pairs[i][0]), *q, *other;

		NEED(p);
		memset(p, 0x5a, pairs[i][0]);
		NEED(q = realloc(p, pairs[i][1]));
		memset(q, 0x5a, malloc_usable_size(q));
		NEED(other = malloc(pairs[i][1]));
		memset(other, 0, malloc_usable_size(other));
		CHECK(t_is_filled(q, 0x5a, malloc_usable_size(q)));
		free(other);
		free(q);
	}
}

TEST(realloc_to_nothing_frees)
{
	size_t before;

	for (size_t i = 0; i < COUNT(sizes); i++) {
		void *p = malloc(sizes[i]);

		NEED(p);
		CHECK(realloc(p, 0) == NULL);
	}
	before = t_resident();
	for (int i = 0; i < 20000; i++) {
		char *p = malloc(40000);

		NEED(p);
		memset(p, 1, 40000);
		CHECK(realloc(p, 0) == NULL);
	}
	CHECK(t_resident() < before + (32 << 20)); /* 800 MB where it leaked */
}

TEST(reallocarray_is_realloc_with_a_check)
{
	char *p = reallocarray(NULL, 10, 10), *q;

	NEED(p);
	memset(p, 0x77, 100);
	NEED(q = reallocarray(p, 1000, 100));
	CHECK(t_is_filled(q, 0x77, 100));
	errno = 0;
	CHECK(reallocarray(q, SIZE_MAX / 2, 4) == NULL);
	CHECK(errno == ENOMEM);
	errno = 0;
	CHECK(reallocarray(q, (size_t)1 << 32, (size_t)1 << 32) == NULL);
	CHECK(errno == ENOMEM);
	CHECK(t_is_filled(q, 0x77, 100));
	CHECK(reallocarray(q, 0, 100) == NULL); /* freed, as by realloc */
}

TEST(free_keeps_errno)
{
	free(NULL);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		void *p[32];

		for (size_t j = 0; j < COUNT(p); j++)
			NEED(p[j] = malloc(sizes[i] % (1 << 20) + 1));
		for (size_t j = 0; j < COUNT(p); j++) {
			errno = 4711;
			free(p[j]);
			CHECK(errno == 4711);
		}
		errno = 4712;
		free(malloc(sizes[i]));
		CHECK(errno == 4712);
	}
	errno = 4713;
	free(NULL);
	CHECK(errno == 4713);
}

/* A success sets errno neither; glibc's does not, and programs check errno after calls that allocate within. */
TEST(success_keeps_errno)
{
	for (size_t i = 0; i < COUNT(sizes); i++) {
		void *p;

		errno = 4711;
		p = malloc(sizes[i]);
		CHECK(p && errno == 4711);
		p = realloc(p, sizes[COUNT(sizes) - 1 - i]);
		CHECK(p && errno == 4711);
		free(p);
		p = calloc(1, sizes[i]);
		CHECK(p && errno == 4711);
		free(p);
		CHECK(errno == 4711);
	}
}

/* A random walk over the family, every byte checked before a block goes. */
TEST(random_mix_keeps_every_byte, .timeout = 60)
{
	enum { LIVE = 400, STEPS = 60000 };
	static struct { unsigned char *p; size_t n; unsigned char c; } live[LIVE];
	unsigned random = 12345;

	for (int step = 0; step < STEPS; step++) {
		unsigned i = random_next(&random) % LIVE, r = random_next(&random);
		size_t n = r % 16 == 0 ? r % 200000 + 1 : r % 4 ? r % 300 + 1 : r % 20000 + 1;

		if (live[i].p)
			CHECK(t_is_filled(live[i].p, live[i].c, live[i].n));
		if (live[i].p && r % 3 == 0) {
			NEED(live[i].p = realloc(live[i].p, n));
			CHECK(t_is_filled(live[i].p, live[i].c, n < live[i].n ? n : live[i].n));
		} else {
			free(live[i].p);
			live[i].p = r % 5 == 0 ? calloc(1, n) : r % 7 == 0 ? memalign(64, n) : malloc(n);
			NEED(live[i].p);
			CHECK(r % 5 || t_is_filled(live[i].p, 0, n));
		}
		live[i].n = n;
		live[i].c = (unsigned char)(step | 1);
		memset(live[i].p, live[i].c, n);
	}
	for (int i = 0; i < LIVE; i++) {
		CHECK(!live[i].p || t_is_filled(live[i].p, live[i].c, live[i].n));
		free(live[i].p);
	}
}
