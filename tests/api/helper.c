/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program that the API tests start with a BUFPOOL_CONF or a limit of their own: options are read once, at the start.
 * One command per process (tool.h).
 */
#include "tool.h"

#include <bufpool/objects.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bufpool_stats stats(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	CHECK(!bufpool_stats_get(&s, NULL));
	return s;
}

static void option(const char *key)
{
	char value[256] = "";

	CHECK(!bufpool_option_get(value, sizeof(value), key));
	puts(value);
}

static void cap(const char *bytes)
{
	const size_t n = strtoul(bytes, NULL, 10);
	struct bufpool_stats before;
	char percpu[32] = "";

	bufpool_option_get(percpu, sizeof(percpu), "percpu");
	bufpool_release(bufpool_acquire(n));
	before = stats();
	if (before.passed_through && strcmp(percpu, "rseq"))
		return; /* blocks of n bytes pass through here: there is no pool to look at */
	CHECK(!before.passed_through);
	CHECK(!before.over_cap && !before.dropped_cap);
	CHECK(before.cached >= 1);
	bufpool_release(bufpool_acquire(n + 1));
	CHECK(stats().over_cap == 1 && stats().dropped_cap == 1);
	CHECK(stats().cached == before.cached);
}

/* The helper thread may be at work: see t_balanced. */
static bool all_is_back(void)
{
	for (int i = 0; i < 1000; i++) {
		const struct bufpool_stats s = stats();

		if (!s.in_use || s.passed_through)
			return true;
		t_sleep_ms(1);
	}
	return false;
}

static void use(const char *unused)
{
	static struct t_owner o = { .random = 17 };

	(void)unused;
	CHECK(!t_owner_run(&o, 5000));
	bufpool_advance_epoch(NULL);
	bufpool_tick();
	CHECK(!t_owner_run(&o, 5000));
	CHECK(all_is_back());
	CHECK(t_balanced());
}

static void release_twice(const char *unused)
{
	void *p = bufpool_acquire(100), *again = t_launder(p);

	(void)unused;
	bufpool_release(p);
	bufpool_release(again);
	printf("misuse %" PRIu64 "\n", stats().misuse);
}

/* Takes blocks of all sizes until there are none: then ENOMEM, and everything held is whole. */
static void exhaust(const char *bytes)
{
	const size_t n = strtoul(bytes, NULL, 10);
	void **first = NULL, **p;
	size_t count = 0;

	errno = 0;
	while (count < ((size_t)3 << 30) / n && (p = bufpool_acquire(n))) {
		*p = first;
		first = p;
		count++;
	}
	CHECK(count == ((size_t)3 << 30) / n || errno == ENOMEM);
	printf("%zu blocks\n", count);
	while ((p = first)) {
		first = *p;
		bufpool_release(p);
		count--;
	}
	CHECK(!count);
	CHECK(!stats().misuse);
	CHECK(t_balanced());
	if (n <= 65536 && (p = bufpool_acquire(n)))
		bufpool_release(p);
}

/* acquire_many where there is not enough: fewer, the rest NULL, ENOMEM. */
static void partial(const char *bytes)
{
	const size_t n = strtoul(bytes, NULL, 10);
	enum { COUNT = 20000 };
	static void *blocks[COUNT];
	size_t got;

	memset(blocks, 0x5a, sizeof(blocks));
	errno = 0;
	got = bufpool_acquire_many(blocks, COUNT, n);
	printf("%zu of %d\n", got, COUNT);
	CHECK(got < COUNT && errno == ENOMEM);
	for (size_t i = 0; i < COUNT; i++)
		CHECK((i < got) == (blocks[i] != NULL));
	bufpool_release_many(blocks, COUNT);
	CHECK(!stats().in_use);
	CHECK(t_balanced());
}

static char objects[100];
static unsigned constructed, destructed[100];

static void *construct(void *ctx)
{
	(void)ctx;
	return constructed < 100 ? &objects[constructed++] : NULL;
}

