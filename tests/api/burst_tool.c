/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Commands of the helper program: 1 M x 128 B and 8 000 x 48 KB acquired, written and released; then, for two epochs,
 * small calls only (burst) or no call but bufpool_tick (tick). Prints how many KiB the process has grown by.
 */
#include "support.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 1000000, LARGE = 8000, LARGE_BYTES = 48000, GRACE_MS = 500 };

static void *blocks[SMALL + LARGE];

static size_t burst(void)
{
	size_t peak;

	for (size_t i = 0; i < SMALL + LARGE; i++) {
		const size_t n = i < SMALL ? 128 : LARGE_BYTES;

		blocks[i] = bufpool_acquire(n);
		if (!blocks[i])
			abort();
		memset(blocks[i], 1, n);
	}
	peak = t_rss();
	for (size_t i = 0; i < SMALL + LARGE; i++)
		bufpool_release(blocks[i]);
	return peak;
}

static size_t base(void)
{
	memset(blocks, 1, sizeof(blocks));
	for (int i = 0; i < 1000; i++)
		bufpool_release(bufpool_acquire((size_t)i));
	return t_rss();
}

static void report(size_t at_first, size_t peak)
{
	const size_t now = t_rss();
	struct bufpool_stats s = { .size = sizeof(s) };

	if (bufpool_stats_get(&s, NULL))
		abort();
	printf("grown %zd KiB, peak %zd KiB, cached %zu, victim %zu, queued %zu KiB, epochs %zu, balanced %d\n",
	       (ssize_t)(now - at_first) / 1024, (ssize_t)(peak - at_first) / 1024, (size_t)s.cached_bytes >> 10,
	       (size_t)s.victim_bytes >> 10, (size_t)s.queued_bytes >> 10, (size_t)s.epochs, t_balanced());
}

void t_burst(const char *epoch_ms)
{
	const int64_t two_epochs = 2 * strtol(epoch_ms, NULL, 10) + GRACE_MS;
	const size_t at_first = base(), peak = burst();
	const int64_t begin = t_now_ns();

	while (t_now_ns() - begin < two_epochs * 1000000)
		for (int i = 0; i < 100; i++)
			bufpool_release(bufpool_acquire(64));
	report(at_first, peak);
}

void t_burst_tick(const char *epoch_ms)
{
	const int64_t two_epochs = 2 * strtol(epoch_ms, NULL, 10) + GRACE_MS;
	const size_t at_first = base(), peak = burst();
	const int64_t begin = t_now_ns();

	while (t_now_ns() - begin < two_epochs * 1000000) {
		const int ms = bufpool_tick();

		if (ms < 0)
			break;
		poll(NULL, 0, ms);
	}
	report(at_first, peak);
}
