/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bytes: parts of buffers that do not keep the whole buffer alive.
 *
 * A view is borrowed: a pointer and a length into a buffer that somebody else owns. It has no release. Bytes are owned
 * and immutable: they live until bufpool_bytes_release, whatever becomes of the buffer that they came from. Taking a
 * small part of large bytes copies it out; only a part of at least half of the block shares the block, so that
 *
 *     pinned_bytes <= BUFPOOL_PIN_RATIO * referenced_bytes + BUFPOOL_PIN_SLACK
 *
 * holds at any time, for every order of releases (a value of fewer than 8 bytes counts as 8 there: no block is smaller
 * than 16). referenced_bytes is the sum of the lengths of all bytes, pinned_bytes what the blocks behind them take;
 * both are of the whole process and stand in the statistics of the default pool. Nobody can write to what is shared:
 * only frozen and copied memory ever is.
 *
 * Zeroed memory is valid, and is what empty bytes look like: no block, data NULL. The structure may be moved by
 * assignment; of two copies only one may be released. Releasing the other too is a double release, which is detected
 * as far as bufpool.h says for blocks.
 *
 * Safety: thread-safe as long as no two threads use one structure, one of them to release or to write it. Threads may
 * take parts of the same bytes at once.
 */
#ifndef BUFPOOL_BYTES_H
#define BUFPOOL_BYTES_H

#include "bufpool/buf.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The bound above. The slack is what all frozen buffers together may leave unused beyond the ratio. */
#define BUFPOOL_PIN_RATIO 2
#define BUFPOOL_PIN_SLACK (1u << 20)

struct bufpool_view {
	const unsigned char *data;
	size_t len;
};

struct bufpool_bytes {
	const unsigned char *data;
	size_t len;
	uintptr_t priv_[1];
};

#define BUFPOOL_BYTES_INIT { NULL, 0, { 0 } }

/* len bytes of b from off on; valid until b is changed or released. Errors: -ERANGE where b has no such bytes. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1, 2)
int bufpool_view_of(struct bufpool_view *out, const struct bufpool_buf *b, size_t off, size_t len);

/* Copies len bytes out, always. src may be NULL where len is 0. Errors: -ENOMEM. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1)
int bufpool_bytes_copy(struct bufpool_bytes *out, const void *src, size_t len);

/* Moves b's content into *out without copying; b is empty afterwards and may be used again. Where more than half of
 * the block is unused and the slack is used up, the content first moves to the smallest block that holds it. Errors:
 * -ENOMEM; b has its content then. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1, 2)
int bufpool_bytes_freeze(struct bufpool_bytes *out, struct bufpool_buf *b);

/* len bytes of *from from off on, as bytes of their own: *from may be released before them. out is another structure
 * than from. Copies and is O(len) where the block is smaller than 4 KiB or larger than BUFPOOL_PIN_RATIO * len; else
 * shares and is O(1). Errors: -ERANGE where *from has no such bytes, -ENOMEM. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1, 2)
int bufpool_bytes_sub(struct bufpool_bytes *out, const struct bufpool_bytes *from, size_t off, size_t len);

/* Gives the block back once nobody else shares it, and zeroes *b, so that releasing twice is harmless. NULL is a
 * no-op. errno is preserved. O(1). */
BUFPOOL_API void bufpool_bytes_release(struct bufpool_bytes *b);

/* The value; *b is empty from then on. Out of a BUFPOOL_AUTO_BYTES: return bufpool_bytes_steal(&b). */
BUFPOOL_API BUFPOOL_NONNULL(1) BUFPOOL_NODISCARD struct bufpool_bytes bufpool_bytes_steal(struct bufpool_bytes *b);

/* Before the declaration of bytes: released where their scope ends; see auto.h for what that means.
 *	BUFPOOL_AUTO_BYTES struct bufpool_bytes b = BUFPOOL_BYTES_INIT; */
#if defined(__GNUC__)
#define BUFPOOL_AUTO_BYTES __attribute__((cleanup(bufpool_bytes_release)))
#endif

#ifdef __cplusplus
}
#endif

/* Where bytes acquire their block, for the leak report: see bufpool/sites.h. */
#if defined(__GNUC__) && !defined(BUFPOOL_NO_MACROS)
#define bufpool_bytes_copy(...) BUFPOOL_SITE_((bufpool_bytes_copy)(__VA_ARGS__))
#define bufpool_bytes_freeze(...) BUFPOOL_SITE_((bufpool_bytes_freeze)(__VA_ARGS__))
#define bufpool_bytes_sub(...) BUFPOOL_SITE_((bufpool_bytes_sub)(__VA_ARGS__))
#endif
#endif
