/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Blocks for calls that come before the dynamic linker is done: IFUNC resolvers run while it relocates. Those of the
 * program see thread-local storage without its initial image (ld.so copies that afterwards, over whatever was stored);
 * those of a library may even run before this library is relocated itself. Neither pool nor jemalloc can work then.
 *
 * Invariants: what is handed out is zeroed, 16-byte aligned and never taken back, so that no two blocks share a byte; a
 * block has its size in front. Nothing here calls another library before this one is relocated.
 *
 * Afterwards these blocks are met on slow paths only: bp_bump_has tells them from jemalloc's.
 */
#ifndef BP_SYS_BUMP_H
#define BP_SYS_BUMP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/os.h"

#define BP_BUMP_BYTES ((size_t)256 << 10)

extern _Atomic size_t bp_bump_top BP_HIDDEN; /* bytes handed out; 0 in all but a few processes */
extern char bp_bump_buffer[BP_BUMP_BYTES] BP_HIDDEN;

/* Is it too early for anything else? Once false, false for good. */
bool bp_bump_serves(void) BP_HIDDEN __attribute__((cold));

/* n bytes, aligned to a power of two. NULL with ENOMEM (where errno can be reached): the buffer is exhausted. */
void *bp_bump_new(size_t alignment, size_t n) BP_HIDDEN __attribute__((cold));

/* Of a block from here: bytes that may be used, 16 at least. */
size_t bp_bump_size(const void *p) BP_HIDDEN __attribute__((cold));

/* memcpy, as long as that may be out of reach. */
void bp_bump_copy(void *to, const void *from, size_t n) BP_HIDDEN __attribute__((cold));

/* Is p a block from here? Where nothing has been handed out one load answers. */
static inline bool bp_bump_has(const void *p)
{
	return bp_unlikely(atomic_load_explicit(&bp_bump_top, memory_order_relaxed) != 0) &&
	       (uintptr_t)p - (uintptr_t)bp_bump_buffer < BP_BUMP_BYTES;
}

#endif
