/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BP_SHIM_SHIM_H
#define BP_SHIM_SHIM_H

#include "cache/pool.h"

#define BP_EXPORT __attribute__((visibility("default"), aligned(BP_LINE)))
#define POOL (&bp_default_pool)

/* allocate(alignment, n), NULL where it throws (nothrow.cpp). */
void *bp_shim_caught(void *(*allocate)(size_t alignment, size_t n), size_t alignment, size_t n) BP_HIDDEN;

/* C23's free_sized and C++'s sized delete. */
void bp_shim_release_sized(void *p, size_t n) BP_HIDDEN;

#endif
