/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The twenty replaceable operators of C++17, their failures, and what stands on them (containers, exceptions,
 * thread_local). Called by name, so that no compiler merges or removes a pair.
 */
#include "harness.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <malloc.h>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

static const size_t sizes[] = {0, 1, 8, 16, 24, 40, 64, 100, 128, 500, 1024, 4096, 10000, 40000, 65536, 65537, 100000,
	1 << 20, 5000000};
static const size_t impossible = (size_t)1 << 62;

static void use(void *p, size_t alignment, size_t n)
{
	CHECK(p && (uintptr_t)p % alignment == 0);
	CHECK(malloc_usable_size(p) >= n);
	if (p)
		memset(p, 0x42, n);
}

TEST(plain_and_array_new_and_delete)
{
	for (int round = 0; round < 20; round++)
		for (size_t n : sizes) {
			void *p = ::operator new(n), *q = ::operator new[](n);

			use(p, n >= 16 ? 16 : 1, n);
			use(q, n >= 16 ? 16 : 1, n);
			CHECK(p != q);
			if (round % 2) {
				::operator delete(p);
				::operator delete[](q);
			} else {
				::operator delete(p, n);
				::operator delete[](q, n);
			}
		}
}

TEST(nothrow_new_and_delete)
{
	for (int round = 0; round < 20; round++)
		for (size_t n : sizes) {
			void *p = ::operator new(n, std::nothrow), *q = ::operator new[](n, std::nothrow);

			use(p, 1, n);
			use(q, 1, n);
			::operator delete(p, std::nothrow);
			::operator delete[](q, std::nothrow);
		}
}

TEST(aligned_new_and_delete)
{
	for (size_t alignment = 1; alignment <= 65536; alignment *= 2)
		for (size_t n : sizes) {
			std::align_val_t a{alignment};
			void *p[6];

			for (int i = 0; i < 6; i++) {
				p[i] = i < 2   ? ::operator new(n, a)
				       : i < 4 ? ::operator new[](n, a)
				       : i < 5 ? ::operator new(n, a, std::nothrow)
					       : ::operator new[](n, a, std::nothrow);
				use(p[i], alignment, n);
			}
			::operator delete(p[0], a);
			::operator delete(p[1], n, a);
			::operator delete[](p[2], a);
			::operator delete[](p[3], n, a);
			::operator delete(p[4], a, std::nothrow);
			::operator delete[](p[5], a, std::nothrow);
		}
}

TEST(delete_of_null_and_errno)
{
	std::align_val_t a{64};

	errno = 4711;
	::operator delete(nullptr);
	::operator delete[](nullptr);
	::operator delete(nullptr, (size_t)8);
	::operator delete[](nullptr, (size_t)8);
	::operator delete(nullptr, std::nothrow);
	::operator delete[](nullptr, std::nothrow);
	::operator delete(nullptr, a);
	::operator delete[](nullptr, a);
	::operator delete(nullptr, (size_t)64, a);
	::operator delete[](nullptr, (size_t)64, a);
	::operator delete(nullptr, a, std::nothrow);
	::operator delete[](nullptr, a, std::nothrow);
	for (size_t n : sizes)
		::operator delete(::operator new(n));
	CHECK(errno == 4711);
}

/* ---- failure ---- */

static const std::function<void *(size_t)> throwing[] = {
	[](size_t n) { return ::operator new(n); },
	[](size_t n) { return ::operator new[](n); },
	[](size_t n) { return ::operator new(n, std::align_val_t{64}); },
	[](size_t n) { return ::operator new[](n, std::align_val_t{64}); },
};
static const std::function<void *(size_t)> silent[] = {
	[](size_t n) { return ::operator new(n, std::nothrow); },
	[](size_t n) { return ::operator new[](n, std::nothrow); },
	[](size_t n) { return ::operator new(n, std::align_val_t{64}, std::nothrow); },
	[](size_t n) { return ::operator new[](n, std::align_val_t{64}, std::nothrow); },
};
static int calls;

static bool throws_bad_alloc(const std::function<void *(size_t)> &allocate, size_t n)
{
	try {
		allocate(n);
	} catch (const std::bad_alloc &error) {
		return !strcmp(error.what(), "std::bad_alloc");
	}
	return false;
}

/* libstdc++ 12's own aligned new rounds such a size up to 0. */
static bool wraps(size_t n)
{
	return !t_under_shim() && n > SIZE_MAX - 64;
}

TEST(failure_throws_bad_alloc)
{
	static const size_t all[] = {impossible, SIZE_MAX / 2 + 1, SIZE_MAX - 100, SIZE_MAX - 8, SIZE_MAX};

	for (auto &allocate : throwing)
		for (size_t n : all)
			CHECK(wraps(n) || throws_bad_alloc(allocate, n));
	for (auto &allocate : silent)
		for (size_t n : all)
			CHECK(wraps(n) || allocate(n) == nullptr);
}

