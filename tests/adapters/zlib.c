/* SPDX-License-Identifier: BSD-2-Clause
 *
 * zlib's streams from a pool.
 */
#include <zlib.h>

#include <bufpool/adapters/zlib.h>
#include "codec.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(zlib, .timeout = 120);

static bool ended(int status, struct t_job *job, const z_stream *stream)
{
	cr_assert(status == Z_STREAM_END || status == Z_MEM_ERROR, "status %d", status);
	job->made = stream->total_out;
	return status == Z_STREAM_END;
}

static void set_up(z_stream *stream, const struct t_job *job)
{
	memset(stream, 0, sizeof(*stream));
	if (job->hooked)
		bufpool_zlib_use(stream, job->pool);
	stream->next_in = (unsigned char *)job->in;
	stream->avail_in = (uInt)job->size;
	stream->next_out = job->out;
	stream->avail_out = (uInt)job->room;
}

static bool pack(struct t_job *job)
{
	z_stream stream;
	int status;

	set_up(&stream, job);
	status = deflateInit(&stream, 9);
	if (status == Z_OK) {
		status = deflate(&stream, Z_FINISH);
		deflateEnd(&stream);
	}
	return ended(status, job, &stream);
}

/* In steps of 1000 bytes of input, so that inflate needs its window. */
static bool unpack(struct t_job *job)
{
	z_stream stream;
	size_t left = job->size;
	int status;

	set_up(&stream, job);
	status = inflateInit(&stream);
	if (status != Z_OK)
		return ended(status, job, &stream);
	while (status == Z_OK && left > 0) {
		stream.avail_in = left < 1000 ? (uInt)left : 1000;
		left -= stream.avail_in;
		status = inflate(&stream, Z_NO_FLUSH);
	}
	inflateEnd(&stream);
	return ended(status, job, &stream);
}

static const struct t_codec codec = { pack, unpack, 5, 2 };

Test(zlib, streams_make_what_they_make_without_hooks)
{
	t_codec_same(&codec);
}

Test(zlib, a_pool_of_ones_own)
{
	t_codec_own_pool(&codec);
}

Test(zlib, every_refusal_is_reported)
{
	t_codec_refusals(&codec);
}

Test(zlib, a_copied_stream_stays_in_the_pool)
{
	static unsigned char text[100000], one[100100], other[100100];
	z_stream stream, copy;
	int64_t out;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (unsigned char)(i * i / 1000);
	t_begin();
	set_up(&stream, &(struct t_job){ .in = text, .size = sizeof(text), .out = one, .room = 100, .hooked = true });
	cr_assert_eq(deflateInit(&stream, 9), Z_OK);
	cr_assert_eq(deflate(&stream, Z_NO_FLUSH), Z_OK);
	out = t_out();
	cr_assert_eq(deflateCopy(&copy, &stream), Z_OK);
	cr_assert_eq(t_out(), 2 * out);
	memcpy(other, one, 100);
	copy.next_out = other + 100;
	stream.avail_out = copy.avail_out = sizeof(one) - 100;
	cr_assert_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
	deflateEnd(&stream);
	cr_assert_eq(deflate(&copy, Z_FINISH), Z_STREAM_END);
	deflateEnd(&copy);
	cr_assert_eq(copy.total_out, stream.total_out);
	cr_assert(!memcmp(one, other, copy.total_out));
	t_end();
}
