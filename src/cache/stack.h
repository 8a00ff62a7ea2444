/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Magazines, and lock-free stacks of them: the one container under the shared level, the victim and the queue of what is
 * to be given back.
 *
 * A magazine is a row of up to BP_MAGAZINE_SLOTS pointers (Bonwick and Adams, "Magazines and Vmem", 2001): blocks move
 * between levels a magazine at a time. Magazines live in one table for the process; a 32-bit index names one, 0 none.
 * Pointers to cached blocks are kept here, never in the blocks: a write after release can't lead the pool astray.
 *
 * Invariants: a magazine is in one stack, or in the free list, or in one thread's hands; its count is 0 unless its slots
 * hold cached blocks. A stack's head is the index of its top and a 32-bit tag that every change increments, so that a
 * thread which slept through pop, push, pop of the same magazine (ABA) fails its exchange; for the tag to wrap under it,
 * 2^32 changes would have to pass.
 *
 * Nothing here waits. Magazines are never unmapped, so reading `next` of a magazine that somebody else just took is
 * harmless (the exchange then fails).
 */
#ifndef BP_CACHE_STACK_H
#define BP_CACHE_STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BP_MAGAZINE_SLOTS 256

struct bp_stack {
	_Atomic uint64_t head; /* tag << 32 | index */
};

/* As many as so many bytes of 64-byte blocks need: of smaller ones that many are hardly ever cached. */
static inline size_t bp_magazines_for(size_t bytes)
{
	return bytes / (64 * BP_MAGAZINE_SLOTS);
}

/* Reserves a table of so many magazines (2^18 at the most); false: no memory. Once a process. */
bool bp_magazines_start(size_t magazines);
/* Bytes of addresses that it takes. */
size_t bp_magazines_reserved(void);
/* Gives back the addresses of those beyond that many which have never been used. */
void bp_magazines_shrink(size_t magazines);

/* An empty magazine in this thread's hands, 0 where there is no memory for one. */
uint32_t bp_magazine_new(void);
void bp_magazine_free(uint32_t m);
void **bp_magazine_slots(uint32_t m);
uint32_t bp_magazine_count(uint32_t m);
void bp_magazine_set_count(uint32_t m, uint32_t count);

/* Puts n blocks into an empty one. sorted: in descending order, so that the last, which is taken first, is the lowest. A row of
 * neighbours stays as it is: at most one pair in BP_ROW_FAR lies more than BP_ROW_NEAR bytes apart. O(n): where a whole order
 * would take more, near blocks only end near each other. */
enum { BP_ROW_NEAR = 1024, BP_ROW_FAR = 16 };
void bp_magazine_fill(uint32_t m, void *const *blocks, uint32_t n, bool sorted);
/* The first becomes the last. */
void bp_row_turn_round(void **slots, size_t n);

void bp_stack_push(struct bp_stack *s, uint32_t m);
uint32_t bp_stack_pop(struct bp_stack *s); /* 0: empty */
bool bp_stack_is_empty(struct bp_stack *s);

/* Gives the memory of free magazines back to the kernel where whole pages of them are free. O(free magazines); for
 * the time after a burst. */
void bp_magazines_purge(void);
/* Below this are all that were ever taken. */
uint32_t bp_magazines_used(void);
/* In the child of a fork whose parent had more threads: none is free, and those from `first` on have never been taken. */
void bp_magazines_child(uint32_t first);
/* There, too: those on the stack are as if they held nothing. */
void bp_stack_forget(struct bp_stack *s);
/* There, too: one below `first` is known to be nobody's, and free from now on. */
void bp_magazine_adopt(uint32_t m);
/* Has this thread some in its hands, below the signal handler that asks? */
bool bp_magazines_in_hands(void);
/* Bytes of memory that the table may hold: for statistics and tests. */
size_t bp_magazines_bytes(void);
uint32_t bp_magazines_free(void);

#endif