TEST(new_handler_is_called_until_it_gives_up)
{
	for (auto &allocate : throwing) {
		calls = 0;
		std::set_new_handler([] {
			if (++calls == 3)
				std::set_new_handler(nullptr);
		});
		CHECK(throws_bad_alloc(allocate, impossible));
		CHECK(calls == 3);
	}
	for (auto &allocate : silent) {
		calls = 0;
		std::set_new_handler([] {
			if (++calls == 3)
				std::set_new_handler(nullptr);
		});
		CHECK(allocate(impossible) == nullptr);
		CHECK(calls == 3);
	}
}

TEST(new_handler_may_throw)
{
	for (auto &allocate : throwing) {
		int caught = 0;

		std::set_new_handler([] { throw 17; });
		try {
			allocate(impossible);
		} catch (int value) {
			caught = value;
		}
		CHECK(caught == 17);
	}
	for (auto &allocate : throwing) {
		std::set_new_handler([] { throw std::bad_alloc(); });
		CHECK(throws_bad_alloc(allocate, impossible));
	}
	for (auto &allocate : silent) { /* the nothrow forms swallow it */
		std::set_new_handler([] { throw std::bad_alloc(); });
		CHECK(allocate(impossible) == nullptr);
	}
	std::set_new_handler(nullptr);
}

TEST(new_handler_is_not_called_on_success)
{
	calls = 0;
	std::set_new_handler([] { calls++; });
	for (auto &allocate : throwing)
		for (size_t n : sizes) {
			void *p = allocate(n);

			use(p, 1, n);
			::operator delete(p, std::align_val_t{64});
		}
	std::set_new_handler(nullptr);
	CHECK(calls == 0);
}

/* ---- what stands on them ---- */

struct base {
	virtual ~base() { CHECK(!memcmp(text, "base", 5)); }
	char text[40] = "base";
};
struct derived : base {
	~derived() override { CHECK(t_is_filled(more, 9, sizeof(more))); }
	derived() { memset(more, 9, sizeof(more)); }
	char more[9000];
};
struct alignas(256) wide {
	char data[512];
};
struct thrower {
	explicit thrower(int i)
	{
		if (i)
			throw i;
	}
	char data[50000];
};

TEST(objects_of_every_kind)
{
	for (int i = 0; i < 2000; i++) {
		base *b = new derived;
		wide *w = new wide, *ws = new wide[3];
		derived *array = new derived[3];

		CHECK((uintptr_t)w % 256 == 0 && (uintptr_t)ws % 256 == 0);
		delete b; /* sized by the dynamic type */
		delete w;
		delete[] ws;
		delete[] array;
	}
}

TEST(a_throwing_constructor_gives_its_block_back)
{
	size_t before = t_resident();
	int caught = 0;

	for (int i = 1; i <= 4000; i++)
		try {
			delete new thrower(i);
		} catch (int) {
			caught++;
		}
	CHECK(caught == 4000);
	CHECK(t_resident() < before + (64 << 20)); /* 200 MB where it leaked */
}

TEST(containers_and_exceptions)
{
	std::map<int, std::string> map;
	std::vector<std::shared_ptr<std::string>> shared;
	std::vector<int> numbers(100000);

	for (int i = 0; i < 20000; i++) {
		map[i * 7919 % 20011] = std::string((size_t)i % 300, (char)('a' + i % 26));
		shared.push_back(std::make_shared<std::string>((size_t)i % 90, 'x'));
	}
	for (auto &entry : map)
		for (char c : entry.second)
			CHECK(c >= 'a' && c <= 'z');
	std::stable_sort(numbers.begin(), numbers.end()); /* get_temporary_buffer: new nothrow, delete */
	try {
		throw std::runtime_error(std::string(100000, 'e'));
	} catch (const std::exception &error) {
		CHECK(strlen(error.what()) == 100000);
	}
	CHECK(map.size() == 20000);
}

static thread_local std::vector<std::string> per_thread;
static thread_local struct late {
	~late() /* built before per_thread, so destroyed after it */
	{
		char *p = (char *)malloc(3000);

		CHECK(p);
		if (p)
			memset(p, 1, 3000);
		free(p);
		free(held);
	}
	void *held = malloc(77);
} late_one;

TEST(thread_local_destructors_allocate)
{
	for (int i = 0; i < 50; i++) {
		std::thread thread([] {
			CHECK(late_one.held);
			for (int j = 0; j < 100; j++)
				per_thread.emplace_back((size_t)j * 50, 'q');
		});
		thread.join();
	}
}
