/* SPDX-License-Identifier: BSD-2-Clause
 *
 * jemalloc's own names, which programs that link libjemalloc call (redis, varnish, bind9): they reach the jemalloc that
 * is behind the pool, take each other's and malloc's blocks, and obey MALLOC_CONF and a program's own malloc_conf.
 *
 * Built twice, the second time linked with libjemalloc.so.2 as those programs are: its names must not reach it.
 *
 * The declarations are repeated here: this is the contract such programs were compiled against.
 */
#include "harness.h"

#include <bufpool/bufpool.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MALLOCX_LG_ALIGN(lg) ((int)(lg))
#define MALLOCX_ZERO 0x40
#define MALLOCX_TCACHE_NONE 0x100
#define MALLOCX_ARENA(a) ((((int)(a)) + 1) << 20)

/* As a program of its own has them: they take the place of the library's. */
const char *malloc_conf = "narenas:5";
void (*malloc_message)(void *ctx, const char *text);

#define FUNCTION(type, name, ...) type (*name)(__VA_ARGS__) = (type (*)(__VA_ARGS__))t_shim_symbol(#name)
#define MALLOCX FUNCTION(void *, mallocx, size_t, int)
#define RALLOCX FUNCTION(void *, rallocx, void *, size_t, int)
#define XALLOCX FUNCTION(size_t, xallocx, void *, size_t, size_t, int)
#define SALLOCX FUNCTION(size_t, sallocx, const void *, int)
#define DALLOCX FUNCTION(void, dallocx, void *, int)
#define SDALLOCX FUNCTION(void, sdallocx, void *, size_t, int)
#define NALLOCX FUNCTION(size_t, nallocx, size_t, int)
#define MALLCTL FUNCTION(int, mallctl, const char *, void *, size_t *, void *, size_t)

static const size_t sizes[] = {1, 8, 100, 128, 1000, 4096, 10000, 40000, 65536, 65537, 100000, 1 << 20, 5000000};

TEST(the_names_are_the_shims, T_SHIM)
{
	static const char *const names[] = {"mallocx", "rallocx", "xallocx", "sallocx", "dallocx", "sdallocx",
		"nallocx", "mallctl", "mallctlnametomib", "mallctlbymib", "malloc_stats_print"};
	Dl_info info;

	for (size_t i = 0; i < COUNT(names); i++)
		CHECK(dladdr(t_shim_symbol(names[i]), &info) && !strcmp(info.dli_fname, getenv("SHIM_LIB")));
}

TEST(mallocx_and_dallocx, T_SHIM)
{
	MALLOCX;
	DALLOCX;
	SALLOCX;
	SDALLOCX;
	NALLOCX;

	for (int round = 0; round < 50; round++)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			size_t n = sizes[i];
			char *p = mallocx(n, 0), *q = mallocx(n, MALLOCX_TCACHE_NONE), *z;

			NEED(p && q);
			CHECK(sallocx(p, 0) >= n && sallocx(p, 0) == malloc_usable_size(p));
			CHECK(nallocx(n, 0) == sallocx(p, 0));
			memset(p, 0xa5, sallocx(p, 0));
			memset(q, 0xa5, sallocx(q, 0));
			dallocx(p, 0);
			sdallocx(q, n, 0);
			NEED(z = mallocx(n, MALLOCX_ZERO));
			CHECK(t_is_filled(z, 0, n));
			dallocx(z, MALLOCX_TCACHE_NONE);
			for (int lg = 0; lg < 16; lg++) {
				NEED(p = mallocx(n, MALLOCX_LG_ALIGN(lg) | MALLOCX_ZERO));
				CHECK((uintptr_t)p % ((uintptr_t)1 << lg) == 0);
				CHECK(t_is_filled(p, 0, n));
				CHECK(nallocx(n, MALLOCX_LG_ALIGN(lg)) >= n);
				sdallocx(p, n, MALLOCX_LG_ALIGN(lg));
			}
		}
	CHECK(mallocx((size_t)1 << 62, 0) == NULL);
	CHECK(nallocx(SIZE_MAX, 0) == 0);
}

TEST(rallocx_and_xallocx, T_SHIM)
{
	MALLOCX;
	RALLOCX;
	XALLOCX;
	SALLOCX;

	for (size_t i = 0; i < COUNT(sizes); i++)
		for (size_t j = 0; j < COUNT(sizes); j++) {
			size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j], real;
			char *p = (i + j) % 2 ? malloc(sizes[i]) : mallocx(sizes[i], 0);

			NEED(p);
			memset(p, 0x44, sizes[i]);
			NEED(p = rallocx(p, sizes[j], 0));
			CHECK(t_is_filled(p, 0x44, kept));
			CHECK(sallocx(p, 0) >= sizes[j]);
			real = xallocx(p, sizes[i], 0, 0); /* in place or not at all */
			CHECK(real == sallocx(p, 0) && real == malloc_usable_size(p));
			CHECK(t_is_filled(p, 0x44, kept < real ? kept : real));
			memset(p, 0x45, real);
			free(p);
		}
}

