/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools under the loads that Go measures its sync.Pool by; pool_load.go is the same for Go's.
 *
 *     objects_load THREADS OPERATIONS PAUSES    ->  one line for each figure; ten times as many of the first two loads
 *
 *   overflow    Each thread has 100 objects, puts them all and gets 100: ns of CPU time a put and a get.
 *   starvation  It puts 67 of the 100 and lets the others go: ns of CPU time a get, and constructs a get. What is not
 *               put is refused by reset here, and garbage there.
 *   pause       100 000 objects are cached when an epoch ends. Nobody is stopped here: the pause is how long the call
 *               takes that ends it, and `step` the longest of those by which the objects go after a second one; there a
 *               collection frees them beside the program.
 *   expensive   construct takes 1 ms. Each thread gets 100 objects and a zeroed buffer of 32 KiB with each of them, and
 *               puts them: constructs in 1 000 operations and at a collection, once all have been made. What is a
 *               collection there is an epoch here, as short as it may be; they come more often, so both are told.
 */
#include "measure.h"

#include <bufpool/objects.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { HELD = 100, PUT = 67, CACHED = 100000, BUFFER = 32768, MOST = 256, EPOCH_MS = 50, CHEAP = 10 };

struct object {
	bool unfit;
	char bytes[63];
};

static struct bufpool_objects *pool;
static _Atomic unsigned long made;
static unsigned long ended;
static unsigned threads;
static long operations; /* of each thread */

static void *construct(void *ctx)
{
	struct object *o = malloc(sizeof(*o));

	(void)ctx;
	bench_touch(o);
	o->unfit = false;
	atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
	return o;
}

static void *construct_slowly(void *ctx)
{
	usleep(1000);
	return construct(ctx);
}

static bool is_fit(void *obj, void *ctx)
{
	(void)ctx;
	return !((struct object *)obj)->unfit;
}

static void destruct(void *obj, void *ctx, int reason)
{
	(void)ctx, (void)reason;
	free(obj);
}

/* On one thread: elsewhere a counter would be one more line for the CPUs to share. */
static void destruct_and_count(void *obj, void *ctx, int reason)
{
	destruct(obj, ctx, reason);
	ended++;
}

static void create(void *(*how)(void *), bool (*reset)(void *, void *), void (*end)(void *, void *, int))
{
	const struct bufpool_objects_ops ops = { sizeof(ops), how, reset, end };

	if (bufpool_objects_create(&pool, &ops, NULL) != 0)
		bench_fail("no pool");
	made = 0;
	ended = 0;
}

static void set(const char *option, const char *value)
{
	if (bufpool_option_set(option, value) != 0)
		bench_fail(option);
}

static struct object *get(void)
{
	struct object *o = bufpool_objects_acquire(pool);

	bench_touch(o->bytes);
	return o;
}

static void get_all(struct object **held)
{
	for (unsigned i = 0; i < HELD; i++)
		if (held[i] == NULL)
			held[i] = get();
}

/* The last ones are not kept. */
static void put_all(struct object **held, unsigned kept)
{
	for (unsigned i = 0; i < HELD; i++) {
		held[i]->unfit = i >= kept;
		bufpool_objects_release(pool, held[i]);
		held[i] = NULL;
	}
}

/* ---- the threads ---- */

static pthread_barrier_t begun;

static void in_parallel(void *(*run)(void *), unsigned kept)
{
	pthread_t ids[MOST];

	for (unsigned i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, run, &kept))
			bench_fail("no thread");
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
}

static void *put_and_get(void *kept)
{
	struct object *held[HELD] = { NULL };

	get_all(held);
	for (long n = 0; n < CHEAP * operations; n++) {
		put_all(held, *(unsigned *)kept);
		get_all(held);
	}
	put_all(held, HELD);
	return NULL;
}

static double cheap_gets(void)
{
	return (double)CHEAP * HELD * threads * (double)operations;
}

