/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What starting a program costs: /bin/true, spawned in turns with each of the given libraries preloaded ("-": none).
 *
 *     spawn ROUNDS PROGRAM LIBRARY…   ->  time/LIBRARY (ms) and faults/LIBRARY (minor page faults), one line a spawn
 */
#include "measure.h"

#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void spawn(const char *program, const char *library)
{
	char preload[4096], name[4200];
	char *argv[] = { (char *)program, NULL }, *envp[] = { NULL, NULL };
	struct rusage usage;
	double start;
	int status;
	pid_t pid;

	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", library);
	if (strcmp(library, "-"))
		envp[0] = preload;
	start = bench_wall_ns();
	if (posix_spawn(&pid, program, NULL, NULL, argv, envp))
		bench_fail(program);
	if (wait4(pid, &status, 0, &usage) != pid || status)
		bench_fail("the program failed");
	snprintf(name, sizeof(name), "time/%s", library);
	bench_sample(name, (bench_wall_ns() - start) / 1e6);
	snprintf(name, sizeof(name), "faults/%s", library);
	bench_sample(name, (double)usage.ru_minflt);
}

int main(int argc, char **argv)
{
	long rounds;

	if (argc < 4)
		bench_fail("usage: spawn ROUNDS PROGRAM LIBRARY…");
	rounds = bench_number(argv[1]);
	for (long round = 0; round < rounds; round++)
		for (int i = 3; i < argc; i++)
			spawn(argv[2], argv[i]);
	return 0;
}
