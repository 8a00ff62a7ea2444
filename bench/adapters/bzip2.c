/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bzip2 at level 1: its blocks of 400 kB come from a pool whose cap is that high.
 */
#include "streams.h"

#include <bzlib.h>

#include <bufpool/adapters/bzip2.h>

static struct bufpool *large;

void bench_install(void)
{
	large = bench_large_pool();
}

static size_t compressed(struct bench_input in, unsigned char *out, size_t room)
{
	bz_stream stream = { 0 };

	if (bench_hooked)
		bufpool_bzip2_use(&stream, large);
	bench_expect(BZ2_bzCompressInit(&stream, 1, 0, 0) == BZ_OK, "bzip2: no stream");
	stream.next_in = (char *)in.data;
	stream.avail_in = (unsigned)in.size;
	stream.next_out = (char *)out;
	stream.avail_out = (unsigned)room;
	bench_expect(BZ2_bzCompress(&stream, BZ_FINISH) == BZ_STREAM_END, "bzip2: not compressed");
	BZ2_bzCompressEnd(&stream);
	return stream.total_out_lo32;
}

static size_t decompressed(struct bench_input in)
{
	bz_stream stream = { 0 };

	if (bench_hooked)
		bufpool_bzip2_use(&stream, large);
	bench_expect(BZ2_bzDecompressInit(&stream, 0, 0) == BZ_OK, "bzip2: no stream");
	stream.next_in = (char *)in.data;
	stream.avail_in = (unsigned)in.size;
	stream.next_out = (char *)bench_unpacked;
	stream.avail_out = sizeof(bench_unpacked);
	bench_expect(BZ2_bzDecompress(&stream) == BZ_STREAM_END, "bzip2: not decompressed");
	BZ2_bzDecompressEnd(&stream);
	return stream.total_out_lo32;
}

static size_t lap_compress(void)
{
	return bench_lap_pack(compressed);
}

static void prepare_packed(void)
{
	bench_prepare_packed(compressed);
}

static size_t lap_decompress(void)
{
	return bench_lap_unpack(decompressed);
}

const struct bench_workload bench_workloads[] = {
	{ "bzip2-compress-500B", "streams", bench_prepare_500, lap_compress, 0, 0 },
	{ "bzip2-decompress-500B", "streams", prepare_packed, lap_decompress, 0, 0 },
	{ 0 },
};
