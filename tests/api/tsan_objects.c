/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Objects that are written with plain stores and reach other threads through their pool alone, through a slot, or while
 * their pool ends: what one owner writes is ordered before what the next owner or the destructor reads, and each object
 * that was constructed is destructed once. A plain program, because Criterion does not run under TSan.
 */
#include <bufpool/objects.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { USERS = 3, ROUNDS = 400, USES = 300, SLOTS = 4 };

/* See tests/unit/tsan_pool.c: jemalloc is not instrumented. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:^je_\nrace:^bp_je_\nrace:^arena_\nrace:^ctl_\nrace:^base_\nrace:^tcache_\nrace:^extent_\n"
	       "race:^emap_\nrace:^edata_\nrace:^decay_\nrace:^pac_\nrace:^bin_\n";
}

struct object {
	unsigned uses, check;
};

static _Atomic unsigned wrong, constructed, destructed;
static struct bufpool_objects *pool;
static _Atomic(struct object *) slots[SLOTS];
static pthread_barrier_t turn;
static bool done;

static void *construct(void *ctx)
{
	atomic_fetch_add(&constructed, 1);
	return ctx ? NULL : calloc(1, sizeof(struct object));
}

static bool reset(void *object, void *ctx)
{
	return ((struct object *)object)->uses % 50 != 49 && !ctx;
}

static void destruct(void *object, void *ctx, int reason)
{
	const struct object *o = object;

	wrong += o->check != o->uses * 3 || reason < BUFPOOL_OBJECTS_UNUSED || ctx;
	atomic_fetch_add(&destructed, 1);
	free(object);
}

static void use(struct object *o)
{
	wrong += o->check != o->uses * 3;
	o->uses++;
	o->check = o->uses * 3;
}

/* In each round all use one pool; the first of them makes and ends it, the others release into it while it ends. */
static void *user(void *number)
{
	static const struct bufpool_objects_ops ops = { sizeof(ops), construct, reset, destruct };
	const bool first = *(int *)number == 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct object *kept = NULL;

		if (first)
			wrong += bufpool_objects_create(&pool, &ops, NULL) != 0;
		pthread_barrier_wait(&turn);
		for (int i = 0; i < USES; i++) {
			struct object *o = bufpool_objects_acquire(pool);

			if (!o)
				break;
			use(o);
			if (i % 7 == 0)
				o = atomic_exchange(&slots[i % SLOTS], o);
			if (o)
				bufpool_objects_release(pool, o);
			if (i % 100 == 99)
				bufpool_tick();
		}
		kept = bufpool_objects_acquire(pool);
		pthread_barrier_wait(&turn);
		if (first) {
			for (int i = 0; i < SLOTS; i++)
				bufpool_objects_release(pool, atomic_exchange(&slots[i], NULL));
			bufpool_objects_release(pool, kept);
			bufpool_objects_destroy(pool);
		} else {
			use(kept);
			bufpool_objects_release(pool, kept);
		}
		pthread_barrier_wait(&turn);
	}
	return NULL;
}

static void *look_after(void *unused)
{
	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		bufpool_tick();
		bufpool_advance_epoch(NULL);
	}
	return unused;
}

int main(void)
{
	static int numbers[USERS] = { 0, 1, 2 };
	pthread_t threads[USERS], other;

	printf("1..1\n");
	wrong += bufpool_option_set("epoch_ms", "10") != 0;
	pthread_barrier_init(&turn, NULL, USERS);
	wrong += pthread_create(&other, NULL, look_after, NULL) != 0;
	for (int i = 0; i < USERS; i++)
		wrong += pthread_create(&threads[i], NULL, user, &numbers[i]) != 0;
	for (int i = 0; i < USERS; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
	pthread_join(other, NULL);
	wrong += constructed == 0 || constructed != destructed;
	if (wrong)
		printf("# %u wrong, %u constructed, %u destructed\n", wrong, constructed, destructed);
	printf("%sok 1 - objects that change hands and pools that end meanwhile\n", wrong ? "not " : "");
	return wrong != 0;
}
