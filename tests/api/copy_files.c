/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Copies of files that are special or at positions, of descriptors that are one, and what begin refuses.
 */
#include "copy_ends.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(copy_files, .timeout = 60);

enum { MOST = 1 << 20 };
static unsigned char sent[MOST], received[MOST];

/* ---- files that say they are empty ---- */

static size_t read_whole(const char *path)
{
	int fd = open(path, O_RDONLY);
	size_t done = 0;
	ssize_t n;

	cr_assert_geq(fd, 0, "%s", path);
	while ((n = read(fd, sent + done, MOST - done)) > 0)
		done += (size_t)n;
	close(fd);
	return done;
}

static void expect_whole(const char *path, enum kind to)
{
	const size_t expected = read_whole(path);
	struct end out = end_to_write(to, false);
	int in = open(path, O_RDONLY);
	uint64_t done = 0;

	cr_assert_gt(expected, 0);
	cr_assert_eq(bufpool_copy_all(&done, out.near, in, UINT64_MAX), 0);
	cr_assert_eq(done, expected, "%s to %s: %zu of %zu bytes", path, kind_names[to], (size_t)done, expected);
	cr_assert_eq(read_until(out.far, received, expected, MOST), expected);
	cr_assert_arr_eq(received, sent, expected);
	close(in);
	end_close(&out);
}

Test(copy_files, what_proc_says_is_empty)
{
	static const char *const paths[] = { "/proc/version", "/proc/filesystems", "/proc/self/cmdline",
		"/proc/self/limits", "/sys/kernel/mm/transparent_hugepage/enabled" };

	for (size_t i = 0; i < T_COUNT(paths); i++)
		for (enum kind to = FILE_END; to < TTY_END; to++)
			if (!access(paths[i], R_OK))
				expect_whole(paths[i], to);
}

Test(copy_files, an_empty_file)
{
	struct end in = end_to_read(FILE_END, false), out = end_to_write(FILE_END, false);
	uint64_t done = 5;

	cr_assert_eq(bufpool_copy_all(&done, out.near, in.near, UINT64_MAX), 0);
	cr_assert_eq(done, 0);
	cr_assert_eq(t_stats().in_use, 0);
}

/* The end is not remembered: what is appended afterwards is copied by the next step. */
Test(copy_files, a_file_that_grows)
{
	struct end in = end_to_read(FILE_END, false), out = end_to_write(FILE_END, false);
	struct bufpool_copy c;

	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, UINT64_MAX), 0);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(bufpool_copy_step(&c), 1);
		t_fill(sent + i * 1000, 1000, i);
		cr_assert_eq(write(in.far, sent + i * 1000, 1000), 1000);
		cr_assert_eq(bufpool_copy_step(&c), 0);
	}
	bufpool_copy_end(&c);
	cr_assert_eq(read(out.far, received, MOST), 5000);
	cr_assert_arr_eq(received, sent, 5000);
}

/* ---- one file, or one socket ---- */

static int file_of(size_t n)
{
	int fd = file_new();

	t_fill(sent, n, n);
	cr_assert_eq(write(fd, sent, n), (ssize_t)n);
	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static int again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, flags);
	cr_assert_geq(fd, 0);
	return fd;
}

Test(copy_files, a_file_to_its_own_end_ends)
{
	const int flags[] = { O_RDWR | O_APPEND, O_RDWR };

	for (int i = 0; i < 2; i++) {
		int in = file_of(100001), out = again(in, flags[i]);
		uint64_t done;

		if (i)
			cr_assert_eq(lseek(out, 0, SEEK_END), 100001);
		cr_assert_eq(bufpool_copy_all(&done, out, in, UINT64_MAX), 0);
		cr_assert_eq(done, 100001);
		cr_assert_eq(pread(in, received, MOST, 0), 200002);
		cr_assert_arr_eq(received, sent, 100001);
		cr_assert_arr_eq(received + 100001, sent, 100001);
		close(in);
		close(out);
	}
}

