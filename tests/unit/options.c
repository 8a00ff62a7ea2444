/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The options' grammar, their ranges, and who may set what when. Each test is a process, so each starts from the built-in
 * values.
 */
#include "cache/options.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static int set(const char *key, const char *value, bool starting)
{
	return bp_options_set(key, strlen(key), value, strlen(value), starting);
}

static const char *get(const char *key)
{
	static char value[BP_PATH_MAX];
	cr_assert_eq(bp_options_get(value, sizeof(value), key), 0);
	return value;
}

#define TOO_LONG "a-name-of-more-than-63-bytes-is-not-the-name-of-a-program-that-anybody-runs"
static const struct row {
	const char *key, *preset, *good, *becomes, *bad[6];
	bool live;
} rows[] = {
	{ "mode", "pool", "pass", "pass", { "", "Pool", "poo", "pools", "0", "pool " }, true },
	{ "cap", "65536", "4k", "4096", { "4095", "4194305", "", "-1", "64kb", "4 k" }, false },
	{ "budget", "0", "3M", "3145728", { "18446744073709551616", "x", "1gg", "99999999999g", "0x10", "k" }, true },
	{ "epoch_ms", "1000", "10", "10", { "9", "3600001", "1s", "1k", "", "1.5" }, true },
	{ "percpu", "auto", "fallback", "fallback", { "none", "", "rse", "AUTO", "2", "rseqq" }, false },
	{ "thp", "false", "true", "true", { "yes", "1", "", "t", "TRUE", "truee" }, false },
	{ "check", "auto", "strict", "strict", { "none", "true", "", "o", "str", "1" }, false },
	{ "leaks", "false", "true", "true", { "yes", "1", "", "t", "TRUE", "truee" }, false },
	{ "background", "false", "true", "true", { "yes", "1", "", "f", "False", "on" }, false },
	{ "deny", "", "unit-option*", "unit-option*", { TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG }, false },
	{ "misuse", "abort", "report", "report", { "ignore", "", "abor", "0", "Abort", "reports" }, true },
	{ "stats_print", "false", "true", "true", { "yes", "1", "", "t", "TRUE", "truee" }, true },
	{ "abort_conf", "false", "true", "true", { "yes", "1", "", "f", "False", "on" }, false },
	{ "confirm_conf", "false", "true", "true", { "yes", "1", "", "f", "False", "on" }, false },
};

Test(options, every_row_of_the_table_is_tested_here)
{
	const char *what, *key;
	unsigned n = 0;
	for (; (key = bp_options_row(n, &what)) != NULL; n++) {
		bool found = strcmp(key, "stats_path") == 0 || strcmp(key, "leaks_path") == 0;
		for (size_t i = 0; i < U_COUNT(rows); i++)
			found = found || strcmp(rows[i].key, key) == 0;
		cr_assert(found, "%s is new: add it to the rows above", key);
		cr_assert_gt(strlen(what), 5, "%s says nothing of itself", key);
	}
	cr_assert_eq(n, U_COUNT(rows) + 2);
}

Test(options, each_starts_as_documented_and_takes_what_it_should)
{
	for (size_t i = 0; i < U_COUNT(rows); i++) {
		cr_assert_str_eq(get(rows[i].key), rows[i].preset, "%s", rows[i].key);
		cr_assert_eq(set(rows[i].key, rows[i].good, true), 0, "%s", rows[i].key);
		cr_assert_str_eq(get(rows[i].key), rows[i].becomes, "%s", rows[i].key);
	}
}

Test(options, what_can_not_be_read_changes_nothing)
{
	for (size_t i = 0; i < U_COUNT(rows); i++)
		for (size_t j = 0; j < U_COUNT(rows[i].bad); j++) {
			cr_assert_eq(set(rows[i].key, rows[i].bad[j], true), -EINVAL, "%s:%s", rows[i].key,
				     rows[i].bad[j]);
			cr_assert_str_eq(get(rows[i].key), rows[i].preset, "%s:%s", rows[i].key, rows[i].bad[j]);
		}
}

Test(options, what_is_fixed_at_start_is_refused_later)
{
	for (size_t i = 0; i < U_COUNT(rows); i++) {
		cr_assert_eq(set(rows[i].key, rows[i].good, false), rows[i].live ? 0 : -EPERM, "%s", rows[i].key);
		cr_assert_str_eq(get(rows[i].key), rows[i].live ? rows[i].becomes : rows[i].preset, "%s", rows[i].key);
	}
}

