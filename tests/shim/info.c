/* SPDX-License-Identifier: BSD-2-Clause
 *
 * malloc_trim, mallinfo, mallinfo2, malloc_info, mallopt and malloc_stats: programs print and log what these say, so
 * they have to say something true.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	BLOCKS = 2000,
	BLOCK_SIZE = 2000,
	LARGE = 8,
	LARGE_SIZE = 1 << 20,
	TOTAL = BLOCKS * BLOCK_SIZE + LARGE * LARGE_SIZE,
};

static char *blocks[BLOCKS + LARGE];

static bool fill(void)
{
	for (size_t i = 0; i < BLOCKS + LARGE; i++) {
		if (!(blocks[i] = malloc(i < BLOCKS ? BLOCK_SIZE : LARGE_SIZE)))
			return false;
		memset(blocks[i], 1, i < BLOCKS ? BLOCK_SIZE : LARGE_SIZE);
	}
	return true;
}

static void drop(void)
{
	for (size_t i = 0; i < BLOCKS + LARGE; i++)
		free(blocks[i]);
}

static size_t in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

TEST(mallinfo2_counts_what_is_in_use)
{
	size_t before = in_use(), peak, after;

	NEED(fill());
	peak = in_use();
	drop();
	after = in_use();
	t_note("in use: %zu, %zu, %zu", before, peak, after);
	CHECK(peak >= before + TOTAL);
	CHECK(peak <= before + TOTAL * 3 / 2);
	CHECK(after <= before + TOTAL / 10); /* what the pool keeps is not in use */
}

TEST(mallinfo2_adds_up)
{
	struct mallinfo2 info;

	NEED(fill());
	drop();
	info = mallinfo2();
	t_note("arena %zu, hblkhd %zu, uordblks %zu, fordblks %zu", info.arena, info.hblkhd, info.uordblks,
	       info.fordblks);
	CHECK(info.arena > 0);
	CHECK(info.arena >= info.uordblks);
	CHECK(info.arena == info.uordblks + info.fordblks);
}

TEST(mallinfo_agrees_with_mallinfo2)
{
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	struct mallinfo old;
	struct mallinfo2 info;

	NEED(fill());
	old = mallinfo();
	info = mallinfo2();
	CHECK(abs(old.uordblks - (int)info.uordblks) < 100000);
	CHECK(abs(old.arena - (int)info.arena) < (4 << 20));
	drop();
}

/* Its numbers are ints: what they can't hold is their largest. */
TEST(mallinfo_does_not_wrap, T_SHIM)
{
	char *p = malloc(((size_t)5 << 30) / 2); /* which is not touched */

	if (!p)
		t_skip("there is no address space for it");
	CHECK(mallinfo2().uordblks > INT32_MAX);
	CHECK(mallinfo().uordblks == INT32_MAX);
	CHECK(mallinfo().arena == INT32_MAX);
	free(p);
}

TEST(malloc_trim_gives_memory_back)
{
	enum { COUNT_4K = 32768 };
	static char *page[COUNT_4K];
	size_t before = t_resident(), peak, after;

	for (size_t i = 0; i < COUNT_4K; i++) {
		NEED(page[i] = malloc(4096));
		memset(page[i], 1, 4096);
	}
	peak = t_resident();
	for (size_t i = 0; i < COUNT_4K; i++)
		free(page[i]);
	CHECK(malloc_trim(0) == 1);
	after = t_resident();
	t_note("resident: %zu, %zu, %zu kB", before >> 10, peak >> 10, after >> 10);
	CHECK(peak >= before + ((size_t)COUNT_4K << 12));
	CHECK(after <= before + (16 << 20));
	page[0] = malloc(4096);
	CHECK(page[0]);
	free(page[0]);
	malloc_trim(1 << 20);
	CHECK(malloc_trim(SIZE_MAX) == 0); /* nothing can be over that */
}

/* What lay unused for two epochs is the kernel's again, although the program goes on with small calls. */
TEST(idle_memory_goes_back_by_itself, T_POOL, .conf = "epoch_ms:200")
{
	enum { SMALL = 300000, MIDDLE = 2000 };
	static char *small[SMALL], *middle[MIDDLE];
	size_t before, peak, now = SIZE_MAX;
	clock_t start;

	memset(small, 0, sizeof(small)); /* touched: part of what there was before */
	memset(middle, 0, sizeof(middle));
	before = t_resident();
	for (size_t i = 0; i < SMALL; i++) {
		NEED(small[i] = malloc(128));
		memset(small[i], 1, 128);
	}
	for (size_t i = 0; i < MIDDLE; i++) {
		NEED(middle[i] = malloc(48000));
		memset(middle[i], 1, 48000);
	}
	peak = t_resident();
	for (size_t i = 0; i < SMALL; i++)
		free(small[i]);
	for (size_t i = 0; i < MIDDLE; i++)
		free(middle[i]);
	start = clock(); /* its own time: what other programs take is not waited for by anybody */
	while (clock() < start + 4 * CLOCKS_PER_SEC && (now = t_resident()) > before + (16 << 20))
		for (int i = 0; i < 1000; i++)
			free(malloc(64));
	t_note("resident: %zu, %zu, after %ld ms %zu kB", before >> 10, peak >> 10,
	       (long)((clock() - start) * 1000 / CLOCKS_PER_SEC), now >> 10);
	CHECK(peak > before + (100 << 20));
	CHECK(now <= before + (16 << 20)); /* as read by the loop: the note's own first pages may cross the bound again */
}

TEST(malloc_info_writes_xml)
{
	char *text = NULL, *end;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	NEED(f);
	CHECK(malloc_info(0, f) == 0);
	NEED(fclose(f) == 0);
	NEED(text && size > 20);
	CHECK(!strncmp(text, "<malloc", 7));
	end = strstr(text, "</malloc>");
	CHECK(end && strspn(end + 9, " \n") == strlen(end + 9));
	free(text);
	f = fopen("/dev/null", "w");
	NEED(f);
	CHECK(malloc_info(1, f) != 0);
	fclose(f);
}

/* stderr and stdout in files of their own while fn runs; their lengths. */
static void outputs(off_t length[2], void (*fn)(void))
{
	for (int i = 0; i < 2; i++) {
		char name[] = "/tmp/shim-test-XXXXXX";
		int fd = mkstemp(name);

		unlink(name);
		dup2(i + 1, 10 + i);
		dup2(fd, i + 1);
		close(fd);
	}
	fn();
	for (int i = 0; i < 2; i++) {
		length[i] = lseek(i + 1, 0, SEEK_END);
		dup2(10 + i, i + 1);
	}
}

TEST(malloc_stats_writes_to_standard_error)
{
	off_t length[2];

	NEED(fill());
	outputs(length, malloc_stats);
	drop();
	CHECK(length[0] == 0);
	CHECK(length[1] > 0);
}

TEST(mallopt_answers_and_harms_nothing)
{
	static const int parameters[] = {M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX,
		M_ARENA_TEST, M_ARENA_MAX, M_PERTURB, M_CHECK_ACTION, 12345, -12345};

	for (size_t i = 0; i < COUNT(parameters); i++) {
		int answer = mallopt(parameters[i], parameters[i] == M_PERTURB ? 0 : 65536);

		CHECK(answer == 0 || answer == 1);
	}
	NEED(fill());
	drop();
}
