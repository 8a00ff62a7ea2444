/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A public `struct bufpool *` is a pool of the engine's; NULL is the default one. One that is none, or has been destroyed, is
 * misuse; under misuse:report the default pool stands in for it.
 */
#ifndef BP_API_ENGINE_H
#define BP_API_ENGINE_H

#include "cache/misuse.h"
#include "cache/pool.h"

struct bufpool;

static inline struct bp_pool *bp_engine(struct bufpool *pool)
{
	struct bp_pool *engine = (struct bp_pool *)pool;
	if (engine != NULL && bp_likely(engine->self == engine))
		return engine;
	if (engine != NULL)
		bp_misuse_report(&bp_default_pool, BP_MISUSE_POOL, pool, 0, true);
	return &bp_default_pool;
}

#endif
