/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools whose objects are printers with a buffer of the pool's each: what grew too large is not kept (S12), requests
 * make no call into jemalloc (S13). A part of the program of objects.c.
 */
#include "objects_common.h"

#include <bufpool/buf.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct printer {
	struct bufpool_buf text;
	unsigned uses;
};

static unsigned printers, refused;

static void *construct_printer(void *ctx)
{
	struct printer *p = bufpool_acquire_zeroed(sizeof(*p));

	(void)ctx;
	printers++;
	return p;
}

/* The text's version: the whole object goes. */
static bool refuse_large(void *obj, void *ctx)
{
	struct printer *p = obj;

	(void)ctx;
	bufpool_buf_reset(&p->text);
	p->uses++;
	return p->text.cap <= T_CAP;
}

/* Today's Go: it stays, without its buffer. */
static bool drop_buffer(void *obj, void *ctx)
{
	struct printer *p = obj;

	(void)ctx;
	bufpool_buf_reset(&p->text);
	if (p->text.cap > T_CAP)
		bufpool_buf_release(&p->text);
	p->uses++;
	return true;
}

static void destruct_printer(void *obj, void *ctx, int reason)
{
	struct printer *p = obj;

	(void)ctx;
	refused += reason == BUFPOOL_OBJECTS_REFUSED;
	bufpool_buf_release(&p->text);
	bufpool_release(p);
}

/* An object whose buffer has grown to `size`, as it is the next time. */
static struct printer *print(struct bufpool_objects *o, size_t size)
{
	struct printer *p = bufpool_objects_acquire(o);

	cr_assert_eq(bufpool_buf_reserve(&p->text, size), 0);
	cr_assert_eq(p->text.cap > T_CAP, size > T_CAP);
	bufpool_objects_release(o, p);
	return bufpool_objects_acquire(o);
}

/* At the cap it is kept as it is. Over it, `made` printers are needed from then on and `gone` of them were refused; the one
 * at hand was used so often, and has no buffer. */
static void grow_to_the_cap_and_over_it(bool (*reset)(void *obj, void *ctx), unsigned made, unsigned gone, unsigned uses)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct_printer, reset, destruct_printer };
	const uint64_t before = t_stats().in_use;
	struct bufpool_objects *o;
	struct printer *p;

	o_need_pool();
	cr_assert_eq(bufpool_objects_create(&o, &ops, NULL), 0);
	p = print(o, T_CAP);
	cr_assert_eq(printers, 1);
	cr_assert_eq(p->uses, 1);
	cr_assert_eq(p->text.cap, T_CAP);
	bufpool_objects_release(o, p);
	p = print(o, T_CAP + 1);
	cr_assert_eq(printers, made);
	cr_assert_eq(refused, gone);
	cr_assert_eq(p->uses, uses);
	cr_assert_eq(p->text.cap, 0);
	bufpool_objects_release(o, p);
	bufpool_objects_destroy(o);
	cr_assert_eq(t_stats().in_use, before);
}

Test(objects, S12_an_object_that_grew_too_large_is_not_kept)
{
	grow_to_the_cap_and_over_it(refuse_large, 2, 1, 0);
}

Test(objects, S12_or_is_kept_without_its_buffer)
{
	grow_to_the_cap_and_over_it(drop_buffer, 1, 0, 3);
}

/* ---- requests ---- */

static bool reset_request(void *obj, void *ctx)
{
	struct printer *p = obj;

	(void)ctx;
	bufpool_buf_reset(&p->text);
	p->uses++;
	return true;
}

static void serve(struct bufpool_objects *o, unsigned number)
{
	struct printer *p = bufpool_objects_acquire(o);
	char expected[64];

	snprintf(expected, sizeof(expected), "request %u: %u bytes", number, number % 3000);
	if (bufpool_buf_printf(&p->text, "request %u: ", number) < 0 ||
	    bufpool_buf_printf(&p->text, "%u bytes", number % 3000) < 0 ||
	    memcmp(p->text.data, expected, strlen(expected)) != 0 || p->text.len != strlen(expected))
		refused++;
	if (bufpool_buf_extend(&p->text, number % 3000) == NULL)
		refused++;
	bufpool_objects_release(o, p);
}

Test(objects, S13_requests_make_no_call_into_jemalloc)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct_printer, reset_request, destruct_printer };
	struct bufpool_objects *o;
	struct bufpool_stats before, after;

	o_need_pool();
	t_need_pool(4096);
	cr_assert_eq(bufpool_objects_create(&o, &ops, NULL), 0);
	for (unsigned i = 0; i < 5000; i++)
		serve(o, i);
	before = t_stats();
	for (unsigned i = 0; i < 1000000; i++)
		serve(o, i);
	after = t_stats();
	cr_assert_eq(refused, 0);
	cr_assert_eq(printers, 1);
	cr_assert_eq(after.from_backend, before.from_backend);
	cr_assert_eq(after.over_cap, before.over_cap);
	cr_assert_eq(after.passed_through, before.passed_through);
	bufpool_objects_destroy(o);
}
