/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Vectors on real pipes and sockets (S19): short writes, signals, full and closed descriptors, and what arrives compared
 * byte by byte.
 */
#include "support.h"
#include "vec_text.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

TestSuite(vec_io, .timeout = 60);

static void nonblocking(int fd)
{
	cr_assert_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

/* Takes what is there; counts bytes that are not the text's. */
struct sink {
	int fd;
	size_t got, wrong;
	useconds_t pause;
	unsigned char text[1u << 16];
};

static bool drain(struct sink *s, size_t most)
{
	/* The text goes on in steps of 8: whole words are compared, the rest stays for the next time. */
	static unsigned char word[8];
	const ssize_t n = read(s->fd, s->text, most < sizeof(s->text) ? most : sizeof(s->text));

	for (ssize_t i = 0; i < n; i++, s->got++) {
		if (s->got % 8 == 0)
			t_fill(word, 8, T_VEC_SEED + s->got / 8 * 0x9e3779b97f4a7c15u);
		s->wrong += s->text[i] != word[s->got % 8];
	}
	return n > 0;
}

static size_t fill_vec(struct bufpool_vec *v, size_t count, uint64_t random)
{
	for (size_t i = 0; i < count; i++)
		t_vec_add(v, t_vec_random_size(&random));
	return bufpool_vec_bytes(v);
}

/* writev as it is, by the loop of the header, into a pipe that takes odd pieces. */
Test(vec_io, S19_writev_takes_it_as_it_is_and_short_writes_lose_nothing)
{
	static struct sink s;
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	uint64_t random = 8, in_use;
	size_t total;
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	nonblocking(ends[0]);
	nonblocking(ends[1]);
	s.fd = ends[0];
	in_use = t_stats().in_use;
	total = fill_vec(&v, 3000, 3);
	cr_assert_gt(v.count, IOV_MAX);
	while (v.count) {
		const ssize_t n = writev(ends[1], v.iov, bufpool_vec_iovcnt(&v));

		if (n >= 0)
			bufpool_vec_advance(&v, (size_t)n);
		else
			cr_assert_eq(errno, EAGAIN);
		drain(&s, 1 + t_random(&random) % 10000);
	}
	while (drain(&s, SIZE_MAX))
		;
	cr_assert_eq(s.got, total);
	cr_assert_eq(s.wrong, 0);
	bufpool_vec_release(&v);
	cr_assert_eq(t_stats().in_use, in_use);
}

Test(vec_io, S19_a_socket_that_is_full_says_so_and_keeps_what_is_left)
{
	static struct sink s;
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	size_t total, times = 0;
	int ends[2], error;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	nonblocking(ends[0]);
	nonblocking(ends[1]);
	s.fd = ends[0];
	total = fill_vec(&v, 5000, 4);
	while ((error = bufpool_vec_writev(&v, ends[1])) != 0) {
		cr_assert_eq(error, -EAGAIN);
		cr_assert_geq(s.got + bufpool_vec_bytes(&v), s.got);
		cr_assert_gt(v.count, 0);
		times++;
		drain(&s, 30000);
	}
	cr_assert_gt(times, 10, "the socket was never full");
	while (drain(&s, SIZE_MAX))
		;
	cr_assert_eq(s.got, total);
	cr_assert_eq(s.wrong, 0);
	cr_assert_eq(v.count, 0);
	bufpool_vec_release(&v);
}

static void *drain_slowly(void *argument)
{
	struct sink *s = argument;

	while (drain(s, 3000))
		usleep(s->pause);
	return NULL;
}

static volatile sig_atomic_t alarms;

static void count_alarm(int number)
{
	(void)number;
	alarms++;
}

/* A blocking writev that signals end early, with a part written or with nothing. */
Test(vec_io, S19_signals_end_writes_early_and_lose_nothing)
{
	static struct sink s = { .pause = 300 };
	const struct sigaction action = { .sa_handler = count_alarm }; /* no SA_RESTART */
	const struct itimerval each_ms = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	sigset_t alarm_only;
	pthread_t reader;
	size_t total;
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	s.fd = ends[0];
	total = fill_vec(&v, 2000, 5);
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm_only, NULL);
	cr_assert_eq(pthread_create(&reader, NULL, drain_slowly, &s), 0);
	pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &each_ms, NULL);
	cr_assert_eq(bufpool_vec_writev(&v, ends[1]), 0);
	setitimer(ITIMER_REAL, &never, NULL);
	cr_assert_gt(alarms, 10);
	close(ends[1]);
	pthread_join(reader, NULL);
	cr_assert_eq(s.got, total);
	cr_assert_eq(s.wrong, 0);
	bufpool_vec_release(&v);
}

Test(vec_io, a_reader_that_goes_away_leaves_what_it_did_not_take)
{
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	unsigned char *left;
	size_t total, written;
	int ends[2];

	signal(SIGPIPE, SIG_IGN);
	cr_assert_eq(pipe(ends), 0);
	nonblocking(ends[1]);
	total = fill_vec(&v, 500, 6);
	cr_assert_eq(bufpool_vec_writev(&v, ends[1]), -EAGAIN);
	close(ends[0]);
	written = total - bufpool_vec_bytes(&v);
	cr_assert_gt(written, 0);
	cr_assert_eq(bufpool_vec_writev(&v, ends[1]), -EPIPE);
	cr_assert_eq(bufpool_vec_bytes(&v), total - written);
	cr_assert_eq(bufpool_vec_writev(&v, -1), -EBADF);
	left = malloc(total);
	t_vec_gather(left, &v);
	cr_assert_eq(written % 8, 0);
	cr_assert(t_check(left, total - written, T_VEC_SEED + written / 8 * 0x9e3779b97f4a7c15u));
	free(left);
	bufpool_vec_release(&v);
}

/* readv into it, cut to what came, and on with writev. */
Test(vec_io, readv_fills_it_and_writev_passes_it_on)
{
	static struct sink s;
	static unsigned char text[10000];
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	int in[2], out[2];
	ssize_t n;

	cr_assert(!pipe(in) && !pipe(out));
	s.fd = out[0];
	t_fill(text, sizeof(text), T_VEC_SEED);
	cr_assert_eq(write(in[1], text, sizeof(text)), sizeof(text));
	for (int i = 0; i < 8; i++)
		cr_assert_eq(bufpool_vec_add(&v, 1800), 0);
	n = readv(in[0], v.iov, bufpool_vec_iovcnt(&v));
	cr_assert_eq(n, sizeof(text));
	bufpool_vec_truncate_bytes(&v, (size_t)n);
	cr_assert_eq(v.count, 6);
	cr_assert_eq(bufpool_vec_writev(&v, out[1]), 0);
	drain(&s, SIZE_MAX);
	cr_assert_eq(s.got, sizeof(text));
	cr_assert_eq(s.wrong, 0);
	bufpool_vec_release(&v);
}

/* More of them than one call takes: of nothing but empty entries writev says 0, which is no progress. */
Test(vec_io, writev_passes_over_empty_entries)
{
	struct bufpool_vec v = BUFPOOL_VEC_INIT;
	char text[8];
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	for (int i = 0; i < IOV_MAX + 10; i++)
		t_vec_add(&v, 0);
	t_vec_add(&v, 8);
	cr_assert_eq(bufpool_vec_writev(&v, ends[1]), 0);
	cr_assert_eq(v.count, 0);
	cr_assert_eq(read(ends[0], text, sizeof(text)), 8);
	cr_assert(t_check(text, 8, T_VEC_SEED));
	bufpool_vec_release(&v);
}
