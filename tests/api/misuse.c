/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Double releases abort: of every class, by every way, at once and much later.
 */
#include "crime.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

TestSuite(misuse, .timeout = 60);

static const size_t within_cap[] = { 1, 8, 16, 48, 100, 1024, 4096, 14336, 40000, 65536 };

static void release_twice(void *shared)
{
	struct crime *c = shared;
	void *p = bufpool_acquire(c->n), *again = t_launder(p);

	c->address = (uintptr_t)p;
	bufpool_release(p);
	release_as(c, again);
}

Test(misuse, double_release_of_every_class)
{
	for (size_t i = 0; i < T_COUNT(within_cap); i++)
		expect_abort(release_twice, crime(within_cap[i]), "double release", bufpool_good_size(within_cap[i]));
}

Test(misuse, double_release_by_every_way)
{
	for (int how = 0; how < RELEASE_WAYS; how++) {
		struct crime *c = crime(1000);

		c->how = how;
		expect_abort(release_twice, c, "double release", 1024);
	}
}

static void release_twice_with_others_between(void *shared)
{
	struct crime *c = shared;
	void *p = bufpool_acquire(c->n), *again = t_launder(p), *others[1000];

	c->address = (uintptr_t)p;
	if (bufpool_acquire_many(others, 1000, c->n) != 1000)
		return;
	bufpool_release(p);
	bufpool_release_many(others, 1000);
	bufpool_release(again);
}

Test(misuse, double_release_after_a_thousand_others)
{
	expect_abort(release_twice_with_others_between, crime(256), "double release", 256);
	expect_abort(release_twice_with_others_between, crime(8), "double release", 16);
}

static void release_twice_an_epoch_apart(void *shared)
{
	struct crime *c = shared;
	void *p = bufpool_acquire(c->n), *again = t_launder(p);

	c->address = (uintptr_t)p;
	bufpool_release(p);
	bufpool_advance_epoch(NULL);
	bufpool_release(again);
}

Test(misuse, double_release_of_a_victim)
{
	expect_abort(release_twice_an_epoch_apart, crime(1000), "double release", 1024);
	expect_abort(release_twice_an_epoch_apart, crime(40000), "double release", 40960);
}

static void *release_it(void *p)
{
	bufpool_release(p);
	return NULL;
}

static void release_twice_on_two_threads(void *shared)
{
	struct crime *c = shared;
	void *p = bufpool_acquire(c->n), *again = t_launder(p);
	pthread_t thread;

	c->address = (uintptr_t)p;
	if (pthread_create(&thread, NULL, release_it, p))
		return;
	pthread_join(thread, NULL);
	bufpool_release(again);
}

Test(misuse, double_release_on_two_threads)
{
	expect_abort(release_twice_on_two_threads, crime(500), "double release", 512);
}

static void release_twice_in_one_call(void *shared)
{
	struct crime *c = shared;
	void *p = bufpool_acquire(c->n), *blocks[3] = { bufpool_acquire(c->n), p, p };

	c->address = (uintptr_t)p;
	bufpool_release_many(blocks, 3);
}

Test(misuse, double_release_in_one_call)
{
	expect_abort(release_twice_in_one_call, crime(200), "double release", 224);
}

/* Over the cap the block is gone: it is a double release or no block at all, but never silence. */
Test(misuse, double_release_over_the_cap_aborts)
{
	static const size_t over[] = { 65537, 100000, 1 << 20, 5 << 20 };

	for (size_t i = 0; i < T_COUNT(over); i++) {
		struct crime *c = crime(over[i]);
		struct t_result r;

		t_child(&r, release_twice, c);
		cr_assert(t_aborted(&r), "%zu bytes: status %x, \"%s\"", over[i], r.status, r.text);
		cr_assert_not_null(strstr(r.text, "bufpool: misuse: "), "%s", r.text);
	}
}
