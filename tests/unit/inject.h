/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Included before everything else in the programs of inject.c: what stands at the injection points of rseq_x86_64.h. Each
 * point counts who comes by and burns time, in registers that the sections do not use.
 */
#ifndef BUFPOOL_TESTS_UNIT_INJECT_H
#define BUFPOOL_TESTS_UNIT_INJECT_H

#define BP_RSEQ_INJECT(n)                                                                                              \
	"lock incq u_inject_seen+8*" #n "(%%rip)\n\t"                                                                  \
	"movl u_inject_delay+4*" #n "(%%rip), %%r10d\n\t"                                                              \
	"testl %%r10d, %%r10d\n\t"                                                                                     \
	"jz 222f\n"                                                                                                    \
	"221:\n\t"                                                                                                     \
	"decl %%r10d\n\t"                                                                                              \
	"jnz 221b\n"                                                                                                   \
	"222:\n\t"
#define BP_RSEQ_INJECT_CLOBBER , "r10"

#endif
