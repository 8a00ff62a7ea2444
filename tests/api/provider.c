/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program that links a library of ours and looks whose malloc it has: the C library's, before and after the first
 * use, and a pool that does not own what malloc gives. Built twice, with the shared and with the static library.
 */
#include <bufpool/bufpool.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int wrong;

static void look(const char *name, uintptr_t linked)
{
	void *found = dlsym(RTLD_DEFAULT, name);
	Dl_info info = { 0 };

	if (!dladdr((void *)linked, &info) || !info.dli_fname || !strstr(info.dli_fname, "libc.so")) {
		printf("%s comes from %s\n", name, info.dli_fname ? info.dli_fname : "nowhere");
		wrong = 1;
	}
	if ((uintptr_t)found != linked) {
		printf("%s is not what everybody else has\n", name);
		wrong = 1;
	}
}

static void look_at_all(void)
{
	look("malloc", (uintptr_t)malloc);
	look("free", (uintptr_t)free);
	look("calloc", (uintptr_t)calloc);
	look("realloc", (uintptr_t)realloc);
	look("posix_memalign", (uintptr_t)posix_memalign);
	look("aligned_alloc", (uintptr_t)aligned_alloc);
	look("memalign", (uintptr_t)memalign);
	look("malloc_usable_size", (uintptr_t)malloc_usable_size);
}

static void try_sizes(void)
{
	for (size_t n = 1; n < 1 << 22; n *= 3) {
		void *heap = malloc(n), *block = bufpool_acquire(n);

		if (!heap || !block || bufpool_owns(heap) || !bufpool_owns(block)) {
			printf("%zu bytes: malloc's owned: %d, ours: %d\n", n, bufpool_owns(heap), bufpool_owns(block));
			wrong = 1;
		}
		free(heap);
		bufpool_release(block);
	}
}

int main(void)
{
	const struct mallinfo2 before = mallinfo2();
	void *heap;

	look_at_all();
	try_sizes();
	look_at_all();
	heap = malloc(1000);
	if (!heap || mallinfo2().uordblks < before.uordblks + 1000) {
		printf("malloc does not count in glibc's heap\n");
		wrong = 1;
	}
	free(heap);
	return wrong;
}
