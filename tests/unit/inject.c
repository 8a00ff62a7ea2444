/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Restartable sequences under fire: their sections are slowed down between the instructions (inject.h) while timers,
 * migrations, other threads of the same CPU and a taker interrupt them. Some tokens go from hand to hand through the
 * stacks; none may be lost, and none may be in two places.
 *
 * So that this can't pass without having tested anything, what reached each point is counted: a section that reached a
 * point but not the next one was started again.
 */
#include "percpu/percpu.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

/* By the number of the point; 0 is none. */
_Atomic uint64_t u_inject_seen[5] __attribute__((visibility("hidden")));
uint32_t u_inject_delay[5] __attribute__((visibility("hidden")));

enum { TOKENS = 48, THREADS_MAX = 4, CLASSES = 3, CAPACITY = 12, ENOUGH = 30, TAKEN = 100, LONGEST_US = 15000000 };
static const unsigned classes[CLASSES] = { 3, 28, 44 };

static struct bp_slabs slabs;
static _Atomic unsigned in_hands[TOKENS];
static _Atomic uint64_t calls, committed, wrong, taken;
static _Atomic bool stop;

struct hands {
	void *tokens[TOKENS];
	size_t count;
	uint64_t random;
};

struct actor {
	pthread_t id;
	pid_t tid;
	int cpu; /* -1: anywhere */
	struct hands own, in_handler;
	timer_t timer;
	long timer_us;
	_Atomic bool ready;
};
static struct actor actors[THREADS_MAX];
static __thread struct actor *self;

/* What the taker has got, for whoever needs something. */
static struct hands pot;
static pthread_mutex_t pot_lock = PTHREAD_MUTEX_INITIALIZER;

static void *token(size_t n)
{
	return (void *)(n * 16 + 4096);
}

static size_t number(void *p)
{
	return ((uintptr_t)p - 4096) / 16;
}

static void has(struct hands *h, void *p)
{
	size_t n = number(p);
	if ((uintptr_t)p % 16 != 0 || n >= TOKENS || atomic_exchange(&in_hands[n], 1) != 0 || h->count == TOKENS)
		atomic_fetch_add(&wrong, 1);
	else
		h->tokens[h->count++] = p;
}

static void count(bool done)
{
	atomic_fetch_add(&calls, 1);
	atomic_fetch_add(&committed, done);
}

/* ---- one operation ---- */

static void push(struct hands *h, unsigned class)
{
	if (h->count == 0)
		return;
	void *p = h->tokens[--h->count];
	atomic_store(&in_hands[number(p)], 0);
	bool done = bp_rseq_push(slabs.base, class, p);
	count(done);
	if (!done)
		has(h, p);
}

static void pop(struct hands *h, unsigned class)
{
	void *p = bp_rseq_pop(slabs.base, class);
	count((char *)p != bp_percpu_nothing);
	if ((char *)p != bp_percpu_nothing)
		has(h, p);
}

static void push_batch(struct hands *h, unsigned class, int cpu, size_t n)
{
	void *moved[4];
	n = n < h->count ? n : h->count;
	if (n == 0)
		return;
	for (size_t i = 0; i < n; i++) {
		moved[i] = h->tokens[--h->count];
		atomic_store(&in_hands[number(moved[i])], 0);
	}
	size_t done = bp_percpu_push_batch(slabs, cpu, class, moved, n);
	count(done > 0);
	for (size_t i = done; i < n; i++)
		has(h, moved[i]);
}

static void pop_batch(struct hands *h, unsigned class, int cpu, size_t n)
{
	void *moved[4];
	size_t got = bp_percpu_pop_batch(moved, n, slabs, cpu, class);
	count(got > 0);
	for (size_t i = 0; i < got; i++)
		has(h, moved[i]);
}

static void recount(unsigned class, int cpu, uint32_t interval)
{
	uint32_t pops;
	count(bp_percpu_recount(&pops, slabs, cpu, class, interval));
}

static void operate(struct hands *h)
{
	uint64_t n = u_random(&h->random) >> 8;
	unsigned class = classes[n % CLASSES];
	int cpu = bp_percpu_enter(slabs, 0);
	if (cpu < 0) /* somebody else is preparing it */
		return;
	bp_percpu_open(slabs, cpu, class, CAPACITY);
	switch (n / 16 % 8) {
	case 0:
	case 1:
		push(h, class);
		break;
	case 2:
	case 3:
		pop(h, class);
		break;
	case 4:
		push_batch(h, class, cpu, n / 256 % 4 + 1);
		break;
	case 5:
		pop_batch(h, class, cpu, n / 256 % 4 + 1);
		break;
	case 6:
		bp_percpu_resize(slabs, cpu, class, (unsigned)(n / 256 % CAPACITY + 1));
		break;
	default:
		recount(class, cpu, (uint32_t)(n / 256 % 40 + 2));
	}
}