Test(options, sizes_have_units)
{
	static const char *const cases[][2] = { { "4k", "4096" }, { "8K", "8192" }, { "1m", "1048576" },
						{ "4M", "4194304" }, { "65536", "65536" } };
	for (size_t i = 0; i < U_COUNT(cases); i++) {
		cr_assert_eq(set("cap", cases[i][0], true), 0);
		cr_assert_str_eq(get("cap"), cases[i][1]);
	}
	cr_assert_eq(set("budget", "2g", true), 0);
	cr_assert_str_eq(get("budget"), "2147483648");
	/* 2^34 + 1 of them are one more than a number can hold, and would read as one. */
	cr_assert_eq(set("budget", "17179869185g", true), -EINVAL);
	cr_assert_str_eq(get("budget"), "2147483648");
}

Test(options, unknown_keys_and_short_buffers)
{
	char small[5];
	cr_assert_eq(set("caps", "4k", true), -ENOENT);
	cr_assert_eq(set("ca", "4k", true), -ENOENT);
	cr_assert_eq(set("", "4k", true), -ENOENT);
	cr_assert_eq(bp_options_get(small, sizeof(small), "nothing"), -ENOENT);
	cr_assert_eq(bp_options_get(small, sizeof(small), "mode"), 0);
	cr_assert_str_eq(small, "pool");
	memset(small, '#', sizeof(small));
	cr_assert_eq(bp_options_get(small, sizeof(small), "cap"), -ERANGE);
	cr_assert_eq(bp_options_get(small, 4, "mode"), -ERANGE, "there is no room for the NUL");
}

Test(options, paths_are_told_apart)
{
	cr_assert_eq(bp_options_set("stats_path", 10, "/a", 2, true), 0);
	cr_assert_eq(bp_options_set("leaks_path", 10, "/bc", 3, false), 0);
	cr_assert_str_eq(get("stats_path"), "/a");
	cr_assert_str_eq(get("leaks_path"), "/bc");
}

Test(options, a_path_is_kept_whole_or_refused)
{
	char path[BP_PATH_MAX + 1], value[BP_PATH_MAX];
	memset(path, 'p', sizeof(path));
	cr_assert_eq(bp_options_set("stats_path", 10, path, BP_PATH_MAX, true), -EINVAL);
	cr_assert_str_eq(get("stats_path"), "");
	cr_assert_eq(bp_options_set("stats_path", 10, path, BP_PATH_MAX - 1, true), 0);
	cr_assert_eq(bp_options_get(value, sizeof(value), "stats_path"), 0);
	cr_assert_eq(strlen(value), BP_PATH_MAX - 1);
	cr_assert_eq(memcmp(value, path, BP_PATH_MAX - 1), 0);
}

/* ---- start: before main, so in a program of its own (options_start.c) ---- */

static const char *environment;

static void start(void)
{
	char *const argv[] = { (char *)U_START, NULL };
	char pair[512];
	snprintf(pair, sizeof(pair), "BUFPOOL_CONF=%s", environment);
	char *const envp[] = { pair, NULL };
	execve(U_START, argv, envp);
}

static int start_with(const char *text, char *err, size_t size)
{
	environment = text;
	return u_in_child(start, err, size);
}

Test(options, pairs_are_read_from_the_environment_and_the_last_one_wins)
{
	char err[4096];
	int status = start_with("cap:4k,epoch_ms:20,,cap:8k,", err, sizeof(err));
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_assert_str_eq(err, "");
}

Test(options, a_bad_pair_is_named_and_passed_over)
{
	char err[4096];
	int status = start_with("cap:8k,speed:11,speed,epoch_ms,epoch_ms:20,cap:3", err, sizeof(err));
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_assert_str_eq(err, "bufpool: no such option: speed:11\n"
			      "bufpool: invalid option: speed\n"
			      "bufpool: invalid option: epoch_ms (10 to 3600000)\n"
			      "bufpool: invalid option: cap:3 (4096 to 4194304)\n");
}

