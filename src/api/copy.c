/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Copies between descriptors. include/bufpool/copy.h is the documentation.
 *
 * Invariant: bytes taken from `in` = done + what lies in the buffer between FROM and TO, after every return. It holds
 * because only one of the two ways is ever under way: the kernel is asked to move bytes only while the buffer is empty,
 * and nothing is read before the buffer is written out. done + left never changes.
 *
 * What is unusual: a kernel way that is refused, or that moves nothing, is never believed but left to read and write,
 * which then report the error or the end in their own words; files under /proc are "empty" for copy_file_range. And the
 * end of the input isn't remembered: the step after it reads again, as read(2) would.
 */
#define BUFPOOL_NO_MACROS /* the functions themselves are defined here */
#include "bufpool/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 32768 };
/* What one step moves at most. A file system that can share ranges of files shares long ones best; of the others a
 * pipe's or a socket's room is the measure. */
enum { RANGE_BYTES = 16 << 20, STREAM_BYTES = 1 << 20 };

enum { BUFFER, FROM, TO, WAY, FLAGS }; /* of priv_ */
enum { BY_BUFFER, BY_RANGE, BY_SENDFILE, BY_SPLICE };
enum { OUT_IS_SOCKET = 1, OUT_MAY_SIGNAL = 2, IN_IS_FILE = 4, PIPE_IS_NONBLOCKING = 8 };
enum { NEXT_WAY = 2 }; /* beside what a step returns: this way has nothing to say */

_Static_assert(sizeof(((struct bufpool_copy *)0)->priv_) > FLAGS * sizeof(uintptr_t), "priv_ has a word for each");

/* ---- what the two descriptors allow ---- */

static bool is_pipe(const struct stat *s)
{
	return S_ISFIFO(s->st_mode);
}

static bool socket_is(int fd, int option, int value)
{
	int is = 0;
	socklen_t length = sizeof(is);
	return getsockopt(fd, SOL_SOCKET, option, &is, &length) == 0 && is == value;
}

/* The pairs for which it is worth while (docs/decisions.md): not what fits into the buffer, and of a pipe's content not
 * what goes to a file or over the network. */
static uintptr_t way_between(int out, const struct stat *to, const struct stat *from)
{
	bool from_file = S_ISREG(from->st_mode), from_socket = S_ISSOCK(from->st_mode);
	if (from_file && from->st_size <= BUFFER_BYTES)
		return BY_BUFFER;
	if (from_file && S_ISREG(to->st_mode))
		return BY_RANGE;
	if (from_file && S_ISSOCK(to->st_mode))
		return BY_SENDFILE;
	if (is_pipe(to) && (from_file || from_socket || is_pipe(from)))
		return BY_SPLICE;
	if (is_pipe(from) && S_ISSOCK(to->st_mode) && socket_is(out, SO_DOMAIN, AF_UNIX))
		return BY_SPLICE;
	return BY_BUFFER;
}

static bool is_nonblocking(int fd)
{
	return fcntl(fd, F_GETFL) & O_NONBLOCK;
}

static uintptr_t flags_of(int out, const struct stat *to, int in, const struct stat *from)
{
	uintptr_t flags = S_ISSOCK(to->st_mode) ? OUT_IS_SOCKET : 0;
	if (S_ISSOCK(to->st_mode) || is_pipe(to))
		flags |= OUT_MAY_SIGNAL;
	if (S_ISREG(from->st_mode))
		flags |= IN_IS_FILE;
	/* Not every kernel looks at the mode of the pipe's own file. */
	if ((is_pipe(to) && is_nonblocking(out)) || (is_pipe(from) && is_nonblocking(in)))
		flags |= PIPE_IS_NONBLOCKING;
	return flags;
}

static bool is_stream_or_no_socket(int fd, const struct stat *s)
{
	return !S_ISSOCK(s->st_mode) || socket_is(fd, SO_TYPE, SOCK_STREAM);
}

/* One file from and to itself: what it holds now is the limit, or it would never end. */
static int bound_by_file(uint64_t *limit, int out, int in, off_t size)
{
	off_t from = lseek(in, 0, SEEK_CUR), to = lseek(out, 0, SEEK_CUR);
	int mode = fcntl(out, F_GETFL);
	if (from < 0 || to < 0 || mode < 0)
		return -errno;
	if (mode & O_APPEND)
		to = size;
	uint64_t rest = from < size ? (uint64_t)(size - from) : 0;
	if (*limit > rest)
		*limit = rest;
	return to >= from && (uint64_t)(to - from) < *limit ? -EINVAL : 0;
}

