/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SHIM_IFUNC_LIBRARY_H
#define SHIM_IFUNC_LIBRARY_H

#include <stddef.h>

enum { IFUNC_FILL = 'r', IFUNC_ANSWER = 42 };

/* What a resolver got, NULL where it got nothing. Filled: small, aligned, line (100 bytes), grown (10 of 5000);
 * zeroed: 10000 bytes. too_much: of 1 MiB. */
struct ifunc_blocks {
	char *small, *zeroed, *grown, *aligned, *line, *none, *none_zeroed, *resized_to_none, *too_much;
	size_t small_usable;
};

int ifunc_ask(struct ifunc_blocks *out);

#endif
