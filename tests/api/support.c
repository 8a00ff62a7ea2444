/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Statistics and preconditions as assertions; the books themselves are in content.c, children in processes.c.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct bufpool_stats t_stats(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	cr_assert_eq(bufpool_stats_get(&s, NULL), 0);
	return s;
}

struct bufpool_class_stats t_class(size_t n)
{
	struct bufpool_class_stats s = { .size = sizeof(s) };

	cr_assert_eq(bufpool_class_stats_get(&s, NULL, n), 0);
	return s;
}

bool t_settle(void)
{
	for (int i = 0; i < 5000; i++) {
		if (!t_stats().queued)
			return true;
		bufpool_tick();
		t_sleep_ms(1);
	}
	return false;
}

bool t_passes_through(size_t n)
{
	const struct bufpool_stats before = t_stats();

	bufpool_release(bufpool_acquire(n));
	return t_stats().passed_through != before.passed_through;
}

void t_need_pool(size_t n)
{
	char mode[32] = "", percpu[32] = "";

	if (!t_passes_through(n))
		return;
	bufpool_option_get(mode, sizeof(mode), "mode");
	bufpool_option_get(percpu, sizeof(percpu), "percpu");
	/* With rseq every class within the cap is pooled: then passing through is no reason but a failure. */
	cr_assert_str_neq(percpu, "rseq", "%zu bytes pass through although rseq is at work", n);
	cr_skip_test("%zu bytes pass through here (mode %s, percpu %s)", n, mode, percpu);
}

void t_hold_epochs(void)
{
	cr_assert_eq(bufpool_option_set("epoch_ms", "60000"), 0);
	cr_assert_eq(t_pin(t_cpu(0)), 0);
}

void t_starve(void)
{
	const struct rlimit space = { 0, 0 };

	setrlimit(RLIMIT_AS, &space);
	for (size_t n = 1u << 20; n >= 16; n -= n > 65536 ? 65536 : n > 1024 ? 1024 : 16)
		while (bufpool_acquire(n))
			;
}

void t_write_source(char *path, size_t size, const char *language, const char *text)
{
	FILE *f;
	int fd;

	snprintf(path, size, "/tmp/bufpool-api-XXXXXX%s", language);
	fd = mkstemps(path, (int)strlen(language));
	cr_assert_geq(fd, 0);
	f = fdopen(fd, "w");
	cr_assert_not_null(f);
	fputs(text, f);
	cr_assert_eq(fclose(f), 0);
}
