/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Zstandard's contexts and dictionaries from a pool.
 */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

#include <bufpool/adapters/zstd.h>
#include "codec.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(zstd, .timeout = 120);

static bool ended(struct t_job *job, size_t result)
{
	cr_assert(!ZSTD_isError(result) || ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation, "%s",
		  ZSTD_getErrorName(result));
	job->made = result;
	return !ZSTD_isError(result);
}

static bool pack(struct t_job *job)
{
	ZSTD_CCtx *cctx = job->hooked ? bufpool_zstd_cctx_create(job->pool) : ZSTD_createCCtx();
	bool done;

	if (!cctx)
		return false;
	done = ended(job, ZSTD_compressCCtx(cctx, job->out, job->room, job->in, job->size, 5));
	ZSTD_freeCCtx(cctx);
	return done;
}

/* As a stream, for which there are more blocks. */
static bool unpack(struct t_job *job)
{
	ZSTD_DCtx *dctx = job->hooked ? bufpool_zstd_dctx_create(job->pool) : ZSTD_createDCtx();
	ZSTD_inBuffer in = { job->in, job->size < 100 ? job->size : 100, 0 };
	ZSTD_outBuffer out = { job->out, job->room, 0 };
	size_t result;

	if (!dctx)
		return false;
	do {
		result = ZSTD_decompressStream(dctx, &out, &in);
		in.size = job->size - in.pos < 100 ? job->size : in.pos + 100;
	} while (!ZSTD_isError(result) && result);
	if (!ZSTD_isError(result))
		result = out.pos;
	ZSTD_freeDCtx(dctx);
	return ended(job, result);
}

static const struct t_codec codec = { pack, unpack, 2, 2 };

Test(zstd, streams_make_what_they_make_without_hooks)
{
	t_codec_same(&codec);
}

Test(zstd, a_pool_of_ones_own)
{
	t_codec_own_pool(&codec);
}

Test(zstd, every_refusal_is_reported)
{
	t_codec_refusals(&codec);
}

Test(zstd, dictionaries_come_from_the_pool)
{
	static const char words[] = "dictionary of some words that the text has as well";
	ZSTD_CDict *dict;

	t_begin();
	dict = ZSTD_createCDict_advanced(words, sizeof(words), ZSTD_dlm_byCopy, ZSTD_dct_auto, ZSTD_getCParams(3, 0, 0),
					 bufpool_zstd_mem(NULL));
	cr_assert_not_null(dict);
	cr_assert_geq(t_out(), 1);
	ZSTD_freeCDict(dict);
	t_end();
}