/* What lies around a block that shrinks is somebody else's. */
TEST(a_smaller_rallocx_writes_no_further, T_SHIM)
{
	MALLOCX;
	RALLOCX;
	enum { BLOCKS = 64, SIZE = 128 };
	char *around[BLOCKS], *p;

	for (int i = 0; i < BLOCKS; i++) {
		NEED(around[i] = mallocx(SIZE, 0));
		memset(around[i], i, SIZE);
	}
	for (int i = 0; i < BLOCKS; i += 2) {
		NEED(p = mallocx(60000, 0));
		memset(p, 0x77, 60000);
		free(around[i]);
		NEED(around[i] = rallocx(p, SIZE, 0));
		CHECK(t_is_filled(around[i], 0x77, SIZE));
		memset(around[i], i, SIZE);
	}
	for (int i = 0; i < BLOCKS; i++) {
		CHECK(t_is_filled(around[i], i, SIZE));
		free(around[i]);
	}
}

TEST(malloc_and_mallocx_take_each_others_blocks, T_SHIM)
{
	MALLOCX;
	RALLOCX;
	DALLOCX;
	SDALLOCX;

	for (int round = 0; round < 200; round++)
		for (size_t i = 0; i < COUNT(sizes) - 2; i++) {
			size_t n = sizes[i];
			void *a = malloc(n), *b = mallocx(n, 0), *c = malloc(n), *d = calloc(n, 1), *e = mallocx(n, 0);

			NEED(a && b && c && d && e && a != b && b != c);
			memset(b, 1, n);
			dallocx(a, 0);
			free(b);
			sdallocx(c, n, 0);
			NEED(d = rallocx(d, n + 500, 0));
			CHECK(t_is_filled(d, 0, n));
			free(d);
			NEED(e = realloc(e, n * 2));
			free(e);
		}
}

/* An arena of the program's own, as redis' defragmentation and databases use them. */
TEST(blocks_of_another_arena, T_SHIM)
{
	MALLCTL;
	MALLOCX;
	RALLOCX;
	unsigned arena;
	size_t size = sizeof(arena);

	NEED(mallctl("arenas.create", &arena, &size, NULL, 0) == 0);
	for (int round = 0; round < 50; round++)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			char *p = mallocx(sizes[i], MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE), *q;

			NEED(p);
			memset(p, 0x66, malloc_usable_size(p));
			NEED(q = malloc(sizes[i]));
			memset(q, 0x67, malloc_usable_size(q));
			CHECK(t_is_filled(p, 0x66, malloc_usable_size(p)));
			free(q);
			if (round % 2)
				NEED(p = realloc(p, sizes[i] + 1000));
			else
				NEED(p = rallocx(p, sizes[i] + 1000, MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE));
			CHECK(t_is_filled(p, 0x66, sizes[i]));
			free(p);
		}
}

/* A program's blocks count wherever they come from. */
TEST(mallocx_counts_in_the_statistics, T_POOL)
{
	MALLOCX;
	DALLOCX;
	FUNCTION(int, bufpool_stats_get, struct bufpool_stats *, struct bufpool *);
	FUNCTION(bool, bufpool_owns, const void *);
	struct bufpool_stats before = {.size = sizeof(before)}, held = before, after = before;
	void *p[100];

	bufpool_stats_get(&before, NULL);
	for (size_t i = 0; i < COUNT(p); i++) {
		NEED(p[i] = mallocx(65536, 0));
		CHECK(bufpool_owns(p[i]));
	}
	bufpool_stats_get(&held, NULL);
	for (size_t i = 0; i < COUNT(p); i++)
		i % 2 ? dallocx(p[i], 0) : free(p[i]);
	bufpool_stats_get(&after, NULL);
	CHECK(held.in_use == before.in_use + COUNT(p));
	CHECK(after.in_use == before.in_use);
}

/* ---- control ---- */

static unsigned narenas(void)
{
	MALLCTL;
	unsigned value = 0;
	size_t size = sizeof(value);

	CHECK(mallctl("opt.narenas", &value, &size, NULL, 0) == 0);
	return value;
}

TEST(the_programs_malloc_conf_is_honoured, T_SHIM)
{
	CHECK(narenas() == 5);
}

TEST(MALLOC_CONF_goes_before_it, T_SHIM, .env = "MALLOC_CONF=narenas:3")
{
	CHECK(narenas() == 3);
}

static long decay_ms(void)
{
	MALLCTL;
	ssize_t value = -2;
	size_t size = sizeof(value);

	CHECK(mallctl("arenas.dirty_decay_ms", &value, &size, NULL, 0) == 0);
	return value;
}

