/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Text never overflows: what does not fit is cut, and it always ends with a NUL.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "sys/text.h"

Test(text, what_does_not_fit_is_cut_and_nothing_behind_it_is_touched)
{
	for (size_t size = 1; size < 12; size++) {
		char memory[16];
		struct bp_text t = { .data = memory, .size = size, .length = 0 };
		memset(memory, '#', sizeof(memory));
		bp_text_add(&t, "abc");
		bp_text_number(&t, 4567);
		bp_text_add(&t, "89");
		cr_assert_eq(t.length, size - 1 < 9 ? size - 1 : 9);
		cr_assert_eq(memory[t.length], '\0');
		cr_assert_eq(strncmp(memory, "abc456789", t.length), 0);
		for (size_t i = size; i < sizeof(memory); i++)
			cr_assert_eq(memory[i], '#', "size %zu: byte %zu was written", size, i);
	}
}

Test(text, numbers_are_those_of_printf)
{
	static const uint64_t values[] = { 0, 1, 9, 10, 15, 16, 4096, UINT32_MAX, INT64_MAX, UINT64_MAX };
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		char ours[64], theirs[64];
		struct bp_text t = BP_TEXT_ON(ours);
		bp_text_number(&t, values[i]);
		bp_text_add(&t, " ");
		bp_text_hex(&t, values[i]);
		snprintf(theirs, sizeof(theirs), "%llu 0x%llx", (unsigned long long)values[i],
			 (unsigned long long)values[i]);
		cr_assert_str_eq(ours, theirs);
	}
}

Test(text, bytes_may_be_part_of_a_string)
{
	char memory[8];
	struct bp_text t = BP_TEXT_ON(memory);
	bp_text_bytes(&t, "abcdef", 3);
	cr_assert_str_eq(memory, "abc");
	bp_text_bytes(&t, "abcdef", 0);
	cr_assert_str_eq(memory, "abc");
}

Test(text, percents_are_rounded_to_one_decimal)
{
	static const struct {
		uint64_t value, of;
		const char *text;
	} cases[] = { { 0, 0, "0.0" }, { 5, 0, "0.0" }, { 1, 3, "33.3" }, { 2, 3, "66.7" }, { 7, 7, "100.0" },
		      { 1, 1000000, "0.0" }, { UINT64_MAX, UINT64_MAX, "100.0" } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char memory[16];
		struct bp_text t = BP_TEXT_ON(memory);
		bp_text_percent(&t, cases[i].value, cases[i].of);
		cr_assert_str_eq(memory, cases[i].text);
	}
}
