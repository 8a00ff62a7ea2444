/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The experiment with holes: many bursts of blocks, each of which leaves a few scattered ones alive. An allocator
 * that takes fresh slabs for every burst, instead of the holes that the last one left, grows without end. Included by
 * one program for the pool and one for bare jemalloc.
 */
#ifndef BENCH_HOLES_H
#define BENCH_HOLES_H

#include "measure.h"

#define HOLES_BURSTS 30
#define HOLES_BLOCKS 50000
#define HOLES_ALIVE 50 /* one in so many survives */
#define HOLES_SIZE 256

struct holes_allocator {
	void *(*acquire)(size_t n);
	void (*release)(void *p);
	void (*rest)(void); /* between bursts */
	void (*purge)(void); /* at the end: unused pages to the kernel now, whatever the decay times are */
};

static inline void holes_run(const struct holes_allocator *a)
{
	static void *blocks[HOLES_BLOCKS];
	double base;

	memset(blocks, 1, sizeof(blocks));
	a->release(a->acquire(HOLES_SIZE));
	base = bench_rss_mb();
	for (int burst = 0; burst < HOLES_BURSTS; burst++) {
		for (int i = 0; i < HOLES_BLOCKS; i++) {
			blocks[i] = a->acquire(HOLES_SIZE);
			bench_touch(blocks[i]);
		}
		for (int i = 0; i < HOLES_BLOCKS; i++)
			if (i % HOLES_ALIVE)
				a->release(blocks[i]);
		a->rest();
	}
	bench_sample("unpurged", bench_rss_mb() - base);
	a->purge();
	bench_sample("purged", bench_rss_mb() - base);
	bench_sample("live", (double)HOLES_BURSTS * (HOLES_BLOCKS / HOLES_ALIVE) * HOLES_SIZE / BENCH_MB);
}

#endif
