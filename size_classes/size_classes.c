/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The tables of size_classes.h, once per library. All of it is read-only data: no relocation, nothing to start up, and
 * processes share the pages.
 */
#include "size_classes.h"

_Static_assert(sizeof(long) == 8 && sizeof(size_t) == 8, "the closed form counts leading zeros of 64 bits");
_Static_assert(sizeof(struct bp_class) == 16, "four rows to a cache line");
_Static_assert(BP_CLASS_COUNT <= UINT8_MAX, "a class, and a tag, fit into a byte");

#define ROW(cls, below, bytes, pages, inverse) \
	[cls] = {.reciprocal = inverse, .size = bytes, .slab_pages = pages, \
		 .slab_blocks = pages * BP_CLASS_PAGE / bytes},
#define RECIPROCAL(cls, below, bytes, pages, inverse) [cls + 1] = inverse,
#define LOOKUP(cls, below, bytes, pages, inverse) \
	[below / BP_CLASS_LOOKUP_UNIT + 1 ... bytes / BP_CLASS_LOOKUP_UNIT] = cls,

/* Aligned so that no row lies across two lines. */
_Alignas(64) const struct bp_class bp_classes[BP_CLASS_COUNT] = {BP_CLASSES(ROW)};

/* [0] is the 0 that tag 0 needs: no product is below it; so is that of BP_TAG_ASIDE. With 2^32 for BP_TAG_HUGE only offset 0 is (of those below 2^32). */
const uint64_t bp_class_reciprocal[BP_CLASS_COUNT + 3] = {BP_CLASSES(RECIPROCAL)[BP_TAG_HUGE] = (uint64_t)1 << 32,
							      [BP_TAG_ASIDE] = 0};

#define LOOKUP_LARGE(cls, below, bytes, pages, inverse) [below / 1024 + 1 ... bytes / 1024] = cls,
const uint8_t bp_class_lookup_large[BP_CLASS_SIZE_MAX / 1024 + 1] = {
	BP_CLASSES_LARGE(LOOKUP_LARGE)};

/* [0] and [1] have the class of 16 bytes: see bp_class_of. */
const uint8_t bp_class_lookup[BP_CLASS_LOOKUP_MAX / BP_CLASS_LOOKUP_UNIT + 1] = {1, BP_CLASSES_LOOKUP(LOOKUP)};
