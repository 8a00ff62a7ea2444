/* SPDX-License-Identifier: BSD-2-Clause */
#include "pools.h"

#include <criterion/criterion.h>
#include <string.h>

#include "cache/options.h"
#include "support.h"

/* The environment was read before main; what it says does not hold here. */
void u_options(const char *pairs)
{
	bp_options_start();
	while (pairs != NULL && *pairs != '\0') {
		size_t key = strcspn(pairs, ":"), length = strcspn(pairs, ",");
		cr_assert_eq(bp_options_set(pairs, key, pairs + key + 1, length - key - 1, true), 0, "%s", pairs);
		pairs += length + (pairs[length] == ',');
	}
}

void u_start(const char *options)
{
	u_options("epoch_ms:3600000");
	u_options(options);
	u_pin(u_cpu(0));
	cr_assert(bp_pool_start(U_POOL));
	if (bp_percpu_mode() == BP_PERCPU_PASS || !U_POOL->usable)
		cr_skip_test("this process has no pool");
}

void u_start_portable(void)
{
	u_start("percpu:fallback");
	cr_assert_eq(bp_percpu_mode(), BP_PERCPU_FALLBACK);
}

int u_slab(void)
{
	return bp_percpu_enter(U_POOL->slabs, bp_pool_epoch(U_POOL));
}

void u_without_seat(void)
{
	static struct bp_rseq standing = { .cpu_id = -1, .here = BP_SEAT_AWAY };
	bp_thread.rseq = &standing;
}

struct bp_account u_account(size_t n)
{
	struct bp_account a;
	bp_account_class(&a, U_POOL, bp_class_of(n));
	return a;
}

static size_t class_on_cpus(unsigned class)
{
	size_t count = 0;
	for (unsigned cpu = 0; cpu < U_POOL->slabs.cpus; cpu++)
		count += bp_percpu_count(U_POOL->slabs, (int)cpu, class);
	return count;
}

void u_assert_balance(uint64_t in_use)
{
	uint64_t held = 0, on_cpus = 0, aside = 0;
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		struct bp_account a;
		bp_account_class(&a, U_POOL, class);
		uint64_t accounted = a.in_use + a.cached + a.victim + a.queued + a.dropped_budget + a.dropped_epoch +
				     a.set_aside;
		cr_assert_eq(a.created, accounted, "%zu bytes: %zu created, %zu accounted for", bp_class_size(class),
			     (size_t)a.created, (size_t)accounted);
		held += a.in_use * bp_class_size(class);
		aside += a.set_aside;
		on_cpus += class_on_cpus(class) * bp_class_size(class);
	}
	cr_assert_eq(held, in_use, "%zu bytes in use, not %zu", (size_t)held, (size_t)in_use);
	if (aside != 0)
		return; /* what is set aside stays outside */
	int64_t outside = atomic_load(&U_POOL->outside);
	cr_assert_eq(outside, (int64_t)(held + on_cpus), "outside says %ld, but %zu are held and %zu on CPUs",
		     (long)outside, (size_t)held, (size_t)on_cpus);
}

bool u_balanced(void)
{
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		struct bp_account a;
		bp_account_class(&a, U_POOL, class);
		if (a.created != a.in_use + a.cached + a.victim + a.queued + a.dropped_budget + a.dropped_epoch + a.set_aside)
			return false;
	}
	return true;
}

size_t u_on_cpus(size_t n)
{
	return class_on_cpus(bp_class_of(n));
}

void *u_get(size_t n, bool zero)
{
	return zero ? bp_pool_acquire(U_POOL, n, true) : bp_pool_acquire(U_POOL, n, false);
}

void u_acquire(void **blocks, size_t count, size_t n)
{
	for (size_t i = 0; i < count; i++) {
		blocks[i] = u_get(n, false);
		cr_assert_not_null(blocks[i]);
		for (size_t at = 0; at + sizeof(void *) <= n; at += at == 0 ? 8 : 504)
			memcpy((char *)blocks[i] + at, &blocks[i], sizeof(void *));
	}
	/* A block in two hands would bear the later owner's address only if that is the same block. */
	for (size_t i = 0; i + 1 < count; i++)
		cr_assert_eq(memcmp(blocks[i], &blocks[i], sizeof(void *)), 0, "block %zu is somebody else's, too", i);
}

void u_release(void **blocks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bp_pool_release(U_POOL, blocks[i]);
}
