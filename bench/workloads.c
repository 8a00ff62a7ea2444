/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What programs do beside one block at a time: batches, random sizes with many live, blocks that another thread
 * frees, and buffers that grow. The driver preloads an allocator under it. Prints ns a malloc+free pair (for growth:
 * ns a realloc step), the median of five slices.
 *
 *     workloads SLICE_MS
 */
#include "measure.h"

#include <pthread.h>
#include <stdatomic.h>

#define SLICES 5
#define MAX_LIVE 1000

static void *live[MAX_LIVE];
static int cpus[2]; /* the two CPUs of the two threads; [1] is -1 where there is only one */
static uint64_t seed = 88172645463325252u;

/* Does a bounded amount of work and returns how many operations that was. */
typedef long work_fn(size_t count, size_t lo, size_t hi);

static long work_batch(size_t count, size_t lo, size_t hi)
{
	(void)hi;
	for (size_t i = 0; i < count; i++) {
		live[i] = malloc(lo);
		bench_touch(live[i]);
	}
	for (size_t i = 0; i < count; i++) {
		free(live[i]);
		live[i] = NULL;
	}
	return (long)count;
}

static long work_random(size_t count, size_t lo, size_t hi)
{
	for (int i = 0; i < 1000; i++) {
		uint64_t r = bench_random(&seed);
		size_t slot = bench_below((uint32_t)(r >> 32), count);

		free(live[slot]);
		live[slot] = malloc(lo + bench_below((uint32_t)r, hi - lo + 1));
		bench_touch(live[slot]);
	}
	return 1000;
}

static long work_grow(size_t count, size_t lo, size_t hi)
{
	long steps = 0;
	char *p = NULL;

	(void)count;
	for (size_t n = lo; n <= hi; n += n / 2) {
		p = realloc(p, n);
		bench_touch(p);
		p[n - 1] = 1;
		steps++;
	}
	free(p);
	return steps;
}

/* CPU ns an operation. The clock is a system call: read twice a slice and no more. */
static double slice(work_fn *work, long calls, size_t count, size_t lo, size_t hi, double *spent)
{
	double start = bench_cpu_ns();
	long done = 0;

	for (long i = 0; i < calls; i++)
		done += work(count, lo, hi);
	*spent = bench_cpu_ns() - start;
	return *spent / (double)done;
}

static void measure(const char *name, double ns, work_fn *work, size_t count, size_t lo, size_t hi)
{
	double slices[SLICES], spent = 0;
	long calls = 1;

	slice(work, calls, count, lo, hi, &spent);
	while (spent < ns / 2) {
		calls *= 2;
		slice(work, calls, count, lo, hi, &spent);
	}
	for (int s = 0; s < SLICES; s++)
		slices[s] = slice(work, calls, count, lo, hi, &spent);
	for (size_t i = 0; i < MAX_LIVE; i++) {
		free(live[i]);
		live[i] = NULL;
	}
	bench_sample(name, bench_median(slices, SLICES));
}

/* ---- one thread allocates, another one frees ---- */

#define RING 1024
#define PUBLISH 32 /* blocks per update of an index, so that the ring costs little beside the allocator */

static struct {
	_Alignas(64) atomic_ulong head;
	_Alignas(64) atomic_ulong tail;
	_Alignas(64) void *slots[RING];
} ring;

static void *consume(void *arg)
{
	unsigned long want = *(unsigned long *)arg;

	bench_pin(cpus[1]);
	for (unsigned long tail = 0; tail < want; tail += PUBLISH) {
		while (atomic_load_explicit(&ring.head, memory_order_acquire) == tail)
			sched_yield();
		for (unsigned long i = tail; i < tail + PUBLISH; i++)
			free(ring.slots[i % RING]);
		atomic_store_explicit(&ring.tail, tail + PUBLISH, memory_order_release);
	}
	return NULL;
}

static double remote_slice(size_t n, unsigned long blocks)
{
	pthread_t thread;
	double start;

	atomic_store(&ring.head, 0);
	atomic_store(&ring.tail, 0);
	if (pthread_create(&thread, NULL, consume, &blocks))
		bench_fail("pthread_create");
	start = bench_wall_ns();
	for (unsigned long head = 0; head < blocks; head += PUBLISH) {
		while (head - atomic_load_explicit(&ring.tail, memory_order_acquire) > RING - PUBLISH)
			sched_yield();
		for (unsigned long i = head; i < head + PUBLISH; i++) {
			ring.slots[i % RING] = malloc(n);
			bench_touch(ring.slots[i % RING]);
		}
		atomic_store_explicit(&ring.head, head + PUBLISH, memory_order_release);
	}
	pthread_join(thread, NULL);
	return (bench_wall_ns() - start) / (double)blocks;
}

static void measure_remote(const char *name, double ns, size_t n)
{
	unsigned long blocks = (unsigned long)(ns / 50) / PUBLISH * PUBLISH + PUBLISH;
	double slices[SLICES];

	remote_slice(n, 10 * PUBLISH);
	for (int s = 0; s < SLICES; s++)
		slices[s] = remote_slice(n, blocks);
	bench_sample(name, bench_median(slices, SLICES));
}

int main(int argc, char **argv)
{
	double ns = (double)bench_number(argc > 1 ? argv[1] : "20") * 1e6;

	cpus[0] = bench_cpu(0);
	cpus[1] = bench_cpu(1);
	bench_pin(cpus[0]);
	if (cpus[1] >= 0)
		measure_remote("free on another thread, 1 KiB", ns, 1024);
	measure("100 x 256 B", ns, work_batch, 100, 256, 256);
	measure("100 x 4 KiB", ns, work_batch, 100, 4096, 4096);
	measure("1000 x 64 KiB", ns, work_batch, 1000, 65536, 65536);
	measure("random 16 B-4 KiB, 1000 live", ns, work_random, 1000, 16, 4096);
	measure("random 1-64 KiB, 500 live", ns, work_random, 500, 1024, 65536);
	measure("realloc growth 32 B-60 kB, a step", ns, work_grow, 0, 32, 60000);
	return 0;
}
