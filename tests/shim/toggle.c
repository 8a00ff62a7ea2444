/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The mode changed in mid-flight, from outside, while threads allocate, hand over, resize and free, every byte checked:
 * nothing that is out or cached at a change is lost, doubled or broken, by content and by the library's own accounting.
 */
#include "control_tool.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 4, LIVE = 64, CHANGES = 200, PHASES = 2000 };

static bool stop;
static struct block { size_t n; unsigned char fill, bytes[]; } *passed_on[16]; /* from thread to thread */

static struct block *new_block(unsigned random)
{
	static const unsigned tops[] = {200, 4000, 65000, 70000, 300000};
	size_t n = random % tops[(random >> 20) % COUNT(tops)] + 1;
	struct block *b = random & 1 << 30 ? calloc(1, sizeof(*b) + n) : malloc(sizeof(*b) + n);

	if (b == NULL || ((random & 1 << 30) && !t_is_filled(b, 0, sizeof(*b) + n))) {
		CHECK(!"a block that is new");
		return NULL;
	}
	*b = (struct block){.n = n, .fill = (unsigned char)(random >> 3)};
	memset(b->bytes, b->fill, n);
	return b;
}

static void end_block(struct block *b)
{
	CHECK(!b || t_is_filled(b->bytes, b->fill, b->n));
	free(b);
}

static struct block *resized(struct block *b, unsigned random)
{
	size_t n = random % 100000 + 1;
	struct block *moved = b ? realloc(b, sizeof(*b) + n) : NULL;

	if (!moved)
		return b;
	CHECK(t_is_filled(moved->bytes, moved->fill, n < moved->n ? n : moved->n));
	moved->n = n;
	memset(moved->bytes, moved->fill, n);
	return moved;
}

static void *work(void *argument)
{
	struct block *live[LIVE] = {NULL};
	unsigned random = (unsigned)(uintptr_t)argument * 77777u;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		random = random * 1664525u + 1013904223u;
		unsigned i = random >> 8 & (LIVE - 1), what = random >> 16 & 7;
		if (what == 0)
			live[i] = resized(live[i], random);
		else if (what == 1)
			live[i] = __atomic_exchange_n(&passed_on[i % COUNT(passed_on)], live[i], __ATOMIC_ACQ_REL);
		else {
			end_block(live[i]);
			live[i] = new_block(random >> 1);
		}
	}
	for (unsigned i = 0; i < LIVE; i++)
		end_block(live[i]);
	return NULL;
}

/* From outside: one tool process with as many words as it takes, pass and pool by turns. */
static void toggle_from_outside(void)
{
	static const char *words[4 + CHANGES + 1] = {"bufpool-control", "-t", "20"};
	struct answer a;

	words[3] = text_of(getpid());
	for (int i = 0; i < CHANGES; i++)
		words[4 + i] = i % 2 == 0 ? "mode:pass" : "mode:pool";
	run_tool(&a, words, 0, no_calls);
	CHECK(a.status == 0 && !*a.text);
}

static void toggle_from_inside(void)
{
	for (int i = 0; i < 2 * CHANGES; i++) {
		CHECK(API(bufpool_option_set)("mode", i % 2 == 0 ? "pass" : "pool") == 0);
		usleep(1000);
	}
}

static void loses_nothing(void (*toggle)(void))
{
	pthread_t threads[THREADS];
	struct bufpool_stats before = stats(), after;

	for (uintptr_t i = 0; i < THREADS; i++)
		NEED(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
	double began = t_now();
	toggle();
	t_note("changed for %.2f s", t_now() - began);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < COUNT(passed_on); i++)
		end_block(passed_on[i]);
	CHECK(is("mode", "pool"));
	after = stats();
	t_note("acquired %lu, hits %lu, passed through %lu, from jemalloc %lu", after.acquired - before.acquired,
	       after.hits - before.hits, after.passed_through - before.passed_through,
	       after.from_backend - before.from_backend);
	CHECK(after.acquired > before.acquired + 1000 && after.passed_through > before.passed_through + 1000);
	CHECK(after.in_use <= before.in_use + THREADS); /* libc's own, of threads, may lie there */
	CHECK(after.acquired - after.released == after.in_use);
	CHECK(after.from_backend == right(&after));
	CHECK(after.misuse == 0 && after.set_aside == 0);
}

TEST(changed_from_outside_nothing_is_lost_or_broken, T_SHIM, .timeout = 60)
{
	loses_nothing(toggle_from_outside);
}

TEST(changed_hundreds_of_times_a_second_nothing_is_lost_or_broken, T_SHIM)
{
	loses_nothing(toggle_from_inside);
}

TEST(pass_at_the_start_and_pool_later_hits, T_SHIM, .conf = "mode:pass")
{
	struct bufpool_stats s = stats();

	CHECK(is("mode", "pass") && s.acquired == 0 && s.cached == 0);
	CHECK(!*ask(0, getpid(), "10", calls, "mode:pool"));
	s = stats();
	for (int i = 0; i < 10000; i++)
		free(malloc(65536));
	CHECK(stats().acquired == s.acquired + 10000);
	CHECK(stats().hits >= s.hits + 9900);
	s = stats();
	CHECK(s.from_backend == right(&s) && s.misuse == 0);
}

/* Two who ask for different things at the same moment must not leave a mode in force that the option does not say: the
 * next one's word would then be taken for no change. */
static unsigned phase, done;

static void *insist(void *mode)
{
	for (unsigned next = 1; next <= PHASES; next++) {
		while (__atomic_load_n(&phase, __ATOMIC_ACQUIRE) < next)
			sched_yield();
		CHECK(API(bufpool_option_set)("mode", mode) == 0);
		__atomic_add_fetch(&done, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void set_and_see(const char *mode)
{
	CHECK(API(bufpool_option_set)("mode", mode) == 0);
	CHECK(is("mode", mode));
}

TEST(two_who_disagree_leave_no_mode_that_nobody_can_change, T_SHIM)
{
	static const char *const modes[] = {"pass", "pool"};
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		NEED(pthread_create(&threads[i], NULL, insist, (void *)(uintptr_t)modes[i]) == 0);
	for (unsigned next = 1; next <= PHASES; next++) {
		__atomic_store_n(&phase, next, __ATOMIC_RELEASE);
		while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < 2 * next)
			sched_yield();
		set_and_see(modes[next / 2 % 2]);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}
