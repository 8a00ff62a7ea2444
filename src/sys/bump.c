/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See bump.h.
 *
 * What is unusual: two variables that only the dynamic linker changes, by doing its work on them. Both are volatile, or
 * the compiler would answer for it.
 */
#include "sys/bump.h"

#include <errno.h>

enum { UNIT = 16 }; /* alignment, and what the size in front takes */

_Atomic size_t bp_bump_top;
BP_REMOTE char bp_bump_buffer[BP_BUMP_BYTES] __attribute__((aligned(UNIT)));

static const void *volatile relocated = (const void *)&relocated; /* before: zero, or the address without the base */
static __thread volatile int has_image __attribute__((tls_model("initial-exec"))) = 1;

static bool is_relocated(void)
{
	return relocated == (const void *)&relocated;
}

/* The order counts: where thread-local variables lie is itself a relocation. */
bool bp_bump_serves(void)
{
	return !is_relocated() || !has_image;
}

static size_t *size_of(const void *p)
{
	return (size_t *)((uintptr_t)p - UNIT);
}

static void *exhausted(void)
{
	if (is_relocated())
		errno = ENOMEM;
	return NULL;
}

void *bp_bump_new(size_t alignment, size_t n)
{
	uintptr_t buffer = (uintptr_t)bp_bump_buffer;
	size_t start, size = bp_round_up(n == 0 ? 1 : n, UNIT);
	size_t top = atomic_load_explicit(&bp_bump_top, memory_order_relaxed);
	do {
		start = bp_round_up(buffer + top + UNIT, alignment < UNIT ? UNIT : alignment) - buffer;
		if (n > BP_BUMP_BYTES || start > BP_BUMP_BYTES || size > BP_BUMP_BYTES - start)
			return exhausted();
	} while (!atomic_compare_exchange_weak_explicit(&bp_bump_top, &top, start + size, memory_order_relaxed,
							memory_order_relaxed));
	*size_of(bp_bump_buffer + start) = size;
	return bp_bump_buffer + start;
}

size_t bp_bump_size(const void *p)
{
	return *size_of(p);
}

void bp_bump_copy(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		((char *)to)[i] = ((const char *)from)[i];
		__asm__ volatile("" : : : "memory"); /* or the compiler makes it a call of memcpy */
	}
}
