/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The contract of percpu.h, for all implementations (sides.h), but for taking: percpu_taking.c. One against the other on the
 * same random states: percpu_same.c.
 */
#include "percpu/percpu.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sides.h"
#include "support.h"

/* ---- the contract ---- */

Test(percpu, a_cpu_gets_ready_at_first_use_with_the_epoch_it_was_told)
{
	EACH_MODE(s) {
		struct bp_cpu *c = &bp_slab_of(s.slabs, s.cpu)->cpu;
		cr_assert_eq(atomic_load(&c->state), BP_CPU_READY);
		cr_assert_eq(atomic_load(&c->epoch), 7);
		cr_assert_eq(bp_percpu_enter(s.slabs, 9), s.cpu);
		cr_assert_eq(atomic_load(&c->epoch), 7, "it starts once");
		for (unsigned cpu = 0; cpu < s.slabs.cpus; cpu++)
			if ((int)cpu != s.cpu)
				cr_assert_eq(atomic_load(&bp_slab_of(s.slabs, (int)cpu)->cpu.state), BP_CPU_UNTOUCHED);
	}
}

Test(percpu, a_slab_costs_memory_only_where_it_is_used)
{
	EACH_MODE(s) {
		struct u_mapped all = u_mapped(s.slabs.base - 2 * BP_SLAB_BYTES, (s.slabs.cpus + 2) * BP_SLAB_BYTES);
		cr_assert_leq(all.resident, 16 << 10, "%zu bytes for one CPU that holds nothing", all.resident);
		cr_assert_leq(all.dumped, BP_SLAB_BYTES);
	}
}

Test(percpu, what_is_closed_is_empty_and_full)
{
	EACH_MODE(s)
		for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
			void *p = token(1);
			cr_assert_null(bp_percpu_pop(s.slabs, s.cpu, class));
			cr_assert_not(bp_percpu_push(s.slabs, s.cpu, class, p));
			cr_assert_eq(bp_percpu_pop_batch(&p, 1, s.slabs, s.cpu, class), 0);
			cr_assert_eq(bp_percpu_push_batch(s.slabs, s.cpu, class, &p, 1), 0);
			cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, class), 0);
			cr_assert_eq(atomic_load(word(&s, class)), 0);
		}
}

Test(percpu, the_last_in_is_the_first_out_up_to_the_capacity)
{
	EACH_MODE(s)
		for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
			unsigned slots = bp_percpu_slots(class);
			cr_assert(bp_percpu_open(s.slabs, s.cpu, class, slots));
			cr_assert_not(bp_percpu_open(s.slabs, s.cpu, class, 1), "it was open");
			for (unsigned i = 0; i < slots; i++)
				cr_assert(bp_percpu_push(s.slabs, s.cpu, class, token(i)));
			cr_assert_not(bp_percpu_push(s.slabs, s.cpu, class, token(slots)), "class %u is full", class);
			cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, class), slots);
		}
	EACH_MODE(s) {
		bp_percpu_open(s.slabs, s.cpu, 5, 40);
		for (unsigned i = 0; i < 40; i++)
			bp_percpu_push(s.slabs, s.cpu, 5, token(i));
		for (unsigned i = 40; i-- > 0;)
			cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, 5), token(i));
		cr_assert_null(bp_percpu_pop(s.slabs, s.cpu, 5));
	}
}

/* All classes full at once: a slot that two of them share, or that lies outside the slab, would show. */
Test(percpu, stacks_do_not_overlap)
{
	EACH_MODE(s) {
		for (unsigned class = 0; class < BP_CLASS_COUNT; class++)
			bp_percpu_open(s.slabs, s.cpu, class, bp_percpu_slots(class));
		for (unsigned class = 0; class < BP_CLASS_COUNT; class++)
			for (unsigned i = 0; i < bp_percpu_slots(class); i++)
				cr_assert(bp_percpu_push(s.slabs, s.cpu, class, token(class * 1000 + i)));
		cr_assert_eq(atomic_load(&bp_slab_of(s.slabs, s.cpu)->cpu.state), BP_CPU_READY);
		for (unsigned class = 0; class < BP_CLASS_COUNT; class++)
			for (unsigned i = bp_percpu_slots(class); i-- > 0;) {
				void *p = bp_percpu_pop(s.slabs, s.cpu, class);
				if (p == NULL && bp_percpu_ticked(s.slabs, s.cpu, class)) {
					uint32_t pops;
					bp_percpu_recount(&pops, s.slabs, s.cpu, class, 1000);
					p = bp_percpu_pop(s.slabs, s.cpu, class);
				}
				cr_assert_eq(p, token(class * 1000 + i), "class %u, slot %u", class, i);
			}
	}
}

