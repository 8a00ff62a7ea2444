/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the engine relies on when it asks the kernel: reserved space costs nothing until it is committed, errno survives,
 * files and lists are read as far as they go.
 */
#include "sys/os.h"
#include "sys/limits.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

static char *reserved;

static void touch(void)
{
	signal(SIGSEGV, SIG_DFL);
	*(volatile char *)reserved = 1;
}

static bool may_write(char *p)
{
	char err[1];
	reserved = p;
	return u_in_child(touch, err, sizeof(err)) == 0;
}

Test(os, reserved_space_is_aligned_costs_nothing_and_stays_out_of_core_files)
{
	for (size_t alignment = BP_PAGE; alignment <= (size_t)1 << 30; alignment <<= 3) {
		size_t bytes = (size_t)3 << 30;
		char *p = bp_os_reserve(bytes, alignment);
		cr_assert_not_null(p);
		cr_assert_eq((uintptr_t)p % alignment, 0, "%p for %zu", (void *)p, alignment);
		struct u_mapped m = u_mapped(p, bytes);
		cr_assert_eq(m.size, bytes);
		cr_assert_eq(m.resident, 0);
		cr_assert_eq(m.dumped, 0, "%zu bytes would be in a core file", m.dumped);
		bp_os_unmap(p, bytes);
		cr_assert_eq(u_mapped(p, bytes).size, 0, "what alignment cost is left behind, or the piece itself");
	}
}

Test(os, only_committed_pieces_may_be_used)
{
	char *p = bp_os_reserve(64 * BP_PAGE, BP_PAGE);
	cr_assert(bp_os_commit(p + 8 * BP_PAGE, 4 * BP_PAGE));
	cr_assert_not(may_write(p));
	cr_assert_not(may_write(p + 8 * BP_PAGE - 1));
	cr_assert(may_write(p + 8 * BP_PAGE));
	cr_assert(may_write(p + 12 * BP_PAGE - 1));
	cr_assert_not(may_write(p + 12 * BP_PAGE));
	memset(p + 8 * BP_PAGE, 1, 4 * BP_PAGE);
	struct u_mapped m = u_mapped(p, 64 * BP_PAGE);
	cr_assert_eq(m.dumped, 4 * BP_PAGE, "a core file has what is in use: %zu", m.dumped);
}

Test(os, committed_for_reading_is_zeroes_and_no_more)
{
	char *p = bp_os_reserve(4 * BP_PAGE, BP_PAGE);
	cr_assert(bp_os_commit_read(p, 4 * BP_PAGE));
	for (size_t i = 0; i < 4 * BP_PAGE; i++)
		cr_assert_eq(p[i], 0);
	cr_assert_not(may_write(p));
}

Test(os, purged_memory_goes_back_and_reads_as_zero)
{
	size_t bytes = 256 * BP_PAGE;
	char *p = bp_os_reserve(bytes, BP_PAGE);
	cr_assert(bp_os_commit(p, bytes));
	memset(p, 0xff, bytes);
	cr_assert_eq(u_mapped(p, bytes).resident, bytes);
	cr_assert(bp_os_purge(p, bytes));
	cr_assert_eq(u_mapped(p, bytes).resident, 0);
	for (size_t i = 0; i < bytes; i += 512)
		cr_assert_eq(p[i], 0);
}

Test(os, failures_are_told_and_leave_errno_alone)
{
	char text[16] = "kept";
	errno = 4711;
	cr_assert_null(bp_os_reserve((size_t)1 << 60, BP_PAGE));
	char *p = bp_os_reserve(BP_PAGE, BP_PAGE);
	bp_os_unmap(p, BP_PAGE);
	cr_assert_not(bp_os_commit(p, BP_PAGE));
	cr_assert_not(bp_os_commit_read(p, BP_PAGE));
	cr_assert_not(bp_os_purge(p, BP_PAGE));
	bp_os_huge(p, BP_PAGE, true);
	bp_os_unmap(p + 1, BP_PAGE);
	cr_assert_eq(bp_os_read_file(text, sizeof(text), "/nowhere/at all"), -1);
	cr_assert_str_eq(text, "kept");
	bp_os_write(-1, "x", 1);
	cr_assert_not(bp_os_restart_cpu(100000));
	bp_os_possible_cpus();
	bp_os_memory_limit();
	bp_os_cpu();
	cr_assert_eq(errno, 4711);
}

Test(os, files_are_read_as_far_as_there_is_room)
{
	char path[] = "/tmp/unit-os-XXXXXX", text[8];
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, "0123456789", 10), 10);
	close(fd);
	memset(text, '#', sizeof(text));
	cr_assert_eq(bp_os_read_file(text, 5, path), 4);
	cr_assert_str_eq(text, "0123");
	cr_assert_eq(text[5], '#');
	cr_assert_eq(bp_os_read_file(text, sizeof(text), path), 7);
	cr_assert_str_eq(text, "0123456");
	unlink(path);
}

static char fifo[64];

static void *read_the_fifo(void *text)
{
	bp_os_read_file(text, 16, fifo);
	return NULL;
}

