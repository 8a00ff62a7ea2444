/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See pools_common.h.
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct bufpool *p_make(const char *name, size_t cap, size_t budget, unsigned flags)
{
	const struct bufpool_conf conf = { .size = sizeof(conf), .name = name, .cap = cap, .budget = budget, .flags = flags };
	struct bufpool *pool = NULL;

	return bufpool_create(&pool, &conf) ? NULL : pool;
}

struct bufpool_stats p_stats(struct bufpool *pool)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	bufpool_stats_get(&s, pool);
	return s;
}

struct bufpool_class_stats p_class(struct bufpool *pool, size_t n)
{
	struct bufpool_class_stats s = { .size = sizeof(s) };

	bufpool_class_stats_get(&s, pool, n);
	return s;
}

bool p_balanced(struct bufpool *pool)
{
	const struct bufpool_stats s = p_stats(pool);

	if (!t_imbalance(&s) && s.acquired - s.released == s.in_use)
		return true;
	fprintf(stderr, "pool: created %" PRIu64 ", in use %" PRIu64 ", cached %" PRIu64 ", victim %" PRIu64
		", queued %" PRIu64 ", set aside %" PRIu64 ", dropped %" PRIu64 ", acquired %" PRIu64
		", released %" PRIu64 "\n", s.from_backend, s.in_use, s.cached, s.victim, s.queued, s.set_aside,
		t_dropped(&s), s.acquired, s.released);
	return false;
}

bool p_settle(struct bufpool *pool)
{
	for (int i = 0; i < 5000; i++) {
		if (!p_stats(pool).queued)
			return true;
		bufpool_tick();
		t_sleep_ms(1);
	}
	return false;
}

void p_need_own_memory(void)
{
	struct bufpool *pool = p_make("probe", 0, 0, 0);
	void *p;
	bool own;

	cr_assert_not_null(pool);
	p = bufpool_acquire_from(pool, 100);
	own = bufpool_owns(p);
	bufpool_release(p);
	bufpool_destroy(pool);
	if (!own) {
		char mode[32] = "", percpu[32] = "";

		bufpool_option_get(mode, sizeof(mode), "mode");
		bufpool_option_get(percpu, sizeof(percpu), "percpu");
		cr_assert_str_eq(mode, "pass", "blocks of a named pool are not its own in mode %s", mode);
		cr_skip_test("named pools pass through here (mode %s, percpu %s)", mode, percpu);
	}
}

size_t p_words_left(const void *p, size_t n, unsigned char value)
{
	static uint64_t page[512];
	const int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	uint64_t wanted;
	size_t found = 0;

	cr_assert_geq(fd, 0);
	memset(&wanted, value, sizeof(wanted));
	for (size_t at = 0; at < n; at += sizeof(page)) {
		const size_t size = n - at < sizeof(page) ? n - at : sizeof(page);

		if (pread(fd, page, size, (off_t)((uintptr_t)p + at)) != (ssize_t)size)
			continue;
		for (size_t i = 0; i < size / sizeof(*page); i++)
			found += page[i] == wanted;
	}
	close(fd);
	return found;
}

struct p_process p_process(void)
{
	struct p_process process = { 0 };
	unsigned long pages[2] = { 0, 0 };
	char text[4096];
	ssize_t got;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && (got = read(fd, text, sizeof(text) - 1)) > 0) {
		text[got] = 0;
		sscanf(text, "%lu %lu", &pages[0], &pages[1]);
	}
	close(fd);
	process.size = pages[0] * (size_t)sysconf(_SC_PAGESIZE);
	process.resident = pages[1] * (size_t)sysconf(_SC_PAGESIZE);
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (got = read(fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < got; i++)
			process.mappings += text[i] == '\n';
	close(fd);
	return process;
}
