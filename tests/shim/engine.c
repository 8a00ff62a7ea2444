/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One engine in a process: malloc and bufpool_* lead to the same one. Built twice: `engine` finds bufpool_* by name
 * only, as a program does that knows nothing of the library; `engine_linked` is linked with the API library as well.
 */
#include "harness.h"

#include <bufpool/bufpool.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef LINKED
#define API(name) name
#else
#define API(name) ((__typeof__(&name))t_shim_symbol(#name))
#endif

static struct bufpool_stats stats(void)
{
	struct bufpool_stats stats = {.size = sizeof(stats)};

	CHECK(API(bufpool_stats_get)(&stats, NULL) == 0);
	return stats;
}

TEST(bufpool_is_the_shims, T_SHIM)
{
	Dl_info info = {0};

	CHECK(dladdr((void *)API(bufpool_acquire), &info) && info.dli_fname);
	CHECK(!strcmp(info.dli_fname, getenv("SHIM_LIB")));
	CHECK(dladdr((void *)API(bufpool_stats_get), &info) && !strcmp(info.dli_fname, getenv("SHIM_LIB")));
	CHECK(API(bufpool_version)() == BUFPOOL_VERSION);
	CHECK(API(bufpool_version_string)()[0]);
}

static int64_t of_arena(unsigned arena, const char *what)
{
	int (*mallctl)(const char *, void *, size_t *, void *, size_t) = t_shim_symbol("mallctl");
	char name[64];
	int64_t value = 0;
	size_t size = sizeof(value);

	snprintf(name, sizeof(name), "arena.%u.%s", arena, what);
	return mallctl(name, &value, &size, NULL, 0) == 0 ? value : INT64_MIN;
}

static unsigned number(const char *name)
{
	int (*mallctl)(const char *, void *, size_t *, void *, size_t) = t_shim_symbol("mallctl");
	unsigned value = 0;
	size_t size = sizeof(value);

	CHECK(mallctl(name, &value, &size, NULL, 0) == 0);
	return value;
}

/* Arenas that were made without a question to jemalloc (sys/arena.c) are what they would be if they had been asked for,
 * and jemalloc makes others behind them. */
TEST(jemalloc_knows_the_pools_arenas, T_SHIM)
{
	unsigned own = 0, arenas, made;
	char *large;

	free(malloc(100));
	NEED((large = malloc(300000))); /* a second one, where blocks are pooled */
	arenas = number("arenas.narenas");
	made = number("arenas.create");
	CHECK(made == arenas && number("arenas.narenas") == arenas + 1);
	CHECK(of_arena(made, "retain_grow_limit") != 32 << 20);
	for (unsigned i = 0; i < arenas; i++) {
		if (of_arena(i, "dirty_decay_ms") == -1) {
			own++;
			CHECK(of_arena(i, "retain_grow_limit") == 32 << 20);
		}
		CHECK(of_arena(i, "muzzy_decay_ms") <= 0);
	}
	CHECK(own == 1);
	free(large);
}

TEST(a_malloced_block_is_the_pools, T_POOL)
{
	static const size_t sizes[] = {0, 1, 100, 4096, 65536, 65537, 1 << 20, 5 << 20};
	int local;

	for (size_t i = 0; i < COUNT(sizes); i++) {
		char *p = malloc(sizes[i]);

		NEED(p);
		CHECK(API(bufpool_owns)(p) || !t_pooled(sizes[i]));
		CHECK(API(bufpool_capacity)(p) == malloc_usable_size(p));
		CHECK(!API(bufpool_owns)(p + 1));
		free(p);
	}
	CHECK(!API(bufpool_owns)(&local));
	CHECK(!API(bufpool_owns)(sizes));
	CHECK(!API(bufpool_owns)(NULL));
}

TEST(either_side_releases_the_others_blocks, T_SHIM)
{
	for (size_t n = 1; n < 300000; n += n / 3 + 1) {
		char *p = malloc(n), *q = API(bufpool_acquire)(n), *r = calloc(n, 1), *s = aligned_alloc(64, n);

		NEED(p && q && r && s);
		CHECK(malloc_usable_size(q) >= n && malloc_usable_size(q) == API(bufpool_capacity)(q));
		memset(q, 7, n);
		API(bufpool_release)(p);
		NEED(q = realloc(q, n * 2));
		CHECK(t_is_filled(q, 7, n));
		free(q);
		NEED(r = API(bufpool_resize)(r, n * 2));
		CHECK(t_is_filled(r, 0, n));
		API(bufpool_release_sized)(r, n * 2);
		API(bufpool_release_aligned_sized)(s, 64, n);
	}
}

TEST(malloc_counts_in_the_statistics, T_POOL)
{
	enum { N = 1000 };
	static void *p[N];
	size_t n = t_pooled(100) ? 100 : 65536;
	struct bufpool_stats before = stats(), held, after;

	for (int i = 0; i < N; i++)
		NEED(p[i] = malloc(n - (size_t)i % 4));
	held = stats();
	for (int i = 0; i < N; i++)
		free(p[i]);
	after = stats();
	CHECK(held.acquired == before.acquired + N);
	CHECK(held.released == before.released);
	CHECK(held.in_use == before.in_use + N);
	CHECK(after.released == before.released + N);
	CHECK(after.in_use == before.in_use);
	CHECK(after.misuse == 0);
	for (int i = 0; i < N; i++)
		free(malloc(n));
	CHECK(stats().hits >= after.hits + N - 10);
}

