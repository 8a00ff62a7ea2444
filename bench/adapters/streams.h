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
/* What bench_prepare_packed has made of the messages: in bench_packed, one after the other. */
static struct bench_input bench_packed_messages[BENCH_MESSAGES];
static unsigned char bench_packed[1 << 20], bench_unpacked[1 << 20];

/* What a library brings: one stream from its creation to its end, out of which so many bytes came. Unpacking, they are in
 * bench_unpacked. */
typedef size_t bench_pack(struct bench_input in, unsigned char *out, size_t room);
typedef size_t bench_unpack(struct bench_input in);

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

/* ---- what is made of them: inlined, so that a lap calls the library's function and nothing else ---- */

#define BENCH_INLINE static inline __attribute__((always_inline))

BENCH_INLINE size_t bench_lap_pack(bench_pack *pack)
{
	for (size_t i = 0; i < BENCH_MESSAGES; i++)
		bench_expect(pack(bench_messages[i], bench_packed, sizeof(bench_packed)) > 30, "packed: too short");
	return BENCH_MESSAGES;
}

BENCH_INLINE size_t bench_lap_pack_whole(bench_pack *pack)
{
	bench_expect(pack(bench_whole, bench_packed, sizeof(bench_packed)) > 10000, "packed: too short");
	return 1;
}

BENCH_INLINE void bench_prepare_packed(bench_pack *pack)
{
	unsigned char *at = bench_packed, *end = bench_packed + sizeof(bench_packed);

	bench_prepare_500();
	for (size_t i = 0; i < BENCH_MESSAGES; i++) {
		bench_packed_messages[i] = (struct bench_input){ at, pack(bench_messages[i], at, (size_t)(end - at)) };
		at += bench_packed_messages[i].size;
	}
}

BENCH_INLINE size_t bench_lap_unpack(bench_unpack *unpack)
{
	for (size_t i = 0; i < BENCH_MESSAGES; i++)
		bench_expect(unpack(bench_packed_messages[i]) == bench_messages[i].size, "unpacked: too short");
	return BENCH_MESSAGES;
}

#endif