Test(copy_files, a_file_moves_down_in_itself)
{
	static const off_t by[] = { 1, 100, 4096, 32768, 50000, 150000 };

	for (size_t i = 0; i < T_COUNT(by); i++) {
		int in = file_of(200000), out = again(in, O_RDWR);
		uint64_t done;

		cr_assert_eq(lseek(in, by[i], SEEK_SET), by[i]);
		cr_assert_eq(bufpool_copy_all(&done, out, in, UINT64_MAX), 0);
		cr_assert_eq(done, (uint64_t)(200000 - by[i]));
		cr_assert_eq(pread(in, received, MOST, 0), 200000);
		cr_assert_arr_eq(received, sent + by[i], (size_t)(200000 - by[i]));
		close(in);
		close(out);
	}
}

Test(copy_files, what_would_be_read_again_is_refused)
{
	int in = file_of(1000), out = again(in, O_RDWR);
	struct bufpool_copy c;

	cr_assert_eq(bufpool_copy_begin(&c, in, in, UINT64_MAX), -EINVAL);
	cr_assert_eq(bufpool_copy_begin(&c, out, in, UINT64_MAX), -EINVAL);
	cr_assert_eq(lseek(out, 500, SEEK_SET), 500);
	cr_assert_eq(bufpool_copy_begin(&c, out, in, UINT64_MAX), -EINVAL);
	cr_assert_eq(bufpool_copy_begin(&c, out, in, 501), -EINVAL);
	cr_assert_eq(bufpool_copy_begin(&c, out, in, 500), 0);
	cr_assert_eq(step_to_the_end(&c, 500), 1);
	bufpool_copy_end(&c);
	cr_assert_eq(pread(in, received, MOST, 0), 1000);
	cr_assert(!memcmp(received, sent, 500) && !memcmp(received + 500, sent, 500));
}

Test(copy_files, an_echo)
{
	struct end in = end_to_read(TCP_END, false);
	struct bufpool_copy c;

	t_fill(sent, 5000, 1);
	cr_assert_eq(write(in.far, sent, 5000), 5000);
	cr_assert_eq(bufpool_copy_begin(&c, in.near, in.near, 5000), 0);
	cr_assert_eq(step_to_the_end(&c, 5000), 1);
	cr_assert_eq(recv(in.far, received, 5000, MSG_WAITALL), 5000);
	cr_assert_arr_eq(received, sent, 5000);
	bufpool_copy_end(&c);
}

/* ---- positions ---- */

Test(copy_files, files_are_used_at_their_positions)
{
	struct end in = end_to_read(FILE_END, false), out = end_to_write(FILE_END, false);
	uint64_t done;

	t_fill(sent, 90000, 8);
	cr_assert_eq(write(in.far, sent, 90000), 90000);
	cr_assert_eq(lseek(in.near, 1000, SEEK_SET), 1000);
	cr_assert_eq(lseek(out.near, 500, SEEK_SET), 500);
	cr_assert_eq(bufpool_copy_all(&done, out.near, in.near, 70000), 0);
	cr_assert_eq(done, 70000);
	cr_assert_eq(lseek(in.near, 0, SEEK_CUR), 71000);
	cr_assert_eq(lseek(out.near, 0, SEEK_CUR), 70500);
	cr_assert_eq(read(out.far, received, MOST), 70500);
	cr_assert(t_all(received, 500, 0));
	cr_assert_arr_eq(received + 500, sent + 1000, 70000);
}

static void expect_appended(enum kind from)
{
	struct end in = end_to_read(from, false), out = end_to_write(FILE_END, false);
	uint64_t done;

	t_fill(sent, 60000, 9);
	cr_assert_eq(write(out.near, "before", 6), 6);
	cr_assert_eq(lseek(out.near, 0, SEEK_SET), 0);
	cr_assert_eq(fcntl(out.near, F_SETFL, O_APPEND), 0);
	cr_assert_eq(write(in.far, sent, 60000), 60000);
	cr_assert_eq(bufpool_copy_all(&done, out.near, in.near, 60000), 0);
	cr_assert_eq(done, 60000);
	cr_assert_eq(read(out.far, received, MOST), 60006);
	cr_assert(!memcmp(received, "before", 6) && !memcmp(received + 6, sent, 60000));
	end_close(&in);
	end_close(&out);
}

Test(copy_files, O_APPEND_appends)
{
	for (enum kind from = FILE_END; from < TCP_END; from++)
		expect_appended(from);
}

