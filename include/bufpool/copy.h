/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: copies from one descriptor to another through a buffer of the pool.
 *
 * A copy reads up to 32 KiB (less where less is left) and writes it; from files of more than that, and to pipes, the
 * kernel moves the bytes instead if it can. Whatever was read and could not be written yet is kept, so nothing that
 * happens in between (EAGAIN, EINTR, a short write, a full disk, a peer that is gone) loses or repeats a byte. A copy
 * that waits for input holds no buffer: ten thousand idle connections cost ten thousand `struct bufpool_copy`.
 *
 *	struct bufpool_copy c;
 *	int r = bufpool_copy_begin(&c, out, in, UINT64_MAX);
 *	while (r == 0 || r == -EAGAIN) {
 *		r = bufpool_copy_step(&c);
 *		if (r == -EAGAIN)
 *			poll(&c.poll, 1, -1);
 *	}
 *	bufpool_copy_end(&c);
 *
 * Descriptors
 *   - Blocking ones block, non-blocking ones give -EAGAIN, in any mixture. The mode is the open file's, is looked at in
 *     bufpool_copy_begin, and is left alone.
 *   - Anything that is read and written as a stream of bytes; of sockets, SOCK_STREAM only.
 *   - Both are used at their own positions, like read and write do, O_APPEND included. After bufpool_copy_end the
 *     position of a regular file `in` is where the last byte written came from: what was kept is given back. From
 *     anything else what was kept has been taken out: see bufpool_copy_kept.
 *   - in and out may be the same socket or terminal. Two descriptors of one regular file copy what the file held at
 *     bufpool_copy_begin, if the place written to isn't ahead within what is to be read.
 *   - From a file to a socket or pipe the kernel may pass on the file's own pages: who writes to the file before the
 *     other side has read them changes what is read there, as with sendfile(2).
 *   - No call raises SIGPIPE, whatever out is: the error is -EPIPE. SIGXFSZ is left as it is.
 *
 * Safety: a copy belongs to one thread at a time; different copies are independent. One copy holds at most one block.
 * Not async-signal-safe. After fork parent and child both hold what was kept: only one of them may go on.
 */
#ifndef BUFPOOL_COPY_H
#define BUFPOOL_COPY_H

#include <bufpool/bufpool.h>

#include <poll.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* To be read by the caller, written by the library. done: bytes written. left: bytes still to be written at most; done
 * + left is the limit (of one file onto itself: or what is in it). poll: what to wait for, fd -1 where nothing is. */
struct bufpool_copy {
	int out, in;
	uint64_t left, done;
	struct pollfd poll;
	uintptr_t priv_[6];
};

/* As zeroed memory is: nothing is under way, and bufpool_copy_end does nothing. */
#define BUFPOOL_COPY_INIT { 0, 0, 0, 0, { 0, 0, 0 }, { 0, 0, 0, 0, 0, 0 } }

/* Prepares to copy at most `limit` bytes, UINT64_MAX: until the end of the input; 0: none. Never reads a byte beyond
 * the limit. Moves no byte and acquires nothing yet; the descriptors stay the caller's. Errors: -EBADF;
 * -ESOCKTNOSUPPORT for sockets of messages; -EINVAL where both are one regular file and what is written would be read
 * again. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1)
int bufpool_copy_begin(struct bufpool_copy *c, int out, int in, uint64_t limit);

/* Moves what one call in each direction moves (16 MiB at most).
 *   1         finished: the limit is reached, or the input has ended and everything is written
 *   0         some bytes moved, or a signal came in between: call again
 *   -EAGAIN   nothing to be done until poll(&c->poll, 1, …) says so
 * Other negative errnos are those of reading and writing, and -ENOMEM. None ends the copy: when its cause is mended
 * (room on the disk, say), the next step goes on where the last one stopped. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) int bufpool_copy_step(struct bufpool_copy *c);

/* What was read and not written yet: borrowed until the next call on c. NULL and 0 where nothing is. Bytes taken from
 * the input are always done + *len. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1, 2)
const void *bufpool_copy_kept(size_t *len, const struct bufpool_copy *c);

/* Gives the buffer back, and to a regular file what was kept. Twice is harmless, and so it is on a zeroed structure.
 * errno is preserved. */
BUFPOOL_API BUFPOOL_NONNULL(1) void bufpool_copy_end(struct bufpool_copy *c);

/* All of it, waiting as long as it takes on non-blocking descriptors too. Returns 0, or the error that stopped it;
 * -EAGAIN only where a blocking socket's own time-out (SO_RCVTIMEO, SO_SNDTIMEO) ran out. Where done isn't NULL,
 * *done is the number of bytes written, also on failure. */
BUFPOOL_API BUFPOOL_NODISCARD int bufpool_copy_all(uint64_t *done, int out, int in, uint64_t limit);

/* Before the declaration of a copy: ended where its scope ends; see auto.h for what that means.
 *	BUFPOOL_AUTO_COPY struct bufpool_copy c = BUFPOOL_COPY_INIT; */
#if defined(__GNUC__)
#define BUFPOOL_AUTO_COPY __attribute__((cleanup(bufpool_copy_end)))
#endif

#ifdef __cplusplus
}
#endif

/* Where a copy acquires its buffer, for the leak report: see bufpool/sites.h. */
#if defined(__GNUC__) && !defined(BUFPOOL_NO_MACROS)
#define bufpool_copy_step(...) BUFPOOL_SITE_((bufpool_copy_step)(__VA_ARGS__))
#define bufpool_copy_all(...) BUFPOOL_SITE_((bufpool_copy_all)(__VA_ARGS__))
#endif
#endif