static void set_epoch(const char *ms)
{
	FUNCTION(int, bufpool_option_set, const char *, const char *);

	CHECK(bufpool_option_set("epoch_ms", ms) == 0);
}

/* Pages that only jemalloc knows of lie unused no longer than an epoch, unless somebody said otherwise. */
TEST(pages_decay_within_an_epoch, T_SHIM)
{
	CHECK(decay_ms() == 1000);
	set_epoch("300");
	CHECK(decay_ms() == 300);
}

TEST(a_decay_time_of_the_users_stays, T_SHIM, .env = "MALLOC_CONF=dirty_decay_ms:7000")
{
	CHECK(decay_ms() == 7000);
	set_epoch("300");
	CHECK(decay_ms() == 7000);
}

/* What a hit could not keep: a child, because the harness expects the mode of the variant. */
TEST(says_mode_pass)
{
	if (t_under_shim()) {
		FUNCTION(int, bufpool_option_get, char *, size_t, const char *);
		char mode[16] = "";

		CHECK(bufpool_option_get(mode, sizeof(mode), "mode") == 0);
		dprintf(STDERR_FILENO, "mode is %s\n", mode);
	}
}

static void run_says_mode_pass(void *env)
{
	unsetenv("SHIM_PERCPU");
	putenv(env);
	execl("/proc/self/exe", "jemalloc_api", "says_mode_pass", (char *)NULL);
	_exit(98);
}

TEST(MALLOC_CONF_that_hits_would_break_passes_through, T_SHIM)
{
	static char conf[][32] = {"MALLOC_CONF=zero:true", "MALLOC_CONF=junk:true", "MALLOC_CONF=junk:free"}, text[65536];

	for (size_t i = 0; i < COUNT(conf); i++) {
		t_note("%s", conf[i]);
		CHECK(t_child(text, sizeof(text), run_says_mode_pass, conf[i]) == 0);
		CHECK(strstr(text, "mode is pass"));
	}
}

TEST(mallctl_by_name_and_by_mib, T_SHIM)
{
	MALLCTL;
	FUNCTION(int, mallctlnametomib, const char *, size_t *, size_t *);
	FUNCTION(int, mallctlbymib, const size_t *, size_t, void *, size_t *, void *, size_t);
	size_t mib[4], depth = COUNT(mib), page = 0, same = 0, size = sizeof(page), allocated = 0;
	const char *version = NULL;
	uint64_t epoch = 1;

	NEED(mallctl("arenas.page", &page, &size, NULL, 0) == 0 && page >= 4096);
	NEED(mallctlnametomib("arenas.page", mib, &depth) == 0 && depth == 2);
	CHECK(mallctlbymib(mib, depth, &same, &size, NULL, 0) == 0 && same == page);
	size = sizeof(version);
	NEED(mallctl("version", (void *)&version, &size, NULL, 0) == 0 && version && version[0] == '5');
	CHECK(mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)) == 0);
	size = sizeof(allocated);
	CHECK(mallctl("stats.allocated", &allocated, &size, NULL, 0) == 0 && allocated > 0);
	CHECK(mallctl("no.such.name", &allocated, &size, NULL, 0) != 0);
	CHECK(mallctl("thread.tcache.flush", NULL, NULL, NULL, 0) == 0);
}

static size_t written;

static void receive(void *ctx, const char *text)
{
	CHECK(ctx == &written || !ctx);
	written += strlen(text);
}

TEST(malloc_stats_print_and_malloc_message, T_SHIM)
{
	FUNCTION(void, malloc_stats_print, void (*)(void *, const char *), void *, const char *);

	malloc_stats_print(receive, &written, "a");
	CHECK(written > 500);
	written = 0;
	malloc_message = receive;
	malloc_stats_print(NULL, NULL, "a");
	malloc_message = NULL;
	CHECK(written > 500);
	free(malloc(100));
}

static void run_without_a_test(void *env)
{
	putenv(env);
	execl("/proc/self/exe", "jemalloc_api", "an_empty_program", (char *)NULL);
	_exit(98);
}

TEST(an_empty_program)
{
	free(malloc(100));
}

TEST(MALLOC_CONF_prints_at_exit, T_SHIM)
{
	static char text[1 << 20];

	CHECK(t_child(text, sizeof(text), run_without_a_test, "MALLOC_CONF=stats_print:true") == 0);
	CHECK(strstr(text, "Begin jemalloc statistics"));
}

/* A bad value is jemalloc's to complain about, and no reason to stop. */
TEST(MALLOC_CONF_with_a_bad_pair, T_SHIM)
{
	static char text[65536];

	CHECK(t_child(text, sizeof(text), run_without_a_test, "MALLOC_CONF=no_such_option:1") == 0);
	CHECK(strstr(text, "no_such_option"));
}
