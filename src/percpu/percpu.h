/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Per-CPU caches: for each CPU and each size class a stack of pointers, and four operations on it (push, pop and their
 * batch forms) behind one contract, with restartable sequences (rseq) where the kernel and glibc have them and a
 * portable implementation elsewhere. The mode is chosen once, at start.
 *
 * The contract
 *   - An operation is atomic against everything else that happens on its CPU and commits with one store of the
 *     stack's word. A thread that is preempted, migrated or interrupted by a signal inside an operation starts it again.
 *   - No operation waits. It says "not here" instead (NULL, false, 0), and the caller goes to the shared level.
 *   - A stack that is closed (floor and end zero: also an untouched one, whose memory was never written) is empty for
 *     pop and full for push. So are those of the two slabs below CPU 0, which threads without a registration (cpu_id -1
 *     and -2) reach: the hit path needs no bound check.
 *   - Every operation that writes a word first sees its stack open: the word of a closed one belongs to who closed it.
 *   - Any thread may close the stacks of another CPU, wait for operations in flight to end (bp_percpu_take) and own them
 *     until it opens them again.
 *
 * A pop fetches the line of the block below the one that it gives: programs write to what they get, and the next one is as
 * likely to be cold (as in tcmalloc).
 *
 * Layout. A slab per CPU: the words of all classes side by side, then their limits, then the slots. Words and limits lie
 * apart so that both are found by the class scaled by 8. A stack's word holds the index of the first free slot (low half,
 * in units of 8 bytes from the slab) and a count of pops (high half). The count costs nothing (pop adds 2^32 - 1: one less
 * in the low half, the carry counts) and runs from 2^31 - interval up: when its sign appears, pop goes to the slow path,
 * which looks at the clock. So a program that only hits notices time.
 * `floor` is the complement of the index of the bottom, so that zero means closed.
 *
 * Memory order. Stacks are opened remotely (first use, after bp_percpu_take) by writing the word first and floor and end
 * after it, with release; an operation reads floor or end first, with acquire, and the word after it. So whoever sees
 * a stack open sees the word that belongs to it.
 *
 * Why cpu_id and not mm_cid: a released block is warm in the cache of the CPU that released it, and membarrier can stop
 * one CPU but not one mm_cid.
 *
 * Read first: this header; then rseq_x86_64.h; seats.h; fallback.c; percpu.c; taking.c.
 */
#ifndef BP_PERCPU_PERCPU_H
#define BP_PERCPU_PERCPU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "size_classes.h"
#include "sys/os.h"

#define BP_SLAB_SHIFT 18
#define BP_SLAB_BYTES ((size_t)1 << BP_SLAB_SHIFT)

struct bp_limits {
	_Atomic uint32_t floor; /* ~bottom, 0: closed for pop */
	_Atomic uint32_t end;   /* first index that may not be filled, 0: closed for push */
};
_Static_assert(sizeof(struct bp_limits) == 8 && offsetof(struct bp_limits, end) == 4, "the assembly scales by 8");

/* What the slow path keeps for a CPU, behind words and limits. Several threads may be on the slow path of one CPU at once
 * (preempted there): all of it is atomic, and hints unless said otherwise. */
struct bp_cpu_class {
	_Atomic uint32_t start;     /* where the present count of pops began; exact */
	_Atomic uint32_t last_tick; /* ms, low half: when that was */
	_Atomic uint16_t capacity;  /* end - bottom while open */
	_Atomic uint8_t pressed;    /* what happened last: BP_PRESS_… */
	_Atomic uint8_t opened;     /* somebody has opened it, or is about to: once */
};

enum { BP_PRESS_NONE, BP_PRESS_UNDERFLOW, BP_PRESS_OVERFLOW };
enum { BP_CPU_UNTOUCHED, BP_CPU_PREPARING, BP_CPU_READY };

