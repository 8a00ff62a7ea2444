/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Options at run time, the facts that can be asked the same way, and what is printed when the program ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "api/provider.h"
#include "bufpool/bufpool.h"
#include "cache/control.h"
#include "cache/options.h"
#include "cache/pool.h"
#include "sys/os.h"

#define POOL (&bp_default_pool)

const char bp_options_here __attribute__((visibility("hidden")));

int bufpool_option_get(char *value, size_t size, const char *key)
{
	bp_pool_start(POOL);
	return bp_control_get(POOL, value, size, key);
}

int bufpool_option_set(const char *key, const char *value)
{
	if (strcmp(key, "backend") == 0)
		return -EPERM;
	bp_options_start();
	if (atomic_load_explicit(&POOL->state, memory_order_acquire) == BP_POOL_NEW)
		return bp_options_set(key, strlen(key), value, strlen(value), true);
	return bp_control_set(POOL, key, strlen(key), value, strlen(value));
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
	if (!atomic_load_explicit(&bp_options.stats_print, memory_order_relaxed) || !bp_provider_is_this())
		return;
	const char *path = bp_options.path;
	int fd = path[0] == '\0' ? STDERR_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	bufpool_stats_print(to_file, &fd, ends_with(path, ".json") ? "J" : "");
	if (fd != STDERR_FILENO)
		close(fd);
}