/* The kernel's way is refused from here on (by O_APPEND): the rest is copied by hand, and nothing twice. */
Test(copy_files, a_way_that_is_refused_in_the_middle)
{
	struct end in = end_to_read(FILE_END, false), out = end_to_write(FILE_END, false);
	struct bufpool_copy c;
	int r;

	t_fill(sent, 50000, 10);
	t_fill(sent + 50000, 50000, 11);
	cr_assert_eq(write(in.far, sent, 50000), 50000);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, 100000), 0);
	cr_assert_eq(bufpool_copy_step(&c), 0);
	cr_assert_eq(fcntl(out.near, F_SETFL, O_APPEND), 0);
	cr_assert_eq(write(in.far, sent + 50000, 50000), 50000);
	while ((r = bufpool_copy_step(&c)) == 0)
		;
	cr_assert_eq(r, 1);
	cr_assert_eq(c.done, 100000);
	bufpool_copy_end(&c);
	cr_assert_eq(read(out.far, received, MOST), 100000);
	cr_assert_arr_eq(received, sent, 100000);
}

/* ---- what can't be ---- */

Test(copy_files, bad_descriptors)
{
	struct bufpool_copy c, untouched;
	int good = file_of(100), directory = open("/", O_RDONLY), read_only = again(good, O_RDONLY), closed = dup(good);
	uint64_t done = 7;

	memset(&c, 0x5a, sizeof(c));
	untouched = c;
	close(closed);
	cr_assert_eq(bufpool_copy_begin(&c, good, -1, 10), -EBADF);
	cr_assert_eq(bufpool_copy_begin(&c, -1, good, 10), -EBADF);
	cr_assert_eq(bufpool_copy_begin(&c, closed, good, 10), -EBADF);
	cr_assert(!memcmp(&c, &untouched, sizeof(c)));
	cr_assert_eq(bufpool_copy_all(&done, good, directory, 10), -EISDIR);
	cr_assert_eq(done, 0);
	read_only = open("/dev/null", O_RDONLY);
	cr_assert_eq(bufpool_copy_all(&done, read_only, good, 10), -EBADF);
	cr_assert_eq(done, 0);
	cr_assert_eq(lseek(good, 0, SEEK_CUR), 0, "what was read is given back");
	cr_assert_eq(bufpool_copy_all(NULL, file_new(), good, 10), 0);
}

Test(copy_files, sockets_of_messages_are_refused)
{
	static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };
	struct bufpool_copy c;
	int ends[2];

	for (size_t i = 0; i < T_COUNT(types); i++) {
		cr_assert_eq(socketpair(AF_UNIX, types[i], 0, ends), 0);
		cr_assert_eq(bufpool_copy_begin(&c, file_new(), ends[0], 10), -ESOCKTNOSUPPORT);
		cr_assert_eq(bufpool_copy_begin(&c, ends[0], file_new(), 10), -ESOCKTNOSUPPORT);
	}
}

Test(copy_files, ending_is_harmless)
{
	struct bufpool_copy c = { 0 };

	errno = 77;
	bufpool_copy_end(&c);
	bufpool_copy_end(&c);
	cr_assert_eq(errno, 77);
	cr_assert_eq(bufpool_copy_begin(&c, file_new(), file_of(10), 5), 0);
	bufpool_copy_end(&c);
	cr_assert_eq(errno, 77);
}

Test(copy_files, without_memory_nothing_is_lost)
{
	struct end in = end_to_read(UNIX_END, false), out = end_to_write(UNIX_END, false);
	struct rlimit before, none;
	struct bufpool_copy c;
	int r;

	t_fill(sent, 1000, 1);
	cr_assert_eq(write(in.far, sent, 1000), 1000);
	cr_assert_eq(bufpool_copy_begin(&c, out.near, in.near, 1000), 0);
	cr_assert_eq(getrlimit(RLIMIT_AS, &before), 0);
	none = before;
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_AS, &none), 0);
	r = bufpool_copy_step(&c);
	cr_assert_eq(setrlimit(RLIMIT_AS, &before), 0);
	cr_assert_eq(r, -ENOMEM);
	cr_assert_eq(c.done, 0);
	cr_assert_eq(step_to_the_end(&c, 1000), 1);
	bufpool_copy_end(&c);
	cr_assert_eq(read(out.far, received, MOST), 1000);
	cr_assert_arr_eq(received, sent, 1000);
}
