/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The aarch64 sections without a kernel that restarts them: what they compute, held against the portable implementation
 * on random states; what they do when they start again; and whether their descriptors say what the kernel's ABI wants.
 * For qemu-user, which has no rseq: the thread's area is a structure of ours that says "CPU 0". One thread, plain TAP.
 *
 * Starting again is done by BP_RSEQ_INJECT: a point whose countdown stands at n goes to the abort handler the n-th time
 * that it is reached. That is what the kernel would do, as far as one thread can see.
 *
 * Not shown here: that a kernel accepts the descriptors, and that the order of loads and stores is enough.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the injected code counts with; only names from assembly, so the order of declarations does not matter. */
extern uint32_t countdown[5] __attribute__((visibility("hidden")));
#define BP_RSEQ_INJECT(n)                                                                                              \
	"adrp x16, countdown + 4 * " #n "\n\t"                                                                         \
	"add x16, x16, :lo12:countdown + 4 * " #n "\n\t"                                                               \
	"ldr w17, [x16]\n\t"                                                                                           \
	"cbz w17, 8f\n\t"                                                                                              \
	"sub w17, w17, #1\n\t"                                                                                         \
	"str w17, [x16]\n\t"                                                                                           \
	"cbz w17, 9f\n\t"                                                                                              \
	"b 8f\n"                                                                                                       \
	"9:\n\t"                                                                                                       \
	"b 4f\n"                                                                                                       \
	"8:\n\t"
#define BP_RSEQ_INJECT_CLOBBER , "x16", "x17"

#include "percpu/fallback.h"
#include "percpu/percpu.h"

uint32_t countdown[5];

enum { CPUS = 2, ROUNDS = 4000, BATCH = 70, BOTTOM = 600, ROOM = 80, CLASS = 7 };

#define SIGNATURE 0xd428bc00u
#define USED ((size_t)(BOTTOM + ROOM) * sizeof(void *))

static struct bp_rseq area = { .cpu_id = 0 };
static struct bp_slabs real, model;
static unsigned failures, cases;

static void report(const char *name, bool good)
{
	printf("%sok %u - %s\n", good ? "" : "not ", ++cases, name);
	failures += !good;
}

static struct bp_slabs slabs_new(void)
{
	char *space = aligned_alloc(4096, (CPUS + 2) * BP_SLAB_BYTES);
	if (space == NULL)
		abort();
	memset(space, 0, (CPUS + 2) * BP_SLAB_BYTES);
	return (struct bp_slabs){ .base = space + 2 * BP_SLAB_BYTES, .cpus = CPUS };
}

/* ---- states ---- */

static uint32_t any(uint32_t below)
{
	return (uint32_t)random() % below;
}

/* Often on an edge: empty, full, the last pop of a count, closed for one or both. */
static void random_state(void)
{
	struct bp_slab *slab = bp_slab_of(real, 0);
	uint32_t edge = any(8), filled = edge == 0 ? 0 : edge == 1 ? ROOM : any(ROOM + 1);
	uint32_t count = edge == 2 ? BP_COUNT_LAST : edge == 3 ? BP_COUNT_LAST - 1 : BP_COUNT_OF(2 + any(9000));
	uint32_t end = BOTTOM + (edge == 4 ? any(ROOM + 1) : ROOM); /* a smaller capacity than what is there */
	slab->words[CLASS] = BP_WORD(count, BOTTOM + filled);
	slab->limits[CLASS].floor = edge == 5 || edge == 6 ? 0 : ~(uint32_t)BOTTOM;
	slab->limits[CLASS].end = edge == 5 || edge == 7 ? 0 : end;
	for (uint32_t i = 0; i < ROOM; i++)
		((void **)slab)[BOTTOM + i] = (void *)(uintptr_t)random();
	for (unsigned i = 1; i < 5; i++)
		countdown[i] = any(3) == 0 ? 1 + any(2) : 0;
	memcpy(model.base, real.base, USED);
}

static bool is_closed(void)
{
	return bp_slab_of(model, 0)->limits[CLASS].floor == 0;
}

/* Heads and slots, those above the top included: a section that starts again fills them with the same. */
static bool same_memory(void)
{
	return memcmp(real.base, model.base, USED) == 0;
}

/* Everything but the class in use, on all CPUs and below them. */
static void nothing_else_was_written(void)
{
	const char *below = real.base - 2 * BP_SLAB_BYTES, *end = real.base + CPUS * BP_SLAB_BYTES;
	bool good = true;
	for (const char *p = below; p < end; p++)
		good = good && (*p == 0 || (p >= real.base && p < real.base + USED));
	report("no other byte of the slabs was written", good);
}

/* ---- the five operations against the portable ones ---- */

static bool pop(void)
{
	void *p = bp_rseq_pop(real.base, CLASS), *q = bp_fallback_pop(model, 0, CLASS);
	return p == (q == NULL ? bp_percpu_nothing : q);
}

static bool push(void)
{
	void *p = (void *)(uintptr_t)random();
	return bp_rseq_push(real.base, CLASS, p) == bp_fallback_push(model, 0, CLASS, p);
}

static bool pop_batch(void)
{
	void *a[BATCH] = { 0 }, *b[BATCH] = { 0 };
	size_t max = 1 + any(BATCH);
	size_t n = bp_rseq_pop_batch(a, max, real.base, 0, CLASS), m = bp_fallback_pop_batch(b, max, model, 0, CLASS);
	return n == m && memcmp(a, b, sizeof(a)) == 0;
}

