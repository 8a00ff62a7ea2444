/* SPDX-License-Identifier: BSD-2-Clause
 *
 * leaks:true and check:strict under the shim: callers by the stack, what libraries acquire on the program's behalf,
 * what passes through.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
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

/* ---- threads that hang ---- */

enum { HANGING = 6, ROUNDS = 12, KEPT = 33333 };

static sem_t ready;

static void stand(int number)
{
	(void)number;
	sem_post(&ready);
	for (;;)
		pause();
}

/* The whole family, so that the signal comes in each of its ways. */
static void *toil(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	void *volatile mine = malloc(KEPT);
	char *p[20];

	sem_post(&ready);
	for (;;) {
		for (unsigned i = 0; i < COUNT(p); i++) {
			size_t n = (size_t)rand_r(&seed) % 100000 >> rand_r(&seed) % 12;

			p[i] = i % 3 == 0 ? calloc(1, n) : i % 7 == 0 ? memalign(64, n) : malloc(n);
			p[i] = i % 5 == 0 ? realloc(p[i], 2 * n + 1) : p[i];
		}
		for (unsigned i = 0; i < COUNT(p); i++)
			free(p[i]);
	}
	return mine;
}

/* Threads are stopped where they happen to be, for good: ends with 0 if the report comes, and names what they keep. */
static void hang_and_report(void *round)
{
	struct timespec moment = {.tv_nsec = 1000000 + *(unsigned *)round * 137000};
	pthread_t threads[HANGING];
	char kept[64];

	alarm(20);
	signal(SIGUSR1, stand);
	sem_init(&ready, 0, 0);
	for (uintptr_t i = 0; i < HANGING; i++)
		if (pthread_create(&threads[i], NULL, toil, (void *)(i + 100 * *(unsigned *)round)) != 0)
			_exit(2);
	for (unsigned i = 0; i < HANGING; i++)
		sem_wait(&ready);
	nanosleep(&moment, NULL);
	for (unsigned i = 0; i < HANGING; i++)
		pthread_kill(threads[i], SIGUSR1);
	for (unsigned i = 0; i < HANGING; i++)
		sem_wait(&ready);
	snprintf(kept, sizeof(kept), " %u bytes in %u blocks: ", HANGING * KEPT, HANGING);
	_exit(strstr(report(), kept) != NULL ? 0 : 3);
}

TEST(S24_threads_that_hang_anywhere_in_malloc_do_not_keep_the_report_from_coming, T_SHIM, .conf = "leaks:true", .timeout = 120)
{
	static char err[1 << 12];

	for (unsigned round = 0; round < ROUNDS; round++) {
		int status = t_child(err, sizeof(err), hang_and_report, &round);

		t_note("round %u: status %x", round, (unsigned)status);
		NEED(status == 0);
	}
}

/* ---- check:strict ---- */

static void write_after_free(void *arg)
{
	static char *p[60];

	(void)arg;
	t_stay();
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
