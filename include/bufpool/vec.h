/* SPDX-License-Identifier: BSD-2-Clause
 *
 * vec: a row of blocks that readv and writev take as it is.
 *
 * iov[0 .. count) are the blocks in order. The caller may shorten an iov_len (a read that brought less) and write to
 * the blocks; iov_base, count and the array itself are the vector's. It remembers where each block begins, so that an
 * entry which is half written, and whose iov_base has moved on, is released as the block that it is.
 *
 * The kernel takes at most IOV_MAX (1024) entries a call and refuses more with EINVAL. bufpool_vec_iovcnt() is the
 * number to pass: the first so many entries; the others follow with the next call:
 *
 *     while (v.count > 0) {
 *             ssize_t n = writev(fd, v.iov, bufpool_vec_iovcnt(&v));
 *             if (n < 0)
 *                     break;                        // errno says why; v is what is not written yet
 *             bufpool_vec_advance(&v, (size_t)n);
 *     }
 *
 * bufpool_vec_writev() is this loop, with EINTR.
 *
 * Zeroed memory is a valid, empty vector. The structure may be moved by assignment. Not thread-safe: one thread at a
 * time uses a vector; its blocks may come from any thread and any pool.
 */
#ifndef BUFPOOL_VEC_H
#define BUFPOOL_VEC_H

#include <sys/uio.h>

#include "bufpool/bufpool.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bufpool_vec {
	struct iovec *iov;
	size_t count;
	uintptr_t priv_[4];
};

#define BUFPOOL_VEC_INIT { NULL, 0, { 0, 0, 0, 0 } }

/* One more block of n bytes, of unspecified content, at the end. Errors: -ENOMEM; the vector is as it was. O(1)
 * amortised. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) int bufpool_vec_add(struct bufpool_vec *v, size_t n);

/* Takes `block` over, of whose bytes the first len are the vector's content. On failure it is still the caller's and
 * the vector is as it was. Errors: -EINVAL where it is no block of at least len bytes, -ENOMEM. O(1) amortised. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) int bufpool_vec_push(struct bufpool_vec *v, void *block, size_t len);

/* Bytes in all entries together. O(count). */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) size_t bufpool_vec_bytes(const struct bufpool_vec *v);

/* min(count, IOV_MAX): how many entries one readv or writev may be given. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) int bufpool_vec_iovcnt(const struct bufpool_vec *v);

/* Drops the first `bytes` bytes: blocks that are spent are released, empty entries in front too, and iov[0] begins with
 * the first byte that is left. More bytes than there are is misuse, and nothing is dropped. O(entries dropped). */
BUFPOOL_API BUFPOOL_NONNULL(1) void bufpool_vec_advance(struct bufpool_vec *v, size_t bytes);

/* Keeps the first `count` entries and releases the others. O(entries dropped). */
BUFPOOL_API BUFPOOL_NONNULL(1) void bufpool_vec_truncate(struct bufpool_vec *v, size_t count);

/* Keeps the first `bytes` bytes (after a readv: what it brought) and releases the blocks behind them. O(count). */
BUFPOOL_API BUFPOOL_NONNULL(1) void bufpool_vec_truncate_bytes(struct bufpool_vec *v, size_t bytes);

/* Writes all of it to fd, and goes on after short writes and signals. Returns 0 when all is written, else the negative
 * errno of writev: -EAGAIN where fd doesn't block and is full, -EPIPE, ... The vector then is what is not written
 * yet, so that the call can be made again; -EIO where fd takes no bytes and gives no reason. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) int bufpool_vec_writev(struct bufpool_vec *v, int fd);

/* Releases all blocks and the array and zeroes *v, so that releasing twice is harmless. NULL is a no-op. errno is
 * preserved. O(count). */
BUFPOOL_API void bufpool_vec_release(struct bufpool_vec *v);

/* The value; *v is empty from then on. Out of a BUFPOOL_AUTO_VEC: return bufpool_vec_steal(&v). */
BUFPOOL_API BUFPOOL_NONNULL(1) BUFPOOL_NODISCARD struct bufpool_vec bufpool_vec_steal(struct bufpool_vec *v);

/* Before the declaration of a vector: released where its scope ends; see auto.h for what that means.
 *	BUFPOOL_AUTO_VEC struct bufpool_vec v = BUFPOOL_VEC_INIT; */
#if defined(__GNUC__)
#define BUFPOOL_AUTO_VEC __attribute__((cleanup(bufpool_vec_release)))
#endif

#ifdef __cplusplus
}
#endif

/* Where a vector acquires its blocks, for the leak report: see bufpool/sites.h. */
#if defined(__GNUC__) && !defined(BUFPOOL_NO_MACROS)
#define bufpool_vec_add(...) BUFPOOL_SITE_((bufpool_vec_add)(__VA_ARGS__))
#define bufpool_vec_push(...) BUFPOOL_SITE_((bufpool_vec_push)(__VA_ARGS__))
#endif
#endif
