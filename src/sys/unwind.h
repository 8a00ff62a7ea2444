/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Who called this library: return addresses, this thread's number. For the leak report, which asks inside malloc:
 * nothing here allocates, and with a libgcc and a glibc that have _dl_find_object (12, 2.35) nothing takes a lock.
 */
#ifndef BP_SYS_UNWIND_H
#define BP_SYS_UNWIND_H

#include <stdint.h>

#include "sys/os.h"

/* The callers outside this library, the nearest first; how many there were, `most` at the most. Inside itself (a
 * signal handler, an unwinder that allocates), and before a static program is known to the unwinder: 0. */
unsigned bp_unwind(uintptr_t *out, unsigned most) BP_HIDDEN;

/* What the kernel calls this thread; asked once. */
uint32_t bp_unwind_thread(void) BP_HIDDEN;
/* In the child of a fork: this thread has another number. */
void bp_unwind_child(void) BP_HIDDEN;

/* Functions of this library that are called from outside, NULL behind the last: where it is linked statically, only
 * these tell its frames from the program's. Entries for what is not linked are skipped. */
extern const void *const bp_unwind_entries[] __attribute__((weak)) BP_HIDDEN;
extern const unsigned bp_unwind_entry_count __attribute__((weak)) BP_HIDDEN;
/* Those of the shim; a NULL behind the last. */
extern const void *const bp_unwind_mallocs[] __attribute__((weak)) BP_HIDDEN;

#endif
