/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is printed, and who survives it. The crimes themselves are tested through the API.
 */
#include "cache/misuse.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cache/options.h"
#include "support.h"

static enum bp_misuse what;
static size_t size;
static bool fatal;
static int times;

static void commit(void)
{
	for (int i = 0; i < times; i++)
		bp_misuse_report(&bp_default_pool, what, (void *)0x1234abcd, size, fatal);
	_exit((int)(atomic_load(&bp_default_pool.misuse) % 251));
}

static int trial(char *err, size_t room, enum bp_misuse w, size_t s, bool f, int n)
{
	what = w, size = s, fatal = f, times = n;
	return u_in_child(commit, err, room);
}

Test(misuse, one_line_says_what_and_where)
{
	static const struct {
		enum bp_misuse what;
		size_t size;
		const char *line;
	} cases[] = {
		{ BP_MISUSE_DOUBLE, 64, "bufpool: misuse: double release: 0x1234abcd (class 64)\n" },
		{ BP_MISUSE_INVALID, 0, "bufpool: misuse: invalid release: 0x1234abcd (class unknown)\n" },
		{ BP_MISUSE_FOREIGN, 0, "bufpool: misuse: foreign release: 0x1234abcd (class unknown)\n" },
		{ BP_MISUSE_SIZE, 65536, "bufpool: misuse: wrong size: 0x1234abcd (class 65536)\n" },
		{ BP_MISUSE_WRITE, 8, "bufpool: misuse: write after release: 0x1234abcd (class 8)\n" },
	};
	for (size_t i = 0; i < U_COUNT(cases); i++) {
		char err[512];
		int status = trial(err, sizeof(err), cases[i].what, cases[i].size, true, 2);
		cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
		cr_assert_str_eq(err, cases[i].line, "once, and then it aborts");
	}
}

Test(misuse, what_is_not_fatal_is_counted_and_reported)
{
	char err[512];
	int status = trial(err, sizeof(err), BP_MISUSE_WRITE, 64, false, 3);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	cr_assert_eq(strlen(err), 3 * strlen("bufpool: misuse: write after release: 0x1234abcd (class 64)\n"));
}

static unsigned lines(const char *text)
{
	unsigned n = 0;
	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

Test(misuse, under_report_the_lines_end_but_not_the_count)
{
	static char err[65536];
	atomic_store(&bp_options.misuse, BP_MISUSE_REPORT);
	int status = trial(err, sizeof(err), BP_MISUSE_DOUBLE, 64, true, 240);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 240);
	cr_assert_eq(lines(err), 100);
}

Test(misuse, the_fatal_one_is_reported_however_many_there_were)
{
	static char err[65536];
	atomic_store(&bp_default_pool.misuse, 1000);
	int status = trial(err, sizeof(err), BP_MISUSE_DOUBLE, 64, true, 1);
	cr_assert(WIFSIGNALED(status));
	cr_assert_eq(lines(err), 1);
}

Test(misuse, checks_are_off_only_where_the_option_says_so)
{
	cr_assert_not(bp_misuse_unchecked());
	atomic_store(&bp_options.check, BP_CHECK_ON);
	cr_assert_not(bp_misuse_unchecked());
	atomic_store(&bp_options.check, BP_CHECK_OFF);
	cr_assert(bp_misuse_unchecked());
}
