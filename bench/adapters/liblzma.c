/* SPDX-License-Identifier: BSD-2-Clause
 *
 * liblzma at preset 0, the only one whose blocks a pool can keep.
 */
#include "streams.h"

#include <lzma.h>

#include <bufpool/adapters/liblzma.h>

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

static size_t encoded(struct bench_input in, unsigned char *out, size_t room)
{
	return coded(in, out, room, false);
}

static size_t decoded(struct bench_input in)
{
	return coded(in, bench_unpacked, sizeof(bench_unpacked), true);
}

static size_t lap_encode(void)
{
	return bench_lap_pack(encoded);
}

static void prepare_packed(void)
{
	bench_prepare_packed(encoded);
}

static size_t lap_decode(void)
{
	return bench_lap_unpack(decoded);
}

const struct bench_workload bench_workloads[] = {
	{ "liblzma-encode-500B", "streams", bench_prepare_500, lap_encode, 0, 0 },
	{ "liblzma-decode-500B", "streams", prepare_packed, lap_decode, 0, 0 },
	{ 0 },
};
