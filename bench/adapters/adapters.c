/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The program around a library's workloads (workload.h). One process measures one workload, hooked or plain, and prints
 * samples as measure.h has it:
 *
 *     adapters_NAME list                       the workloads, one a line: name, unit, the two bars
 *     adapters_NAME plain|hooked WORKLOAD MS   units a second, and the peak of memory in MB
 *
 * The rate is that of the median lap, in CPU time: the machines these run on are shared, and a lap during which
 * somebody else came along is not the allocator's. The first fifth of the time warms up.
 */
#include "workload.h"

#define MOST_LAPS 65536

bool bench_hooked;

static const struct bench_workload *find(const char *name)
{
	for (const struct bench_workload *w = bench_workloads; w->name; w++)
		if (!strcmp(w->name, name))
			return w;
	bench_fail("no such workload");
}

static void list(void)
{
	for (const struct bench_workload *w = bench_workloads; w->name; w++)
		printf("%s %s %g %g\n", w->name, w->unit, w->bar_glibc, w->bar_jemalloc);
}

static void measure(const struct bench_workload *w, double ns)
{
	static double per_unit[MOST_LAPS];
	double start = bench_cpu_ns(), before, after;
	size_t laps = 0, units;

	while (bench_cpu_ns() - start < ns / 5)
		w->lap();
	start = before = bench_cpu_ns();
	do {
		units = w->lap();
		after = bench_cpu_ns();
		per_unit[laps++] = (after - before) / (double)units;
		before = after;
	} while (after - start < ns && laps < MOST_LAPS);
	bench_sample("per_second", 1e9 / bench_median(per_unit, laps));
	bench_sample("peak_mb", bench_peak_mb());
}

int main(int argc, char **argv)
{
	const struct bench_workload *w;

	if (argc == 2 && !strcmp(argv[1], "list")) {
		list();
		return 0;
	}
	if (argc != 4 || (strcmp(argv[1], "plain") && strcmp(argv[1], "hooked")))
		bench_fail("usage: list | plain WORKLOAD MS | hooked WORKLOAD MS");
	w = find(argv[2]);
	bench_hooked = !strcmp(argv[1], "hooked");
	if (bench_hooked)
		bench_install();
	if (w->prepare)
		w->prepare();
	measure(w, (double)bench_number(argv[3]) * 1e6);
	return 0;
}
