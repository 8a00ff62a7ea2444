/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Options: the errors of bufpool_option_get and _set, round trips, the facts, and BUFPOOL_CONF as a started program
 * sees it (tests/api/helper.c).
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(options, .timeout = 30);

static const char *const keys[] = { "mode", "cap", "budget", "epoch_ms", "background", "percpu", "thp", "check",
	"leaks", "misuse", "stats_print", "stats_path", "leaks_path", "abort_conf", "confirm_conf" };

static char value[256];

static const char *get(const char *key)
{
	cr_assert_eq(bufpool_option_get(value, sizeof(value), key), 0, "%s", key);
	return value;
}

static bool contains(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

Test(options, every_key_has_a_value)
{
	for (size_t i = 0; i < T_COUNT(keys); i++) {
		memset(value, 0x5a, sizeof(value));
		get(keys[i]);
		cr_assert_not_null(memchr(value, 0, sizeof(value)), "%s is not terminated", keys[i]);
	}
}

Test(options, facts)
{
	get("percpu");
	cr_assert(!strcmp(value, "rseq") || !strcmp(value, "fallback") || !strcmp(value, "pass"), "percpu %s", value);
	get("mode");
	cr_assert(!strcmp(value, "pool") || !strcmp(value, "pass"), "mode %s", value);
	cr_assert_gt(strlen(get("backend")), 0);
}

Test(options, defaults)
{
	struct t_result r;

	unsetenv("BUFPOOL_CONF");
	t_helper(&r, "option", "cap", NULL);
	cr_assert_str_eq(r.text, "65536\n");
	t_helper(&r, "option", "epoch_ms", NULL);
	cr_assert_str_eq(r.text, "1000\n");
	t_helper(&r, "option", "mode", NULL);
	cr_assert_str_eq(r.text, "pool\n");
	t_helper(&r, "option", "misuse", NULL);
	cr_assert_str_eq(r.text, "abort\n");
}

Test(options, unknown_key_is_ENOENT)
{
	static const char *const unknown[] = { "", "nothing", "caps", "ca", "cap:", "CAP", " cap" };

	for (size_t i = 0; i < T_COUNT(unknown); i++) {
		strcpy(value, "as before");
		cr_assert_eq(bufpool_option_get(value, sizeof(value), unknown[i]), -ENOENT, "\"%s\"", unknown[i]);
		cr_assert_str_eq(value, "as before");
		cr_assert_eq(bufpool_option_set(unknown[i], "1"), -ENOENT, "\"%s\"", unknown[i]);
	}
}

Test(options, too_little_room_is_ERANGE)
{
	char exact[64];
	const size_t n = strlen(get("cap"));

	for (size_t size = 0; size <= n; size++) {
		memset(exact, 0x5a, sizeof(exact));
		cr_assert_eq(bufpool_option_get(exact, size, "cap"), -ERANGE, "%zu bytes", size);
		cr_assert(t_all(exact, sizeof(exact), 0x5a), "out-parameters are untouched on failure");
	}
	memset(exact, 0x5a, sizeof(exact));
	cr_assert_eq(bufpool_option_get(exact, n + 1, "cap"), 0);
	cr_assert_str_eq(exact, value);
	cr_assert(t_all(exact + n + 1, sizeof(exact) - n - 1, 0x5a));
}

Test(options, what_was_set_is_what_is_got)
{
	static const char *const pairs[][2] = { { "epoch_ms", "250" }, { "epoch_ms", "1000" }, { "budget", "33554432" },
		{ "misuse", "report" }, { "misuse", "abort" } };

	for (size_t i = 0; i < T_COUNT(pairs); i++) {
		cr_assert_eq(bufpool_option_set(pairs[i][0], pairs[i][1]), 0, "%s:%s", pairs[i][0], pairs[i][1]);
		cr_assert_str_eq(get(pairs[i][0]), pairs[i][1]);
	}
}

Test(options, no_such_value_is_EINVAL_and_changes_nothing)
{
	static const char *const pairs[][2] = { { "epoch_ms", "" }, { "epoch_ms", "abc" }, { "epoch_ms", "-5" },
		{ "epoch_ms", "12x" }, { "epoch_ms", "99999999999999999999999" }, { "budget", "" },
		{ "budget", "much" }, { "budget", "-1" }, { "misuse", "" }, { "misuse", "ignore" },
		{ "misuse", "aborted" }, { "mode", "poo" }, { "mode", "" }, { "cap", "0" }, { "cap", "x" },
		{ "cap", "4095" }, { "cap", "4194305" } };

	for (size_t i = 0; i < T_COUNT(pairs); i++) {
		char before[256];

		strcpy(before, get(pairs[i][0]));
		cr_assert_eq(bufpool_option_set(pairs[i][0], pairs[i][1]), -EINVAL, "%s:%s", pairs[i][0],
			     pairs[i][1]);
		cr_assert_str_eq(get(pairs[i][0]), before);
	}
}

Test(options, what_start_up_fixed_is_EPERM)
{
	char before[256];

	bufpool_release(bufpool_acquire(100));
	strcpy(before, get("percpu"));
	cr_assert_eq(bufpool_option_set("percpu", "fallback"), -EPERM);
	cr_assert_str_eq(get("percpu"), before);
	cr_assert_eq(bufpool_option_set("cap", "8192"), -EPERM, "after first use");
	cr_assert_str_eq(get("cap"), "65536");
	cr_assert_eq(bufpool_option_set("backend", "shared"), -EPERM);
}

Test(options, mode_pass_goes_straight_to_jemalloc_and_back)
{
	struct t_owner o = { .random = 3 };
	unsigned wrong = 0;
	uint64_t passed;

	t_need_pool(1000);
	for (int i = 0; i < 300; i++)
		wrong += t_owner_step(&o);
	passed = t_stats().passed_through;
	cr_assert_eq(bufpool_option_set("mode", "pass"), 0);
	cr_assert_str_eq(get("mode"), "pass");
	for (int i = 0; i < 300; i++)
		wrong += t_owner_step(&o);
	bufpool_release(bufpool_acquire(1000));
	cr_assert_gt(t_stats().passed_through, passed);
	cr_assert_eq(bufpool_option_set("mode", "pool"), 0);
	/* Blocks of either mode are released in the other one. */
	wrong += t_owner_run(&o, 1000);
	cr_assert_eq(wrong, 0);
	cr_assert(t_balanced());
}

Test(options, BUFPOOL_CONF_is_read_at_start)
{
	static const char *const given[][3] = { { "epoch_ms:123", "epoch_ms", "123\n" },
		{ "cap:8192", "cap", "8192\n" }, { "misuse:report,epoch_ms:77", "misuse", "report\n" },
		{ "misuse:report,epoch_ms:77", "epoch_ms", "77\n" },
		{ "mode:pass", "mode", "pass\n" }, { "percpu:fallback", "percpu", "fallback\n" },
		{ "epoch_ms:15,epoch_ms:16", "epoch_ms", "16\n" }, { "budget:16777216", "budget", "16777216\n" } };
	struct t_result r;

	for (size_t i = 0; i < T_COUNT(given); i++) {
		t_helper(&r, "option", given[i][1], given[i][0]);
		cr_assert(t_exited(&r, 0), "%s", given[i][0]);
		cr_assert_str_eq(r.text, given[i][2], "%s", given[i][0]);
	}
}

Test(options, errors_in_BUFPOOL_CONF_are_named_and_survived)
{
	static const char *const wrong[] = { "nothing:1", "cap:abc", "cap", "misuse:ignore", "cap:100", ":,,:" };
	struct t_result r;

	for (size_t i = 0; i < T_COUNT(wrong); i++) {
		t_helper(&r, "option", "cap", wrong[i]);
		cr_assert(t_exited(&r, 0), "%s", wrong[i]);
		cr_assert(contains(r.text, "bufpool: "), "%s: no message in \"%s\"", wrong[i], r.text);
		cr_assert(contains(r.text, "65536\n"), "%s: \"%s\"", wrong[i], r.text);
	}
}

Test(options, abort_conf_aborts_on_errors_only)
{
	struct t_result r;

	t_helper(&r, "option", "cap", "abort_conf:true,nothing:1");
	cr_assert(t_aborted(&r), "%s", r.text);
	cr_assert(contains(r.text, "nothing"), "%s", r.text);
	t_helper(&r, "option", "cap", "abort_conf:true,cap:8192");
	cr_assert(t_exited(&r, 0));
}

Test(options, confirm_conf_says_what_holds)
{
	struct t_result r;

	t_helper(&r, "option", "misuse", "confirm_conf:true,epoch_ms:4321");
	cr_assert(t_exited(&r, 0));
	cr_assert(contains(r.text, "epoch_ms") && contains(r.text, "4321"), "%s", r.text);
}

Test(options, stats_print_prints_at_exit)
{
	struct t_result r;

	t_helper(&r, "use", NULL, "stats_print:true");
	cr_assert(t_exited(&r, 0));
	cr_assert_gt(strlen(r.text), 100, "%s", r.text);
	t_helper(&r, "use", NULL, NULL);
	cr_assert_str_eq(r.text, "");
}

static void run_into_file(char *text, size_t size, const char *name)
{
	char conf[128];
	struct t_result r;
	FILE *f;

	snprintf(conf, sizeof(conf), "stats_print:true,stats_path:%s", name);
	t_helper(&r, "use", NULL, conf);
	cr_assert(t_exited(&r, 0));
	cr_assert_str_eq(r.text, "");
	f = fopen(name, "r");
	cr_assert_not_null(f, "%s was not written", name);
	text[fread(text, 1, size - 1, f)] = '\0';
	fclose(f);
	remove(name);
}

Test(options, stats_path_says_where_and_by_its_end_how)
{
	static char text[65536];
	char name[64];

	snprintf(name, sizeof(name), "/tmp/api-options-%d.json", (int)getpid());
	run_into_file(text, sizeof(text), name);
	cr_assert_eq(strncmp(text, "{\"version\": ", 12), 0, "%s", text);
	snprintf(name, sizeof(name), "/tmp/api-options-%d.txt", (int)getpid());
	run_into_file(text, sizeof(text), name);
	cr_assert_eq(strncmp(text, "bufpool ", 8), 0, "%s", text);
}

Test(options, every_mode_works)
{
	static const char *const modes[] = { "mode:pool", "mode:pass", "percpu:fallback", "percpu:auto",
		"background:true", "thp:false", "budget:0", "budget:1048576", "cap:4096", "cap:4194304", "epoch_ms:10",
		"check:on", "misuse:report", "percpu:fallback,mode:pass", "background:true,epoch_ms:10" };
	struct t_result r;

	for (size_t i = 0; i < T_COUNT(modes); i++) {
		t_helper(&r, "use", NULL, modes[i]);
		cr_assert(t_exited(&r, 0), "%s: %s", modes[i], r.text);
	}
}

Test(options, version)
{
	unsigned major, minor, patch;
	char text[64];

	cr_assert_eq(bufpool_version(), BUFPOOL_VERSION);
	major = BUFPOOL_VERSION / 10000;
	minor = BUFPOOL_VERSION / 100 % 100;
	patch = BUFPOOL_VERSION % 100;
	snprintf(text, sizeof(text), "%u.%u.%u", major, minor, patch);
	cr_assert_str_eq(bufpool_version_string(), text);
}
