/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Brotli's instances from a pool. Unusual: the encoder of 1.0.9 as Debian builds it ends the process where it gets no
 * memory, all but for its first block; newer ones report it.
 */
#include <brotli/decode.h>
#include <brotli/encode.h>

#include <bufpool/adapters/brotli.h>
#include "codec.h"

#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(brotli, .timeout = 120);

static bool pack(struct t_job *job)
{
	BrotliEncoderState *encoder = job->hooked ? bufpool_brotli_encoder_create(job->pool) :
				      BrotliEncoderCreateInstance(NULL, NULL, NULL);
	size_t left = job->size, room = job->room;
	const uint8_t *in = job->in;
	uint8_t *out = job->out;
	bool done;

	if (!encoder)
		return false;
	BrotliEncoderSetParameter(encoder, BROTLI_PARAM_QUALITY, 5);
	done = BrotliEncoderCompressStream(encoder, BROTLI_OPERATION_FINISH, &left, &in, &room, &out, NULL);
	cr_assert(!done || BrotliEncoderIsFinished(encoder));
	job->made = job->room - room;
	BrotliEncoderDestroyInstance(encoder);
	return done;
}

static bool unpack(struct t_job *job)
{
	BrotliDecoderState *decoder = job->hooked ? bufpool_brotli_decoder_create(job->pool) :
				      BrotliDecoderCreateInstance(NULL, NULL, NULL);
	size_t left = job->size, room = job->room;
	const uint8_t *in = job->in;
	uint8_t *out = job->out;
	BrotliDecoderErrorCode error;
	BrotliDecoderResult result;

	if (!decoder)
		return false;
	result = BrotliDecoderDecompressStream(decoder, &left, &in, &room, &out, NULL);
	error = BrotliDecoderGetErrorCode(decoder);
	cr_assert(result == BROTLI_DECODER_RESULT_SUCCESS || (error <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
		  error >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES), "error %d", error);
	job->made = job->room - room;
	BrotliDecoderDestroyInstance(decoder);
	return result == BROTLI_DECODER_RESULT_SUCCESS;
}

static const struct t_codec codec = { pack, unpack, 5, 5 };

Test(brotli, streams_make_what_they_make_without_hooks)
{
	t_codec_same(&codec);
}

Test(brotli, a_pool_of_ones_own)
{
	t_codec_own_pool(&codec);
}

Test(brotli, every_refusal_of_a_decoder_is_reported)
{
	t_codec_unpack_refusals(&codec);
}

enum { BROTLI_EXITS = 1, DONE, REPORTED, LEFT };

/* How a process ends in which the nth request of an encoder is refused, and onwards those behind it. */
static int encoding_refused(size_t nth, bool onwards)
{
	static unsigned char text[5000], out[6000];
	struct t_job job = { .in = text, .size = sizeof(text), .out = out, .room = sizeof(out), .hooked = true };
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = (unsigned char)(i * i / 100);
		t_refuse(nth, onwards);
		status = pack(&job) ? DONE : REPORTED;
		_exit(t_out() == 0 ? status : LEFT);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status), "status %x", status);
	return WEXITSTATUS(status);
}

Test(brotli, an_encoder_that_is_refused_reports_or_exits)
{
	size_t nth;
	int end;

	for (int onwards = 0; onwards < 2; onwards++) {
		nth = 1;
		cr_assert_eq(encoding_refused(nth, onwards), REPORTED);
		while ((end = encoding_refused(++nth, onwards)) != DONE)
			cr_assert(end == BROTLI_EXITS || end == REPORTED, "refusal %zu: %d", nth, end);
		cr_assert_geq(nth, 5);
	}
}
