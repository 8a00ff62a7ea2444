/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The range and its page table, without jemalloc: what is carved is disjoint, aligned and committed, and the table says
 * of every address of every kind of slab whether a block starts there.
 */
#include "sys/range.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { MIB = 1 << 20 };

static void start(void)
{
	cr_assert(bp_range_start((size_t)256 * MIB, true));
	cr_assert_eq(bp_range.reserved, (size_t)256 * MIB);
}

Test(range, before_the_start_nothing_is_in_it)
{
	int local = 0;
	cr_assert_not(bp_range_has(NULL));
	cr_assert_not(bp_range_has(&local));
	cr_assert_null(bp_range_carve(NULL, BP_PAGE, BP_PAGE));
}

Test(range, pieces_are_in_order_aligned_and_writable)
{
	start();
	char *last = NULL;
	size_t last_bytes = 0;
	uint64_t state = 1;
	for (int i = 0; i < 200; i++) {
		size_t bytes = (u_random(&state) % 64 + 1) * BP_PAGE, alignment = BP_PAGE << u_random(&state) % 6;
		char *p = bp_range_carve(NULL, bytes, alignment);
		cr_assert_not_null(p);
		cr_assert_eq((uintptr_t)p % alignment, 0);
		cr_assert_geq(p, last + last_bytes, "it lies in the piece before");
		cr_assert(bp_range_has(p) && bp_range_has(p + bytes - 1));
		memset(p, 1, bytes);
		last = p;
		last_bytes = bytes;
	}
	cr_assert_not(bp_range_has(bp_range.base - 1));
	cr_assert_not(bp_range_has(bp_range.base + atomic_load(&bp_range.used)));
}

Test(range, a_wanted_place_is_given_exactly_or_not_at_all)
{
	start();
	char *p = bp_range_carve(NULL, 4 * BP_PAGE, BP_PAGE);
	cr_assert_null(bp_range_carve(p, BP_PAGE, BP_PAGE), "it is taken");
	cr_assert_null(bp_range_carve(p + 8 * BP_PAGE, BP_PAGE, BP_PAGE), "it is not the next");
	cr_assert_eq(bp_range_carve(p + 4 * BP_PAGE, BP_PAGE, BP_PAGE), p + 4 * BP_PAGE);
	cr_assert_eq(bp_range_carve(NULL, BP_PAGE, BP_PAGE), p + 5 * BP_PAGE, "a refusal moved the end");
}

Test(range, it_ends_where_its_reservation_does)
{
	start();
	cr_assert_null(bp_range_carve(NULL, bp_range.reserved + BP_PAGE, BP_PAGE));
	cr_assert_null(bp_range_carve(NULL, SIZE_MAX - BP_PAGE + 1, BP_PAGE));
	cr_assert_not_null(bp_range_carve(NULL, bp_range.reserved - BP_PAGE, BP_PAGE));
	cr_assert_null(bp_range_carve(NULL, 2 * BP_PAGE, BP_PAGE));
	char *last = bp_range_carve(NULL, BP_PAGE, BP_PAGE);
	cr_assert_eq(last, bp_range.base + bp_range.reserved - BP_PAGE);
	memset(last, 1, BP_PAGE);
	bp_range_note_large(last, BP_PAGE, BP_TAG_HUGE, BP_OWNER_NONE);
	cr_assert_eq(bp_range_start_of(last), BP_TAG_HUGE);
	cr_assert_null(bp_range_carve(NULL, BP_PAGE, BP_PAGE));
	cr_assert_eq(atomic_load(&bp_range.used), bp_range.reserved);
	cr_assert_not(bp_range_has(last + BP_PAGE));
}

