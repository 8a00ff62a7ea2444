/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program that replaces only operator new(size_t) and operator delete(void *), as many do. By the standard the other
 * forms call these two, so a shim whose own sized or array delete goes straight to the pool would free a pointer that
 * it never gave: here one that lies 16 bytes inside a block.
 */
#include "harness.h"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

static long live;
static const uint64_t magic = 0x5ca1ab1e0ddba11u;

void *operator new(size_t n)
{
	uint64_t *p = n < (size_t)1 << 40 ? (uint64_t *)malloc(n + 16) : nullptr;

	if (!p)
		throw std::bad_alloc();
	p[0] = magic;
	p[1] = n;
	live++;
	return p + 2;
}

void operator delete(void *p) noexcept
{
	uint64_t *block = (uint64_t *)p - 2;

	if (!p)
		return;
	CHECK(block[0] == magic);
	block[0] = 0;
	live--;
	free(block);
}

TEST(sized_delete_calls_the_programs_delete)
{
	long before = live;

	::operator delete(::operator new(100), (size_t)100);
	CHECK(live == before);
}

TEST(array_forms_call_the_programs_own)
{
	long before = live;
	void *p = ::operator new[](1000);

	CHECK(live == before + 1);
	::operator delete[](p);
	CHECK(live == before);
	p = ::operator new[](1000);
	::operator delete[](p, (size_t)1000);
	CHECK(live == before);
}

TEST(nothrow_forms_call_the_programs_own)
{
	long before = live;
	void *p = ::operator new(1000, std::nothrow), *q = ::operator new[](1000, std::nothrow);

	CHECK(live == before + 2);
	::operator delete(p, std::nothrow);
	::operator delete[](q, std::nothrow);
	CHECK(live == before);
	CHECK(::operator new((size_t)1 << 50, std::nothrow) == nullptr); /* what the program's own throws is caught */
	CHECK(::operator new[]((size_t)1 << 50, std::nothrow) == nullptr);
}

/* libstdc++'s own objects were compiled against the same two. */
TEST(the_library_calls_the_programs_own)
{
	long before = live;

	for (int i = 0; i < 100; i++) {
		std::vector<std::string> strings;

		for (size_t j = 0; j < 50; j++)
			strings.push_back(std::string(j * 20, 'x') + std::to_string(j));
		auto shared = std::make_shared<std::string>(200, 'y');
	}
	CHECK(live == before);
}
