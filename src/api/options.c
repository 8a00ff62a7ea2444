/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Options at run time, the facts that can be asked the same way, and what is printed when the program ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bufpool/bufpool.h"
#include "cache/epoch.h"
#include "cache/options.h"
#include "cache/pool.h"
#include "sys/backend.h"

#define POOL (&bp_default_pool)

const char bp_options_here __attribute__((visibility("hidden")));

static const char *percpu_fact(void)
{
	static const char *const names[] = { "pass", "fallback", "rseq" };
	bool passing = atomic_load_explicit(&POOL->passing, memory_order_relaxed);
	return names[passing ? BP_PERCPU_PASS : bp_percpu_mode()];
}

static const char *fact(const char *key)
{
	if (strcmp(key, "percpu") == 0)
		return percpu_fact();
	if (strcmp(key, "backend") == 0)
		return bp_backend_name();
	if (strcmp(key, "mode") == 0)
		return atomic_load_explicit(&POOL->passing, memory_order_relaxed) ? "pass" : "pool";
	return NULL;
}

int bufpool_option_get(char *value, size_t size, const char *key)
{
	bp_pool_start(POOL);
	const char *text = fact(key);
	if (text == NULL)
		return bp_options_get(value, size, key);
	if (strlen(text) >= size)
		return -ERANGE;
	memcpy(value, text, strlen(text) + 1);
	return 0;
}

int bufpool_option_set(const char *key, const char *value)
{
	bool before_start = atomic_load_explicit(&POOL->state, memory_order_acquire) == BP_POOL_NEW;
	if (strcmp(key, "backend") == 0)
		return -EPERM;
	bp_options_start();
	int failed = bp_options_set(key, strlen(key), value, strlen(value), before_start);
	if (failed == 0 && !before_start && strcmp(key, "mode") == 0)
		bp_pool_set_mode(POOL, strcmp(value, "pass") == 0);
	if (failed == 0 && !before_start && strcmp(key, "epoch_ms") == 0) {
		bp_epoch_restart(POOL);
		bp_backend_set_decay((unsigned)atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed));
	}
	return failed;
}

/* ---- at the end ---- */

static void to_file(void *ctx, const char *text)
{
	bp_os_write(*(int *)ctx, text, strlen(text));
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);
	return n >= m && strcmp(text + n - m, end) == 0;
}

static __attribute__((destructor)) void print_at_end(void)
{
	if (!atomic_load_explicit(&bp_options.stats_print, memory_order_relaxed))
		return;
	const char *path = bp_options.path;
	int fd = path[0] == '\0' ? STDERR_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	bufpool_stats_print(to_file, &fd, ends_with(path, ".json") ? "J" : "");
	if (fd != STDERR_FILENO)
		close(fd);
}