Test(range, it_shrinks_to_what_is_asked_for_but_keeps_what_is_used)
{
	start();
	char *p = bp_range_carve(NULL, 10 * MIB, BP_PAGE), *table = (char *)bp_range.table;
	size_t table_bytes = bp_range.reserved / BP_PAGE * sizeof(uint32_t);
	memset(p, 7, 10 * MIB);
	bp_range_note_large(p, 10 * MIB, BP_TAG_HUGE, BP_OWNER_NONE);
	bp_range_shrink((size_t)512 * MIB);
	cr_assert_eq(bp_range.reserved, 256 * MIB, "it can't grow");
	bp_range_shrink(101 * MIB);
	cr_assert_eq(bp_range.reserved, 100 * MIB);
	cr_assert_eq(u_mapped(bp_range.base, 256 * MIB).size, 100 * MIB);
	cr_assert_leq(u_mapped(table, table_bytes).size, table_bytes * 100 / 256 + 2 * BP_PAGE);
	char *last = bp_range_carve(NULL, 90 * MIB, BP_PAGE);
	cr_assert_eq(last, p + 10 * MIB);
	memset(last, 8, 90 * MIB);
	bp_range_note_large(last + 90 * MIB - BP_PAGE, BP_PAGE, BP_TAG_HUGE, BP_OWNER_NONE);
	cr_assert_eq(bp_range_start_of(last + 90 * MIB - BP_PAGE), BP_TAG_HUGE);
	cr_assert_null(bp_range_carve(NULL, BP_PAGE, BP_PAGE));
	bp_range_shrink(0);
	cr_assert_eq(bp_range.reserved, 100 * MIB, "all of it is used");
	cr_assert_eq(bp_range_start_of(p), BP_TAG_HUGE);
	for (size_t i = 0; i < 100 * MIB; i++)
		cr_assert_eq(p[i], i < 10 * MIB ? 7 : 8);
}

/* Whatever the two do to each other, a piece lies within what is mapped. */
static void *carve_till_it_is_full(void *argument)
{
	char *p;
	while ((p = bp_range_carve(NULL, 64 * BP_PAGE, BP_PAGE)) != NULL) {
		memset(p, 1, 64 * BP_PAGE);
		bp_range_note_large(p, 64 * BP_PAGE, BP_TAG_HUGE, BP_OWNER_NONE);
	}
	return argument;
}

Test(range, it_shrinks_while_it_grows, .timeout = 60)
{
	pthread_t other;
	start();
	cr_assert_eq(pthread_create(&other, NULL, carve_till_it_is_full, NULL), 0);
	for (size_t to = 256 * MIB; to > 0; to -= 2 * MIB)
		bp_range_shrink(to);
	pthread_join(other, NULL);
	cr_assert_eq(atomic_load(&bp_range.used), bp_range.reserved);
	cr_assert_eq(u_mapped(bp_range.base, 256 * MIB).size, bp_range.reserved);
}

Test(range, only_what_is_used_is_committed)
{
	start();
	char *table = (char *)bp_range.table;
	size_t table_bytes = bp_range.reserved / BP_PAGE * sizeof(uint32_t);
	cr_assert_eq(u_mapped(bp_range.base, bp_range.reserved).dumped, 0);
	cr_assert_eq(u_mapped(table, table_bytes).dumped, 0);
	bp_range_carve(NULL, BP_PAGE, BP_PAGE);
	cr_assert_leq(u_mapped(bp_range.base, bp_range.reserved).dumped, 4 * MIB);
	cr_assert_leq(u_mapped(table, table_bytes).dumped, 128 << 10);
	bp_range_carve(NULL, 100 * MIB, BP_PAGE);
	cr_assert_leq(u_mapped(bp_range.base, bp_range.reserved).dumped, 104 * MIB);
	cr_assert_lt(u_mapped(table, table_bytes).dumped, table_bytes * 3 / 4);
}

static char *pieces[4][400];
static pthread_barrier_t together;

static void *carve(void *argument)
{
	char **own = argument;
	pthread_barrier_wait(&together);
	for (size_t i = 0; i < U_COUNT(pieces[0]); i++) {
		own[i] = bp_range_carve(NULL, 8 * BP_PAGE, BP_PAGE);
		if (own[i] != NULL)
			memset(own[i], 1, 8 * BP_PAGE);
	}
	return NULL;
}

