/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Many more threads than CPUs, each holding a few blocks of mixed sizes (16 B to 64 KiB, as many of each power of two)
 * and replacing one after another for as long as the run lasts. They give up the CPU after every TURN pairs, as
 * threads that serve requests do. The driver preloads an allocator under it.
 *
 *     crowd THREADS MS   ->  "pair": CPU ns a pair (all CPUs are busy all the time: somebody who waits for a lock
 *                             makes room for another one), "wall": ns of one CPU's wall time a pair, "peak": MB
 */
#include "measure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define HELD 4
#define TURN 500
#define STACK (64 * 1024)

static pthread_barrier_t start;
static atomic_bool stop;
static atomic_ulong total;

static size_t mixed_size(uint64_t r)
{
	size_t base = (size_t)16 << (r % 12);

	return base + bench_below((uint32_t)(r >> 32), base + 1);
}

static void *run(void *arg)
{
	uint64_t seed = 88172645463325252u * (2 * (uintptr_t)arg + 1);
	void *held[HELD] = { NULL };
	unsigned long pairs = 0;

	pthread_barrier_wait(&start);
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		for (int i = 0; i < TURN; i++) {
			uint64_t r = bench_random(&seed);
			size_t slot = (size_t)(r >> 20) % HELD;

			free(held[slot]);
			held[slot] = malloc(mixed_size(r));
			bench_touch(held[slot]);
		}
		pairs += TURN;
		sched_yield();
	}
	for (int i = 0; i < HELD; i++)
		free(held[i]);
	atomic_fetch_add(&total, pairs);
	return NULL;
}

int main(int argc, char **argv)
{
	long count = bench_number(argc > 1 ? argv[1] : "400"), cpus = 0;
	long ms = bench_number(argc > 2 ? argv[2] : "1500");
	struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };
	pthread_t *threads = calloc((size_t)count, sizeof(*threads));
	pthread_attr_t attr;
	double cpu, wall;

	while (bench_cpu((int)cpus) >= 0)
		cpus++;
	pthread_barrier_init(&start, NULL, (unsigned)count + 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (long i = 0; i < count; i++)
		if (pthread_create(&threads[i], &attr, run, (void *)(uintptr_t)i))
			bench_fail("pthread_create");
	pthread_barrier_wait(&start);
	cpu = bench_cpu_ns();
	wall = bench_wall_ns();
	nanosleep(&pause, NULL);
	atomic_store(&stop, true);
	for (long i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	bench_sample("pair", (bench_cpu_ns() - cpu) / (double)total);
	bench_sample("wall", (bench_wall_ns() - wall) * (double)cpus / (double)total);
	bench_sample("peak", bench_peak_mb());
	return 0;
}
