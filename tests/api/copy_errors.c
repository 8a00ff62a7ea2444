/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Copies that can't: full disks, limits on files, peers that are gone, resets, kernels that refuse. What holds each
 * time: bytes taken from the input = done + kept, and what can go on goes on without loss.
 */
#include "copy_ends.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

TestSuite(copy_errors, .timeout = 120);

enum { MOST = 1 << 20 };
static unsigned char sent[MOST], received[MOST];

static int step_while_it_goes(struct bufpool_copy *c)
{
	int r;

	while ((r = bufpool_copy_step(c)) == 0)
		;
	return r;
}

static void expect_kept(const struct bufpool_copy *c)
{
	size_t kept;
	const void *bytes = bufpool_copy_kept(&kept, c);

	if (kept)
		cr_assert_arr_eq(bytes, sent + c->done, kept);
}

/* ---- no room ---- */

/* Takes the room away, and gives it back. */
typedef void room_fn(const void *ctx, bool there);

/* Until there is no room; room is made; on to the end. */
static void expect_going_on(enum kind from, int out, int error, room_fn *room, const void *ctx)
{
	struct end in = end_to_read(from, false);
	struct peer filler = { .fd = in.far, .bytes = sent, .total = 200000, .piece = 50000, .random = 6,
		.closes = from != FILE_END };
	struct bufpool_copy c;

	t_fill(sent, 200000, from);
	peer_fill(&filler);
	if (from == FILE_END)
		pthread_join(filler.thread, NULL);
	room(ctx, false);
	cr_assert_eq(bufpool_copy_begin(&c, out, in.near, UINT64_MAX), 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(step_while_it_goes(&c), error, "from %s", kind_names[from]);
		cr_assert_lt(c.done, 200000);
		expect_kept(&c);
	}
	room(ctx, true);
	cr_assert_eq(step_while_it_goes(&c), 1);
	cr_assert_eq(c.done, 200000);
	bufpool_copy_end(&c);
	if (from != FILE_END)
		pthread_join(filler.thread, NULL);
	cr_assert_eq(pread(out, received, MOST, 0), 200000);
	cr_assert_arr_eq(received, sent, 200000);
	close(in.near);
}

static void disk_room(const void *path, bool there)
{
	int fd;

	if (there) {
		cr_assert_eq(unlink(path), 0);
		return;
	}
	fd = open(path, O_RDWR | O_CREAT, 0600);
	cr_assert_eq(write(fd, received, 180000), 180000);
	close(fd);
}

Test(copy_errors, a_full_disk)
{
	char directory[] = "/tmp/bufpool-copy-disk-XXXXXX", filler[64], target[64];

	cr_assert_not_null(mkdtemp(directory));
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", directory, "tmpfs", 0, "size=256k")) {
		const int error = errno;

		rmdir(directory);
		cr_skip_test("no file system may be mounted here: %s", strerror(error));
	}
	snprintf(filler, sizeof(filler), "%s/filler", directory);
	snprintf(target, sizeof(target), "%s/target", directory);
	for (enum kind from = FILE_END; from < TTY_END; from++) {
		int out = open(target, O_RDWR | O_CREAT | O_TRUNC, 0600);

		cr_assert_geq(out, 0);
		expect_going_on(from, out, -ENOSPC, disk_room, filler);
		close(out);
		unlink(target);
	}
	umount(directory);
	rmdir(directory);
}

static void limit_room(const void *before, bool there)
{
	struct rlimit limit = *(const struct rlimit *)before;

	if (!there)
		limit.rlim_cur = 70001;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(copy_errors, a_limit_on_files)
{
	struct rlimit before;

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	for (enum kind from = FILE_END; from < TTY_END; from++) {
		int out = file_new();

		expect_going_on(from, out, -EFBIG, limit_room, &before);
		close(out);
	}
}

/* The position of a file is never ahead of what was written. */
Test(copy_errors, after_a_limit_the_input_stands_where_the_output_ends)
{
	struct end in = end_to_read(FILE_END, false);
	struct rlimit small;
	int out = file_new();
	uint64_t done = 0;

	signal(SIGXFSZ, SIG_IGN);
	t_fill(sent, 200000, 3);
	cr_assert_eq(write(in.far, sent, 200000), 200000);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &small), 0);
	small.rlim_cur = 70001;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	/* By hand: O_APPEND is what the kernel's way refuses. */
	for (int append = 0; append < 2; append++) {
		cr_assert_eq(ftruncate(out, 0), 0);
		cr_assert_eq(lseek(out, 0, SEEK_SET), 0);
		cr_assert_eq(lseek(in.near, 0, SEEK_SET), 0);
		cr_assert_eq(fcntl(out, F_SETFL, append ? O_APPEND : 0), 0);
		cr_assert_eq(bufpool_copy_all(&done, out, in.near, UINT64_MAX), -EFBIG);
		cr_assert_eq(done, 70001);
		cr_assert_eq(lseek(in.near, 0, SEEK_CUR), 70001);
		cr_assert_eq(pread(out, received, MOST, 0), 70001);
		cr_assert_arr_eq(received, sent, 70001);
	}
	cr_assert_eq(t_stats().in_use, 0);
}

