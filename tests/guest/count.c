/* SPDX-License-Identifier: BSD-2-Clause
 *
 * count CMD...: runs a program between the two instructions by which the emulator (count_plugin.c) counts what is
 * executed in user space: from just before its exec until it has ended, its children included. There must be one CPU, and
 * nothing else may run. Linked statically, so that LD_PRELOAD is the program's alone. The status is the program's.
 */
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "count.h"

#define TEXT_OF(...) #__VA_ARGS__
#define BYTES(...)   __asm__ volatile(".byte " TEXT_OF(__VA_ARGS__) ::: "memory")

#ifdef __x86_64__
#define COUNT_FROM BYTES(COUNT_FROM_X86_64)
#define COUNT_TO   BYTES(COUNT_TO_X86_64)
#else
#define COUNT_FROM BYTES(COUNT_FROM_AARCH64)
#define COUNT_TO   BYTES(COUNT_TO_AARCH64)
#endif

int main(int argc, char **argv)
{
	int status = 0;
	pid_t child = argc > 1 ? fork() : -1;
	if (child == 0) {
		COUNT_FROM;
		execvp(argv[1], &argv[1]);
		_exit(127);
	}
	bool ended = child > 0 && waitpid(child, &status, 0) == child;
	COUNT_TO; /* whoever waits for a number gets one */
	return ended && WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
