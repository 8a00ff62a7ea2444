/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Seats: who gets one, who doesn't, and when it is free again; what a signal handler, a child and a taker find. That their
 * operations keep the contract is tested in percpu.c, many of them at once in seats_threads.c, every interleaving of an owner
 * and a taker in schedules_seats.c.
 */
#include "percpu/seats.h"
#include "sys/barrier.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "seated.h"
#include "support.h"

/* ---- who gets one ---- */

static pthread_barrier_t sat, leave, looked;

struct sitter {
	pthread_t id;
	uint32_t number; /* the kernel's */
	int cpu;
};

/* -1: another thread without a seat is about to make the same CPU's slab ready. */
static void *sit(void *argument)
{
	struct sitter *me = argument;
	me->number = bp_os_thread();
	while ((me->cpu = bp_percpu_enter(slabs, 0)) < 0)
		sched_yield();
	pthread_barrier_wait(&sat);
	pthread_barrier_wait(&leave);
	return NULL;
}

/* n threads, each where it gets to: until they are told to leave. */
static void sit_down(struct sitter *sitters, unsigned n)
{
	pthread_barrier_init(&sat, NULL, n + 1);
	pthread_barrier_init(&leave, NULL, n + 1);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(pthread_create(&sitters[i].id, NULL, sit, &sitters[i]), 0);
	pthread_barrier_wait(&sat);
}

/* Who has been joined may be there a while yet, for the kernel. */
static void get_up(struct sitter *sitters, unsigned n)
{
	pthread_barrier_wait(&leave);
	for (unsigned i = 0; i < n; i++)
		pthread_join(sitters[i].id, NULL);
	for (unsigned i = 0; i < n; i++)
		while (!bp_os_thread_is_gone(sitters[i].number))
			sched_yield();
}

Test(seats, each_thread_has_its_own_until_there_are_none)
{
	enum { MORE = 5 };
	struct sitter sitters[MOST + MORE];
	bool taken[MOST] = { false };
	unsigned n = 0, seated = 0, others = 0;
	int mine = start();
	n = bp_seats.count - 1 + MORE;
	sit_down(sitters, n);
	taken[(unsigned)mine - bp_seats.first] = true;
	for (unsigned i = 0; i < n; i++) {
		int cpu = sitters[i].cpu;
		if (!bp_seat_is(cpu)) {
			cr_assert((unsigned)cpu < bp_seats.first, "CPU %d", cpu);
			others++;
			continue;
		}
		unsigned seat = (unsigned)cpu - bp_seats.first;
		cr_assert_not(taken[seat], "two threads on seat %u", seat);
		taken[seat] = true;
		seated++;
	}
	get_up(sitters, n);
	cr_assert_eq(seated, bp_seats.count - 1);
	cr_assert_eq(others, MORE);
	cr_assert_eq(bp_percpu_enter(slabs, 0), mine, "this thread keeps its own");
}

static void *enter(void *cpu)
{
	*(int *)cpu = bp_percpu_enter(slabs, 0);
	return NULL;
}

static int seat_of_a_new_thread(void)
{
	pthread_t id;
	int cpu = -1;
	cr_assert_eq(pthread_create(&id, NULL, enter, &cpu), 0);
	pthread_join(id, NULL);
	return cpu;
}

/* Nobody tells of a thread's end. */
Test(seats, those_of_threads_that_are_gone_are_found, .timeout = 60)
{
	bool sat_there[MOST] = { false };
	unsigned different = 0, found = 0;
	start();
	for (uint64_t end = u_now_us() + 20000000; u_now_us() < end && found < 3 * bp_seats.count;) {
		int cpu = seat_of_a_new_thread();
		if (!bp_seat_is(cpu)) {
			usleep(3000); /* asked too soon */
			continue;
		}
		found++;
		different += !sat_there[(unsigned)cpu - bp_seats.first];
		sat_there[(unsigned)cpu - bp_seats.first] = true;
	}
	cr_assert_eq(found, 3 * bp_seats.count, "seats are lost: %u found", found);
	cr_assert_eq(different, bp_seats.count - 1);
}

/* Threads that come and go in milliseconds would have none otherwise. */
Test(seats, who_looks_for_one_frees_all_that_were_left)
{
	struct sitter sitters[MOST];
	start();
	unsigned n = bp_seats.count - 1;
	sit_down(sitters, n);
	get_up(sitters, n);
	for (unsigned tries = 0; tries < 100 && !bp_seat_is(seat_of_a_new_thread()); tries++)
		usleep(3000);
	for (unsigned i = 1; i < n; i++)
		cr_assert(bp_seat_is(seat_of_a_new_thread()), "%u of %u", i, n);
}

