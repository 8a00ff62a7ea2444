/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How a program in a guest tells the emulator from where to where to count: by two instructions, here as their bytes,
 * that do nothing and that no compiler makes (count.c executes them, count_plugin.c looks for them).
 */
#ifndef COUNT_H
#define COUNT_H

/* nopl 0x010051ab(%rax), nopl 0x020051ab(%rax) */
#define COUNT_FROM_X86_64 0x0f, 0x1f, 0x80, 0xab, 0x51, 0x00, 0x01
#define COUNT_TO_X86_64	  0x0f, 0x1f, 0x80, 0xab, 0x51, 0x00, 0x02

/* mov xzr, #0x51ab, mov xzr, #0x51ac */
#define COUNT_FROM_AARCH64 0x7f, 0x35, 0x8a, 0xd2
#define COUNT_TO_AARCH64   0x9f, 0x35, 0x8a, 0xd2

#endif
