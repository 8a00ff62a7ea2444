/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Children that misuse the pool, and what their death must look like.
 */
#include "crime.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct crime *crime(size_t n)
{
	struct crime *c = t_shared(sizeof(*c));

	cr_assert_not_null(c);
	t_need_pool(n > T_CAP ? T_CAP : n);
	c->n = n;
	return c;
}

void expect_abort(void (*run)(void *shared), struct crime *c, const char *what, size_t class_size)
{
	char line[160];
	struct t_result r;

	t_child(&r, run, c);
	cr_assert(t_aborted(&r), "%s of %zu bytes: status %x, \"%s\"", what, c->n, r.status, r.text);
	if (class_size)
		snprintf(line, sizeof(line), "bufpool: misuse: %s: 0x%zx (class %zu)\n", what, (size_t)c->address,
			 class_size);
	else
		snprintf(line, sizeof(line), "bufpool: misuse: %s: 0x%zx", what, (size_t)c->address);
	cr_assert_not_null(strstr(r.text, line), "%s of %zu bytes: \"%s\", not \"%s\"", what, c->n, r.text, line);
	cr_assert_eq(strchr(r.text, '\n'), r.text + strlen(r.text) - 1, "more than one line: \"%s\"", r.text);
}

void release_as(struct crime *c, void *p)
{
	switch (c->how) {
	case 1:
		bufpool_release_sized(p, c->n);
		break;
	case 2:
		bufpool_release_wiped(p, 0);
		break;
	case 3:
		bufpool_release_many(&p, 1);
		break;
	case 4:
		bufpool_release_aligned_sized(p, 8, c->n);
		break;
	default:
		bufpool_release(p);
	}
}
