/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Loaded beside the shim: gives every process a file of its own for the statistics that the shim writes at exit. With
 * stats_path alone the processes of one program would all write to one file.
 *
 * CENSUS names the directory. The file's name is process and time, since ids come round again. A child of fork that
 * ends by exit counts on from its parent's numbers, in its own file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <bufpool/bufpool.h>

static void name_file(void)
{
	const char *directory = getenv("CENSUS");
	struct timespec now;
	char path[256];
	if (directory == NULL)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int length = snprintf(path, sizeof path, "%s/%ld-%lld%09ld.json", directory, (long)getpid(),
			      (long long)now.tv_sec, now.tv_nsec);
	if (length < 0 || length >= (int)sizeof path || bufpool_option_set("stats_path", path) != 0)
		abort();
}

static __attribute__((constructor)) void start(void)
{
	name_file();
	if (pthread_atfork(NULL, NULL, name_file) != 0)
		abort();
}
