/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How much this process may have: of addresses (RLIMIT_AS) and of memory (RLIMIT_DATA, its control groups, the machine).
 * As in os.h, all of it may be called inside malloc, and errno is preserved.
 */
#ifndef BP_SYS_LIMITS_H
#define BP_SYS_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RLIMIT_AS; SIZE_MAX: none. */
size_t bp_os_address_limit(void);
/* What counts against it: the address space that this process has mapped. 0: can't be known. */
size_t bp_os_address_space(void);

/* Is there a limit, RLIMIT_AS or RLIMIT_DATA, at which memory is refused? Confined (bp_os_confine): was there one? */
bool bp_os_is_limited(void);
/* Before a sandbox is entered, in which that can't be asked any more: remembers the answer. */
void bp_os_note_limits(void);

/* Memory this process may hope for: the cgroup's limit or the machine's memory, whichever is smaller. */
uint64_t bp_os_memory_limit(void);
/* The tightest limit of the cgroups in `list`, whose form is that of /proc/self/cgroup, and of those above them; groups are
 * directories below `root`. UINT64_MAX: none. */
uint64_t bp_os_group_limit(const char *list, const char *root);

#endif
