/* SPDX-License-Identifier: BSD-2-Clause
 *
 * API library and shim in one process: the program's calls go to whichever comes first, which is the shim. The other copy
 * must then do nothing by itself: no second helper thread, no second report, no second reservation of address space.
 */
#ifndef BP_API_PROVIDER_H
#define BP_API_PROVIDER_H

#include <stdbool.h>

#include "sys/os.h"

/* Is this copy the one that the program's calls reach? Says on standard error, the first time, if another one does that
 * has another version. */
bool bp_provider_is_this(void) BP_HIDDEN;

#endif
