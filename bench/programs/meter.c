/* SPDX-License-Identifier: BSD-2-Clause
 *
 * meter OUT PRELOAD CMD ARGS...: runs CMD with LD_PRELOAD=PRELOAD and writes to OUT what it and the children it waited
 * for used: "CPU seconds, peak KiB, page faults, status".
 *
 * A program of its own because a process inherits the peak of whoever forked it: below a script's 10 MB and more no
 * peak would show. Of children, the peak is the largest one's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double seconds(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;
	if (argc < 4)
		return 2;
	pid_t child = fork();
	if (child == 0) {
		setenv("LD_PRELOAD", argv[2], 1);
		execvp(argv[3], argv + 3);
		perror(argv[3]);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &usage) != child)
		return 2;
	FILE *out = fopen(argv[1], "w");
	if (out == NULL)
		return 2;
	fprintf(out, "%.6f %ld %ld %d\n", seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss,
		usage.ru_minflt + usage.ru_majflt, WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	return fclose(out) == 0 ? 0 : 2;
}
