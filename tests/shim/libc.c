/* SPDX-License-Identifier: BSD-2-Clause
 *
 * glibc functions that allocate within and leave freeing to the caller, or grow what the caller has allocated: a
 * member of the family that the shim left out shows here as a block of one allocator freed by the other.
 */
#include "harness.h"

#include <argz.h>
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <iconv.h>
#include <limits.h>
#include <locale.h>
#include <malloc.h>
#include <netdb.h>
#include <obstack.h>
#include <regex.h>
#include <search.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>
#include <wordexp.h>

enum { ROUNDS = 200 };

TEST(strdup_and_asprintf)
{
	for (size_t n = 0; n < 100000; n += n / 5 + 1) {
		char *text = malloc(n + 1), *copy, *part, *printed;
		wchar_t *wide;

		NEED(text);
		memset(text, 'x', n);
		text[n] = '\0';
		NEED((copy = strdup(text)) && (part = strndup(text, n / 2)));
		CHECK(!strcmp(copy, text) && strlen(part) == n / 2);
		CHECK(asprintf(&printed, "%s-%zu-%s", text, n, part) > 0);
		CHECK(!strncmp(printed, text, n) && printed[n] == '-');
		NEED(copy = realloc(copy, n + 2));
		CHECK(!strcmp(copy, text));
		NEED(wide = wcsdup(L"wide"));
		CHECK(malloc_usable_size(wide) >= 5 * sizeof(wchar_t));
		free(wide);
		free(printed);
		free(part);
		free(copy);
		free(text);
	}
}

TEST(getline_and_getdelim_grow_our_block)
{
	FILE *f = tmpfile();
	size_t size = 10, longest = 0;
	char *line = malloc(size);
	ssize_t length;

	NEED(f && line);
	for (int i = 0; i < 2000; i++)
		fprintf(f, "%0*d\n", i * 7 % 3000 + 1, i);
	rewind(f);
	while ((length = getline(&line, &size, f)) > 0) {
		longest = (size_t)length > longest ? (size_t)length : longest;
		CHECK(size > (size_t)length && malloc_usable_size(line) >= size);
	}
	CHECK(longest == 3001);
	rewind(f);
	free(line);
	line = NULL;
	size = 0;
	CHECK(getdelim(&line, &size, EOF, f) > 1000000);
	free(line);
	fclose(f);
}

static int any(const struct dirent *entry)
{
	(void)entry;
	return 1;
}

TEST(directories)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct dirent **list, *entry;
		DIR *dir = opendir("/etc");
		int n, seen = 0;

		NEED(dir);
		while ((entry = readdir(dir)))
			seen++;
		closedir(dir);
		n = scandir("/etc", &list, any, alphasort);
		CHECK(n == seen && n > 2);
		while (n-- > 0)
			free(list[n]);
		free(list);
	}
}

TEST(streams_in_memory)
{
	for (int i = 1; i < ROUNDS; i++) {
		char *text = NULL;
		wchar_t *wide = NULL;
		size_t size = 0;
		FILE *f = open_memstream(&text, &size);

		NEED(f);
		for (int j = 0; j < i * 10; j++)
			fprintf(f, "%06d", j);
		CHECK(fclose(f) == 0 && size == (size_t)i * 60 && strlen(text) == size);
		NEED(f = fmemopen(NULL, 5000, "w+"));
		fputs(text, f);
		fclose(f);
		NEED(text = realloc(text, size * 2 + 1));
		free(text);
		NEED(f = open_wmemstream(&wide, &size));
		fputws(L"some wide text", f);
		CHECK(fclose(f) == 0 && size == 14);
		free(wide);
	}
}

TEST(files_and_paths)
{
	for (int i = 0; i < ROUNDS; i++) {
		FILE *f = fopen("/proc/self/status", "r");
		char *buffer = malloc(65536), *path, *real, line[256], *a = NULL, *b = NULL;
		int n = 0;

		NEED(f && buffer);
		setvbuf(f, buffer, _IOFBF, 65536);
		while (fgets(line, sizeof(line), f))
			n++;
		CHECK(n > 10);
		fclose(f);
		free(buffer);
		NEED((path = getcwd(NULL, 0)) && (real = realpath("/proc/self/../self/exe", NULL)));
		CHECK(*path == '/' && *real == '/');
		free(path);
		free(real);
		NEED(path = canonicalize_file_name("/etc/."));
		CHECK(!strcmp(path, "/etc"));
		free(path);
		CHECK((path = get_current_dir_name()));
		free(path);
		CHECK(sscanf("one two", "%ms %ms", &a, &b) == 2 && !strcmp(a, "one") && !strcmp(b, "two"));
		free(a);
		free(b);
	}
}

static void visit(const void *node, VISIT which, int depth)
{
	(void)node, (void)which, (void)depth;
}

