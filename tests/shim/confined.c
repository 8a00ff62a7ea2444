/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The memory limit of a program that changes its root before it has allocated much, as daemons do: what it was limited
 * to before still holds. The limit is a file in a file system of this process's own; where it may have none, nothing is
 * tested.
 */
#include "harness.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bufpool/bufpool.h>

static uint64_t budget(void)
{
	struct bufpool_stats s = {.size = sizeof(s)};
	int (*get)(struct bufpool_stats *, struct bufpool *) = t_shim_symbol("bufpool_stats_get");

	CHECK(get(&s, NULL) == 0);
	return s.budget_bytes;
}

/* Kept in use, so that the budget is no less for want of use. */
static void use(size_t bytes)
{
	static char *last;

	for (size_t had = 0; had < bytes; had += 65536) {
		char *p = malloc(65536);

		NEED(p);
		*(char **)p = last;
		last = p;
	}
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return done;
}

/* Mounts of its own: root's, or those of the only user in a namespace. */
static bool unshared(void)
{
	char user[32], group[32];

	if (!unshare(CLONE_NEWNS))
		return true;
	snprintf(user, sizeof(user), "0 %u 1", (unsigned)geteuid());
	snprintf(group, sizeof(group), "0 %u 1", (unsigned)getegid());
	return !unshare(CLONE_NEWUSER | CLONE_NEWNS) && put("/proc/self/uid_map", user) &&
	       put("/proc/self/setgroups", "deny") && put("/proc/self/gid_map", group);
}

static void limit_to(const char *bytes)
{
	if (!unshared() || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tmpfs", "/sys/fs/cgroup", "tmpfs", 0, NULL))
		t_skip("no file system of its own");
	NEED(put("/sys/fs/cgroup/memory.max", bytes));
	NEED(mkdir("/sys/fs/cgroup/root", 0700) == 0);
}

TEST(a_limit_holds_after_a_change_of_root, T_POOL)
{
	limit_to("25165824\n");
	NEED(chroot("/sys/fs/cgroup/root") == 0);
	CHECK(access("/proc", F_OK) != 0);
	use(16 << 20);
	CHECK(budget() == 25165824 / 8);
}

/* Else the test above would say nothing. */
TEST(there_is_more_without_one, T_POOL)
{
	limit_to("max\n");
	NEED(chroot("/sys/fs/cgroup/root") == 0);
	use(16 << 20);
	CHECK(budget() > 25165824 / 8);
}

TEST(what_the_kernel_says_of_a_change_of_root_is_passed_on)
{
	CHECK(chroot("/nowhere/at all") == -1);
	CHECK(chroot("/dev/null") == -1);
}
