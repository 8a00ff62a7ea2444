/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The contexts of LZ4 frames from a pool.
 */
#define LZ4F_STATIC_LINKING_ONLY
#include <lz4frame.h>

#include <bufpool/adapters/lz4.h>
#include "codec.h"

#include <criterion/criterion.h>

TestSuite(lz4, .timeout = 120);

static bool good(size_t result)
{
	cr_assert(!LZ4F_isError(result) || LZ4F_getErrorCode(result) == LZ4F_ERROR_allocation_failed, "%s",
		  LZ4F_getErrorName(result));
	return !LZ4F_isError(result);
}

/* Header, one update in pieces, end. */
static bool compress(LZ4F_cctx *cctx, struct t_job *job)
{
	const LZ4F_preferences_t preferences = { .frameInfo.blockMode = LZ4F_blockLinked, .compressionLevel = 4 };
	size_t got = LZ4F_compressBegin(cctx, job->out, job->room, &preferences), piece;

	for (size_t at = 0; good(got) && at < job->size; at += piece) {
		job->made += got;
		piece = job->size - at < 10000 ? job->size - at : 10000;
		got = LZ4F_compressUpdate(cctx, job->out + job->made, job->room - job->made, job->in + at, piece, NULL);
	}
	if (LZ4F_isError(got))
		return false;
	job->made += got;
	got = LZ4F_compressEnd(cctx, job->out + job->made, job->room - job->made, NULL);
	if (!good(got))
		return false;
	job->made += got;
	return true;
}

static bool pack(struct t_job *job)
{
	LZ4F_cctx *cctx = NULL;
	bool done;

	if (job->hooked)
		cctx = bufpool_lz4_cctx_create(job->pool);
	else
		cr_assert(!LZ4F_isError(LZ4F_createCompressionContext(&cctx, LZ4F_VERSION)));
	if (!cctx)
		return false;
	job->made = 0;
	done = compress(cctx, job);
	LZ4F_freeCompressionContext(cctx);
	return done;
}

static bool unpack(struct t_job *job)
{
	LZ4F_dctx *dctx = NULL;
	size_t got = 1, in, out;

	if (job->hooked)
		dctx = bufpool_lz4_dctx_create(job->pool);
	else
		cr_assert(!LZ4F_isError(LZ4F_createDecompressionContext(&dctx, LZ4F_VERSION)));
	if (!dctx)
		return false;
	job->made = 0;
	for (size_t at = 0; got && good(got); at += in) {
		in = job->size - at < 1000 ? job->size - at : 1000;
		out = job->room - job->made;
		got = LZ4F_decompress(dctx, job->out + job->made, &out, job->in + at, &in, NULL);
		job->made += LZ4F_isError(got) ? 0 : out;
	}
	LZ4F_freeDecompressionContext(dctx);
	return !got;
}

static const struct t_codec codec = { pack, unpack, 3, 3 };

Test(lz4, frames_are_what_they_are_without_hooks)
{
	t_codec_same(&codec);
}

Test(lz4, a_pool_of_ones_own)
{
	t_codec_own_pool(&codec);
}

Test(lz4, every_refusal_is_reported)
{
	t_codec_refusals(&codec);
}