static void *act(void *argument)
{
	self = argument;
	self->tid = gettid();
	if (self->cpu >= 0)
		u_pin(self->cpu);
	atomic_store(&self->ready, true);
	while (!atomic_load(&stop)) {
		operate(&self->own);
		if (self->own.count == 0 && pthread_mutex_trylock(&pot_lock) == 0) {
			if (pot.count > 0)
				self->own.tokens[self->own.count++] = pot.tokens[--pot.count];
			pthread_mutex_unlock(&pot_lock);
		}
	}
	return NULL;
}

/* ---- what interrupts ---- */

/* Once, from now on: by a clock that went on while its handler runs, a slow machine would come to nothing else. */
static int set_timer(struct actor *a)
{
	return timer_settime(a->timer, 0, &(struct itimerspec){ .it_value.tv_nsec = a->timer_us * 1000 }, NULL);
}

static void in_handler(int signal)
{
	int saved = errno;
	(void)signal;
	for (int i = 0; i < 3; i++)
		operate(&self->in_handler);
	set_timer(self);
	errno = saved;
}

static void timer_on(struct actor *a, long us)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	event._sigev_un._tid = a->tid;
	cr_assert_eq(timer_create(CLOCK_MONOTONIC, &event, &a->timer), 0);
	a->timer_us = us;
	cr_assert_eq(set_timer(a), 0);
}

static void *move_about(void *unused)
{
	(void)unused;
	for (unsigned n = 0; !atomic_load(&stop); n++) {
		for (int i = 0; i < THREADS_MAX; i++) {
			cpu_set_t one;
			if (actors[i].id == 0 || actors[i].cpu >= 0)
				continue;
			CPU_ZERO(&one);
			CPU_SET(u_cpu((n + (unsigned)i) % 2), &one);
			pthread_setaffinity_np(actors[i].id, sizeof(one), &one);
		}
		usleep(200);
	}
	return NULL;
}

static void collect(void *ctx, unsigned class, void **blocks, size_t count)
{
	(void)ctx, (void)class;
	pthread_mutex_lock(&pot_lock);
	for (size_t i = 0; i < count; i++)
		has(&pot, blocks[i]);
	atomic_fetch_add(&taken, count);
	pthread_mutex_unlock(&pot_lock);
}

static void *take(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		for (unsigned cpu = 0; cpu < slabs.cpus; cpu++)
			bp_percpu_take(slabs, (int)cpu, 0, BP_CLASS_COUNT - 1, collect, NULL);
		usleep(100);
	}
	return NULL;
}

/* ---- the harness ---- */

static void start(unsigned threads, bool pinned, uint32_t delay)
{
	u_need_rseq();
	cr_assert_eq(bp_percpu_start(BP_PERCPU_RSEQ), BP_PERCPU_RSEQ);
	cr_assert(bp_percpu_create(&slabs));
	for (size_t i = 1; i < U_COUNT(u_inject_delay); i++)
		u_inject_delay[i] = delay;
	for (size_t i = 0; i < TOKENS; i++)
		has(&actors[i % threads].own, token(i));
	for (unsigned i = 0; i < threads; i++) {
		actors[i].cpu = pinned ? u_cpu(0) : -1;
		actors[i].own.random = i + 1;
		actors[i].in_handler.random = i + 100;
	}
	for (unsigned i = 0; i < threads; i++)
		cr_assert_eq(pthread_create(&actors[i].id, NULL, act, &actors[i]), 0);
	for (unsigned i = 0; i < threads; i++)
		while (!atomic_load(&actors[i].ready))
			usleep(100);
}

/* Sections that were started again, and those that had come to the last point. Meaningful at rest. */
static uint64_t aborts(void)
{
	return atomic_load(&u_inject_seen[1]) - atomic_load(&calls);
}

static uint64_t aborts_before_commit(void)
{
	return atomic_load(&u_inject_seen[4]) - atomic_load(&committed);
}

/* Until there have been enough restarts (the counts are only rough meanwhile) and takers have got so many tokens, a
 * second at least. */
static void run(uint64_t wanted)
{
	for (uint64_t start = u_now_us(), now = start; now < start + LONGEST_US; now = u_now_us()) {
		usleep(20000);
		if (now > start + 1000000 && aborts() > ENOUGH + 10 && aborts_before_commit() > ENOUGH + 10 &&
		    atomic_load(&taken) >= wanted)
			break;
	}
	atomic_store(&stop, true);
}

