/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What glibc's malloc.h adds, answered for pool and jemalloc together instead of for a glibc heap that nobody uses.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#include "bufpool/bufpool.h"
#include "cache/epoch.h"
#include "shim/shim.h"
#include "sys/backend.h"

BP_EXPORT int malloc_trim(size_t keep)
{
	if (!bp_pool_start(POOL))
		return 0;
	struct bp_backend_stats before, after;
	bp_backend_stats(&before);
	size_t given = bp_epoch_trim(POOL, keep);
	bp_backend_trim();
	bp_backend_stats(&after);
	return given > 0 || after.resident < before.resident;
}

BP_EXPORT struct mallinfo2 mallinfo2(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	struct bp_backend_stats b;
	bufpool_stats_get(&s, NULL);
	bp_backend_stats(&b);
	size_t kept = s.cached_bytes + s.victim_bytes + s.queued_bytes;
	return (struct mallinfo2){
		.arena = b.mapped,
		.ordblks = s.cached + s.victim + s.queued,
		.uordblks = b.allocated > kept ? b.allocated - kept : 0,
		.fordblks = b.allocated > kept ? b.mapped - (b.allocated - kept) : b.mapped,
		.keepcost = kept,
	};
}

static int as_int(size_t n)
{
	return n > INT32_MAX ? INT32_MAX : (int)n;
}

BP_EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 m = mallinfo2();
	return (struct mallinfo){
		.arena = as_int(m.arena),
		.ordblks = as_int(m.ordblks),
		.uordblks = as_int(m.uordblks),
		.fordblks = as_int(m.fordblks),
		.keepcost = as_int(m.keepcost),
	};
}

BP_EXPORT int malloc_info(int options, FILE *out)
{
	if (options != 0) {
		errno = EINVAL;
		return -1;
	}
	struct mallinfo2 m = mallinfo2();
	int done = fprintf(out,
			   "<malloc version=\"bufpool-%s\">\n"
			   "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
			   "<system type=\"current\" size=\"%zu\"/>\n"
			   "<used size=\"%zu\"/>\n"
			   "</malloc>\n",
			   bufpool_version_string(), m.ordblks, m.fordblks, m.arena, m.uordblks);
	return done < 0 ? -1 : 0;
}

/* None of glibc's parameters has a meaning here: 0 is "not done". */
BP_EXPORT int mallopt(int parameter, int value)
{
	(void)parameter, (void)value;
	return 0;
}

BP_EXPORT void malloc_stats(void)
{
	bufpool_stats_print(NULL, NULL, "");
	bp_backend_print_stats();
}
