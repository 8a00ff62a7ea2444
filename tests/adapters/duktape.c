/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Duktape on a pool. The script (data/script.js) makes objects, strings, arrays, buffers, closures, errors and JSON;
 * its result must be that of a heap on malloc.
 */
#include <duktape.h>

#include <bufpool/adapters/duktape.h>
#include "script.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(duktape, .timeout = 120);

/* The script's value is a function; all of it under a protected call. */
static duk_ret_t work(duk_context *ctx, void *user_data)
{
	const struct t_script *script = user_data;

	duk_push_string(ctx, "script.js");
	duk_compile_lstring_filename(ctx, DUK_COMPILE_EVAL, script->text, script->size);
	duk_call(ctx, 0);
	duk_push_int(ctx, script->rounds);
	duk_call(ctx, 1);
	return 1;
}

/* The script's result, from malloc; NULL where Duktape said that it has no memory. */
static char *result(duk_context *ctx, const struct t_script *script)
{
	char *text = NULL;

	if (!ctx)
		return NULL;
	if (duk_safe_call(ctx, work, (void *)script, 0, 1) == DUK_EXEC_SUCCESS) {
		text = strdup(duk_get_string(ctx, -1));
	} else {
		const char *error;

		t_refuse(0, false); /* looking at the error needs memory */
		error = duk_safe_to_string(ctx, -1);
		cr_assert(strstr(error, "alloc failed") || strstr(error, "DoubleError"), "%s", error);
	}
	duk_destroy_heap(ctx);
	return text;
}

static char *run(const struct t_script *script)
{
	return result(script->hooked ? bufpool_duktape_create(script->pool, NULL) : duk_create_heap_default(), script);
}

Test(duktape, a_script_gives_what_it_gives_without_hooks)
{
	t_script_same(run, "script.js", 100, 10000);
}

Test(duktape, a_stolen_buffer_is_a_block_of_the_pool)
{
	duk_context *ctx;
	duk_size_t size;
	void *p, *stolen;

	t_begin();
	ctx = bufpool_duktape_create(NULL, NULL);
	cr_assert_not_null(ctx);
	p = duk_alloc(ctx, 1000);
	cr_assert_not_null(p);
	p = duk_realloc(ctx, p, 5000);
	cr_assert_not_null(p);
	duk_free(ctx, p);
	memset(duk_push_dynamic_buffer(ctx, 3000), 'b', 3000);
	stolen = duk_steal_buffer(ctx, -1, &size);
	cr_assert_eq(size, 3000);
	duk_destroy_heap(ctx);
	cr_assert_eq(t_out(), 1);
	cr_assert(((char *)stolen)[0] == 'b' && ((char *)stolen)[2999] == 'b');
	bufpool_release(stolen);
	t_end();
}

Test(duktape, a_pool_of_ones_own)
{
	t_script_own_pool(run, "script.js");
}

/* ---- refusals ---- */

/* One request refused makes Duktape collect and ask again; only the first few, of the heap itself, are its end. */
Test(duktape, one_refusal_is_survived)
{
	struct t_script script;
	size_t nth = 0, reported = 0;

	t_script_begin(&script, run, "script.js", 1);
	t_begin();
	do {
		t_books();
		t_refuse(++nth, false);
		reported += t_script_work(&script) == T_REPORTED;
		cr_assert_eq(t_out(), 0, "refusal %zu", nth);
	} while (t_refused() > 0);
	cr_assert_gt(nth, 1000);
	cr_assert(reported > 0 && reported < 10, "%zu of %zu were reported", reported, nth);
	t_end();
	t_script_end(&script);
}

/* No memory at all any more. Not while the heap is being made: Duktape 2.7 then raises errors about errors until its
 * stack overflows, on malloc just the same. */
Test(duktape, no_memory_is_reported)
{
	struct t_script script;
	size_t nth = 0;
	char *text;

	t_script_begin(&script, run, "script.js", 1);
	t_begin();
	do {
		duk_context *ctx = bufpool_duktape_create(NULL, NULL);

		cr_assert_not_null(ctx);
		t_refuse(++nth, true);
		text = result(ctx, &script);
		cr_assert((text == NULL) == (t_refused() > 0), "refusal %zu", nth);
		t_books();
		cr_assert_eq(t_out(), 0, "refusal %zu", nth);
	} while (!text);
	cr_assert_str_eq(text, script.expected);
	cr_assert_gt(nth, 300);
	free(text);
	t_end();
	t_script_end(&script);
}
