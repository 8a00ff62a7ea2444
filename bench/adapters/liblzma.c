/* SPDX-License-Identifier: BSD-2-Clause
 *
 * liblzma at preset 0, the only one whose blocks a pool can keep.
 */
#include "streams.h"

#include <lzma.h>

#include <bufpool/adapters/liblzma.h>

static struct bench_input packed[BENCH_MESSAGES];
static lzma_allocator allocator;

void bench_install(void)
{
	allocator = bufpool_liblzma_allocator(bench_large_pool());
}

static size_t coded(struct bench_input in, unsigned char *out, size_t room, bool decode)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_ret status;

	if (bench_hooked)
		stream.allocator = &allocator;
	status = decode ? lzma_stream_decoder(&stream, UINT64_MAX, 0) : lzma_easy_encoder(&stream, 0, LZMA_CHECK_CRC32);
	bench_expect(status == LZMA_OK, "liblzma: no coder");
	stream.next_in = in.data;
	stream.avail_in = in.size;
	stream.next_out = out;
	stream.avail_out = room;
	bench_expect(lzma_code(&stream, LZMA_FINISH) == LZMA_STREAM_END, "liblzma: not coded");
	lzma_end(&stream);
	return stream.total_out;
}

static size_t lap_encode(void)
{
	for (size_t i = 0; i < BENCH_MESSAGES; i++)
		bench_expect(coded(bench_messages[i], bench_packed, sizeof(bench_packed), false) > 30,
			     "liblzma: too short");
	return BENCH_MESSAGES;
}

static void prepare_packed(void)
{
	unsigned char *at = bench_packed;

	bench_prepare_500();
	for (size_t i = 0; i < BENCH_MESSAGES; i++) {
		packed[i] = (struct bench_input){ at, coded(bench_messages[i], at, 4096, false) };
		at += packed[i].size;
	}
}

static size_t lap_decode(void)
{
	for (size_t i = 0; i < BENCH_MESSAGES; i++)
		bench_expect(coded(packed[i], bench_unpacked, sizeof(bench_unpacked), true) == bench_messages[i].size,
			     "liblzma: too short");
	return BENCH_MESSAGES;
}

const struct bench_workload bench_workloads[] = {
	{ "liblzma-encode-500B", "streams", bench_prepare_500, lap_encode, 0, 0 },
	{ "liblzma-decode-500B", "streams", prepare_packed, lap_decode, 0, 0 },
	{ 0 },
};
