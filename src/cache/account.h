/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pool's numbers, put together from what the parts count. See pool.h for the identity that holds at rest.
 */
#ifndef BP_CACHE_ACCOUNT_H
#define BP_CACHE_ACCOUNT_H

#include "cache/pool.h"

/* One class, or the sum of all with bytes. */
struct bp_account {
	uint64_t acquired, released, hits, from_shared, from_victim, from_steal, created;
	uint64_t dropped_budget, dropped_epoch, set_aside;
	uint64_t in_use, cached, victim, queued;
};

void bp_account_class(struct bp_account *out, struct bp_pool *pool, unsigned class);

struct bp_account_bytes {
	uint64_t in_use, cached, victim, queued;
};

/* All classes together; blocks that are never kept are not among them. */
void bp_account_all(struct bp_account *out, struct bp_account_bytes *bytes, struct bp_pool *pool);

/* Bytes that shared level and victim may hold now. */
uint64_t bp_account_budget(struct bp_pool *pool);
/* Bytes that the process may hope for, read from files when it is first asked. */
uint64_t bp_account_memory_limit(void);
/* It is known now, and no thread is reading those files any more, nor will. */
void bp_account_settle(void);
/* CPUs whose stacks have been used. */
unsigned bp_account_cpus(struct bp_pool *pool);

/* In the child of a fork: what other threads had in their hands counts as in use from now on. */
void bp_account_child(struct bp_pool *pool);

#endif