/* A function of its own, never inlined: nothing of the caller's frame is changed between vfork's two returns. */
static __attribute__((noinline)) pid_t vfork_and_exit(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(0);
	return pid;
}

/* While its child had the memory it had no CPU. */
TEST(the_parent_of_a_vfork_hits_as_before, T_POOL)
{
	struct bufpool_stats before;
	int status = -1;

	if (strcmp(t_percpu(), "rseq"))
		t_skip("hits are counted so with restartable sequences alone");
	free(malloc(1000));
	CHECK(waitpid(vfork_and_exit(), &status, 0) > 0 && status == 0);
	before = stats();
	for (int i = 0; i < 1000; i++)
		free(malloc(1000));
	CHECK(stats().hits >= before.hits + 900);
}

/* As bufpool.h says of the moment when nothing else runs. */
TEST(created_is_the_sum_of_where_blocks_are, T_POOL)
{
	struct bufpool_stats s;

	for (int round = 0; round < 5; round++) {
		void *p[500];

		for (size_t i = 0; i < COUNT(p); i++)
			NEED(p[i] = malloc(i * i % 90000));
		for (size_t i = 0; i < COUNT(p); i += round % 2 + 1)
			free(p[i]);
		if (round == 3)
			malloc_trim(0);
		s = stats();
		t_note("from_backend %lu, in_use %lu, cached %lu, victim %lu, queued %lu", s.from_backend, s.in_use,
		       s.cached, s.victim, s.queued);
		CHECK(s.from_backend == s.in_use + s.cached + s.victim + s.queued + s.set_aside + s.dropped_cap +
						s.dropped_budget + s.dropped_epoch);
		CHECK(s.acquired - s.released == s.in_use);
	}
}

TEST(trim_through_either_name, T_POOL)
{
	static void *p[500];

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < COUNT(p); i++)
			NEED(p[i] = malloc(65536));
		for (size_t i = 0; i < COUNT(p); i++)
			free(p[i]);
		CHECK(stats().cached + stats().victim + stats().queued > 0);
		if (round)
			malloc_trim(0);
		else
			API(bufpool_trim)(NULL, 0);
		CHECK(stats().cached_bytes + stats().victim_bytes + stats().queued_bytes < 1000000);
	}
}

/* A plug-in or a binding loads the API library by its path: what it then finds by that handle is the same engine. */
static int find_api_library(struct dl_phdr_info *info, size_t size, void *path)
{
	const char *base = strrchr(info->dlpi_name, '/');

	(void)size;
	if (base && !strncmp(base, "/libbufpool.so", 14))
		*(const char **)path = info->dlpi_name;
	return 0;
}

TEST(dlopened_api_library_is_the_same_engine, T_POOL)
{
	const char *path = getenv("SHIM_API_LIB");
	void *handle, *p = malloc(65536), *q;
	bool (*owns)(const void *);
	void *(*acquire)(size_t);
	void (*release)(void *);

	dl_iterate_phdr(find_api_library, &path);
	if (!path)
		t_skip("no API library is known here");
	t_skip("known: a library that dlopen finds by its path is a second engine (docs/shim.md)");
	if (!(handle = dlopen(path, RTLD_NOW)))
		t_skip(dlerror());
	owns = (bool (*)(const void *))dlsym(handle, "bufpool_owns");
	acquire = (void *(*)(size_t))dlsym(handle, "bufpool_acquire");
	release = (void (*)(void *))dlsym(handle, "bufpool_release");
	NEED(owns && acquire && release && p);
	NEED(owns(p));
	NEED((q = acquire(65536)));
	CHECK(API(bufpool_owns)(q));
	release(p);
	free(q);
}

/* ---- options ---- */

static void run_without_a_test(void *env)
{
	if (env)
		putenv(env);
	execl("/proc/self/exe", "engine", "an_empty_program", (char *)NULL);
	_exit(98);
}

TEST(an_empty_program)
{
	free(malloc(100));
}

TEST(silent_by_default, T_SHIM)
{
	char text[4096];

	CHECK(t_child(text, sizeof(text), run_without_a_test, NULL) == 0);
	CHECK(!*text);
}

TEST(stats_print_prints_at_exit, T_SHIM)
{
	char text[8192];

	CHECK(t_child(text, sizeof(text), run_without_a_test, "BUFPOOL_CONF=stats_print:true") == 0);
	CHECK(*text);
}

TEST(a_bad_option_warns_and_goes_on, T_SHIM)
{
	char text[4096];
	int status;

	CHECK(t_child(text, sizeof(text), run_without_a_test, "BUFPOOL_CONF=no_such_key:1,cap:32768") == 0);
	CHECK(strstr(text, "no_such_key"));
	CHECK(t_child(text, sizeof(text), run_without_a_test, "BUFPOOL_CONF=cap:rubbish") == 0);
	CHECK(strstr(text, "cap"));
	status = t_child(text, sizeof(text), run_without_a_test, "BUFPOOL_CONF=abort_conf:true,no_such_key:1");
	CHECK(WIFSIGNALED(status));
}

TEST(options_are_read_before_the_first_call, T_POOL, .conf = "cap:16384")
{
	char value[64] = "";

	CHECK(API(bufpool_option_get)(value, sizeof(value), "cap") == 0);
	CHECK(atoi(value) == 16384);
	clearenv();
	CHECK(API(bufpool_option_get)(value, sizeof(value), "cap") == 0 && atoi(value) == 16384);
	CHECK(API(bufpool_option_get)(value, sizeof(value), "no_such_key") == -ENOENT);
	CHECK(API(bufpool_option_get)(value, 2, "cap") == -ERANGE);
}
