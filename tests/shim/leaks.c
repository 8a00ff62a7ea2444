/* SPDX-License-Identifier: BSD-2-Clause
 *
 * leaks:true and check:strict under the shim: callers by the stack, what libraries acquire on the program's behalf,
 * what passes through.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

static char text[1 << 18];

static void append(void *ctx, const char *more)
{
	(void)ctx;
	strncat(text, more, sizeof(text) - strlen(text) - 1);
}

static const char *report(void)
{
	void (*print)(void (*write)(void *, const char *), void *, const char *) = t_shim_symbol("bufpool_leaks_print");

	text[0] = '\0';
	print(append, NULL, "");
	return text;
}

static void *volatile kept;

static void forget(void *arg)
{
	kept = malloc(*(size_t *)arg);
	exit(0);
}

TEST(S23_the_end_of_the_program_tells_what_was_forgotten, T_SHIM, .conf = "leaks:true")
{
	static char err[1 << 18];
	size_t sizes[] = {54321, 765432};

	for (unsigned i = 0; i < COUNT(sizes); i++) {
		char bytes[100];

		CHECK(t_child(err, sizeof(err), forget, &sizes[i]) == 0);
		snprintf(bytes, sizeof(bytes), "bufpool:   %zu bytes in 1 block: %s+0x", sizes[i],
			 program_invocation_short_name);
		CHECK(strstr(err, bytes) != NULL);
	}
}

TEST(S23_what_comes_back_is_not_listed, T_SHIM, .conf = "leaks:true")
{
	void *p = malloc(54321), *q = calloc(3, 11111), *r = malloc(765432), *s;

	CHECK(strstr(report(), " 54321 bytes in 1 block: ") != NULL);
	CHECK(strstr(text, " 33333 bytes in 1 block: ") != NULL);
	CHECK(strstr(text, " 765432 bytes in 1 block: ") != NULL);
	NEED(posix_memalign(&s, 16384, 98304) == 0);
	CHECK(strstr(report(), " 98304 bytes in 1 block: ") != NULL);
	p = realloc(p, 123456);
	CHECK(strstr(report(), " 123456 bytes in 1 block: ") != NULL && strstr(text, " 54321 bytes") == NULL);
	free(p), free(q), free(r), free(s);
	CHECK(strstr(report(), " 123456 bytes") == NULL && strstr(text, " 33333 bytes") == NULL);
	CHECK(strstr(text, " 765432 bytes") == NULL && strstr(text, " 98304 bytes") == NULL);
}

/* Also where the shim is a part of the program, and its frames lie between the program's. */
TEST(S23_the_caller_is_named_whatever_it_called, T_SHIM, .conf = "leaks:true")
{
	static const char what[] = " 20480 bytes in 1 block: ";
	void *aligned = NULL;
	const char *place;

	NEED(posix_memalign(&aligned, 64, 20480) == 0);
	place = strstr(report(), what);
	NEED(place != NULL);
	place += strlen(what);
	CHECK(strncmp(place, program_invocation_short_name, strlen(program_invocation_short_name)) == 0);
	free(aligned);
}

TEST(S23_a_library_is_named_with_who_called_it, T_SHIM, .conf = "leaks:true")
{
	char *line = strndup("a line that is long enough to have a size of its own: 72 bytes with NUL", 100);
	char caller[100];
	const char *place;

	place = strstr(report(), " 72 bytes in 1 block: ");
	NEED(place != NULL);
	CHECK(strstr(place, "strndup+0x") != NULL && strstr(place, "strndup+0x") < strchr(place, '\n'));
	snprintf(caller, sizeof(caller), "\nbufpool:       %s+0x", program_invocation_short_name);
	CHECK(strncmp(strchr(place, '\n'), caller, strlen(caller)) == 0);
	free(line);
}

/* ---- check:strict ---- */

static void write_after_free(void *arg)
{
	static char *p[60];

	(void)arg;
	for (unsigned i = 0; i < COUNT(p); i++)
		p[i] = malloc(1000);
	for (unsigned i = 0; i < COUNT(p); i++) {
		free(p[i]);
		p[i][999]++;
	}
	for (unsigned i = 0; i < COUNT(p); i++)
		p[i] = malloc(1000);
	_exit(0);
}

TEST(S15_a_write_after_free_is_fatal, T_POOL, .conf = "check:strict")
{
	static char err[1 << 16];

	CHECK(t_child(err, sizeof(err), write_after_free, NULL) != 0);
	CHECK(strstr(err, "write after release") != NULL);
}

TEST(S15_content_and_order_are_not_to_be_relied_on, T_POOL, .conf = "check:strict")
{
	unsigned back = 0;

	for (unsigned i = 0; i < 200; i++) {
		char *p = malloc(3000);
		uintptr_t was = (uintptr_t)p;

		CHECK(t_is_filled(p, 0xa5, 3000));
		free(p);
		p = malloc(3000);
		back += (uintptr_t)p == was;
		free(p);
		p = calloc(1, 3000);
		CHECK(t_is_filled(p, 0, 3000));
		free(p);
	}
	CHECK(back < 100);
}
