/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: PCRE2's patterns, match data and the frames of matching from a pool.
 *
 *	#define PCRE2_CODE_UNIT_WIDTH 8
 *	#include <pcre2.h>
 *	#include <bufpool/adapters/pcre2.h>
 *
 *	pcre2_general_context *general = bufpool_pcre2_context_create(NULL);
 *	pcre2_compile_context *compile = pcre2_compile_context_create(general);
 *	pcre2_code *code = pcre2_compile(…, compile);
 *	pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, general);
 *
 * Each object remembers the pool, so that the contexts may be freed before it. What JIT compiles goes to pages of its
 * own, by no hook.
 *
 * Who frees: the function of the object's name (pcre2_code_free, …); pcre2_substring_free and
 * pcre2_substring_list_free what the substring functions return, pcre2_converted_pattern_free what
 * pcre2_pattern_convert does. Never free().
 */
#ifndef BUFPOOL_ADAPTERS_PCRE2_H
#define BUFPOOL_ADAPTERS_PCRE2_H

#include "bufpool/adapters/shapes.h"

#if defined(PCRE2_H_IDEMPOTENT_GUARD) && PCRE2_CODE_UNIT_WIDTH != 0

/* For the code unit width that the program has chosen. NULL where there is no memory. */
static inline pcre2_general_context *bufpool_pcre2_context_create(struct bufpool *pool)
{
	return pcre2_general_context_create(bufpool_hook_malloc_ctx, bufpool_hook_free_ctx, pool);
}

#endif
#endif
