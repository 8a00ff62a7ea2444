/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Options at run time, the facts that can be asked the same way, and what is printed when the program ends.
 */
#include <errno.h>
#include <string.h>

#include "api/end.h"
#include "api/provider.h"
#include "bufpool/bufpool.h"
#include "cache/control.h"
#include "cache/options.h"
#include "cache/pool.h"

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

static __attribute__((destructor)) void print_at_end(void)
{
	if (!atomic_load_explicit(&bp_options.stats_print, memory_order_relaxed) || !bp_provider_is_this())
		return;
	int fd = bp_end_open(bp_options.paths[BP_PATH_STATS]);
	if (fd < 0)
		return;
	bufpool_stats_print(bp_end_write, &fd, bp_end_is_json(bp_options.paths[BP_PATH_STATS]) ? "J" : "");
	bp_end_close(fd);
}