/* The lines used most, the bottoms, in the sets of an L1 cache of 64 sets. */
Test(percpu, the_bottoms_are_spread_over_the_cache)
{
	EACH_MODE(s) {
		unsigned in_set[64] = { 0 };
		for (unsigned class = 0; class < BP_CLASS_COUNT_64K; class++) {
			bp_percpu_open(s.slabs, s.cpu, class, 1);
			unsigned set = bottom(&s, class) * sizeof(void *) / BP_LINE % 64;
			cr_assert_leq(++in_set[set], 4, "%u bottoms in set %u", in_set[set], set);
		}
	}
}

Test(percpu, batches_move_as_many_as_fit)
{
	void *in[32], *out[32];
	for (unsigned i = 0; i < 32; i++)
		in[i] = token(i);
	EACH_MODE(s) {
		bp_percpu_open(s.slabs, s.cpu, 9, 20);
		cr_assert_eq(bp_percpu_push_batch(s.slabs, s.cpu, 9, in, 0), 0);
		cr_assert_eq(bp_percpu_push_batch(s.slabs, s.cpu, 9, in, 12), 12);
		cr_assert_eq(bp_percpu_push_batch(s.slabs, s.cpu, 9, in + 12, 20), 8);
		cr_assert_eq(bp_percpu_push_batch(s.slabs, s.cpu, 9, in, 1), 0);
		cr_assert_eq(bp_percpu_pop_batch(out, 0, s.slabs, s.cpu, 9), 0);
		cr_assert_eq(bp_percpu_pop_batch(out, 15, s.slabs, s.cpu, 9), 15);
		for (unsigned i = 0; i < 15; i++)
			cr_assert_eq(out[i], in[19 - i], "the uppermost comes first");
		cr_assert_eq(bp_percpu_pop_batch(out, 32, s.slabs, s.cpu, 9), 5);
		for (unsigned i = 0; i < 5; i++)
			cr_assert_eq(out[i], in[4 - i]);
		cr_assert_eq(bp_percpu_pop_batch(out, 32, s.slabs, s.cpu, 9), 0);
	}
}

Test(percpu, a_smaller_capacity_keeps_pushes_out_and_what_is_there_in)
{
	EACH_MODE(s) {
		bp_percpu_open(s.slabs, s.cpu, 9, 10);
		for (unsigned i = 0; i < 10; i++)
			bp_percpu_push(s.slabs, s.cpu, 9, token(i));
		bp_percpu_resize(s.slabs, s.cpu, 9, 4);
		void *p = token(99);
		cr_assert_not(bp_percpu_push(s.slabs, s.cpu, 9, p));
		cr_assert_eq(bp_percpu_push_batch(s.slabs, s.cpu, 9, &p, 1), 0);
		cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, 9), 10);
		for (unsigned i = 10; i-- > 4;)
			cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, 9), token(i));
		cr_assert_not(bp_percpu_push(s.slabs, s.cpu, 9, p));
		cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, 9), token(3));
		cr_assert(bp_percpu_push(s.slabs, s.cpu, 9, p));
		bp_percpu_resize(s.slabs, s.cpu, 9, 12);
		for (unsigned i = 4; i < 12; i++)
			cr_assert(bp_percpu_push(s.slabs, s.cpu, 9, token(i)));
		cr_assert_not(bp_percpu_push(s.slabs, s.cpu, 9, p));
	}
}

