/* SPDX-License-Identifier: BSD-2-Clause
 *
 * unshare and setns: the kernel refuses some of what they do (user namespaces, above all) to a process with more
 * than one thread. A program that has one thread of its own must not fail because of background:true, so the
 * helper thread ends before the call and is started again after it. Without it these are the plain system calls.
 *
 * What is unusual: a child of vfork sees its parent's helper in the memory they share, but it is alone already, and the
 * helper is not its own.
 */
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/background.h"
#include "percpu/percpu.h"
#include "shim/shim.h"

static int alone(long call, long first, long second)
{
	bool paused = bp_thread.rseq != &bp_rseq_vfork && bp_background_pause();
	long result = syscall(call, first, second);
	if (paused)
		bp_background_resume();
	return (int)result;
}

BP_EXPORT int unshare(int flags)
{
	return alone(SYS_unshare, flags, 0);
}

BP_EXPORT int setns(int fd, int type)
{
	return alone(SYS_setns, fd, type);
}
