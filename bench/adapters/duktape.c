/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Duktape: a script from a heap's creation to its end (which is mostly the built-in objects), and one that makes some
 * thousand objects in a heap that stays.
 */
#include "workload.h"

#include <duktape.h>

#include <bufpool/adapters/duktape.h>

static const char script[] =
	"(function (n) {\n"
	"	var list = [], sum = 0;\n"
	"	for (var i = 0; i < n; i++) {\n"
	"		list.push({ id: i, name: 'name ' + i, next: function () { return this.id + 1; } });\n"
	"		sum += list[i].name.split(' ').length;\n"
	"	}\n"
	"	return sum + JSON.parse(JSON.stringify(list)).length;\n"
	"})";

static duk_context *ctx;

void bench_install(void)
{
}

static void create(void)
{
	ctx = bench_hooked ? bufpool_duktape_create(NULL, NULL) : duk_create_heap_default();
	bench_expect(ctx != NULL, "Duktape: no heap");
	duk_eval_string(ctx, script);
}

static void run(int n)
{
	duk_dup(ctx, 0);
	duk_push_int(ctx, n);
	bench_expect(duk_pcall(ctx, 1) == DUK_EXEC_SUCCESS && duk_get_int(ctx, -1) == 3 * n, "Duktape: a wrong result");
	duk_pop(ctx);
}

static size_t lap_small(void)
{
	for (int i = 0; i < 5; i++) {
		create();
		run(10);
		duk_destroy_heap(ctx);
	}
	return 5;
}

static size_t lap_objects(void)
{
	run(1000);
	return 1;
}

const struct bench_workload bench_workloads[] = {
	{ "duktape-small", "scripts", NULL, lap_small, 0, 0 },
	{ "duktape-objects", "scripts", create, lap_objects, 0, 0 },
	{ 0 },
};
