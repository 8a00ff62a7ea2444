/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The same in C++: what the types are there is settled by the compiler, not by what they are compatible with.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wignored-attributes" /* of functions, where types are compared */
#endif
#include "signatures.c"
