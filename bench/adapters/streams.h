/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the compressors are measured at: many small inputs, each a stream of its own, as servers compress messages and
 * answers; and one input of some hundred kB, where what is allocated hardly counts.
 */
#ifndef BENCH_ADAPTERS_STREAMS_H
#define BENCH_ADAPTERS_STREAMS_H

#include "workload.h"

#include <bufpool/bufpool.h>

#define BENCH_MESSAGES 64

struct bench_input {
	const unsigned char *data;
	size_t size;
};

static struct bench_input bench_messages[BENCH_MESSAGES], bench_whole;
static unsigned char bench_packed[1 << 20], bench_unpacked[1 << 20];

/* For what allocates more than the default pool keeps. */
static inline struct bufpool *bench_large_pool(void)
{
	const struct bufpool_conf conf = { .size = sizeof(conf), .name = "large", .cap = 4u << 20 };
	struct bufpool *pool;

	if (bufpool_create(&pool, &conf))
		bench_fail("no pool");
	return pool;
}

/* Half of `size` to one and a half of it each, cut out of one text. */
static inline void bench_prepare_streams(size_t size)
{
	uint64_t random = 1;

	bench_whole.data = (const unsigned char *)bench_json(&bench_whole.size, 1000);
	for (size_t i = 0; i < BENCH_MESSAGES; i++) {
		bench_messages[i].data = bench_whole.data + i * bench_whole.size / (BENCH_MESSAGES + 1);
		bench_messages[i].size = size / 2 + bench_random(&random) % (size + 1);
	}
}

static inline void bench_prepare_100(void)
{
	bench_prepare_streams(100);
}

static inline void bench_prepare_500(void)
{
	bench_prepare_streams(500);
}

static inline void bench_prepare_2000(void)
{
	bench_prepare_streams(2000);
}

#endif