static void destruct(void *obj, void *ctx, int reason)
{
	(void)ctx, (void)reason;
	destructed[(char *)obj - objects]++;
}

/* In parent and child alike: 50 of 100 objects are cached, the others out. */
static void end_pool(struct bufpool_objects *o, void **out)
{
	for (int i = 0; i < 50; i++)
		CHECK((out[i] = bufpool_objects_acquire(o)) != NULL);
	CHECK(constructed == 100);
	for (int i = 0; i < 70; i++)
		bufpool_objects_release(o, out[i]);
	bufpool_objects_destroy(o);
	for (int i = 70; i < 100; i++)
		bufpool_objects_release(o, out[i]);
	for (int i = 0; i < 100; i++)
		CHECK(destructed[i] == 1);
	CHECK(!stats().in_use);
}

/* Criterion's processes have never had one thread only, as far as the C library knows. */
static void fork_objects(const char *unused)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct, NULL, destruct };
	struct bufpool_objects *o;
	void *out[100];
	int status = -1;
	pid_t pid;

	(void)unused;
	CHECK(bufpool_objects_create(&o, &ops, NULL) == 0);
	for (int i = 0; i < 100; i++)
		out[i] = bufpool_objects_acquire(o);
	for (int i = 0; i < 50; i++)
		bufpool_objects_release(o, out[i]);
	pid = fork();
	end_pool(o, out);
	if (pid == 0)
		exit(wrong ? 1 : 0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static struct bufpool_objects *new_pool(void)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct, NULL, destruct };
	struct bufpool_objects *o = NULL;

	CHECK(bufpool_objects_create(&o, &ops, NULL) == 0);
	return o;
}

static void print(void *ctx, const char *text)
{
	(void)ctx;
	fputs(text, stdout);
}

/* leaks:true. Prints the line where two objects are acquired that are not released, and the report. */
static void leak_objects(const char *unused)
{
	struct bufpool_objects *o = new_pool();
	void *out[4] = { NULL };

	(void)unused;
	for (int i = 0; i < 2; i++)
		out[i] = bufpool_objects_acquire(o);
	for (int i = 0; i < 2; i++)
		bufpool_objects_release(o, out[i]);
	printf("in 2 blocks: helper.c:%d;\n", __LINE__ + 2);
	for (int i = 0; i < 2; i++)
		out[i] = bufpool_objects_acquire(o);
	out[2] = bufpool_objects_acquire(o);
	CHECK(constructed == 3);
	bufpool_objects_release(o, out[2]);
	bufpool_leaks_print(print, NULL, "");
	bufpool_objects_release(o, out[0]);
	bufpool_objects_release(o, out[1]);
	puts("behind");
	bufpool_leaks_print(print, NULL, "");
	bufpool_objects_destroy(o);
	for (int i = 0; i < 3; i++)
		CHECK(destructed[i] == 1);
}

/* check:strict. */
static void drop_objects(const char *unused)
{
	struct bufpool_objects *o = new_pool();
	unsigned ended = 0;

	(void)unused;
	for (int i = 0; i < 200; i++)
		bufpool_objects_release(o, bufpool_objects_acquire(o));
	for (int i = 0; i < 100; i++)
		ended += destructed[i];
	printf("%u of 200 releases dropped\n", ended);
	CHECK(ended >= 20 && ended <= 90);
	bufpool_objects_destroy(o);
	for (int i = 0; i < 100; i++)
		CHECK(destructed[i] == (i < (int)constructed));
}

/* burst_tool.c */
void t_burst(const char *epoch_ms);
void t_burst_tick(const char *epoch_ms);

int main(int argc, char **argv)
{
	static const struct command commands[] = { { "option", option }, { "cap", cap }, { "use", use },
		{ "double", release_twice }, { "exhaust", exhaust }, { "partial", partial }, { "fork_objects", fork_objects },
		{ "leak_objects", leak_objects }, { "drop_objects", drop_objects }, { "burst", t_burst }, { "tick", t_burst_tick } };

	return run_command(argc, argv, commands, T_COUNT(commands));
}