Test(range, threads_that_carve_at_once_get_different_pieces)
{
	pthread_t ids[U_COUNT(pieces)];
	static bool seen[U_COUNT(pieces) * U_COUNT(pieces[0])];
	start();
	pthread_barrier_init(&together, NULL, U_COUNT(ids));
	for (size_t i = 0; i < U_COUNT(ids); i++)
		pthread_create(&ids[i], NULL, carve, pieces[i]);
	for (size_t i = 0; i < U_COUNT(ids); i++)
		pthread_join(ids[i], NULL);
	for (size_t i = 0; i < U_COUNT(pieces); i++)
		for (size_t j = 0; j < U_COUNT(pieces[0]); j++) {
			cr_assert_not_null(pieces[i][j]);
			size_t at = (size_t)(pieces[i][j] - bp_range.base) / (8 * BP_PAGE);
			cr_assert_lt(at, U_COUNT(seen));
			cr_assert_not(seen[at], "a piece in two hands");
			seen[at] = true;
		}
}

/* ---- the table ---- */

/* Notes the slab at p through its block number `by`; every address of it must then answer right. */
static void check_slab(char *p, unsigned class, unsigned by)
{
	size_t size = bp_class_size(class), bytes = bp_classes[class].slab_pages * BP_PAGE;
	bp_range_note_slab(p + by * size, class, BP_OWNER_NONE);
	for (size_t at = 0; at < bytes; at++) {
		unsigned tag = bp_range_start_of(p + at), expected = at % size == 0 ? class + 1 : 0;
		cr_assert_eq(tag, expected, "class %u by block %u: tag %u at %zu", class, by, tag, at);
	}
}

Test(range, slabs_know_where_their_blocks_start, .timeout = 60)
{
	start();
	for (unsigned class = 0; class < BP_CLASS_COUNT_SLAB; class++) {
		size_t bytes = bp_classes[class].slab_pages * BP_PAGE;
		unsigned blocks = bp_classes[class].slab_blocks;
		char *p = bp_range_carve(NULL, 3 * bytes, BP_PAGE);
		p += bytes;
		for (unsigned round = 0; round < 3; round++) {
			check_slab(p, class, round == 0 ? 0 : round == 1 ? blocks - 1 : blocks / 2);
			cr_assert_eq(bp_range_start_of(p - bp_class_size(class)), 0, "the slab before was written");
			cr_assert_eq(bp_range_start_of(p + bytes), 0, "the slab behind was written");
			bp_range_forget(p, bytes);
			for (size_t at = 0; at < bytes; at += 8)
				cr_assert_eq(bp_range_start_of(p + at), 0);
		}
	}
}

Test(range, a_slab_replaces_what_its_pages_held_before)
{
	start();
	for (unsigned old = 0; old < BP_CLASS_COUNT_SLAB; old += 5)
		for (unsigned class = 0; class < BP_CLASS_COUNT_SLAB; class += 3) {
			char *p = bp_range_carve(NULL, 64 * BP_PAGE, BP_PAGE);
			size_t bytes = bp_classes[old].slab_pages * BP_PAGE;
			for (size_t at = 0; at + bytes <= 64 * BP_PAGE; at += bytes)
				bp_range_note_slab(p + at, old, BP_OWNER_NONE);
			check_slab(p, class, bp_classes[class].slab_blocks / 2);
		}
}

Test(range, a_large_block_starts_at_its_first_byte_only)
{
	start();
	for (unsigned class = BP_CLASS_COUNT_SLAB; class <= BP_CLASS_COUNT; class += 3) {
		unsigned tag = class >= BP_CLASS_COUNT ? BP_TAG_HUGE : class + 1;
		size_t bytes = class >= BP_CLASS_COUNT ? 5 * MIB : bp_class_size(class);
		char *p = bp_range_carve(NULL, bytes + BP_PAGE, BP_PAGE);
		/* Small slabs were there before, and behind it one stays. */
		for (size_t at = 0; at < bytes + BP_PAGE; at += BP_PAGE)
			bp_range_note_slab(p + at, 1, BP_OWNER_NONE);
		bp_range_note_large(p, bytes, tag, BP_OWNER_NONE);
		cr_assert_eq(bp_range_start_of(p), tag);
		for (size_t at = 8; at < bytes; at += at < 2 * BP_PAGE ? 8 : 1000)
			cr_assert_eq(bp_range_start_of(p + at), 0, "tag %u: a block starts at %zu", tag, at);
		cr_assert_eq(bp_range_start_of(p + bytes), 2, "the neighbour's entry is gone");
		bp_range_forget(p, bytes);
		cr_assert_eq(bp_range_start_of(p), 0);
		cr_assert_eq(bp_range_start_of(p + bytes), 2);
	}
}

