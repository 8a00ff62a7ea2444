/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What stays after a burst: 1 M blocks of 128 B and 8 000 of 48 KB are allocated, written and freed; after that the
 * program makes small calls only, for as long as two epochs and a half last. The driver preloads an allocator under it.
 *
 *     burst MS   ->  base, peak, after: MB of resident memory
 */
#include "measure.h"

#define SMALL 1000000
#define LARGE 8000

static void *blocks[SMALL + LARGE];

static size_t size_of(size_t i)
{
	return i < SMALL ? 128 : 48000;
}

static void small_calls(double ns)
{
	double end = bench_wall_ns() + ns;
	uint64_t seed = 88172645463325252u;

	while (bench_wall_ns() < end) {
		for (int i = 0; i < 100; i++) {
			void *p = malloc(16 + bench_random(&seed) % 240);
			bench_touch(p);
			free(p);
		}
	}
}

int main(int argc, char **argv)
{
	double ns = (double)bench_number(argc > 1 ? argv[1] : "2500") * 1e6;

	memset(blocks, 1, sizeof(blocks)); /* the array itself belongs to the base */
	small_calls(1e6);
	bench_sample("base", bench_rss_mb());
	for (size_t i = 0; i < SMALL + LARGE; i++) {
		blocks[i] = malloc(size_of(i));
		bench_touch(blocks[i]);
		memset(blocks[i], 1, size_of(i));
	}
	bench_sample("peak", bench_rss_mb());
	for (size_t i = 0; i < SMALL + LARGE; i++)
		free(blocks[i]);
	small_calls(ns);
	bench_sample("after", bench_rss_mb());
	return 0;
}
