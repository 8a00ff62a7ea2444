/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The contract of percpu.h, for all implementations; and one against the other on the same random states. Sets of
 * slabs, one for each, get the same operations from a thread that stays on one CPU.
 */
#include "percpu/percpu.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "percpu/fallback.h"
#include "percpu/seats.h"
#include "support.h"

enum { CLASSES = 6 };
static const unsigned classes[CLASSES] = { 0, 1, 28, 36, 44, 68 };

/* The portable mode is two implementations: the CPUs' locks, and seats. */
enum kind { LOCK, SEAT, RSEQ };

struct side {
	enum kind kind;
	struct bp_slabs slabs;
	struct bp_rseq *area; /* what this thread goes by there */
	int cpu;
};

static void start(const struct side *s)
{
	enum bp_percpu_mode mode = s->kind == RSEQ ? BP_PERCPU_RSEQ : BP_PERCPU_FALLBACK;
	cr_assert_eq(bp_percpu_start(mode), mode);
	bp_thread.rseq = s->area;
}

/* Slabs of this thread's CPU, or seat, ready and with nothing opened. */
static struct side side_in(enum kind kind)
{
	struct side s = { .kind = kind, .area = kind == LOCK ? &bp_rseq_vfork : &bp_rseq_unset };
	u_pin(u_cpu(0));
	start(&s);
	cr_assert(bp_percpu_create(&s.slabs));
	s.cpu = bp_percpu_enter(s.slabs, 7);
	cr_assert_eq(s.cpu, kind == SEAT ? (int)bp_seats.first : u_cpu(0));
	s.area = bp_thread.rseq;
	return s;
}

static void *token(uint64_t n)
{
	return (void *)(uintptr_t)(n * 16 + 4096);
}

static uint32_t bottom(struct side *s, unsigned class)
{
	return ~atomic_load(&bp_slab_of(s->slabs, s->cpu)->limits[class].floor);
}

static struct bp_limits *limits(struct side *s, unsigned class)
{
	return &bp_slab_of(s->slabs, s->cpu)->limits[class];
}

static _Atomic uint64_t *word(struct side *s, unsigned class)
{
	return &bp_slab_of(s->slabs, s->cpu)->words[class];
}

static enum kind kinds[3];
static size_t kind_count;

/* Every test runs in each mode that there is. */
#define EACH_MODE(s) \
	for (size_t kind_i = (find_kinds(), 0); kind_i < kind_count; kind_i++) \
		for (struct side s = side_in(kinds[kind_i]), *once = &s; once != NULL; once = NULL)

static void find_kinds(void)
{
	kind_count = 0;
	kinds[kind_count++] = LOCK;
	bp_percpu_start(BP_PERCPU_FALLBACK);
	if (bp_seats.count > 0)
		kinds[kind_count++] = SEAT;
	if (u_has_rseq())
		kinds[kind_count++] = RSEQ;
}

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
	if (!u_refuse_membarrier())
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

/* ---- taking ---- */

struct taken {
	size_t count[BP_CLASS_COUNT], calls;
	void *blocks[BP_CLASS_COUNT][16];
	struct side *side;
	bool was_open, was_counted, was_again;
};

static void note_taken(void *ctx, unsigned class, void **blocks, size_t count)
{
	struct taken *t = ctx;
	t->calls++;
	t->count[class] += count;
	for (size_t i = 0; i < count && i < 16; i++)
		t->blocks[class][i] = blocks[i];
	if (t->side == NULL)
		return;
	struct bp_limits *h = limits(t->side, class);
	t->was_open |= atomic_load(&h->floor) != 0 || atomic_load(&h->end) != 0;
	t->was_counted |= bp_percpu_count(t->side->slabs, t->side->cpu, class) != 0;
	t->was_again |= bp_percpu_take(t->side->slabs, t->side->cpu, 0, BP_CLASS_COUNT - 1, note_taken, t);
}

static void fill_up(struct side *s)
{
	for (unsigned i = 0; i < CLASSES; i++) {
		bp_percpu_open(s->slabs, s->cpu, classes[i], 8);
		for (unsigned j = 0; j < i + 1; j++)
			bp_percpu_push(s->slabs, s->cpu, classes[i], token(i * 100 + j));
	}
}

