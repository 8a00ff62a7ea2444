/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Views and bytes. include/bufpool/bytes.h is the documentation; here is why its bound holds.
 *
 * Bytes have a block to themselves, or share one through a record that counts who does. Which of the two is settled
 * when the block becomes bytes and never changes: a copy of the structure, handed down by value, says the same as the
 * original, and taking a part writes nothing but the record's count. A record costs one small block; blocks too small
 * to be shared with profit have none, unless they hold excess (below), and then no part is large enough.
 *
 * The bound. Let c be the capacity of a block behind bytes and R the ratio. While the block lives, somebody holds it:
 *   - a copy: it has the smallest block for its length n, and c <= 2 n from n = 8 on (shorter ones count as 8);
 *   - a frozen buffer: either c <= R n or it has the smallest block, as above; or c - R n has been added to the excess,
 *     where it stays as long as the block lives;
 *   - a part: it shares only if R n >= c. That asks for the block's capacity, never for the length of what it was taken
 *     from, so it holds for parts of parts as well, and whether or not the original still lives.
 * So each block's c is at most R times the length of any one of its holders plus its share of the excess. Summed over
 * the blocks: pinned <= R * referenced + excess; and what would take the excess over the slack is not admitted, but
 * moved to the smallest block first. The bytes that overlapping parts have in common need not even be counted twice.
 *
 * A record that is found not to contain the part is one that was released, and the structure a copy of a released one:
 * its second word then is the mark of a released block, NULL, or another record's block.
 */
#define BUFPOOL_NO_MACROS /* the functions themselves are defined here */
#include "bufpool/bytes.h"

#include <errno.h>
#include <string.h>

#include "api/bytes.h"
#include "cache/block.h"
#include "cache/leaks.h"
#include "cache/misuse.h"
#include "cache/watch.h"

/* Blocks from here on may be shared: a part and its release take two CPUs that share 90 ns, a copy of 4 KiB 80. */
enum { SHARE_LEAST = 4096 };

struct share {
	_Atomic size_t count;
	unsigned char *block; /* second word: see above */
	size_t capacity;
	size_t excess;
};

struct bp_bytes_account bp_bytes_account;

static void count(_Atomic int64_t *counter, size_t n, int sign)
{
	atomic_fetch_add_explicit(counter, sign * (int64_t)n, memory_order_relaxed);
}

/* n bytes of that block are referred to, or no longer. */
static void refer(const void *block, size_t n, int sign)
{
	count(&bp_bytes_account.referenced, n, sign);
	if (bp_unlikely(bp_watch.leaks))
		bp_leaks_refer(block, sign * (int64_t)n);
}

static bool admit(size_t excess)
{
	int64_t before = atomic_fetch_add_explicit(&bp_bytes_account.excess, (int64_t)excess, memory_order_relaxed);
	if (before + (int64_t)excess <= (int64_t)BUFPOOL_PIN_SLACK)
		return true;
	count(&bp_bytes_account.excess, excess, -1);
	return false;
}

/* Is the record a live one, and the bytes in its block? */
static bool holds(const struct share *s, const struct bufpool_bytes *b)
{
	return s->block != NULL && b->len <= s->capacity &&
	       (uintptr_t)b->data - (uintptr_t)s->block <= s->capacity - b->len;
}

static bool is_stale(const struct share *s, const struct bufpool_bytes *b)
{
	if (bp_likely(holds(s, b)))
		return false;
	bp_misuse_report(&bp_default_pool, BP_MISUSE_DOUBLE, b->data, 0, true);
	return true;
}

/* A block becomes bytes. */
static int own(struct bufpool_bytes *out, unsigned char *block, size_t len, size_t capacity, size_t excess)
{
	struct share *s = NULL;
	if (capacity >= SHARE_LEAST || excess != 0) {
		s = bufpool_acquire(sizeof(*s));
		if (s == NULL)
			return -ENOMEM;
		*s = (struct share){ .count = 1, .block = block, .capacity = capacity, .excess = excess };
	}
	refer(block, len, 1);
	count(&bp_bytes_account.pinned, capacity, 1);
	*out = (struct bufpool_bytes){ .data = block, .len = len, .priv_ = { (uintptr_t)s } };
	return 0;
}

