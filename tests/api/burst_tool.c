/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Commands of the helper program: 1 M x 128 B and 8 000 x 48 KB acquired, written and released; then small calls only
 * (burst) or no call but bufpool_tick (tick), until the memory is back. Prints when two epochs had ended and what was
 * kept then, and how many KiB the process has grown by in the end.
 *
 * How long all this may take is counted in this thread's own time: another program's, or that of a machine that stands
 * still, is not the library's delay.
 */
#include "support.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 1000000, LARGE = 8000, LARGE_BYTES = 48000, GRACE_MS = 2000, TOLERATED = 16 << 20 };

static void *blocks[SMALL + LARGE];

/* Since all blocks were released. */
static struct {
	size_t base, peak, now; /* now: what is_over() read last, since another reading may be higher */
	uint64_t epochs;
	int64_t begin_ns, end_ns, two_epochs_ns;
	int64_t kept; /* bytes in the caches two epochs later; -1: these have not ended yet */
} since;

static struct bufpool_stats stats(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	if (bufpool_stats_get(&s, NULL))
		abort();
	return s;
}

static void burst(int64_t two_epochs_ms)
{
	memset(blocks, 1, sizeof(blocks));
	for (int i = 0; i < 1000; i++)
		bufpool_release(bufpool_acquire((size_t)i));
	since.base = t_rss();
	for (size_t i = 0; i < SMALL + LARGE; i++) {
		const size_t n = i < SMALL ? 128 : LARGE_BYTES;

		blocks[i] = bufpool_acquire(n);
		if (!blocks[i])
			abort();
		memset(blocks[i], 1, n);
	}
	since.peak = t_rss();
	for (size_t i = 0; i < SMALL + LARGE; i++)
		bufpool_release(blocks[i]);
	since.epochs = stats().epochs;
	since.begin_ns = t_ran_ns();
	since.end_ns = since.begin_ns + (two_epochs_ms + GRACE_MS) * 1000000;
	since.kept = -1;
}

static bool is_over(void)
{
	if (since.kept < 0 && stats().epochs >= since.epochs + 2) {
		const struct bufpool_stats s = stats(); /* all of it from after the second one */

		since.kept = (int64_t)(s.cached_bytes + s.victim_bytes);
		since.two_epochs_ns = t_ran_ns() - since.begin_ns;
	}
	since.now = t_rss();
	return t_ran_ns() >= since.end_ns || (since.kept >= 0 && since.now <= since.base + TOLERATED);
}

static void report(void)
{
	const struct bufpool_stats s = stats();

	printf("grown %zd KiB, peak %zd KiB, kept %jd KiB after %jd ms, ", (ssize_t)(since.now - since.base) / 1024,
	       (ssize_t)(since.peak - since.base) / 1024, (intmax_t)since.kept / 1024,
	       (intmax_t)since.two_epochs_ns / 1000000);
	printf("cached %zu, victim %zu, queued %zu KiB, epochs %zu, balanced %d\n", (size_t)s.cached_bytes >> 10,
	       (size_t)s.victim_bytes >> 10, (size_t)s.queued_bytes >> 10, (size_t)s.epochs, t_balanced());
}

void t_burst(const char *epoch_ms)
{
	burst(2 * strtol(epoch_ms, NULL, 10));
	while (!is_over())
		for (int i = 0; i < 1000; i++)
			bufpool_release(bufpool_acquire(64));
	report();
}

/* It sleeps as long as it is told to, all in all until the second epoch ends. */
void t_burst_tick(const char *epoch_ms)
{
	const int two_epochs = 2 * (int)strtol(epoch_ms, NULL, 10);
	int ms, slept = 0;

	burst(0);
	while (!is_over() && slept <= two_epochs + 10 && (ms = bufpool_tick()) >= 0) {
		poll(NULL, 0, ms);
		slept += ms;
	}
	is_over();
	report();
}
