/* SPDX-License-Identifier: BSD-2-Clause */
#include "support.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "percpu/percpu.h"

#include <sys/rseq.h>

uint64_t u_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

uint64_t u_now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int u_cpu(unsigned n)
{
	static cpu_set_t allowed; /* as it was before anybody pinned anything */
	static bool known;
	if (!known)
		known = sched_getaffinity(0, sizeof(allowed), &allowed) == 0;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && n-- == 0)
			return cpu;
	return -1;
}

void u_pin(int cpu)
{
	cpu_set_t one;
	u_cpu(0);
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

bool u_has_rseq(void)
{
	const struct bp_rseq *area = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	return BP_PERCPU_HAS_RSEQ && __rseq_size > 0 && area->cpu_id >= 0;
}

void u_need_rseq(void)
{
	if (!u_has_rseq())
		cr_skip_test("no restartable sequences in this build or process");
}

size_t u_status_kb(const char *key)
{
	char line[256];
	size_t kb = 0, length = strlen(key);
	FILE *status = fopen("/proc/self/status", "r");
	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		if (strncmp(line, key, length) == 0 && line[length] == ':')
			sscanf(line + length + 1, "%zu", &kb);
	if (status != NULL)
		fclose(status);
	return kb;
}

struct u_mapped u_mapped(const void *start, size_t bytes)
{
	static char line[8192];
	struct u_mapped all = { 0 };
	uintptr_t from, to, low = (uintptr_t)start, high = low + bytes;
	size_t size = 0, resident = 0, kb;
	bool within = false;
	FILE *maps = fopen("/proc/self/smaps", "r");
	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && strchr("rwxp-", line[strcspn(line, " ") + 1]) != NULL) {
			within = from < high && to > low;
			size = (to < high ? to : high) - (from > low ? from : low);
		} else if (within && sscanf(line, "Rss: %zu", &kb) == 1) {
			resident = kb << 10;
		} else if (within && strncmp(line, "VmFlags:", 8) == 0) {
			all.size += size;
			all.resident += resident;
			all.dumped += strstr(line, " dd") == NULL ? size : 0;
			all.huge += strstr(line, " hg") != NULL ? size : 0;
		}
	}
	if (maps != NULL)
		fclose(maps);
	return all;
}

bool u_refuse(unsigned call, unsigned error)
{
	struct sock_filter refuse[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { U_COUNT(refuse), refuse };
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

int u_in_child(void (*run)(void), char *err, size_t size)
{
	int fds[2], status = -1;
	size_t filled = 0;
	char rest[256];
	fflush(NULL);
	if (pipe(fds) != 0)
		return -1;
	pid_t child = fork();
	if (child == 0) {
		struct rlimit none = { 0, 0 };
		setrlimit(RLIMIT_CORE, &none);
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		run();
		_exit(0);
	}
	close(fds[1]);
	for (;;) {
		bool keeps = filled + 1 < size;
		ssize_t n = read(fds[0], keeps ? err + filled : rest, keeps ? size - 1 - filled : sizeof(rest));
		if (n <= 0)
			break;
		filled += keeps ? (size_t)n : 0;
	}
	if (size > 0)
		err[filled] = '\0';
	close(fds[0]);
	waitpid(child, &status, 0);
	return status;
}
