/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A hundred thousand threads that come, allocate, and go; their blocks are freed by others, some of them long after
 * their thread's death. Neither memory nor the library's accounts may show how many there were.
 */
#include "harness.h"

#include <bufpool/bufpool.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LIVES = 100000, AT_ONCE = 8, HEIRS = 512 };

static const size_t sizes[] = {8, 48, 128, 500, 2000, 8192, 20000, 40000, 65536, 100000};

/* What dead threads left: each place is taken over by a later thread, which checks and frees it. */
static struct heritage {
	size_t n;
	unsigned char bytes[];
} *heritage[HEIRS];

static void inherit(unsigned random, bool leave)
{
	size_t n = sizes[(random >> 4) % COUNT(sizes)] + sizeof(struct heritage);
	struct heritage *mine = leave ? malloc(n) : NULL;

	if (leave && !mine) {
		CHECK(!"malloc");
		return;
	}
	if (mine) {
		mine->n = n - sizeof(*mine);
		memset(mine->bytes, (int)(n % 251), mine->n);
	}
	mine = __atomic_exchange_n(&heritage[(random >> 12) % HEIRS], mine, __ATOMIC_ACQ_REL);
	if (!mine)
		return;
	CHECK(t_is_filled(mine->bytes, (int)((mine->n + sizeof(*mine)) % 251), mine->n));
	free(mine);
}

static void *life(void *arg)
{
	unsigned random = (unsigned)(uintptr_t)arg * 2654435761u;

	for (int i = 0; i < 4; i++)
		inherit(random = random * 1664525u + 1013904223u, true);
	return NULL;
}

TEST(a_hundred_thousand_lives, T_SHIM, .timeout = 240)
{
	int (*get)(struct bufpool_stats *, struct bufpool *) = t_shim_symbol("bufpool_stats_get");
	struct bufpool_stats s = {.size = sizeof(s)};
	pthread_attr_t attributes;
	/* The least over the second and the last fifth: at a single moment it may be twice that. */
	size_t settled = SIZE_MAX, end = SIZE_MAX;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN);
	for (unsigned i = 0; i < LIVES; i += AT_ONCE) {
		pthread_t thread[AT_ONCE];

		for (unsigned j = 0; j < AT_ONCE; j++)
			NEED(pthread_create(&thread[j], &attributes, life, (void *)(uintptr_t)(i + j)) == 0);
		for (unsigned j = 0; j < AT_ONCE; j++)
			pthread_join(thread[j], NULL);
		size_t now = t_resident();

		if (i / (LIVES / 5) == 1 && now < settled)
			settled = now;
		if (i / (LIVES / 5) == 4 && now < end)
			end = now;
	}
	t_note("least resident in the second fifth of them: %zu kB, in the last: %zu kB", settled >> 10, end >> 10);
	CHECK(end < settled + (8 << 20));
	for (unsigned i = 0; i < HEIRS; i++)
		inherit(i << 12, false);
	CHECK(get(&s, NULL) == 0);
	CHECK(s.misuse == 0 && s.set_aside == 0 && s.in_use < 200);
	CHECK(s.from_backend == s.in_use + s.cached + s.victim + s.queued + s.dropped_cap + s.dropped_budget +
					s.dropped_epoch);
}
