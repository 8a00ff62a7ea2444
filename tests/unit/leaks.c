/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The table of what is out, and what a return address stands for. Marks and pools are of no interest here: addresses
 * are numbers.
 */
#include "cache/leaks.h"
#include "support.h"
#include "sys/sites.h"
#include "sys/unwind.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

static void start(void)
{
	cr_assert(bp_leaks_start());
}

TestSuite(leaks, .timeout = 60, .init = start);

static const void *address(uintptr_t i)
{
	return (const void *)(0x100000 + i * 16);
}

/* How many are noted, and the sum of their sizes. */
static uint64_t noted(uint64_t *bytes)
{
	struct bp_leak l;
	uint64_t n = 0;

	*bytes = 0;
	for (uint32_t i = 0; i < bp_leaks_places(); i++)
		if (bp_leaks_get(&l, i)) {
			n++;
			*bytes += l.size;
		}
	return n;
}

static void expect(uint64_t blocks, uint64_t bytes)
{
	uint64_t have_bytes, have = noted(&have_bytes);

	cr_assert_eq(have, blocks, "%ju noted, not %ju", (uintmax_t)have, (uintmax_t)blocks);
	cr_assert_eq(have_bytes, bytes);
}

Test(leaks, what_is_noted_is_there_until_it_is_forgotten)
{
	enum { COUNT = 300000 }; /* more than buckets */

	for (uintptr_t i = 0; i < COUNT; i++)
		bp_leaks_note(address(i), i, NULL);
	expect(COUNT, (uint64_t)COUNT * (COUNT - 1) / 2);
	for (uintptr_t i = 0; i < COUNT; i += 2)
		bp_leaks_forget(address(i));
	expect(COUNT / 2, (uint64_t)COUNT / 2 * (COUNT / 2));
	for (uintptr_t i = 1; i < COUNT; i += 2)
		bp_leaks_forget(address(i));
	expect(0, 0);
	cr_assert_eq(bp_leaks_missed(), 0);
}

Test(leaks, places_are_used_again)
{
	uint32_t places;

	for (uintptr_t i = 0; i < 1000; i++)
		bp_leaks_note(address(i), 1, NULL);
	places = bp_leaks_places();
	for (unsigned round = 0; round < 100; round++)
		for (uintptr_t i = 0; i < 1000; i++) {
			bp_leaks_forget(address(i));
			bp_leaks_note(address(i), 1, NULL);
		}
	cr_assert_eq(bp_leaks_places(), places);
	expect(1000, 1000);
}

Test(leaks, a_second_note_of_the_same_address_replaces_the_first)
{
	bp_leaks_note(address(1), 10, NULL);
	bp_leaks_note(address(1), 20, NULL);
	expect(1, 20);
	bp_leaks_resize(address(1), 30);
	expect(1, 30);
	bp_leaks_resize(address(2), 30);
	bp_leaks_forget(address(2));
	expect(1, 30);
}

Test(leaks, what_refers_to_a_block_is_summed)
{
	struct bp_leak l;

	bp_leaks_note(address(1), 10, NULL);
	cr_assert(bp_leaks_get(&l, 0));
	cr_assert_eq(l.referenced, -1);
	bp_leaks_refer(address(1), 7);
	bp_leaks_refer(address(1), 5);
	bp_leaks_refer(address(1), -7);
	bp_leaks_refer(address(9), 1);
	cr_assert(bp_leaks_get(&l, 0));
	cr_assert_eq(l.referenced, 5);
}

Test(leaks, a_pool_is_forgotten_as_a_whole)
{
	struct bp_pool *one = (struct bp_pool *)address(1), *other = (struct bp_pool *)address(2);

	for (uintptr_t i = 0; i < 1000; i++)
		bp_leaks_note(address(i), i < 400 ? 1 : 1000, i < 400 ? one : other);
	bp_leaks_forget_pool(other);
	expect(400, 400);
}

/* ---- threads ---- */

enum { THREADS = 4, EACH = 500, TURNS = 300 };

static atomic_bool done;

