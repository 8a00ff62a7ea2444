/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bzip2's streams from a pool.
 */
#include <bzlib.h>

#include <bufpool/adapters/bzip2.h>
#include "codec.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(bzip2, .timeout = 120);

static bool ended(int status, struct t_job *job, const bz_stream *stream)
{
	cr_assert(status == BZ_STREAM_END || status == BZ_MEM_ERROR, "status %d", status);
	job->made = stream->total_out_lo32;
	return status == BZ_STREAM_END;
}

static void set_up(bz_stream *stream, const struct t_job *job)
{
	memset(stream, 0, sizeof(*stream));
	if (job->hooked)
		bufpool_bzip2_use(stream, job->pool);
	stream->next_in = (char *)job->in;
	stream->avail_in = (unsigned)job->size;
	stream->next_out = (char *)job->out;
	stream->avail_out = (unsigned)job->room;
}

static bool pack(struct t_job *job)
{
	bz_stream stream;
	int status;

	set_up(&stream, job);
	status = BZ2_bzCompressInit(&stream, 1, 0, 0);
	if (status == BZ_OK) {
		status = BZ2_bzCompress(&stream, BZ_FINISH);
		BZ2_bzCompressEnd(&stream);
	}
	return ended(status, job, &stream);
}

static bool unpack(struct t_job *job)
{
	bz_stream stream;
	int status;

	set_up(&stream, job);
	status = BZ2_bzDecompressInit(&stream, 0, 0);
	if (status == BZ_OK) {
		status = BZ2_bzDecompress(&stream);
		BZ2_bzDecompressEnd(&stream);
	}
	return ended(status, job, &stream);
}

static const struct t_codec codec = { pack, unpack, 4, 2 };

Test(bzip2, streams_make_what_they_make_without_hooks)
{
	t_codec_same(&codec);
}

Test(bzip2, a_pool_of_ones_own)
{
	t_codec_own_pool(&codec);
}

Test(bzip2, every_refusal_is_reported)
{
	t_codec_refusals(&codec);
}
