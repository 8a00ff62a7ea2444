/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Options that change while the program runs: what has to be done when one does, and the mailbox through which somebody
 * asks for it from outside.
 *
 * The mailbox is a word and a line of text in this library's data. Another process writes them with process_vm_writev, which
 * the kernel allows to whom it allows ptrace: the same user (or, where Yama says so, root alone), nobody under AT_SECURE.
 * So there is no socket, file, descriptor or thread for it in the program, and nothing to be protected that was not open
 * before. Slow paths compare two words; the answer comes when the program next gets to one. src/tools/control.c is the
 * other end.
 *
 * Protocol. The asker writes `pair`, then asked = answered + 1. The program copies the pair, does what it says, writes its
 * answer to `pair` and `result`, then answered = asked. One asker at a time: a second one finds asked != answered.
 */
#ifndef BP_CACHE_CONTROL_H
#define BP_CACHE_CONTROL_H

#include "cache/pool.h"

#define BP_CONTROL_MAGIC "bufpool mailbox\n" /* 16 bytes, by which it is found in a process's memory */
#define BP_CONTROL_VERSION 1
#define BP_CONTROL_PAIR 216

struct bp_control {
	char magic[16];
	uint32_t version;
	_Atomic uint32_t asked;
	_Atomic uint32_t answered;
	int32_t result;              /* 0 or a negative errno */
	char pair[BP_CONTROL_PAIR];  /* key:value sets, key alone asks; the answer is the value */
} __attribute__((aligned(BP_LINE)));
_Static_assert(sizeof(struct bp_control) == 256, "no more than a few lines, and the same for every compiler");

extern struct bp_control bp_control BP_HIDDEN;

/* 0, or a negative errno as bufpool_option_set has them. The pool has been started. */
int bp_control_set(struct bp_pool *pool, const char *key, size_t key_length, const char *value, size_t value_length);

/* The value of an option, or of a fact about this process. 0, -ENOENT, -ERANGE. */
int bp_control_get(struct bp_pool *pool, char *value, size_t size, const char *key);

void bp_control_serve(struct bp_pool *pool) BP_SLOW;
/* In the child of a fork whose parent had more threads: nobody serves here. */
void bp_control_child(void);

static inline bool bp_control_is_asked(void)
{
	return bp_unlikely(atomic_load_explicit(&bp_control.asked, memory_order_relaxed) !=
			   atomic_load_explicit(&bp_control.answered, memory_order_relaxed));
}

#endif
