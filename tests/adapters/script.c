/* SPDX-License-Identifier: BSD-2-Clause */
#include "script.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

void t_script_begin(struct t_script *script, t_script_run *run, const char *path, int rounds)
{
	*script = (struct t_script){ .run = run, .rounds = rounds };
	script->text = t_read(&script->size, path);
	script->expected = run(script);
	cr_assert_not_null(script->expected);
	script->hooked = true;
}

void t_script_end(struct t_script *script)
{
	free(script->text);
	free(script->expected);
}

enum t_outcome t_script_work(void *script)
{
	const struct t_script *s = script;
	char *result = s->run(s);

	if (!result)
		return T_REPORTED;
	cr_assert_str_eq(result, s->expected);
	free(result);
	return T_DONE;
}

void t_script_same(t_script_run *run, const char *path, int rounds, size_t asks)
{
	struct t_script script;

	t_script_begin(&script, run, path, rounds);
	cr_assert_gt(strlen(script.expected), 100);
	t_begin();
	cr_assert_eq(t_script_work(&script), T_DONE);
	cr_assert_gt(t_asked(), asks);
	t_end();
	t_script_end(&script);
}

void t_script_own_pool(t_script_run *run, const char *path)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	struct t_script script;

	t_script_begin(&script, run, path, 10);
	cr_assert_eq(bufpool_create(&script.pool, NULL), 0);
	t_begin();
	cr_assert_eq(t_script_work(&script), T_DONE);
	cr_assert_eq(bufpool_stats_get(&s, script.pool), 0);
	cr_assert_gt(s.acquired + s.passed_through, 1000);
	cr_assert_eq(s.in_use, 0);
	t_end();
	bufpool_destroy(script.pool);
	t_script_end(&script);
}