static bool push_batch(void)
{
	void *in[BATCH];
	size_t count = 1 + any(BATCH);
	for (size_t i = 0; i < count; i++)
		in[i] = (void *)(uintptr_t)random();
	return bp_rseq_push_batch(real.base, 0, CLASS, in, count) ==
	       bp_fallback_push_batch(model, 0, CLASS, in, count);
}

/* A closed stack's word is a taker's, who holds the lock in the portable mode; a section must leave it alone. */
static bool recount(void)
{
	uint32_t a = 1, b = 2, count = BP_COUNT_OF(2 + any(9000));
	bool done = bp_rseq_recount(&a, real.base, 0, CLASS, count);
	if (is_closed())
		return !done;
	return done && bp_fallback_recount(&b, model, 0, CLASS, count) && a == b;
}

static void against_model(const char *name, bool (*op)(void))
{
	bool good = true;
	for (unsigned i = 0; i < ROUNDS && good; i++) {
		random_state();
		good = op() && same_memory();
	}
	report(name, good);
}

/* ---- where they must do nothing ---- */

static bool does_nothing(void)
{
	void *blocks[4] = { 0 };
	uint32_t old;
	return bp_rseq_pop(real.base, CLASS) == bp_percpu_nothing && !bp_rseq_push(real.base, CLASS, &old) &&
	       bp_rseq_pop_batch(blocks, 4, real.base, 0, CLASS) == 0 &&
	       bp_rseq_push_batch(real.base, 0, CLASS, blocks, 4) == 0 &&
	       !bp_rseq_recount(&old, real.base, 0, CLASS, BP_COUNT_OF(5)) && same_memory();
}

static void without_a_cpu(void)
{
	bool good = true;
	for (int id = -2; id < 0; id++) {
		random_state();
		area.cpu_id = id;
		good = does_nothing() && good;
	}
	area.cpu_id = 1; /* another CPU, which nobody has touched */
	random_state();
	good = does_nothing() && good;
	area.cpu_id = 0;
	report("threads without a CPU, and on an untouched one, find everything closed", good);
	struct bp_slabs before_start = BP_SLABS_INIT;
	area.cpu_id = -1;
	good = bp_rseq_pop(before_start.base, CLASS) == bp_percpu_nothing &&
	       !bp_rseq_push(before_start.base, CLASS, &area);
	area.cpu_id = 0;
	report("before the pool's start nothing is popped or pushed", good);
}

/* ---- the descriptor ---- */

struct descriptor {
	uint32_t version, flags;
	uint64_t start, length, abort;
};

static uint32_t instruction(uint64_t at)
{
	uint32_t code;
	memcpy(&code, (const void *)at, sizeof(code));
	return code;
}

/* Where an unconditional branch at that address leads; 0: it is none. */
static uint64_t branch_target(uint64_t at)
{
	uint32_t code = instruction(at);
	return code >> 26 != 5 ? 0 : at + (uint64_t)((int64_t)(int32_t)(code << 6) >> 6) * 4;
}

static bool descriptor_is_right(void)
{
	struct descriptor d;
	if (area.rseq_cs == 0 || area.rseq_cs % 32 != 0)
		return false;
	memcpy(&d, (const void *)area.rseq_cs, sizeof(d));
	area.rseq_cs = 0;
	uint64_t again = branch_target(d.abort);
	bool outside = d.abort - d.start >= d.length;
	bool announces = (instruction(d.start - 4) & 0xfffffc00) == 0xf9000400; /* str x, [x, #8] */
	bool commits = (instruction(d.start + d.length - 4) & 0xfffffc00) == 0xc89ffc00; /* stlr x, [x] */
	bool restarts = again < d.start && d.start - again <= 16 && (instruction(again) & 0x9f000000) == 0x90000000;
	return d.version == 0 && d.flags == 0 && outside && instruction(d.abort - 4) == SIGNATURE && announces &&
	       commits && restarts;
}

static void descriptors(void)
{
	static const struct {
		const char *name;
		bool (*op)(void);
	} all[] = { { "pop", pop }, { "push", push }, { "pop_batch", pop_batch }, { "push_batch", push_batch },
		    { "recount", recount } };
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		char title[80];
		random_state();
		area.rseq_cs = 0;
		all[i].op();
		snprintf(title, sizeof(title), "%s: descriptor, signature, abort label, last instruction", all[i].name);
		report(title, descriptor_is_right());
	}
}

/* A point that is never reached would make the restarts above mean nothing. */
static void points_are_reached(void)
{
	bool good = true;
	for (unsigned i = 1; i < 5; i++) {
		do
			random_state();
		while (is_closed() || (uint32_t)bp_slab_of(real, 0)->words[CLASS] == BOTTOM ||
		       bp_slab_of(real, 0)->words[CLASS] >> 32 == BP_COUNT_LAST);
		memset(countdown, 0, sizeof(countdown));
		countdown[i] = 1;
		good = pop() && countdown[i] == 0 && good;
	}
	report("every point of a pop that succeeds can start it again", good);
}

int main(void)
{
	bp_thread.rseq = &area;
	real = slabs_new();
	model = slabs_new();
	srandom(20240229);
	against_model("pop as the portable one", pop);
	against_model("push as the portable one", push);
	against_model("pop_batch as the portable one", pop_batch);
	against_model("push_batch as the portable one", push_batch);
	against_model("recount as the portable one, and not where closed", recount);
	without_a_cpu();
	points_are_reached();
	descriptors();
	nothing_else_was_written();
	printf("1..%u\n", cases);
	return failures != 0;
}
