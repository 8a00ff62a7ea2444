/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The input is meson's description of the build: some 100 kB or more of JSON that is different on every machine, so
 * results are compared with those of the same library without hooks.
 */
#include "codec.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

struct material {
	const struct t_codec *codec;
	unsigned char *text, *packed, *made;
	size_t text_size, packed_size, room;
};

static void make(struct material *m, const struct t_codec *codec)
{
	struct t_job job;

	m->codec = codec;
	m->text = (unsigned char *)t_read_json(&m->text_size);
	m->room = m->text_size + 1024;
	m->packed = malloc(m->room);
	m->made = malloc(m->room);
	cr_assert(m->packed && m->made);
	job = (struct t_job){ .in = m->text, .size = m->text_size, .out = m->packed, .room = m->room };
	cr_assert(codec->pack(&job));
	cr_assert(job.made > 1000 && job.made < m->text_size);
	m->packed_size = job.made;
}

static void unmake(struct material *m)
{
	free(m->text);
	free(m->packed);
	free(m->made);
}

static bool pack(const struct material *m, struct bufpool *pool)
{
	struct t_job job = { .in = m->text, .size = m->text_size, .out = m->made, .room = m->room, .hooked = true,
		.pool = pool };

	if (!m->codec->pack(&job))
		return false;
	cr_assert_eq(job.made, m->packed_size);
	cr_assert(!memcmp(m->made, m->packed, job.made));
	return true;
}

static bool unpack(const struct material *m, struct bufpool *pool)
{
	struct t_job job = { .in = m->packed, .size = m->packed_size, .out = m->made, .room = m->room, .hooked = true,
		.pool = pool };

	if (!m->codec->unpack(&job))
		return false;
	cr_assert_eq(job.made, m->text_size);
	cr_assert(!memcmp(m->made, m->text, job.made));
	return true;
}

void t_codec_same(const struct t_codec *codec)
{
	struct material m;

	make(&m, codec);
	t_begin();
	cr_assert(pack(&m, NULL));
	cr_assert_geq(t_asked(), codec->pack_asks);
	t_books();
	cr_assert(unpack(&m, NULL));
	cr_assert_geq(t_asked(), codec->unpack_asks);
	t_end();
	unmake(&m);
}

void t_codec_own_pool(const struct t_codec *codec)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	struct bufpool *pool;
	struct material m;

	make(&m, codec);
	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	t_begin();
	cr_assert(pack(&m, pool) && unpack(&m, pool));
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_eq(s.acquired, t_asked());
	cr_assert_eq(s.released, s.acquired);
	cr_assert_eq(s.in_use, 0);
	t_end();
	bufpool_destroy(pool);
	unmake(&m);
}

static enum t_outcome pack_work(void *m)
{
	return pack(m, NULL) ? T_DONE : T_REPORTED;
}

static enum t_outcome unpack_work(void *m)
{
	return unpack(m, NULL) ? T_DONE : T_REPORTED;
}

static void sweep(const struct material *m, t_work *work, size_t asks)
{
	struct t_sweep s = t_sweep(work, (void *)m);

	cr_assert_geq(s.asked, asks);
	cr_assert_geq(s.reported, s.survived);
}

void t_codec_refusals(const struct t_codec *codec)
{
	struct material m;

	make(&m, codec);
	t_begin();
	sweep(&m, pack_work, codec->pack_asks);
	sweep(&m, unpack_work, codec->unpack_asks);
	t_end();
	unmake(&m);
}

void t_codec_unpack_refusals(const struct t_codec *codec)
{
	struct material m;

	make(&m, codec);
	t_begin();
	sweep(&m, unpack_work, codec->unpack_asks);
	t_end();
	unmake(&m);
}
