/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Do two CPUs disturb each other when the blocks they hit are neighbours, or belong to different classes? Main acquires
 * many blocks and sorts them by address; each of two pinned threads releases its share on its own CPU, from where its
 * following acquires get exactly those back (last in, first out). After each turn the threads look whether that was so;
 * where it was not (an epoch ended meanwhile), the turn counts as strayed and its time is not reported. Compared are
 *     far        blocks of one class, more than a hundred KiB apart
 *     near       the even blocks to one CPU, the odd ones to the other
 *     classes    one CPU on 64 B, the other on the next class of the table, 80 B
 * 64 B is the smallest class of which two blocks never share a cache line that the program itself writes.
 *
 *     neighbours ROUNDS BATCHES    ->  far, near, classes: ns a pair, mean of the two threads, a line for every
 *                                      round in which no turn strayed; strayed: how many rounds did
 */
#include "measure.h"

#include <bufpool/bufpool.h>
#include <pthread.h>

#define BATCH 8
#define MANY 4096

struct side {
	int cpu;
	size_t n;
	long batches;
	void *blocks[BATCH];
	double ns;
	int strayed;
};

static pthread_barrier_t start;

static int compare_pointers(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

	return (x > y) - (x < y);
}

static void acquire_batch(void **out, size_t n)
{
	for (int i = 0; i < BATCH; i++) {
		out[i] = bufpool_acquire(n);
		bench_touch(out[i]);
	}
}

static void release_batch(void **blocks)
{
	for (int i = 0; i < BATCH; i++)
		bufpool_release(blocks[i]);
}

static void *run(void *arg)
{
	struct side *side = arg;
	void *got[BATCH];
	double from;

	bench_pin(side->cpu);
	pthread_barrier_wait(&start);
	release_batch(side->blocks);
	from = bench_thread_ns();
	for (long i = 0; i < side->batches; i++) {
		acquire_batch(got, side->n);
		release_batch(got);
	}
	side->ns = (bench_thread_ns() - from) / (double)(side->batches * BATCH);
	acquire_batch(got, side->n);
	qsort(got, BATCH, sizeof(*got), compare_pointers);
	qsort(side->blocks, BATCH, sizeof(*got), compare_pointers);
	side->strayed = memcmp(got, side->blocks, sizeof(got)) != 0;
	return NULL;
}

/* Both sides at once, on the blocks they got: ns a pair, -1 where they strayed. */
static double turn(struct side *side)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, run, &side[i]))
			bench_fail("pthread_create");
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return side[0].strayed || side[1].strayed ? -1 : (side[0].ns + side[1].ns) / 2;
}

static void **sorted_blocks(size_t n)
{
	void **blocks = calloc(MANY, sizeof(*blocks));

	if (!blocks || bufpool_acquire_many(blocks, MANY, n) != MANY)
		bench_fail("out of memory");
	qsort(blocks, MANY, sizeof(*blocks), compare_pointers);
	return blocks;
}

static void pick(struct side *side, void **blocks, size_t first, size_t stride)
{
	for (size_t i = 0; i < BATCH; i++)
		side->blocks[i] = blocks[first + i * stride];
}

/* Each round works on blocks of its own and keeps them: nothing else lies in the caches of the two CPUs. */
static int measure_round(struct side side[2], size_t round, void **small, void **next)
{
	double far, near, classes;

	side[1].n = 64;
	pick(&side[0], small, round * BATCH, 1);
	pick(&side[1], small, MANY - (round + 1) * BATCH, 1);
	far = turn(side);
	pick(&side[0], small, MANY / 2 + round * 2 * BATCH, 2);
	pick(&side[1], small, MANY / 2 + round * 2 * BATCH + 1, 2);
	near = turn(side);
	side[1].n = 80;
	pick(&side[0], small, MANY / 4 + round * BATCH, 1);
	pick(&side[1], next, MANY / 4 + round * BATCH, 1);
	classes = turn(side);
	if (far < 0 || near < 0 || classes < 0)
		return 0;
	bench_sample("far", far);
	bench_sample("near", near);
	bench_sample("classes", classes);
	return 1;
}

int main(int argc, char **argv)
{
	long rounds = bench_number(argc > 1 ? argv[1] : "15"), strayed = 0;
	long batches = bench_number(argc > 2 ? argv[2] : "500000");
	struct side side[2];
	void **small, **next;

	if (bench_cpu(1) < 0)
		bench_fail("needs two CPUs");
	if (rounds < 1 || rounds > MANY / 8 / BATCH)
		bench_fail("1 to 64 rounds");
	for (int i = 0; i < 2; i++)
		side[i] = (struct side){ .cpu = bench_cpu(i), .n = 64, .batches = batches };
	pthread_barrier_init(&start, NULL, 2);
	small = sorted_blocks(64);
	next = sorted_blocks(80);
	for (long round = 0; round < rounds; round++)
		strayed += !measure_round(side, (size_t)round, small, next);
	bench_sample("strayed", (double)strayed);
	return 0;
}
