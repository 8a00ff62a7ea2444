/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools: the life of an object (S6), what is watched, what fails. Objects with a buffer each: objects_printers.c.
 */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

TestSuite(objects, .timeout = 60, .init = t_hold_epochs);

static struct maker m;
static struct thing *things[1000];

/* ---- get, put, new ---- */

Test(objects, S6_construct_is_called_only_when_nothing_is_cached)
{
	struct thing *first, *second;

	o_need_pool();
	o_create(&m);
	first = o_acquire(&m);
	cr_assert_eq(m.made, 1);
	o_release(&m, first);
	cr_assert_eq(o_acquire(&m), first);
	cr_assert_eq(m.made, 1);
	second = o_acquire(&m);
	cr_assert_neq(second, first);
	cr_assert_eq(m.made, 2);
	o_release(&m, first);
	o_release(&m, second);
	o_acquire_all(&m, things, 2);
	cr_assert_eq(m.made, 2);
	o_release_all(&m, things, 2);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

Test(objects, S6_nor_when_another_cpu_has_one)
{
	if (t_cpu(1) < 0)
		cr_skip_test("this process may use one CPU only");
	o_need_pool();
	for (size_t count = 1; count <= T_COUNT(things); count *= 10) {
		o_create(&m);
		cr_assert_eq(t_pin(t_cpu(0)), 0);
		o_acquire_all(&m, things, count);
		o_release_all(&m, things, count);
		cr_assert_eq(m.made, count);
		cr_assert_eq(t_pin(t_cpu(1)), 0);
		o_acquire_all(&m, things, count);
		cr_assert_eq(m.made, count, "%u for %zu", m.made, count);
		o_release_all(&m, things, count);
		bufpool_objects_destroy(m.pool);
		cr_assert(o_all_ended_once(&m));
		memset(&m, 0, sizeof(m));
	}
}

/* One that holds another object of the same pool, a block, and one of another pool. */
static struct nested {
	struct nested *inner;
	struct thing *thing;
	char *block;
} *made_last;
static struct bufpool_objects *outer;
static int depth;

static void *construct_nested(void *ctx)
{
	struct nested *n = bufpool_acquire(sizeof(*n));

	(void)ctx;
	n->inner = ++depth < 5 ? bufpool_objects_acquire(outer) : NULL;
	n->thing = o_acquire(&m);
	n->block = bufpool_acquire(100);
	return made_last = n;
}

static void destruct_nested(void *obj, void *ctx, int reason)
{
	struct nested *n = obj;

	(void)ctx, (void)reason;
	if (n->inner != NULL)
		bufpool_objects_release(outer, n->inner);
	o_release(&m, n->thing);
	bufpool_release(n->block);
	bufpool_release(n);
	depth--;
}

Test(objects, S6_the_three_functions_may_use_every_pool)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct_nested, NULL, destruct_nested };
	const uint64_t before = t_stats().in_use;
	struct nested *n;

	o_create(&m);
	cr_assert_eq(bufpool_objects_create(&outer, &ops, NULL), 0);
	n = bufpool_objects_acquire(outer);
	cr_assert_eq(n, made_last);
	cr_assert_not_null(n->inner->inner->inner->inner);
	cr_assert_null(n->inner->inner->inner->inner->inner);
	cr_assert_eq(depth, 5);
	bufpool_objects_release(outer, n);
	bufpool_objects_destroy(outer); /* each releases the next one to the pool that is ending */
	cr_assert_eq(depth, 0);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
	cr_assert_eq(t_stats().in_use, before);
}

Test(objects, S6_releasing_nothing_is_a_no_op)
{
	o_create(&m);
	errno = 77;
	bufpool_objects_release(m.pool, NULL);
	bufpool_objects_destroy(NULL);
	cr_assert_eq(errno, 77);
	cr_assert_eq(m.resets + m.ended, 0);
	bufpool_objects_destroy(m.pool);
}