/* ---- nobody there ---- */

/* SIGPIPE has its default action here: if one came, this process would be gone. */
static void expect_broken(enum kind from, enum kind to)
{
	struct end in = end_to_read(from, false), out = end_to_write(to, false);
	struct bufpool_copy c;
	size_t taken, kept;

	t_fill(sent, 60000, 4);
	cr_assert_eq(write(in.far, sent, 60000), 60000);
	close(out.far);
	close(in.far);
	out.far = in.far = -1;
	if (to == TCP_END) { /* which learns of it by the answer to its first byte */
		cr_assert_eq(write(out.near, "", 1), 1);
		cr_assert_eq(poll(&(struct pollfd){ .fd = out.near }, 1, 10000), 1);
	}
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, UINT64_MAX), 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(step_while_it_goes(&c), -EPIPE, "%s to %s", kind_names[from], kind_names[to]);
		cr_assert_eq(c.done, 0);
		expect_kept(&c);
	}
	(void)!bufpool_copy_kept(&kept, &c);
	bufpool_copy_end(&c);
	taken = from == FILE_END ? 0 : kept;
	cr_assert_eq(read_until(in.near, received, 60000 - taken, MOST), 60000 - taken);
	cr_assert_arr_eq(received, sent + taken, 60000 - taken);
	end_close(&in);
	end_close(&out);
}

Test(copy_errors, S4_nobody_reads_any_more)
{
	for (enum kind from = FILE_END; from < TTY_END; from++)
		for (enum kind to = PIPE_END; to < TTY_END; to++)
			expect_broken(from, to);
	cr_assert_eq(t_stats().in_use, 0);
}

static void *read_some_and_leave(void *fd)
{
	t_sleep_ms(50);
	if (read(*(int *)fd, received, 1000) != 1000)
		return fd;
	t_sleep_ms(50);
	close(*(int *)fd);
	return NULL;
}

/* A write that has moved some bytes raises the signal as well. */
static void expect_broken_in_the_middle(int in, struct end *out, uint64_t limit)
{
	pthread_t reader;
	uint64_t done = 0;
	void *wrong;
	int r;

	cr_assert_eq(pthread_create(&reader, NULL, read_some_and_leave, &out->far), 0);
	r = bufpool_copy_all(&done, out->near, in, limit);
	cr_assert(r == -EPIPE || r == -ECONNRESET, "%d", r);
	cr_assert_eq(pthread_join(reader, &wrong), 0);
	cr_assert_null(wrong);
	cr_assert_geq(done, 1000);
	out->far = -1;
	end_close(out);
}

Test(copy_errors, a_reader_that_leaves_in_the_middle)
{
	int zero = open("/dev/zero", O_RDONLY), file = file_new();
	struct end out;

	cr_assert_eq(ftruncate(file, 64 << 20), 0);
	for (enum kind to = PIPE_END; to < TTY_END; to++) {
		out = end_to_write(to, true);
		expect_broken_in_the_middle(zero, &out, UINT64_MAX);
		out = end_to_write(to, true);
		cr_assert_eq(lseek(file, 0, SEEK_SET), 0);
		expect_broken_in_the_middle(file, &out, UINT64_MAX);
	}
}

static bool is_pending(int signal)
{
	sigset_t pending;

	sigpending(&pending);
	return sigismember(&pending, signal);
}

Test(copy_errors, the_callers_own_SIGPIPE_is_left_alone)
{
	struct end in = end_to_read(UNIX_END, false), out = end_to_write(PIPE_END, false);
	sigset_t broken, before, after;
	struct bufpool_copy c;

	sigemptyset(&broken);
	sigaddset(&broken, SIGPIPE);
	cr_assert_eq(write(in.far, sent, 100), 100);
	close(out.far);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, 100), 0);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	cr_assert_eq(bufpool_copy_step(&c), -EPIPE);
	pthread_sigmask(SIG_BLOCK, &broken, &after);
	cr_assert_eq(sigismember(&after, SIGPIPE), sigismember(&before, SIGPIPE));
	/* Blocked by the caller, none pending: none is left behind. */
	cr_assert_eq(bufpool_copy_step(&c), -EPIPE);
	cr_assert(!is_pending(SIGPIPE));
	/* One that was there before stays. */
	pthread_kill(pthread_self(), SIGPIPE);
	cr_assert_eq(bufpool_copy_step(&c), -EPIPE);
	cr_assert(is_pending(SIGPIPE));
	bufpool_copy_end(&c);
}

