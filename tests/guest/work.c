/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the checks in a guest run under glibc, under jemalloc and under the shim: it knows malloc and free only, looks
 * at every block's content, and asks the shim's own accounting where there is one. One word says what is done:
 *
 *	facts                    what the library says of itself
 *	phases MIB ROUNDS        one size after the other fills MIB and is freed again
 *	pairs BYTES COUNT        malloc and free, in rows of 100: for counting instructions
 *	fill MIB                 blocks of a MiB until there are no more: how many
 *	lock MIB                 everything locked, then MIB of blocks of many sizes
 *	burst MIB SECONDS        MIB and back, then small calls for SECONDS
 *	storm THREADS SECONDS    random sizes, a third freed by other threads; SECONDS 0: until SIGTERM
 *	dump MIB                 MIB of blocks, half of them freed again, then abort()
 *
 * The last line is `done` with figures. The status is 1 where a content or a balance was wrong.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bufpool/bufpool.h"

#define MIB ((size_t)1 << 20)

static _Atomic unsigned long wrong, calls, refused;
static _Atomic bool stop;

/* ---- blocks that know what is in them ---- */

struct stamp {
	size_t bytes;
	uintptr_t self;
};

static void *block_new(size_t bytes)
{
	struct stamp *p = malloc(bytes);
	atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
	if (p == NULL) {
		atomic_fetch_add(&refused, 1);
		return NULL;
	}
	memset(p, (int)(bytes & 0xff), bytes);
	*p = (struct stamp){ bytes, (uintptr_t)p ^ bytes };
	return p;
}

static void block_end(void *block)
{
	struct stamp *p = block;
	if (p == NULL)
		return;
	unsigned char *last = (unsigned char *)p + p->bytes - 1;
	if (p->self != ((uintptr_t)p ^ p->bytes) || (p->bytes > sizeof(*p) && *last != (p->bytes & 0xff)))
		atomic_fetch_add(&wrong, 1);
	p->self = 0; /* who frees it a second time finds it wrong */
	free(p);
}

/* ---- what the library and the kernel say ---- */

static void *of_the_shim(const char *name)
{
	return dlsym(RTLD_DEFAULT, name);
}

/* At rest what came from jemalloc is somewhere (docs/statistics.md). */
static void check_balance(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	int (*get)(struct bufpool_stats *, struct bufpool *) = of_the_shim("bufpool_stats_get");
	if (get == NULL || get(&s, NULL) != 0)
		return;
	uint64_t known = s.in_use + s.cached + s.victim + s.queued + s.set_aside + s.dropped_cap + s.dropped_budget +
			 s.dropped_epoch;
	if (known != s.from_backend || s.misuse != 0) {
		printf("# from jemalloc %lu, known %lu, misuse %lu\n", (unsigned long)s.from_backend,
		       (unsigned long)known, (unsigned long)s.misuse);
		atomic_fetch_add(&wrong, 1);
	}
}

static unsigned long status_kib(const char *key)
{
	char line[128];
	unsigned long value = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, key, strlen(key)) == 0)
			value = strtoul(line + strlen(key) + 1, NULL, 10);
	if (f != NULL)
		fclose(f);
	return value;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int done(void)
{
	check_balance();
	printf("done calls=%lu refused=%lu wrong=%lu rss=%lu peak=%lu\n", calls, refused, wrong, status_kib("VmRSS"),
	       status_kib("VmHWM"));
	return wrong != 0;
}

static void facts(void)
{
	static const char *const keys[] = { "mode", "percpu", "budget" };
	int (*get)(char *, size_t, const char *) = of_the_shim("bufpool_option_get");
	struct bufpool_stats s = { .size = sizeof(s) };
	int (*stats)(struct bufpool_stats *, struct bufpool *) = of_the_shim("bufpool_stats_get");
	char value[64];
	for (size_t i = 0; get != NULL && i < sizeof(keys) / sizeof(*keys); i++)
		if (get(value, sizeof(value), keys[i]) == 0)
			printf("%s=%s ", keys[i], value);
	if (stats != NULL && stats(&s, NULL) == 0)
		printf("budget_now=%lu", (unsigned long)s.budget_bytes);
	printf("\n");
}

/* ---- memory ---- */

