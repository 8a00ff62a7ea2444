/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Brotli: small messages and one larger text, with the quality that web servers use for what they pack on the way.
 * The encoder allocates more than the default pool keeps.
 */
#include "streams.h"

#include <brotli/decode.h>
#include <brotli/encode.h>

#include <bufpool/adapters/brotli.h>

static struct bufpool *large;

void bench_install(void)
{
	large = bench_large_pool();
}

static size_t encoded(struct bench_input in, unsigned char *out, size_t room)
{
	BrotliEncoderState *encoder = bench_hooked ? bufpool_brotli_encoder_create(large) :
				      BrotliEncoderCreateInstance(NULL, NULL, NULL);
	size_t left = in.size, rest = room;

	BrotliEncoderSetParameter(encoder, BROTLI_PARAM_QUALITY, 4);
	bench_expect(BrotliEncoderCompressStream(encoder, BROTLI_OPERATION_FINISH, &left, &in.data, &rest, &out,
						 NULL) && BrotliEncoderIsFinished(encoder), "Brotli: not encoded");
	BrotliEncoderDestroyInstance(encoder);
	return room - rest;
}

static size_t decoded(struct bench_input in)
{
	BrotliDecoderState *decoder = bench_hooked ? bufpool_brotli_decoder_create(NULL) :
				      BrotliDecoderCreateInstance(NULL, NULL, NULL);
	size_t left = in.size, rest = sizeof(bench_unpacked);
	unsigned char *out = bench_unpacked;

	bench_expect(BrotliDecoderDecompressStream(decoder, &left, &in.data, &rest, &out, NULL) ==
		     BROTLI_DECODER_RESULT_SUCCESS, "Brotli: not decoded");
	BrotliDecoderDestroyInstance(decoder);
	return sizeof(bench_unpacked) - rest;
}

static size_t lap_encode_messages(void)
{
	return bench_lap_pack(encoded);
}

static size_t lap_encode_whole(void)
{
	return bench_lap_pack_whole(encoded);
}

static void prepare_packed(void)
{
	bench_prepare_packed(encoded);
}

static size_t lap_decode_messages(void)
{
	return bench_lap_unpack(decoded);
}

const struct bench_workload bench_workloads[] = {
	{ "brotli-encode-500B", "streams", bench_prepare_500, lap_encode_messages, 0, 0 },
	{ "brotli-encode-larger", "streams", bench_prepare_500, lap_encode_whole, 0, 0 },
	{ "brotli-decode-500B", "streams", prepare_packed, lap_decode_messages, 0, 0 },
	{ 0 },
};
