/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The memory resource of C++ over a pool: containers of the standard library, alignments, sizes and refusals.
 */
#include <bufpool/adapters/pmr.hpp>
#include "support.h"

#include <criterion/criterion.h>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

TestSuite(pmr, .timeout = 60);

using words = std::pmr::map<std::pmr::string, std::pmr::vector<int>>;

static const char *word(int i)
{
	static const char *const some[] = { "a", "word that is too long to lie inside of the string", "third" };

	return some[i % 3];
}

static void fill(words &w)
{
	for (int i = 0; i < 1000; i++)
		w[std::pmr::string(word(i)) + std::pmr::string(std::to_string(i % 100))].push_back(i);
}

Test(pmr, containers_are_what_they_are_without_it)
{
	t_begin();
	{
		bufpool_resource resource;
		words with(&resource), without;

		fill(with);
		fill(without);
		cr_assert(with == without);
		cr_assert_gt(t_asked(), 500u);
		cr_assert_gt(t_out(), 300);
	}
	t_end();
}

Test(pmr, a_pool_of_ones_own)
{
	struct bufpool_stats s = {};
	struct bufpool *pool;

	cr_assert_eq(bufpool_create(&pool, nullptr), 0);
	t_begin();
	{
		bufpool_resource resource(pool);
		words w(&resource);

		fill(w);
		s.size = sizeof(s);
		cr_assert_eq(bufpool_stats_get(&s, pool), 0);
		cr_assert_eq(s.in_use, static_cast<uint64_t>(t_out()));
	}
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_eq(s.in_use, 0u);
	t_end();
	bufpool_destroy(pool);
}

/* Every alignment with sizes around it; the block is written whole, twice as many as fit into one slab. */
static void expect_aligned(std::pmr::memory_resource *resource)
{
	for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
		for (size_t n : { size_t(0), size_t(1), alignment / 2, alignment, 3 * alignment + 1, size_t(5000) }) {
			void *p[20];

			for (void *&one : p) {
				one = resource->allocate(n, alignment);
				cr_assert_eq(reinterpret_cast<uintptr_t>(one) % alignment, 0u, "%zu, %zu", n,
					     alignment);
				memset(one, 0xa5, n);
			}
			for (void *one : p)
				resource->deallocate(one, n, alignment);
		}
	}
}

Test(pmr, alignments)
{
	struct bufpool *pool;

	cr_assert_eq(bufpool_create(&pool, nullptr), 0);
	t_begin();
	{
		bufpool_resource resource, other(pool);

		expect_aligned(&resource);
		expect_aligned(&other);
	}
	t_end();
	bufpool_destroy(pool);
}

Test(pmr, equal_are_resources_of_one_pool)
{
	struct bufpool *pool;

	cr_assert_eq(bufpool_create(&pool, nullptr), 0);
	{
		bufpool_resource one, two, other(pool), another(pool);

		cr_assert(one == two && other == another);
		cr_assert(one != other && other != two);
		cr_assert(one != *std::pmr::new_delete_resource());
		cr_assert(one == *bufpool_pmr_default());
	}
	bufpool_destroy(pool);
}

Test(pmr, threads_share_a_resource)
{
	t_begin();
	{
		bufpool_resource resource;
		std::pmr::vector<int> made(&resource);
		std::thread filler([&] { made.assign(10000, 7); });
		words w(&resource);

		fill(w);
		filler.join();
		cr_assert_eq(made[9999], 7);
	}
	t_end();
}

Test(pmr, install_changes_what_containers_take)
{
	std::pmr::memory_resource *before;

	t_begin();
	before = bufpool_pmr_install_process();
	cr_assert_eq(before, std::pmr::new_delete_resource());
	{
		words w;

		fill(w);
		cr_assert_gt(t_out(), 300);
	}
	std::pmr::set_default_resource(before);
	t_end();
}

static enum t_outcome fill_work(void *pool)
{
	bufpool_resource resource(static_cast<struct bufpool *>(pool));
	words w(&resource);

	try {
		for (int i = 0; i < 20; i++) {
			w[std::pmr::string(word(i), &resource)].push_back(i);
			resource.deallocate(resource.allocate(100, 64), 100, 64);
		}
	} catch (const std::bad_alloc &) {
		return T_REPORTED;
	}
	cr_assert_eq(w.size(), 3u);
	return T_DONE;
}

Test(pmr, every_refusal_is_thrown)
{
	struct bufpool *pool;
	struct t_sweep s;

	cr_assert_eq(bufpool_create(&pool, nullptr), 0);
	t_begin();
	s = t_sweep(fill_work, nullptr);
	cr_assert_gt(s.asked, 20u);
	cr_assert_eq(s.reported, 2 * s.asked);
	s = t_sweep(fill_work, pool);
	cr_assert_eq(s.reported, 2 * s.asked);
	t_end();
	bufpool_destroy(pool);
}
