/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Under RLIMIT_AS, RLIMIT_DATA and RLIMIT_MEMLOCK: a program starts, gets a decent part of what it may have, and then
 * NULL with ENOMEM rather than a signal.
 *
 * One thread only, but for the last test: with Debian's jemalloc 5.3.0 a new thread's first malloc may die of a
 * missing arena when the limit is reached; the pool can only promise not to add to that.
 */
#include "harness.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* This program again, from its first instruction on under the limit; SIZE tells it a number. */
static bool passes_under(int resource, rlim_t limit, const char *test, size_t size)
{
	char text[32];
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		snprintf(text, sizeof(text), "%zu", size);
		setenv("SIZE", text, 1);
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		if (setrlimit(resource, &(struct rlimit){limit, limit}))
			_exit(99);
		execl("/proc/self/exe", "limited", test, (char *)NULL);
		_exit(98);
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		t_note("%s, size %zu, under %lu MiB: signal %d", test, size, (unsigned long)limit >> 20,
		       WTERMSIG(status));
	else if (status)
		t_note("%s, size %zu, under %lu MiB: status %d", test, size, (unsigned long)limit >> 20,
		       WEXITSTATUS(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Takes blocks of n bytes, touched, until there are none or `most` bytes are out; gives them back; returns how many
 * bytes there were. Chained through the blocks: the test itself must not need memory. */
static size_t exhaust(size_t n, size_t most, bool *failed)
{
	void **chain = NULL, **p;
	size_t bytes = 0;

	*failed = false;
	while (bytes < most) {
		errno = 0;
		if (!(p = malloc(n))) {
			CHECK(errno == ENOMEM);
			*failed = true;
			break;
		}
		memset(p, 1, n);
		*p = chain;
		chain = p;
		bytes += n;
	}
	while (chain) {
		p = *chain;
		free(chain);
		chain = p;
	}
	return bytes;
}

static bool limited(int resource)
{
	struct rlimit limit;

	return getrlimit(resource, &limit) == 0 && limit.rlim_cur < (rlim_t)1 << 30;
}

static const size_t sizes[] = {16 << 20, 1 << 20, 100000, 65536, 40000, 4096, 512, 64};

/* Blocks of one size, until there are none; twice: what came back has to serve again, as far as
 * jemalloc can: bare, it gives a fifth to all of it. */
static void exhaust_one_size(size_t decent)
{
	size_t n = (size_t)atol(getenv("SIZE"));
	bool failed;
	size_t once = exhaust(n, (size_t)1 << 30, &failed), twice;

	CHECK(failed);
	twice = exhaust(n, (size_t)1 << 30, &failed);
	CHECK(failed);
	if (once < decent || twice < once / 8)
		t_note("blocks of %zu: %zu kB, then %zu kB", n, once >> 10, twice >> 10);
	CHECK(once >= decent);
	CHECK(twice >= once / 8);
}

/* Whatever was given back serves small blocks, wherever it lies. */
static void expect_small_blocks(void)
{
	for (size_t n = 16; n <= 16384; n = n * 3 / 2) {
		void *p = malloc(n);

		if (!p)
			t_note("no %zu bytes", n);
		CHECK(p);
		free(p);
	}
}

/* One size after another: how much is left for the next is jemalloc's affair, but it fails properly. */
static void exhaust_every_size(void)
{
	bool failed;

	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT(sizes); i++) {
			exhaust(sizes[i], (size_t)1 << 30, &failed);
			CHECK(failed);
			expect_small_blocks();
		}
}

static char *block_of_1000(void)
{
	char *p = malloc(1000);

	CHECK(p);
	return p ? memset(p, 7, 1000) : p;
}

/* The rest of the family at the limit. */
static void fail_everywhere(char *kept)
{
	static const size_t n = 256 << 20;
	void *p = NULL;

	NEED(kept);
	errno = 0;
	CHECK(!calloc(1, n) && errno == ENOMEM);
	errno = 0;
	CHECK(!realloc(kept, n) && errno == ENOMEM);
	CHECK(t_is_filled(kept, 7, 1000));
	errno = 0;
	CHECK(!aligned_alloc(4096, n) && errno == ENOMEM);
	errno = 0;
	CHECK(!memalign(64, n) && errno == ENOMEM);
	errno = 0;
	CHECK(!valloc(n) && errno == ENOMEM);
	errno = 0;
	CHECK(!pvalloc(n) && errno == ENOMEM);
	CHECK(posix_memalign(&p, 64, n) == ENOMEM && !p);
	free(kept);
}

TEST(limited_to_a_small_address_space)
{
	if (!limited(RLIMIT_AS)) {
		for (size_t i = 0; i < COUNT(sizes); i++)
			CHECK(passes_under(RLIMIT_AS, 64 << 20, __func__, sizes[i]));
		return;
	}
	exhaust_one_size(16 << 20);
	expect_small_blocks();
	fail_everywhere(block_of_1000());
}

TEST(limited_to_a_little_data)
{
	if (!limited(RLIMIT_DATA)) {
		for (size_t i = 0; i < COUNT(sizes); i++)
			CHECK(passes_under(RLIMIT_DATA, 48 << 20, __func__, sizes[i]));
		return;
	}
	exhaust_one_size(16 << 20);
	expect_small_blocks();
	fail_everywhere(block_of_1000());
}

TEST(limited_with_sizes_that_change)
{
	if (!limited(RLIMIT_AS)) {
		CHECK(passes_under(RLIMIT_AS, 64 << 20, __func__, 0));
		CHECK(passes_under(RLIMIT_AS, 200 << 20, __func__, 0));
		return;
	}
	exhaust_every_size();
	fail_everywhere(block_of_1000());
}

/* Programs start at all; what else they can do is theirs. */
TEST(starts_under_many_limits)
{
	if (limited(RLIMIT_AS)) {
		char *p = malloc(100), *q = malloc(100000);

		CHECK(p && q);
		free(p);
		free(q);
		return;
	}
	for (rlim_t limit = 32 << 20; limit <= 512 << 20; limit += limit / 2)
		CHECK(passes_under(RLIMIT_AS, limit, __func__, 0));
}

/* The limit comes down below what is mapped already. What was reserved may still be used; nothing may crash. */
TEST(limit_lowered_while_running)
{
	void *p = malloc(1000), *q;
	bool failed;

	NEED(p);
	NEED(setrlimit(RLIMIT_AS, &(struct rlimit){1 << 20, RLIM_INFINITY}) == 0);
	for (size_t n = 64 << 20; n > 16; n /= 4)
		exhaust(n, 128 << 20, &failed);
	NEED(setrlimit(RLIMIT_AS, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}) == 0);
	CHECK((q = malloc(32 << 20)));
	free(q);
	CHECK((q = realloc(p, 100000)));
	free(q);
}

/* Everything locked: tables that are as large as the range must not become resident. */
TEST(locked_in_memory, T_SHIM)
{
	size_t before = t_resident(), locked;
	void *p;

	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		t_skip("mlockall is not permitted");
	locked = t_resident();
	for (size_t n = 16; n < 200000; n *= 2) {
		NEED(p = malloc(n));
		memset(p, 1, n);
		free(p);
	}
	t_note("resident: %zu kB, locked: %zu kB, after use: %zu kB", before >> 10, locked >> 10, t_resident() >> 10);
	CHECK(t_resident() < before + (64 << 20));
}

static void *use_everything(void *arg)
{
	bool failed;

	for (size_t n = 100000; n > 16; n /= 4)
		exhaust(n, 4 << 20, &failed);
	return arg;
}

/* Threads under a limit that leaves room: the pool's own needs must not eat it. */
TEST(limited_threads_with_room)
{
	pthread_attr_t attributes;
	pthread_t thread[4];

	if (!limited(RLIMIT_AS)) {
		CHECK(passes_under(RLIMIT_AS, 384 << 20, __func__, 0));
		return;
	}
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 256 << 10);
	for (int round = 0; round < 10; round++) {
		for (size_t i = 0; i < COUNT(thread); i++)
			NEED(pthread_create(&thread[i], &attributes, use_everything, NULL) == 0);
		for (size_t i = 0; i < COUNT(thread); i++)
			pthread_join(thread[i], NULL);
	}
}
