/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A million object pools, each used on two CPUs (S16): what they cost, and that they leave neither memory nor addresses
 * behind. A few of them at a time, so that the two threads, one on each CPU, wait less for each other, and no more
 * than there is memory kept for.
 */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

TestSuite(objects_long, .timeout = 170, .init = t_hold_epochs);

enum { ROW = 4, WARM_UP = 1000, ROWS = 250000 };

static struct row {
	struct bufpool_objects *pools[ROW];
	void *held[ROW];
} row;
static _Atomic unsigned handed, back;
static _Atomic bool over;
static char object;

static void *construct(void *ctx)
{
	(void)ctx;
	return &object;
}

static void *release_on_the_other_cpu(void *result)
{
	for (unsigned n = 1; t_pin(t_cpu(1)) == 0; n++) {
		while (atomic_load(&handed) != n && !atomic_load(&over))
			sched_yield();
		if (atomic_load(&over))
			return NULL;
		for (unsigned i = 0; i < ROW; i++)
			bufpool_objects_release(row.pools[i], row.held[i]);
		atomic_store(&back, n);
	}
	return result;
}

static void use_a_row(unsigned n)
{
	static const struct bufpool_objects_ops ops = { sizeof(ops), construct, NULL, NULL };

	for (unsigned i = 0; i < ROW; i++) {
		cr_assert_eq(bufpool_objects_create(&row.pools[i], &ops, NULL), 0);
		row.held[i] = bufpool_objects_acquire(row.pools[i]);
		bufpool_objects_release(row.pools[i], bufpool_objects_acquire(row.pools[i]));
	}
	atomic_store(&handed, n);
	while (atomic_load(&back) != n)
		sched_yield();
	for (unsigned i = 0; i < ROW; i++)
		bufpool_objects_destroy(row.pools[i]);
}

static size_t address_space(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	size_t pages = 0;

	cr_assert(f && fscanf(f, "%zu", &pages) == 1);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

Test(objects_long, S16_a_million_used_on_two_cpus)
{
	const uint64_t before = t_stats().in_use;
	pthread_t other;
	size_t rss, space;
	double start, ns;

	if (t_cpu(1) < 0)
		cr_skip_test("this process may use one CPU only");
	o_need_pool();
	cr_assert_eq(t_pin(t_cpu(0)), 0);
	cr_assert_eq(pthread_create(&other, NULL, release_on_the_other_cpu, &object), 0);
	for (unsigned n = 1; n <= WARM_UP; n++)
		use_a_row(n);
	rss = t_rss();
	space = address_space();
	start = (double)t_ran_ns();
	for (unsigned n = WARM_UP + 1; n <= WARM_UP + ROWS; n++)
		use_a_row(n);
	ns = ((double)t_ran_ns() - start) / ROWS / ROW;
	cr_log_info("%.0f ns each of this thread's CPU", ns);
	cr_assert_lt(ns, 20000);
	cr_assert_leq(t_rss(), rss + (1u << 20), "%zu bytes of memory are left", t_rss() - rss);
	cr_assert_leq(address_space(), space + (1u << 20), "%zu bytes of addresses are left", address_space() - space);
	cr_assert_eq(t_stats().in_use, before);
	atomic_store(&over, true);
	pthread_join(other, NULL);
}
