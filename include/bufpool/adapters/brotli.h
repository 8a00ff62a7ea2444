/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: Brotli's encoders and decoders from a pool.
 *
 *	#include <brotli/decode.h>
 *	#include <bufpool/adapters/brotli.h>
 *
 *	BrotliDecoderState *decoder = bufpool_brotli_decoder_create(NULL);
 *
 * What they allocate: a decoder some 20 kB and a window as large as the text, up to 16 MB; an encoder 9 kB at quality
 * 0, above a table of 256 KiB to 2 MiB by quality, and 9 MB more where the text is long. What is over the cap of the
 * pool, 64 KiB in the default one, isn't kept: give encoders a pool of their own, whose cap is 4 MiB
 * (bufpool_create). Where a decoder gets no memory it says so; the encoder of 1.0.9, as Debian builds it, calls
 * exit(1), with these hooks as without.
 *
 * Who frees: BrotliEncoderDestroyInstance, BrotliDecoderDestroyInstance, everything; what the TakeOutput functions
 * return is theirs, too. BrotliEncoderCompress and BrotliDecoderDecompress have no hook and use malloc.
 */
#ifndef BUFPOOL_ADAPTERS_BROTLI_H
#define BUFPOOL_ADAPTERS_BROTLI_H

#include "bufpool/adapters/shapes.h"

#ifdef BROTLI_ENC_ENCODE_H_

/* NULL where there is no memory. */
static inline BrotliEncoderState *bufpool_brotli_encoder_create(struct bufpool *pool)
{
	return BrotliEncoderCreateInstance(bufpool_hook_ctx_malloc, bufpool_hook_ctx_free, pool);
}

#endif
#ifdef BROTLI_DEC_DECODE_H_

/* NULL where there is no memory. */
static inline BrotliDecoderState *bufpool_brotli_decoder_create(struct bufpool *pool)
{
	return BrotliDecoderCreateInstance(bufpool_hook_ctx_malloc, bufpool_hook_ctx_free, pool);
}

#endif
#endif
