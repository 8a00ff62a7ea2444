/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The embedded jemalloc's public functions are renamed in its object (src/meson.build makes the same list from this
 * file), so that linking bufpool neither replaces a program's malloc nor meets another jemalloc in it. This maps the
 * names of jemalloc's header onto the renamed ones. Not used where jemalloc is shared.
 */
#ifndef BP_SYS_JEMALLOC_NAMES_H
#define BP_SYS_JEMALLOC_NAMES_H

#define JEMALLOC_NO_RENAME
#define JEMALLOC_NO_DEMANGLE
#define je_malloc_conf bp_je_malloc_conf
#define je_malloc_message bp_je_malloc_message
#define je_malloc bp_je_malloc
#define je_calloc bp_je_calloc
#define je_realloc bp_je_realloc
#define je_free bp_je_free
#define je_aligned_alloc bp_je_aligned_alloc
#define je_posix_memalign bp_je_posix_memalign
#define je_memalign bp_je_memalign
#define je_valloc bp_je_valloc
#define je_malloc_usable_size bp_je_malloc_usable_size
#define je_malloc_stats_print bp_je_malloc_stats_print
#define je_mallocx bp_je_mallocx
#define je_rallocx bp_je_rallocx
#define je_xallocx bp_je_xallocx
#define je_sallocx bp_je_sallocx
#define je_dallocx bp_je_dallocx
#define je_sdallocx bp_je_sdallocx
#define je_nallocx bp_je_nallocx
#define je_mallctl bp_je_mallctl
#define je_mallctlnametomib bp_je_mallctlnametomib
#define je_mallctlbymib bp_je_mallctlbymib

/* Inner ones, whose names begin so in jemalloc itself: see arena.c. */
#define je_je_arena_decay_ms_set bp_je_arena_decay_ms_set
#define je_je_arena_init bp_je_arena_init
#define je_je_arena_retain_grow_limit_get_set bp_je_arena_retain_grow_limit_get_set
#define je_je_batch_alloc bp_je_batch_alloc
#define je_je_narenas_total_get bp_je_narenas_total_get
#define je_je_tsd_tls bp_je_tsd_tls

#endif