/* Its flags while somebody reads; -1: nobody has it open. */
static int flags_of_the_reader(int except)
{
	char link[64], target[64];
	for (int fd = 3; fd < 100; fd++) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		if (fd != except && strcmp(target, fifo) == 0)
			return fcntl(fd, F_GETFD);
	}
	return -1;
}

Test(os, a_file_is_closed_again_and_no_child_gets_it_meanwhile)
{
	char text[16] = "";
	pthread_t reader;
	snprintf(fifo, sizeof(fifo), "/tmp/unit-os-%d", (int)getpid());
	cr_assert_eq(mkfifo(fifo, 0600), 0);
	cr_assert_eq(pthread_create(&reader, NULL, read_the_fifo, text), 0);
	int writer = open(fifo, O_WRONLY); /* waits for the reader */
	int flags = flags_of_the_reader(writer);
	/* The kernel lets the writer go on before the reader's open has given it a number. */
	for (uint64_t end = u_now_us() + 5000000; flags == -1 && u_now_us() < end; usleep(100))
		flags = flags_of_the_reader(writer);
	cr_assert_eq(write(writer, "content", 7), 7);
	close(writer);
	pthread_join(reader, NULL);
	int left = flags_of_the_reader(-1);
	unlink(fifo);
	cr_assert_str_eq(text, "content");
	cr_assert_eq(flags, FD_CLOEXEC);
	cr_assert_eq(left, -1, "it is still open");
}

Test(os, the_environment_is_searched_for_whole_names)
{
	setenv("UNIT_OS_LONGER", "longer", 1);
	setenv("UNIT_OS", "short=1", 1);
	cr_assert_str_eq(bp_os_environment("UNIT_OS"), "short=1");
	cr_assert_str_eq(bp_os_environment("UNIT_OS_LONGER"), "longer");
	cr_assert_null(bp_os_environment("UNIT_O"));
	unsetenv("UNIT_OS");
	cr_assert_null(bp_os_environment("UNIT_OS"));
	clearenv();
	cr_assert_null(bp_os_environment("UNIT_OS_LONGER"));
}

Test(os, time_goes_on_and_never_back)
{
	uint64_t start = bp_os_now_ms(), last = start, end = u_now_us() / 1000 + 300;
	cr_assert_leq(start, u_now_us() / 1000);
	for (bool over = false; !over;) { /* once more when it is: this thread may have been stopped */
		over = u_now_us() / 1000 >= end;
		uint64_t now = bp_os_now_ms();
		cr_assert_geq(now, last);
		last = now;
	}
	cr_assert_geq(last - start, 250);
	cr_assert_leq(last, u_now_us() / 1000);
	uint64_t us = u_now_us(), ns = bp_os_now_ns();
	cr_assert(ns / 1000 >= us && ns / 1000 <= u_now_us());
}

Test(os, every_cpu_that_this_process_may_use_is_possible)
{
	for (unsigned n = 0; u_cpu(n) >= 0; n++) {
		cr_assert_lt((unsigned)u_cpu(n), bp_os_possible_cpus());
		u_pin(u_cpu(n));
		cr_assert_eq(bp_os_cpu(), (unsigned)u_cpu(n));
	}
}

Test(os, memory_is_what_the_machine_or_the_group_has)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	cr_assert_leq(bp_os_memory_limit(), machine);
	cr_assert_geq(bp_os_memory_limit(), (uint64_t)8 << 20);
}

/* A file over another in this process's own view of the file system. */
static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(1);
	close(fd);
}

static char tree[64];

static char *in_tree(const char *name)
{
	static char path[256];
	snprintf(path, sizeof(path), "%s%s", tree, name);
	return path;
}

static uint64_t group_limit(void)
{
	char list[256];
	snprintf(list, sizeof(list), "%s", in_tree("/list"));
	return bp_os_group_limit(list, tree);
}

static void grow_tree(const char *list, const char *const *groups, size_t count)
{
	strcpy(tree, "/tmp/unit-os-XXXXXX");
	cr_assert_not_null(mkdtemp(tree));
	for (size_t i = 0; i < count; i++)
		cr_assert_eq(mkdir(in_tree(groups[i]), 0700), 0);
	put(in_tree("/list"), list);
}

static void fell_tree(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -r '%s'", tree);
	cr_assert_eq(system(command), 0);
}

Test(os, what_slows_a_group_down_limits_it_like_what_kills)
{
	static const char *const groups[] = { "/outer", "/outer/inner" };
	grow_tree("1:cpu:/elsewhere\n0::/outer/inner\n", groups, U_COUNT(groups));
	cr_assert_eq(group_limit(), UINT64_MAX);
	put(in_tree("/outer/inner/memory.max"), "67108864\n");
	put(in_tree("/outer/inner/memory.high"), "max\n");
	cr_assert_eq(group_limit(), 67108864);
	put(in_tree("/outer/inner/memory.high"), "41943040\n");
	cr_assert_eq(group_limit(), 41943040);
	put(in_tree("/outer/memory.high"), "33554432\n");
	cr_assert_eq(group_limit(), 33554432);
	put(in_tree("/outer/memory.max"), "16777216\n");
	cr_assert_eq(group_limit(), 16777216);
	put(in_tree("/memory.max"), "8388608\n");
	cr_assert_eq(group_limit(), 8388608, "a container sees its own group at the root");
	put(in_tree("/list"), "");
	cr_assert_eq(group_limit(), UINT64_MAX);
	unlink(in_tree("/list"));
	cr_assert_eq(group_limit(), UINT64_MAX);
	fell_tree();
}

