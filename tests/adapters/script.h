/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What every interpreter's adapter must show, whichever it is: the file of a library brings a function that runs a script
 * (data/script.*), and what only its language has.
 */
#ifndef BUFPOOL_TESTS_ADAPTERS_SCRIPT_H
#define BUFPOOL_TESTS_ADAPTERS_SCRIPT_H

#include "support.h"

struct t_script;
/* One run from creating the interpreter to destroying it. What the script gives, from malloc; NULL where the library says
 * that it has no memory. */
typedef char *t_script_run(const struct t_script *script);

struct t_script {
	t_script_run *run;
	char *text;
	size_t size;
	int rounds;           /* what the script is called with */
	bool hooked;          /* the adapter is to be used, with `pool` */
	struct bufpool *pool;
	char *expected;       /* what it gives without */
};

/* Reads the script and runs it on malloc; what follows is hooked. */
void t_script_begin(struct t_script *script, t_script_run *run, const char *path, int rounds);
void t_script_end(struct t_script *script);
/* For t_sweep: a run, whose result is compared. */
enum t_outcome t_script_work(void *script);

/* With hooks comes out what comes out without them; asks: requests that it makes at least. */
void t_script_same(t_script_run *run, const char *path, int rounds, size_t asks);
/* The blocks are those of the pool that the adapter was given. */
void t_script_own_pool(t_script_run *run, const char *path);

#endif
