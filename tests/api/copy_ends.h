/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Descriptors of every kind for the tests of copies, and threads that fill and drain their other ends in pieces of
 * random size. A thread counts what it found wrong; the content is compared when it has been joined.
 */
#ifndef BUFPOOL_TESTS_API_COPY_ENDS_H
#define BUFPOOL_TESTS_API_COPY_ENDS_H

#include "support.h"

#include <bufpool/copy.h>
#include <pthread.h>

enum kind { FILE_END, PIPE_END, UNIX_END, TCP_END, TTY_END, KINDS };
extern const char *const kind_names[KINDS];

/* One way from `near`, which the copy uses, to `far`, which the test uses; of a file both are the file, opened twice.
 * small: with the least room in between that the kernel grants. */
struct end {
	enum kind kind;
	int near, far;
};
struct end end_to_read(enum kind kind, bool small);
struct end end_to_write(enum kind kind, bool small);
void end_close(struct end *e);
void end_nonblocking(const struct end *e, bool on);
int file_new(void);
void tcp_pair(int ends[2]);

/* Writes bytes to, or reads them from, the far end. Reading ends at the end of the input or at `total` bytes. */
struct peer {
	int fd;
	unsigned char *bytes;
	size_t total, done, piece; /* piece: the largest at a time */
	uint64_t random;
	unsigned wrong, pause_us;
	bool closes;
	pthread_t thread;
};
void peer_fill(struct peer *p);
void peer_drain(struct peer *p);

/* Reads until n bytes have come, which TCP may hand on in parts, or no more do; how many there were. */
size_t read_until(int fd, unsigned char *bytes, size_t n, size_t room);

/* Steps until the copy ends or fails, waiting where it says so; asserts what always holds. 30 s of waiting: -ETIME. */
int step_to_the_end(struct bufpool_copy *c, uint64_t limit);
void expect_books(const struct bufpool_copy *c, uint64_t limit);

/* From now on this process's copy_file_range, sendfile and splice fail with this error; 0: they return 0. */
void refuse_kernel_ways(int error);

#endif