/* ---- the input breaks ---- */

/* Bytes come, then a reset: an error, never the end. The kernel tells of it once: who asks again is told of the end. */
static void expect_reset(enum kind to)
{
	const struct linger at_once = { 1, 0 };
	struct end out = end_to_write(to, false);
	struct bufpool_copy c;
	int in[2];

	tcp_pair(in);
	t_fill(sent, 20000, 7);
	cr_assert_eq(write(in[1], sent, 20000), 20000);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in[0], UINT64_MAX), 0);
	while (c.done < 20000)
		cr_assert_eq(bufpool_copy_step(&c), 0);
	setsockopt(in[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(in[1]);
	t_sleep_ms(20);
	cr_assert_eq(step_while_it_goes(&c), -ECONNRESET, "to %s", kind_names[to]);
	cr_assert_eq(c.done, 20000);
	bufpool_copy_end(&c);
	cr_assert_eq(read_until(out.far, received, 20000, MOST), 20000);
	cr_assert_arr_eq(received, sent, 20000);
	close(in[0]);
	end_close(&out);
}

Test(copy_errors, S4_a_read_error_after_some_bytes)
{
	for (enum kind to = FILE_END; to < TTY_END; to++)
		expect_reset(to);
}

Test(copy_errors, a_time_out_of_the_callers_own)
{
	const struct timeval soon = { 0, 30000 };
	struct end in = end_to_read(UNIX_END, false);
	uint64_t done = 0;
	int out;

	cr_assert_eq(setsockopt(in.near, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
	for (enum kind to = FILE_END; to < TTY_END; to++) {
		struct end e = end_to_write(to, false);

		out = e.near;
		cr_assert_eq(write(in.far, sent, 10), 10);
		cr_assert_eq(bufpool_copy_all(&done, out, in.near, UINT64_MAX), -EAGAIN);
		cr_assert_eq(done, 10);
		end_close(&e);
	}
}

/* ---- kernels that refuse ---- */

static void expect_plain_copy(enum kind from, enum kind to)
{
	struct end in = end_to_read(from, false), out = end_to_write(to, false);
	struct bufpool_copy c;

	t_fill(sent, 60000, from * 8 + to);
	cr_assert_eq(write(in.far, sent, 60000), 60000);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, 60000), 0);
	cr_assert_eq(step_to_the_end(&c, 60000), 1);
	bufpool_copy_end(&c);
	cr_assert_eq(read_until(out.far, received, 60000, MOST), 60000, "%s to %s", kind_names[from], kind_names[to]);
	cr_assert_arr_eq(received, sent, 60000);
	end_close(&in);
	end_close(&out);
}

static void expect_plain_copies(void)
{
	for (enum kind from = FILE_END; from < TTY_END; from++)
		for (enum kind to = FILE_END; to < TTY_END; to++)
			expect_plain_copy(from, to);
}

#define REFUSED_WITH(error)                                             \
	Test(copy_errors, a_kernel_that_refuses_with_##error)           \
	{                                                               \
		refuse_kernel_ways(error);                              \
		expect_plain_copies();                                  \
	}
REFUSED_WITH(EINVAL)
REFUSED_WITH(EXDEV)
REFUSED_WITH(ENOSYS)
REFUSED_WITH(EBADF)
REFUSED_WITH(EOPNOTSUPP)
REFUSED_WITH(EPERM)
REFUSED_WITH(EIO)
REFUSED_WITH(ETXTBSY)

/* What copy_file_range of many kernels says of files under /proc: 0, though there is content. */
Test(copy_errors, a_kernel_that_moves_nothing)
{
	refuse_kernel_ways(0);
	expect_plain_copies();
}

Test(copy_errors, a_kernel_that_refuses_from_the_middle_on)
{
	struct end in = end_to_read(FILE_END, false), out = end_to_write(UNIX_END, false);
	struct peer drainer = { .fd = out.far, .bytes = received, .total = MOST, .piece = 70000, .random = 1 };
	struct bufpool_copy c;

	t_fill(sent, MOST, 12);
	cr_assert_eq(write(in.far, sent, MOST), MOST);
	end_nonblocking(&out, true);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, UINT64_MAX), 0);
	cr_assert_eq(bufpool_copy_step(&c), 0);
	cr_assert(c.done > 0 && c.done < MOST);
	refuse_kernel_ways(ENOSYS);
	peer_drain(&drainer);
	cr_assert_eq(step_to_the_end(&c, UINT64_MAX), 1);
	bufpool_copy_end(&c);
	pthread_join(drainer.thread, NULL);
	cr_assert_eq(drainer.done, MOST);
	cr_assert_arr_eq(received, sent, MOST);
}
