/* SPDX-License-Identifier: BSD-2-Clause
 *
 * jemalloc's header, for the files of sys/ that speak to it; nobody else includes either. Whether jemalloc is embedded, under
 * names of its own, or shared is settled here.
 */
#ifndef BP_SYS_JEMALLOC_H
#define BP_SYS_JEMALLOC_H

#if BP_JEMALLOC_EMBEDDED
#include "sys/jemalloc_names.h"
#else
#define JEMALLOC_NO_DEMANGLE /* keep the je_ names after the header as well */
#endif
#include <jemalloc/jemalloc.h>

#include <stdatomic.h>
#include <stdbool.h>

/* jemalloc's own shifts an int, from arena 2047 on out of its range. */
#undef MALLOCX_ARENA
#define MALLOCX_ARENA(arena) ((int)(((unsigned)(arena) + 1) << 20))

/* With the shared jemalloc a preloaded malloc is found before jemalloc's own: only the names that it alone has are safe. */
#if !BP_JEMALLOC_EMBEDDED
#undef je_calloc
#undef je_realloc
#define je_calloc(count, size) je_mallocx((count) * (size) == 0 ? 1 : (count) * (size), MALLOCX_ZERO)
#define je_realloc(p, n) je_rallocx(p, n, 0)
#endif

/* Has the embedded one been asked anything, by whomever? See arena.c. */
#if BP_JEMALLOC_EMBEDDED
extern _Atomic bool bp_jemalloc_asked __attribute__((visibility("hidden")));

static inline void bp_jemalloc_ask(void)
{
	if (!atomic_load_explicit(&bp_jemalloc_asked, memory_order_relaxed))
		atomic_store_explicit(&bp_jemalloc_asked, true, memory_order_relaxed);
}

#undef je_mallctl
#undef je_mallctlnametomib
#undef je_mallctlbymib
#undef je_malloc_stats_print
#define je_mallctl(...) (bp_jemalloc_ask(), bp_je_mallctl(__VA_ARGS__))
#define je_mallctlnametomib(...) (bp_jemalloc_ask(), bp_je_mallctlnametomib(__VA_ARGS__))
#define je_mallctlbymib(...) (bp_jemalloc_ask(), bp_je_mallctlbymib(__VA_ARGS__))
#define je_malloc_stats_print(...) (bp_jemalloc_ask(), bp_je_malloc_stats_print(__VA_ARGS__))
#endif

#endif
