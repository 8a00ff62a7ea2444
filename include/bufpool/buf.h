/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: a buffer that grows, in a block of the pool.
 *
 *	struct bufpool_buf b = BUFPOOL_BUF_INIT;
 *	if (bufpool_buf_append(&b, "GET ", 4) == 0 && bufpool_buf_printf(&b, "%s HTTP/1.1\r\n", path) > 0)
 *		send(fd, b.data, b.len, 0);
 *	bufpool_buf_release(&b);
 *
 * How it grows: a buffer uses its block's whole size class, so that growth within it costs nothing; beyond it the content
 * moves to a block twice as large, and only what is used is copied. Over the pool's cap it grows by half, and where it
 * lies if there is room behind it. A block over the cap is not kept when the buffer is released. A pool that sees its
 * buffers outgrow their first block begins the next ones larger, and gives blocks back that were far too large several
 * times in a row (bufpool_stats: buf_outgrown, buf_given_back, buf_start_bytes).
 *
 * Rules
 *   - data, len and cap may be read, and data[0 .. cap - 1] written; len may be set to any value up to cap. What points into
 *     data is void after every call that may grow, shrink, detach or release.
 *   - Content behind len is unspecified. Nothing is cleared, when growing neither: what a buffer outgrew stays as it was in
 *     the block that it left. For secrets reserve enough first, then detach and bufpool_release_wiped.
 *   - A buffer on whose functions a failure is reported is as it was before the call.
 *   - A buffer has one owner: of two copies of the structure the second one's release is a double release. A buffer is
 *     not locked; different ones may be used by different threads, and be handed from one to another.
 *   - A structure that can't be right (len over cap, data that is no block or one of another size) is misuse: a line on
 *     standard error, then abort; under misuse:report the call fails with EINVAL, and a release forgets what it can't give
 *     back. len and cap are looked at by every call, the block where it is grown, shrunk, detached or released.
 */
#ifndef BUFPOOL_BUF_H
#define BUFPOOL_BUF_H

#include <stdarg.h>

#include "bufpool/auto.h"

#if defined(__GNUC__)
#define BUFPOOL_PRINTF_(text, first) __attribute__((format(printf, text, first)))
#else
#define BUFPOOL_PRINTF_(text, first)
#endif
/* A block that the caller had pointers into before: no `malloc`, which promises that there are none. */
#if defined(__GNUC__) && __GNUC__ >= 11 && !defined(__clang__)
#define BUFPOOL_HANDED_ __attribute__((malloc(bufpool_release, 1), warn_unused_result))
#else
#define BUFPOOL_HANDED_ BUFPOOL_NODISCARD
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Zeroed memory is a valid, empty buffer. It has no block until it needs one, and data is NULL then. */
struct bufpool_buf {
	unsigned char *data;
	size_t len, cap;
	uintptr_t priv_[2];
};

#define BUFPOOL_BUF_INIT { NULL, 0, 0, { 0, 0 } }

/* The same with blocks of that pool; NULL: the default one. What b held before is not looked at. */
BUFPOOL_API BUFPOOL_NONNULL(1) void bufpool_buf_init(struct bufpool_buf *b, struct bufpool *pool);

/* Room for `extra` more bytes behind len. Errors: -EOVERFLOW where len + extra is no size, -ENOMEM. O(len) where it moves. */
BUFPOOL_API BUFPOOL_NONNULL(1) BUFPOOL_NODISCARD int bufpool_buf_reserve(struct bufpool_buf *b, size_t extra);

/* len += n; returns where the n bytes begin, their content unspecified. n may be 0. Errors: ENOMEM, also where len + n
 * overflows. */
BUFPOOL_API BUFPOOL_NONNULL(1) BUFPOOL_NODISCARD void *bufpool_buf_extend(struct bufpool_buf *b, size_t n);

/* Copies n bytes behind len. src may lie in the buffer itself, below len; it may be NULL where n is 0. Errors: as
 * bufpool_buf_reserve. */
