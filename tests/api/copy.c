/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Copies between descriptors: every pair of kinds in every mixture of modes, byte for byte, with the far ends in
 * pieces of random size and signals in between; limits, and what there is to wait for. copy_files.c has files and their
 * positions, copy_errors.c what breaks.
 */
#include "copy_ends.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

TestSuite(copy, .timeout = 120);

enum { MOST = 1 << 20 };
static unsigned char sent[MOST], received[MOST + 1];

struct how {
	size_t total, piece;
	uint64_t limit, seed;
	bool in_nonblocking, out_nonblocking, small, all;
	unsigned pause_us;
};

/* Timers hit the copy, not what the test does around it. */
static void signals_may_come(bool may)
{
	sigset_t timer;

	sigemptyset(&timer);
	sigaddset(&timer, SIGALRM);
	cr_assert_eq(pthread_sigmask(may ? SIG_UNBLOCK : SIG_BLOCK, &timer, NULL), 0);
}

static int step_or_all(const struct how *h, struct end *in, struct end *out, uint64_t *done)
{
	struct bufpool_copy c;
	int r;

	if (h->all)
		return bufpool_copy_all(done, out->near, in->near, h->limit);
	cr_assert_eq(bufpool_copy_begin(&c, out->near, in->near, h->limit), 0);
	r = step_to_the_end(&c, h->limit);
	*done = c.done;
	bufpool_copy_end(&c);
	return r == 1 ? 0 : r;
}

static int copy_once(const struct how *h, struct end *in, struct end *out, uint64_t *done)
{
	int r;

	signals_may_come(true);
	r = step_or_all(h, in, out, done);
	signals_may_come(false);
	return r;
}

static void expect_the_rest(struct end *in, size_t from, const struct how *h)
{
	size_t at = from;
	ssize_t n;

	end_nonblocking(in, false);
	while (at < h->total && (n = read(in->near, received, h->total - at)) > 0) {
		cr_assert_arr_eq(received, sent + at, (size_t)n);
		at += (size_t)n;
	}
	cr_assert_eq(at, h->total, "%zu of %zu bytes were left in the input", at - from, h->total - from);
}

/* A terminal has no end of its input: there the limit is the end. */
static void expect_copy(const struct how *given, enum kind from, enum kind to)
{
	struct how how = *given, *h = &how;
	struct end in = end_to_read(from, h->small), out = end_to_write(to, h->small);
	struct peer filler = { .fd = in.far, .bytes = sent, .total = h->total, .random = h->seed, .piece = h->piece,
		.pause_us = h->pause_us, .closes = from != TTY_END && from != FILE_END };
	const uint64_t expected = h->limit < h->total ? h->limit : h->total;
	struct peer drainer = { .fd = out.far, .bytes = received, .total = expected + (to != TTY_END),
		.random = h->seed + 1, .piece = h->piece, .pause_us = h->pause_us };
	uint64_t done = 12345;

	if (from == TTY_END)
		h->limit = expected;
	end_nonblocking(&in, h->in_nonblocking);
	end_nonblocking(&out, h->out_nonblocking);
	t_fill(sent, h->total, h->seed);
	memset(received, 0, sizeof(received));
	peer_fill(&filler);
	if (from == FILE_END)
		pthread_join(filler.thread, NULL); /* all of it, then */
	if (to != FILE_END)
		peer_drain(&drainer);
	cr_expect_eq(copy_once(h, &in, &out, &done), 0, "%s to %s", kind_names[from], kind_names[to]);
	cr_expect_eq(done, expected, "%s to %s: %zu bytes", kind_names[from], kind_names[to], (size_t)done);
	if (to != TTY_END && to != FILE_END) {
		close(out.near);
		out.near = -1;
	}
	if (to == FILE_END)
		peer_drain(&drainer);
	pthread_join(drainer.thread, NULL);
	cr_assert_eq(drainer.done, expected, "%s to %s: %zu bytes have come", kind_names[from], kind_names[to],
		     drainer.done);
	cr_assert(!memcmp(received, sent, expected), "%s to %s", kind_names[from], kind_names[to]);
	expect_the_rest(&in, expected, h);
	if (from != FILE_END)
		pthread_join(filler.thread, NULL);
	cr_assert_eq(filler.wrong, 0);
	if (filler.closes)
		in.far = -1;
	end_close(&in);
	end_close(&out);
}

static void expect_all_pairs(const struct how *h)
{
	for (enum kind from = FILE_END; from < KINDS; from++)
		for (enum kind to = FILE_END; to < KINDS; to++)
			expect_copy(h, from, to);
	cr_assert_eq(t_stats().in_use, 0, "buffers are left");
}

static const struct how usual = { .total = 300007, .piece = 50000, .limit = UINT64_MAX, .seed = 77 };

Test(copy, S4_all_pairs_blocking)
{
	expect_all_pairs(&usual);
}