Test(objects, S6_without_new_there_is_nothing_and_errno_stays)
{
	struct thing *t;

	o_need_pool();
	o_create(&m);
	errno = 77;
	cr_assert_null(bufpool_objects_acquire_cached(m.pool));
	cr_assert_eq(errno, 77);
	t = o_acquire(&m);
	cr_assert_null(bufpool_objects_acquire_cached(m.pool));
	o_release(&m, t);
	cr_assert_eq(o_acquire_cached(&m), t);
	cr_assert_null(bufpool_objects_acquire_cached(m.pool));
	cr_assert_eq(errno, 77);
	cr_assert_eq(m.made, 1);
	o_release(&m, t);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

Test(objects, every_release_resets_once)
{
	struct thing *t;

	o_need_pool();
	o_create(&m);
	for (unsigned i = 0; i < 1000; i++) {
		t = o_acquire(&m);
		o_release(&m, t);
		cr_assert_eq(m.resets, i + 1);
	}
	cr_assert_eq(t->uses, 1000);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

Test(objects, reset_and_destruct_may_be_missing)
{
	struct bufpool_objects_ops ops = { sizeof(ops), NULL, NULL, NULL };
	void *obj;

	o_create_with(&m, NULL);
	o_release(&m, o_acquire(&m));
	o_release(&m, o_acquire(&m));
	bufpool_objects_destroy(m.pool);
	cr_assert_eq(m.resets, 0);
	cr_assert(o_all_ended_once(&m));

	ops.construct = construct_nested;
	depth = 5;
	cr_assert_eq(bufpool_objects_create(&outer, &ops, NULL), 0);
	o_create(&m);
	obj = bufpool_objects_acquire(outer);
	bufpool_objects_release(outer, obj);
	bufpool_objects_destroy(outer);
}

Test(objects, pools_do_not_mix)
{
	static struct maker other;
	struct thing *mine, *theirs;

	o_create(&m);
	o_create(&other);
	for (int i = 0; i < 100; i++) {
		mine = o_acquire(&m);
		theirs = o_acquire(&other);
		cr_assert(mine >= m.things && mine < m.things + O_MANY);
		cr_assert(theirs >= other.things && theirs < other.things + O_MANY);
		o_release(&other, theirs);
		o_release(&m, mine);
	}
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
	o_release(&other, o_acquire(&other));
	bufpool_objects_destroy(other.pool);
	cr_assert(o_all_ended_once(&other));
}

/* ---- what is watched ---- */

Test(objects, S23_the_leak_report_names_who_acquired_what_is_out)
{
	struct t_result r;
	char *expected, *report, *site, *behind;

	t_helper(&r, "leak_objects", NULL, "leaks:true,epoch_ms:60000");
	cr_assert(t_exited(&r, 0), "%s", r.text);
	expected = strtok(r.text, "\n");
	report = expected + strlen(expected) + 1;
	behind = strstr(report, "behind\n");
	cr_assert_not_null(behind);
	behind[-1] = '\0';
	site = strstr(report, strstr(expected, "helper.c:"));
	cr_assert_not_null(site, "no %s in\n%s", expected, report);
	while (site[-1] != '\n')
		site--;
	cr_assert_not_null(strstr(site, "in 2 blocks: "), "%s", site);
	cr_assert_null(strstr(behind, "helper.c:"), "what was released is in\n%s", behind);
}

Test(objects, S15_strict_drops_releases_at_random)
{
	struct t_result r;

	o_need_pool();
	t_helper(&r, "drop_objects", NULL, "check:strict,epoch_ms:60000");
	cr_assert(t_exited(&r, 0), "%s", r.text);
}

/* ---- what fails ---- */

Test(objects, what_create_does_not_know_it_refuses)
{
	struct { struct bufpool_objects_ops ops; uint64_t later[2]; } wide = { .ops = { .destruct = o_destruct } };
	struct bufpool_objects *const none = t_launder(&wide);
	struct bufpool_objects *o = none;

	wide.ops.size = sizeof(wide.ops);
	cr_assert_eq(bufpool_objects_create(&o, &wide.ops, NULL), -EINVAL, "without construct");
	wide.ops.construct = construct_nested;
	for (size_t size = 0; size < sizeof(wide.ops); size++) {
		wide.ops.size = size;
		cr_assert_eq(bufpool_objects_create(&o, &wide.ops, NULL), -EINVAL, "of %zu", size);
	}
	wide.ops.size = sizeof(wide);
	wide.later[1] = 1;
	cr_assert_eq(bufpool_objects_create(&o, &wide.ops, NULL), -EINVAL);
	cr_assert_eq(o, none);
	wide.later[1] = 0;
	cr_assert_eq(bufpool_objects_create(&o, &wide.ops, NULL), 0);
	bufpool_objects_destroy(o);
}

static int construct_errno;

static void *construct_nothing(void *ctx)
{
	(void)ctx;
	if (construct_errno != 0)
		errno = construct_errno;
	return NULL;
}

Test(objects, construct_may_fail_and_says_why)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct_nothing, NULL, o_destruct };

	cr_assert_eq(bufpool_objects_create(&m.pool, &ops, &m), 0);
	errno = 77;
	cr_assert_null(bufpool_objects_acquire(m.pool));
	cr_assert_eq(errno, ENOMEM);
	construct_errno = EMFILE;
	cr_assert_null(bufpool_objects_acquire(m.pool));
	cr_assert_eq(errno, EMFILE);
	bufpool_objects_destroy(m.pool);
	cr_assert_eq(m.ended, 0);
}

/* Where steals would have to wait. */
Test(objects, an_acquire_fails_only_where_nothing_is_cached_anywhere)
{
	if (t_cpu(1) < 0)
		cr_skip_test("this process may use one CPU only");
	o_need_pool();
	m.most = 300;
	o_create(&m);
	for (int round = 0; round < 20; round++) {
		cr_assert_eq(t_pin(t_cpu(round % 2)), 0);
		o_acquire_all(&m, things, 300);
		cr_assert_null(o_acquire(&m));
		o_release_all(&m, things, 300);
	}
	cr_assert_eq(m.made, 300);
	bufpool_objects_destroy(m.pool);
	cr_assert(o_all_ended_once(&m));
}

static void *construct_loudly(void *ctx)
{
	errno = EDOM;
	return calloc(1, ((struct maker *)ctx)->most);
}

static void destruct_loudly(void *obj, void *ctx, int reason)
{
	(void)ctx, (void)reason;
	errno = EDOM;
	free(obj);
}

Test(objects, errno_is_preserved)
{
	struct bufpool_objects_ops ops = { sizeof(ops), construct_loudly, NULL, destruct_loudly };
	void *some[500];

	m.most = 16;
	cr_assert_eq(bufpool_objects_create(&m.pool, &ops, &m), 0);
	errno = 77;
	for (size_t i = 0; i < T_COUNT(some); i++)
		some[i] = bufpool_objects_acquire(m.pool);
	for (size_t i = 0; i < T_COUNT(some) - 1; i++)
		bufpool_objects_release(m.pool, some[i]);
	cr_assert_eq(errno, 77);
	bufpool_objects_destroy(m.pool);
	cr_assert_eq(errno, 77);
	bufpool_objects_release(m.pool, some[T_COUNT(some) - 1]);
	cr_assert_eq(errno, 77);
}
