/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What starting a program costs: /bin/true, say, spawned in turns with each of the given libraries preloaded ("-": none).
 *
 *     spawn ROUNDS PROGRAM LIBRARY…   ->  time/LIBRARY (ms) and faults/LIBRARY (minor page faults), one line a spawn
 *
 * /bin/true allocates nothing. Without arguments this program is one that does a little, to be PROGRAM itself.
 */
#include "measure.h"

#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* Fifty blocks of sixteen sizes from 16 bytes to 8 KiB. */
static int allocate_a_little(void)
{
	char *blocks[50];

	for (size_t i = 0; i < 50; i++) {
		size_t n = ((size_t)16 << i % 8) * (1 + i % 2) + i % 8;

		if (!(blocks[i] = malloc(n)))
			return 1;
		bench_touch(blocks[i]);
	}
	for (size_t i = 0; i < 50; i++)
		free(blocks[i]);
	return 0;
}

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

	if (argc == 1)
		return allocate_a_little();
	if (argc < 4)
		bench_fail("usage: spawn ROUNDS PROGRAM LIBRARY…");
	rounds = bench_number(argv[1]);
	for (long round = 0; round < rounds; round++)
		for (int i = 3; i < argc; i++)
			spawn(argv[2], argv[i]);
	return 0;
}