/* Of the first generation, which lists a dozen groups with names of a container's length, memory's anywhere among them. */
Test(os, a_long_list_of_groups_is_read_to_its_end)
{
	static const char *const groups[] = { "/memory", "/memory/pod" };
	char list[4096] = "";
	for (int i = 12; i > 1; i--)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%d:other%d:/kubepods/%0200d\n", i, i, i);
	strcat(list, "1:memory:/pod/of\n0::/\n");
	grow_tree(list, groups, U_COUNT(groups));
	put(in_tree("/memory/pod/memory.limit_in_bytes"), "25165824\n");
	cr_assert_eq(group_limit(), 25165824);
	put(in_tree("/memory.high"), "20971520\n");
	cr_assert_eq(group_limit(), 20971520, "both generations at once");
	fell_tree();
}

static void read_limits_of_groups(void)
{
	char own[64];
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, NULL) != 0)
		_exit(77);
	snprintf(own, sizeof(own), "/proc/%d/cgroup", (int)getpid());
	put("/sys/fs/cgroup/own", "1:cpu:/elsewhere\n0::/outer/inner\n");
	if (mount("/sys/fs/cgroup/own", own, NULL, MS_BIND, NULL) != 0)
		_exit(77);
	if (mkdir("/sys/fs/cgroup/outer", 0700) != 0 || mkdir("/sys/fs/cgroup/outer/inner", 0700) != 0)
		_exit(1);
	put("/sys/fs/cgroup/outer/inner/memory.max", "max\n");
	put("/sys/fs/cgroup/outer/memory.max", "50331648\n");
	if (bp_os_memory_limit() != 50331648)
		_exit(2);
	put("/sys/fs/cgroup/outer/inner/memory.max", "16777216\n");
	if (bp_os_memory_limit() != 16777216)
		_exit(3);
	put("/sys/fs/cgroup/outer/inner/memory.max", "67108864\n");
	if (bp_os_memory_limit() != 50331648)
		_exit(4);
}

Test(os, of_the_groups_it_is_in_the_tightest_limit_counts)
{
	char err[256];
	int status = u_in_child(read_limits_of_groups, err, sizeof(err));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		cr_skip_test("only root can mount");
	cr_assert_eq(status, 0, "status %x", status);
}

Test(os, valgrind_is_known_by_what_it_preloads)
{
	unsetenv("LD_PRELOAD");
	cr_assert_not(bp_os_emulated());
	setenv("LD_PRELOAD", "/usr/lib/libsomething.so", 1);
	cr_assert_not(bp_os_emulated());
	setenv("LD_PRELOAD", "/usr/libexec/valgrind/vgpreload_core-amd64-linux.so:/usr/lib/libsomething.so", 1);
	cr_assert(bp_os_emulated());
}

/* A fork inherits AT_RANDOM: only another program would see another value, but it must not be a constant of ours. */
Test(os, the_seed_is_not_zero_and_nobody_s_twice)
{
	uint64_t here = bp_os_random();
	cr_assert_neq(here, 0);
	cr_assert_neq(here, bp_os_random());
}

static int pipe_ends[2];
static size_t drained;

static void *drain(void *unused)
{
	char buffer[4096];
	ssize_t n;
	(void)unused;
	while ((n = read(pipe_ends[0], buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			drained += buffer[i] == 'x';
		usleep(2000);
	}
	return NULL;
}

static void nothing(int signal)
{
	(void)signal;
}

/* A slow reader and a timer without SA_RESTART: short writes and EINTR. */
Test(os, writes_are_whole)
{
	static char text[300000];
	struct sigaction action = { .sa_handler = nothing };
	pthread_t reader;
	sigset_t alarm;
	cr_assert_eq(pipe(pipe_ends), 0);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarm, NULL);
	cr_assert_eq(pthread_create(&reader, NULL, drain, NULL), 0);
	pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
	sigaction(SIGALRM, &action, NULL);
	ualarm(500, 500);
	memset(text, 'x', sizeof(text));
	bp_os_write(pipe_ends[1], text, sizeof(text));
	ualarm(0, 0);
	close(pipe_ends[1]);
	pthread_join(reader, NULL);
	cr_assert_eq(drained, sizeof(text), "%zu of %zu bytes", drained, sizeof(text));
}

Test(os, rounding_up)
{
	cr_assert_eq(bp_round_up(0, 4096), 0);
	cr_assert_eq(bp_round_up(1, 4096), 4096);
	cr_assert_eq(bp_round_up(4096, 4096), 4096);
	cr_assert_eq(bp_round_up(4097, 64), 4160);
}
