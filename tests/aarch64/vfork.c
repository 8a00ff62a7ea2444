/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The shim's vfork for aarch64 under qemu-user, where the child is a fork: which area the child sees, that the parent
 * has its own back, what is returned and that errno says why where there is no child. Plain TAP.
 *
 * Not shown here: what depends on memory that parent and child share.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "percpu/percpu.h"

static struct bp_rseq area = { .cpu_id = 0 };

/* A volatile frame of its own: the child's calls must not lead the parent's return astray. */
static __attribute__((noinline)) int child_status(void)
{
	volatile int status = -1;
	volatile uint64_t canary = 0x5ca1ab1e;
	pid_t pid = vfork();
	if (pid == 0)
		_exit(bp_thread.rseq == &bp_rseq_vfork ? 42 : 1);
	int got;
	if (pid > 0 && waitpid(pid, &got, 0) == pid && WIFEXITED(got))
		status = WEXITSTATUS(got);
	return canary == 0x5ca1ab1e ? status : -2;
}

/* 0: vfork failed as it should. In a process of its own, which may not have another. */
static int refused(void)
{
	struct rlimit none = { 0, 0 };
	if ((getuid() == 0 && setuid(65534) != 0) || setrlimit(RLIMIT_NPROC, &none) != 0)
		return 77;
	errno = 0;
	pid_t pid = vfork();
	if (pid == 0)
		_exit(0);
	return pid == -1 && errno == EAGAIN && bp_thread.rseq == &area ? 0 : 1;
}

int main(void)
{
	int failures = 0, got = -1;
	bp_thread.rseq = &area;
	bool good = child_status() == 42;
	printf("%sok 1 - the child goes by the area of vfork children\n", good ? "" : "not ");
	failures += !good;
	good = bp_thread.rseq == &area && child_status() == 42;
	printf("%sok 2 - the parent has its own area back, and can do it again\n", good ? "" : "not ");
	failures += !good;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0)
		_exit(refused());
	waitpid(pid, &got, 0);
	good = got == 0 || (WIFEXITED(got) && WEXITSTATUS(got) == 77);
	printf("%sok 3 - without a child: -1, errno, and the area back%s\n", good ? "" : "not ",
	       got == 0 || !good ? "" : " # SKIP processes can't be limited here");
	failures += !good;
	printf("1..3\n");
	return failures != 0;
}
