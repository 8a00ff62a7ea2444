/* SPDX-License-Identifier: BSD-2-Clause
 *
 * prctl and syscall, the two ways into a seccomp sandbox. Such as OpenSSH's kill for every system call that nobody told
 * them of, and nobody has told them that malloc may call membarrier; nor can a filter be asked what it thinks of it. So the
 * pool is told before one comes: from then on it makes no call that glibc's malloc would not make (bp_percpu_confine).
 * Blocks that lie on CPUs which this process no longer runs on stay there.
 *
 * Everything else is passed on as it is, all six arguments, to the same effect as by libc's functions: -1 and errno for an
 * error, no cancellation point.
 *
 * What is unusual
 *   - A filter is for one thread and those it starts; the pool is confined as a whole, since any thread may be the one that
 *     drains. Not for the child of a vfork: its parent, whose memory this is, stays free.
 *   - libc's declare both as variadic, and callers pass what the number takes. Integers go the same way with and without a
 *     prototype in the conventions of both architectures, so these have one, under labels: what reads its arguments as a
 *     variadic function does spills all registers first.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "cache/account.h"
#include "shim/shim.h"
#include "sys/kernel.h"

BP_EXPORT long bp_syscall(long number, long a, long b, long c, long d, long e, long f) __asm__("syscall");
BP_EXPORT int bp_prctl(int option, long a, long b, long c, long d) __asm__("prctl");

/* Apart, so that syscall() itself needs no frame: a call may return on another stack (clone). */
static __attribute__((noinline)) long failed(long result)
{
	errno = (int)-result;
	return -1;
}

static inline long answer(long result)
{
	return bp_likely((unsigned long)result <= -4096ul) ? result : failed(result);
}

/* What can only fail, as programs do that ask what there is, confines nobody: no filter, or arguments where none belong. */
static bool confines(long number, long a, long b, long c)
{
	if (number == SYS_prctl)
		return (int)a == PR_SET_SECCOMP &&
		       (b == SECCOMP_MODE_STRICT || (b == SECCOMP_MODE_FILTER && c != 0));
	return ((unsigned)a == SECCOMP_SET_MODE_STRICT && (unsigned)b == 0 && c == 0) ||
	       ((unsigned)a == SECCOMP_SET_MODE_FILTER && c != 0);
}

static __attribute__((noinline)) long seccomp_or_prctl(long number, long a, long b, long c, long d, long e)
{
	if (!confines(number, a, b, c))
		return answer(bp_kernel_call(number, a, b, c, d, e, 0));
	bool whole = bp_thread.rseq != &bp_rseq_vfork;
	bp_pool_start(POOL); /* which may not be possible any more afterwards */
	if (whole) {
		bp_account_settle();
		bp_percpu_confine(POOL->slabs, true);
	}
	long result = bp_kernel_call(number, a, b, c, d, e, 0);
	if (result < 0 && whole)
		bp_percpu_confine(POOL->slabs, false);
	return answer(result);
}

long bp_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (bp_unlikely(number == SYS_seccomp || number == SYS_prctl))
		return seccomp_or_prctl(number, a, b, c, d, e); /* they have no more */
	return answer(bp_kernel_call(number, a, b, c, d, e, f));
}

int bp_prctl(int option, long a, long b, long c, long d)
{
	return (int)seccomp_or_prctl(SYS_prctl, option, a, b, c, d);
}
