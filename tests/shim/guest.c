/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program of its own for surroundings.sh, which starts it under this and that. Its first argument says what it does.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Blocks of every kind, checked; the answer is printed so that a shell can compare it. */
static int work(void)
{
	unsigned long sum = 0;

	for (int i = 0; i < 5000; i++) {
		size_t n = (size_t)i * 37 % 90000 + 1;
		unsigned char *p = malloc(n), *q = calloc(1, n), *r = memalign(64, n);

		if (!p || !q || !r || q[n - 1] || (size_t)r % 64)
			return 1;
		memset(p, i, n);
		memset(r, i, n);
		if (!(p = realloc(p, n + 100)) || p[n - 1] != (unsigned char)i || memcmp(p, r, n))
			return 2;
		sum += p[n / 2] + malloc_usable_size(q) / (n + 1000000);
		free(q);
		free(p);
		free(r);
	}
	printf("sum %lu\n", sum);
	return 0;
}

/* Ends with a core file after `megabytes` of blocks. */
static void dump(size_t megabytes)
{
	for (size_t i = 0; i < megabytes * 16; i++)
		memset(malloc(65536), 1, 65536);
	abort();
}

/* As nginx and sendmail: where arguments and environment were is written over, for ps to show. */
static int overwrite(char **argv)
{
	extern char **environ;
	static char *none[] = {NULL};

	for (char **entry = environ; *entry; entry++)
		memset(*entry, 'x', strlen(*entry));
	memset(argv[1], 'x', strlen(argv[1]));
	environ = none;
	return work();
}

/* Pages of address space, told without a call of malloc. */
static long mapped(void)
{
	char text[64];
	int fd = open("/proc/self/statm", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return atol(text);
}

/* The range is there after the first call, and not before. */
static int start(void)
{
	enum { PAGES = (64 << 20) / 4096 };
	long before = mapped();

	free(malloc(1));
	return before > 0 && before < PAGES && mapped() > before + PAGES ? 0 : 1;
}

static int open_library(const char *path, int flags)
{
	void *library = dlopen(path, flags);

	if (!library) {
		puts(dlerror());
		return 3;
	}
	if (dlsym(library, "bufpool_acquire")) {
		void *(*acquire)(size_t) = (void *(*)(size_t))dlsym(library, "bufpool_acquire");
		void (*release)(void *) = (void (*)(void *))dlsym(library, "bufpool_release");
		void *p = acquire(50000);

		if (!p)
			return 4;
		memset(p, 1, 50000);
		release(p);
	}
	puts("opened");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 9;
	if (!strcmp(argv[1], "work"))
		return work();
	if (!strcmp(argv[1], "start"))
		return start();
	if (!strcmp(argv[1], "nohuge"))
		return prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) ? 8 : work();
	if (!strcmp(argv[1], "overwrite"))
		return overwrite(argv);
	if (!strcmp(argv[1], "dump"))
		dump((size_t)atol(argv[2]));
	if (!strcmp(argv[1], "open"))
		return open_library(argv[2], RTLD_NOW);
	if (!strcmp(argv[1], "deep"))
		return open_library(argv[2], RTLD_NOW | RTLD_DEEPBIND);
	return 9;
}
