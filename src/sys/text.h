/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Text without stdio: a buffer on the caller's stack that grows to the right and never overflows (what does not fit is
 * cut). Usable inside malloc and in signal handlers.
 */
#ifndef BP_SYS_TEXT_H
#define BP_SYS_TEXT_H

#include <stddef.h>
#include <stdint.h>

struct bp_text {
	char *data;
	size_t size, length;
};

#define BP_TEXT_ON(array) { .data = (array), .size = sizeof(array), .length = 0 }

void bp_text_add(struct bp_text *t, const char *s);
void bp_text_bytes(struct bp_text *t, const char *s, size_t n);
void bp_text_number(struct bp_text *t, uint64_t value);
void bp_text_hex(struct bp_text *t, uint64_t value);
/* value * 100 / of, with one decimal. */
void bp_text_percent(struct bp_text *t, uint64_t value, uint64_t of);

#endif
