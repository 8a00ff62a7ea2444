/* SPDX-License-Identifier: BSD-2-Clause
 *
 * PCRE2's patterns and matches from a pool.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <bufpool/adapters/pcre2.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(pcre2, .timeout = 60);

/* Matches backtrack into many frames, and groups have names. */
static const char pattern[] =
	"\"(?<key>[a-z_]+)\"\\s*:\\s*(?<value>\"(?:[^\"\\\\]|\\\\.)*\"|(?<list>\\[(?:[^][]|(?&list))*\\])|-?\\d+)";

/* What a run found, so that runs can be compared. */
struct found {
	size_t matches, bytes;
	char last[64];
};

struct finder {
	pcre2_general_context *general; /* NULL: libc's malloc */
	pcre2_compile_context *compile;
	pcre2_code *code;
	pcre2_match_data *data;
};

static void discard(struct finder *f)
{
	pcre2_match_data_free(f->data);
	pcre2_code_free(f->code);
	pcre2_compile_context_free(f->compile);
	pcre2_general_context_free(f->general);
}

/* False where PCRE2 reports that it got no memory. */
static bool make(struct finder *f)
{
	PCRE2_SIZE at;
	int error = 0;

	f->compile = pcre2_compile_context_create(f->general);
	if (!f->compile)
		return false;
	f->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &error, &at, f->compile);
	if (!f->code) {
		cr_assert(t_refused() && error == PCRE2_ERROR_HEAP_FAILED, "error %d at %zu", error, at);
		return false;
	}
	f->data = pcre2_match_data_create_from_pattern(f->code, f->general);
	return f->data;
}

static int note(struct found *found, const struct finder *f)
{
	const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(f->data);
	PCRE2_UCHAR *value;
	PCRE2_SIZE size;
	int error = pcre2_substring_get_byname(f->data, (PCRE2_SPTR)"value", &value, &size);

	if (error)
		return error;
	found->matches++;
	found->bytes += ends[1] - ends[0];
	strncpy(found->last, (const char *)value, sizeof(found->last) - 1);
	pcre2_substring_free(value);
	return 0;
}

static bool search(struct found *found, const struct finder *f, const char *text, size_t size)
{
	PCRE2_SIZE at = 0;
	int error;

	while ((error = pcre2_match(f->code, (PCRE2_SPTR)text, size, at, 0, f->data, NULL)) > 0) {
		at = pcre2_get_ovector_pointer(f->data)[1];
		error = note(found, f);
		if (error)
			break;
	}
	cr_assert(error == PCRE2_ERROR_NOMATCH || (t_refused() && error == PCRE2_ERROR_NOMEMORY), "error %d", error);
	return error == PCRE2_ERROR_NOMATCH;
}

static bool find(struct found *found, bool hooked, struct bufpool *pool, const char *text, size_t size)
{
	struct finder f = { 0 };
	bool done = false;

	memset(found, 0, sizeof(*found));
	if (hooked)
		f.general = bufpool_pcre2_context_create(pool);
	if (!hooked || f.general)
		done = make(&f) && search(found, &f, text, size);
	discard(&f);
	return done;
}

Test(pcre2, matches_are_what_they_are_without_hooks)
{
	struct found with, without;
	size_t size;
	char *text = t_read_json(&size);

	cr_assert(find(&without, false, NULL, text, size));
	cr_assert_gt(without.matches, 100);
	t_begin();
	cr_assert(find(&with, true, NULL, text, size));
	cr_assert_gt(t_asked(), with.matches);
	cr_assert(!memcmp(&with, &without, sizeof(with)));
	t_end();
	free(text);
}

Test(pcre2, a_pool_of_ones_own)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	struct bufpool *pool;
	struct found found;

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	t_begin();
	cr_assert(find(&found, true, pool, "{\"a\": 1}", 8));
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_eq(s.acquired, t_asked());
	cr_assert_eq(s.in_use, 0);
	t_end();
	bufpool_destroy(pool);
}

static enum t_outcome work(void *expected)
{
	static const char text[] = "{\"name\": \"value \\\" with\", \"list\": [1, [2, [3]], 4], \"number\": -17}";
	struct found found;

	if (!find(&found, true, NULL, text, sizeof(text) - 1))
		return T_REPORTED;
	cr_assert_eq(found.matches, 3);
	cr_assert_str_eq(found.last, expected);
	return T_DONE;
}

Test(pcre2, every_refusal_is_reported)
{
	struct t_sweep s;

	t_begin();
	s = t_sweep(work, (void *)"-17");
	cr_assert_geq(s.asked, 7);
	cr_assert_eq(s.reported, 2 * s.asked);
	t_end();
}
