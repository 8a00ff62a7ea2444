/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools: acquire and release of one object, as Go's sync.Pool is measured in pool.go (Go's has no reset: `kept` has
 * none either; `reset` calls one that says yes), and what a pool costs that is created and destroyed.
 *
 *     objects ROUNDS PAIRS    ->  kept, reset: ns a pair; unused, used: ns a create and destroy, one line a round
 */
#include "measure.h"

#include <bufpool/objects.h>

static char object[64];

static void *construct(void *ctx)
{
	(void)ctx;
	return object;
}

static bool reset(void *obj, void *ctx)
{
	(void)ctx;
	*(volatile char *)obj = 0;
	return true;
}

static struct bufpool_objects *create(bool (*with)(void *, void *))
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct, with, NULL };
	struct bufpool_objects *o;

	if (bufpool_objects_create(&o, &ops, NULL) != 0)
		bench_fail("no pool");
	return o;
}

static void one(struct bufpool_objects *o)
{
	void *obj = bufpool_objects_acquire(o);

	bench_touch(obj);
	bufpool_objects_release(o, obj);
}

static void pairs_of(const char *name, bool (*with)(void *, void *), long pairs)
{
	struct bufpool_objects *o = create(with);
	double start;

	for (int i = 0; i < 1000; i++)
		one(o);
	start = bench_thread_ns();
	for (long i = 0; i < pairs; i++)
		one(o);
	bench_sample(name, (bench_thread_ns() - start) / (double)pairs);
	bufpool_objects_destroy(o);
}

static void pools_of(const char *name, int used, long pools)
{
	double start = bench_thread_ns();

	for (long i = 0; i < pools; i++) {
		struct bufpool_objects *o = create(NULL);

		if (used)
			one(o);
		bufpool_objects_destroy(o);
	}
	bench_sample(name, (bench_thread_ns() - start) / (double)pools);
}

int main(int argc, char **argv)
{
	long rounds = bench_number(argc > 1 ? argv[1] : "9");
	long pairs = bench_number(argc > 2 ? argv[2] : "4000000");

	bench_pin(sched_getcpu());
	for (long round = 0; round < rounds; round++) {
		pairs_of("kept", NULL, pairs);
		pairs_of("reset", reset, pairs);
		pools_of("unused", 0, pairs / 10 + 1);
		pools_of("used", 1, pairs / 100 + 1);
	}
	return 0;
}
