/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named pools and threads: blocks that change hands, pools that come and go on all sides, and those who look after every
 * pool meanwhile (bufpool_tick, epochs of others, changes of the mode).
 */
#include "pools_common.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(pools_threads, .timeout = 150);

enum { THREADS = 8 };
static atomic_bool stop;

/* One more that was wrong; never in another thread's assertions. */
#define WRONG(condition) ((condition) ? 1u : 0u)

static unsigned join_all(pthread_t *threads, int count)
{
	unsigned wrong = 0;

	for (int i = 0; i < count; i++) {
		void *one = NULL;

		pthread_join(threads[i], &one);
		wrong += (unsigned)(uintptr_t)one;
	}
	return wrong;
}

/* ---- one acquires, another releases ---- */

enum { SLOTS = 64, BLOCKS = 200000 };
static _Atomic(void *) slots[SLOTS];

static size_t size_of(unsigned i)
{
	static const size_t sizes[] = { 16, 200, 1024, 5000, 40000, 65536, 70000 };

	return sizes[i % T_COUNT(sizes)];
}

static void *produce(void *pool)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < BLOCKS; i++) {
		uint64_t *p = bufpool_acquire_from(pool, size_of(i)), *old;

		if (!p)
			return (void *)1;
		p[0] = size_of(i);
		p[1] = ~(uint64_t)size_of(i);
		old = atomic_exchange(&slots[i % SLOTS], p);
		if (old) {
			wrong += WRONG(old[1] != ~old[0]);
			bufpool_release_sized(old, old[0]);
		}
	}
	atomic_store(&stop, true);
	return (void *)(uintptr_t)wrong;
}

static void *consume(void *unused)
{
	unsigned wrong = 0;

	(void)unused;
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		uint64_t *p = atomic_exchange(&slots[i % SLOTS], NULL);

		if (!p)
			continue;
		wrong += WRONG(p[1] != ~p[0]);
		if (i % 2)
			bufpool_release(p);
		else
			bufpool_release_sized(p, p[0]);
	}
	return (void *)(uintptr_t)wrong;
}

Test(pools_threads, acquired_on_one_and_released_on_others)
{
	p_need_own_memory();
	struct bufpool *pool = p_make("handed on", 0, 0, 0);
	pthread_t threads[4];

	cr_assert_eq(bufpool_option_set("epoch_ms", "20"), 0);
	cr_assert_eq(pthread_create(&threads[0], NULL, produce, pool), 0);
	for (int i = 1; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, consume, NULL), 0);
	cr_assert_eq(join_all(threads, 4), 0);
	for (size_t i = 0; i < SLOTS; i++)
		bufpool_release(atomic_load(&slots[i]));
	cr_assert_eq(p_stats(pool).in_use, 0);
	cr_assert_eq(p_stats(pool).acquired, BLOCKS);
	cr_assert(p_balanced(pool));
	cr_assert_eq(p_stats(pool).misuse + t_stats().misuse, 0);
	bufpool_destroy(pool);
}

/* ---- pools that come and go ---- */

struct comer {
	uint64_t random;
	int rounds;
	bool some_out;
};

/* Another thread may be ending this pool's epoch, and what it moves be counted at neither end or both: for a moment. */
static bool has_out(struct bufpool *pool, uint64_t count)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	for (int i = 0; i < 1000; i++) {
		if (!bufpool_stats_get(&s, pool) && s.in_use == count && !t_imbalance(&s))
			return true;
		t_sleep_ms(1);
	}
	return false;
}

static unsigned use(struct bufpool *pool, uint64_t *random, bool some_out)
{
	enum { HELD = 24 };
	struct { unsigned char *p; size_t n; uint64_t seed; } held[HELD];
	unsigned wrong = 0;

	for (int i = 0; i < HELD; i++) {
		held[i].n = t_random_size(random) % 70000;
		held[i].seed = t_random(random);
		held[i].p = bufpool_acquire_from(pool, held[i].n);
		if (!held[i].p)
			return 1000;
		t_fill(held[i].p, held[i].n, held[i].seed);
	}
	wrong += WRONG(!has_out(pool, HELD));
	for (int i = 0; i < HELD; i++) {
		wrong += WRONG(!t_check(held[i].p, held[i].n, held[i].seed));
		if (!some_out || i % 8)
			bufpool_release(held[i].p);
	}
	return wrong;
}

