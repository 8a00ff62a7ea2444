/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Taking the stacks of a CPU, and what a child finds of them, for all implementations of percpu.h (sides.h).
 */
#include <criterion/criterion.h>

#include "percpu/fallback.h"
#include "sides.h"
#include "support.h"

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

Test(percpu_taking, a_taker_gets_everything_while_the_stacks_are_closed_and_leaves_them_open)
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

Test(percpu_taking, a_taker_takes_the_classes_it_asks_for)
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

Test(percpu_taking, a_cpu_that_was_never_used_or_is_being_taken_is_left_alone)
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

Test(percpu_taking, a_cpu_that_can_not_be_stopped_keeps_what_it_has)
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

Test(percpu_taking, a_child_opens_and_unlocks_what_threads_held_that_it_does_not_have)
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

Test(percpu_taking, a_cpu_that_was_being_prepared_is_ready_in_the_child)
{
	EACH_MODE(s) {
		struct bp_cpu *c = &bp_slab_of(s.slabs, s.cpu)->cpu;
		atomic_store(&c->state, BP_CPU_PREPARING);
		cr_assert_eq(bp_percpu_enter(s.slabs, 1), -1, "who comes too early does without");
		bp_percpu_child(s.slabs);
		cr_assert_eq(bp_percpu_enter(s.slabs, 1), s.cpu);
	}
}

Test(percpu_taking, forgetting_takes_the_uppermost_and_counts)
{
	void **slots;
	EACH_MODE(s) {
		fill_up(&s);
		cr_assert_eq(bp_percpu_forget(&slots, s.slabs, s.cpu, classes[4], 2), 2);
		void *third = slots[-1], *second = slots[0], *first = slots[1];
		cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, classes[4]), 3);
		cr_assert_eq(bp_percpu_pop(s.slabs, s.cpu, classes[4]), third);
		cr_assert(first != second && second != third && third != first);
		cr_assert_eq(bp_percpu_forget(&slots, s.slabs, s.cpu, classes[4], UINT32_MAX), 2);
		cr_assert_null(bp_percpu_pop(s.slabs, s.cpu, classes[4]));
		cr_assert_eq(bp_percpu_forget(&slots, s.slabs, s.cpu, classes[4], UINT32_MAX), 0);
		cr_assert_eq(bp_percpu_forget(&slots, s.slabs, s.cpu, 60, UINT32_MAX), 0, "never opened");
		cr_assert_eq(bp_percpu_count(s.slabs, s.cpu, classes[3]), 4);
		cr_assert(bp_percpu_push(s.slabs, s.cpu, classes[4], token(1)));
	}
}
