/* SPDX-License-Identifier: BSD-2-Clause
 *
 * C++'s operators by their mangled names, so that the shim needs no C++ library: the new-handler and the exception come
 * from the program's own (weak references; a program that has none can't have called these). Sized deletes use the size.
 */
#include <errno.h>
#include <stdlib.h>

#include "cache/block.h"
#include "shim/shim.h"

typedef void new_handler(void);
extern new_handler *_ZSt15get_new_handlerv(void) __attribute__((weak));
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak, noreturn));

/* The handler may free something, throw, or end the program. NULL: there is no handler and no exception is wanted. */
static void *again(size_t alignment, size_t n, bool throws)
{
	for (;;) {
		new_handler *handler = _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv() : NULL;
		if (handler == NULL) {
			if (!throws)
				return NULL;
			if (_ZSt17__throw_bad_allocv != NULL)
				_ZSt17__throw_bad_allocv();
			abort();
		}
		handler();
		void *p = alignment == 0 ? bp_pool_acquire(POOL, n, false) : bp_block_aligned(POOL, alignment, n, false);
		if (p != NULL)
			return p;
	}
}

static inline void *plain(size_t n, bool throws)
{
	void *p = bp_pool_acquire(POOL, n, false);
	return bp_likely(p != NULL) ? p : again(0, n, throws);
}

static inline void *aligned(size_t alignment, size_t n, bool throws)
{
	void *p = bp_block_aligned(POOL, alignment, n, false);
	return bp_likely(p != NULL) ? p : again(alignment, n, throws);
}

#define NEW(suffix)                                                                                                    \
	BP_EXPORT void *_Zn##suffix##m(size_t n)                                                                       \
	{                                                                                                              \
		return plain(n, true);                                                                                 \
	}                                                                                                              \
	BP_EXPORT void *_Zn##suffix##mRKSt9nothrow_t(size_t n, const void *tag)                                        \
	{                                                                                                              \
		(void)tag;                                                                                             \
		return plain(n, false);                                                                                \
	}                                                                                                              \
	BP_EXPORT void *_Zn##suffix##mSt11align_val_t(size_t n, size_t alignment)                                      \
	{                                                                                                              \
		return aligned(alignment, n, true);                                                                    \
	}                                                                                                              \
	BP_EXPORT void *_Zn##suffix##mSt11align_val_tRKSt9nothrow_t(size_t n, size_t alignment, const void *tag)       \
	{                                                                                                              \
		(void)tag;                                                                                             \
		return aligned(alignment, n, false);                                                                   \
	}

#define DELETE(suffix)                                                                                                 \
	BP_EXPORT void _Zd##suffix##Pv(void *p)                                                                        \
	{                                                                                                              \
		bp_pool_release(POOL, p);                                                                              \
	}                                                                                                              \
	BP_EXPORT void _Zd##suffix##PvRKSt9nothrow_t(void *p, const void *tag)                                         \
	{                                                                                                              \
		(void)tag;                                                                                             \
		bp_pool_release(POOL, p);                                                                              \
	}                                                                                                              \
	BP_EXPORT void _Zd##suffix##Pvm(void *p, size_t n)                                                             \
	{                                                                                                              \
		bp_shim_release_sized(p, n);                                                                           \
	}                                                                                                              \
	BP_EXPORT void _Zd##suffix##PvSt11align_val_t(void *p, size_t alignment)                                       \
	{                                                                                                              \
		(void)alignment;                                                                                       \
		bp_pool_release(POOL, p);                                                                              \
	}                                                                                                              \
	BP_EXPORT void _Zd##suffix##PvSt11align_val_tRKSt9nothrow_t(void *p, size_t alignment, const void *tag)        \
	{                                                                                                              \
		(void)alignment, (void)tag;                                                                            \
		bp_pool_release(POOL, p);                                                                              \
	}                                                                                                              \
	BP_EXPORT void _Zd##suffix##PvmSt11align_val_t(void *p, size_t n, size_t alignment)                            \
	{                                                                                                              \
		(void)n, (void)alignment;                                                                              \
		bp_pool_release(POOL, p);                                                                              \
	}

NEW(w)
NEW(a)
DELETE(l)
DELETE(a)