Test(copy, S4_all_pairs_in_every_mixture_of_modes)
{
	for (int mode = 1; mode < 4; mode++) {
		struct how h = usual;

		h.in_nonblocking = mode & 1;
		h.out_nonblocking = mode & 2;
		expect_all_pairs(&h);
	}
}

Test(copy, copy_all_in_every_mixture_of_modes)
{
	for (int mode = 0; mode < 4; mode++) {
		struct how h = usual;

		h.all = true;
		h.in_nonblocking = mode & 1;
		h.out_nonblocking = mode & 2;
		expect_all_pairs(&h);
	}
}

Test(copy, S4_short_reads_and_short_writes)
{
	struct how h = { .total = 60001, .piece = 1500, .limit = UINT64_MAX, .seed = 3, .small = true,
		.pause_us = 20 };

	for (int mode = 0; mode < 4; mode++) {
		h.in_nonblocking = mode & 1;
		h.out_nonblocking = mode & 2;
		expect_all_pairs(&h);
	}
}

static volatile sig_atomic_t signals;

static void count(int signal)
{
	(void)signal;
	signals++;
}

/* No SA_RESTART: every call may end with EINTR. */
static void storm(long us)
{
	const struct itimerval every = { { 0, us }, { 0, us } };
	const struct sigaction action = { .sa_handler = count };

	cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
	cr_assert_eq(setitimer(ITIMER_REAL, &every, NULL), 0);
}

Test(copy, S4_interrupted_all_the_time)
{
	struct how h = { .total = 60001, .piece = 1500, .limit = UINT64_MAX, .seed = 5, .small = true,
		.pause_us = 100 };

	signals_may_come(false);
	storm(100);
	for (int mode = 0; mode < 8; mode++) {
		h.in_nonblocking = mode & 1;
		h.out_nonblocking = mode & 2;
		h.all = mode & 4;
		expect_all_pairs(&h);
	}
	storm(0);
	cr_assert_gt(signals, 100, "the timer fired %d times", (int)signals);
}

Test(copy, a_signal_gives_the_caller_a_turn)
{
	const struct itimerval once = { { 0, 10000 }, { 0, 10000 } };
	struct end in = end_to_read(PIPE_END, false), out = end_to_write(PIPE_END, false);
	struct bufpool_copy c;

	storm(0);
	cr_assert_eq(setitimer(ITIMER_REAL, &once, NULL), 0);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, UINT64_MAX), 0);
	cr_assert_eq(bufpool_copy_step(&c), 0); /* nothing comes */
	cr_assert_gt(signals, 0);
	cr_assert_eq(c.done, 0);
	bufpool_copy_end(&c);
}

/* ---- limits ---- */

Test(copy, S4_no_byte_beyond_the_limit_is_read)
{
	static const uint64_t limits[] = { 0, 1, 4095, 4096, 32767, 32768, 32769, 100001, 299999, 300000, 300001 };

	for (size_t i = 0; i < T_COUNT(limits); i++) {
		struct how h = { .total = 300000, .piece = 90000, .limit = limits[i], .seed = i, .all = i & 1 };

		/* What is left stays in the descriptor only while its other end is open: pipes and files. */
		for (enum kind to = FILE_END; to < KINDS; to++) {
			expect_copy(&h, FILE_END, to);
			expect_copy(&h, PIPE_END, to);
			expect_copy(&h, TCP_END, to);
		}
	}
}

static uint64_t acquired(size_t n)
{
	return t_class(n).acquired;
}

Test(copy, S4_a_thousand_copies_one_buffer)
{
	struct end in = end_to_read(UNIX_END, false), out = end_to_write(UNIX_END, false);
	uint64_t before, backend;

	t_need_pool(32768);
	t_hold_epochs();
	before = acquired(32768);
	backend = t_class(32768).from_backend;
	for (unsigned i = 0; i < 1000; i++) {
		struct bufpool_copy c;

		t_fill(sent, 3000, i);
		cr_assert_eq(write(in.far, sent, 3000), 3000);
		cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, UINT64_MAX), 0);
		cr_assert_eq(bufpool_copy_step(&c), 0);
		cr_assert_eq(c.done, 3000);
		bufpool_copy_end(&c);
		cr_assert_eq(read(out.far, received, MOST), 3000);
		cr_assert(t_check(received, 3000, i));
	}
	cr_assert_eq(acquired(32768) - before, 1000);
	cr_assert_leq(t_class(32768).from_backend - backend, 1);
	cr_assert_eq(t_stats().in_use, 0);
}

