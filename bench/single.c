/* SPDX-License-Identifier: BSD-2-Clause
 *
 * malloc + free of one size after another. The driver preloads an allocator under it; the program itself knows none.
 *
 *     single SLICE_MS SIZE…   ->  malloc/SIZE: ns a pair (median of five slices)
 *     single facts            ->  what runs underneath, where it is bufpool: "fact/percpu=rseq 1", …
 */
#include "measure.h"

#include <dlfcn.h>

#define SLICES 5

/* CPU ns of so many pairs. The clock is a system call: read twice a slice and no more. */
static double slice(size_t n, long pairs)
{
	double start = bench_cpu_ns();

	for (long i = 0; i < pairs; i++) {
		char *p = malloc(n);
		bench_touch(p);
		free(p);
	}
	return bench_cpu_ns() - start;
}

/* How many pairs fill a slice; warms up on the way. */
static long calibrate(size_t n, double ns)
{
	long pairs = 1000;

	while (slice(n, pairs) < ns / 2)
		pairs *= 2;
	return pairs;
}

static void facts(void)
{
	static const char *const keys[] = { "mode", "percpu", "backend", "check", "misuse" };
	int (*get)(char *, size_t, const char *) = NULL;

	*(void **)&get = dlsym(RTLD_DEFAULT, "bufpool_option_get");
	for (size_t i = 0; get && i < sizeof(keys) / sizeof(keys[0]); i++) {
		char value[64], name[128];

		if (get(value, sizeof(value), keys[i]) < 0)
			strcpy(value, "unknown");
		snprintf(name, sizeof(name), "fact/%s=%s", keys[i], value);
		bench_sample(name, 1);
	}
}

int main(int argc, char **argv)
{
	double ns;

	if (argc == 2 && !strcmp(argv[1], "facts")) {
		facts();
		return 0;
	}
	if (argc < 3)
		bench_fail("usage: single SLICE_MS SIZE… | single facts");
	ns = (double)bench_number(argv[1]) * 1e6;
	bench_pin(sched_getcpu());
	for (int i = 2; i < argc; i++) {
		size_t n = (size_t)bench_number(argv[i]);
		long pairs = calibrate(n, ns);
		double slices[SLICES];
		char name[64];

		for (int s = 0; s < SLICES; s++)
			slices[s] = slice(n, pairs) / (double)pairs;
		snprintf(name, sizeof(name), "malloc/%zu", n);
		bench_sample(name, bench_median(slices, SLICES));
	}
	return 0;
}
