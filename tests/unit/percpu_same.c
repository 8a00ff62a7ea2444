/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The implementations of percpu.h against each other: sets of slabs, one for each, get the same random operations from a thread
 * that stays on one CPU, and must be in the same state after each.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "sides.h"
#include "support.h"

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

Test(percpu_same, both_implementations_do_the_same_on_the_same_random_states, .timeout = 60)
{
	u_need_rseq();
	compare(RSEQ, LOCK, 3000);
}

Test(percpu_same, seats_do_the_same_on_the_same_random_states, .timeout = 60)
{
	find_kinds();
	if (kinds[1] != SEAT)
		cr_skip_test("no membarrier");
	compare(LOCK, SEAT, 3000);
}
