/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The allocator for yyjson without the library (with it: yyjson_library.c). What is tested is the structure, declared here as
 * its header does it, and its functions in the way that library calls them: a document's values are one block that is
 * shrunk at the end, a writer's text one that grows, and each resize says the old size.
 */
#include <stddef.h>

#define YYJSON_H
typedef struct yyjson_alc {
	void *(*malloc)(void *ctx, size_t size);
	void *(*realloc)(void *ctx, void *ptr, size_t old_size, size_t size);
	void (*free)(void *ctx, void *ptr);
	void *ctx;
} yyjson_alc;

#include <bufpool/adapters/yyjson.h>
#include "support.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(yyjson, .timeout = 60);

/* A text of `length` bytes, written a byte at a time as into a buffer that doubles. NULL: refused, and nothing is
 * left. */
static char *written(const yyjson_alc *alc, size_t length)
{
	size_t size = 64;
	char *text = alc->malloc(alc->ctx, size);

	for (size_t i = 0; text && i <= length; i++) {
		if (i == size) {
			char *grown = alc->realloc(alc->ctx, text, size, 2 * size);

			if (!grown) {
				alc->free(alc->ctx, text);
				return NULL;
			}
			text = grown;
			size *= 2;
		}
		text[i] = i == length ? 0 : (char)('a' + i % 26);
	}
	return text;
}

static bool as_written(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (text[i] != (char)('a' + i % 26))
			return false;
	return strlen(text) == length;
}

Test(yyjson, a_growing_text_keeps_its_content)
{
	const yyjson_alc alc = bufpool_yyjson_alc(NULL);

	t_begin();
	for (size_t length = 1; length < 3000000; length = length * 3 + 1) {
		char *text = written(&alc, length);

		cr_assert_eq(t_out(), 1);
		cr_assert(as_written(text, length));
		bufpool_release(text); /* as the header says of texts */
	}
	t_end();
}

Test(yyjson, blocks_are_the_named_pool_s)
{
	const struct bufpool_conf conf = { .size = sizeof(conf), .name = "documents" };
	struct bufpool_stats s = { .size = sizeof(s) };
	struct bufpool *pool;
	char mode[16] = "";
	yyjson_alc alc;
	char *text;

	bufpool_option_get(mode, sizeof(mode), "mode");
	if (!strcmp(mode, "pass"))
		cr_skip_test("mode:pass");
	t_begin();
	cr_assert_eq(bufpool_create(&pool, &conf), 0);
	alc = bufpool_yyjson_alc(pool);
	text = written(&alc, 10000);
	cr_assert(as_written(text, 10000));
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_eq(s.in_use, 1);
	alc.free(alc.ctx, text);
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_eq(s.in_use, 0);
	bufpool_destroy(pool);
	t_end();
}

Test(yyjson, values_are_shrunk_and_freed)
{
	const yyjson_alc alc = bufpool_yyjson_alc(NULL);
	char *values, *shrunk;

	t_begin();
	values = alc.malloc(alc.ctx, 300000);
	cr_assert_not_null(values);
	memset(values, 7, 300000);
	shrunk = alc.realloc(alc.ctx, values, 300000, 1000);
	cr_assert_not_null(shrunk);
	for (size_t i = 0; i < 1000; i++)
		cr_assert_eq(shrunk[i], 7);
	alc.free(alc.ctx, shrunk);
	t_end();
}

static enum t_outcome write_text(void *alc)
{
	char *text = written(alc, 100000);

	if (!text)
		return T_REPORTED;
	cr_assert(as_written(text, 100000));
	((yyjson_alc *)alc)->free(((yyjson_alc *)alc)->ctx, text);
	return T_DONE;
}

Test(yyjson, a_refused_resize_leaves_the_block)
{
	yyjson_alc alc = bufpool_yyjson_alc(NULL);
	struct t_sweep s;

	t_begin();
	s = t_sweep(write_text, &alc);
	cr_assert_eq(s.reported, 2 * s.asked);
	cr_assert_eq(s.asked, 12); /* 64 bytes doubled until they hold 100001 */
	t_end();
}