Test(percpu, a_change_of_capacity_does_not_open_what_a_taker_has_closed)
{
	EACH_MODE(s) {
		bp_percpu_open(s.slabs, s.cpu, 9, 10);
		bp_percpu_push(s.slabs, s.cpu, 9, token(1));
		atomic_store(&limits(&s, 9)->floor, 0);
		atomic_store(&limits(&s, 9)->end, 0);
		bp_percpu_resize(s.slabs, s.cpu, 9, 17);
		cr_assert_eq(atomic_load(&limits(&s, 9)->end), 0);
		cr_assert_null(bp_percpu_pop(s.slabs, s.cpu, 9));
		cr_assert_not(bp_percpu_push(s.slabs, s.cpu, 9, token(2)));
		cr_assert_eq(atomic_load(&bp_slab_of(s.slabs, s.cpu)->cpu.classes[9].capacity), 17);
		bp_percpu_child(s.slabs);
		cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, 9), token(1));
		for (unsigned i = 0; i < 17; i++)
			cr_assert(bp_percpu_push(s.slabs, s.cpu, 9, token(i)), "it opens with the new capacity");
		cr_assert_not(bp_percpu_push(s.slabs, s.cpu, 9, token(2)));
	}
}

Test(percpu, pops_are_counted_and_the_count_runs_out)
{
	EACH_MODE(s) {
		uint64_t popped = 0, reported = 0;
		bp_percpu_open(s.slabs, s.cpu, 9, 10);
		for (unsigned interval = BP_HITS_INTERVAL_FIRST, round = 0; round < 40; round++) {
			unsigned n = 0;
			cr_assert_not(bp_percpu_ticked(s.slabs, s.cpu, 9));
			for (;;) {
				cr_assert(bp_percpu_push(s.slabs, s.cpu, 9, token(n)));
				if (bp_percpu_pop(s.slabs, s.cpu, 9) == NULL)
					break;
				n++;
				popped++;
				cr_assert_eq(bp_percpu_pops(s.slabs, s.cpu, 9), n);
			}
			cr_assert(bp_percpu_ticked(s.slabs, s.cpu, 9));
			cr_assert_eq(n, interval - 1, "%u pops of %u", n, interval);
			cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, 9), 1, "the block stays where it was");
			interval = 2 + round * 7 % 300;
			uint32_t pops;
			cr_assert(bp_percpu_recount(&pops, s.slabs, s.cpu, 9, interval));
			reported += pops;
			cr_assert_eq(bp_percpu_pops(s.slabs, s.cpu, 9), 0);
			cr_assert_eq(reported, popped);
			cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, 9), token(n));
			reported++, popped++;
			uint32_t first;
			cr_assert(bp_percpu_recount(&first, s.slabs, s.cpu, 9, interval));
			cr_assert_eq(first, 1);
		}
	}
}

Test(percpu, batches_are_no_pops)
{
	EACH_MODE(s) {
		void *blocks[5] = { token(1), token(2), token(3), token(4), token(5) };
		bp_percpu_open(s.slabs, s.cpu, 9, 10);
		for (int i = 0; i < 500; i++) {
			cr_assert_eq(bp_percpu_push_batch(s.slabs, s.cpu, 9, blocks, 5), 5);
			cr_assert_eq(bp_percpu_pop_batch(blocks, 5, s.slabs, s.cpu, 9), 5);
		}
		cr_assert_eq(bp_percpu_pops(s.slabs, s.cpu, 9), 0);
		cr_assert_not(bp_percpu_ticked(s.slabs, s.cpu, 9));
	}
}

/* ---- who has no CPU ---- */

Test(percpu, before_the_start_the_hit_path_says_nothing)
{
	struct bp_slabs unset = BP_SLABS_INIT;
	cr_assert_eq(bp_percpu_enter(unset, 0), -1);
	u_need_rseq();
	for (unsigned class = 0; class <= BP_CLASS_COUNT; class++) {
		cr_assert_eq((char *)bp_rseq_pop(unset.base, class), bp_percpu_nothing);
		cr_assert_not(bp_rseq_push(unset.base, class, token(1)));
	}
}

