/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What interrupts and moves threads while they are in the pool: a timer for each thread whose handler allocates and
 * frees, a thread that sends others from CPU to CPU, both together, and CPUs that go away. Nothing may be doubled or
 * lost: every block bears its owner's mark until it goes, and at the end the library's accounts must be exact.
 *
 * threads.c has the milder weather. Here the handler also keeps blocks that its thread's next handler frees, so that a
 * block handed out twice between the two levels shows.
 */
#include "harness.h"

#include <bufpool/bufpool.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 6, LIVE = 32, KEPT = 4 };

static const size_t sizes[] = {16, 40, 64, 200, 512, 1000, 4096, 12000, 33000, 65536, 80000};

struct block {
	uint64_t *p;
	size_t words;
};

static bool stop;
static unsigned long storms, refused, moves;
static __thread struct block kept[KEPT] __attribute__((tls_model("initial-exec")));
static __thread timer_t *timer __attribute__((tls_model("initial-exec")));
static __thread long period_ns __attribute__((tls_model("initial-exec")));
static pid_t tids[THREADS];

static uint64_t mark_of(const struct block *block, uint64_t owner)
{
	return (owner * 0x9e3779b97f4a7c15u) ^ (uintptr_t)block->p;
}

static bool get(struct block *block, size_t n, uint64_t owner)
{
	block->words = n / sizeof(uint64_t);
	if (!(block->p = malloc(n)))
		return false;
	block->p[0] = block->p[block->words / 2] = block->p[block->words - 1] = mark_of(block, owner);
	return true;
}

static void put(struct block *block, uint64_t owner)
{
	uint64_t mark = mark_of(block, owner);

	if (block->p)
		CHECK(block->p[0] == mark && block->p[block->words / 2] == mark && block->p[block->words - 1] == mark);
	free(block->p);
	block->p = NULL;
}

/* Once, from now on: by a clock that went on while its handler runs, a slow machine would come to nothing else. */
static bool set_timer(void)
{
	return timer_settime(*timer, 0, &(struct itimerspec){.it_value.tv_nsec = period_ns}, NULL) == 0;
}

static void storm(int signal)
{
	int saved = errno;
	uint64_t me = 1000 + (uint64_t)gettid();
	unsigned long turn = __atomic_add_fetch(&storms, 1, __ATOMIC_RELAXED);

	(void)signal;
	for (size_t i = 0; i < KEPT; i++) {
		if (kept[i].p)
			put(&kept[i], me);
		errno = 0;
		if (get(&kept[i], sizes[(turn + i) % COUNT(sizes)], me))
			continue;
		CHECK(errno == ENOMEM);
		__atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
	}
	set_timer();
	errno = saved;
}

static bool start_timer(timer_t *place, long ns)
{
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN};

	event._sigev_un._tid = gettid();
	timer = place;
	period_ns = ns;
	return timer_create(CLOCK_MONOTONIC, &event, timer) == 0 && set_timer();
}

/* The handler's last blocks: nothing interrupts any more. */
static void after_the_storm(void)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	timer_delete(*timer);
	for (size_t i = 0; i < KEPT; i++)
		put(&kept[i], 1000 + (uint64_t)gettid());
}

static void work(uint64_t me, bool misses)
{
	struct block live[LIVE] = {{0}};
	unsigned random = (unsigned)me;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 200; i++) {
			struct block *one;

			random = random * 1664525u + 1013904223u;
			one = &live[(random >> 8) % LIVE];
			put(one, me);
			/* Hits: few sizes, so that stacks serve. Misses: all of them, up to what is never kept. */
			CHECK(get(one, sizes[(random >> 16) % (misses ? COUNT(sizes) : 3)], me));
		}
		if (misses && random % 64 == 0)
			malloc_trim(0);
	}
	for (size_t i = 0; i < LIVE; i++)
		put(&live[i], me);
}

static bool with_timers;

static void *worker(void *arg)
{
	uint64_t me = (uintptr_t)arg;
	timer_t mine;

	__atomic_store_n(&tids[me - 1], gettid(), __ATOMIC_RELEASE);
	if (with_timers)
		CHECK(start_timer(&mine, 40000 + 7000 * (long)me));
	work(me, me % 2);
	if (with_timers)
		after_the_storm();
	return NULL;
}