Test(percpu, a_taker_gets_everything_while_the_stacks_are_closed_and_leaves_them_open)
{
	EACH_MODE(s) {
		struct taken t = { .side = &s };
		fill_up(&s);
		bp_percpu_pop(s.slabs, s.cpu, 68); /* a count that must survive */
		cr_assert(bp_percpu_take(s.slabs, s.cpu, 0, BP_CLASS_COUNT - 1, note_taken, &t));
		cr_assert_eq(t.calls, CLASSES);
		for (unsigned i = 0; i < CLASSES; i++) {
			cr_assert_eq(t.count[classes[i]], i == 5 ? i : i + 1);
			for (unsigned j = 0; j < t.count[classes[i]]; j++)
				cr_assert_eq(t.blocks[classes[i]][j], token(i * 100 + j));
		}
		cr_assert_not(t.was_open, "an operation could have gone on in the taker's hands");
		cr_assert_not(t.was_counted, "a fork would find the blocks twice");
		cr_assert_not(t.was_again, "two takers at once");
		for (unsigned i = 0; i < CLASSES; i++) {
			cr_assert_null(bp_percpu_pop(s.slabs, s.cpu, classes[i]));
			for (unsigned j = 0; j < 8; j++)
				cr_assert(bp_percpu_push(s.slabs, s.cpu, classes[i], token(j)));
			cr_assert_not(bp_percpu_push(s.slabs, s.cpu, classes[i], token(9)));
		}
		cr_assert_eq(bp_percpu_pops(s.slabs, s.cpu, 68), 1);
		cr_assert_eq(atomic_load(&bp_slab_of(s.slabs, s.cpu)->cpu.taken), 0);
		cr_assert_eq(atomic_load(&bp_slab_of(s.slabs, s.cpu)->cpu.lock), 0);
	}
}

Test(percpu, a_taker_takes_the_classes_it_asks_for)
{
	EACH_MODE(s) {
		struct taken t = { 0 };
		fill_up(&s);
		cr_assert(bp_percpu_take(s.slabs, s.cpu, 28, 44, note_taken, &t));
		cr_assert_eq(t.calls, 3);
		cr_assert_eq(t.count[28] + t.count[36] + t.count[44], 3 + 4 + 5);
		cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, 1), 2);
		cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, 68), 6);
		cr_assert(bp_percpu_take(s.slabs, s.cpu, 28, 44, note_taken, &t), "nothing there is no failure");
		cr_assert_eq(t.calls, 3);
		cr_assert_not(bp_percpu_open(s.slabs, s.cpu, 28, 3));
	}
}

Test(percpu, a_cpu_that_was_never_used_or_is_being_taken_is_left_alone)
{
	EACH_MODE(s) {
		struct taken t = { 0 };
		fill_up(&s);
		struct bp_cpu *c = &bp_slab_of(s.slabs, s.cpu)->cpu;
		for (unsigned cpu = 0; cpu < s.slabs.cpus; cpu++)
			if ((int)cpu != s.cpu)
				cr_assert_not(bp_percpu_take(s.slabs, (int)cpu, 0, 68, note_taken, &t));
		atomic_store(&c->taken, 1);
		cr_assert_not(bp_percpu_take(s.slabs, s.cpu, 0, 68, note_taken, &t));
		atomic_store(&c->taken, 0);
		cr_assert_eq(t.calls, 0);
		cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, 28), token(202));
	}
}

Test(percpu, a_cpu_that_can_not_be_stopped_keeps_what_it_has)
{
	struct side s = side_in(LOCK);
	struct taken t = { 0 };
	fill_up(&s);
	cr_assert(bp_fallback_lock(s.slabs, s.cpu));
	cr_assert_not(bp_percpu_take(s.slabs, s.cpu, 0, 68, note_taken, &t));
	bp_fallback_unlock(s.slabs, s.cpu);
	cr_assert_eq(t.calls, 0);
	for (unsigned i = 0; i < CLASSES; i++) {
		cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, classes[i]), i + 1);
		cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, classes[i]), token(i * 100 + i));
		cr_assert(bp_percpu_push(s.slabs, s.cpu, classes[i], token(1)));
	}
}

/* ---- fork ---- */