struct bp_cpu {
	_Atomic uint32_t state;          /* BP_CPU_… */
	_Atomic uint32_t epoch;          /* the last epoch at which this CPU retired its stacks */
	_Atomic uint64_t capacity_bytes; /* sum over its classes */
	_Atomic uint32_t lock;           /* the portable implementation's: 0 free */
	_Atomic uint32_t taken;          /* somebody has closed and not yet opened: thread-owned, see bp_percpu_take */
	struct bp_cpu_class classes[BP_CLASS_COUNT];
};

struct bp_slab {
	_Atomic uint64_t words[BP_CLASS_COUNT + 1]; /* the last, of BP_TAG_HUGE, is never opened */
	struct bp_limits limits[BP_CLASS_COUNT + 1];
	struct bp_cpu cpu __attribute__((aligned(BP_LINE)));
};
_Static_assert(sizeof(struct bp_slab) <= 4096, "words, limits and bookkeeping share the slab's first page");

/* The slabs of a pool: slab of CPU 0; two unreadable-for-nothing slabs lie below it. Before the pool is started: zeroes.
 * In the portable mode seats (seats.h) follow the CPUs and count as such. */
struct bp_slabs {
	char *base;
	unsigned cpus;
};

/* Zeroes: the slab of threads without a CPU, and what the inline pop gives instead of NULL. */
extern char bp_percpu_nothing[] BP_HIDDEN;
#define BP_SLABS_INIT { .base = bp_percpu_nothing + BP_SLAB_BYTES, .cpus = 0 }

/* The kernel's struct rseq as far as it is read here (linux/rseq.h; only rseq_cs is ever written). */
struct bp_rseq {
	uint32_t cpu_id_start;
	int32_t cpu_id;
	uint64_t rseq_cs;
	uint32_t flags;
	uint32_t rest[3];
	/* Behind what the kernel knows, and only in areas of our own, for the portable mode: see seats.h. */
	_Atomic int64_t here;
	uint32_t unused[6];
} __attribute__((aligned(32)));

/* `here` of who has no seat, or is at work on it: the slab below that of CPU 0. */
#define BP_SEAT_AWAY (-(int64_t)BP_SLAB_BYTES)

/* The area that this thread's operations go by. New threads start with `unset`, whose cpu_id of -1 leads to the slow
 * path, which looks for the real one. A vfork child shares this variable's memory with its parent but has no
 * registration of its own: the shim points it to `vfork` meanwhile. In the portable mode it is the area of this thread's
 * seat, or `none` where there was none free. */
extern struct bp_rseq bp_rseq_unset BP_HIDDEN, bp_rseq_none BP_HIDDEN, bp_rseq_vfork BP_HIDDEN;
struct bp_thread {
	struct bp_rseq *rseq;
	unsigned passed; /* calls that passed through and are not yet added to the pool's count */
};
extern __thread struct bp_thread bp_thread BP_HIDDEN __attribute__((tls_model("initial-exec")));

enum bp_percpu_mode { BP_PERCPU_PASS, BP_PERCPU_FALLBACK, BP_PERCPU_RSEQ };

#define BP_HITS_INTERVAL_FIRST 64u
#define BP_COUNT_OF(interval) ((uint32_t)0x80000000u - (interval))
#define BP_COUNT_LAST 0x7fffffffu
#define BP_WORD(count, index) ((uint64_t)(count) << 32 | (uint32_t)(index))

static inline struct bp_slab *bp_slab_of(struct bp_slabs s, int cpu)
{
	return (struct bp_slab *)(s.base + ((ptrdiff_t)cpu << BP_SLAB_SHIFT));
}

/* ---- the hit path: inline, one implementation for each architecture; always "not here" in the portable build ---- */

#if defined(__x86_64__) && !defined(BP_PERCPU_PORTABLE)
#include "percpu/rseq_x86_64.h"
#elif defined(__aarch64__) && !defined(BP_PERCPU_PORTABLE)
#include "percpu/rseq_aarch64.h"
#else
#include "percpu/rseq_none.h"
#endif

/* ---- the slow path, by the mode in force: percpu.c, and for other CPUs' stacks taking.c ---- */

