/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool_stats_print: the text, the JSON (read by jq or Python, not by a parser of ours) and the OpenMetrics form,
 * each compared with the numbers of bufpool_stats_get.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <malloc.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(printing, .timeout = 60, .init = t_hold_epochs);

static char printed[1 << 20];
static size_t length;
static unsigned broken;

static void take(void *ctx, const char *text)
{
	const size_t n = strlen(text);

	broken += ctx != &length || length + n >= sizeof(printed);
	if (length + n >= sizeof(printed))
		return;
	memcpy(printed + length, text, n + 1);
	length += n;
}

static void print(const char *opts)
{
	length = 0;
	printed[0] = 0;
	bufpool_stats_print(take, &length, opts);
	cr_assert_eq(broken, 0);
	cr_assert_gt(length, 0);
}

/* Numbers that differ from each other and from 0, so that a mix-up shows. */
static void work(void)
{
	void *blocks[70];

	for (size_t i = 0; i < 70; i++)
		blocks[i] = bufpool_acquire(i * 1100);
	bufpool_release_many(blocks, 61);
	bufpool_advance_epoch(NULL);
	for (size_t i = 0; i < 23; i++)
		bufpool_release(bufpool_acquire(300));
}

static const struct field {
	const char *name;
	size_t offset;
} fields[] = {
#define T_FIELD(name) { #name, offsetof(struct bufpool_stats, name) }
	T_FIELD(acquired), T_FIELD(released), T_FIELD(hits), T_FIELD(from_shared), T_FIELD(from_victim),
	T_FIELD(from_steal), T_FIELD(from_backend), T_FIELD(over_cap), T_FIELD(dropped_cap), T_FIELD(dropped_budget),
	T_FIELD(dropped_epoch), T_FIELD(set_aside), T_FIELD(misuse), T_FIELD(epochs), T_FIELD(in_use), T_FIELD(cached),
	T_FIELD(victim), T_FIELD(queued), T_FIELD(in_use_bytes), T_FIELD(cached_bytes), T_FIELD(victim_bytes),
	T_FIELD(queued_bytes), T_FIELD(budget_bytes), T_FIELD(passed_through),
};

static uint64_t value(const struct bufpool_stats *s, const struct field *f)
{
	uint64_t n;

	memcpy(&n, (const char *)s + f->offset, sizeof(n));
	return n;
}