static size_t in_stacks(void)
{
	size_t n = 0;
	bp_percpu_child(slabs); /* opens what a taker might have left closed: nothing, at rest */
	for (unsigned cpu = 0; cpu < slabs.cpus; cpu++)
		for (int c = 0; c < CLASSES; c++) {
			uint32_t there = bp_percpu_count(slabs, (int)cpu, classes[c]);
			uint64_t word = atomic_load(&bp_slab_of(slabs, (int)cpu)->words[classes[c]]);
			for (uint32_t i = 1; i <= there; i++)
				has(&(struct hands){ .count = 0 },
				    ((void **)bp_slab_of(slabs, (int)cpu))[(uint32_t)word - i]);
			n += there;
		}
	return n;
}

static void assert_nothing_lost(void)
{
	size_t found = pot.count;
	for (int i = 0; i < THREADS_MAX; i++)
		found += actors[i].own.count + actors[i].in_handler.count;
	cr_assert_eq(atomic_load(&wrong), 0, "%lu tokens in two hands, or made up", (unsigned long)atomic_load(&wrong));
	found += in_stacks();
	cr_assert_eq(atomic_load(&wrong), 0, "tokens in hands and in stacks");
	cr_assert_eq(found, TOKENS, "%zu of %d tokens", found, TOKENS);
	for (size_t i = 0; i < TOKENS; i++)
		cr_assert_eq(atomic_load(&in_hands[i]), 1, "token %zu is lost", i);
	cr_assert_gt((int64_t)aborts(), ENOUGH, "%ld sections were started again of %lu", (long)aborts(),
		     (unsigned long)calls);
	cr_assert_gt((int64_t)aborts_before_commit(), ENOUGH, "%ld of them before the commit",
		     (long)aborts_before_commit());
}

static void join(unsigned threads)
{
	for (unsigned i = 0; i < threads; i++)
		pthread_join(actors[i].id, NULL);
}

TestSuite(inject, .timeout = 60);

Test(inject, without_disturbance_each_call_is_one_section)
{
	start(1, true, 0);
	usleep(100000);
	for (int i = 0; i < 10000 && atomic_load(&committed) <= 1000; i++)
		usleep(1000);
	atomic_store(&stop, true);
	join(1);
	cr_assert_eq(atomic_load(&wrong), 0);
	cr_assert_lt(aborts(), atomic_load(&calls) / 100, "the counters are not what they should be");
	cr_assert_gt(atomic_load(&committed), 1000);
}

Test(inject, timers_that_fire_into_sections_and_work_in_their_handlers)
{
	struct sigaction action = { .sa_handler = in_handler, .sa_flags = SA_RESTART };
	sigaction(SIGUSR1, &action, NULL);
	start(2, true, 4000);
	for (int i = 0; i < 2; i++)
		timer_on(&actors[i], 50 + 20 * i);
	run(0);
	join(2);
	for (int i = 0; i < 2; i++)
		timer_delete(actors[i].timer);
	assert_nothing_lost();
}

Test(inject, threads_that_are_moved_from_cpu_to_cpu)
{
	pthread_t mover;
	if (u_cpu(1) < 0)
		cr_skip_test("one CPU");
	start(3, false, 4000);
	pthread_create(&mover, NULL, move_about, NULL);
	run(0);
	join(3);
	pthread_join(mover, NULL);
	assert_nothing_lost();
}

Test(inject, a_taker_that_empties_the_stacks_all_the_while)
{
	pthread_t taker;
	start(2, true, 4000);
	pthread_create(&taker, NULL, take, NULL);
	run(TAKEN);
	join(2);
	pthread_join(taker, NULL);
	assert_nothing_lost();
	cr_assert_geq(atomic_load(&taken), TAKEN, "the taker got %lu tokens", (unsigned long)taken);
}

Test(inject, everything_at_once)
{
	struct sigaction action = { .sa_handler = in_handler, .sa_flags = SA_RESTART };
	pthread_t mover, takers[2];
	if (u_cpu(1) < 0)
		cr_skip_test("one CPU");
	sigaction(SIGUSR1, &action, NULL);
	start(4, false, 2000);
	for (int i = 0; i < 4; i++)
		timer_on(&actors[i], 60 + 10 * i);
	pthread_create(&mover, NULL, move_about, NULL);
	for (int i = 0; i < 2; i++)
		pthread_create(&takers[i], NULL, take, NULL);
	run(0);
	join(4);
	pthread_join(mover, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(takers[i], NULL);
	for (int i = 0; i < 4; i++)
		timer_delete(actors[i].timer);
	assert_nothing_lost();
}