static void forget(void *key)
{
	(void)key;
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

TEST(sorting_and_trees)
{
	enum { N = 100000, WIDE = 64 };
	int (*array)[WIDE] = malloc(sizeof(int[N / 10][WIDE])), *flat = malloc(sizeof(int[N])); /* qsort mallocs */
	static int keys[2000];
	void *root = NULL;

	NEED(array && flat);
	for (int i = 0; i < N; i++)
		flat[i] = i * 7919 % N;
	for (int i = 0; i < N / 10; i++)
		array[i][0] = i * 7919 % (N / 10);
	qsort(flat, N, sizeof(int), compare);
	qsort(array, N / 10, sizeof(*array), compare);
	for (int i = 0; i < N; i++)
		CHECK(flat[i] == i);
	for (int i = 0; i < N / 10; i++)
		CHECK(array[i][0] == i);
	free(array);
	free(flat);
	for (int i = 0; i < 2000; i++) {
		keys[i] = i;
		CHECK(tsearch(&keys[i], &root, compare));
	}
	twalk(root, visit);
	for (int i = 0; i < 1000; i++)
		CHECK(tdelete(&keys[i], &root, compare));
	tdestroy(root, forget);
	CHECK(hcreate(1000));
	hdestroy();
}

TEST(patterns_and_words)
{
	for (int i = 0; i < 20; i++) {
		regex_t regex;
		regmatch_t match[2];
		glob_t found;
		wordexp_t words;

		CHECK(regcomp(&regex, "^(a|b|[c-z]{2,5})*end$", REG_EXTENDED) == 0);
		CHECK(regexec(&regex, "abccddeeend", 2, match, 0) == 0);
		regfree(&regex);
		CHECK(glob("/etc/*", 0, NULL, &found) == 0 && found.gl_pathc > 1);
		globfree(&found);
		CHECK(wordexp("a b 'c d' ~", &words, 0) == 0 && words.we_wordc == 4);
		wordfree(&words);
	}
}

#define obstack_chunk_alloc malloc
#define obstack_chunk_free free

TEST(obstacks_and_vectors)
{
	struct obstack stack;
	char *argz = NULL;
	size_t length = 0;

	obstack_init(&stack);
	for (int i = 0; i < 10000; i++)
		CHECK(obstack_alloc(&stack, i % 500));
	obstack_free(&stack, NULL);
	for (int i = 0; i < 1000; i++)
		CHECK(argz_add(&argz, &length, "argument") == 0);
	CHECK(argz_count(argz, length) == 1000);
	free(argz);
}

TEST(environment)
{
	char name[32], value[2000];

	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "SHIM_TEST_%d", i);
		memset(value, 'v', sizeof(value));
		value[i * 3] = '\0';
		CHECK(setenv(name, value, 1) == 0);
	}
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "SHIM_TEST_%d", i);
		CHECK(getenv(name) && strlen(getenv(name)) == (size_t)i * 3);
		CHECK(unsetenv(name) == 0);
	}
	clearenv();
	free(malloc(100));
}

TEST(locales_conversions_and_names)
{
	struct addrinfo *found = NULL, hints = {.ai_flags = AI_NUMERICHOST};

	for (int i = 0; i < 50; i++) {
		char in[] = "text", out[64], *from = in, *to = out;
		size_t in_left = 4, out_left = sizeof(out);
		locale_t locale = newlocale(LC_ALL_MASK, "C.UTF-8", NULL);
		iconv_t converter = iconv_open("UTF-16", "UTF-8");

		NEED(locale);
		freelocale(duplocale(locale));
		freelocale(locale);
		CHECK(setlocale(LC_ALL, i % 2 ? "C.UTF-8" : "C"));
		if (converter != (iconv_t)-1) {
			CHECK(iconv(converter, &from, &in_left, &to, &out_left) == 0 && in_left == 0);
			iconv_close(converter);
		}
		CHECK(getaddrinfo("127.0.0.1", "80", &hints, &found) == 0);
		freeaddrinfo(found);
	}
}

TEST(large_printf_and_scanf)
{
	static char text[200000];

	CHECK(snprintf(text, sizeof(text), "%150000d", 1) == 150000);
	CHECK(snprintf(text, sizeof(text), "%.100000f", 1.5) == 100002);
	CHECK(text[0] == '1' && text[2] == '5');
	CHECK(snprintf(text, sizeof(text), "%1$*2$s %1$s", "a", 90000) > 90000);
	CHECK(strtod("1e308", NULL) > 1e307);
	psignal(SIGINT, "expected here");
}

/* glibc's reallocarray is not replaced: it has to land in our realloc. */
TEST(reallocarray_of_our_block)
{
	char *p = calloc(100, 1), *q;

	NEED(p);
	memset(p, 3, 100);
	for (size_t n = 100; n < 200000; n *= 2) {
		NEED(q = reallocarray(p, n, 2));
		CHECK(t_is_filled(q, 3, 100));
		CHECK(malloc_usable_size(q) >= n * 2);
		p = q;
	}
	free(p);
}
