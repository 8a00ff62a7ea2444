/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: a std::pmr::memory_resource over a pool, for C++17 and later.
 *
 *	#include <bufpool/adapters/pmr.hpp>
 *
 *	bufpool_resource resource(pool);
 *	std::pmr::vector<std::pmr::string> lines(&resource);
 *
 * Containers know how much they give back, so the release is a sized one. Threads may share a resource: unlike the
 * standard's own pools this one needs no lock for that.
 *
 * Who frees: the container that allocated, through the resource, which must outlive it. What its allocator returned
 * belongs to deallocate() of an equal resource, with the same size and alignment; neither free() nor operator delete
 * know it. bufpool_destroy takes all blocks away: containers first.
 */
#ifndef BUFPOOL_ADAPTERS_PMR_HPP
#define BUFPOOL_ADAPTERS_PMR_HPP

#include "bufpool/bufpool.h"

#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>

class bufpool_resource final : public std::pmr::memory_resource {
public:
	explicit bufpool_resource(struct bufpool *pool = nullptr) noexcept : pool_(pool)
	{
	}

private:
	/* What every block has, whichever pool it is from. */
	static constexpr std::size_t natural = 16;

	void *do_allocate(std::size_t n, std::size_t alignment) override
	{
		void *p;

		if (alignment <= natural)
			p = bufpool_acquire_from(pool_, n < alignment ? alignment : n);
		else if (pool_ == nullptr)
			p = bufpool_acquire_aligned(alignment, n);
		else
			p = acquire_shifted(alignment, n);
		if (p == nullptr)
			throw std::bad_alloc();
		return p;
	}

	void do_deallocate(void *p, std::size_t n, std::size_t alignment) override
	{
		if (alignment <= natural)
			bufpool_release_sized(p, n < alignment ? alignment : n);
		else if (pool_ == nullptr)
			bufpool_release_aligned_sized(p, alignment, n);
		else
			bufpool_release_sized(static_cast<void **>(p)[-1], n + alignment);
	}

	/* Only the default pool aligns. In others the aligned place lies inside a larger block, whose start stands
	 * in front of it: there is room, because both are multiples of `natural` and not the same. */
	void *acquire_shifted(std::size_t alignment, std::size_t n) noexcept
	{
		void *block = n <= SIZE_MAX - alignment ? bufpool_acquire_from(pool_, n + alignment) : nullptr;
		std::uintptr_t at = reinterpret_cast<std::uintptr_t>(block);
		std::size_t shift = alignment - (at & (alignment - 1));

		if (block == nullptr)
			return nullptr;
		void *p = static_cast<char *>(block) + shift;
		static_cast<void **>(p)[-1] = block;
		return p;
	}

	/* Equal are those of one pool: between others containers copy rather than move. */
	bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override
	{
#ifdef __cpp_rtti
		const bufpool_resource *same = dynamic_cast<const bufpool_resource *>(&other);

		return same != nullptr && same->pool_ == pool_;
#else
		return this == &other;
#endif
	}

	struct bufpool *pool_;
};

/* The resource over the default pool; it lives as long as the process. */
inline std::pmr::memory_resource *bufpool_pmr_default()
{
	alignas(bufpool_resource) static unsigned char place[sizeof(bufpool_resource)];
	static std::pmr::memory_resource *const resource = new (place) bufpool_resource;

	return resource;
}

/* Makes it what containers without a resource of their own take. For programs, early in main: a library must never
 * call this. Containers that exist already keep what they have. Returns the resource that there was before. */
inline std::pmr::memory_resource *bufpool_pmr_install_process()
{
	return std::pmr::set_default_resource(bufpool_pmr_default());
}

#endif
