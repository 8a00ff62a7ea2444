/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See control.h.
 */
#include "cache/control.h"

#include <errno.h>
#include <string.h>

#include "cache/epoch.h"
#include "cache/options.h"
#include "cache/pools.h"
#include "sys/backend.h"

/* Not zeroed memory, so that it lies in a page that is there already. */
struct bp_control bp_control = { .magic = { BP_CONTROL_MAGIC }, .version = BP_CONTROL_VERSION };

/* Several may ask for different things at once. Whoever applies a mode looks afterwards whether it is still the one
 * asked for, so the last word is in force in the end. */
static void apply_mode(struct bp_pool *pool)
{
	uint64_t mode;
	do {
		mode = atomic_load_explicit(&bp_options.mode, memory_order_relaxed);
		bp_pool_set_mode(pool, mode == BP_MODE_PASS);
		bp_pools_set_mode(mode == BP_MODE_PASS);
	} while (atomic_load_explicit(&bp_options.mode, memory_order_relaxed) != mode);
}

int bp_control_set(struct bp_pool *pool, const char *key, size_t key_length, const char *value, size_t value_length)
{
	uint64_t epoch_ms = atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed);
	int failed = bp_options_set(key, key_length, value, value_length, false);
	if (failed != 0)
		return failed;
	if (key_length == 4 && memcmp(key, "mode", 4) == 0)
		apply_mode(pool);
	if (atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed) != epoch_ms) {
		bp_epoch_restart(pool);
		bp_backend_set_decay((unsigned)atomic_load_explicit(&bp_options.epoch_ms, memory_order_relaxed));
	}
	return 0;
}

static const char *percpu_fact(bool passing)
{
	static const char *const names[] = { "pass", "fallback", "rseq" };
	return names[passing ? BP_PERCPU_PASS : bp_percpu_mode()];
}

static const char *fact(struct bp_pool *pool, const char *key)
{
	bool passing = atomic_load_explicit(&pool->passing, memory_order_relaxed);
	if (strcmp(key, "percpu") == 0)
		return percpu_fact(passing);
	if (strcmp(key, "backend") == 0)
		return bp_backend_name();
	if (strcmp(key, "mode") == 0)
		return passing ? "pass" : "pool";
	return NULL;
}

int bp_control_get(struct bp_pool *pool, char *value, size_t size, const char *key)
{
	const char *text = fact(pool, key);
	if (text == NULL)
		return bp_options_get(value, size, key);
	if (strlen(text) >= size)
		return -ERANGE;
	memcpy(value, text, strlen(text) + 1);
	return 0;
}

static int answer(struct bp_pool *pool, char *pair)
{
	char text[BP_CONTROL_PAIR];
	memcpy(text, pair, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	size_t key = strcspn(text, ":");
	if (text[key] == '\0')
		return bp_control_get(pool, pair, sizeof(text), text);
	return bp_control_set(pool, text, key, text + key + 1, strlen(text + key + 1));
}

static atomic_flag serving = ATOMIC_FLAG_INIT;

void bp_control_child(void)
{
	atomic_flag_clear_explicit(&serving, memory_order_relaxed);
}

void bp_control_serve(struct bp_pool *pool)
{
	if (bp_os_secure() || bp_backend_busy() || atomic_flag_test_and_set_explicit(&serving, memory_order_acquire))
		return;
	/* Acquire, release: the pair was written before asked, and is to be read so; the answer likewise. */
	uint32_t asked = atomic_load_explicit(&bp_control.asked, memory_order_acquire);
	if (asked != atomic_load_explicit(&bp_control.answered, memory_order_relaxed)) {
		bp_control.result = answer(pool, bp_control.pair);
		atomic_store_explicit(&bp_control.answered, asked, memory_order_release);
	}
	atomic_flag_clear_explicit(&serving, memory_order_release);
}
