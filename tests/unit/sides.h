/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The implementations of percpu.h side by side, for tests that put the same to each.
 */
#ifndef BP_TESTS_UNIT_SIDES_H
#define BP_TESTS_UNIT_SIDES_H

#include "percpu/percpu.h"

#include <criterion/criterion.h>

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

static inline void start(const struct side *s)
{
	enum bp_percpu_mode mode = s->kind == RSEQ ? BP_PERCPU_RSEQ : BP_PERCPU_FALLBACK;
	cr_assert_eq(bp_percpu_start(mode), mode);
	bp_thread.rseq = s->area;
}

/* Slabs of this thread's CPU, or seat, ready and with nothing opened. */
static inline struct side side_in(enum kind kind)
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

static inline void *token(uint64_t n)
{
	return (void *)(uintptr_t)(n * 16 + 4096);
}

static inline uint32_t bottom(struct side *s, unsigned class)
{
	return ~atomic_load(&bp_slab_of(s->slabs, s->cpu)->limits[class].floor);
}

static inline struct bp_limits *limits(struct side *s, unsigned class)
{
	return &bp_slab_of(s->slabs, s->cpu)->limits[class];
}

static inline _Atomic uint64_t *word(struct side *s, unsigned class)
{
	return &bp_slab_of(s->slabs, s->cpu)->words[class];
}

static enum kind kinds[3];
static size_t kind_count;

/* Every test runs in each mode that there is. */
#define EACH_MODE(s) \
	for (size_t kind_i = (find_kinds(), 0); kind_i < kind_count; kind_i++) \
		for (struct side s = side_in(kinds[kind_i]), *once = &s; once != NULL; once = NULL)

static inline void find_kinds(void)
{
	kind_count = 0;
	kinds[kind_count++] = LOCK;
	bp_percpu_start(BP_PERCPU_FALLBACK);
	if (bp_seats.count > 0)
		kinds[kind_count++] = SEAT;
	if (u_has_rseq())
		kinds[kind_count++] = RSEQ;
}

#endif