static void *come_and_go(void *argument)
{
	struct comer *c = argument;
	unsigned wrong = 0;

	for (int i = 0; i < c->rounds; i++) {
		struct bufpool *pools[3];
		const int count = 1 + (int)(t_random(&c->random) % 3);

		for (int k = 0; k < count; k++)
			if (!(pools[k] = p_make("coming and going", 0, 0, t_random(&c->random) % 2 ? BUFPOOL_WIPE : 0)))
				return (void *)1;
		for (int k = 0; k < count; k++)
			if (t_random(&c->random) % 4)
				wrong += use(pools[k], &c->random, c->some_out);
		bufpool_release(bufpool_acquire(5000));
		for (int k = 0; k < count; k++)
			bufpool_destroy(pools[k]);
	}
	return (void *)(uintptr_t)wrong;
}

typedef void *thread_fn(void *argument);

static void *tick(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop))
		bufpool_tick();
	return NULL;
}

static void *change_mode(void *unused)
{
	unsigned wrong = 0;

	(void)unused;
	for (unsigned i = 0; !atomic_load(&stop) || i % 2; i++) {
		wrong += WRONG(bufpool_option_set("mode", i % 2 ? "pool" : "pass") != 0);
		t_sleep_ms(1);
	}
	return (void *)(uintptr_t)wrong;
}

static void *end_epochs(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		bufpool_advance_epoch(NULL);
		bufpool_trim(NULL, 0);
		bufpool_release(bufpool_acquire(40000));
	}
	return NULL;
}

static void come_and_go_beside(thread_fn *beside, int threads, int rounds)
{
	static struct comer comers[THREADS];
	pthread_t ids[THREADS], other;
	struct bufpool *pool;
	unsigned wrong;

	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	atomic_store(&stop, false);
	if (beside)
		cr_assert_eq(pthread_create(&other, NULL, beside, NULL), 0);
	for (int i = 0; i < threads; i++) {
		comers[i] = (struct comer){ .random = (uint64_t)i + 1, .rounds = rounds };
		cr_assert_eq(pthread_create(&ids[i], NULL, come_and_go, &comers[i]), 0);
	}
	wrong = join_all(ids, threads);
	atomic_store(&stop, true);
	if (beside)
		wrong += join_all(&other, 1);
	cr_assert_eq(wrong, 0, "%u", wrong);
	cr_assert_eq(t_stats().misuse, 0);
	cr_assert(t_balanced());
	/* All numbers are free again and as good as new: some hundred of them one after the other, and at once. */
	for (int i = 0; i < 200; i++) {
		uint64_t random = (uint64_t)i;

		pool = p_make("afterwards", 0, 0, 0);
		cr_assert_not_null(pool);
		cr_assert_eq(use(pool, &random, false), 0);
		cr_assert(p_balanced(pool));
		bufpool_destroy(pool);
	}
}

Test(pools_threads, eight_threads_make_use_and_destroy_pools)
{
	p_need_own_memory();
	come_and_go_beside(NULL, THREADS, 400);
}

Test(pools_threads, beside_a_thread_that_ticks)
{
	p_need_own_memory();
	come_and_go_beside(tick, 4, 1000);
}

Test(pools_threads, beside_a_thread_that_changes_the_mode)
{
	p_need_own_memory();
	come_and_go_beside(change_mode, 4, 1000);
}

Test(pools_threads, beside_epochs_and_trims_of_the_default_pool)
{
	p_need_own_memory();
	come_and_go_beside(end_epochs, 4, 1000);
}

/* Nothing but coming and going, so that a visit and an end meet as often as can be. */
static void *only_come_and_go(void *argument)
{
	for (int i = 0; i < *(int *)argument; i++) {
		struct bufpool *pool = p_make("empty", 0, 0, 0);

		if (!pool)
			return (void *)1;
		bufpool_destroy(pool);
	}
	return NULL;
}

Test(pools_threads, empty_ones_beside_threads_that_tick)
{
	int rounds = 60000;
	pthread_t ids[2], others[3];
	unsigned wrong;

	atomic_store(&stop, false);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&others[i], NULL, tick, NULL), 0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, only_come_and_go, &rounds), 0);
	wrong = join_all(ids, 2);
	atomic_store(&stop, true);
	cr_assert_eq(wrong + join_all(others, 3), 0);
	for (int i = 0; i < 100; i++) {
		struct bufpool *pool = p_make("afterwards", 0, 0, 0);

		cr_assert_not_null(pool);
		bufpool_destroy(pool);
	}
}

