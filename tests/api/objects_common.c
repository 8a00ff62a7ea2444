/* SPDX-License-Identifier: BSD-2-Clause */
#include "objects_common.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

static void *construct(void *ctx)
{
	struct maker *m = ctx;
	unsigned number = atomic_fetch_add(&m->made, 1);

	if (number < m->most)
		return &m->things[number];
	atomic_fetch_sub(&m->made, 1);
	return NULL;
}

bool o_reset(void *obj, void *ctx)
{
	struct maker *m = ctx;
	struct thing *t = obj;

	atomic_fetch_add(&m->resets, 1);
	t->uses++;
	return !t->refused;
}

void o_destruct(void *obj, void *ctx, int reason)
{
	struct maker *m = ctx;
	struct thing *t = obj;
	const int64_t end = m->end_ns > 0 ? t_now_ns() + m->end_ns : 0;

	while (end != 0 && t_now_ns() < end)
		;
	if (atomic_fetch_add(&t->ends, 1) != 0 || atomic_load(&t->hands) != 0)
		atomic_fetch_add(&m->wrong, 1);
	if (reason < 1 || reason >= O_REASONS)
		atomic_fetch_add(&m->wrong, 1);
	else
		atomic_fetch_add(&m->why[reason], 1);
	atomic_fetch_add(&m->ended, 1);
}

void o_create_with(struct maker *m, bool (*reset)(void *obj, void *ctx))
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct, reset, o_destruct };

	if (m->things == NULL)
		m->things = mmap(NULL, O_MANY * sizeof(*m->things), PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	cr_assert_neq(m->things, MAP_FAILED);
	if (m->most == 0)
		m->most = O_MANY;
	cr_assert_eq(bufpool_objects_create(&m->pool, &ops, m), 0);
}

void o_create(struct maker *m)
{
	o_create_with(m, o_reset);
}

static struct thing *taken(struct maker *m, struct thing *t)
{
	if (t != NULL && (atomic_exchange(&t->hands, 1) != 0 || atomic_load(&t->ends) != 0))
		atomic_fetch_add(&m->wrong, 1);
	return t;
}

struct thing *o_acquire(struct maker *m)
{
	return taken(m, bufpool_objects_acquire(m->pool));
}

struct thing *o_acquire_cached(struct maker *m)
{
	return taken(m, bufpool_objects_acquire_cached(m->pool));
}

void o_release(struct maker *m, struct thing *t)
{
	if (atomic_exchange(&t->hands, 0) != 1)
		atomic_fetch_add(&m->wrong, 1);
	bufpool_objects_release(m->pool, t);
}

void o_acquire_all(struct maker *m, struct thing **things, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		things[i] = o_acquire(m);
		cr_assert_not_null(things[i]);
	}
}

void o_release_all(struct maker *m, struct thing **things, size_t count)
{
	for (size_t i = 0; i < count; i++)
		o_release(m, things[i]);
}

bool o_all_ended_once(struct maker *m)
{
	unsigned made = m->made, once = 0, reasons = 0;

	for (unsigned i = 0; i < made; i++)
		once += m->things[i].ends == 1;
	for (unsigned i = 0; i < O_REASONS; i++)
		reasons += m->why[i];
	if (once == made && m->ended == made && reasons == made && m->wrong == 0)
		return true;
	fprintf(stderr, "%u made, %u ended, %u of them once, %u times wrong\n", made, m->ended, once, m->wrong);
	return false;
}

void o_need_pool(void)
{
	static struct maker m;
	char mode[32] = "", percpu[32] = "";
	struct thing *t;

	o_create(&m);
	t = o_acquire(&m);
	o_release(&m, t);
	t = o_acquire_cached(&m);
	if (t != NULL)
		o_release(&m, t);
	bufpool_objects_destroy(m.pool);
	if (t != NULL)
		return;
	bufpool_option_get(mode, sizeof(mode), "mode");
	bufpool_option_get(percpu, sizeof(percpu), "percpu");
	cr_assert_str_neq(percpu, "rseq", "nothing is cached although rseq is at work");
	cr_skip_test("nothing is cached here (mode %s, percpu %s)", mode, percpu);
}

bool o_tick_until_ended(struct maker *m, unsigned count)
{
	for (int i = 0; i < 10000 && m->ended < count; i++) {
		bufpool_tick();
		t_sleep_ms(1);
	}
	return m->ended >= count;
}
