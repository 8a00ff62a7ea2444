/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Jansson through its hooks, which are the process's: what is compared with is made in the same test before they are
 * set. There nothing of Jansson's may be alive any more, except what it never frees.
 */
#include <jansson.h>

#include <bufpool/adapters/jansson.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(jansson, .timeout = 60);

static void release_text(char *text)
{
	json_free_t release;

	json_get_alloc_funcs(NULL, &release);
	release(text);
}

/* From libc's malloc, whatever the hooks are. */
static char *loaded_and_dumped(const char *text)
{
	json_error_t error;
	json_t *value = json_loads(text, 0, &error);
	char *dumped, *copy;

	cr_assert_not_null(value, "%s", error.text);
	dumped = json_dumps(value, JSON_INDENT(2));
	cr_assert_not_null(dumped);
	copy = strdup(dumped);
	release_text(dumped);
	json_decref(value);
	return copy;
}

Test(jansson, a_document_comes_out_as_without_hooks)
{
	t_json_same(bufpool_jansson_install_process, loaded_and_dumped);
}

Test(jansson, dumped_text_is_a_block_of_the_pool)
{
	json_t *value;
	char *text;

	t_begin();
	bufpool_jansson_install_process();
	value = json_pack("{s:i, s:[s, b, n]}", "n", 7, "list", "text", 1);
	cr_assert_gt(t_out(), 5);
	text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS);
	cr_assert_str_eq(text, "{\"list\":[\"text\",true,null],\"n\":7}");
	bufpool_release(text);
	json_decref(value);
	t_end();
}

static enum t_outcome load_and_dump(void *expected)
{
	json_error_t error;
	json_t *value = json_loads(t_json_small, 0, &error);
	char *text = value ? json_dumps(value, JSON_INDENT(2)) : NULL;
	const enum t_outcome outcome = !text ? T_REPORTED : !strcmp(text, expected) ? T_DONE : T_WRONG;

	release_text(text);
	json_decref(value);
	return outcome;
}

static enum t_outcome pack_and_copy(void *unused)
{
	json_t *value = json_pack("{s:i, s:[s, f, {s:s}], s:s+}", "n", 7, "list", "text", 2.5, "k", "v", "sum", "a",
				  "b");
	json_t *copy = value ? json_deep_copy(value) : NULL;
	const enum t_outcome outcome = copy ? T_DONE : T_REPORTED;

	(void)unused;
	if (copy)
		cr_assert(json_equal(copy, value));
	json_decref(copy);
	json_decref(value);
	return outcome;
}

/* Jansson 2.14 does not look whether its lexer's buffer grew: a refusal there costs a string its last byte, silently.
 * */
Test(jansson, every_refusal_is_reported_as_with_libc)
{
	char *expected = loaded_and_dumped(t_json_small);
	struct t_sweep adapter, libc;

	t_begin();
	json_set_alloc_funcs(t_libc_malloc, t_libc_free);
	libc = t_sweep(load_and_dump, expected);
	bufpool_jansson_install_process();
	adapter = t_sweep(load_and_dump, expected);
	t_expect_same(&adapter, &libc);
	cr_assert_gt(adapter.asked, 20);
	cr_assert_gt(adapter.reported, adapter.asked);
	adapter = t_sweep(pack_and_copy, NULL);
	cr_assert_eq(adapter.reported, 2 * adapter.asked);
	t_end();
	free(expected);
}