Test(options, a_bad_value_is_answered_with_the_good_ones)
{
	char long_path[sizeof("leaks_path:") + 256] = "leaks_path:", err[4096], expected[4096];
	int status = start_with("cap:8k,epoch_ms:20,leaks:1,mode:off,percpu:none,check:,misuse:x,budget:-1", err, sizeof(err));
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_assert_str_eq(err, "bufpool: invalid option: leaks:1 (false or true)\n"
			      "bufpool: invalid option: mode:off (pool or pass)\n"
			      "bufpool: invalid option: percpu:none (auto, rseq or fallback)\n"
			      "bufpool: invalid option: check: (auto, off, on or strict)\n"
			      "bufpool: invalid option: misuse:x (abort or report)\n"
			      "bufpool: invalid option: budget:-1 (0 to 9223372036854775807)\n");
	memset(long_path + strlen(long_path), 'x', 256);
	snprintf(expected, sizeof(expected), "bufpool: invalid option: %s (at most 255 bytes)\n", long_path);
	start_with(long_path, err, sizeof(err));
	cr_assert_str_eq(err, expected);
}

Test(options, a_bad_pair_is_fatal_under_abort_conf_wherever_that_stands)
{
	char err[4096];
	int status = start_with("cap:3,abort_conf:true", err, sizeof(err));
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	cr_assert_str_eq(err, "bufpool: invalid option: cap:3 (4096 to 4194304)\n");
	status = start_with("cap:8k,epoch_ms:20,abort_conf:true", err, sizeof(err));
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(options, confirm_conf_prints_what_can_be_read_again)
{
	char err[4096], again[4096];
	start_with("cap:8k,epoch_ms:20,confirm_conf:true,stats_path:/some/where", err, sizeof(err));
	static const char prefix[] = "bufpool: ";
	cr_assert_eq(strncmp(err, prefix, sizeof(prefix) - 1), 0, "%s", err);
	cr_assert_not_null(strstr(err, "mode:pool,cap:8192,"));
	cr_assert_not_null(strstr(err, "stats_path:/some/where"));
	err[strcspn(err, "\n")] = '\0';
	int status = start_with(err + sizeof(prefix) - 1, again, sizeof(again));
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	again[strcspn(again, "\n")] = '\0';
	cr_assert_str_eq(err, again);
}

Test(options, deny_lets_everything_of_the_programs_it_names_pass)
{
	static const char *const others[] = { "", "unit-optionss", "unit", "nit-options", "unit-optionss*", "*unit" };
	for (size_t i = 0; i < U_COUNT(others); i++) {
		cr_assert_eq(set("deny", others[i], true), 0, "%s", others[i]);
		cr_assert_str_eq(get("mode"), "pool", "%s", others[i]);
		cr_assert_str_eq(get("deny"), "", "%s", others[i]);
	}
	cr_assert_eq(set("deny", "unit-options", false), -EPERM, "the program runs");
	cr_assert_eq(set("deny", "unit-options", true), 0);
	cr_assert_str_eq(get("mode"), "pass");
	cr_assert_str_eq(get("deny"), "unit-options");
	cr_assert_eq(set("mode", "pool", true), 0);
	cr_assert_str_eq(get("mode"), "pool", "what comes later wins");
}

/* A copy of the program that belongs to somebody else and runs as that user. */
static bool copy_set_uid(const char *path)
{
	static char bytes[1 << 16];
	int from = open(U_START, O_RDONLY), to = open(path, O_WRONLY | O_CREAT | O_EXCL, 0700);
	ssize_t n = 0;
	while (from >= 0 && to >= 0 && (n = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, (size_t)n) != n)
			break;
	bool done = from >= 0 && to >= 0 && n == 0 && fchown(to, 65534, (gid_t)-1) == 0 && fchmod(to, 04755) == 0;
	close(from);
	close(to);
	return done;
}

static char set_uid[64];

static void start_set_uid(void)
{
	char *const argv[] = { set_uid, NULL };
	char *const envp[] = { (char *)"BUFPOOL_CONF=cap:8k,epoch_ms:20,confirm_conf:true", NULL };
	execve(set_uid, argv, envp);
	_exit(9);
}

Test(options, a_set_uid_program_reads_none)
{
	char err[4096];
	snprintf(set_uid, sizeof(set_uid), "/tmp/unit-options-%d", (int)getpid());
	bool copied = copy_set_uid(set_uid);
	int status = copied ? u_in_child(start_set_uid, err, sizeof(err)) : -1;
	unlink(set_uid);
	if (!copied)
		cr_skip_test("only root can give a program to somebody else");
	cr_assert(WIFEXITED(status));
	if (!(WEXITSTATUS(status) & 2))
		cr_skip_test("set-uid has no effect here");
	cr_assert_eq(WEXITSTATUS(status), 3, "the environment was read");
	cr_assert_str_eq(err, "");
}
