/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Threads: many, short-lived, with tiny stacks, handing blocks to each other, interrupted by signals that allocate.
 */
#include "harness.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static const size_t sizes[] = {1, 8, 16, 40, 64, 100, 200, 500, 1000, 2000, 4096, 10000, 20000, 40000, 65536, 70000,
	200000};

static void every_call(void)
{
	for (size_t i = 0; i < COUNT(sizes); i++) {
		char *p = malloc(sizes[i]), *q = calloc(1, sizes[i]), *r = memalign(64, sizes[i]);

		CHECK(p && q && r);
		memset(p, 1, sizes[i]);
		CHECK(t_is_filled(q, 0, sizes[i]));
		CHECK((p = realloc(p, sizes[i] * 2)));
		free(p);
		free(q);
		free(r);
	}
}

static void *tiny(void *arg)
{
	char *many[200];

	(void)arg;
	every_call();
	for (size_t i = 0; i < COUNT(many); i++) /* misses and refills too */
		CHECK((many[i] = malloc(300)));
	for (size_t i = 0; i < COUNT(many); i++)
		free(many[i]);
	return NULL;
}

TEST(smallest_stack)
{
	pthread_attr_t attributes;
	pthread_t thread[8];

	pthread_attr_init(&attributes);
	NEED(pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN) == 0);
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < COUNT(thread); i++)
			NEED(pthread_create(&thread[i], &attributes, tiny, NULL) == 0);
		for (size_t i = 0; i < COUNT(thread); i++)
			pthread_join(thread[i], NULL);
	}
	/* What POSIX programs have hard-wired: 16 KiB on this architecture. */
	if (pthread_attr_setstacksize(&attributes, 16384) == 0) {
		NEED(pthread_create(&thread[0], &attributes, tiny, NULL) == 0);
		pthread_join(thread[0], NULL);
	}
	pthread_attr_destroy(&attributes);
}

/* ---- blocks that travel ---- */

enum { BOXES = 256 };

struct parcel {
	size_t n;
	unsigned char fill;
	unsigned char data[];
};

static struct parcel *box[BOXES];
static bool stop;

static struct parcel *pack(size_t n, unsigned fill)
{
	struct parcel *parcel = malloc(sizeof(*parcel) + n);

	CHECK(parcel);
	if (!parcel)
		return NULL;
	parcel->n = n;
	parcel->fill = (unsigned char)fill;
	memset(parcel->data, (int)fill, n);
	return parcel;
}

static void unpack(struct parcel *parcel)
{
	if (!parcel)
		return;
	CHECK(t_is_filled(parcel->data, parcel->fill, parcel->n));
	free(parcel);
}

static void exchange_some(unsigned *random, int times)
{
	while (times--) {
		unsigned r = *random = *random * 1664525u + 1013904223u;
		struct parcel *parcel = pack(sizes[(r >> 10) % COUNT(sizes)] % 30000, r >> 20);

		unpack(__atomic_exchange_n(&box[(r >> 16) % BOXES], parcel, __ATOMIC_ACQ_REL));
	}
}

static void *exchange(void *arg)
{
	unsigned random = (unsigned)(uintptr_t)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		exchange_some(&random, 100);
	return NULL;
}

static void empty_boxes(void)
{
	for (size_t i = 0; i < BOXES; i++) {
		unpack(box[i]);
		box[i] = NULL;
	}
}

static void crowd(pthread_t *thread, size_t count, void *(*fn)(void *))
{
	__atomic_store_n(&stop, false, __ATOMIC_RELAXED);
	for (size_t i = 0; i < count; i++)
		CHECK(pthread_create(&thread[i], NULL, fn, (void *)(i + 1)) == 0);
}

static void disperse(pthread_t *thread, size_t count)
{
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < count; i++)
		pthread_join(thread[i], NULL);
	empty_boxes();
}

TEST(blocks_travel_between_threads)
{
	pthread_t thread[8];

	crowd(thread, COUNT(thread), exchange);
	usleep(1000000);
	disperse(thread, COUNT(thread));
}

/* The same while each thread hops from one CPU to the next. */
static void *hop(void *arg)
{
	unsigned random = (unsigned)(uintptr_t)arg;
	cpu_set_t all, one;

	sched_getaffinity(0, sizeof(all), &all);
	for (int cpu = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); cpu = (cpu + 1) % CPU_SETSIZE) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		sched_setaffinity(0, sizeof(one), &one);
		exchange_some(&random, 20);
	}
	return NULL;
}

TEST(blocks_travel_while_threads_change_cpus)
{
	pthread_t thread[6];

	crowd(thread, COUNT(thread), hop);
	usleep(1000000);
	disperse(thread, COUNT(thread));
}

/* ---- short lives ---- */

static void *brief(void *arg)
{
	unsigned random = (unsigned)(uintptr_t)arg;

	exchange_some(&random, 8);
	return pack(500, random >> 8);
}

TEST(ten_thousand_short_threads, .timeout = 60)
{
	size_t settled = 0;

	for (unsigned i = 1; i <= 10000; i += 4) {
		pthread_t thread[4];
		void *parcel;

		for (unsigned j = 0; j < 4; j++)
			if (pthread_create(&thread[j], NULL, brief, (void *)(uintptr_t)(i * 77 + j))) {
				CHECK(!"pthread_create");
				return;
			}
		for (unsigned j = 0; j < 4; j++) {
			pthread_join(thread[j], &parcel);
			unpack(parcel); /* freed by another thread than its own */
		}
		if (i == 2001)
			settled = t_resident();
	}
	empty_boxes();
	t_note("resident after 2000: %zu kB, after 10000: %zu kB", settled >> 10, t_resident() >> 10);
	CHECK(t_resident() < settled + (16 << 20));
}