BUFPOOL_API BUFPOOL_NONNULL(1) BUFPOOL_NODISCARD
int bufpool_buf_append(struct bufpool_buf *b, const void *src, size_t n);

/* Text behind len. Returns the bytes appended; a NUL follows them that len doesn't count. Formats a second time where the
 * text did not fit, and allocates nothing where it did. No argument may lie in the buffer. Errors: as bufpool_buf_reserve,
 * and what vsnprintf reports (-EILSEQ, -EOVERFLOW); -EAGAIN where an argument changed between the two times. */
BUFPOOL_API BUFPOOL_NONNULL(1, 2) BUFPOOL_PRINTF_(2, 3)
int bufpool_buf_printf(struct bufpool_buf *b, const char *format, ...);
BUFPOOL_API BUFPOOL_NONNULL(1, 2) BUFPOOL_PRINTF_(2, 0)
int bufpool_buf_vprintf(struct bufpool_buf *b, const char *format, va_list arguments);

/* The content with a NUL behind it, which len doesn't count; the next change of the buffer may overwrite it. Errors:
 * ENOMEM. */
BUFPOOL_API BUFPOOL_NONNULL(1) BUFPOOL_NODISCARD const char *bufpool_buf_cstr(struct bufpool_buf *b);

/* len = 0; the capacity stays, and nothing is cleared. */
BUFPOOL_API BUFPOOL_NONNULL(1) void bufpool_buf_reset(struct bufpool_buf *b);

/* Moves to the smallest class that holds len, or gives the block up where len is 0. Errors: -ENOMEM. */
BUFPOOL_API BUFPOOL_NONNULL(1) int bufpool_buf_shrink(struct bufpool_buf *b);

/* The block is the caller's now, *len (unless that is NULL) what it holds, and b empty and of the same pool. NULL, *len 0
 * and errno untouched where there was no block. */
BUFPOOL_API BUFPOOL_NONNULL(2) BUFPOOL_HANDED_ void *bufpool_buf_detach(size_t *len, struct bufpool_buf *b);

/* The buffer's value; *b is BUFPOOL_BUF_INIT from then on. Out of a BUFPOOL_AUTO_BUF: return bufpool_buf_steal(&b). */
BUFPOOL_API BUFPOOL_NONNULL(1) BUFPOOL_NODISCARD struct bufpool_buf bufpool_buf_steal(struct bufpool_buf *b);

/* Gives the block back and sets *b to BUFPOOL_BUF_INIT: releasing twice is harmless, and the buffer may be used again,
 * with blocks of the default pool. NULL is a no-op. errno is preserved. */
BUFPOOL_API void bufpool_buf_release(struct bufpool_buf *b);

/* Before the declaration of a buffer: released where its scope ends; see auto.h for what that means.
 *	BUFPOOL_AUTO_BUF struct bufpool_buf b = BUFPOOL_BUF_INIT; */
#if defined(__GNUC__)
#define BUFPOOL_AUTO_BUF __attribute__((cleanup(bufpool_buf_release)))
#endif

#ifdef __cplusplus
}
#endif

/* Where a buffer acquires its block, for the leak report: see bufpool/sites.h. */
#if defined(__GNUC__) && !defined(BUFPOOL_NO_MACROS)
#define bufpool_buf_reserve(...) BUFPOOL_SITE_((bufpool_buf_reserve)(__VA_ARGS__))
#define bufpool_buf_extend(...) BUFPOOL_SITE_((bufpool_buf_extend)(__VA_ARGS__))
#define bufpool_buf_append(...) BUFPOOL_SITE_((bufpool_buf_append)(__VA_ARGS__))
#define bufpool_buf_printf(...) BUFPOOL_SITE_((bufpool_buf_printf)(__VA_ARGS__))
#define bufpool_buf_vprintf(...) BUFPOOL_SITE_((bufpool_buf_vprintf)(__VA_ARGS__))
#define bufpool_buf_cstr(...) BUFPOOL_SITE_((bufpool_buf_cstr)(__VA_ARGS__))
#endif
#endif