static void write_file(char path[64])
{
	FILE *f;
	int fd;

	strcpy(path, "/tmp/bufpool-printing-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	f = fdopen(fd, "w");
	cr_assert_not_null(f);
	cr_assert_eq(fwrite(printed, 1, length, f), length);
	cr_assert_eq(fclose(f), 0);
}

Test(printing, json_is_json)
{
	const char *const python[] = { "python3", "-m", "json.tool", NULL, NULL };
	const char *const jq[] = { "jq", "-e", "type == \"object\"", NULL, NULL };
	const char *argv[5];
	struct t_result r;
	char path[64];
	bool asked = false;

	work();
	print("J");
	write_file(path);
	for (int i = 0; i < 2; i++) {
		memcpy(argv, i ? python : jq, sizeof(argv));
		if (!t_have(argv[0]))
			continue;
		argv[3] = path;
		t_program(&r, argv, NULL, 0);
		cr_assert(t_exited(&r, 0), "%s: %s\n%s", argv[0], r.text, printed);
		asked = true;
	}
	unlink(path);
	if (!asked)
		cr_skip_test("neither jq nor python3 is here");
}

Test(printing, json_tells_the_numbers_of_stats_get)
{
	struct bufpool_stats s;
	struct t_result r;
	char path[64], filter[8192] = "true";

	if (!t_have("jq"))
		cr_skip_test("jq is not here");
	work();
	s = t_stats();
	print("J");
	write_file(path);
	for (size_t i = 0; i < T_COUNT(fields); i++) {
		char one[200];

		snprintf(one, sizeof(one),
			 " and ([.. | objects | .%s? | numbers] | any(. == %" PRIu64 ") or error(\"%s\"))",
			 fields[i].name, value(&s, &fields[i]), fields[i].name);
		strcat(filter, one);
	}
	t_program(&r, (const char *const[]){ "jq", "-e", filter, path, NULL }, NULL, 0);
	unlink(path);
	cr_assert(t_exited(&r, 0), "%s\n%s", r.text, printed);
}

static bool matches(const char *line, const char *pattern)
{
	regex_t r;
	int result;

	cr_assert_eq(regcomp(&r, pattern, REG_EXTENDED | REG_NOSUB), 0);
	result = regexec(&r, line, 0, NULL, 0);
	regfree(&r);
	return !result;
}

/* The family of a sample: its name without labels and without the suffix that its type adds. */
static bool announced(const char *sample, char families[][128], size_t count)
{
	const size_t name = strcspn(sample, "{ ");

	for (size_t i = 0; i < count; i++) {
		const size_t n = strlen(families[i]);

		if (strncmp(sample, families[i], n))
			continue;
		if (name == n || (name == n + 6 && !strncmp(sample + n, "_total", 6)))
			return true;
	}
	return false;
}

#define LABEL "[a-z_]+=\"[^\"]*\""
#define SAMPLE "^bufpool_[a-z0-9_]+(\\{" LABEL "(," LABEL ")*\\})? [0-9.e+-]+$"

Test(printing, openmetrics_is_well_formed)
{
	static char families[200][128];
	char *line, *rest;
	size_t count = 0, samples = 0;

	work();
	print("M");
	cr_assert(length > 6 && !strcmp(printed + length - 6, "# EOF\n"), "ends with # EOF");
	for (line = strtok_r(printed, "\n", &rest); line && strcmp(line, "# EOF"); line = strtok_r(NULL, "\n", &rest)) {
		if (matches(line, "^# TYPE [a-zA-Z_:][a-zA-Z0-9_:]* (counter|gauge|info|stateset|unknown)$")) {
			cr_assert_lt(count, 200);
			sscanf(line, "# TYPE %127s", families[count++]);
		} else if (!matches(line, "^# (HELP|UNIT) [a-zA-Z_:][a-zA-Z0-9_:]* .+$")) {
			cr_assert(matches(line, SAMPLE), "\"%s\"", line);
			cr_assert(announced(line, families, count), "no # TYPE before \"%s\"", line);
			samples++;
		}
	}
	cr_assert_geq(count, 10);
	cr_assert_geq(samples, 20);
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < i; k++)
			cr_assert_str_neq(families[i], families[k], "a family is announced once");
}

Test(printing, openmetrics_counters_end_in_total)
{
	static char copy[sizeof(printed)];
	char *line, *rest, name[128], type[32], sample[160];

	work();
	print("M");
	strcpy(copy, printed);
	for (line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (sscanf(line, "# TYPE %127s %31s", name, type) != 2)
			continue;
		snprintf(sample, sizeof(sample), "\n%s%s", name, strcmp(type, "counter") ? "" : "_total");
		cr_assert_not_null(strstr(printed, sample), "%s %s has no sample", type, name);
	}
}

Test(printing, text_tells_the_numbers_of_stats_get)
{
	struct bufpool_stats s;
	char number[32];

	work();
	s = t_stats();
	print(NULL);
	cr_assert_eq(printed[length - 1], '\n');
	snprintf(number, sizeof(number), "%" PRIu64, s.acquired);
	cr_assert_not_null(strstr(printed, number), "acquired %s in:\n%s", number, printed);
	snprintf(number, sizeof(number), "%" PRIu64, s.from_backend);
	cr_assert_not_null(strstr(printed, number), "from_backend %s in:\n%s", number, printed);
	print("");
	cr_assert_eq(printed[length - 1], '\n');
}

static void print_to_stderr(void *shared)
{
	(void)shared;
	bufpool_release(bufpool_acquire(100));
	bufpool_stats_print(NULL, NULL, "J");
}

Test(printing, without_a_writer_it_goes_to_stderr)
{
	struct t_result r;

	t_child(&r, print_to_stderr, NULL);
	cr_assert(t_exited(&r, 0));
	cr_assert_eq(r.text[0], '{', "%s", r.text);
	cr_assert_not_null(strstr(r.text, "acquired"));
}

Test(printing, allocates_nothing)
{
	static const char *const forms[] = { NULL, "J", "M" };

	work();
	for (size_t i = 0; i < T_COUNT(forms); i++) {
		const struct mallinfo2 heap = mallinfo2();
		const struct bufpool_stats before = t_stats();
		struct mallinfo2 heap_after;

		print(forms[i]);
		heap_after = mallinfo2();
		cr_assert_eq(t_stats().acquired, before.acquired);
		cr_assert_eq(t_stats().from_backend, before.from_backend);
		cr_assert_eq(heap_after.uordblks, heap.uordblks);
	}
}