/* Many threads at once, each holding little: nothing may grow with their number but their stacks. */
static pthread_barrier_t all_here;

static void *hold(void *arg)
{
	pthread_barrier_wait(&all_here);
	for (int i = 0; i < 20; i++)
		every_call();
	pthread_barrier_wait(&all_here);
	return arg;
}

TEST(two_hundred_threads_at_once)
{
	static pthread_t thread[200];

	pthread_barrier_init(&all_here, NULL, COUNT(thread));
	for (size_t i = 0; i < COUNT(thread); i++)
		NEED(pthread_create(&thread[i], NULL, hold, NULL) == 0);
	for (size_t i = 0; i < COUNT(thread); i++)
		pthread_join(thread[i], NULL);
}

/* One thread only allocates, another only frees: memory must not grow with what has passed. */
static struct parcel *volatile mailbox;

static void *consume(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct parcel *parcel = __atomic_exchange_n(&mailbox, NULL, __ATOMIC_ACQ_REL);

		if (parcel)
			unpack(parcel);
		else
			sched_yield();
	}
	return arg;
}

TEST(one_thread_allocates_another_frees)
{
	pthread_t thread;
	size_t before;

	crowd(&thread, 1, consume);
	before = t_resident();
	for (int i = 0; i < 60000; i++) {
		struct parcel *parcel = pack(3000, (unsigned)i), *expected = NULL;

		while (!__atomic_compare_exchange_n(&mailbox, &expected, parcel, false, __ATOMIC_ACQ_REL,
						    __ATOMIC_RELAXED)) {
			expected = NULL;
			sched_yield();
		}
	}
	CHECK(t_resident() < before + (32 << 20)); /* 180 MB passed */
	disperse(&thread, 1);
	unpack(mailbox);
}

/* ---- signals that allocate ----
 * Not legal, but crash handlers and profilers do it. Nothing may break: what the handler gets is a block of its own
 * or, where it interrupted a miss, NULL with ENOMEM. */

enum { STORM = 100 };

static int storms, refused;
static int period_us; /* 0: no more storms */

/* Once, from now on: by a clock that went on while its handler runs, a slow machine would come to nothing else. */
static bool set_timer(void)
{
	struct itimerval once = {.it_value.tv_usec = __atomic_load_n(&period_us, __ATOMIC_RELAXED)};

	return setitimer(ITIMER_REAL, &once, NULL) == 0;
}

static void storm(int signal)
{
	int saved = errno;
	size_t turn = (size_t)__atomic_add_fetch(&storms, 1, __ATOMIC_RELAXED); /* every thread has its storms */
	unsigned char *p[3];

	(void)signal;
	for (size_t i = 0; i < COUNT(p); i++) {
		size_t n = sizes[(turn + i * 3) % 9];

		errno = 0;
		if (!(p[i] = malloc(n))) {
			CHECK(errno == ENOMEM);
			__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
			continue;
		}
		memset(p[i], 0xd0 + (int)i, n);
	}
	for (size_t i = 0; i < COUNT(p); i++) {
		CHECK(!p[i] || t_is_filled(p[i], 0xd0 + (int)i, sizes[(turn + i * 3) % 9]));
		free(p[i]);
	}
	set_timer();
	errno = saved;
}

static void weather(int microseconds)
{
	signal(SIGALRM, storm);
	__atomic_store_n(&period_us, microseconds, __ATOMIC_RELAXED);
	CHECK(set_timer());
}

/* A second, and until there was a storm. */
static bool goes_on(double begin)
{
	double now = t_now();

	return now < begin + 1 || (__atomic_load_n(&storms, __ATOMIC_RELAXED) <= STORM && now < begin + 20);
}

TEST(signals_into_hits, T_POOL)
{
	double begin = t_now();
	unsigned random = 1;

	exchange_some(&random, 2000); /* warm */
	weather(50);
	while (goes_on(begin))
		for (int i = 0; i < 500; i++) {
			struct parcel *a = pack(sizes[i % 9], 1), *b = pack(sizes[(i + 4) % 9], 2);

			unpack(a);
			unpack(b);
		}
	weather(0);
	t_note("%d signals, %d calls refused", storms, refused);
	empty_boxes();
	CHECK(storms > STORM);
	/* Where small blocks pass through, most of a call is jemalloc's own work, which must not be entered twice. */
	if (!strcmp(t_percpu(), "rseq"))
		CHECK(refused < storms / 2);
}

TEST(signals_into_misses, T_POOL)
{
	static struct parcel *many[3000];
	double begin = t_now();

	weather(50);
	while (goes_on(begin)) {
		for (size_t i = 0; i < COUNT(many); i++)
			many[i] = pack(sizes[i % 14], (unsigned)i);
		for (size_t i = 0; i < COUNT(many); i++)
			unpack(many[i]);
		malloc_trim(0);
	}
	weather(0);
	t_note("%d signals, %d calls refused", storms, refused);
	CHECK(storms > STORM);
}

TEST(signals_into_threads, T_POOL)
{
	pthread_t thread[4];

	weather(50);
	crowd(thread, COUNT(thread), exchange);
	for (double begin = t_now(); goes_on(begin);)
		usleep(1000);
	weather(0);
	disperse(thread, COUNT(thread));
	CHECK(storms > STORM);
}