int bufpool_view_of(struct bufpool_view *out, const struct bufpool_buf *b, size_t off, size_t len)
{
	if (off > b->len || len > b->len - off)
		return -ERANGE;
	*out = (struct bufpool_view){ .data = len == 0 ? b->data : b->data + off, .len = len };
	return 0;
}

int bufpool_bytes_copy(struct bufpool_bytes *out, const void *src, size_t len)
{
	size_t capacity;
	if (len == 0) {
		*out = (struct bufpool_bytes){ 0 };
		return 0;
	}
	void *block = bufpool_acquire_at_least(&capacity, len);
	if (block == NULL)
		return -ENOMEM;
	memcpy(block, src, len);
	int error = own(out, block, len, capacity, 0);
	if (error != 0)
		bufpool_release(block);
	return error;
}

/* What the block holds beyond the ratio and a smaller one would not. */
static size_t excess_of(size_t capacity, size_t len)
{
	return capacity / BUFPOOL_PIN_RATIO > len && capacity > bufpool_good_size(len) ?
		       capacity - BUFPOOL_PIN_RATIO * len : 0;
}

int bufpool_bytes_freeze(struct bufpool_bytes *out, struct bufpool_buf *b)
{
	if (b->len == 0) {
		bufpool_release(bufpool_buf_detach(NULL, b));
		*out = (struct bufpool_bytes){ 0 };
		return 0;
	}
	size_t capacity = bufpool_capacity(b->data), excess = excess_of(capacity, b->len);
	if (excess != 0 && !admit(excess)) {
		int error = bufpool_buf_shrink(b);
		if (error != 0)
			return error;
		capacity = bufpool_capacity(b->data);
		excess = 0;
	}
	struct bufpool_buf before = *b;
	unsigned char *block = bufpool_buf_detach(NULL, b);
	int error = block == NULL ? -EINVAL : own(out, block, before.len, capacity, excess);
	if (error != 0) {
		*b = before;
		count(&bp_bytes_account.excess, excess, -1);
	}
	return error;
}

int bufpool_bytes_sub(struct bufpool_bytes *out, const struct bufpool_bytes *from, size_t off, size_t len)
{
	struct share *s = (struct share *)from->priv_[0];
	if (off > from->len || len > from->len - off)
		return -ERANGE;
	if (s != NULL && is_stale(s, from))
		return -EINVAL;
	const unsigned char *data = len == 0 ? NULL : from->data + off;
	if (s == NULL || len < (s->capacity + BUFPOOL_PIN_RATIO - 1) / BUFPOOL_PIN_RATIO)
		return bufpool_bytes_copy(out, data, len);
	/* Whoever takes a part holds the block: the count is not 0, and nothing is to be ordered. */
	atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed);
	refer(s->block, len, 1);
	*out = (struct bufpool_bytes){ .data = data, .len = len, .priv_ = { (uintptr_t)s } };
	return 0;
}

/* The last holder of the record is gone. */
static void drop(struct share *s)
{
	unsigned char *block = s->block;
	count(&bp_bytes_account.pinned, s->capacity, -1);
	if (s->excess != 0)
		count(&bp_bytes_account.excess, s->excess, -1);
	s->block = NULL;
	bufpool_release(s);
	bufpool_release(block);
}

void bufpool_bytes_release(struct bufpool_bytes *b)
{
	if (b == NULL || b->data == NULL)
		return;
	struct bufpool_bytes was = *b;
	struct share *s = (struct share *)was.priv_[0];
	*b = (struct bufpool_bytes){ 0 };
	/* The statistics stay true where misuse is only reported. */
	if (s != NULL ? is_stale(s, &was) : !bp_block_is_out(&bp_default_pool, (void *)was.data))
		return;
	refer(s != NULL ? s->block : was.data, was.len, -1);
	if (s == NULL) {
		count(&bp_bytes_account.pinned, bufpool_capacity(was.data), -1);
		bufpool_release((void *)was.data);
	} else if (atomic_fetch_sub_explicit(&s->count, 1, memory_order_acq_rel) == 1) {
		drop(s); /* acq_rel: what the other holders read is read before the block has a new owner */
	}
}

struct bufpool_bytes bufpool_bytes_steal(struct bufpool_bytes *b)
{
	struct bufpool_bytes stolen = *b;
	*b = (struct bufpool_bytes){ 0 };
	return stolen;
}
