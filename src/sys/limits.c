/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See limits.h. All of it takes system calls that a sandbox may kill for: who enters one has asked before
 * (bp_os_note_limits, bp_account_settle).
 */
#include "sys/limits.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sys/os.h"
#include "sys/text.h"

static uint64_t number(const char *text)
{
	uint64_t value = 0;
	while (*text >= '0' && *text <= '9')
		value = value * 10 + (uint64_t)(*text++ - '0');
	return value;
}

/* ---- addresses ---- */

size_t bp_os_address_limit(void)
{
	struct rlimit limit;
	return getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
}

size_t bp_os_address_space(void)
{
	char text[64];
	return bp_os_read_file(text, sizeof(text), "/proc/self/statm") > 0 ? (size_t)number(text) * BP_PAGE : 0;
}

static bool ask(void)
{
	struct rlimit space, data;
	return (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) ||
	       (getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY);
}

static _Atomic bool was_limited; /* outside of all sandboxes */

void bp_os_note_limits(void)
{
	if (!bp_os_is_confined()) /* in one sandbox, before the next, it can't be asked either */
		atomic_store_explicit(&was_limited, ask(), memory_order_relaxed);
}

bool bp_os_is_limited(void)
{
	return bp_os_is_confined() ? atomic_load_explicit(&was_limited, memory_order_relaxed) : ask();
}

/* ---- memory ---- */

/* The least of what the files of that name say, in the cgroup whose name is given and in those above it, which are
 * directories below `root` and `below`; UINT64_MAX: none. */
static uint64_t least_along(const char *root, const char *below, const char *name, size_t length, const char *file)
{
	char path[768], value[64];
	uint64_t limit = UINT64_MAX;
	for (;; length--) {
		struct bp_text t = BP_TEXT_ON(path);
		bp_text_add(&t, root);
		bp_text_add(&t, below);
		bp_text_bytes(&t, name, length);
		bp_text_add(&t, file);
		if (bp_os_read_file(value, sizeof(value), path) > 0 && value[0] >= '0' && value[0] <= '9') {
			uint64_t bytes = number(value);
			limit = bytes < limit ? bytes : limit;
		}
		while (length > 0 && name[length - 1] != '/')
			length--;
		if (length == 0)
			return limit;
	}
}

/* The group is what follows `key` in its line. */
static uint64_t limit_of(const char *groups, const char *key, const char *root, const char *below, const char *file)
{
	const char *line = strstr(groups, key);
	if (line == NULL)
		return UINT64_MAX;
	line += strlen(key);
	return least_along(root, below, line, strcspn(line, "\n"), file);
}

/* Of both generations of cgroups: memory is in one of them. Over memory.high a process is not killed, but hardly gets on. */
uint64_t bp_os_group_limit(const char *list, const char *root)
{
	enum { SPACE = 64 << 10 }; /* a dozen names of any length: not on somebody's stack */
	int saved = errno;
	char *groups = mmap(NULL, SPACE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t limit = UINT64_MAX;
	if (groups != MAP_FAILED && bp_os_read_file(groups, SPACE, list) > 0) {
		uint64_t now = limit_of(groups, "0::", root, "", "/memory.max");
		uint64_t high = limit_of(groups, "0::", root, "", "/memory.high");
		uint64_t old = limit_of(groups, ":memory:", root, "/memory", "/memory.limit_in_bytes");
		limit = now < high ? now : high;
		limit = old < limit ? old : limit;
	}
	if (groups != MAP_FAILED)
		munmap(groups, SPACE);
	errno = saved;
	return limit;
}

uint64_t bp_os_memory_limit(void)
{
	long pages = sysconf(_SC_PHYS_PAGES);
	uint64_t machine = pages > 0 ? (uint64_t)pages << BP_PAGE_SHIFT : (uint64_t)1 << 30;
	uint64_t group = bp_os_group_limit("/proc/self/cgroup", "/sys/fs/cgroup");
	return group < machine ? group : machine;
}
