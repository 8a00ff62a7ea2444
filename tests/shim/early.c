/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Calls before anything else has been set up and after everything has been torn down: ld.so calls malloc before the
 * first constructor, constructors of libraries run before those of a preloaded one, destructors after them, TLS
 * destructors when a thread is nearly gone.
 *
 * A failure after main ends the process by _exit(1), since the harness's count is no longer looked at.
 */
#include "harness.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>
#include <unistd.h>

enum { STAGES = 3 };

static struct { char *small, *large; } early[STAGES];
extern char *library_block; /* early_library.c: from its constructor */

static void *stages(char *p, size_t n, int c)
{
	return p ? memset(p, c, n) : NULL;
}

static void at_stage(int stage)
{
	early[stage].small = stages(malloc(100), 100, stage);
	early[stage].large = stages(calloc(1, 100000), 100000, stage);
	free(realloc(malloc(10), 5000));
	free(memalign(4096, 30));
}

static void before_all(int argc, char **argv, char **env)
{
	(void)argc, (void)argv, (void)env;
	at_stage(0);
}

__attribute__((section(".preinit_array"), used)) static void (*preinit)(int, char **, char **) = before_all;

__attribute__((constructor(101))) static void first_constructor(void)
{
	at_stage(1);
}

__attribute__((constructor)) static void constructor(void)
{
	at_stage(2);
}

TEST(blocks_from_before_main)
{
	for (int i = 0; i < STAGES; i++) {
		NEED(early[i].small && early[i].large);
		CHECK(t_is_filled(early[i].small, i, 100));
		CHECK(t_is_filled(early[i].large, i, 100000));
		CHECK(malloc_usable_size(early[i].small) >= 100);
		NEED(early[i].small = realloc(early[i].small, 1000));
		CHECK(t_is_filled(early[i].small, i, 100));
		free(early[i].small);
		free(early[i].large);
	}
	NEED(library_block && !strcmp(library_block, "from a library's constructor"));
	free(library_block);
}

/* ---- after main ---- */

static char *late_block;
static bool late;

static void check_late(bool good, const char *what)
{
	if (good)
		return;
	t_note("at exit: %s", what);
	_exit(1);
}

static void allocate_late(const char *what)
{
	for (size_t n = 1; n < 200000; n += n / 2 + 1) {
		char *p = malloc(n), *q = calloc(n, 2);

		check_late(p && q, what);
		memset(p, 1, n);
		check_late(t_is_filled(q, 0, n * 2), what);
		p = realloc(p, n * 2);
		check_late(p != NULL, what);
		free(p);
		free(q);
	}
}

static void handler(void)
{
	allocate_late("atexit");
	check_late(late_block && t_is_filled(late_block, 5, 500), "a block from main");
	free(late_block);
	late_block = malloc(50);
}

static void nothing(void)
{
}

__attribute__((destructor(101))) static void last_destructor(void)
{
	if (!late)
		return;
	allocate_late("destructor");
	free(late_block);
}

TEST(atexit_handlers_and_destructors)
{
	late = true;
	NEED(late_block = malloc(500));
	memset(late_block, 5, 500);
	CHECK(atexit(handler) == 0);
	for (int i = 0; i < 100; i++) /* glibc allocates beyond 32 of them */
		CHECK(atexit(nothing) == 0);
}

TEST(quick_exit_handlers)
{
	late = true;
	NEED(late_block = malloc(500));
	memset(late_block, 5, 500);
	CHECK(at_quick_exit(handler) == 0);
	if (!t_failures())
		quick_exit(0);
}

/* ---- destructors of thread-specific data ---- */

static pthread_key_t keys[20];
static tss_t tss;
static int rounds;

static void destroy(void *block)
{
	char *p = malloc(3000), *q = calloc(1, 70000);

	CHECK(p && q && t_is_filled(q, 0, 70000));
	if (p)
		memset(p, 1, 3000);
	free(block);
	free(q);
	if (__atomic_add_fetch(&rounds, 1, __ATOMIC_RELAXED) % 4) /* again, in a later round of the destructors */
		pthread_setspecific(keys[0], p);
	else
		free(p);
}

static void *with_keys(void *main_block)
{
	for (size_t i = 0; i < COUNT(keys); i++)
		pthread_setspecific(keys[i], malloc(i * 1000 + 1));
	tss_set(tss, malloc(12345));
	free(main_block);
	return malloc(64);
}

TEST(tls_destructors_allocate_and_free)
{
	for (size_t i = 0; i < COUNT(keys); i++)
		NEED(pthread_key_create(&keys[i], destroy) == 0);
	NEED(tss_create(&tss, destroy) == thrd_success);
	for (int i = 0; i < 300; i++) {
		pthread_t thread;
		void *block;

		NEED(pthread_create(&thread, NULL, with_keys, malloc(5000)) == 0);
		pthread_join(thread, &block);
		CHECK(block);
		free(block);
	}
	CHECK(rounds >= 300 * 21);
}

/* The first call of a thread may come from a destructor. */
static void *touch_nothing(void *arg)
{
	pthread_setspecific(keys[1], arg);
	return NULL;
}

static void destroy_first(void *arg)
{
	char *p = malloc(100);

	(void)arg;
	CHECK(p);
	free(p);
	free(malloc(100000));
}

TEST(first_call_of_a_thread_in_a_destructor)
{
	NEED(pthread_key_create(&keys[1], destroy_first) == 0);
	for (int i = 0; i < 300; i++) {
		pthread_t thread;

		NEED(pthread_create(&thread, NULL, touch_nothing, keys) == 0);
		pthread_join(thread, NULL);
	}
}

/* A library that comes and goes: what it allocated outlives it. */
TEST(dlopen_and_dlclose)
{
	const char *path = getenv("SHIM_PLUGIN");

	if (!path)
		t_skip("SHIM_PLUGIN names no library");
	for (int i = 0; i < 200; i++) {
		void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
		void *(*give)(size_t);
		void (*take)(void *);
		char *p, *q;

		NEED(handle);
		give = (void *(*)(size_t))dlsym(handle, "plugin_give");
		take = (void (*)(void *))dlsym(handle, "plugin_take");
		NEED(give && take);
		NEED((p = give(1000)) && (q = malloc(1000)));
		take(q);
		dlclose(handle);
		memset(p, 1, 1000);
		free(p);
	}
}
