/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Vectors. include/bufpool/vec.h is the documentation.
 *
 * One block of the pool holds two arrays of the same capacity: the iovecs, and behind them where each entry's block
 * begins. Invariants: iov points into the first array, at the first entry that is not spent; starts[i] belongs to
 * iov[i] and is what is released, never iov_base. An empty vector keeps its array and begins again at its front.
 */
#define BUFPOOL_NO_MACROS /* the functions themselves are defined here */
#include "bufpool/vec.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "cache/block.h"
#include "cache/misuse.h"

enum { ENTRIES_FIRST = 8, ENTRY_BYTES = sizeof(struct iovec) + sizeof(void *) };
enum { PRIV_ARRAY, PRIV_CAPACITY };

static struct iovec *array_of(const struct bufpool_vec *v)
{
	return (struct iovec *)v->priv_[PRIV_ARRAY];
}

/* Entries that are spent. */
static size_t spent(const struct bufpool_vec *v)
{
	return v->iov == NULL ? 0 : (size_t)(v->iov - array_of(v));
}

static void **starts_of(const struct bufpool_vec *v)
{
	return (void **)(array_of(v) + v->priv_[PRIV_CAPACITY]) + spent(v);
}

/* To the front of the arrays at `to`, which may be the vector's own. */
static void settle(struct bufpool_vec *v, struct iovec *to, size_t capacity)
{
	if (v->count != 0) {
		void **starts = starts_of(v);
		memmove(to, v->iov, v->count * sizeof(*to));
		memmove((void **)(to + capacity), starts, v->count * sizeof(*starts));
	}
	v->iov = to;
	v->priv_[PRIV_ARRAY] = (uintptr_t)to;
	v->priv_[PRIV_CAPACITY] = capacity;
}

/* Room for one more entry: at the end, at the front, or in larger arrays. */
static int make_room(struct bufpool_vec *v)
{
	size_t capacity = v->priv_[PRIV_CAPACITY], bytes;
	if (spent(v) + v->count < capacity)
		return 0;
	if (v->count <= capacity / 2 && capacity != 0) {
		settle(v, array_of(v), capacity);
		return 0;
	}
	struct iovec *old = array_of(v);
	size_t entries = capacity == 0 ? ENTRIES_FIRST : 2 * capacity;
	struct iovec *larger = bufpool_acquire_at_least(&bytes, entries * ENTRY_BYTES);
	if (larger == NULL)
		return -ENOMEM;
	settle(v, larger, bytes / ENTRY_BYTES);
	bufpool_release(old);
	return 0;
}

static void append(struct bufpool_vec *v, void *block, size_t len)
{
	starts_of(v)[v->count] = block;
	v->iov[v->count++] = (struct iovec){ .iov_base = block, .iov_len = len };
}

int bufpool_vec_add(struct bufpool_vec *v, size_t n)
{
	int error = make_room(v);
	if (error != 0)
		return error;
	void *block = bufpool_acquire(n);
	if (block == NULL)
		return -ENOMEM;
	append(v, block, n);
	return 0;
}

/* Asked here already: a later release of the inside of a block would not say who put it in. */
static bool is_block_of(const void *p, size_t len)
{
	bool is = bp_range_has(p) ? bp_block_is(p) : p != NULL && !bp_block_is_foreign(p);
	return is && len <= bufpool_capacity(p);
}

int bufpool_vec_push(struct bufpool_vec *v, void *block, size_t len)
{
	if (!is_block_of(block, len))
		return -EINVAL;
	int error = make_room(v);
	if (error == 0)
		append(v, block, len);
	return error;
}

size_t bufpool_vec_bytes(const struct bufpool_vec *v)
{
	size_t bytes = 0;
	for (size_t i = 0; i < v->count; i++)
		bytes += v->iov[i].iov_len;
	return bytes;
}

int bufpool_vec_iovcnt(const struct bufpool_vec *v)
{
	return v->count < IOV_MAX ? (int)v->count : IOV_MAX;
}

/* Releases the first n entries. */
static void drop_front(struct bufpool_vec *v, size_t n)
{
	bufpool_release_many(starts_of(v), n);
	v->count -= n;
	v->iov = v->count == 0 ? array_of(v) : v->iov + n;
}

void bufpool_vec_advance(struct bufpool_vec *v, size_t bytes)
{
	size_t n = 0, left = bytes;
	while (n < v->count && v->iov[n].iov_len <= left)
		left -= v->iov[n++].iov_len;
	if (n == v->count && left != 0) {
		bp_misuse_report(&bp_default_pool, BP_MISUSE_SIZE, v->iov, bytes, true);
		return;
	}
	if (n != 0)
		drop_front(v, n);
	if (left != 0) {
		v->iov->iov_base = (unsigned char *)v->iov->iov_base + left;
		v->iov->iov_len -= left;
	}
}

void bufpool_vec_truncate(struct bufpool_vec *v, size_t count)
{
	if (count >= v->count)
		return;
	bufpool_release_many(starts_of(v) + count, v->count - count);
	v->count = count;
	if (count == 0)
		v->iov = array_of(v);
}

void bufpool_vec_truncate_bytes(struct bufpool_vec *v, size_t bytes)
{
	size_t n = 0;
	while (n < v->count && v->iov[n].iov_len <= bytes)
		bytes -= v->iov[n++].iov_len;
	if (n < v->count && bytes != 0)
		v->iov[n++].iov_len = bytes;
	bufpool_vec_truncate(v, n);
}

int bufpool_vec_writev(struct bufpool_vec *v, int fd)
{
	bufpool_vec_advance(v, 0); /* empty entries: what writev says of nothing but them would be no answer */
	while (v->count != 0) {
		ssize_t n = writev(fd, v->iov, bufpool_vec_iovcnt(v));
		if (n > 0)
			bufpool_vec_advance(v, (size_t)n);
		else if (n == 0)
			return -EIO;
		else if (errno != EINTR)
			return -errno;
	}
	return 0;
}

void bufpool_vec_release(struct bufpool_vec *v)
{
	if (v == NULL || v->iov == NULL)
		return;
	bufpool_vec_truncate(v, 0);
	bufpool_release(array_of(v));
	*v = (struct bufpool_vec){ 0 };
}

struct bufpool_vec bufpool_vec_steal(struct bufpool_vec *v)
{
	struct bufpool_vec stolen = *v;
	*v = (struct bufpool_vec){ 0 };
	return stolen;
}
