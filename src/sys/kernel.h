/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A system call by its number, with what the kernel answers: -4095 to -1 are errors. For the shim's own syscall(), which
 * can't be written with libc's.
 */
#ifndef BP_SYS_KERNEL_H
#define BP_SYS_KERNEL_H

#if defined(__x86_64__)
static inline __attribute__((always_inline)) long bp_kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "+a"(number)
			 : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return number;
}
#elif defined(__aarch64__)
static inline __attribute__((always_inline)) long bp_kernel_call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
	return x0;
}
#endif

#endif
