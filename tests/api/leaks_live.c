/* SPDX-License-Identifier: BSD-2-Clause
 *
 * S24: the report comes while other threads hang, wherever they hang, and names what they hold.
 *
 * Threads acquire and release without end until a signal stops them where they happen to be, for good: in acquire, in
 * release, inside jemalloc, in the table of what is out, in the walk up the stack. One hangs in the constructor of a
 * library that is being loaded. A report that waits for one of them is found by the watchdog.
 */
#include "leaks_common.h"
#include "support.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, ROUNDS = 25, WATCHDOG_S = 20, KEPT = 3333 };

TestSuite(leaks_live, .timeout = 120, .init = t_note_leaks);

static sem_t ready;

static void stand(int signal)
{
	(void)signal;
	sem_post(&ready);
	for (;;)
		pause();
}

static void *toil(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	void *kept = bufpool_acquire(KEPT), *p[20];

	sem_post(&ready);
	for (;;) {
		for (unsigned i = 0; i < T_COUNT(p); i++)
			p[i] = bufpool_acquire(t_random_size(&seed));
		bufpool_release_many(p, T_COUNT(p));
	}
	return kept;
}

/* Ends with 0 if the report came and has what the threads keep. */
static void hang_and_report(void *shared)
{
	pthread_t threads[THREADS];
	struct timespec moment = { .tv_nsec = 1000000 + *(unsigned *)shared * 37000 };
	char kept[64];

	alarm(WATCHDOG_S);
	signal(SIGUSR1, stand);
	sem_init(&ready, 0, 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, toil, (void *)(i + *(unsigned *)shared)) != 0)
			_exit(2);
	for (unsigned i = 0; i < THREADS; i++)
		sem_wait(&ready);
	nanosleep(&moment, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_kill(threads[i], SIGUSR1);
	for (unsigned i = 0; i < THREADS; i++)
		sem_wait(&ready);
	const char *report = t_leaks("");
	snprintf(kept, sizeof(kept), " %u bytes in %u blocks: ", THREADS * KEPT, THREADS);
	if (t_lists(report, kept))
		_exit(0);
	fputs(report, stderr);
	_exit(3);
}

Test(leaks_live, S24_threads_that_hang_anywhere_do_not_keep_the_report_from_coming)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct t_result r;
		unsigned *number = t_shared(sizeof(*number));

		*number = round;
		t_child(&r, hang_and_report, number);
		cr_assert(t_exited(&r, 0), "round %u: status %x\n%s", round, r.status, r.text);
	}
}

/* ---- in dlopen ---- */

static void *load(void *path)
{
	void *kept = bufpool_acquire(KEPT);

	if (dlopen(path, RTLD_NOW) == NULL)
		fprintf(stderr, "%s\n", dlerror());
	return kept;
}

static int told[2];

static void load_and_report(void *path)
{
	pthread_t thread;
	char byte, number[16];

	alarm(WATCHDOG_S);
	snprintf(number, sizeof(number), "%d", told[1]);
	setenv("LEAKS_TOLD", number, 1);
	if (pthread_create(&thread, NULL, load, path) != 0 || read(told[0], &byte, 1) != 1)
		_exit(2);
	_exit(!t_lists(t_leaks(""), " 3333 bytes in 1 block: "));
}

Test(leaks_live, S24_nor_does_one_that_hangs_in_dlopen)
{
	char source[64], *path = t_shared(128), command[512];
	struct t_result r;

	if (!t_have("cc"))
		cr_skip_test("no compiler to make a library with");
	t_write_source(source, sizeof(source), ".c",
		       "#include <stdlib.h>\n#include <unistd.h>\n"
		       "__attribute__((constructor)) static void hang(void)\n"
		       "{ if (write(atoi(getenv(\"LEAKS_TOLD\")), \"\", 1) == 1) for (;;) pause(); }\n");
	cr_assert_eq(pipe(told), 0);
	snprintf(path, 128, "%s.so", source);
	snprintf(command, sizeof(command), "cc -shared -fPIC -o %s %s", path, source);
	cr_assert_eq(system(command), 0);
	t_child(&r, load_and_report, path);
	unlink(source);
	unlink(path);
	cr_assert(t_exited(&r, 0), "status %x\n%s", r.status, r.text);
}