Test(percpu, a_child_opens_and_unlocks_what_threads_held_that_it_does_not_have)
{
	EACH_MODE(s) {
		struct bp_slab *slab = bp_slab_of(s.slabs, s.cpu);
		fill_up(&s);
		/* A taker had closed two classes, one of them it had emptied; an opener had not come far. */
		atomic_store(&slab->cpu.taken, 1);
		atomic_store(&slab->cpu.lock, 1);
		for (unsigned i = 2; i < 4; i++) {
			atomic_store(&slab->limits[classes[i]].floor, 0);
			atomic_store(&slab->limits[classes[i]].end, 0);
		}
		uint64_t word = atomic_load(&slab->words[classes[3]]);
		atomic_store(&slab->words[classes[3]], word - 4);
		atomic_store(&slab->cpu.classes[50].opened, 1);
		atomic_store(&slab->cpu.classes[50].capacity, 3);
		bp_percpu_child(s.slabs);
		cr_assert_eq(atomic_load(&slab->cpu.taken), 0);
		cr_assert_eq(atomic_load(&slab->cpu.lock), 0);
		cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, classes[2]), token(202));
		cr_assert_null(bp_percpu_pop(s.slabs, s.cpu, classes[3]));
		cr_assert(bp_percpu_push(s.slabs, s.cpu, classes[3], token(1)));
		for (unsigned i = 0; i < 3; i++)
			cr_assert(bp_percpu_push(s.slabs, s.cpu, 50, token(i)));
		cr_assert_not(bp_percpu_push(s.slabs, s.cpu, 50, token(3)));
		cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, 50), token(2));
		cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, classes[5]), 6, "what was open stays as it was");
	}
}

Test(percpu, a_cpu_that_was_being_prepared_is_ready_in_the_child)
{
	EACH_MODE(s) {
		struct bp_cpu *c = &bp_slab_of(s.slabs, s.cpu)->cpu;
		atomic_store(&c->state, BP_CPU_PREPARING);
		cr_assert_eq(bp_percpu_enter(s.slabs, 1), -1, "who comes too early does without");
		bp_percpu_child(s.slabs);
		cr_assert_eq(bp_percpu_enter(s.slabs, 1), s.cpu);
	}
}

Test(percpu, forgetting_empties_and_counts)
{
	EACH_MODE(s) {
		fill_up(&s);
		cr_assert_eq(bp_percpu_forget(s.slabs, s.cpu, classes[4]), 5);
		cr_assert_null(bp_percpu_pop(s.slabs, s.cpu, classes[4]));
		cr_assert_eq(bp_percpu_forget(s.slabs, s.cpu, classes[4]), 0);
		cr_assert_eq(bp_percpu_forget(s.slabs, s.cpu, 60), 0, "never opened");
		cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, classes[3]), 4);
		cr_assert(bp_percpu_push(s.slabs, s.cpu, classes[4], token(1)));
	}
}

/* ---- one against the other ---- */

static struct side pair[2]; /* two of the three */
static uint64_t result[2][40]; /* what an operation gave: the value, then pointers */

static void take_result(void *ctx, unsigned class, void **blocks, size_t count)
{
	uint64_t *r = ctx;
	r[0] = r[0] * 1000003 + class;
	for (size_t i = 0; i < count; i++)
		r[0] = r[0] * 1000003 + (uintptr_t)blocks[i];
}

static void operate(struct side *s, uint64_t *r, unsigned what, unsigned class, uint64_t n)
{
	void *blocks[32];
	uint32_t pops = 0;
	start(s);
	for (unsigned i = 0; i < 32; i++)
		blocks[i] = token(n + i);
	memset(r, 0, sizeof(result[0]));
	if (what < 30)
		r[0] = bp_percpu_push(s->slabs, s->cpu, class, token(n));
	else if (what < 60)
		r[0] = (uintptr_t)bp_percpu_pop(s->slabs, s->cpu, class);
	else if (what < 70)
		r[0] = bp_percpu_push_batch(s->slabs, s->cpu, class, blocks, n % 33);
	else if (what < 80)
		r[0] = bp_percpu_pop_batch((void **)(r + 1), n % 33, s->slabs, s->cpu, class);
	else if (what < 88) {
		r[0] = bp_percpu_recount(&pops, s->slabs, s->cpu, class, (uint32_t)(2 + n % 20));
		r[1] = pops;
	} else if (what < 92)
		r[0] = bp_percpu_open(s->slabs, s->cpu, class, (unsigned)(1 + n % 16));
	else if (what < 97)
		bp_percpu_resize(s->slabs, s->cpu, class, (unsigned)(1 + n % 16));
	else if (what < 98)
		r[0] += bp_percpu_take(s->slabs, s->cpu, 0, (unsigned)(n % BP_CLASS_COUNT), take_result, r);
	else
		r[0] = bp_percpu_ticked(s->slabs, s->cpu, class) + 2 * bp_percpu_pops(s->slabs, s->cpu, class);
}

