/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What every compressor's adapter must show, whichever it is: the file of a library brings two functions that pack and
 * unpack, and says how they end.
 */
#ifndef BUFPOOL_TESTS_ADAPTERS_CODEC_H
#define BUFPOOL_TESTS_ADAPTERS_CODEC_H

#include "support.h"

struct t_job {
	const unsigned char *in;
	size_t size;
	unsigned char *out;
	size_t room;
	size_t made; /* set by the run: what is in out now */
	bool hooked; /* the adapter is to be used, with `pool` */
	struct bufpool *pool;
};

/* One run from creating to destroying. False where the library reports that it got no memory; asserts whatever
 * else is wrong. */
typedef bool t_run(struct t_job *job);

struct t_codec {
	t_run *pack, *unpack;
	size_t pack_asks, unpack_asks; /* requests that a run makes at least */
};

/* With hooks comes out what comes out without them, in both directions. */
void t_codec_same(const struct t_codec *codec);
/* The blocks are those of the pool that the adapter was given. */
void t_codec_own_pool(const struct t_codec *codec);
/* Each refused request is either reported or done without; at least half of the runs are reported. */
void t_codec_refusals(const struct t_codec *codec);
/* The same where packing ends the process, as the library means it to. */
void t_codec_unpack_refusals(const struct t_codec *codec);

#endif
