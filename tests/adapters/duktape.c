/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Duktape on a pool. The script (data/script.js) makes objects, strings, arrays, buffers, closures, errors and JSON;
 * its result must be that of a heap on malloc.
 */
#include <duktape.h>

#include <bufpool/adapters/duktape.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(duktape, .timeout = 120);

struct task {
	const char *script;
	size_t size;
	int rounds;
	char *expected;
	struct bufpool *pool;
};

/* The script's value is a function; all of it under a protected call. */
static duk_ret_t work(duk_context *ctx, void *user_data)
{
	const struct task *task = user_data;

	duk_push_string(ctx, "script.js");
	duk_compile_lstring_filename(ctx, DUK_COMPILE_EVAL, task->script, task->size);
	duk_call(ctx, 0);
	duk_push_int(ctx, task->rounds);
	duk_call(ctx, 1);
	return 1;
}

/* The script's result, from malloc; NULL where Duktape said that it has no memory. */
static char *result(duk_context *ctx, const struct task *task)
{
	char *text = NULL;

	if (!ctx)
		return NULL;
	if (duk_safe_call(ctx, work, (void *)task, 0, 1) == DUK_EXEC_SUCCESS) {
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

static void prepare(struct task *task, int rounds)
{
	task->script = t_read(&task->size, "script.js");
	task->rounds = rounds;
	task->pool = NULL;
	task->expected = result(duk_create_heap_default(), task);
	cr_assert_not_null(task->expected);
}

static void done(struct task *task)
{
	free((char *)task->script);
	free(task->expected);
}

static enum t_outcome run(void *ctx)
{
	const struct task *task = ctx;
	char *text = result(bufpool_duktape_create(task->pool, NULL), task);

	if (!text)
		return T_REPORTED;
	cr_assert_str_eq(text, task->expected);
	free(text);
	return T_DONE;
}

Test(duktape, a_script_gives_what_it_gives_without_hooks)
{
	struct task task;

	prepare(&task, 100);
	cr_assert_gt(strlen(task.expected), 100);
	t_begin();
	cr_assert_eq(run(&task), T_DONE);
	cr_assert_gt(t_asked(), 10000);
	t_end();
	done(&task);
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
	struct bufpool_stats s = { .size = sizeof(s) };
	struct task task;

	prepare(&task, 10);
	cr_assert_eq(bufpool_create(&task.pool, NULL), 0);
	t_begin();
	cr_assert_eq(run(&task), T_DONE);
	cr_assert_eq(bufpool_stats_get(&s, task.pool), 0);
	cr_assert_gt(s.acquired + s.passed_through, 1000);
	cr_assert_eq(s.in_use, 0);
	t_end();
	bufpool_destroy(task.pool);
	done(&task);
}

/* ---- refusals ---- */

/* One request refused makes Duktape collect and ask again; only the first few, of the heap itself, are its end. */
Test(duktape, one_refusal_is_survived)
{
	struct task task;
	size_t nth = 0, reported = 0;

	prepare(&task, 1);
	t_begin();
	do {
		t_books();
		t_refuse(++nth, false);
		reported += run(&task) == T_REPORTED;
		cr_assert_eq(t_out(), 0, "refusal %zu", nth);
	} while (t_refused() > 0);
	cr_assert_gt(nth, 1000);
	cr_assert(reported > 0 && reported < 10, "%zu of %zu were reported", reported, nth);
	t_end();
	done(&task);
}

/* No memory at all any more. Not while the heap is being made: Duktape 2.7 then raises errors about errors until its
 * stack overflows, on malloc just the same. */
Test(duktape, no_memory_is_reported)
{
	struct task task;
	size_t nth = 0;
	char *text;

	prepare(&task, 1);
	t_begin();
	do {
		duk_context *ctx = bufpool_duktape_create(NULL, NULL);

		cr_assert_not_null(ctx);
		t_refuse(++nth, true);
		text = result(ctx, &task);
		cr_assert((text == NULL) == (t_refused() > 0), "refusal %zu", nth);
		t_books();
		cr_assert_eq(t_out(), 0, "refusal %zu", nth);
	} while (!text);
	cr_assert_str_eq(text, task.expected);
	cr_assert_gt(nth, 300);
	free(text);
	t_end();
	done(&task);
}
