/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named pools that come and go on some threads while others tick, hand blocks on and end epochs: what one owner writes is
 * ordered before what the next one does, and a pool's beginning and end before and after everybody's visits. A plain
 * program, because Criterion does not run under TSan, which is what sees the order.
 */
#include <bufpool/bufpool.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { OWNERS = 3, ROUNDS = 300, HANDED = 20000, SLOTS = 8 };

/* See tests/unit/tsan_pool.c: jemalloc is not instrumented. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:^je_\nrace:^bp_je_\nrace:^arena_\nrace:^ctl_\nrace:^base_\nrace:^tcache_\nrace:^extent_\n"
	       "race:^emap_\nrace:^edata_\nrace:^decay_\nrace:^pac_\nrace:^bin_\n";
}

static _Atomic unsigned wrong;
static atomic_bool stop;
static struct bufpool *common;
static _Atomic(unsigned char *) slots[SLOTS];

static struct bufpool *make(unsigned flags)
{
	const struct bufpool_conf conf = { .size = sizeof(conf), .name = "tsan", .flags = flags };
	struct bufpool *pool = NULL;

	wrong += bufpool_create(&pool, &conf) != 0;
	return pool;
}

static void *come_and_go(void *unused)
{
	static const size_t sizes[] = { 64, 5000, 40000, 65536, 100000 };

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct bufpool *pool = make(i % 2 ? BUFPOOL_WIPE : 0);
		unsigned char *p[20];

		for (unsigned k = 0; k < 20; k++) {
			p[k] = bufpool_acquire_from(pool, sizes[k % 5]);
			if (p[k])
				memset(p[k], (int)k, sizes[k % 5]);
		}
		for (unsigned k = 0; k < 20; k++) {
			wrong += !p[k] || p[k][sizes[k % 5] - 1] != k;
			bufpool_release(p[k]);
		}
		bufpool_advance_epoch(pool);
		bufpool_destroy(pool);
	}
	return unused;
}

/* Plain stores and loads in blocks that reach another thread by a slot, or by nothing but the pool. */
static void *hand_on(void *value)
{
	for (unsigned i = 0; i < HANDED; i++) {
		const size_t n = i % 2 ? 40000 : 1000;
		unsigned char *p = bufpool_acquire_from(common, n), *other;

		if (!p)
			break;
		p[0] = p[n - 1] = *(unsigned char *)value;
		wrong += p[0] != p[n - 1];
		other = atomic_exchange(&slots[i % SLOTS], p);
		bufpool_release(other);
	}
	return NULL;
}

static void *look_after(void *unused)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	while (!atomic_load(&stop)) {
		bufpool_tick();
		bufpool_advance_epoch(common);
		wrong += bufpool_stats_get(&s, common) != 0;
	}
	return unused;
}

int main(void)
{
	static unsigned char values[2] = { 1, 2 };
	struct bufpool_stats s = { .size = sizeof(s) };
	pthread_t threads[OWNERS + 2], other;

	printf("1..1\n");
	wrong += bufpool_option_set("epoch_ms", "10") != 0;
	common = make(0);
	wrong += pthread_create(&other, NULL, look_after, NULL) != 0;
	for (int i = 0; i < OWNERS; i++)
		wrong += pthread_create(&threads[i], NULL, come_and_go, NULL) != 0;
	for (int i = 0; i < 2; i++)
		wrong += pthread_create(&threads[OWNERS + i], NULL, hand_on, &values[i]) != 0;
	for (int i = 0; i < OWNERS + 2; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	pthread_join(other, NULL);
	for (int i = 0; i < SLOTS; i++)
		bufpool_release(slots[i]);
	wrong += bufpool_stats_get(&s, common) != 0 || s.in_use != 0 || s.misuse != 0;
	bufpool_destroy(common);
	printf("%sok 1 - pools that come and go beside ticks\n", wrong ? "not " : "");
	return wrong != 0;
}
