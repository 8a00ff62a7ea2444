/* SPDX-License-Identifier: BSD-2-Clause
 *
 * zlib: streams of small messages, and of one larger input. Each stream begins with an Init and ends with an End: the
 * blocks, 4 x 64 KiB and two small ones for deflate, are a stream's own. glibc gets them from the kernel each time;
 * jemalloc does not, its five mallocs and frees cost a microsecond: of a message of 100 bytes that is a quarter, of
 * larger ones less, whatever the allocator, so that the bar against jemalloc is for the smallest.
 */
#include "streams.h"

#include <zlib.h>

#include <bufpool/adapters/zlib.h>


void bench_install(void)
{
}

static size_t deflated(struct bench_input in, unsigned char *out, size_t room)
{
	z_stream stream = { 0 };

	if (bench_hooked)
		bufpool_zlib_use(&stream, NULL);
	bench_expect(deflateInit(&stream, Z_DEFAULT_COMPRESSION) == Z_OK, "zlib: deflateInit");
	stream.next_in = (unsigned char *)in.data;
	stream.avail_in = (uInt)in.size;
	stream.next_out = out;
	stream.avail_out = (uInt)room;
	bench_expect(deflate(&stream, Z_FINISH) == Z_STREAM_END, "zlib: deflate");
	deflateEnd(&stream);
	return stream.total_out;
}

/* In two calls, so that inflate needs its window. */
static size_t inflated(struct bench_input in)
{
	z_stream stream = { 0 };

	if (bench_hooked)
		bufpool_zlib_use(&stream, NULL);
	bench_expect(inflateInit(&stream) == Z_OK, "zlib: inflateInit");
	stream.next_in = (unsigned char *)in.data;
	stream.avail_in = (uInt)in.size / 2;
	stream.next_out = bench_unpacked;
	stream.avail_out = sizeof(bench_unpacked);
	bench_expect(inflate(&stream, Z_NO_FLUSH) == Z_OK, "zlib: inflate");
	stream.avail_in = (uInt)in.size - (uInt)in.size / 2;
	bench_expect(inflate(&stream, Z_NO_FLUSH) == Z_STREAM_END, "zlib: inflate");
	inflateEnd(&stream);
	return stream.total_out;
}

static size_t lap_deflate_messages(void)
{
	return bench_lap_pack(deflated);
}

static size_t lap_deflate_whole(void)
{
	return bench_lap_pack_whole(deflated);
}

static void prepare_packed(void)
{
	bench_prepare_packed(deflated);
}

static size_t lap_inflate_messages(void)
{
	return bench_lap_unpack(inflated);
}

const struct bench_workload bench_workloads[] = {
	{ "zlib-deflate-100B", "streams", bench_prepare_100, lap_deflate_messages, 1.3, 1.3 },
	{ "zlib-deflate-500B", "streams", bench_prepare_500, lap_deflate_messages, 1.3, 0 },
	{ "zlib-deflate-2000B", "streams", bench_prepare_2000, lap_deflate_messages, 1.3, 0 },
	{ "zlib-deflate-larger", "streams", bench_prepare_500, lap_deflate_whole, 0, 0 },
	{ "zlib-inflate-500B", "streams", prepare_packed, lap_inflate_messages, 0, 0 },
	{ 0 },
};
