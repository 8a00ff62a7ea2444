/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The ends of life that need more than early.c: dlsym from the first constructor, and destructors of C++'s thread_local
 * objects, which run before those of pthread keys and, in the main thread, before atexit handlers.
 */
#include "harness.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- dlsym ---- */

static void *real_malloc, *missing = (void *)1;
static char *message;

__attribute__((constructor(101))) static void look_up()
{
	const char *error;

	real_malloc = dlsym(RTLD_NEXT, "malloc");
	missing = dlsym(RTLD_DEFAULT, "a_name_that_nobody_has");
	error = dlerror(); /* its text is allocated */
	message = error ? strdup(error) : NULL;
}

TEST(dlsym_from_the_first_constructor)
{
	CHECK(real_malloc);
	CHECK(!missing && message && strstr(message, "a_name_that_nobody_has"));
	free(message);
	for (int i = 0; i < 1000; i++) {
		CHECK(!dlsym(RTLD_DEFAULT, "another_name_that_nobody_has"));
		CHECK(dlerror());
	}
}

/* ---- thread_local ---- */

static int destroyed;

struct holder {
	char *block;
	size_t size;

	explicit holder(size_t n) : block((char *)malloc(n)), size(n)
	{
		if (block)
			memset(block, 0x6b, n);
	}

	~holder()
	{
		/* As destructors do: look, allocate, free something else, free one's own. */
		char *p = (char *)malloc(size), *q = (char *)calloc(3, size);

		CHECK(block && t_is_filled(block, 0x6b, size));
		CHECK(p && q && t_is_filled(q, 0, 3 * size));
		CHECK(p != block && q != block);
		free(q);
		free(block);
		free(p);
		__atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
	}
};

static thread_local holder small_one(40), middle_one(5000), large_one(65536), over_cap(300000);
static pthread_key_t key;

static void after_thread_locals(void *block)
{
	CHECK(t_is_filled(block, 0x11, 700));
	free(block);
	free(malloc(100000));
	__atomic_add_fetch(&destroyed, 1, __ATOMIC_RELAXED);
}

static void touch_all()
{
	CHECK(small_one.block && middle_one.block && large_one.block && over_cap.block);
}

static void *live_and_die(void *)
{
	void *block = malloc(700);

	touch_all();
	if (block)
		memset(block, 0x11, 700);
	pthread_setspecific(key, block);
	return NULL;
}

TEST(thread_local_objects)
{
	pthread_t thread[4];

	NEED(pthread_key_create(&key, after_thread_locals) == 0);
	for (int i = 0; i < 200; i++) {
		for (pthread_t &one : thread)
			NEED(pthread_create(&one, NULL, live_and_die, NULL) == 0);
		for (pthread_t &one : thread)
			pthread_join(one, NULL);
	}
	CHECK(destroyed == 200 * 4 * 5);
}

/* Its thread_local objects go before atexit handlers run; these see that they are gone. */
static void at_the_end()
{
	free(malloc(70000));
	if (destroyed != 4 || t_failures())
		_exit(1);
}

TEST(thread_local_objects_of_the_main_thread)
{
	CHECK(atexit(at_the_end) == 0);
	touch_all();
}