int bufpool_copy_begin(struct bufpool_copy *c, int out, int in, uint64_t limit)
{
	struct stat to, from;
	if (fstat(out, &to) != 0 || fstat(in, &from) != 0)
		return -errno;
	if (!is_stream_or_no_socket(in, &from) || !is_stream_or_no_socket(out, &to))
		return -ESOCKTNOSUPPORT;
	if (S_ISREG(from.st_mode) && to.st_dev == from.st_dev && to.st_ino == from.st_ino) {
		int r = bound_by_file(&limit, out, in, from.st_size);
		if (r != 0)
			return r;
	}
	*c = (struct bufpool_copy){ .out = out, .in = in, .left = limit, .poll.fd = -1 };
	c->priv_[WAY] = way_between(out, &to, &from);
	c->priv_[FLAGS] = flags_of(out, &to, in, &from);
	return 0;
}

/* ---- SIGPIPE ---- */

/* Holds back the SIGPIPE that a call of this thread may raise, also one that has moved some bytes. One that was on its
 * way before is left alone. */
struct hush {
	sigset_t before;
	bool was_blocked, was_pending;
};

static void hush_begin(struct hush *h)
{
	sigset_t broken, pending;
	sigemptyset(&broken);
	sigaddset(&broken, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &broken, &h->before);
	h->was_blocked = sigismember(&h->before, SIGPIPE);
	h->was_pending = h->was_blocked && sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE);
}

static void hush_end(const struct hush *h)
{
	int saved = errno;
	if (!h->was_pending) {
		sigset_t broken;
		sigemptyset(&broken);
		sigaddset(&broken, SIGPIPE);
		while (sigtimedwait(&broken, NULL, &(struct timespec){ 0, 0 }) < 0 && errno == EINTR)
			;
	}
	if (!h->was_blocked)
		pthread_sigmask(SIG_SETMASK, &h->before, NULL);
	errno = saved;
}

/* ---- moving ---- */

static ssize_t move_by_kernel(struct bufpool_copy *c)
{
	size_t most = c->priv_[WAY] == BY_RANGE ? RANGE_BYTES : STREAM_BYTES;
	unsigned mode = c->priv_[FLAGS] & PIPE_IS_NONBLOCKING ? SPLICE_F_NONBLOCK : 0;
	if (most > c->left)
		most = (size_t)c->left;
	if (c->priv_[WAY] == BY_RANGE)
		return copy_file_range(c->in, NULL, c->out, NULL, most, 0);
	if (c->priv_[WAY] == BY_SENDFILE)
		return sendfile(c->out, c->in, NULL, most);
	return splice(c->in, NULL, c->out, NULL, most, mode);
}

static ssize_t write_some(struct bufpool_copy *c)
{
	const char *from = (const char *)c->priv_[BUFFER] + c->priv_[FROM];
	size_t n = c->priv_[TO] - c->priv_[FROM];
	if (c->priv_[FLAGS] & OUT_IS_SOCKET)
		return send(c->out, from, n, MSG_NOSIGNAL);
	return write(c->out, from, n);
}

static ssize_t hushed(struct bufpool_copy *c, ssize_t (*move)(struct bufpool_copy *))
{
	struct hush h;
	if (!(c->priv_[FLAGS] & OUT_MAY_SIGNAL) || (c->priv_[FLAGS] & OUT_IS_SOCKET && move == write_some))
		return move(c);
	hush_begin(&h);
	ssize_t n = move(c);
	hush_end(&h);
	return n;
}

static int wait_for(struct bufpool_copy *c, int fd, short events)
{
	c->poll = (struct pollfd){ .fd = fd, .events = events };
	return -EAGAIN;
}

/* splice doesn't say which end made it wait, and asked not to wait for one end it doesn't for the other either. Where
 * both have become ready meanwhile, or the one that isn't is to block, reading and writing go on. */
static int wait_for_either(struct bufpool_copy *c)
{
	struct pollfd ends[] = { { .fd = c->in, .events = POLLIN }, { .fd = c->out, .events = POLLOUT } };
	if (poll(ends, 2, 0) < 0)
		return NEXT_WAY;
	if (ends[0].revents == 0)
		return is_nonblocking(c->in) ? wait_for(c, c->in, POLLIN) : NEXT_WAY;
	if (ends[1].revents == 0)
		return is_nonblocking(c->out) ? wait_for(c, c->out, POLLOUT) : NEXT_WAY;
	return NEXT_WAY;
}

