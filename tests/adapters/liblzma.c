/* SPDX-License-Identifier: BSD-2-Clause
 *
 * liblzma's coders from a pool.
 */
#include <lzma.h>

#include <bufpool/adapters/liblzma.h>
#include "codec.h"

#include <criterion/criterion.h>

TestSuite(liblzma, .timeout = 120);

/* One coder from its start to its end; start sets it up. */
static bool run(struct t_job *job, lzma_ret (*start)(lzma_stream *stream))
{
	const lzma_allocator allocator = bufpool_liblzma_allocator(job->pool);
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_ret status;

	if (job->hooked)
		stream.allocator = &allocator;
	stream.next_in = job->in;
	stream.avail_in = job->size;
	stream.next_out = job->out;
	stream.avail_out = job->room;
	status = start(&stream);
	while (status == LZMA_OK)
		status = lzma_code(&stream, LZMA_FINISH);
	job->made = stream.total_out;
	lzma_end(&stream);
	cr_assert(status == LZMA_STREAM_END || status == LZMA_MEM_ERROR, "status %d", status);
	return status == LZMA_STREAM_END;
}

static lzma_ret start_encoder(lzma_stream *stream)
{
	return lzma_easy_encoder(stream, 1, LZMA_CHECK_CRC64);
}

static lzma_ret start_decoder(lzma_stream *stream)
{
	return lzma_stream_decoder(stream, UINT64_MAX, 0);
}

static bool pack(struct t_job *job)
{
	return run(job, start_encoder);
}

static bool unpack(struct t_job *job)
{
	return run(job, start_decoder);
}

static const struct t_codec codec = { pack, unpack, 5, 5 };

Test(liblzma, streams_make_what_they_make_without_hooks)
{
	t_codec_same(&codec);
}

Test(liblzma, a_pool_of_ones_own)
{
	t_codec_own_pool(&codec);
}

Test(liblzma, every_refusal_is_reported)
{
	t_codec_refusals(&codec);
}
