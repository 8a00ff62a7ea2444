// SPDX-License-Identifier: BSD-2-Clause
//
// The one thing that C can't do: operator new(nothrow) gives NULL where the new-handler, or a program's own operator new,
// throws. The runtime's symbols are weak, so that the shim needs no C++ library: a program that throws has them.
#include <cstddef>

asm(".weak __gxx_personality_v0\n\t"
    ".weak __cxa_begin_catch\n\t"
    ".weak __cxa_end_catch");

extern "C" __attribute__((visibility("hidden"))) void *bp_shim_caught(void *(*allocate)(std::size_t, std::size_t),
								       std::size_t alignment, std::size_t n)
{
	try {
		return allocate(alignment, n);
	} catch (...) {
		return nullptr;
	}
}