Test(copy, S4_the_buffer_is_no_larger_than_what_is_left)
{
	static const size_t limits[] = { 1, 100, 1000, 5000, 20000, 32768, 50000, 1000000 };

	t_need_pool(32768);
	for (size_t i = 0; i < T_COUNT(limits); i++) {
		struct end in = end_to_read(UNIX_END, false), out = end_to_write(UNIX_END, false);
		const size_t expected = limits[i] < 32768 ? limits[i] : 32768;
		struct bufpool_copy c;

		cr_assert_eq(write(in.far, sent, 1), 1);
		cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, limits[i]), 0);
		cr_assert_eq(t_stats().in_use_bytes, 0);
		cr_assert_eq(bufpool_copy_step(&c), limits[i] == 1);
		cr_assert_eq(t_stats().in_use_bytes, limits[i] == 1 ? 0 : bufpool_good_size(expected));
		bufpool_copy_end(&c);
		end_close(&in);
		end_close(&out);
	}
}

Test(copy, waiting_for_input_holds_no_buffer)
{
	struct end in = end_to_read(UNIX_END, false), out = end_to_write(UNIX_END, false);
	struct bufpool_copy c;
	size_t kept;

	t_need_pool(32768);
	end_nonblocking(&in, true);
	end_nonblocking(&out, true);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, UINT64_MAX), 0);
	cr_assert_eq(write(in.far, sent, 5000), 5000);
	cr_assert_eq(bufpool_copy_step(&c), 0);
	cr_assert_eq(c.poll.fd, -1);
	cr_assert_eq(t_stats().in_use, 1);
	cr_assert_eq(bufpool_copy_step(&c), -EAGAIN);
	cr_assert(c.poll.fd == in.near && c.poll.events == POLLIN);
	cr_assert_eq(t_stats().in_use, 0);
	/* Waiting for the output it holds what it must. */
	while (write(out.near, sent, 4096) > 0)
		;
	cr_assert_eq(write(in.far, sent, 5000), 5000);
	cr_assert_eq(bufpool_copy_step(&c), -EAGAIN);
	cr_assert(c.poll.fd == out.near && c.poll.events == POLLOUT);
	cr_assert_eq(t_stats().in_use, 1);
	cr_assert_not_null(bufpool_copy_kept(&kept, &c));
	cr_assert_eq(kept, 5000);
	bufpool_copy_end(&c);
	cr_assert_eq(t_stats().in_use, 0);
	bufpool_copy_end(&c);
}

Test(copy, a_step_is_bounded)
{
	struct end in = end_to_read(FILE_END, false), out = end_to_write(FILE_END, false);
	struct bufpool_copy c;

	cr_assert_eq(ftruncate(in.near, 40 << 20), 0);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, UINT64_MAX), 0);
	cr_assert_eq(bufpool_copy_step(&c), 0);
	cr_assert_leq(c.done, 16 << 20);
	bufpool_copy_end(&c);
}

/* ---- waiting ---- */

/* TCP and terminals hand on what is written, and have room again a little later: until they haven't. */
static void fill_up(int fd)
{
	while (write(fd, sent, 1) > 0) {
		while (write(fd, sent, 4096) > 0 || write(fd, sent, 1) > 0)
			;
		t_sleep_ms(20);
	}
}

/* Ten bytes more for the copy to read: over TCP they may be there a little later. */
static void write_some(const struct end *in)
{
	struct pollfd there = { .fd = in->near, .events = POLLIN };

	cr_assert_eq(write(in->far, sent, 10), 10);
	cr_assert_eq(poll(&there, 1, 10000), 1);
}

/* Each end in turn is what the copy has to wait for; where both are, either is right. */
static void expect_waiting(enum kind from, enum kind to)
{
	struct end in = end_to_read(from, true), out = end_to_write(to, true);
	struct bufpool_copy c;
	int r, fillings = 0;

	end_nonblocking(&in, true);
	end_nonblocking(&out, true);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, UINT64_MAX), 0);
	cr_assert_eq(c.poll.fd, -1);
	cr_assert_eq(bufpool_copy_step(&c), -EAGAIN);
	cr_assert(c.poll.fd == in.near && c.poll.events == POLLIN, "%s to %s", kind_names[from], kind_names[to]);
	write_some(&in);
	cr_assert_eq(bufpool_copy_step(&c), 0);
	cr_assert_eq(c.done, 10);
	cr_assert_eq(c.poll.fd, -1);
	cr_assert_eq(read(out.far, received, 10), 10);
	do {
		fill_up(out.near);
		write_some(&in);
		r = bufpool_copy_step(&c);
	} while (to >= TCP_END && r == 0 && ++fillings < 100); /* on a busy machine it had room later still */
	cr_assert_eq(r, -EAGAIN);
	cr_assert(c.poll.fd == out.near && c.poll.events == POLLOUT, "%s to %s", kind_names[from], kind_names[to]);
	bufpool_copy_end(&c);
	end_close(&in);
	end_close(&out);
}

Test(copy, S4_it_says_which_end_to_wait_for)
{
	for (enum kind from = PIPE_END; from < KINDS; from++)
		for (enum kind to = PIPE_END; to < KINDS; to++)
			expect_waiting(from, to);
}
