/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program with named pools that the tests start under limits, options, valgrind and the shim: one command per process
 * (tool.h).
 *
 * Unusual: allocates by malloc as well, which under the shim is the same engine.
 */
#include "tool.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 65536 };

static struct bufpool *make(const char *name, size_t cap, size_t budget)
{
	const struct bufpool_conf conf = { .size = sizeof(conf), .name = name, .cap = cap, .budget = budget };
	struct bufpool *pool = NULL;
	const int failed = bufpool_create(&pool, &conf);

	CHECK(!failed || failed == -ENOMEM || failed == -EMFILE);
	return failed ? NULL : pool;
}

static struct bufpool_stats stats(struct bufpool *pool)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	CHECK(!bufpool_stats_get(&s, pool));
	return s;
}

/* With so many blocks out at most. The helper thread may be at work: see t_balanced. */
static bool balanced(struct bufpool *pool, uint64_t most_out)
{
	static int patience = 5000; /* ms, of all calls */

	for (;; t_sleep_ms(1)) {
		const struct bufpool_stats s = stats(pool);

		if (!t_imbalance(&s) && s.in_use <= most_out)
			return true;
		if (patience-- <= 0)
			return false;
	}
}

/* ---- use: everything, in whatever mode this process is ---- */

static void use_once(struct bufpool *pool, uint64_t seed)
{
	enum { COUNT = 60 };
	struct { void *p; size_t n; } held[COUNT];
	uint64_t random = seed;

	for (size_t i = 0; i < COUNT; i++) {
		held[i].n = t_random_size(&random);
		held[i].p = bufpool_acquire_from(pool, held[i].n);
		CHECK(held[i].p);
		if (!held[i].p)
			exit(1);
		t_fill(held[i].p, held[i].n, i);
	}
	for (size_t i = 0; i < COUNT; i += 3) {
		const size_t n = t_random_size(&random), kept = n < held[i].n ? n : held[i].n;
		void *p = bufpool_resize(held[i].p, n);

		CHECK(p);
		if (!p)
			continue;
		CHECK(t_check(p, kept, i));
		held[i].p = p;
		held[i].n = n;
		t_fill(p, n, i);
	}
	for (size_t i = 0; i < COUNT; i++) {
		CHECK(t_check(held[i].p, held[i].n, i));
		if (i % 2)
			bufpool_release(held[i].p);
		else
			bufpool_release_sized(held[i].p, held[i].n);
	}
}

static void use(const char *rounds)
{
	for (int i = 0; i < atoi(rounds); i++) {
		struct bufpool *pools[3] = { make("a", 0, 0), make("b", 4096, 1 << 20), make("c", T_LARGEST, 0) };
		void *left;

		for (size_t k = 0; k < 3; k++) {
			CHECK(pools[k]);
			use_once(pools[k], (uint64_t)i * 3 + k);
			CHECK(balanced(pools[k], 0));
		}
		use_once(NULL, (uint64_t)i);
		(void)bufpool_prefill(pools[0], 10, 40000);
		bufpool_advance_epoch(pools[1]);
		bufpool_trim(pools[2], 0);
		bufpool_tick();
		left = bufpool_acquire_from(pools[0], 1000);
		CHECK(left);
		memset(left, 1, 1000);
		const bool stays = !bufpool_owns(left); /* it is jemalloc's own, and so the caller's still */
		for (size_t k = 0; k < 3; k++)
			bufpool_destroy(pools[k]);
		if (stays)
			bufpool_release(left);
	}
	CHECK(!stats(NULL).misuse);
}

/* ---- exhaust: until there is nothing, in one pool, and what the others can do then ---- */

/* How many there were; they are linked in *first. */
static size_t take_all(void ***first, struct bufpool *pool, size_t n)
{
	size_t count = 0;
	void **p;

	*first = NULL;
	errno = 0;
	while (count < ((size_t)3 << 30) / n && (p = bufpool_acquire_from(pool, n))) {
		*p = *first;
		*first = p;
		count++;
	}
	CHECK(count == ((size_t)3 << 30) / n || errno == ENOMEM);
	return count;
}

static void give_all(void **first, size_t count)
{
	void **p;

	while ((p = first)) {
		first = *p;
		bufpool_release(p);
		count--;
	}
	CHECK(!count);
}