Test(seats, what_the_thread_that_is_gone_left_there_is_its_successors)
{
	void *p;
	int cpu = start();
	cr_assert(bp_seat_push(slabs.base, CLASS, token(3)));
	bp_thread.rseq->here = BP_SEAT_AWAY; /* it died in the middle of an operation */
	bp_thread.rseq = &bp_rseq_unset;     /* and the kernel gave its number to the next one */
	cr_assert_eq(bp_percpu_enter(slabs, 0), cpu);
	cr_assert(bp_seat_pop(&p, slabs.base, CLASS));
	cr_assert_eq(p, token(3));
}

static atomic_bool there_are_some;

/* 500 looks after there are some. */
static void *look_again(void *cpu)
{
	bool first = true;
	for (int left = 500; left > 0 && !bp_seat_is(*(int *)cpu); first = false) {
		left -= atomic_load(&there_are_some);
		*(int *)cpu = bp_percpu_enter(slabs, 0);
		if (first)
			pthread_barrier_wait(&looked);
		usleep(1000);
	}
	return NULL;
}

Test(seats, who_found_none_looks_again)
{
	struct sitter sitters[MOST];
	pthread_t late;
	int cpu = -1;
	start();
	unsigned n = bp_seats.count - 1;
	sit_down(sitters, n);
	pthread_barrier_init(&looked, NULL, 2);
	cr_assert_eq(pthread_create(&late, NULL, look_again, &cpu), 0);
	pthread_barrier_wait(&looked);
	cr_assert_not(bp_seat_is(cpu));
	get_up(sitters, n);
	atomic_store(&there_are_some, true);
	pthread_join(late, NULL);
	cr_assert(bp_seat_is(cpu), "500 looks, and none was found");
}

Test(seats, the_child_of_a_vfork_has_none)
{
	int cpu = start();
	struct bp_rseq *area = bp_thread.rseq;
	bp_thread.rseq = &bp_rseq_vfork;
	for (int i = 0; i < 100; i++)
		cr_assert_not(bp_seat_is(bp_percpu_enter(slabs, 0)));
	void *p = token(1);
	cr_assert_not(bp_seat_push(slabs.base, CLASS, p));
	cr_assert_not(bp_percpu_push(slabs, cpu, CLASS, p));
	cr_assert_not(bp_percpu_take(slabs, cpu, 0, ALL, NULL, NULL), "nor stops it anybody");
	bp_thread.rseq = area;
	cr_assert(bp_seat_push(slabs.base, CLASS, p));
}

static void *look_and_take(void *argument)
{
	int cpu = *(int *)argument;
	for (int i = 0; i < 100; i++)
		if (bp_seat_is(bp_percpu_enter(slabs, 0)))
			return (void *)"a seat";
	return bp_percpu_take(slabs, cpu, 0, ALL, NULL, NULL) ? (void *)"a taking" : NULL;
}

Test(seats, in_a_sandbox_nobody_looks_for_one_nor_takes)
{
	pthread_t id;
	void *said;
	int cpu = start();
	cr_assert(bp_seat_push(slabs.base, CLASS, token(1)));
	bp_percpu_confine(slabs, true);
	pthread_create(&id, NULL, look_and_take, &cpu);
	pthread_join(id, &said);
	cr_assert_null(said, "%s", (const char *)said);
	cr_assert_eq(bp_percpu_count(slabs, cpu, CLASS), 1);
	cr_assert(bp_seat_push(slabs.base, CLASS, token(2)), "who sits there goes on");
	bp_percpu_confine(slabs, false);
	pthread_create(&id, NULL, look_and_take, &cpu);
	pthread_join(id, &said);
	cr_assert_not_null(said);
}

static void start_without_membarrier(void)
{
	if (!u_refuse(SYS_membarrier, ENOSYS))
		_exit(77);
	bp_percpu_start(BP_PERCPU_FALLBACK);
	if (bp_seats.count != 0 || !bp_percpu_create(&slabs) || slabs.cpus != bp_os_possible_cpus())
		_exit(1);
	int cpu = bp_percpu_enter(slabs, 0);
	bp_percpu_open(slabs, cpu, CLASS, 4);
	_exit(cpu >= 0 && bp_percpu_push(slabs, cpu, CLASS, token(1)) ? 0 : 2);
}

Test(seats, without_membarrier_there_are_none)
{
	char err[256];
	int status = u_in_child(start_without_membarrier, err, sizeof(err));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip_test("this kernel filters no system calls");
	cr_assert_eq(status, 0, "status %x", status);
}

