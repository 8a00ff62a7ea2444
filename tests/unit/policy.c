/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the mechanism relies on whatever the numbers are: every rule of policy.h for every class stays within the bounds
 * that other files have.
 */
#include "cache/policy.h"

#include <criterion/criterion.h>

#include "percpu/percpu.h"
#include "support.h"

Test(policy, a_batch_fits_into_a_magazine)
{
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		unsigned n = bp_policy_batch(class);
		cr_assert(n >= 1 && n <= BP_MAGAZINE_SLOTS);
		cr_assert(n == 1 || n * bp_class_size(class) <= BP_BATCH_BYTES);
	}
}

Test(policy, capacities_fit_into_the_slots_and_the_cpus_bytes)
{
	const uint64_t mosts[] = { BP_CPU_BYTES, 1 << 20, 0 };
	for (unsigned i = 0; i < 3 * BP_CLASS_COUNT; i++) {
		const uint64_t most = mosts[i % 3];
		unsigned class = i / 3, slots = bp_percpu_slots(class), now = bp_policy_first_capacity(class, 0, most);
		size_t size = bp_class_size(class);
		cr_assert(now >= 1 && now <= slots, "class %u starts with %u of %u", class, now, slots);
		cr_assert_eq(bp_policy_first_capacity(class, most, most), 2);
		for (uint64_t bytes = 0; bytes <= most + size; bytes += most / 64 + 1) {
			unsigned first = bp_policy_first_capacity(class, bytes, most);
			cr_assert(first == 2 || bytes + first * size <= most);
			unsigned grown = bp_policy_grown_capacity(class, now, slots, bytes, most);
			cr_assert(grown >= now && grown <= slots);
			cr_assert(grown == now || bytes + (grown - now) * size <= most);
		}
		for (int n = 0; n < 600; n++)
			now = bp_policy_grown_capacity(class, now, slots, 0, most);
		cr_assert(now == slots || (slots - now) * size > most, "class %u stops at %u of %u", class, now, slots);
	}
}

Test(policy, where_memory_is_scarce_the_cpus_stacks_have_a_sixteenth_of_it)
{
	cr_assert_eq(bp_policy_cpu_bytes(0, 2), BP_CPU_BYTES);
	cr_assert_eq(bp_policy_cpu_bytes(UINT64_MAX, 2), BP_CPU_BYTES);
	cr_assert_eq(bp_policy_cpu_bytes((uint64_t)64 << 30, 64), BP_CPU_BYTES);
	cr_assert_eq(bp_policy_cpu_bytes(64 << 20, 2), 2 << 20);
	cr_assert_eq(bp_policy_cpu_bytes(512 << 20, 64), 512 << 10);
	cr_assert_eq(bp_policy_cpu_bytes(64 << 20, 0), 4 << 20);
}

/* The released block itself goes into the magazine, too. */
Test(policy, a_flush_leaves_room_in_the_magazine_and_on_the_cpu)
{
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++)
		for (unsigned capacity = 1; capacity <= bp_percpu_slots(class); capacity++) {
			unsigned n = bp_policy_flush(class, capacity);
			cr_assert_leq(n + 1, BP_MAGAZINE_SLOTS);
			cr_assert_leq(n, (capacity + 1) / 2, "class %u of %u: %u", class, capacity, n);
		}
}

/* The buffer that acquire.c fills into has room for that many. */
Test(policy, a_fill_fits_into_the_buffer_and_ends_at_whole_slabs)
{
	for (unsigned class = 0; class < BP_CLASS_COUNT; class++) {
		unsigned whole = bp_classes[class].slab_blocks, n = 1;
		for (int i = 0; i < 40; i++) {
			unsigned next = bp_policy_fill(class, n, whole);
			cr_assert_geq(next, 1);
			cr_assert_leq(next, BP_FILL_BLOCKS, "class %u asks for %u blocks", class, next);
			n = next;
		}
		cr_assert(whole == 1 || n % whole == 0 || n < whole, "class %u: %u is no number of slabs of %u", class, n,
			  whole);
		cr_assert(n * bp_class_size(class) <= BP_FILL_BYTES || n == 1 || n == whole);
	}
}