static void assert_same_stack(unsigned class, unsigned step)
{
	struct bp_limits *a = limits(&pair[0], class), *b = limits(&pair[1], class);
	cr_assert_eq(atomic_load(word(&pair[0], class)), atomic_load(word(&pair[1], class)), "step %u: words of class %u", step, class);
	cr_assert_eq(atomic_load(&a->floor), atomic_load(&b->floor), "step %u: floors of class %u", step, class);
	cr_assert_eq(atomic_load(&a->end), atomic_load(&b->end), "step %u: ends of class %u", step, class);
	if (atomic_load(&a->floor) == 0)
		return;
	for (uint32_t i = bottom(&pair[0], class); i < (uint32_t)atomic_load(word(&pair[0], class)); i++)
		cr_assert_eq(((void **)bp_slab_of(pair[0].slabs, pair[0].cpu))[i],
			     ((void **)bp_slab_of(pair[1].slabs, pair[1].cpu))[i], "step %u: slot %u", step, i);
}

static void same_steps(uint64_t seed, unsigned steps, unsigned *full, unsigned *empty, unsigned *ran_out)
{
	uint64_t state = seed;
	for (unsigned step = 0; step < steps; step++) {
		unsigned what = (unsigned)(u_random(&state) % 100), class = classes[u_random(&state) % CLASSES];
		uint64_t n = u_random(&state) >> 8;
		for (int i = 0; i < 2; i++)
			operate(&pair[i], result[i], what, class, n);
		for (size_t i = 0; i < U_COUNT(result[0]); i++)
			cr_assert_eq(result[0][i], result[1][i], "seed %lu step %u: operation %u of class %u gave %lx and %lx",
				     (unsigned long)seed, step, what, class, (unsigned long)result[0][i],
				     (unsigned long)result[1][i]);
		assert_same_stack(class, step);
		*full += what < 30 && result[0][0] == 0;
		*empty += what >= 30 && what < 60 && result[0][0] == 0;
		*ran_out += bp_percpu_ticked(pair[0].slabs, pair[0].cpu, class);
	}
}

/* Heads as they may be: any count, any index up to the end, closed or open. */
static void same_state(uint64_t *state)
{
	for (unsigned i = 0; i < CLASSES; i++) {
		uint32_t low = bottom(&pair[0], classes[i]), capacity = (uint32_t)(u_random(state) % 17);
		uint32_t index = low + (uint32_t)(u_random(state) % 17);
		uint32_t left = u_random(state) % 3 == 0 ? 1 : (uint32_t)(u_random(state) % 30 + 1);
		for (int j = 0; j < 2; j++) {
			for (uint32_t slot = low; slot < index; slot++)
				((void **)bp_slab_of(pair[j].slabs, pair[j].cpu))[slot] = token(slot);
			atomic_store(word(&pair[j], classes[i]), BP_WORD(0x80000000u - left, index));
			atomic_store(&limits(&pair[j], classes[i])->end, low + capacity);
			atomic_store(&bp_slab_of(pair[j].slabs, pair[j].cpu)->cpu.classes[classes[i]].capacity,
				     (uint16_t)capacity);
		}
	}
}

static void compare(enum kind one, enum kind other, uint64_t seeds)
{
	unsigned full = 0, empty = 0, ran_out = 0;
	pair[0] = side_in(one);
	pair[1] = side_in(other);
	same_steps(1, 20000, &full, &empty, &ran_out);
	for (unsigned i = 0; i < CLASSES; i++)
		for (int j = 0; j < 2; j++)
			bp_percpu_open(pair[j].slabs, pair[j].cpu, classes[i], 8);
	uint64_t state = 99;
	for (uint64_t seed = 2; seed < seeds; seed++) {
		same_state(&state);
		same_steps(seed, 30, &full, &empty, &ran_out);
	}
	cr_assert(full > 1000 && empty > 1000 && ran_out > 1000, "the states are not what they should be: %u %u %u", full,
		  empty, ran_out);
}

Test(percpu, both_implementations_do_the_same_on_the_same_random_states, .timeout = 60)
{
	u_need_rseq();
	compare(RSEQ, LOCK, 3000);
}

Test(percpu, seats_do_the_same_on_the_same_random_states, .timeout = 60)
{
	find_kinds();
	if (kinds[1] != SEAT)
		cr_skip_test("no membarrier");
	compare(LOCK, SEAT, 3000);
}