Test(seats, a_hit_notices_that_its_count_has_run_out)
{
	void *p;
	uint32_t pops;
	unsigned hit = 0;
	int cpu = start();
	for (size_t i = 0; i < 20; i++)
		cr_assert(bp_seat_push(slabs.base, CLASS, token(i)));
	cr_assert(bp_percpu_recount(&pops, slabs, cpu, CLASS, 10));
	while (bp_seat_pop(&p, slabs.base, CLASS))
		cr_assert_eq(p, token(19 - hit++));
	cr_assert_eq(hit, 9);
	cr_assert(bp_percpu_ticked(slabs, cpu, CLASS));
	cr_assert(bp_percpu_recount(&pops, slabs, cpu, CLASS, 100));
	cr_assert_eq(pops, 9);
	cr_assert(bp_seat_pop(&p, slabs.base, CLASS));
	cr_assert_eq(p, token(10));
}

/* ---- in the middle of an operation ---- */

Test(seats, a_handler_above_an_operation_is_not_there)
{
	void *p = token(1);
	uint32_t pops = 4711;
	int cpu = start();
	cr_assert(bp_seat_push(slabs.base, CLASS, p));
	uint64_t word = atomic_load(&bp_slab_of(slabs, cpu)->words[CLASS]);
	cr_assert(bp_seat_begin(cpu));
	cr_assert_not(bp_seat_begin(cpu));
	cr_assert_not(bp_seat_pop(&p, slabs.base, CLASS));
	cr_assert_not(bp_seat_push(slabs.base, CLASS, p));
	cr_assert_null(bp_percpu_pop(slabs, cpu, CLASS));
	cr_assert_not(bp_percpu_push(slabs, cpu, CLASS, p));
	cr_assert_eq(bp_percpu_pop_batch(&p, 1, slabs, cpu, CLASS), 0);
	cr_assert_eq(bp_percpu_push_batch(slabs, cpu, CLASS, &p, 1), 0);
	cr_assert_not(bp_percpu_recount(&pops, slabs, cpu, CLASS, 100));
	cr_assert_not(bp_seat_is(bp_percpu_enter(slabs, 0)), "its slow path goes by the CPU");
	cr_assert_not(bp_percpu_take(slabs, cpu, 0, ALL, NULL, NULL), "the operation has not ended");
	cr_assert_eq(pops, 4711);
	cr_assert_eq(atomic_load(&bp_slab_of(slabs, cpu)->words[CLASS]), word);
	bp_seat_end(cpu);
	cr_assert_eq(bp_percpu_enter(slabs, 0), cpu);
	cr_assert(bp_seat_pop(&p, slabs.base, CLASS));
	cr_assert_eq(p, token(1));
}

static int forked_at;

static void above_an_operation(void)
{
	void *p;
	bp_seats_child();
	if (bp_seat_pop(&p, slabs.base, CLASS)) /* the operation below has not ended here either */
		_exit(1);
	bp_seat_end(forked_at);
	if (!bp_seat_pop(&p, slabs.base, CLASS) || p != token(1) || bp_percpu_enter(slabs, 0) != forked_at)
		_exit(2);
	bp_thread.rseq = &bp_rseq_unset; /* the seat bears this process's number */
	_exit(bp_percpu_enter(slabs, 0) == forked_at ? 0 : 3);
}

Test(seats, a_child_goes_on_with_the_operation_that_it_was_forked_above)
{
	char err[256];
	forked_at = start();
	bp_seat_push(slabs.base, CLASS, token(1));
	cr_assert(bp_seat_begin(forked_at));
	int status = u_in_child(above_an_operation, err, sizeof(err));
	cr_assert_eq(status, 0, "status %x", status);
}

static void all_seats_in_a_child(void)
{
	struct sitter sitters[MOST];
	unsigned n = bp_seats.count - 1, seated = 0;
	bp_seats_child();
	sit_down(sitters, n);
	for (unsigned i = 0; i < n; i++)
		seated += bp_seat_is(sitters[i].cpu);
	_exit(seated == n ? 0 : 1);
}

Test(seats, in_a_child_those_of_the_other_threads_are_free)
{
	struct sitter sitters[MOST];
	char err[256];
	start();
	unsigned n = bp_seats.count - 1;
	sit_down(sitters, n);
	int status = u_in_child(all_seats_in_a_child, err, sizeof(err));
	get_up(sitters, n);
	cr_assert_eq(status, 0, "status %x", status);
}

/* A child that no handler of ours has seen: the numbers on the seats are the parent's threads'. */
static void nobody_sits_down(void)
{
	int cpu = -1;
	pthread_t id;
	pthread_create(&id, NULL, enter, &cpu);
	pthread_join(id, NULL);
	_exit(bp_seat_is(cpu) ? 1 : 0);
}

Test(seats, where_the_numbers_are_another_processes_nobody_sits_down)
{
	char err[256];
	start();
	int status = u_in_child(nobody_sits_down, err, sizeof(err));
	cr_assert_eq(status, 0, "status %x", status);
}