/* The CPU time of a get and its put. */
static double load(unsigned kept)
{
	double start;

	create(construct, kept < HELD ? is_fit : NULL, destruct);
	in_parallel(put_and_get, kept); /* once to warm up */
	made = 0;
	start = bench_cpu_ns();
	in_parallel(put_and_get, kept);
	return (bench_cpu_ns() - start) / cheap_gets();
}

static void overflow(void)
{
	bench_sample("overflow", load(HELD));
	bufpool_objects_destroy(pool);
}

static void starvation(void)
{
	bench_sample("starvation", load(PUT));
	bench_sample("starvation/new", (double)made / cheap_gets());
	bufpool_objects_destroy(pool);
}

/* ---- the pause ---- */

static void cache_many(void)
{
	static struct object *held[CACHED];

	for (unsigned i = 0; i < CACHED; i++)
		held[i] = get();
	for (unsigned i = 0; i < CACHED; i++)
		bufpool_objects_release(pool, held[i]);
}

static double tick_us(void)
{
	const double start = bench_wall_ns();

	bufpool_tick();
	return (bench_wall_ns() - start) / 1000;
}

/* Only one whose epoch did not end before all were cached counts. */
static bool pause_of(double *pause, double *step)
{
	bool counts;

	create(construct, NULL, destruct_and_count);
	cache_many();
	usleep((EPOCH_MS + 10) * 1000);
	*pause = tick_us();
	counts = ended == 0;
	usleep((EPOCH_MS + 10) * 1000);
	*step = 0;
	for (double us; ended < CACHED / 2; *step = us > *step ? us : *step)
		us = tick_us();
	bufpool_objects_destroy(pool);
	return counts;
}

static void pauses(long count)
{
	double *of = calloc((size_t)count, 2 * sizeof(*of)), *steps = of + count;
	long n = 0;

	set("epoch_ms", "50");
	set("budget", "1073741824");
	for (long tries = 0; of != NULL && n < count; tries++) {
		n += pause_of(&of[n], &steps[n]);
		if (tries > 10 * count)
			bench_fail("an epoch is too short to cache the objects");
	}
	bench_sample("pause/p50", bench_median(of, (size_t)count));
	bench_sample("pause/p95", of[count * 95 / 100]);
	bench_sample("step", bench_median(steps, (size_t)count));
	free(of);
}

/* ---- expensive objects ---- */

static unsigned long epochs(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	if (bufpool_stats_get(&s, NULL) != 0)
		bench_fail("no statistics");
	return s.epochs;
}

static void *use_dear_ones(void *unused)
{
	struct object *held[HELD] = { NULL };

	get_all(held);
	pthread_barrier_wait(&begun);
	put_all(held, HELD);
	for (long n = 0; n < operations; n++) {
		for (unsigned i = 0; i < HELD; i++) {
			void *buffer = bufpool_acquire_zeroed(BUFFER);

			held[i] = get();
			bench_touch(buffer);
			bufpool_release(buffer);
		}
		put_all(held, HELD);
	}
	return unused;
}

static void expensive(void)
{
	unsigned long before, passed;

	set("epoch_ms", "10");
	create(construct_slowly, NULL, destruct);
	before = epochs();
	in_parallel(use_dear_ones, HELD);
	passed = epochs() - before;
	/* The first ones are no matter of epochs. */
	made -= (unsigned long)threads * HELD;
	bench_sample("expensive/new", 1000.0 * (double)made / threads / (double)operations);
	bench_sample("expensive/new a collection", passed > 0 ? (double)made / (double)passed : 0);
	bench_sample("expensive/collections", 1000.0 * (double)passed / threads / (double)operations);
	bufpool_objects_destroy(pool);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		bench_fail("objects_load THREADS OPERATIONS PAUSES");
	threads = (unsigned)bench_number(argv[1]);
	operations = bench_number(argv[2]);
	if (threads == 0 || threads > MOST || operations == 0)
		bench_fail("1 to 256 threads, one operation at least");
	pthread_barrier_init(&begun, NULL, threads);
	overflow();
	starvation();
	pauses(bench_number(argv[3]));
	expensive();
	return 0;
}
