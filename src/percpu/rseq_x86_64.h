/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The per-CPU operations as restartable sequences for x86_64; included by percpu.h, which has the contract.
 *
 * Each section: announces itself (rseq_cs), reads the CPU's number, does its work with plain loads and with stores that
 * nobody looks at yet (slots above the top, the caller's buffer), and ends with the one store that commits. If the kernel
 * interrupts it, it resumes at the abort label, four bytes behind the signature, which goes back to the announcement.
 * Loads are in program order on this architecture, so "floor or end first, then the word" needs no more than the order
 * below; the committing store is a release for the same reason.
 *
 * Why the sections with a result are no asm goto: gcc 12 takes the output of an asm goto for valid on the edges to its
 * labels (seen here: pop returned a stale register for "nothing"). They set the result to 0 themselves, out of line.
 *
 * BP_RSEQ_INJECT, empty in the product, is where the tests delay a section between its instructions.
 */
#define BP_PERCPU_HAS_RSEQ 1

#ifndef BP_RSEQ_INJECT
#define BP_RSEQ_INJECT(n) ""
#define BP_RSEQ_INJECT_CLOBBER
#endif

/* The descriptor (version, flags, start, length, abort) in a section of its own, and the announcement. */
#define BP_RSEQ_BEGIN                                                                                                  \
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
	"leaq 3b(%%rip), %%rax\n\t"                                                                                    \
	"movq %%rax, 8(%[rseq])\n"                                                                                     \
	"1:\n\t" BP_RSEQ_INJECT(1)

#define BP_RSEQ_END                                                                                                    \
	"2:\n\t"                                                                                                       \
	".pushsection __rseq_failure, \"ax\"\n\t"                                                                      \
	".byte 0x0f, 0xb9, 0x3d\n\t" /* ud1 with the signature as its displacement */                                  \
	".long 0x53053053\n"                                                                                           \
	"4:\n\t"                                                                                                       \
	"jmp 5b\n\t"                                                                                                   \
	".popsection\n\t"

/* rax = this CPU's slab; the word is at (rax, class, 8), floor and end are `limits` behind it. cpu_id is
 * signed: -1 and -2 lead to the two slabs below CPU 0, where everything is closed. */
#define BP_RSEQ_SLAB                                                                                                   \
	"movslq 4(%[rseq]), %%rax\n\t" BP_RSEQ_INJECT(2)                                                               \
	"shlq $18, %%rax\n\t"                                                                                          \
	"addq %[base], %%rax\n\t"

/* The same where the caller works for one CPU. */
#define BP_RSEQ_SLAB_ON                                                                                                \
	"movslq 4(%[rseq]), %%rax\n\t" BP_RSEQ_INJECT(2)                                                               \
	"cmpl %[cpu], %%eax\n\t"                                                                                       \
	"jne 7f\n\t"                                                                                                   \
	"shlq $18, %%rax\n\t"                                                                                          \
	"addq %[base], %%rax\n\t"

/* "Not here": label 7, the result 0. */
#define BP_RSEQ_OR_ZERO(result)                                                                                        \
	".pushsection __rseq_failure, \"ax\"\n"                                                                        \
	"7:\n\t"                                                                                                       \
	"xorl %k[" result "], %k[" result "]\n\t"                                                                      \
	"jmp 2b\n\t"                                                                                                   \
	".popsection\n\t"

_Static_assert(BP_SLAB_SHIFT == 18, "the assembly shifts by 18");

static inline __attribute__((always_inline)) void *bp_rseq_pop(char *base, unsigned class)
{
	void *p;
	asm volatile(BP_RSEQ_BEGIN BP_RSEQ_SLAB
		 "movl %c[limits](%%rax, %[class], 8), %%esi\n\t" /* floor */
		 "movq (%%rax, %[class], 8), %%rcx\n\t"
		 "addl %%ecx, %%esi\n\t"              /* carries where the index is above the bottom */
		 "jnc 7f\n\t" BP_RSEQ_INJECT(3)
		 "movl %%ecx, %%esi\n\t"
		 "addq %[down], %%rcx\n\t"
		 "js 7f\n\t"                 /* the count of pops has run out */
		 "movq -8(%%rax, %%rsi, 8), %[p]\n\t" BP_RSEQ_INJECT(4)
		 "movq -16(%%rax, %%rsi, 8), %%rsi\n\t"
		 "prefetchw (%%rsi)\n\t"            /* the next one; below the bottom is the bottom itself */
		 "movq %%rcx, (%%rax, %[class], 8)\n" BP_RSEQ_END
		 ".pushsection __rseq_failure, \"ax\"\n"
		 "7:\n\t"
		 "leaq %[nothing], %[p]\n\t"
		 "jmp 2b\n\t"
		 ".popsection\n\t"
		 : [p] "=&d"(p)
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"((uint64_t)class),
		   [limits] "i"(offsetof(struct bp_slab, limits)), [down] "r"((uint64_t)UINT32_MAX),
		   [nothing] "m"(*bp_percpu_nothing)
		 : "rax", "rcx", "rsi", "cc", "memory" BP_RSEQ_INJECT_CLOBBER);
	return p;
}

/* By the tag, class + 1, which is what a release has. */
static inline __attribute__((always_inline)) bool bp_rseq_push(char *base, unsigned class, void *p)
{
	asm goto(BP_RSEQ_BEGIN BP_RSEQ_SLAB
		 "movl %c[end](%%rax, %[tag], 8), %%edx\n\t" /* end */
		 "movq -8(%%rax, %[tag], 8), %%rcx\n\t"
		 "cmpl %%edx, %%ecx\n\t"
		 "jae %l[full]\n\t" BP_RSEQ_INJECT(3)
		 "movl %%ecx, %%edx\n\t"
		 "movq %[p], (%%rax, %%rdx, 8)\n\t"   /* above the top: nobody's yet */
		 "incq %%rcx\n\t" BP_RSEQ_INJECT(4)
		 "movq %%rcx, -8(%%rax, %[tag], 8)\n" BP_RSEQ_END
		 :
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [tag] "r"((uint64_t)(class + 1)),
		   [end] "i"(offsetof(struct bp_slab, limits) + offsetof(struct bp_limits, end) - 8), [p] "r"(p)
		 : "rax", "rcx", "rdx", "cc", "memory" BP_RSEQ_INJECT_CLOBBER
		 : full);
	return true;
full:
	return false;
}

static inline size_t bp_rseq_pop_batch(void **out, size_t max, char *base, int cpu, unsigned class)
{
	uint64_t n;
	asm volatile(BP_RSEQ_BEGIN BP_RSEQ_SLAB_ON
		 "movl %c[limits](%%rax, %[class], 8), %%edx\n\t"
		 "movq (%%rax, %[class], 8), %%rcx\n\t"
		 "addl %%ecx, %%edx\n\t"
		 "jnc 7f\n\t"
		 "incl %%edx\n\t"                     /* index - bottom: what is there */
		 "movq %[max], %[n]\n\t"
		 "cmpq %[n], %%rdx\n\t"
		 "cmovb %%rdx, %[n]\n\t"
		 "movl %%ecx, %%edx\n\t"
		 "leaq -8(%%rax, %%rdx, 8), %%rdx\n\t" /* the uppermost */
		 "xorl %%esi, %%esi\n"
		 "6:\n\t"
		 "movq (%%rdx), %%rdi\n\t"
		 "movq %%rdi, (%[out], %%rsi, 8)\n\t"
		 "subq $8, %%rdx\n\t"
		 "incq %%rsi\n\t"
		 "cmpq %[n], %%rsi\n\t"
		 "jb 6b\n\t" BP_RSEQ_INJECT(4)
		 "subq %[n], %%rcx\n\t"
		 "movq %%rcx, (%%rax, %[class], 8)\n" BP_RSEQ_END BP_RSEQ_OR_ZERO("n")
		 : [n] "=&r"(n)
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"((uint64_t)class),
		   [limits] "i"(offsetof(struct bp_slab, limits)), [out] "r"(out), [max] "r"(max), [cpu] "r"(cpu)
		 : "rax", "rcx", "rdx", "rsi", "rdi", "cc", "memory" BP_RSEQ_INJECT_CLOBBER);
	return n;
}

static inline size_t bp_rseq_push_batch(char *base, int cpu, unsigned class, void *const *in, size_t count)
{
	uint64_t n;
	asm volatile(BP_RSEQ_BEGIN BP_RSEQ_SLAB_ON
		 "movl %c[limits] + 4(%%rax, %[class], 8), %%edx\n\t"
		 "movq (%%rax, %[class], 8), %%rcx\n\t"
		 "subl %%ecx, %%edx\n\t"              /* end - index: the room */
		 "jbe 7f\n\t"
		 "movq %[count], %[n]\n\t"
		 "cmpq %[n], %%rdx\n\t"
		 "cmovb %%rdx, %[n]\n\t"
		 "movl %%ecx, %%edx\n\t"
		 "leaq (%%rax, %%rdx, 8), %%rdx\n\t"
		 "xorl %%esi, %%esi\n"
		 "6:\n\t"
		 "movq (%[in], %%rsi, 8), %%rdi\n\t"
		 "movq %%rdi, (%%rdx, %%rsi, 8)\n\t"
		 "incq %%rsi\n\t"
		 "cmpq %[n], %%rsi\n\t"
		 "jb 6b\n\t" BP_RSEQ_INJECT(4)
		 "addq %[n], %%rcx\n\t"
		 "movq %%rcx, (%%rax, %[class], 8)\n" BP_RSEQ_END BP_RSEQ_OR_ZERO("n")
		 : [n] "=&r"(n)
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"((uint64_t)class),
		   [limits] "i"(offsetof(struct bp_slab, limits)), [in] "r"(in), [count] "r"(count), [cpu] "r"(cpu)
		 : "rax", "rcx", "rdx", "rsi", "rdi", "cc", "memory" BP_RSEQ_INJECT_CLOBBER);
	return n;
}

/* Sets the high half of the word. *old: what it was. false: not on that CPU, or closed. */
static inline bool bp_rseq_recount(uint32_t *old, char *base, int cpu, unsigned class, uint32_t count)
{
	uint64_t was; /* 0 only where the section didn't run: an open stack's word is never 0 */
	asm volatile(BP_RSEQ_BEGIN BP_RSEQ_SLAB_ON
		 "cmpl $0, %c[limits](%%rax, %[class], 8)\n\t"     /* closed: the word is a taker's */
		 "je 7f\n\t"
		 "movq (%%rax, %[class], 8), %[was]\n\t"
		 "movl %k[was], %%ecx\n\t"
		 "orq %[high], %%rcx\n\t" BP_RSEQ_INJECT(4)
		 "movq %%rcx, (%%rax, %[class], 8)\n" BP_RSEQ_END BP_RSEQ_OR_ZERO("was")
		 : [was] "=&r"(was)
		 : [rseq] "r"(bp_thread.rseq), [base] "r"(base), [class] "r"((uint64_t)class),
		   [limits] "i"(offsetof(struct bp_slab, limits)), [high] "r"((uint64_t)count << 32), [cpu] "r"(cpu)
		 : "rax", "rcx", "cc", "memory" BP_RSEQ_INJECT_CLOBBER);
	*old = (uint32_t)(was >> 32);
	return was != 0;
}
