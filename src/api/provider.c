/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See provider.h. How a copy knows: the dynamic linker fills in one address of bufpool_version for all, and the alias is this
 * copy's own. In a static library they are the same.
 */
#include "api/provider.h"

#include <stdatomic.h>
#include <unistd.h>

#include "bufpool/bufpool.h"
#include "sys/text.h"

extern unsigned bp_own_version(void) BP_HIDDEN; /* bufpool.c */

static void complain(void)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	char line[256];
	struct bp_text t = BP_TEXT_ON(line);
	if (atomic_flag_test_and_set_explicit(&said, memory_order_relaxed))
		return;
	bp_text_add(&t, "bufpool: the program's libbufpool has version ");
	bp_text_number(&t, BUFPOOL_VERSION);
	bp_text_add(&t, ", the preloaded one, which serves it, ");
	bp_text_number(&t, bufpool_version());
	bp_text_add(&t, "\n");
	bp_os_write(STDERR_FILENO, line, t.length);
}

bool bp_provider_is_this(void)
{
	unsigned (*volatile all)(void) = bufpool_version; /* volatile: whether they differ is known at run time only */
	if (all == bp_own_version)
		return true;
	if (bufpool_version() != BUFPOOL_VERSION)
		complain();
	return false;
}
