/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Object pools, for tests that look inside.
 */
#ifndef BP_API_OBJECTS_H
#define BP_API_OBJECTS_H

#include "bufpool/objects.h"
#include "cache/pool.h"

/* The class as which objects are kept. */
unsigned bp_objects_class(void);
/* The instance of the engine that keeps them; NULL: there is none yet. */
struct bp_pool *bp_objects_engine(struct bufpool_objects *o);

#endif
