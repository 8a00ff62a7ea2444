/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The per-CPU operations as restartable sequences for aarch64; included by percpu.h, which has the contract. Run
 * instruction by instruction under an emulator that has no rseq (tests/aarch64), and restarted by a kernel on an emulated
 * machine of two CPUs (tests/guest), whose host orders memory more strictly than aarch64 does; not on hardware.
 *
 * Read rseq_x86_64.h first; the shape is the same. What differs:
 *   - Loads are not in program order here. floor or end is read with acquire and the word after it, so that who sees a
 *     stack open sees the word that belongs to it. ldapr where the compiler may use it: ldar would wait for the release
 *     of the section before.
 *   - Nor are stores: the committing store is stlr, so that who reads the word sees the slots below it.
 *   - A conditional branch reaches 1 MiB, which is not sure to lead to another section of a large program. So nothing
 *     but the abort handler is out of line: each section with a result sets it to "not here" where it begins (and
 *     begins again), and where there is nothing to do it branches to its own end.
 *
 * x9 to x15 are the sections' own; x16 and x17 are left to BP_RSEQ_INJECT and to the linker.
 */
#define BP_PERCPU_HAS_RSEQ 1

#ifndef BP_RSEQ_INJECT
#define BP_RSEQ_INJECT(n) ""
#define BP_RSEQ_INJECT_CLOBBER
#endif

#if defined(__ARM_FEATURE_RCPC)
#define BP_RSEQ_ACQUIRE "ldapr"
#else
#define BP_RSEQ_ACQUIRE "ldar"
#endif

/* The descriptor (version, flags, start, length, abort) in a section of its own, the result reset, the announcement. */
#define BP_RSEQ_BEGIN(reset)                                                                                           \
	".pushsection __rseq_cs, \"aw\"\n\t"                                                                           \
	".balign 32\n"                                                                                                 \
	"3:\n\t"                                                                                                       \
	".long 0, 0\n\t"                                                                                               \
	".quad 1f, 2f - 1f, 4f\n\t"                                                                                    \
	".popsection\n\t"                                                                                              \
	".pushsection __rseq_cs_ptr_array, \"aw\"\n\t"                                                                 \
	".quad 3b\n\t"                                                                                                 \
	".popsection\n"                                                                                                \
	"5:\n\t"                                                                                                       \
	"adrp x9, 3b\n\t"                                                                                              \
	"add x9, x9, :lo12:3b\n\t" reset "\n\t"                                                                        \
	"str x9, [%[rseq], #8]\n"                                                                                      \
	"1:\n\t" BP_RSEQ_INJECT(1)

/* The kernel compares the four bytes before the abort label with the signature that glibc registered: here an
 * instruction, brk #0x45e0. */
#define BP_RSEQ_END                                                                                                    \
	"2:\n\t"                                                                                                       \
	".pushsection __rseq_failure, \"ax\"\n\t"                                                                      \
	".inst 0xd428bc00\n"                                                                                           \
	"4:\n\t"                                                                                                       \
	"b 5b\n\t"                                                                                                     \
	".popsection\n\t"

/* x9 = this CPU's slab, x10 = the word in it. cpu_id is signed: -1 and -2 lead to the two slabs below CPU 0, where
 * everything is closed. */
#define BP_RSEQ_SLAB                                                                                                   \
	"ldrsw x9, [%[rseq], #4]\n\t" BP_RSEQ_INJECT(2)                                                                \
	"add x9, %[base], x9, lsl #18\n\t"                                                                             \
	"add x10, x9, %w[class], uxtw #3\n\t"

/* The same where the caller works for one CPU. */
#define BP_RSEQ_SLAB_ON                                                                                                \
	"ldrsw x9, [%[rseq], #4]\n\t" BP_RSEQ_INJECT(2)                                                                \
	"cmp w9, %w[cpu]\n\t"                                                                                          \
	"b.ne 2f\n\t"                                                                                                  \
	"add x9, %[base], x9, lsl #18\n\t"                                                                             \
	"add x10, x9, %w[class], uxtw #3\n\t"

/* w12 = floor or end, x13 = the word. */
#define BP_RSEQ_LOAD(offset)                                                                                           \
	"add x11, x10, %[limits] + " #offset "\n\t" BP_RSEQ_ACQUIRE " w12, [x11]\n\t"                                             \
	"ldr x13, [x10]\n\t"

#define BP_RSEQ_COMMIT(word) "stlr " word ", [x10]\n"

#define BP_RSEQ_CLOBBERS "x9", "x10", "x11", "x12", "x13", "x14", "x15", "cc", "memory" BP_RSEQ_INJECT_CLOBBER

_Static_assert(BP_SLAB_SHIFT == 18, "the assembly shifts by 18");

static inline __attribute__((always_inline)) void *bp_rseq_pop(char *base, unsigned class)
{
	void *p;
	asm volatile(BP_RSEQ_BEGIN("mov %[p], %[nothing]") BP_RSEQ_SLAB BP_RSEQ_LOAD(0)
		 "adds w12, w12, w13\n\t"             /* carries where the index is above the bottom */
		 "b.cc 2f\n\t" BP_RSEQ_INJECT(3)
		 "adds x14, x13, %[down]\n\t"
		 "b.mi 2f\n\t"                        /* the count of pops has run out */
		 "add x9, x9, w13, uxtw #3\n\t"
		 "ldur %[p], [x9, #-8]\n\t" BP_RSEQ_INJECT(4)
		 "ldur x15, [x9, #-16]\n\t"
		 "prfm pstl1keep, [x15]\n\t"         /* the next one; below the bottom is the bottom itself */
		 BP_RSEQ_COMMIT("x14") BP_RSEQ_END
		 : [p] "=&r"(p)
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"(class), [limits] "i"(offsetof(struct bp_slab, limits)),
		   [down] "r"((uint64_t)UINT32_MAX), [nothing] "r"(bp_percpu_nothing)
		 : BP_RSEQ_CLOBBERS);
	return p;
}

