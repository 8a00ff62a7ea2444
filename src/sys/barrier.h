/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the seats of the portable mode (percpu/seats.h) ask of the kernel: a memory barrier on all threads of this process
 * at once, and which of them are still there. errno is preserved by all of it.
 */
#ifndef BP_SYS_BARRIER_H
#define BP_SYS_BARRIER_H

#include "sys/os.h"

/* membarrier(2), the expedited private command: to be registered once, at best while there is one thread (with more it
 * takes milliseconds). false: not available. */
bool bp_os_barrier_register(void) BP_HIDDEN;
bool bp_os_barrier(void) BP_HIDDEN;

/* The kernel's numbers of this process and this thread. */
uint32_t bp_os_process(void) BP_HIDDEN;
uint32_t bp_os_thread(void) BP_HIDDEN;
/* Has this process no thread of that number? */
bool bp_os_thread_is_gone(uint32_t thread) BP_HIDDEN;

#endif
