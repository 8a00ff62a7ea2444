/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Zstandard: a context for each stream, as programs do that don't keep them. A context is larger than what the
 * default pool keeps.
 */
#define ZSTD_STATIC_LINKING_ONLY
#include "streams.h"

#include <zstd.h>

#include <bufpool/adapters/zstd.h>

static struct bufpool *large;

void bench_install(void)
{
	large = bench_large_pool();
}

static size_t compressed(struct bench_input in, unsigned char *out, size_t room)
{
	ZSTD_CCtx *cctx = bench_hooked ? bufpool_zstd_cctx_create(large) : ZSTD_createCCtx();
	size_t made = ZSTD_compressCCtx(cctx, out, room, in.data, in.size, ZSTD_CLEVEL_DEFAULT);

	bench_expect(!ZSTD_isError(made), "Zstandard: not compressed");
	ZSTD_freeCCtx(cctx);
	return made;
}

static size_t decompressed(struct bench_input in)
{
	ZSTD_DCtx *dctx = bench_hooked ? bufpool_zstd_dctx_create(large) : ZSTD_createDCtx();
	size_t made = ZSTD_decompressDCtx(dctx, bench_unpacked, sizeof(bench_unpacked), in.data, in.size);

	ZSTD_freeDCtx(dctx);
	return made;
}

static size_t lap_compress_messages(void)
{
	return bench_lap_pack(compressed);
}

static size_t lap_compress_whole(void)
{
	return bench_lap_pack_whole(compressed);
}

static void prepare_packed(void)
{
	bench_prepare_packed(compressed);
}

static size_t lap_decompress_messages(void)
{
	return bench_lap_unpack(decompressed);
}

const struct bench_workload bench_workloads[] = {
	{ "zstd-compress-500B", "streams", bench_prepare_500, lap_compress_messages, 0, 0 },
	{ "zstd-compress-larger", "streams", bench_prepare_500, lap_compress_whole, 0, 0 },
	{ "zstd-decompress-500B", "streams", prepare_packed, lap_decompress_messages, 0, 0 },
	{ 0 },
};