static int moved(struct bufpool_copy *c, size_t n)
{
	c->done += n;
	c->left -= n;
	return c->left == 0;
}

/* The refusals: no such call, not between these two, a sandbox, file systems with a mistake. Anything else is the
 * truth about the descriptors, and some of it (a connection's reset) is told only once. */
static bool is_refusal(int error)
{
	switch (error) {
	case EINVAL: case EXDEV: case ENOSYS: case EBADF: case EOPNOTSUPP: case EPERM: case EIO: case ETXTBSY:
		return true;
	}
	return false;
}

static int step_by_kernel(struct bufpool_copy *c)
{
	ssize_t n = hushed(c, move_by_kernel);
	if (n > 0)
		return moved(c, (size_t)n);
	if (n < 0 && errno == EINTR)
		return 0;
	if (n < 0 && errno == EAGAIN)
		return wait_for_either(c);
	if (n < 0 && !is_refusal(errno))
		return -errno;
	c->priv_[WAY] = BY_BUFFER;
	return NEXT_WAY;
}

static void drop_buffer(struct bufpool_copy *c)
{
	bufpool_release((void *)c->priv_[BUFFER]);
	c->priv_[BUFFER] = c->priv_[FROM] = c->priv_[TO] = 0;
}

static int step_by_writing(struct bufpool_copy *c)
{
	ssize_t n = hushed(c, write_some);
	if (n < 0)
		return errno == EINTR ? 0 : errno == EAGAIN ? wait_for(c, c->out, POLLOUT) : -errno;
	c->priv_[FROM] += (size_t)n;
	return moved(c, (size_t)n);
}

/* The buffer is empty. A copy that has nothing to keep keeps no buffer while it waits, and none when it has ended. */
static int step_by_reading(struct bufpool_copy *c)
{
	size_t room = c->left < BUFFER_BYTES ? (size_t)c->left : BUFFER_BYTES;
	if (c->priv_[BUFFER] == 0) {
		void *buffer = bufpool_acquire(room);
		if (buffer == NULL)
			return -ENOMEM;
		c->priv_[BUFFER] = (uintptr_t)buffer;
	}
	ssize_t n = read(c->in, (void *)c->priv_[BUFFER], room);
	if (n > 0) {
		c->priv_[FROM] = 0;
		c->priv_[TO] = (size_t)n;
		return step_by_writing(c);
	}
	int error = errno;
	drop_buffer(c);
	if (n == 0)
		return 1;
	return error == EINTR ? 0 : error == EAGAIN ? wait_for(c, c->in, POLLIN) : -error;
}

int bufpool_copy_step(struct bufpool_copy *c)
{
	int r = NEXT_WAY;
	c->poll = (struct pollfd){ .fd = -1 };
	if (c->left == 0)
		r = 1;
	else if (c->priv_[FROM] < c->priv_[TO])
		r = step_by_writing(c);
	else if (c->priv_[WAY] != BY_BUFFER)
		r = step_by_kernel(c);
	if (r == NEXT_WAY)
		r = step_by_reading(c);
	if (r == 1)
		drop_buffer(c);
	return r;
}

const void *bufpool_copy_kept(size_t *len, const struct bufpool_copy *c)
{
	*len = c->priv_[TO] - c->priv_[FROM];
	return *len == 0 ? NULL : (const char *)c->priv_[BUFFER] + c->priv_[FROM];
}

void bufpool_copy_end(struct bufpool_copy *c)
{
	int saved = errno;
	size_t kept = c->priv_[TO] - c->priv_[FROM];
	if (kept > 0 && c->priv_[FLAGS] & IN_IS_FILE)
		(void)lseek(c->in, -(off_t)kept, SEEK_CUR);
	drop_buffer(c);
	errno = saved;
}

/* A blocking descriptor says EAGAIN when a time-out of its owner has run out. */
static int wait_now(struct bufpool_copy *c)
{
	if (!is_nonblocking(c->poll.fd))
		return -EAGAIN;
	return poll(&c->poll, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

int bufpool_copy_all(uint64_t *done, int out, int in, uint64_t limit)
{
	struct bufpool_copy c = { .done = 0 };
	int r = bufpool_copy_begin(&c, out, in, limit);
	while (r == 0) {
		r = bufpool_copy_step(&c);
		if (r == -EAGAIN)
			r = wait_now(&c);
	}
	bufpool_copy_end(&c);
	if (done != NULL)
		*done = c.done;
	return r < 0 ? r : 0;
}
