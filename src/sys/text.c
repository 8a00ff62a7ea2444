/* SPDX-License-Identifier: BSD-2-Clause */
#include "sys/text.h"

#include <string.h>

void bp_text_bytes(struct bp_text *t, const char *s, size_t n)
{
	size_t room = t->size - t->length - 1;
	n = n < room ? n : room;
	memcpy(t->data + t->length, s, n);
	t->length += n;
	t->data[t->length] = '\0';
}

void bp_text_add(struct bp_text *t, const char *s)
{
	bp_text_bytes(t, s, strlen(s));
}

static void digits(struct bp_text *t, uint64_t value, unsigned base)
{
	char reversed[24];
	size_t n = sizeof(reversed);
	do {
		reversed[--n] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	bp_text_bytes(t, reversed + n, sizeof(reversed) - n);
}

void bp_text_number(struct bp_text *t, uint64_t value)
{
	digits(t, value, 10);
}

void bp_text_hex(struct bp_text *t, uint64_t value)
{
	bp_text_add(t, "0x");
	digits(t, value, 16);
}

void bp_text_percent(struct bp_text *t, uint64_t value, uint64_t of)
{
	uint64_t tenths = of == 0 ? 0 : (uint64_t)((double)value * 1000.0 / (double)of + 0.5);
	bp_text_number(t, tenths / 10);
	bp_text_add(t, ".");
	bp_text_number(t, tenths % 10);
}
