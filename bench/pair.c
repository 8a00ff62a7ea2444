/* SPDX-License-Identifier: BSD-2-Clause
 *
 * acquire + release of one size against the limit (limit.c), in one process and in turns, so that both meet the same
 * noise. `pair` is linked with the shared library as any program would be: its calls go through the PLT. `pair_static`
 * is the same with the static library. What the way into a shared library costs by itself is measured beside it: the
 * limit once more, from a library of its own. The bars are about the limit in the program.
 *
 *     pair ROUNDS PAIRS [SIZE…]    ->  limit/SIZE, shared_limit/SIZE, any/SIZE, sized/SIZE: ns a pair, one line a round
 */
#include "measure.h"

#include "limit.h"

#include <bufpool/bufpool.h>

typedef void loop_fn(size_t n, long pairs);

static void loop_limit(size_t n, long pairs)
{
	(void)n;
	for (long i = 0; i < pairs; i++) {
		char *p = bench_limit_pop();
		bench_touch(p);
		bench_limit_push(p);
	}
}

static void loop_shared_limit(size_t n, long pairs)
{
	(void)n;
	for (long i = 0; i < pairs; i++) {
		char *p = bench_shared_pop();
		bench_touch(p);
		bench_shared_push(p);
	}
}

static void loop_any(size_t n, long pairs)
{
	for (long i = 0; i < pairs; i++) {
		char *p = bufpool_acquire(n);
		bench_touch(p);
		bufpool_release(p);
	}
}

/* One function a size: the size has to be a constant where the calls are compiled. */
#define SIZES(X) X(64) X(256) X(1024) X(4096) X(16384) X(32768) X(40000) X(65536)
#define LOOP(size)                                              \
	static void loop_sized_##size(size_t n, long pairs)     \
	{                                                       \
		(void)n;                                        \
		for (long i = 0; i < pairs; i++) {              \
			char *p = bufpool_acquire(size);        \
			bench_touch(p);                         \
			bufpool_release_sized(p, size);         \
		}                                               \
	}
SIZES(LOOP)

#define ROW(size) { size, loop_sized_##size },
static const struct {
	size_t size;
	loop_fn *sized;
} rows[] = { SIZES(ROW) };

static void sample(const char *what, loop_fn *loop, size_t n, long pairs)
{
	char name[64];
	double start = bench_thread_ns();

	loop(n, pairs);
	snprintf(name, sizeof(name), "%s/%zu", what, n);
	bench_sample(name, (bench_thread_ns() - start) / (double)pairs);
}

static void measure(size_t n, loop_fn *sized, long rounds, long pairs)
{
	loop_any(n, 1000);
	sized(n, 1000);
	for (long round = 0; round < rounds; round++) {
		sample("limit", loop_limit, n, pairs);
		sample("shared_limit", loop_shared_limit, n, pairs);
		sample("any", loop_any, n, pairs);
		sample("sized", sized, n, pairs);
	}
}

static int wanted(size_t n, int argc, char **argv)
{
	for (int i = 3; i < argc; i++)
		if ((size_t)bench_number(argv[i]) == n)
			return 1;
	return argc <= 3;
}

int main(int argc, char **argv)
{
	static char block[64];
	long rounds = bench_number(argc > 1 ? argv[1] : "15");
	long pairs = bench_number(argc > 2 ? argv[2] : "4000000");

	bench_pin(sched_getcpu());
	bench_limit_push(block);
	bench_shared_push(block);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (wanted(rows[i].size, argc, argv))
			measure(rows[i].size, rows[i].sized, rounds, pairs);
	return 0;
}
