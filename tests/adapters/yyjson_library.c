/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The allocator for yyjson with the library itself, where there is one (Debian has it from 13 on). That the structure and
 * its functions do what yyjson expects of them is tested without it in yyjson.c.
 */
#include <yyjson.h>

#include <bufpool/adapters/yyjson.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(yyjson_library, .timeout = 60);

static const char small[] = "{\"name\":\"a name with \xc3\xa9 and \\\"quotes\\\"\",\"numbers\":[0,-1,2.5],"
			    "\"nested\":{\"empty\":{},\"list\":[[],[null,true,false]],\"text\":\"\"}}";

struct document {
	const char *text;
	size_t size;
	const yyjson_alc *alc; /* NULL: libc's */
};

/* Read, made changeable, changed and written. NULL where yyjson says that it failed; nothing is left then. */
static char *written(const struct document *d, size_t *size)
{
	yyjson_doc *read = yyjson_read_opts((char *)(uintptr_t)d->text, d->size, 0, d->alc, NULL);
	yyjson_mut_doc *doc = read ? yyjson_doc_mut_copy(read, d->alc) : NULL;
	yyjson_mut_val *list = doc ? yyjson_mut_arr(doc) : NULL;
	char *text = NULL;

	for (int i = 0; list && i < 100; i++)
		if (!yyjson_mut_arr_add_int(doc, list, i))
			list = NULL;
	if (list && yyjson_mut_arr_append(list, yyjson_mut_doc_get_root(doc))) {
		yyjson_mut_doc_set_root(doc, list);
		text = yyjson_mut_write_opts(doc, YYJSON_WRITE_PRETTY, d->alc, size, NULL);
	}
	yyjson_mut_doc_free(doc);
	yyjson_doc_free(read);
	return text;
}

static void is_written_as_without(struct bufpool *pool)
{
	const yyjson_alc alc = bufpool_yyjson_alc(pool);
	size_t size, with_size, without_size;
	char *text = t_read_json(&size), *with, *without;

	without = written(&(struct document){ text, size, NULL }, &without_size);
	cr_assert_not_null(without);
	t_begin();
	with = written(&(struct document){ text, size, &alc }, &with_size);
	cr_assert_not_null(with);
	cr_assert_eq(t_out(), 1);
	cr_assert_gt(t_asked(), 3);
	cr_assert_eq(with_size, without_size);
	cr_assert_eq(memcmp(with, without, with_size), 0);
	bufpool_release(with);
	t_end();
	free(without);
	free(text);
}

Test(yyjson_library, a_document_comes_out_as_without_hooks)
{
	is_written_as_without(NULL);
}

Test(yyjson_library, a_pool_of_ones_own)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	struct bufpool *pool;

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	is_written_as_without(pool);
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_gt(s.acquired + s.passed_through, 3);
	cr_assert_eq(s.in_use, 0);
	bufpool_destroy(pool);
}

static enum t_outcome read_and_write(void *document)
{
	size_t size;
	char *text = written(document, &size);

	if (!text)
		return T_REPORTED;
	cr_assert_not_null(strstr(text, "\\\"quotes\\\""));
	bufpool_release(text);
	return T_DONE;
}

Test(yyjson_library, every_refusal_is_reported)
{
	const yyjson_alc alc = bufpool_yyjson_alc(NULL);
	struct document d = { small, strlen(small), &alc };
	struct t_sweep s;

	t_begin();
	s = t_sweep(read_and_write, &d);
	cr_assert_gt(s.asked, 3);
	cr_assert_eq(s.reported, 2 * s.asked);
	t_end();
}
