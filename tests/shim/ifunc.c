/* SPDX-License-Identifier: BSD-2-Clause
 *
 * IFUNC resolvers that allocate: ld.so runs those of a program before thread-local storage has its initial image, those
 * of a library that it links before the shim has been relocated, those of a library loaded later like any other code.
 * What they got is used, resized and freed by the tests.
 */
#include "harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bufpool/bufpool.h"
#include "ifunc_library.h"

/* C++'s, where somebody defines them: the shim does. */
void *_Znwm(size_t n) __attribute__((weak));
void *_Znam(size_t n) __attribute__((weak));
void _ZdlPv(void *p) __attribute__((weak));
void _ZdlPvm(void *p, size_t n) __attribute__((weak));
void free_sized(void *p, size_t n) __attribute__((weak));

enum { SERIES = 300, SERIES_SIZE = 1000 };

static struct ifunc_blocks own;
static char *posix, *plain_new, *array_new, *series[SERIES];
static size_t large_usable;
static int posix_result, bad_result, large_error, series_error, overflow_error;
static char *large, *overflow;

static void *filled(void *p, size_t n)
{
	return p ? memset(p, IFUNC_FILL, n) : NULL;
}

static int answer(void)
{
	return IFUNC_ANSWER;
}

static void resolve_common(void)
{
	own.small = filled(malloc(100), 100);
	own.zeroed = calloc(10, 1000);
	own.grown = realloc(filled(malloc(10), 10), 5000);
	own.aligned = filled(memalign(4096, 100), 100);
	own.line = filled(aligned_alloc(64, 100), 100);
	own.none = malloc(0);
	own.none_zeroed = calloc(0, 10);
	own.small_usable = malloc_usable_size(own.small);
	own.too_much = malloc(1 << 20);
	own.resized_to_none = realloc(malloc(30), 0);
	for (int i = 0; i < 20; i++)
		free(filled(malloc(100), 100));
	free(NULL);
}

static void resolve_rest(void)
{
	void *p = NULL;

	posix_result = posix_memalign(&p, 256, 100);
	posix = filled(p, 100);
	bad_result = posix_memalign(&p, 24, 100);
	if (_Znwm && _Znam && _ZdlPv && _ZdlPvm) {
		plain_new = filled(_Znwm(100), 100);
		array_new = filled(_Znam(100), 100);
		_ZdlPv(_Znwm(50));
		_ZdlPvm(_Znwm(50), 50);
	}
	if (free_sized)
		free_sized(malloc(70), 70);
	errno = 0;
	overflow = calloc((size_t)-1, 2);
	overflow_error = errno;
	errno = 0;
	large = malloc(1 << 20);
	large_error = errno;
	large_usable = malloc_usable_size(large);
	errno = 0;
	for (int i = 0; i < SERIES; i++)
		if ((series[i] = malloc(SERIES_SIZE)) != NULL)
			memset(series[i], i, SERIES_SIZE);
	series_error = errno;
}

__attribute__((used)) static int (*resolve(void))(void)
{
	resolve_common();
	resolve_rest();
	return answer;
}

static int resolved(void) __attribute__((ifunc("resolve")));

static bool is_aligned(const void *p, size_t alignment)
{
	return (uintptr_t)p % alignment == 0;
}

static void check_contents(const struct ifunc_blocks *b)
{
	NEED(b->small && b->zeroed && b->grown && b->aligned && b->line && b->none && b->none_zeroed);
	CHECK(!b->resized_to_none);
	CHECK(t_is_filled(b->small, IFUNC_FILL, 100));
	CHECK(t_is_filled(b->zeroed, 0, 10000));
	CHECK(t_is_filled(b->grown, IFUNC_FILL, 10));
	CHECK(t_is_filled(b->aligned, IFUNC_FILL, 100) && is_aligned(b->aligned, 4096));
	CHECK(t_is_filled(b->line, IFUNC_FILL, 100) && is_aligned(b->line, 64));
	CHECK(is_aligned(b->small, 16) && is_aligned(b->none, 16) && is_aligned(b->grown, 16));
	CHECK(b->none != b->none_zeroed);
}

/* All of a block may be written, and its neighbours stay as they were. */
static void check_sizes(const struct ifunc_blocks *b)
{
	CHECK(b->small_usable >= 100 && b->small_usable < 200);
	CHECK(malloc_usable_size(b->small) == b->small_usable);
	CHECK(malloc_usable_size(b->grown) >= 5000);
	CHECK(malloc_usable_size(b->zeroed) >= 10000);
	memset(b->small, IFUNC_FILL, malloc_usable_size(b->small));
	memset(b->grown, IFUNC_FILL, malloc_usable_size(b->grown));
	memset(b->none, 1, malloc_usable_size(b->none));
	check_contents(b);
}

static void check_resized(struct ifunc_blocks *b)
{
	char *p = realloc(b->small, 70000), *q = realloc(b->grown, 7), *r = realloc(b->line, 200), *s;

	NEED(p && q && r);
	CHECK(t_is_filled(p, IFUNC_FILL, 100));
	CHECK(t_is_filled(q, IFUNC_FILL, 7));
	CHECK(t_is_filled(r, IFUNC_FILL, 100));
	CHECK(malloc_usable_size(p) >= 70000 && malloc_usable_size(r) >= 200);
	CHECK(!realloc(b->none, 0));
	/* What was freed may not be handed out while its neighbours are in use, nor may these have changed. */
	free(b->none_zeroed);
	memset(p, 1, 70000);
	memset(r, 2, 200);
	NEED(s = realloc(q, 300));
	CHECK(t_is_filled(s, IFUNC_FILL, 7));
	CHECK(t_is_filled(p, 1, 70000));
	CHECK(t_is_filled(b->zeroed, 0, 10000));
	CHECK(t_is_filled(b->aligned, IFUNC_FILL, 100));
	free(p);
	free(s);
	free(r);
	free(b->zeroed);
	free(b->aligned);
}

