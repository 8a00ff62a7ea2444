/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See barrier.h. System calls by number: glibc has no wrapper for membarrier, and its getpid and gettid are no cheaper.
 */
#include "sys/barrier.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool barrier(int command)
{
	int saved = errno;
	bool done = syscall(SYS_membarrier, command, 0, 0) == 0;
	errno = saved;
	return done;
}

bool bp_os_barrier_register(void)
{
	return barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

bool bp_os_barrier(void)
{
	return barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

uint32_t bp_os_process(void)
{
	return (uint32_t)syscall(SYS_getpid);
}

uint32_t bp_os_thread(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

bool bp_os_thread_is_gone(uint32_t thread)
{
	int saved = errno;
	bool gone = syscall(SYS_tgkill, bp_os_process(), thread, 0) != 0 && errno == ESRCH;
	errno = saved;
	return gone;
}