/* Frees in the order of allocation; the list's links are in the blocks. */
static void fill_and_free(size_t bytes, size_t each)
{
	size_t n = bytes / each;
	void **all = mmap(NULL, n * sizeof(*all), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED) {
		printf("# there is no memory to note %zu blocks in\n", n);
		atomic_fetch_add(&refused, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		all[i] = block_new(each);
	for (size_t i = 0; i < n; i++)
		block_end(all[i]);
	munmap(all, n * sizeof(*all));
}

static void phases(size_t mib, unsigned rounds)
{
	static const size_t sizes[] = { 250, 4000, 48000, 1000, 16000, 200000, 65536 };
	double start = now();
	for (unsigned r = 0; r < rounds; r++)
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
			fill_and_free(mib * MIB, sizes[i]);
	printf("# %.1f s\n", now() - start);
}

/* Nothing else: what COUNT more of them cost is the pair's. */
static void pairs(size_t bytes, size_t count)
{
	void *row[100];
	for (size_t n = 0; n < count; n += 100) {
		for (size_t i = 0; i < 100; i++)
			row[i] = malloc(bytes);
		for (size_t i = 0; i < 100; i++)
			free(row[i]);
	}
}

static void fill(size_t mib)
{
	size_t n = 0;
	while (n < mib && block_new(MIB - 64) != NULL)
		n++;
	printf("# %zu MiB\n", n);
}

static void lock(size_t mib)
{
	int failed = mlockall(MCL_CURRENT | MCL_FUTURE);
	printf("# mlockall %s, VmLck %lu KiB\n", failed ? "refused" : "done", status_kib("VmLck"));
	phases(mib, 1);
	printf("# VmLck %lu KiB\n", status_kib("VmLck"));
}

static void burst(size_t mib, double seconds)
{
	unsigned long before = status_kib("VmRSS");
	fill_and_free(mib * MIB / 2, 48000);
	fill_and_free(mib * MIB / 2, 128);
	for (double until = now() + seconds; now() < until; usleep(1000))
		for (int i = 0; i < 200; i++)
			block_end(block_new(100));
	printf("# from %lu to %lu KiB\n", before, status_kib("VmRSS"));
}

static _Noreturn void dump(size_t mib)
{
	size_t n = mib * MIB / 48000;
	void **all = calloc(n, sizeof(*all));
	for (size_t i = 0; i < n; i++)
		all[i] = block_new(48000);
	for (size_t i = 0; i < n; i += 2)
		block_end(all[i]);
	abort();
}

/* ---- the storm ---- */

enum { HELD = 200, PASSED = 256 };
static _Atomic(void *) passing[PASSED];

static size_t any_size(uint64_t random)
{
	size_t bytes = sizeof(struct stamp) + (random >> 20) % 256;
	return random % 8 == 0 ? bytes + (random >> 32) % 70000 : random % 8 < 4 ? bytes + (random >> 32) % 4000 : bytes;
}

static void *actor(void *seed)
{
	uint64_t random = (uintptr_t)seed * 0x9e3779b97f4a7c15u;
	void *held[HELD] = { NULL };
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		void **mine = &held[(random >> 33) % HELD];
		if (*mine == NULL)
			*mine = block_new(any_size(random));
		else if ((random >> 50) % 3 != 0)
			block_end(*mine), *mine = NULL;
		else
			*mine = atomic_exchange(&passing[(random >> 40) % PASSED], *mine);
	}
	for (size_t i = 0; i < HELD; i++)
		block_end(held[i]);
	return NULL;
}

static void storm(unsigned threads, unsigned seconds)
{
	pthread_t ids[64];
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &term, NULL);
	threads = threads > 64 ? 64 : threads;
	for (uintptr_t i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, actor, (void *)(i + 1)) != 0)
			abort();
	struct timespec limit = { .tv_sec = seconds == 0 ? 600 : seconds };
	while (sigtimedwait(&term, NULL, &limit) < 0 && errno == EINTR) /* so it is after a restore */
		;
	atomic_store(&stop, true);
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	for (size_t i = 0; i < PASSED; i++)
		block_end(passing[i]);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	size_t first = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, second = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(what, "facts") == 0)
		facts();
	else if (strcmp(what, "phases") == 0)
		phases(first, (unsigned)second);
	else if (strcmp(what, "pairs") == 0)
		pairs(first, second);
	else if (strcmp(what, "fill") == 0)
		fill(first);
	else if (strcmp(what, "lock") == 0)
		lock(first);
	else if (strcmp(what, "burst") == 0)
		burst(first, (double)second);
	else if (strcmp(what, "storm") == 0)
		storm((unsigned)first, (unsigned)second);
	else if (strcmp(what, "dump") == 0)
		dump(first);
	else
		return 2;
	return done();
}
