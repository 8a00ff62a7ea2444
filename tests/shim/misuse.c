/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the shim does with misuse: one line on standard error, with what happened, the address and the class, then
 * abort, as glibc does; with misuse:report the line, a count, and the program goes on.
 *
 * A hand-out that finds a block written to after its release is set aside silently (such programs run on other
 * allocators too) and aborts under check:on.
 */
#include "harness.h"

#include <bufpool/bufpool.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t sizes[] = {1, 8, 9, 16, 24, 64, 100, 1000, 4096, 10000, 16384, 40000, 65536};

/* What passes through is jemalloc's, which checks nothing; 65536 never does (t_pooled). */
static size_t next_pooled(size_t i)
{
	while (i < COUNT(sizes) && !t_pooled(sizes[i]))
		i++;
	return i;
}

/* The child tells through this page which block it misused. */
static struct { uintptr_t address; size_t usable; } *told;

static void tell(void *p, void *block)
{
	told->address = (uintptr_t)p;
	told->usable = malloc_usable_size(block);
}

static void prepare(void)
{
	told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* Exactly one line about the misuse, `what` in it (or_what where both are true), the address and class right. */
static bool says(const char *text, const char *what, const char *or_what)
{
	static const char prefix[] = "bufpool: misuse: ";
	const char *line = strstr(text, prefix), *rest, *end;
	uintptr_t address;
	size_t class_size;
	int used = 0;

	if (!line || (line != text && line[-1] != '\n'))
		return false;
	rest = line + sizeof(prefix) - 1;
	if (strncmp(rest, what, strlen(what)) && (!or_what || strncmp(rest, or_what, strlen(or_what))))
		return false;
	if (!(rest = strchr(rest, ':')))
		return false;
	if (sscanf(rest, ": 0x%" SCNxPTR " (class %zu)%n", &address, &class_size, &used) < 2 || rest[used] != '\n')
		return false;
	if (address != told->address || (class_size != told->usable && class_size != 0))
		t_note("address %#" PRIxPTR " for %#" PRIxPTR ", class %zu for %zu", address, told->address, class_size,
		       told->usable);
	end = strchr(rest, '\n');
	return address == told->address && class_size == told->usable && !strstr(end, prefix);
}

static bool aborts(void (*fn)(void *), size_t n, const char *what, const char *or_what)
{
	char text[4096];
	int status = t_child(text, sizeof(text), fn, &n);
	bool good = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && says(text, what, or_what);

	if (!good)
		t_note("%zu bytes, status %#x, says: %.200s", n, (unsigned)status, text);
	return good;
}

static void free_twice(void *n)
{
	void *p = malloc(*(size_t *)n);

	tell(p, p);
	free(p);
	free(p);
}

static void free_twice_with_others_between(void *n)
{
	void *p[20];

	for (size_t i = 0; i < COUNT(p); i++)
		p[i] = malloc(*(size_t *)n);
	tell(p[3], p[3]);
	for (size_t i = 0; i < COUNT(p); i++)
		free(p[i]);
	free(p[3]);
}

static void *free_it(void *p)
{
	free(p);
	return NULL;
}

static void free_twice_on_two_threads(void *n)
{
	void *p = malloc(*(size_t *)n);
	pthread_t thread;

	tell(p, p);
	free(p);
	pthread_create(&thread, NULL, free_it, p);
	pthread_join(thread, NULL);
}

static void realloc_freed(void *n)
{
	void *p = malloc(*(size_t *)n);

	tell(p, p);
	free(p);
	p = realloc(p, 100000);
}

static void free_after_trim(void *n)
{
	void *p = malloc(*(size_t *)n);

	tell(p, p);
	free(p);
	malloc_trim(0);
	free(p);
}

TEST(double_free_aborts, T_POOL)
{
	prepare();
	for (size_t i = next_pooled(0); i < COUNT(sizes); i = next_pooled(i + 1)) {
		CHECK(aborts(free_twice, sizes[i], "double release", NULL));
		CHECK(aborts(free_twice_with_others_between, sizes[i], "double release", NULL));
	}
	if (t_pooled(100))
		CHECK(aborts(free_twice_on_two_threads, 100, "double release", NULL));
	CHECK(aborts(free_twice_on_two_threads, 65536, "double release", NULL));
}

TEST(realloc_of_a_freed_block_aborts, T_POOL)
{
	prepare();
	for (size_t i = next_pooled(0); i < COUNT(sizes); i = next_pooled(i + 1))
		CHECK(aborts(realloc_freed, sizes[i], "double release", "invalid release"));
}

/* The block is jemalloc's again, its page perhaps no page of blocks any more. */
TEST(double_free_after_a_trim_aborts, T_POOL)
{
	char text[4096];

	prepare();
	for (size_t i = next_pooled(0); i < COUNT(sizes); i = next_pooled(i + 1)) {
		int status = t_child(text, sizeof(text), free_after_trim, (void *)&sizes[i]);
		bool good = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(text, "bufpool: misuse: ");

		if (!good)
			t_note("%zu bytes, status %#x, says: %.200s", sizes[i], (unsigned)status, text);
		CHECK(good);
	}
}

static void free_inside(void *n)
{
	char *p = malloc(*(size_t *)n), *q = p + malloc_usable_size(p) / 16 * 8;

	tell(q, p);
	free(q);
}

static void free_unaligned(void *n)
{
	char *p = malloc(*(size_t *)n);

	tell(p + 1, p);
	free(p + 1);
}

static void free_page_inside(void *n)
{
	char *p = malloc(*(size_t *)n);

	tell(p + 4096, p);
	free(p + 4096);
}

static void realloc_inside(void *n)
{
	char *p = malloc(*(size_t *)n);

	tell(p + 8, p);
	p = realloc(p + 8, 10);
}

TEST(free_of_what_is_no_block_aborts, T_POOL)
{
	prepare();
	for (size_t i = next_pooled(0); i < COUNT(sizes); i = next_pooled(i + 1)) {
		CHECK(aborts(free_unaligned, sizes[i], "invalid release", NULL));
		if (sizes[i] >= 16) {
			CHECK(aborts(free_inside, sizes[i], "invalid release", NULL));
			CHECK(aborts(realloc_inside, sizes[i], "invalid release", NULL));
		}
		if (sizes[i] > 8192)
			CHECK(aborts(free_page_inside, sizes[i], "invalid release", NULL));
	}
}

/* Blocks over the cap are never kept: which class a report names for them is not said, so only the fate is asked. */
static void over_cap_twice(void *n)
{
	void *p = malloc(*(size_t *)n);

	free(p);
	free(p);
}

TEST(double_and_inner_free_over_the_cap_abort, T_POOL)
{
	static const size_t large[] = {65537, 100000, 1 << 20, 6 << 20};
	static void (*const misuses[])(void *) = {over_cap_twice, free_page_inside, free_unaligned};
	char text[4096];

	prepare();
	for (size_t i = 0; i < COUNT(large); i++)
		for (size_t j = 0; j < COUNT(misuses); j++) {
			int status = t_child(text, sizeof(text), misuses[j], (void *)&large[i]);
			bool good = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
				    strstr(text, "bufpool: misuse: ");

			if (!good)
				t_note("%zu bytes, misuse %zu, status %#x, says: %.200s", large[i], j,
				       (unsigned)status, text);
			CHECK(good);
		}
}

/* ---- misuse:report ---- */

static uint64_t count(size_t offset)
{
	int (*get)(struct bufpool_stats *, struct bufpool *) = t_shim_symbol("bufpool_stats_get");
	struct bufpool_stats stats = {.size = sizeof(stats)};

	CHECK(get(&stats, NULL) == 0);
	return *(uint64_t *)((char *)&stats + offset);
}

#define STATISTIC(name) count(offsetof(struct bufpool_stats, name))

static void go_on_after_misuse(void *n)
{
	char *p = malloc(*(size_t *)n), *q;

	tell(p, p);
	free(p);
	free(p);
	CHECK(STATISTIC(misuse) == 1);
	for (int i = 0; i < 1000; i++) { /* the second free changed nothing: no block is handed out twice */
		p = malloc(*(size_t *)n);
		q = malloc(*(size_t *)n);
		CHECK(p && q && p != q);
		free(p);
		free(q);
	}
	CHECK(STATISTIC(misuse) == 1);
}

TEST(reported_misuse_goes_on, T_POOL, .conf = "misuse:report")
{
	char text[4096];

	prepare();
	for (size_t i = next_pooled(0); i < COUNT(sizes); i = next_pooled(i + 1)) {
		int status = t_child(text, sizeof(text), go_on_after_misuse, (void *)&sizes[i]);

		if (status || !says(text, "double release", NULL))
			t_note("%zu bytes, status %#x: %.200s", sizes[i], (unsigned)status, text);
		CHECK(status == 0 && says(text, "double release", NULL));
	}
}

/* ---- wrong sizes: counted and reported once, never fatal, since only the size is wrong ---- */

static void delete_with_wrong_size(void *arg)
{
	void (*sized_delete)(void *, size_t) = t_shim_symbol("_ZdlPvm");
	void *p = malloc(50000), *q = malloc(50000);

	(void)arg;
	tell(p, p);
	sized_delete(p, 60000);
	sized_delete(q, 8);
	CHECK(STATISTIC(misuse) == 2);
	p = malloc(50000);
	q = malloc(60000);
	CHECK(p && q && malloc_usable_size(p) < 60000 && malloc_usable_size(q) >= 60000);
	memset(q, 1, 60000);
	free(p);
	free(q);
	sized_delete(malloc(50000), 49999); /* the same class: right */
	CHECK(STATISTIC(misuse) == 2);
}

TEST(wrong_size_of_delete_is_reported_once, T_POOL)
{
	char text[4096];
	int status;

	prepare();
	status = t_child(text, sizeof(text), delete_with_wrong_size, NULL);
	CHECK(status == 0);
	CHECK(says(text, "wrong size", NULL));
	if (t_failures())
		t_note("status %#x, says: %.200s", (unsigned)status, text);
}

/* ---- writes after free ---- */

static void write_after_free(void *n)
{
	char *p, *q;
	size_t usable;

	t_stay();
	p = malloc(*(size_t *)n);
	usable = malloc_usable_size(p);
	tell(p, p);
	free(p);
	memset(p, 0x41, usable);
	for (int i = 0; i < 10; i++) {
		q = malloc(*(size_t *)n);
		CHECK(q && q != p);
		free(q);
	}
	CHECK(STATISTIC(set_aside) == 1);
}

TEST(write_after_free_sets_the_block_aside, T_POOL)
{
	char text[4096];

	prepare();
	for (size_t i = next_pooled(0); i < COUNT(sizes); i = next_pooled(i + 1)) {
		int status = t_child(text, sizeof(text), write_after_free, (void *)&sizes[i]);

		if (status)
			t_note("%zu bytes, status %#x: %.200s", sizes[i], (unsigned)status, text);
		CHECK(status == 0);
	}
}

TEST(write_after_free_aborts_under_check, T_POOL, .conf = "check:on")
{
	prepare();
	for (size_t i = next_pooled(0); i < COUNT(sizes); i = next_pooled(i + 1))
		CHECK(aborts(write_after_free, sizes[i], "write after release", NULL));
}
