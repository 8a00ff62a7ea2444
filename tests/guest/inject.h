/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For aarch64 what tests/unit/inject.h is for x86_64; included before everything else in tests/unit/inject.c, whose
 * counters these are. Flags and all registers but x16 and x17 stay as they are.
 */
#ifndef BUFPOOL_TESTS_GUEST_INJECT_H
#define BUFPOOL_TESTS_GUEST_INJECT_H

#define BP_RSEQ_INJECT(n)                                                                                              \
	".arch_extension lse\n\t"                                                                                      \
	"adrp x16, u_inject_seen + 8 * " #n "\n\t"                                                                     \
	"add x16, x16, :lo12:u_inject_seen + 8 * " #n "\n\t"                                                           \
	"mov x17, #1\n\t"                                                                                              \
	"stadd x17, [x16]\n\t"                                                                                         \
	"adrp x16, u_inject_delay + 4 * " #n "\n\t"                                                                    \
	"ldr w17, [x16, :lo12:u_inject_delay + 4 * " #n "]\n\t"                                                        \
	"cbz w17, 222f\n"                                                                                              \
	"221:\n\t"                                                                                                     \
	"sub w17, w17, #1\n\t"                                                                                         \
	"cbnz w17, 221b\n"                                                                                             \
	"222:\n\t"
#define BP_RSEQ_INJECT_CLOBBER , "x16", "x17"

#endif
