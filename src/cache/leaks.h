/* SPDX-License-Identifier: BSD-2-Clause
 *
 * leaks:true: a table of what is out: address, size, when, by which thread, of which pool, from where.
 *
 * Why it is lock-free throughout: it is kept inside malloc and free, so signal handlers and children of fork meet it
 * at any point; and the report must come while threads hang anywhere, in here as well (a program that hangs is when
 * it is asked for).
 *
 * A node names an address and the record of it. Nodes stay in the chain of their bucket for good and are used again
 * by the next address that falls there; records are used by all in turn. An address is written to its node last and
 * taken from it first: whoever finds it can read the record, and who looks again afterwards and still finds it has
 * read that block's, or, where the same address came out again meanwhile, a mixture of two that were out from the
 * same address.
 */
#ifndef BP_CACHE_LEAKS_H
#define BP_CACHE_LEAKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sys/os.h"

struct bp_pool;

enum { BP_LEAK_DEPTH = 12 };

/* What is known of a block. */
struct bp_leak {
	uintptr_t address;
	size_t size;         /* as asked for */
	uint64_t ms;         /* when, on bp_os_now_ms's clock */
	struct bp_pool *pool;
	int64_t referenced;  /* of a block behind bytes (bufpool/bytes.h): the lengths that pin it; -1: it is none */
	uint32_t thread;
	unsigned depth;
	uintptr_t stack[BP_LEAK_DEPTH];
};

/* Memory for it. false: there is none, and nothing will be noted. Once a process. */
bool bp_leaks_start(void) BP_HIDDEN;
void bp_leaks_child(void) BP_HIDDEN;

/* Before the start, and where it failed, these do nothing. p goes out of that pool; a note of it that is there
 * already is replaced. errno is preserved. */
void bp_leaks_note(const void *p, size_t size, struct bp_pool *pool) BP_HIDDEN;
/* p comes back: before anybody else can get it. Unknown addresses are passed over. */
void bp_leaks_forget(const void *p) BP_HIDDEN;
/* p was resized where it lies. */
void bp_leaks_resize(const void *p, size_t size) BP_HIDDEN;
/* p is behind bytes, which refer to that many bytes more (or fewer) of it. */
void bp_leaks_refer(const void *p, int64_t bytes) BP_HIDDEN;
/* All of a pool that ends. */
void bp_leaks_forget_pool(struct bp_pool *pool) BP_HIDDEN;

/* The i-th place of the table, below bp_leaks_places(): what is out there now. false: nothing. */
bool bp_leaks_get(struct bp_leak *out, uint32_t i) BP_HIDDEN;
uint32_t bp_leaks_places(void) BP_HIDDEN;
/* Blocks that could not be noted, for want of memory. */
uint64_t bp_leaks_missed(void) BP_HIDDEN;

#endif
