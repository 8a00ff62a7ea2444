/* SPDX-License-Identifier: BSD-2-Clause
 *
 * setrlimit and prlimit: a program that lowers its own RLIMIT_AS would find it filled by what the pool has reserved, and
 * could map nothing any more: no thread's stack, no library, no file. So before the limit comes down the reserved addresses
 * that are not yet used go, down to half of what the limit leaves beside everything else that is mapped. Raising
 * the limit again needs nothing: what no longer fits into the range comes from jemalloc's own arenas.
 *
 * mlockall: what is mapped after it counts against RLIMIT_MEMLOCK, and under a small one the pool, if it started only then, could
 * have no memory at all. So it starts before. Reserved addresses count, too; they shrink where nothing else stands in the way.
 *
 * chroot: the files that tell the memory limit are out of reach afterwards, so they are read before.
 *
 * What is unusual: a child of vfork lowers its own limit in its parent's memory, which stays as it is. A limit that another
 * process sets is not seen here, nor one that a system call by number sets.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/account.h"
#include "cache/stack.h"
#include "shim/shim.h"
#include "sys/limits.h"
#include "sys/pass.h"
#include "sys/range.h"

_Static_assert(sizeof(rlim_t) == 8 && sizeof(long) == 8, "limits have one form");

/* By its own id or by that of one of its threads. */
static bool is_this_process(pid_t pid)
{
	int saved = errno;
	bool is = pid == 0 || syscall(SYS_tgkill, getpid(), pid, 0) == 0;
	errno = saved;
	return is;
}

static void shrink(size_t range)
{
	bp_range_shrink(range);
	bp_magazines_shrink(bp_magazines_for(range)); /* as at the start */
}

/* In two steps: how much else there is can be told when the tables have shrunk to what they then need. */
static void make_room(size_t most)
{
	/* Under the guard: a handler that mallocs here is refused, as inside jemalloc, instead of waiting for itself. */
	if (!bp_guard_enter())
		return;
	/* In the portable mode only larger blocks come from the range: a quarter. */
	unsigned share = POOL->first_class == 0 ? 2 : 4;
	shrink(most / share);
	size_t others = bp_os_address_space() - bp_range.reserved;
	if (others < most)
		shrink((most - others) / share);
	bp_guard_leave();
}

static int limit(pid_t pid, int resource, const struct rlimit64 *new, struct rlimit64 *old)
{
	if (resource == RLIMIT_AS && new != NULL && new->rlim_cur <= new->rlim_max && new->rlim_cur < bp_os_address_limit() &&
	    bp_thread.rseq != &bp_rseq_vfork && is_this_process(pid))
		make_room(new->rlim_cur);
	return (int)syscall(SYS_prlimit64, pid, resource, new, old);
}

/* The names' long and short forms are one on 64-bit systems, and the headers take the one for the other: hence the labels. */
BP_EXPORT int bp_setrlimit(int resource, const struct rlimit64 *new) __asm__("setrlimit");
BP_EXPORT int bp_setrlimit64(int resource, const struct rlimit64 *new) __asm__("setrlimit64");
BP_EXPORT int bp_prlimit(pid_t pid, int resource, const struct rlimit64 *new, struct rlimit64 *old) __asm__("prlimit");
BP_EXPORT int bp_prlimit64(pid_t pid, int resource, const struct rlimit64 *new, struct rlimit64 *old) __asm__("prlimit64");

int bp_setrlimit(int resource, const struct rlimit64 *new)
{
	return limit(0, resource, new, NULL);
}

int bp_setrlimit64(int resource, const struct rlimit64 *new)
{
	return limit(0, resource, new, NULL);
}

int bp_prlimit(pid_t pid, int resource, const struct rlimit64 *new, struct rlimit64 *old)
{
	return limit(pid, resource, new, old);
}

int bp_prlimit64(pid_t pid, int resource, const struct rlimit64 *new, struct rlimit64 *old)
{
	return limit(pid, resource, new, old);
}

/* Where the rest of what is mapped leaves less than half of the limit, a refusal is better than to be left with so little: that
 * much even bare jemalloc would be refused. */
static bool gives_way(void)
{
	struct rlimit limit;
	size_t reserved = bp_range.reserved + bp_range.reserved / BP_PAGE * sizeof(uint32_t) + bp_magazines_reserved();
	if (bp_thread.rseq == &bp_rseq_vfork || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
	    bp_os_address_space() - reserved > limit.rlim_cur / 2)
		return false;
	make_room(limit.rlim_cur);
	return true;
}

BP_EXPORT int mlockall(int flags)
{
	bp_pool_start(POOL);
	int result = (int)syscall(SYS_mlockall, flags);
	if (result != 0 && errno == ENOMEM && gives_way())
		result = (int)syscall(SYS_mlockall, flags);
	return result;
}

BP_EXPORT int chroot(const char *path)
{
	bp_account_memory_limit();
	return (int)syscall(SYS_chroot, path);
}