/* Ends while others are giving back what it has cached. */
Test(pools_threads, full_ones_beside_threads_that_tick)
{
	enum { ROUNDS = 120, CACHED = 3000 };
	static void *p[CACHED];
	pthread_t others[3];
	uint64_t random = 1;

	p_need_own_memory();
	cr_assert_eq(bufpool_option_set("epoch_ms", "10"), 0);
	atomic_store(&stop, false);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&others[i], NULL, tick, NULL), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct bufpool *pool = p_make("full", 0, 0, 0);

		cr_assert_not_null(pool);
		for (int k = 0; k < CACHED; k++)
			cr_assert_not_null(p[k] = bufpool_acquire_from(pool, (size_t)k % 10 * 200));
		bufpool_release_many(p, CACHED);
		t_sleep_ms((unsigned)(t_random(&random) % 25));
		bufpool_destroy(pool);
	}
	atomic_store(&stop, true);
	cr_assert_eq(join_all(others, 3), 0);
	cr_assert_eq(t_stats().misuse, 0);
	cr_assert(t_balanced());
}

/* ---- the process's first calls ---- */

static pthread_barrier_t together;

static void *make_the_first(void *index)
{
	uintptr_t wrong = 0;
	struct bufpool *pool;
	void *p;

	pthread_barrier_wait(&together);
	if (index && bufpool_prefill(NULL, 1, 40000) != 1)
		wrong++;
	pool = p_make("first", 0, 0, 0);
	if (!pool)
		return (void *)(wrong + 100);
	p = bufpool_acquire_from(pool, 1000);
	wrong += WRONG(!p || p_stats(pool).in_use != 1);
	bufpool_release(p);
	bufpool_destroy(pool);
	return (void *)wrong;
}

static void *spin(void *unused)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		;
	return unused;
}

/* Beside so many that whoever starts the library has little of the CPU, and the others wait for long. */
static void make_the_first_together(void *prefill)
{
	enum { SPINNING = 60 };
	pthread_t ids[THREADS], spinning;

	pthread_barrier_init(&together, NULL, THREADS);
	for (int i = 0; i < SPINNING; i++)
		if (pthread_create(&spinning, NULL, spin, NULL))
			_exit(99);
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&ids[i], NULL, make_the_first, i % 2 ? prefill : NULL))
			_exit(99);
	_exit(join_all(ids, THREADS) ? 1 : 0);
}

/* In children, each of which starts the library anew: nothing has been called here. */
Test(pools_threads, eight_threads_make_the_process_s_first_call)
{
	struct t_result r;

	for (int i = 0; i < 4; i++) {
		t_child(&r, make_the_first_together, &together);
		cr_assert(t_exited(&r, 0), "child %d: status %x, %s", i, r.status, r.text);
	}
}

/* ---- at the limit, on all sides ---- */

static void *take_to_the_limit(void *argument)
{
	enum { MOST = 2000 };
	struct bufpool **mine = calloc(MOST, sizeof(*mine));
	uintptr_t wrong = 0;

	(void)argument;
	for (int round = 0; round < 3; round++) {
		int n = 0, failed = 0;

		while (n < MOST && !(failed = bufpool_create(&mine[n], NULL)))
			n++;
		wrong += WRONG(failed && failed != -EMFILE);
		for (int i = 0; i < n; i += 50) {
			void *p = bufpool_acquire_from(mine[i], 100);

			wrong += WRONG(!p);
			bufpool_release(p);
		}
		while (n > 0)
			bufpool_destroy(mine[--n]);
	}
	free(mine);
	return (void *)wrong;
}

Test(pools_threads, four_threads_at_the_limit)
{
	p_need_own_memory();
	pthread_t ids[4];
	struct bufpool *pool;

	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&ids[i], NULL, take_to_the_limit, NULL), 0);
	cr_assert_eq(join_all(ids, 4), 0);
	pool = p_make("afterwards", 0, 0, 0);
	cr_assert_not_null(pool);
	bufpool_destroy(pool);
}
