/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Built with -O2 and -D_FORTIFY_SOURCE: what the header says callers may do must not abort in a fortified program.
 */
#include <bufpool/bufpool.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	for (size_t n = (size_t)argc; n < 200000; n = n * 2 + 7) {
		size_t capacity = 0;
		char *p = bufpool_acquire_at_least(&capacity, n), *q = bufpool_acquire(n);

		(void)argv;
		if (!p || !q)
			return 1;
		memset(p, 1, capacity);
		snprintf(p, capacity, "%*s", (int)capacity - 1, "");
		memset(q, 1, n);
		q = bufpool_resize(q, n * 2);
		if (!q)
			return 1;
		memset(q, 1, n * 2);
		bufpool_release(q);
		bufpool_release_sized(p, capacity);
	}
	return 0;
}