/* Sends every worker to one CPU after the other, as fast as it can. */
static void *move_them(void *arg)
{
	cpu_set_t all, one;

	sched_getaffinity(0, sizeof(all), &all);
	for (int cpu = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); cpu = (cpu + 1) % CPU_SETSIZE) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		for (size_t i = 0; i < THREADS; i++) {
			pid_t tid = __atomic_load_n(&tids[i], __ATOMIC_ACQUIRE);

			if (tid && sched_setaffinity(tid, sizeof(one), &one) == 0)
				__atomic_add_fetch(&moves, 1, __ATOMIC_RELAXED);
		}
	}
	return arg;
}

static void accounts_are_exact(void)
{
	int (*get_stats)(struct bufpool_stats *, struct bufpool *) = t_shim_symbol("bufpool_stats_get");
	struct bufpool_stats s = {.size = sizeof(s)};

	CHECK(get_stats(&s, NULL) == 0);
	CHECK(s.misuse == 0);
	CHECK(s.set_aside == 0);
	CHECK(s.from_backend == s.in_use + s.cached + s.victim + s.queued + s.set_aside + s.dropped_cap +
					s.dropped_budget + s.dropped_epoch);
	/* Blocks whose release fell into jemalloc wait for a later one; there is nothing else out but a few of libc's. */
	CHECK(s.in_use < 200);
}

/* Too little has happened to show anything. */
static bool is_calm(bool moving)
{
	return (with_timers && __atomic_load_n(&storms, __ATOMIC_RELAXED) <= 500) ||
	       (moving && __atomic_load_n(&moves, __ATOMIC_RELAXED) <= 100);
}

static void weather(double seconds, bool timers, bool moving)
{
	struct sigaction action = {.sa_handler = storm, .sa_flags = SA_RESTART};
	pthread_t thread[THREADS], mover;

	with_timers = timers;
	NEED(sigaction(SIGRTMIN, &action, NULL) == 0);
	for (size_t i = 0; i < THREADS; i++)
		NEED(pthread_create(&thread[i], NULL, worker, (void *)(i + 1)) == 0);
	if (moving)
		NEED(pthread_create(&mover, NULL, move_them, NULL) == 0);
	for (double begin = t_now(), now = begin; now < begin + seconds || (is_calm(moving) && now < begin + 20);
	     now = t_now())
		usleep(10000);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	if (moving)
		pthread_join(mover, NULL);
	t_note("%lu handlers, %lu calls refused, %lu moves", storms, refused, moves);
	CHECK(!is_calm(moving));
	accounts_are_exact();
}

TEST(timers_in_every_thread, T_POOL)
{
	weather(1.5, true, false);
}

TEST(timers_at_boundaries, T_POOL, .conf = "epoch_ms:10")
{
	weather(1.5, true, false);
}

TEST(threads_moved_by_another, T_POOL)
{
	weather(1, false, true);
}

TEST(timers_and_moves_at_boundaries, T_POOL, .conf = "epoch_ms:10")
{
	weather(1.5, true, true);
}

/* ---- a CPU goes away ---- */

static bool set_online(char state)
{
	int fd = open("/sys/devices/system/cpu/cpu1/online", O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, &state, 1) == 1;

	close(fd);
	return done;
}

static void fill_cpu_1(void)
{
	static struct block many[64];
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(1, &one);
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
	for (size_t i = 0; i < COUNT(many); i++)
		CHECK(get(&many[i], 65536, 5));
	for (size_t i = 0; i < COUNT(many); i++)
		put(&many[i], 5);
}

/* What lies in the stacks of a CPU that is offline must come back like that of any idle one. It concerns the whole
 * machine, so only who asks for it gets it: SHIM_HOTPLUG=yes. */
TEST(cpu_taken_offline, T_POOL, .conf = "epoch_ms:50", .timeout = 60)
{
	const char *asked = getenv("SHIM_HOTPLUG");
	pthread_t thread[THREADS];
	double end;

	if (!asked)
		t_skip("takes a CPU of the machine offline; SHIM_HOTPLUG=yes lets it");
	if (!set_online('1'))
		t_skip("CPU 1 can't be taken offline here");
	fill_cpu_1();
	if (!set_online('0'))
		t_skip("CPU 1 can't be taken offline here");
	for (size_t i = 0; i < THREADS; i++)
		CHECK(pthread_create(&thread[i], NULL, worker, (void *)(i + 1)) == 0);
	usleep(500000);
	CHECK(set_online('1'));
	usleep(200000);
	for (end = t_now() + 2; t_now() < end;) {
		CHECK(set_online('0'));
		usleep(50000);
		CHECK(set_online('1'));
		usleep(50000);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	accounts_are_exact();
}
