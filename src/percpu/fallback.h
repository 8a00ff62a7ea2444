/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The portable implementation of the per-CPU operations: the same slabs, a try-lock for each CPU instead of a restartable
 * sequence. It serves old kernels, sandboxes, emulators and TSan. A lock that is taken means "not here", so nothing
 * waits, and a signal handler that interrupts its own thread inside an operation goes elsewhere.
 */
#ifndef BP_PERCPU_FALLBACK_H
#define BP_PERCPU_FALLBACK_H

#include "percpu/percpu.h"

void *bp_fallback_pop(struct bp_slabs s, int cpu, unsigned class);
bool bp_fallback_push(struct bp_slabs s, int cpu, unsigned class, void *p);
size_t bp_fallback_pop_batch(void **out, size_t max, struct bp_slabs s, int cpu, unsigned class);
size_t bp_fallback_push_batch(struct bp_slabs s, int cpu, unsigned class, void *const *in, size_t count);
bool bp_fallback_recount(uint32_t *old, struct bp_slabs s, int cpu, unsigned class, uint32_t count);

/* For bp_percpu_take: waits for nobody, false where the lock is taken. */
bool bp_fallback_lock(struct bp_slabs s, int cpu);
void bp_fallback_unlock(struct bp_slabs s, int cpu);

#endif