static inline __attribute__((always_inline)) bool bp_rseq_push(char *base, unsigned class, void *p)
{
	asm goto(BP_RSEQ_BEGIN("") BP_RSEQ_SLAB BP_RSEQ_LOAD(4)
		 "cmp w13, w12\n\t"
		 "b.lo 6f\n\t"
		 "b %l[full]\n"                       /* the compiler may have put it into another section */
		 "6:\n\t" BP_RSEQ_INJECT(3)
		 "str %[p], [x9, w13, uxtw #3]\n\t"   /* above the top: nobody's yet */
		 "add x13, x13, #1\n\t" BP_RSEQ_INJECT(4)
		 BP_RSEQ_COMMIT("x13") BP_RSEQ_END
		 :
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"(class),
		   [limits] "i"(offsetof(struct bp_slab, limits)), [p] "r"(p)
		 : BP_RSEQ_CLOBBERS
		 : full);
	return true;
full:
	return false;
}

static inline size_t bp_rseq_pop_batch(void **out, size_t max, char *base, int cpu, unsigned class)
{
	uint64_t n;
	asm volatile(BP_RSEQ_BEGIN("mov %[n], xzr") BP_RSEQ_SLAB_ON BP_RSEQ_LOAD(0)
		 "adds w12, w12, w13\n\t"
		 "b.cc 2f\n\t"
		 "add w12, w12, #1\n\t"               /* index - bottom: what is there */
		 "cmp x12, %[max]\n\t"
		 "csel %[n], x12, %[max], lo\n\t"
		 "add x11, x9, w13, uxtw #3\n\t"      /* behind the uppermost */
		 "mov x14, xzr\n"
		 "6:\n\t"
		 "ldr x15, [x11, #-8]!\n\t"
		 "str x15, [%[out], x14, lsl #3]\n\t"
		 "add x14, x14, #1\n\t"
		 "cmp x14, %[n]\n\t"
		 "b.lo 6b\n\t" BP_RSEQ_INJECT(4)
		 "sub x13, x13, %[n]\n\t"
		 BP_RSEQ_COMMIT("x13") BP_RSEQ_END
		 : [n] "=&r"(n)
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"(class),
		   [limits] "i"(offsetof(struct bp_slab, limits)), [out] "r"(out), [max] "r"(max), [cpu] "r"(cpu)
		 : BP_RSEQ_CLOBBERS);
	return n;
}

static inline size_t bp_rseq_push_batch(char *base, int cpu, unsigned class, void *const *in, size_t count)
{
	uint64_t n;
	asm volatile(BP_RSEQ_BEGIN("mov %[n], xzr") BP_RSEQ_SLAB_ON BP_RSEQ_LOAD(4)
		 "subs w12, w12, w13\n\t"             /* end - index: the room */
		 "b.ls 2f\n\t"
		 "cmp x12, %[count]\n\t"
		 "csel %[n], x12, %[count], lo\n\t"
		 "add x11, x9, w13, uxtw #3\n\t"
		 "mov x14, xzr\n"
		 "6:\n\t"
		 "ldr x15, [%[in], x14, lsl #3]\n\t"
		 "str x15, [x11, x14, lsl #3]\n\t"
		 "add x14, x14, #1\n\t"
		 "cmp x14, %[n]\n\t"
		 "b.lo 6b\n\t" BP_RSEQ_INJECT(4)
		 "add x13, x13, %[n]\n\t"
		 BP_RSEQ_COMMIT("x13") BP_RSEQ_END
		 : [n] "=&r"(n)
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"(class),
		   [limits] "i"(offsetof(struct bp_slab, limits)), [in] "r"(in), [count] "r"(count), [cpu] "r"(cpu)
		 : BP_RSEQ_CLOBBERS);
	return n;
}

/* Sets the high half of the word. *old: what it was. false: not on that CPU, or closed: the word is the taker's then,
 * and to write it back would bring back the blocks that he took. */
static inline bool bp_rseq_recount(uint32_t *old, char *base, int cpu, unsigned class, uint32_t count)
{
	uint64_t was; /* 0 only where the section didn't run: an open stack's word is never 0 */
	asm volatile(BP_RSEQ_BEGIN("mov %[was], xzr") BP_RSEQ_SLAB_ON BP_RSEQ_LOAD(0)
		 "cbz w12, 2f\n\t" BP_RSEQ_INJECT(3)
		 "mov w14, w13\n\t"
		 "orr x14, x14, %[high]\n\t"
		 "mov %[was], x13\n\t" BP_RSEQ_INJECT(4)
		 BP_RSEQ_COMMIT("x14") BP_RSEQ_END
		 : [was] "=&r"(was)
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"(class), [limits] "i"(offsetof(struct bp_slab, limits)),
		   [high] "r"((uint64_t)count << 32), [cpu] "r"(cpu)
		 : BP_RSEQ_CLOBBERS);
	*old = (uint32_t)(was >> 32);
	return was != 0;
}
