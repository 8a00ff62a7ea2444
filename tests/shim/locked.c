/* SPDX-License-Identifier: BSD-2-Clause
 *
 * mlockall under RLIMIT_MEMLOCK, as a program's first call: reserved addresses count as locked, and what is mapped after
 * it may be refused. So whatever mlockall answers, memory is to be had afterwards, and where the limit is generous it must
 * not be the reserved addresses that have it refused.
 *
 * A program that may lock what it likes (CAP_IPC_LOCK) is not limited; here it gives that up before it executes itself.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bufpool/bufpool.h>

#define MIB ((size_t)1 << 20)

static bool again(void)
{
	return getenv("LOCKED") != NULL;
}

/* This program again, from its first instruction on under the limit. false: it can't be set, or doesn't hold. */
static bool runs_under(rlim_t limit, const char *test)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		setenv("LOCKED", "1", 1);
		prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0); /* for who has it: root */
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		if (setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){limit, limit}))
			_exit(77);
		execl("/proc/self/exe", "locked", test, (char *)NULL);
		_exit(98);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		return false;
	if (status)
		t_note("under %lu MiB: status %x", (unsigned long)(limit >> 20), (unsigned)status);
	CHECK(status == 0);
	return true;
}

/* Under the least of them, and under the others as far as there may be. */
static void passes_under(const rlim_t *mib, size_t count, const char *test)
{
	for (size_t i = 0; i < count; i++)
		if (!runs_under(mib[i] * MIB, test)) {
			if (i == 0)
				t_skip("the limit can't be set, or doesn't hold");
			t_note("not seen: %lu MiB and more", (unsigned long)mib[i]);
			return;
		}
}

/* It does where more than it can't be locked. The addresses alone: no memory is needed for that. */
static void need_limit(void)
{
	struct rlimit limit;
	void *p;

	NEED(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	p = mmap(NULL, limit.rlim_cur + MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	NEED(p != MAP_FAILED);
	if (!mlock(p, limit.rlim_cur + MIB) || errno != ENOMEM)
		_exit(77);
	munmap(p, limit.rlim_cur + MIB);
}

static size_t status_kib(const char *key)
{
	char text[4096] = "";
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	return strtoul(strstr(text, key) + strlen(key), NULL, 10);
}

/* Blocks of many sizes, all at once, each with what was put in. */
static void uses(size_t bytes)
{
	enum { MANY = 2000 };
	static const size_t sizes[] = {16, 700, 4096, 30000, 65536, 200000};
	static char *blocks[MANY];
	size_t n = 0;

	for (size_t had = 0; had < bytes && n < MANY; had += sizes[n++ % COUNT(sizes)]) {
		NEED(blocks[n] = malloc(sizes[n % COUNT(sizes)]));
		memset(blocks[n], (int)(n & 0xff), sizes[n % COUNT(sizes)]);
	}
	for (size_t i = 0; i < n; i++) {
		CHECK(t_is_filled(blocks[i], (int)(i & 0xff), sizes[i % COUNT(sizes)]));
		free(blocks[i]);
	}
}

static const rlim_t little[] = {1, 4, 8, 16, 32, 48}, enough[] = {64, 1024};

/* From too little for the program itself to what would do for a small pool. */
TEST(where_little_may_be_locked_there_is_memory_all_the_same, T_SHIM)
{
	int result;

	if (!again()) {
		passes_under(little, COUNT(little), __func__);
		return;
	}
	need_limit();
	result = mlockall(MCL_CURRENT | MCL_FUTURE);
	CHECK(result == 0 || (result == -1 && errno == ENOMEM && status_kib("VmLck:") == 0));
	uses(result == 0 ? 4 * MIB : 16 * MIB);
	t_adds_up();
	CHECK(!t_pooling() || t_pooled(65536));
}

TEST(a_refusal_changes_nothing, T_SHIM)
{
	size_t before;

	if (!again()) {
		passes_under(little, 3, __func__);
		return;
	}
	need_limit();
	uses(MIB);
	before = status_kib("VmSize:");
	errno = 0;
	CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == -1 && errno == ENOMEM);
	CHECK(status_kib("VmSize:") == before);
	CHECK(mlockall(1 << 20) == -1 && errno == EINVAL);
	CHECK(status_kib("VmSize:") == before && status_kib("VmLck:") == 0);
}

/* Enough for everything but the reserved addresses. */
TEST(where_enough_may_be_locked_it_is, T_SHIM)
{
	if (!again()) {
		passes_under(enough, COUNT(enough), __func__);
		return;
	}
	need_limit();
	NEED(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
	CHECK(status_kib("VmLck:") > 0);
	uses(16 * MIB);
	uses(16 * MIB);
	t_adds_up();
	CHECK(!t_pooling() || t_pooled(65536));
}
