/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program that lowers its own RLIMIT_AS, in each way in which that can be asked for: threads, libraries, file mappings
 * and blocks are to be had afterwards as they are without the shim (what is asked for here passes on bare jemalloc and
 * on glibc), what was there before is as it was, and the numbers add up. What must not happen, too: a limit that is
 * somebody else's, or that is only asked for, takes nothing away.
 */
#include "harness.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bufpool/bufpool.h>

#define MIB ((size_t)1 << 20)

enum { KEPT = 3000 };

static char *kept[KEPT];

static size_t size_of(size_t i)
{
	return i * 37 % 9000 + 1 + (i % 50 == 0 ? 70000 : 0);
}

/* Two thirds stay; what the rest leaves is cached. */
static bool fill(void)
{
	for (size_t i = 0; i < KEPT; i++) {
		if (!(kept[i] = malloc(size_of(i))))
			return false;
		memset(kept[i], (int)i, size_of(i));
	}
	for (size_t i = 0; i < KEPT; i += 3) {
		free(kept[i]);
		kept[i] = NULL;
	}
	return true;
}

static bool is_as_it_was(void)
{
	for (size_t i = 0; i < KEPT; i++)
		if (kept[i] && !t_is_filled(kept[i], (int)(i & 0xff), size_of(i)))
			return false;
	return true;
}