Test(range, a_block_is_of_one_class_whatever_else_would_fit)
{
	start();
	for (unsigned class = 1; class < BP_CLASS_COUNT_SLAB; class++) {
		size_t size = bp_class_size(class);
		char *p = bp_range_carve(NULL, 16 * BP_PAGE, BP_PAGE);
		bp_range_note_slab(p, class, BP_OWNER_NONE);
		for (unsigned block = 0; block < bp_classes[class].slab_blocks; block += 1 + block / 8)
			for (unsigned tag = 1; tag <= BP_TAG_HUGE; tag++)
				cr_assert_eq(bp_range_starts_as(tag, p + block * size), tag == class + 1,
					     "block %u of class %u passes for tag %u", block, class, tag);
	}
}

Test(range, what_is_purged_reads_as_zero_and_is_no_block_any_more)
{
	start();
	unsigned class = bp_class_of(48);
	size_t bytes = bp_classes[class].slab_pages * BP_PAGE;
	char *p = bp_range_carve(NULL, 3 * bytes, BP_PAGE);
	for (size_t at = 0; at < 3 * bytes; at += bytes)
		bp_range_note_slab(p + at, class, BP_OWNER_NONE);
	memset(p, 1, 3 * bytes);
	cr_assert(bp_range_purge(p + bytes, bytes));
	for (size_t at = 0; at < bytes; at += 16)
		cr_assert(bp_range_start_of(p + bytes + at) == 0 && p[bytes + at] == 0);
	cr_assert(bp_range_start_of(p) == class + 1 && p[bytes - 1] == 1, "the slab before went, too");
	cr_assert(bp_range_start_of(p + 2 * bytes) == class + 1 && p[2 * bytes] == 1, "the slab behind went, too");
}

/* So many entries that whole pages of the table go back to the kernel. */
Test(range, a_block_of_80_MiB_clears_its_own_entries_and_no_others)
{
	start();
	enum { BEFORE = 37, BYTES = 80 * MIB };
	char *p = bp_range_carve(NULL, BEFORE * BP_PAGE + BYTES + BP_PAGE, BP_PAGE), *block = p + BEFORE * BP_PAGE;
	for (size_t at = 0; at <= BEFORE * BP_PAGE + BYTES; at += BP_PAGE)
		bp_range_note_slab(p + at, 1, BP_OWNER_NONE);
	bp_range_note_large(block, BYTES, BP_TAG_HUGE, BP_OWNER_NONE);
	for (char *at = p; at < block; at += BP_PAGE)
		cr_assert_eq(bp_range_start_of(at), 2, "an entry before it is gone");
	cr_assert_eq(bp_range_start_of(block), BP_TAG_HUGE);
	for (size_t at = BP_PAGE; at < BYTES; at += BP_PAGE)
		cr_assert_eq(bp_range_start_of(block + at), 0, "an old entry is left at %zu", at);
	cr_assert_eq(bp_range_start_of(block + BYTES), 2, "an entry behind it is gone");
}

Test(range, a_page_belongs_to_the_block_that_reaches_it)
{
	start();
	unsigned class = bp_class_of(20480);
	char *p = bp_range_carve(NULL, 16 * BP_PAGE, BP_PAGE);
	cr_assert_eq(bp_range_around(p), 0);
	bp_range_note_large(p + BP_PAGE, 20480, class + 1, BP_OWNER_NONE);
	cr_assert_eq(bp_range_around(p + 10), 0);
	cr_assert_eq(bp_range_around(p + BP_PAGE + 10), class + 1);
	cr_assert_eq(bp_range_around(p + BP_PAGE + 20479), class + 1);
	cr_assert_eq(bp_range_around(p + BP_PAGE + 20480), 0, "it ended before that page");
}

Test(range, marks_differ_from_block_to_block_and_from_what_programs_write)
{
	start();
	char *p = bp_range_carve(NULL, BP_PAGE, BP_PAGE);
	cr_assert((char *)bp_mark_of(p) >= p && (char *)bp_mark_of(p) <= p + 8, "the smallest blocks have room for it");
	cr_assert_neq(bp_mark_value(p), bp_mark_value(p + 16));
	cr_assert_neq(bp_mark_value(p), 0);
	cr_assert_neq(bp_mark_value(p), (uintptr_t)p);
}

