/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Loaded beside the shim: gives every process a file of its own for the statistics that the shim writes at exit. With
 * stats_path alone the processes of one program would all write to one file.
 *
 * CENSUS names the directory. The file's name is process and time, since ids come round again. Where other threads are left
 * when the process ends, what had been acquired and released until then comes before it: if that is not what the file says,
 * they were at work, and what they did meanwhile is in one number and not in the next. A child of fork that ends by exit
 * counts on from its parent's numbers, in its own file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bufpool/bufpool.h>

static void name_file(const char *kind)
{
	const char *directory = getenv("CENSUS");
	struct timespec now;
	char path[256];
	if (directory == NULL)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	int length = snprintf(path, sizeof path, "%s/%s%ld-%lld%09ld.json", directory, kind, (long)getpid(),
			      (long long)now.tv_sec, now.tv_nsec);
	if (length < 0 || length >= (int)sizeof path || bufpool_option_set("stats_path", path) != 0)
		abort();
}

static void name_childs_file(void)
{
	name_file("");
}

static __attribute__((constructor)) void start(void)
{
	name_file("");
	if (pthread_atfork(NULL, NULL, name_childs_file) != 0)
		abort();
}

/* Before the shim writes. A folder has a link for each folder in it, and two of its own. */
static __attribute__((destructor)) void end(void)
{
	struct stat threads;
	struct bufpool_stats stats = { .size = sizeof stats };
	char kind[64];
	if (stat("/proc/self/task", &threads) != 0 || threads.st_nlink <= 3)
		return;
	if (bufpool_stats_get(&stats, NULL) != 0)
		abort();
	snprintf(kind, sizeof kind, "%llu-%llu-busy-", (unsigned long long)stats.acquired, (unsigned long long)stats.released);
	name_file(kind);
}