/* Chooses the mode. wanted: what the options say (BP_PERCPU_RSEQ falls back where there is none). */
enum bp_percpu_mode bp_percpu_start(enum bp_percpu_mode wanted);
enum bp_percpu_mode bp_percpu_mode(void);

/* Address space for the slabs of all possible CPUs, and of the seats; false: no memory. */
bool bp_percpu_create(struct bp_slabs *s);
/* Of these slabs, those of CPUs. */
unsigned bp_percpu_processors(struct bp_slabs s);

/* Prepares this thread, and its CPU's slab at first use. `epoch`: what a new CPU starts with. The CPU, or -1 where this
 * thread has none (not registered, a vfork child, memory refused): the caller then does without. */
int bp_percpu_enter(struct bp_slabs s, uint32_t epoch);

/* Opens a class on a CPU, once: false where it was open. Later its capacity may be changed, by anybody at any time: a
 * smaller one only keeps further pushes out. */
bool bp_percpu_open(struct bp_slabs s, int cpu, unsigned class, unsigned capacity);
void bp_percpu_resize(struct bp_slabs s, int cpu, unsigned class, unsigned capacity);
unsigned bp_percpu_slots(unsigned class); /* the largest capacity */

/* Only while this thread runs on `cpu`; else "not here". pop_batch takes up to max from the top, the uppermost first. */
void *bp_percpu_pop(struct bp_slabs s, int cpu, unsigned class);
bool bp_percpu_push(struct bp_slabs s, int cpu, unsigned class, void *p);
size_t bp_percpu_pop_batch(void **out, size_t max, struct bp_slabs s, int cpu, unsigned class);
size_t bp_percpu_push_batch(struct bp_slabs s, int cpu, unsigned class, void *const *in, size_t count);

/* Has the count of pops run out? */
bool bp_percpu_ticked(struct bp_slabs s, int cpu, unsigned class);
/* Starts the count anew with `interval` to go (2 to 2^30). *pops: how many the old one saw. false: not here. */
bool bp_percpu_recount(uint32_t *pops, struct bp_slabs s, int cpu, unsigned class, uint32_t interval);

/* Pops seen by the present count, and blocks now in the stack. Not synchronised: true at rest. */
uint32_t bp_percpu_pops(struct bp_slabs s, int cpu, unsigned class);
uint32_t bp_percpu_count(struct bp_slabs s, int cpu, unsigned class);

/* Takes another CPU's stacks away from it: closes them all, makes sure that no operation on them is in flight, calls
 * `each` with what every class held (the stack is then empty) and opens them again. One at a time for each CPU: false
 * when somebody else does it now, or when the CPU can't be stopped. */
typedef void bp_percpu_each_fn(void *ctx, unsigned class, void **blocks, size_t count);
bool bp_percpu_take(struct bp_slabs s, int cpu, unsigned first, unsigned last, bp_percpu_each_fn *each, void *ctx);

/* Keeps further pushes out of a class on one CPU, until bp_percpu_reset; those that were in flight have ended. false: that
 * could not be made sure of. */
bool bp_percpu_close(struct bp_slabs s, int cpu, unsigned class);

/* Around the entry into a sandbox that may kill for membarrier (bp_os_confine): from then on no CPU is stopped, taking
 * fails where it would have to, nobody looks for a seat, and no CPU is being stopped any more; each CPU then only retires
 * its own stacks. false: there was no sandbox after all. */
void bp_percpu_confine(struct bp_slabs s, bool confined);

/* Makes all CPUs' slabs as if they had never been used; nobody may be using them. purge: their memory goes to the kernel. */
void bp_percpu_reset(struct bp_slabs s, bool purge);

/* In the child of a fork: frees what threads that do not exist here had closed or locked. */
void bp_percpu_child(struct bp_slabs s);
/* Once for all pools: the seats of threads that do not exist here are free. */
void bp_percpu_child_threads(void);
/* Of a stack that nobody works on any more: takes away the uppermost, `most` at the most. How many, and the slots in which they
 * still lie. */
uint32_t bp_percpu_forget(void ***slots, struct bp_slabs s, int cpu, unsigned class, uint32_t most);

#endif
