/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See copy_ends.h.
 */
#include "copy_ends.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

const char *const kind_names[KINDS] = { "file", "pipe", "unix", "tcp", "tty" };

/* ---- ends ---- */

int file_new(void)
{
	char path[] = "/tmp/bufpool-copy-XXXXXX";
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_eq(unlink(path), 0);
	return fd;
}

static int opened_again(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDWR);
	cr_assert_geq(fd, 0);
	return fd;
}

void tcp_pair(int ends[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_eq(bind(listener, (struct sockaddr *)&a, length), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&a, &length), 0);
	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect(ends[0], (struct sockaddr *)&a, length), 0);
	ends[1] = accept(listener, NULL, NULL);
	cr_assert_geq(ends[1], 0);
	close(listener);
}

/* A terminal that hands bytes through as they are. */
static void tty_pair(int ends[2])
{
	struct termios t;

	ends[1] = posix_openpt(O_RDWR | O_NOCTTY);
	if (ends[1] < 0)
		cr_skip_test("no pseudo-terminals here");
	cr_assert(!grantpt(ends[1]) && !unlockpt(ends[1]));
	ends[0] = open(ptsname(ends[1]), O_RDWR | O_NOCTTY);
	cr_assert_geq(ends[0], 0);
	cr_assert_eq(tcgetattr(ends[0], &t), 0);
	cfmakeraw(&t);
	cr_assert_eq(tcsetattr(ends[0], TCSANOW, &t), 0);
}

static void make(int ends[2], enum kind kind, bool small)
{
	const int least = 1;

	switch (kind) {
	case FILE_END:
		ends[0] = file_new();
		ends[1] = opened_again(ends[0]);
		return;
	case PIPE_END:
		cr_assert_eq(pipe(ends), 0);
		if (small)
			fcntl(ends[0], F_SETPIPE_SZ, 4096);
		return;
	case TTY_END:
		tty_pair(ends);
		return;
	case TCP_END:
		tcp_pair(ends);
		break;
	default:
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	}
	for (int i = 0; small && i < 2; i++) {
		setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
		/* TCP with a window of nothing waits 200 ms at a time. */
		if (kind == UNIX_END)
			setsockopt(ends[i], SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	}
}

struct end end_to_read(enum kind kind, bool small)
{
	int ends[2];

	make(ends, kind, small);
	return (struct end){ kind, ends[0], ends[1] };
}

struct end end_to_write(enum kind kind, bool small)
{
	int ends[2];

	make(ends, kind, small);
	return (struct end){ kind, ends[1], ends[0] };
}

void end_close(struct end *e)
{
	if (e->near >= 0)
		close(e->near);
	if (e->far >= 0)
		close(e->far);
	e->near = e->far = -1;
}

void end_nonblocking(const struct end *e, bool on)
{
	cr_assert_eq(fcntl(e->near, F_SETFL, (fcntl(e->near, F_GETFL) & ~O_NONBLOCK) | (on ? O_NONBLOCK : 0)), 0);
}

/* ---- peers ---- */

static size_t next_piece(struct peer *p)
{
	const size_t n = 1 + t_random(&p->random) % p->piece, rest = p->total - p->done;

	if (p->pause_us && t_random(&p->random) % 4 == 0)
		usleep(p->pause_us);
	return n < rest ? n : rest;
}

static void *fill(void *argument)
{
	struct peer *p = argument;

	while (p->done < p->total) {
		ssize_t n = write(p->fd, p->bytes + p->done, next_piece(p));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			p->wrong++;
			break;
		}
		p->done += (size_t)n;
	}
	if (p->closes)
		close(p->fd);
	return NULL;
}

static void *drain(void *argument)
{
	struct peer *p = argument;

	while (p->done < p->total) {
		ssize_t n = read(p->fd, p->bytes + p->done, next_piece(p));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		p->done += (size_t)n;
	}
	return NULL;
}

static void start(struct peer *p, void *(*run)(void *))
{
	sigset_t timer, before;

	/* Timers of the test are for the thread that copies. */
	sigemptyset(&timer);
	sigaddset(&timer, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &timer, &before);
	cr_assert_eq(pthread_create(&p->thread, NULL, run, p), 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void peer_fill(struct peer *p)
{
	start(p, fill);
}

void peer_drain(struct peer *p)
{
	start(p, drain);
}

/* ---- stepping ---- */

void expect_books(const struct bufpool_copy *c, uint64_t limit)
{
	size_t kept = 12345;
	const void *bytes = bufpool_copy_kept(&kept, c);

	cr_assert_eq(c->done + c->left, limit);
	cr_assert_leq(kept, 32768);
	cr_assert_leq(kept, c->left);
	cr_assert_eq(bytes == NULL, kept == 0);
}

size_t read_until(int fd, unsigned char *bytes, size_t n, size_t room)
{
	size_t got = 0;
	ssize_t r = 1;

	while (got < n && (r = read(fd, bytes + got, room - got)) > 0)
		got += (size_t)r;
	return got;
}

int step_to_the_end(struct bufpool_copy *c, uint64_t limit)
{
	for (;;) {
		const int r = bufpool_copy_step(c);
		int ready;

		expect_books(c, limit);
		if (r == 0)
			continue;
		if (r != -EAGAIN)
			return r;
		cr_assert(c->poll.fd == c->in ? c->poll.events == POLLIN :
			  c->poll.fd == c->out && c->poll.events == POLLOUT);
		cr_assert(fcntl(c->poll.fd, F_GETFL) & O_NONBLOCK, "EAGAIN from a descriptor that is to block");
		while ((ready = poll(&c->poll, 1, 30000)) < 0 && errno == EINTR)
			;
		if (ready == 0)
			return -ETIME;
	}
}

/* ---- a kernel that can't ---- */

void refuse_kernel_ways(int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_copy_file_range, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendfile, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_splice, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned)error & SECCOMP_RET_DATA)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { T_COUNT(code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		cr_skip_test("seccomp filters aren't allowed here: %s", strerror(errno));
}