/* ---- huge pages ---- */

static void need_huge_pages(void)
{
	if (access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) != 0)
		cr_skip_test("this kernel has no transparent huge pages");
}

static void grow_to_64_MiB(void)
{
	bp_range_carve(NULL, 16 * MIB, BP_PAGE);
	bp_range_carve(NULL, 48 * MIB, BP_PAGE);
}

static size_t huge_bytes(size_t from, size_t bytes)
{
	return u_mapped(bp_range.base + from, bytes).huge;
}

Test(range, huge_pages_are_asked_for_behind_the_first_16_MiB)
{
	need_huge_pages();
	start();
	grow_to_64_MiB();
	cr_assert_eq(huge_bytes(0, 16 * MIB), 0, "small programs pay for whole huge pages");
	cr_assert_eq(huge_bytes(16 * MIB, 48 * MIB), 48 * MIB);
}

Test(range, huge_pages_are_asked_for_only_where_they_are_wanted)
{
	cr_assert(bp_range_start((size_t)256 * MIB, false));
	grow_to_64_MiB();
	cr_assert_eq(huge_bytes(0, 64 * MIB), 0);
}

/* Else khugepaged fills the hole again. */
Test(range, a_huge_page_that_is_given_back_in_part_is_none_any_more)
{
	need_huge_pages();
	start();
	grow_to_64_MiB();
	cr_assert(bp_range_purge(bp_range.base + 20 * MIB + BP_PAGE, 6 * MIB - 2 * BP_PAGE));
	cr_assert_eq(huge_bytes(20 * MIB, 2 * MIB), 0, "the first one is given back but for a page");
	cr_assert_eq(huge_bytes(24 * MIB, 2 * MIB), 0, "and so is the last one");
	cr_assert_eq(huge_bytes(22 * MIB, 2 * MIB), 2 * MIB, "this one was given back whole");
	cr_assert_eq(huge_bytes(18 * MIB, 2 * MIB), 2 * MIB);
	cr_assert_eq(huge_bytes(26 * MIB, 2 * MIB), 2 * MIB);
}

/* ---- fork ---- */

static _Atomic bool stop;

static void *carve_all_the_time(void *argument)
{
	while (!stop)
		bp_range_carve(NULL, 2 * MIB, BP_PAGE);
	return argument;
}

/* The other thread holds the lock most of the time, in system calls. */
Test(range, a_child_carves_whatever_other_threads_were_at, .timeout = 60)
{
	pthread_t other;
	cr_assert(bp_range_start((size_t)1 << 40, false));
	cr_assert_eq(pthread_create(&other, NULL, carve_all_the_time, NULL), 0);
	for (int i = 0; i < 40; i++) {
		int status = -1;
		pid_t child = fork();
		if (child == 0) {
			alarm(30);
			bp_range_child();
			_exit(bp_range_carve(NULL, BP_PAGE, BP_PAGE) == NULL);
		}
		cr_assert_eq(waitpid(child, &status, 0), child);
		cr_assert_eq(status, 0, "child %d: status %x", i, status);
	}
	stop = true;
	pthread_join(other, NULL);
}

/* ---- limits ---- */

Test(range, what_the_address_limit_refuses_is_tried_with_half)
{
	struct rlimit limit;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = (u_status_kb("VmSize") << 10) + ((size_t)1 << 30);
	cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
	cr_assert(bp_range_start((size_t)1 << 40, true));
	cr_assert_leq(bp_range.reserved, (size_t)1 << 30);
	cr_assert_geq(bp_range.reserved, (size_t)256 * MIB);
	memset(bp_range_carve(NULL, MIB, BP_PAGE), 1, MIB);
}

Test(range, where_nothing_can_be_had_it_says_so)
{
	struct rlimit limit;
	getrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = (u_status_kb("VmSize") << 10) + 32 * MIB;
	cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
	cr_assert_not(bp_range_start((size_t)1 << 40, true));
	cr_assert_null(bp_range_carve(NULL, BP_PAGE, BP_PAGE));
	cr_assert_not(bp_range_has(NULL));
	cr_assert_neq(bp_range.secret, 0, "blocks from outside bear marks as well");
}
