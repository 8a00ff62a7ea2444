/* SPDX-License-Identifier: BSD-2-Clause
 *
 * LZ4 frames: a context for each, whose buffers are larger than what the default pool keeps.
 */
#define LZ4F_STATIC_LINKING_ONLY
#include "streams.h"

#include <lz4frame.h>

#include <bufpool/adapters/lz4.h>

static struct bufpool *large;

void bench_install(void)
{
	large = bench_large_pool();
}

static size_t compressed(struct bench_input in, unsigned char *out, size_t room)
{
	LZ4F_cctx *cctx;
	size_t made;

	if (bench_hooked)
		cctx = bufpool_lz4_cctx_create(large);
	else
		LZ4F_createCompressionContext(&cctx, LZ4F_VERSION);
	made = LZ4F_compressBegin(cctx, out, room, NULL);
	made += LZ4F_compressUpdate(cctx, out + made, room - made, in.data, in.size, NULL);
	made += LZ4F_compressEnd(cctx, out + made, room - made, NULL);
	LZ4F_freeCompressionContext(cctx);
	return made;
}

static size_t decompressed(struct bench_input in)
{
	size_t made = sizeof(bench_unpacked), size = in.size;
	LZ4F_dctx *dctx;

	if (bench_hooked)
		dctx = bufpool_lz4_dctx_create(large);
	else
		LZ4F_createDecompressionContext(&dctx, LZ4F_VERSION);
	bench_expect(LZ4F_decompress(dctx, bench_unpacked, &made, in.data, &size, NULL) == 0, "LZ4: not decompressed");
	LZ4F_freeDecompressionContext(dctx);
	return made;
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
	{ "lz4-compress-500B", "frames", bench_prepare_500, lap_compress, 0, 0 },
	{ "lz4-decompress-500B", "frames", prepare_packed, lap_decompress, 0, 0 },
	{ 0 },
};