static size_t address_space(void)
{
	char text[64] = "";
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	return strtoul(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- what a program needs ---- */

static void *works(void *arg)
{
	for (size_t round = 0; round < 20; round++) {
		static __thread char *p[200];

		for (size_t i = 0; i < COUNT(p); i++)
			if ((p[i] = malloc(i * 97 + 1)))
				memset(p[i], (int)i, i * 97 + 1);
		for (size_t i = 0; i < COUNT(p); i++) {
			if (!p[i] || !t_is_filled(p[i], (int)i, i * 97 + 1))
				return NULL;
			free(p[i]);
		}
	}
	return arg;
}

static void threads_work(void)
{
	pthread_attr_t attributes;
	pthread_t thread[8];

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 1 << 20);
	for (size_t i = 0; i < COUNT(thread); i++)
		NEED(pthread_create(&thread[i], &attributes, works, &kept[i]) == 0);
	for (size_t i = 0; i < COUNT(thread); i++) {
		void *result = NULL;

		CHECK(pthread_join(thread[i], &result) == 0 && result == &kept[i]);
	}
}

static void libraries_open(void)
{
	const char *plugin = getenv("SHIM_PLUGIN");
	void *library = dlopen(plugin ? plugin : "libm.so.6", RTLD_NOW);

	CHECK(library);
	if (library)
		dlclose(library);
}

static void files_map(size_t bytes)
{
	int fd = memfd_create("mapped", MFD_CLOEXEC);
	char *map;

	NEED(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED);
	if (map != MAP_FAILED) {
		map[bytes - 1] = 1;
		munmap(map, bytes);
	}
	close(fd);
}

/* Chained through the blocks; how many bytes there were. */
static size_t allocates(size_t n, size_t most)
{
	void **chain = NULL, **p;
	size_t bytes = 0;

	while (bytes < most && (p = malloc(n))) {
		memset(p, 3, n);
		*p = chain;
		chain = p;
		bytes += n;
	}
	while (chain) {
		p = *chain;
		CHECK(t_is_filled(chain + 1, 3, n - sizeof(*chain)));
		free(chain);
		chain = p;
	}
	return bytes;
}

static void all_of_it_works(size_t limit)
{
	/* In the portable mode small blocks have the half only that the pool leaves, and jemalloc's fragments. */
	size_t share = t_pooling() && !t_pooled(64) ? limit / 16 : limit / 8;

	share = share < 64 * MIB ? share : 64 * MIB;

	CHECK(is_as_it_was());
	threads_work();
	libraries_open();
	files_map(share);
	for (size_t n = 64; n < 200000; n = n * 5 + 100)
		CHECK(allocates(n, share) >= share);
	CHECK(is_as_it_was());
	for (size_t i = 0; i < KEPT; i++)
		free(kept[i]);
	t_adds_up();
}

/* ---- the ways ---- */

static int by_setrlimit(rlim_t bytes)
{
	return setrlimit(RLIMIT_AS, &(struct rlimit){bytes, RLIM_INFINITY});
}

static int by_setrlimit64(rlim_t bytes)
{
	return setrlimit64(RLIMIT_AS, &(struct rlimit64){bytes, RLIM64_INFINITY});
}

static int by_prlimit(rlim_t bytes)
{
	return prlimit(0, RLIMIT_AS, &(struct rlimit){bytes, RLIM_INFINITY}, NULL);
}

static int by_prlimit64(rlim_t bytes)
{
	struct rlimit64 old = {1, 1};
	int result = prlimit64(getpid(), RLIMIT_AS, &(struct rlimit64){bytes, RLIM64_INFINITY}, &old);

	CHECK(old.rlim_cur == RLIM64_INFINITY && old.rlim_max == RLIM64_INFINITY);
	return result;
}

static void *by_id_of_thread(void *bytes)
{
	struct rlimit limit = {*(rlim_t *)bytes, RLIM_INFINITY};

	return prlimit((pid_t)syscall(SYS_gettid), RLIMIT_AS, &limit, NULL) == 0 ? bytes : NULL;
}

static int by_a_threads_id(rlim_t bytes)
{
	pthread_t thread;
	void *result = NULL;

	if (pthread_create(&thread, NULL, by_id_of_thread, &bytes))
		return -1;
	pthread_join(thread, &result);
	return result ? 0 : -1;
}

static void lower_to(size_t limit, int (*way)(rlim_t bytes))
{
	struct rlimit now;

	NEED(fill());
	errno = 4711;
	NEED(way(limit) == 0);
	CHECK(errno == 4711);
	CHECK(getrlimit(RLIMIT_AS, &now) == 0 && now.rlim_cur == limit && now.rlim_max == RLIM_INFINITY);
	CHECK(address_space() < limit * 3 / 4);
	all_of_it_works(limit);
}

TEST(to_256_MiB_by_setrlimit)
{
	lower_to(256 * MIB, by_setrlimit);
}

TEST(to_2_GiB_by_setrlimit)
{
	lower_to(2048 * MIB, by_setrlimit);
}

TEST(to_256_MiB_by_setrlimit64)
{
	lower_to(256 * MIB, by_setrlimit64);
}

TEST(to_256_MiB_by_prlimit)
{
	lower_to(256 * MIB, by_prlimit);
}

TEST(to_2_GiB_by_prlimit64)
{
	lower_to(2048 * MIB, by_prlimit64);
}

TEST(to_1_GiB_by_a_threads_id)
{
	lower_to(1024 * MIB, by_a_threads_id);
}

/* Step by step, below what is used in the end: that stays, and there is nothing more. Up again: everything is. */
TEST(down_and_up_again)
{
	char *p[64];

	NEED(fill());
	for (size_t i = 0; i < COUNT(p); i++) {
		NEED(p[i] = malloc(MIB));
		memset(p[i], (int)i, MIB);
	}
	for (size_t limit = 4096 * MIB; limit >= MIB; limit /= 2)
		NEED(by_setrlimit(limit) == 0);
	CHECK(is_as_it_was());
	CHECK(!malloc(512 * MIB) && errno == ENOMEM);
	NEED(by_setrlimit(RLIM_INFINITY) == 0);
	for (size_t i = 0; i < COUNT(p); i++) {
		CHECK(t_is_filled(p[i], (int)i, MIB));
		free(p[i]);
	}
	all_of_it_works(1024 * MIB);
}

/* ---- beside threads ---- */

static _Atomic bool stop;

static void *grows(void *arg)
{
	void **chain = NULL, **p;
	uintptr_t n = 0;
	bool good = true;

	/* Sizes of every kind; the blocks stay, so that the range must grow all the time. */
	while (!stop && n < 20000) {
		size_t size = 64 + n * 131 % 20000;

		if (!(p = malloc(size)))
			break;
		memset(p, (int)n, size);
		*p = chain;
		p[1] = (void *)n++;
		chain = p;
	}
	while (chain) {
		p = *chain;
		n = (uintptr_t)chain[1];
		good = good && t_is_filled(chain + 2, (int)(n & 0xff), 64 + n * 131 % 20000 - 2 * sizeof(void *));
		free(chain);
		chain = p;
	}
	return good ? arg : NULL;
}

TEST(while_threads_grow, .timeout = 120)
{
	pthread_t thread[4];
	size_t limit = 8192 * MIB;

	for (size_t i = 0; i < COUNT(thread); i++)
		NEED(pthread_create(&thread[i], NULL, grows, &kept[i]) == 0);
	for (; limit > 2048 * MIB; limit -= 128 * MIB) {
		CHECK(by_setrlimit(limit) == 0);
		usleep(2000);
	}
	stop = true;
	for (size_t i = 0; i < COUNT(thread); i++) {
		void *result = NULL;

		CHECK(pthread_join(thread[i], &result) == 0 && result == &kept[i]);
	}
	t_adds_up();
	NEED(fill());
	all_of_it_works(1024 * MIB);
}

/* ---- nobody's business ---- */

TEST(what_takes_nothing_away)
{
	size_t before;
	struct rlimit limit, files;
	struct rlimit64 same;
	int pipes[2], status;
	char c;

	NEED(fill() && pipe2(pipes, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(pipes[1]);
		(void)!read(pipes[0], &c, 1);
		_exit(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur == 64 * MIB ? 0 : 1);
	}
	before = address_space();
	/* Another process's, which indeed has it then. */
	CHECK(prlimit(pid, RLIMIT_AS, &(struct rlimit){64 * MIB, 64 * MIB}, NULL) == 0);
	/* Read only, other resources, errors. */
	CHECK(prlimit(0, RLIMIT_AS, NULL, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY);
	CHECK(prlimit64(getpid(), RLIMIT_AS, NULL, &same) == 0 && same.rlim_cur == RLIM64_INFINITY);
	CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
	files.rlim_cur = 99;
	CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
	CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur == 99);
	CHECK(setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) == 0);
	errno = 0;
	CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){2 * MIB, MIB}) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(setrlimit((__rlimit_resource_t)99, &(struct rlimit){MIB, MIB}) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(prlimit(-1, RLIMIT_AS, &(struct rlimit){MIB, MIB}, NULL) == -1 && errno == ESRCH);
	CHECK(setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}) == 0);
	CHECK(address_space() == before);
	close(pipes[1]);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(is_as_it_was());
}

/* The child's limit, the parent's memory. */
static __attribute__((noinline)) pid_t vforked(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit(by_setrlimit(256 * MIB) == 0 ? 0 : 1);
	return pid;
}

TEST(a_vfork_child_leaves_its_parents_memory)
{
	int status = -1;

	NEED(fill());
	size_t before = address_space();
	CHECK(waitpid(vforked(), &status, 0) > 0 && status == 0);
	CHECK(address_space() == before);
	CHECK(is_as_it_was());
}

/* As a program does that starts another one under a limit of its own: before exec, or as a worker of its own. */
TEST(a_fork_child_has_its_own, .timeout = 60)
{
	int status = -1;

	NEED(fill());
	size_t before = address_space();
	pid_t pid = fork();
	if (pid == 0) {
		lower_to(256 * MIB, by_setrlimit);
		_exit(t_failures() ? 1 : 0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(address_space() == before);
	CHECK(is_as_it_was());
}
