/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named pools in processes that are started in a special way: in little address space, with options that are read at the
 * start, under valgrind and under the shim. What they do is in pools_tool.c.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

TestSuite(pools_limits, .timeout = 120);

static void expect_well(const char *command, const char *argument, const char *conf, size_t mb)
{
	const char *const argv[] = { T_POOLS_TOOL, command, argument, NULL };
	struct t_result r;

	t_program(&r, argv, conf, mb << 20);
	cr_assert(t_exited(&r, 0), "%s %s, conf %s, in %zu MB: status %x, %s", command, argument ? argument : "",
		  conf ? conf : "", mb, r.status, r.text);
}

Test(pools_limits, ordinary_work)
{
	expect_well("use", "100", NULL, 0);
}

Test(pools_limits, ordinary_work_with_other_options)
{
	static const char *const confs[] = { "mode:pass", "percpu:fallback", "percpu:fallback,mode:pass",
		"background:true,epoch_ms:10", "thp:true", "check:strict", "cap:4096", "cap:4194304", "budget:1048576" };

	for (size_t i = 0; i < T_COUNT(confs); i++)
		expect_well("use", "30", confs[i], 0);
}

Test(pools_limits, ordinary_work_in_little_space)
{
	static const size_t limits_mb[] = { 64, 128, 300, 1024, 5000 };

	for (size_t i = 0; i < T_COUNT(limits_mb); i++)
		expect_well("use", "20", NULL, limits_mb[i]);
}

Test(pools_limits, blocks_until_there_are_none)
{
	static const char *const bytes[] = { "1000", "16384", "65536" };
	static const size_t limits_mb[] = { 128, 300, 1024 };

	for (size_t i = 0; i < T_COUNT(limits_mb); i++)
		for (size_t k = 0; k < T_COUNT(bytes); k++)
			expect_well("exhaust", bytes[k], NULL, limits_mb[i]);
}

Test(pools_limits, pools_until_there_are_none)
{
	expect_well("many", NULL, NULL, 0);
	expect_well("many", NULL, NULL, 1024);
	expect_well("many", NULL, NULL, 256);
}

Test(pools_limits, the_background_thread_looks_after_them)
{
	expect_well("background", NULL, "background:true,epoch_ms:20", 0);
}

Test(pools_limits, under_valgrind)
{
	const char *const argv[] = { "valgrind", "-q", "--error-exitcode=9", T_POOLS_TOOL, "use", "2", NULL };
	struct t_result r;

	if (!t_have("valgrind"))
		cr_skip_test("valgrind is not installed");
	t_program(&r, argv, NULL, 0);
	cr_assert(t_exited(&r, 0), "status %x, %s", r.status, r.text);
}

Test(pools_limits, under_the_shim)
{
	const char *const argv[] = { "env", "LD_PRELOAD=" T_SHIM, T_POOLS_TOOL, "shim", NULL };
	const char *const ordinary[] = { "env", "LD_PRELOAD=" T_SHIM, T_POOLS_TOOL, "background", NULL };
	struct t_result r;

	if (!*T_SHIM)
		cr_skip_test("no preloading under a sanitizer");
	t_program(&r, argv, NULL, 0);
	cr_assert(t_exited(&r, 0), "status %x, %s", r.status, r.text);
	t_program(&r, ordinary, "background:true,epoch_ms:20", 0);
	cr_assert(t_exited(&r, 0), "status %x, %s", r.status, r.text);
}
