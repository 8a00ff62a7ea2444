/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A pool's numbers in the public structure, for those who hand them out and those who print them.
 */
#ifndef BP_API_STATS_H
#define BP_API_STATS_H

#include "bufpool/bufpool.h"
#include "cache/pool.h"

void bp_stats_collect(struct bufpool_stats *s, struct bp_pool *pool);

#endif