static void exhaust(const char *bytes)
{
	const size_t n = strtoul(bytes, NULL, 10);
	struct bufpool *a = make("a", T_LARGEST, (size_t)1 << 40), *b = make("b", 0, (size_t)1 << 40);
	void **first;
	size_t count, most;

	if (!a || !b) {
		printf("no pools at all\n");
		return;
	}
	for (int round = 0; round < 3; round++) {
		count = take_all(&first, a, n);
		CHECK(!bufpool_owns(first) || stats(a).in_use == count);
		give_all(first, count);
		CHECK(balanced(a, 0));
	}
	most = count;
	/* What it caches of one size stands in no other's way. Another pool may find less: each keeps its addresses. */
	count = take_all(&first, a, 2 * n);
	printf("%zu blocks, then %zu of twice the size\n", most, count);
	CHECK(count >= most / 4);
	give_all(first, count);
	for (int i = 0; i < 2; i++) {
		count = take_all(&first, i ? NULL : b, n);
		give_all(first, count);
		CHECK(balanced(i ? NULL : b, i ? UINT64_MAX : 0));
	}
	/* Destroyed with all of it out. */
	take_all(&first, a, n);
	const bool own = bufpool_owns(first);
	bufpool_destroy(a);
	bufpool_destroy(b);
	if (own) {
		a = make("again", 0, 0);
		CHECK(a);
		count = take_all(&first, a, n);
		printf("then %zu again\n", count);
		CHECK(count >= most / 2);
		bufpool_destroy(a);
	}
	CHECK(!stats(NULL).misuse);
}

/* ---- many: pools until there are no more ---- */

static void many(const char *unused)
{
	enum { MOST = 6000 };
	static struct bufpool *pools[MOST];

	(void)unused;
	for (int round = 0; round < 2; round++) {
		int n = 0;

		while (n < MOST && (pools[n] = make("one of many", 0, 0))) {
			void *p = bufpool_acquire_from(pools[n++], 100);

			if (!p) {
				CHECK(errno == ENOMEM);
				break;
			}
			bufpool_release(p);
		}
		printf("%d pools\n", n);
		CHECK(n > 0);
		while (n > 0)
			bufpool_destroy(pools[--n]);
	}
	pools[0] = make("the last", 0, 0);
	CHECK(pools[0]);
	if (pools[0])
		bufpool_destroy(pools[0]);
}

/* ---- background: the helper thread looks after every pool, and pools come and go meanwhile ---- */

static void *come_and_go(void *rounds)
{
	for (int i = 0; i < *(int *)rounds; i++) {
		struct bufpool *pool = make("short", 0, 0);

		if (!pool)
			return pool;
		bufpool_release(bufpool_acquire_from(pool, BLOCK));
		bufpool_destroy(pool);
	}
	return rounds;
}

static void background(const char *unused)
{
	enum { MANY = 300 };
	static void *p[MANY];
	struct bufpool *pool = make("idle", 0, 0);
	struct bufpool_stats s;
	int rounds = 5000;
	pthread_t threads[2];

	(void)unused;
	for (int i = 0; i < MANY; i++)
		memset(p[i] = bufpool_acquire_from(pool, BLOCK), 1, BLOCK);
	bufpool_release_many(p, MANY);
	s = stats(pool);
	CHECK(s.cached + s.victim + s.queued + s.dropped_epoch >= MANY / 2); /* whether or not two epochs have passed by now */
	for (int i = 0; i < 1000 && s.cached + s.victim + s.queued; i++) {
		t_sleep_ms(20);
		s = stats(pool);
	}
	CHECK(s.cached + s.victim + s.queued == 0);
	CHECK(balanced(pool, 0));
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, come_and_go, &rounds));
	for (int i = 0; i < 2; i++) {
		void *result = NULL;

		pthread_join(threads[i], &result);
		CHECK(result);
	}
	use_once(pool, 1);
	bufpool_destroy(pool);
}

/* ---- shim: malloc and free on named blocks ---- */

static void shim(const char *unused)
{
	struct bufpool *pool = make("beside malloc", 0, 0);
	struct bufpool_stats before;
	volatile size_t sizes[] = { 1, 100, 4096, 40000, 65536, 65537, 1 << 20 };

	(void)unused;
	CHECK(pool);
	for (size_t i = 0; i < T_COUNT(sizes); i++) {
		unsigned char *p, *q;

		before = stats(NULL);
		p = bufpool_acquire_from(pool, sizes[i]);
		CHECK(p && bufpool_owns(p));
		CHECK(malloc_usable_size(p) == bufpool_capacity(p));
		CHECK(stats(pool).in_use == 1);
		memset(p, 7, sizes[i]);
		p = realloc(t_launder(p), sizes[i] * 2);
		CHECK(p && t_all(p, sizes[i], 7));
		CHECK(stats(pool).in_use == 1);
		CHECK(stats(NULL).in_use == before.in_use);
		free(t_launder(p));
		CHECK(balanced(pool, 0));
		q = malloc(sizes[i]);
		CHECK(q && stats(pool).in_use == 0);
		bufpool_release(t_launder(q));
	}
	CHECK(stats(pool).acquired == stats(pool).released);
	bufpool_destroy(pool);
	use("20");
}

int main(int argc, char **argv)
{
	static const struct command commands[] = { { "use", use }, { "exhaust", exhaust }, { "many", many },
		{ "background", background }, { "shim", shim } };

	return run_command(argc, argv, commands, T_COUNT(commands));
}
