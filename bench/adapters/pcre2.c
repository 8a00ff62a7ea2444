/* SPDX-License-Identifier: BSD-2-Clause
 *
 * PCRE2: a pattern is compiled and tried on a few lines, as programs do that get patterns from their users; and a
 * compiled one goes over a text, with match data made for each line.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "workload.h"

#include <pcre2.h>

#include <bufpool/adapters/pcre2.h>

static const char *const patterns[] = {
	"\"name\": \"(\\w+) (\\w+)\"", "\\b(river|signal|copper|window)\\b.*\\d{3,}", "(?i)^\\s*\\{\"id\": (?<id>\\d+)",
	"[a-z]+@[a-z]+\\.(?:org|com)", "\"tags\": \\[(?:\"([^\"]*)\"(?:, )?)*\\]",
};
#define PATTERNS (sizeof(patterns) / sizeof(*patterns))

static pcre2_general_context *general; /* NULL: libc's malloc */
static pcre2_compile_context *compile;
static pcre2_code *compiled;
static char *text;
static size_t size;

/* The program's, which makes the match data and the compiled pattern; set first of all. */
void bench_install(void)
{
	general = bufpool_pcre2_context_create(NULL);
}

static pcre2_code *code_of(const char *pattern)
{
	PCRE2_SIZE at;
	int error;
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, 0, &error, &at, compile);

	bench_expect(code, "PCRE2: not compiled");
	return code;
}

static void prepare(void)
{
	compile = pcre2_compile_context_create(general);
	text = bench_json(&size, 100);
	compiled = code_of(patterns[0]);
}

/* How many lines match. */
static size_t matching(const pcre2_code *code, size_t lines)
{
	size_t found = 0;
	const char *line = text;

	for (size_t i = 0; i < lines; i++) {
		const char *end = strchr(line, '\n');
		pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, general);

		found += pcre2_match(code, (PCRE2_SPTR)line, (size_t)(end - line), 0, 0, data, NULL) > 0;
		pcre2_match_data_free(data);
		line = end + 1;
	}
	return found;
}

static size_t lap_compile(void)
{
	size_t found = 0;

	for (size_t i = 0; i < 10 * PATTERNS; i++) {
		pcre2_code *code = code_of(patterns[i % PATTERNS]);

		found += matching(code, 4);
		pcre2_code_free(code);
	}
	bench_expect(found > 0, "PCRE2: nothing found");
	return 10 * PATTERNS;
}

static size_t lap_match(void)
{
	/* The first line is the array's beginning. */
	bench_expect(matching(compiled, 100) == 99, "PCRE2: too few lines");
	return 100;
}

const struct bench_workload bench_workloads[] = {
	{ "pcre2-compile", "patterns", prepare, lap_compile, 0, 0 },
	{ "pcre2-match", "lines", prepare, lap_match, 0, 0 },
	{ 0 },
};