Test(policy, the_budget_is_the_smaller_of_the_limit_and_the_use)
{
	cr_assert_eq(bp_policy_budget(1000, 0, 0), 0);
	cr_assert_eq(bp_policy_budget(1000, 5000, 0), 1000);
	cr_assert_eq(bp_policy_budget((uint64_t)1 << 40, 5000, 2), 5000 + 2 * (uint64_t)BP_CPU_FLOOR);
	cr_assert_eq(bp_policy_budget(0, 5000, 1000), 0);
}

Test(policy, large_classes_steal_small_ones_do_not)
{
	for (unsigned class = 1; class < BP_CLASS_COUNT; class++)
		cr_assert_eq(bp_policy_steals(class), bp_class_size(class) >= BP_STEAL_SIZE);
}

Test(policy, intervals_are_ones_that_a_count_can_have)
{
	static const uint32_t values[] = { 0, 1, 2, 63, 1000, 8191, 8192, 1u << 20, UINT32_MAX / 2, UINT32_MAX };
	for (size_t i = 0; i < U_COUNT(values); i++)
		for (size_t j = 0; j < U_COUNT(values); j++)
			for (uint32_t epoch = 10; epoch <= 3600000; epoch *= 6) {
				uint32_t n = bp_policy_interval(values[i], values[j], epoch, (i + j) % 2 == 0);
				cr_assert(n >= 2 && n <= BP_INTERVAL_MAX, "%u after %u in %u ms", n, values[i], values[j]);
			}
}

/* A program that only hits, at any speed: looks at the clock often enough to notice each epoch, and not much oftener. */
Test(policy, looks_at_the_clock_fall_due_some_16_times_an_epoch)
{
	for (uint32_t epoch = 100; epoch <= 10000; epoch *= 10)
		for (double per_ms = 0.05; per_ms < 1000; per_ms *= 7) {
			uint32_t interval = BP_HITS_INTERVAL_FIRST, looks = 0;
			double now = 0, last = 0;
			/* The first epochs are for getting there. */
			for (int i = 0; i < 200; i++) {
				last = now;
				now += interval / per_ms;
				interval = bp_policy_interval(interval - 1, (uint32_t)(now - last), epoch, false);
			}
			for (double end = now + 8.0 * epoch; now < end; looks++) {
				last = now;
				now += interval / per_ms;
				interval = bp_policy_interval(interval - 1, (uint32_t)(now - last), epoch, false);
			}
			bool slow = per_ms * epoch < 64;
			cr_assert(slow || looks >= 8 * 4, "%u looks in 8 epochs of %u ms at %g a ms", looks, epoch, per_ms);
			bool fast = interval == BP_INTERVAL_MAX;
			cr_assert(fast || slow || looks <= 8 * 80, "%u looks in 8 epochs of %u ms at %g a ms", looks, epoch,
				  per_ms);
		}
}

Test(policy, giving_back_is_no_pause_and_comes_to_an_end)
{
	for (uint64_t since = 0; since < UINT64_MAX / 3; since = since * 3 + 1) {
		uint64_t ns = bp_policy_giveback_ns(since, false);
		cr_assert(ns >= 1000 && ns <= 1000000, "%lu ns after %lu", (unsigned long)ns, (unsigned long)since);
		cr_assert(ns <= 2000 || ns <= since / 8, "it would take most of the time");
		uint64_t at_most = bp_policy_giveback_ns(since, true);
		cr_assert(at_most >= 500000 && at_most <= 1000000, "crowded: %lu ns", (unsigned long)at_most);
	}
}

Test(policy, where_memory_is_scarce_a_sixteenth_of_it_may_wait)
{
	cr_assert_eq(bp_policy_waiting(64 << 20), 4 << 20);
	cr_assert_eq(bp_policy_waiting((uint64_t)2 << 30), 128 << 20);
	cr_assert_eq(bp_policy_waiting((uint64_t)BP_AMPLE_MIB << 20), UINT64_MAX);
	cr_assert_eq(bp_policy_waiting(UINT64_MAX), UINT64_MAX);
}