/* Sizes say whose an address is: a mixture of two threads' would show. */
static void *turn(void *number)
{
	uintptr_t own = (uintptr_t)number;

	for (unsigned i = 0; i < TURNS; i++) {
		for (uintptr_t k = 0; k < EACH; k++)
			bp_leaks_note(address(k * THREADS + own), own + 1, NULL);
		for (uintptr_t k = 0; k < EACH && i + 1 < TURNS; k++)
			bp_leaks_forget(address(k * THREADS + own));
	}
	return NULL;
}

static void *look(void *arg)
{
	uintptr_t wrong = 0;

	(void)arg;
	while (!atomic_load(&done))
		for (uint32_t i = 0; i < bp_leaks_places(); i++) {
			struct bp_leak l;

			if (bp_leaks_get(&l, i))
				wrong += l.size != (l.address - (uintptr_t)address(0)) / 16 % THREADS + 1;
		}
	return (void *)wrong;
}

Test(leaks, S24_threads_note_and_forget_while_one_reads)
{
	pthread_t threads[THREADS], reader;
	void *wrong;

	cr_assert_eq(pthread_create(&reader, NULL, look, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, turn, (void *)i), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&done, true);
	pthread_join(reader, &wrong);
	cr_assert_null(wrong);
	expect(THREADS * EACH, EACH * (1 + 2 + 3 + 4));
}

/* ---- places ---- */

static __attribute__((noinline)) uintptr_t caller(void)
{
	uintptr_t address = (uintptr_t)__builtin_return_address(0);

	__asm__ volatile("" : "+r"(address) : : "memory"); /* each call is one of its own */
	return address;
}

Test(sites, a_function_of_a_library_is_named)
{
	struct bp_site site;
	char line[256];
	struct bp_text t = BP_TEXT_ON(line);
	uintptr_t inside = (uintptr_t)getsubopt + 9;

	bp_site_find(&site, inside);
	cr_assert_str_eq(site.function, "getsubopt");
	cr_assert_eq(site.in_function, 8);
	cr_assert_null(site.file);
	bp_site_text(&t, &site, inside);
	cr_assert_eq(strncmp(line, "getsubopt+0x8 (libc.so.6+0x", sizeof("getsubopt+0x8 (libc.so.6+0x") - 1), 0, "%s", line);
}

Test(sites, what_is_in_no_file_is_a_number)
{
	struct bp_site site;
	char line[256];
	struct bp_text t = BP_TEXT_ON(line);

	bp_site_find(&site, 0x1234);
	cr_assert_null(site.module);
	bp_site_text(&t, &site, 0x1234);
	cr_assert_str_eq(line, "0x1234");
}

/* As bufpool/sites.h leaves it. */
#define NOTE(line, file)                                                                                         \
	__asm__ volatile("990:\n\t.pushsection .note.bufpool,\"a?\",\"note\"\n\t.balign 4\n\t.4byte 8, 992f-991f, 1\n" \
			 "\t.asciz \"bufpool\"\n991:\t.4byte 990b-., " #line "\n\t.asciz \"" file "\"\n"          \
			 "992:\t.balign 4\n\t.popsection")

static __attribute__((noinline)) void expect_note(uintptr_t address, uint32_t line, const char *file)
{
	struct bp_site site;

	bp_site_find(&site, address);
	cr_assert_not_null(site.file);
	cr_assert_str_eq(site.file, file);
	cr_assert_eq(site.line, line);
}

Test(sites, S23_the_nearest_note_before_a_call_is_its_own)
{
	uintptr_t first, second;

	NOTE(11, "a.c");
	first = caller();
	NOTE(22, "some/longer name.c");
	second = caller();
	expect_note(first, 11, "a.c");
	expect_note(second, 22, "some/longer name.c");
}

static __attribute__((noinline)) uintptr_t without_note(void)
{
	uintptr_t here = caller();

	__asm__ volatile("" : "+r"(here));
	return here;
}

Test(sites, a_call_in_another_function_has_none)
{
	struct bp_site site;

	bp_site_find(&site, without_note());
	cr_assert_null(site.file);
	cr_assert_not_null(site.module);
}