static void check_all(struct ifunc_blocks *b)
{
	check_contents(b);
	if (t_failures())
		return;
	check_sizes(b);
	check_resized(b);
	free(b->too_much);
}

TEST(of_the_program)
{
	CHECK(resolved() == IFUNC_ANSWER);
	check_all(&own);
}

TEST(of_a_library_that_is_linked)
{
	struct ifunc_blocks b;

	CHECK(ifunc_ask(&b) == IFUNC_ANSWER);
	check_all(&b);
}

TEST(of_a_library_that_is_linked_bound_at_once, .env = "LD_BIND_NOW=1")
{
	struct ifunc_blocks b;

	CHECK(ifunc_ask(&b) == IFUNC_ANSWER);
	check_all(&b);
	CHECK(resolved() == IFUNC_ANSWER);
	check_all(&own);
}

TEST(of_a_library_loaded_later)
{
	const char *path = getenv("SHIM_IFUNC");

	if (!path)
		t_skip("SHIM_IFUNC names no library");
	for (int i = 0; i < 20; i++) {
		void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		int (*ask)(struct ifunc_blocks *);
		struct ifunc_blocks b;

		NEED(handle);
		NEED(ask = (int (*)(struct ifunc_blocks *))dlsym(handle, "ifunc_ask"));
		CHECK(ask != ifunc_ask);
		CHECK(ask(&b) == IFUNC_ANSWER);
		check_all(&b);
		dlclose(handle);
	}
}

TEST(the_rest_of_the_family)
{
	CHECK(posix_result == 0 && bad_result == EINVAL);
	NEED(posix && is_aligned(posix, 256) && t_is_filled(posix, IFUNC_FILL, 100));
	CHECK(!overflow && overflow_error == ENOMEM);
	free(posix);
	CHECK(!_Znwm || (plain_new && t_is_filled(plain_new, IFUNC_FILL, 100)));
	CHECK(!_Znam || (array_new && t_is_filled(array_new, IFUNC_FILL, 100)));
	if (!_Znwm)
		return;
	_ZdlPvm(plain_new, 100);
	_ZdlPv(array_new);
}

/* The blocks of a long series are apart, as many as there are. */
TEST(as_much_as_there_is)
{
	int got = 0;

	for (int i = 0; i < SERIES; i++)
		if (series[i]) {
			got++;
			CHECK(t_is_filled(series[i], (unsigned char)i, SERIES_SIZE));
		}
	CHECK(got > 100);
	for (int i = 0; i < SERIES; i++)
		free(series[i]);
	free(large);
}

TEST(more_is_refused_with_ENOMEM, T_SHIM)
{
	struct ifunc_blocks b;

	CHECK(!large && large_error == ENOMEM && large_usable == 0);
	ifunc_ask(&b);
	CHECK(!own.too_much && !b.too_much);
	CHECK(!series[SERIES - 1] && series_error == ENOMEM);
}

static bool is_of_the_shim(const void *p)
{
	Dl_info info;

	return p && dladdr(p, &info) && strstr(getenv("SHIM_LIB"), strrchr(info.dli_fname, '/'));
}

/* That these tests are about what they are meant to be about: before the pool could serve. */
TEST(served_before_the_pool, T_SHIM)
{
	struct ifunc_blocks b;

	ifunc_ask(&b);
	CHECK(is_of_the_shim(own.small) && is_of_the_shim(own.zeroed) && is_of_the_shim(own.none));
	CHECK(is_of_the_shim(b.small) && is_of_the_shim(b.zeroed) && is_of_the_shim(b.none));
	CHECK(is_of_the_shim(own.aligned) && is_of_the_shim(b.aligned) && is_of_the_shim(posix));
	CHECK(is_of_the_shim(plain_new) && is_of_the_shim(array_new));
}

/* The pool starts as if nothing had been. */
TEST(the_pool_starts_afterwards, T_SHIM)
{
	char *p = malloc(4000);

	NEED(p);
	CHECK(!is_of_the_shim(p));
	free(own.small);
	CHECK(malloc(100) != own.small);
	free(p);
}

static void *release_all(void *arg)
{
	struct ifunc_blocks *b = arg;

	free(b->small);
	free(b->aligned);
	return realloc(b->grown, 20000);
}

TEST(freed_and_resized_by_another_thread)
{
	pthread_t thread;
	void *grown;

	NEED(pthread_create(&thread, NULL, release_all, &own) == 0);
	pthread_join(thread, &grown);
	NEED(grown && t_is_filled(grown, IFUNC_FILL, 10));
	free(grown);
}

TEST(no_misuse_and_no_statistics, T_SHIM)
{
	struct bufpool_stats before = {.size = sizeof(before)}, after = before;
	int (*get)(struct bufpool_stats *, struct bufpool *) = t_shim_symbol("bufpool_stats_get");

	get(&before, NULL);
	free(own.zeroed);
	free(own.aligned);
	free(own.none);
	free_sized(own.small, 100);
	get(&after, NULL);
	CHECK(before.misuse == 0 && after.misuse == 0);
	CHECK(before.released == after.released && before.passed_through == after.passed_through);
}
