/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A library with an IFUNC whose resolver allocates. Linked into the test program `ifunc` it is relocated before the
 * shim; the same source, loaded by dlopen, long after it. A static IFUNC is resolved at once even under lazy binding.
 */
#include "ifunc_library.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static struct ifunc_blocks blocks;

static void *filled(void *p, size_t n)
{
	return p ? memset(p, IFUNC_FILL, n) : NULL;
}

static int answer(void)
{
	return IFUNC_ANSWER;
}

/* What the shim can't do before it is relocated itself is not asked for: posix_memalign, new[], a refusal with EINVAL. */
__attribute__((used)) static int (*resolve(void))(void)
{
	blocks.small = filled(malloc(100), 100);
	blocks.zeroed = calloc(10, 1000);
	blocks.grown = filled(malloc(10), 10);
	blocks.grown = realloc(blocks.grown, 5000);
	blocks.aligned = filled(memalign(4096, 100), 100);
	blocks.line = filled(aligned_alloc(64, 100), 100);
	blocks.none = malloc(0);
	blocks.none_zeroed = calloc(0, 10);
	blocks.small_usable = malloc_usable_size(blocks.small);
	blocks.too_much = malloc(1 << 20);
	blocks.resized_to_none = realloc(malloc(30), 0);
	for (int i = 0; i < 20; i++)
		free(filled(malloc(100), 100));
	free(NULL);
	return answer;
}

static int resolved(void) __attribute__((ifunc("resolve")));

int ifunc_ask(struct ifunc_blocks *out)
{
	*out = blocks;
	return resolved();
}