Test(percpu, the_slabs_below_cpu_0_are_closed)
{
	u_need_rseq();
	struct side s = side_in(RSEQ);
	static struct bp_rseq none;
	bp_percpu_open(s.slabs, s.cpu, 9, 10);
	bp_percpu_push(s.slabs, s.cpu, 9, token(1));
	struct bp_rseq *own = bp_thread.rseq;
	for (int cpu_id = -2; cpu_id < 0; cpu_id++) {
		none.cpu_id = cpu_id;
		bp_thread.rseq = &none;
		for (unsigned class = 0; class <= BP_CLASS_COUNT; class++) {
			cr_assert_eq((char *)bp_rseq_pop(s.slabs.base, class), bp_percpu_nothing);
			cr_assert_not(bp_rseq_push(s.slabs.base, class, token(2)));
		}
		bp_thread.rseq = own;
	}
	cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, 9), token(1));
}

Test(percpu, threads_without_a_registration_have_no_cpu)
{
	u_need_rseq();
	struct side s = side_in(RSEQ);
	struct bp_rseq *own = bp_thread.rseq;
	bp_thread.rseq = &bp_rseq_none;
	cr_assert_eq(bp_percpu_enter(s.slabs, 0), -1);
	bp_thread.rseq = &bp_rseq_vfork;
	cr_assert_eq(bp_percpu_enter(s.slabs, 0), -1);
	bp_thread.rseq = &bp_rseq_unset;
	cr_assert_eq(bp_percpu_enter(s.slabs, 0), s.cpu, "a new thread finds its own");
	cr_assert_eq(bp_thread.rseq, own);
}

Test(percpu, S11_a_cpu_numbered_beyond_what_is_possible_is_none)
{
	EACH_MODE(s) {
		struct bp_slabs fewer = s.slabs;
		fewer.cpus = 0;
		cr_assert_eq(bp_percpu_enter(fewer, 0), -1);
		if (u_cpu(1) <= 0)
			continue;
		u_pin(u_cpu(1));
		fewer.cpus = (unsigned)u_cpu(1);
		cr_assert_eq(bp_percpu_enter(fewer, 0), -1);
		u_pin(s.cpu);
	}
}

Test(percpu, batches_for_another_cpu_are_not_here)
{
	u_need_rseq();
	struct side s = side_in(RSEQ);
	if (s.slabs.cpus < 2)
		cr_skip_test("one CPU");
	int other = s.cpu == 0 ? 1 : 0;
	void *p = token(1);
	uint32_t pops;
	bp_percpu_open(s.slabs, s.cpu, 9, 10);
	bp_percpu_push(s.slabs, s.cpu, 9, token(2));
	cr_assert_eq(bp_percpu_push_batch(s.slabs, other, 9, &p, 1), 0);
	cr_assert_eq(bp_percpu_pop_batch(&p, 1, s.slabs, other, 9), 0);
	cr_assert_not(bp_percpu_recount(&pops, s.slabs, other, 9, 100));
	cr_assert_eq(p, token(1));
	cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, 9), 1);
}

Test(percpu, where_there_is_no_rseq_the_portable_mode_serves)
{
	enum bp_percpu_mode mode = bp_percpu_start(BP_PERCPU_RSEQ);
	cr_assert_eq(mode, u_has_rseq() ? BP_PERCPU_RSEQ : BP_PERCPU_FALLBACK);
	cr_assert_eq(bp_percpu_mode(), mode);
	cr_assert_eq(bp_percpu_start(BP_PERCPU_FALLBACK), BP_PERCPU_FALLBACK);
	cr_assert_eq(bp_percpu_start(BP_PERCPU_PASS), BP_PERCPU_PASS);
}

/* A sandbox that knows membarrier not: what lies on idle CPUs could never be taken from them. */
static void start_without_membarrier(void)
{
	if (!u_refuse(SYS_membarrier, ENOSYS))
		_exit(77);
	_exit(bp_percpu_start(BP_PERCPU_RSEQ) == BP_PERCPU_FALLBACK ? 0 : 1);
}

Test(percpu, without_a_way_to_stop_another_cpu_the_portable_mode_serves)
{
	char err[256];
	int status = u_in_child(start_without_membarrier, err, sizeof(err));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip_test("this kernel filters no system calls");
	cr_assert_eq(status, 0, "status %x", status);
}
