/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool-control: reads and changes options of a program that runs with bufpool, from outside.
 *
 *     bufpool-control [-t SECONDS] PID KEY[:VALUE]…
 *
 * It finds the mailbox (cache/control.h) by its first 16 bytes in what the process can write of bufpool's libraries or of its
 * executable (the static library), and leaves a request there. The program answers at its next slow path; one that makes
 * no calls has nothing to switch and answers later. Who may do this is the kernel's decision: who may ptrace.
 *
 * Status: 0 done, 1 refused or no answer in time, 2 usage.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "cache/control.h"

static pid_t pid;
static double patience = 5;

static bool copy(void *here, uintptr_t there, size_t bytes, bool write)
{
	struct iovec local = { here, bytes }, remote = { (void *)there, bytes };
	ssize_t done = write ? process_vm_writev(pid, &local, 1, &remote, 1, 0) :
			       process_vm_readv(pid, &local, 1, &remote, 1, 0);
	return done == (ssize_t)bytes;
}

/* ---- where it is ---- */

static bool search(uintptr_t *found, uintptr_t from, uintptr_t to)
{
	static char page[1 << 16];
	/* The pieces overlap: the mailbox may lie across the end of one. */
	for (uintptr_t at = from; at < to; at += sizeof(page) - sizeof(struct bp_control)) {
		size_t bytes = to - at < sizeof(page) ? to - at : sizeof(page);
		if (!copy(page, at, bytes, false))
			return false;
		for (size_t i = 0; i + sizeof(struct bp_control) <= bytes; i += BP_LINE) {
			if (memcmp(page + i, BP_CONTROL_MAGIC, sizeof(BP_CONTROL_MAGIC) - 1) == 0) {
				*found = at + i;
				return true;
			}
		}
	}
	return false;
}

/* A mapping of maps(5) that is worth a search: writable, of a file, and of bufpool's libraries or of the program. */
static bool is_likely(const char *access, const char *path, const char *program)
{
	const char *name = strrchr(path, '/');
	return access[1] == 'w' && name != NULL && (strncmp(name, "/libbufpool", 11) == 0 || strcmp(path, program) == 0);
}

/* Where the shim is, it serves libbufpool.so's callers as well: that one's mailbox is never looked at. */
static bool is_shim(const char *path)
{
	return strncmp(strrchr(path, '/'), "/libbufpool_preload", 19) == 0;
}

static bool find(uintptr_t *found)
{
	char name[64], line[4352], program[4096] = "", access[5], path[4096];
	unsigned long from, to;
	bool any = false, sure = false;
	snprintf(name, sizeof(name), "/proc/%d/exe", (int)pid);
	ssize_t length = readlink(name, program, sizeof(program) - 1);
	program[length > 0 ? length : 0] = '\0';
	snprintf(name, sizeof(name), "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(name, "re");
	if (maps == NULL) {
		errno = errno == ENOENT ? ESRCH : errno;
		return false;
	}
	errno = 0;
	while (!sure && fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %4095[^\n]", &from, &to, access, path) == 4 &&
		    is_likely(access, path, program) && search(found, from, to)) {
			any = true;
			sure = is_shim(path);
		}
	}
	fclose(maps);
	return any;
}

/* ---- asking ---- */

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool answered(struct bp_control *box, uintptr_t at)
{
	double end = now() + patience;
	do {
		if (!copy(box, at, sizeof(*box), false))
			return false;
		if (box->asked == box->answered)
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	} while (now() < end);
	errno = ETIMEDOUT;
	return false;
}

static bool ask(struct bp_control *box, uintptr_t at, const char *pair)
{
	if (strlen(pair) >= sizeof(box->pair)) {
		errno = E2BIG;
		return false;
	}
	if (!answered(box, at)) /* somebody else's request */
		return false;
	strcpy(box->pair, pair);
	uint32_t asked = box->answered + 1;
	return copy(box->pair, at + offsetof(struct bp_control, pair), sizeof(box->pair), true) &&
	       copy(&asked, at + offsetof(struct bp_control, asked), sizeof(asked), true) && answered(box, at);
}

static int report(const char *pair, const struct bp_control *box, bool good)
{
	const char *why = good ? strerror(-box->result) : strerror(errno);
	if (good && box->result == 0) {
		if (strchr(pair, ':') == NULL)
			printf("%s\n", box->pair);
		return 0;
	}
	if (good && box->result == -ENOENT)
		why = "no such option";
	else if (good && box->result == -EPERM)
		why = "fixed when the program started";
	else if (!good && errno == ETIMEDOUT)
		why = "the program has not called the library since; it answers when it does";
	fprintf(stderr, "bufpool-control: %s: %s\n", pair, why);
	return 1;
}

static int usage(void)
{
	fprintf(stderr, "usage: bufpool-control [-t SECONDS] PID KEY[:VALUE]...\n"
			"KEY:VALUE sets an option of the running program, KEY prints its value.\n");
	return 2;
}

int main(int argc, char **argv)
{
	struct bp_control box;
	uintptr_t at;
	char *end = NULL;
	int option, status = 0;
	while ((option = getopt(argc, argv, "+t:")) != -1) {
		if (option != 't' || (patience = strtod(optarg, &end)) < 0 || *end != '\0' || end == optarg)
			return usage();
	}
	if (argc - optind < 2 || (pid = (pid_t)strtol(argv[optind], &end, 10)) <= 0 || *end != '\0')
		return usage();
	if (!find(&at)) {
		fprintf(stderr, "bufpool-control: process %d: %s\n", (int)pid,
			errno != 0 ? strerror(errno) : "no bufpool in it, or it has not been used yet");
		return 1;
	}
	if (!copy(&box, at, sizeof(box), false) || box.version != BP_CONTROL_VERSION) {
		fprintf(stderr, "bufpool-control: process %d: another version of bufpool\n", (int)pid);
		return 1;
	}
	for (int i = optind + 1; i < argc; i++)
		status |= report(argv[i], &box, ask(&box, at, argv[i]));
	return status;
}
