/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A misuse that must abort: run in a child, its one line of standard error compared. The children hide from the
 * compiler where their pointers come from.
 */
#ifndef BUFPOOL_TESTS_API_CRIME_H
#define BUFPOOL_TESTS_API_CRIME_H

#include "support.h"

struct crime {
	size_t n;
	size_t offset;
	int how;
	uintptr_t address; /* written by the child: what it misused */
};

/* In memory that the child shares; skips the test where blocks of n bytes pass through. */
struct crime *crime(size_t n);
/* class_size 0: the line's class is not compared. */
void expect_abort(void (*run)(void *shared), struct crime *c, const char *what, size_t class_size);
/* Releases p in one of five ways: c->how. */
void release_as(struct crime *c, void *p);
enum { RELEASE_WAYS = 5 };

#endif
