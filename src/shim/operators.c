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

/* By the standard the array, nothrow and sized forms call the plain ones, which a program may define without the others.
 * Its definition is found before the one here; these names are ours whatever the program does. */
extern void *bp_own_new(size_t n) __attribute__((alias("_Znwm"), visibility("hidden")));
extern void bp_own_delete(void *p) __attribute__((alias("_ZdlPv"), visibility("hidden")));
void *_Znwm(size_t n);
void _ZdlPv(void *p);

static inline bool has_own_new(void)
{
	return bp_unlikely(&_Znwm != &bp_own_new);
}

static inline bool has_own_delete(void)
{
	return bp_unlikely(&_ZdlPv != &bp_own_delete);
}

/* The handler may free something, throw, or end the program. Without one, bad_alloc is thrown. */
static void *again(size_t alignment, size_t n)
{
	for (;;) {
		new_handler *handler = _ZSt15get_new_handlerv != NULL ? _ZSt15get_new_handlerv() : NULL;
		if (handler == NULL) {
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

static inline void *plain(size_t n)
{
	void *p = bp_pool_acquire(POOL, n, false);
	return bp_likely(p != NULL) ? p : again(0, n);
}

static void *aligned(size_t alignment, size_t n)
{
	void *p = bp_block_aligned(POOL, alignment, n, false);
	return bp_likely(p != NULL) ? p : again(alignment, n);
}

/* The nothrow forms: where there is no block, all that may throw happens in a frame that catches. */
static void *own_or_again(size_t alignment, size_t n)
{
	(void)alignment;
	return has_own_new() ? _Znwm(n) : again(0, n);
}

static inline void *plain_or_null(size_t n)
{
	void *p = has_own_new() ? NULL : bp_pool_acquire(POOL, n, false);
	return bp_likely(p != NULL) ? p : bp_shim_caught(own_or_again, 0, n);
}

static inline void *aligned_or_null(size_t alignment, size_t n)
{
	void *p = bp_block_aligned(POOL, alignment, n, false);
	return bp_likely(p != NULL) ? p : bp_shim_caught(again, alignment, n);
}

BP_EXPORT void *_Znwm(size_t n)
{
	return plain(n);
}

BP_EXPORT void *_Znam(size_t n)
{
	return has_own_new() ? _Znwm(n) : plain(n);
}

BP_EXPORT void _ZdlPv(void *p)
{
	bp_pool_release(POOL, p);
}

BP_EXPORT void _ZdaPv(void *p)
{
	if (has_own_delete())
		_ZdlPv(p);
	else
		bp_pool_release(POOL, p);
}

#define NEW(suffix)                                                                                                    \
	BP_EXPORT void *_Zn##suffix##mRKSt9nothrow_t(size_t n, const void *tag)                                        \
	{                                                                                                              \
		(void)tag;                                                                                             \
		return plain_or_null(n);                                                                               \
	}                                                                                                              \
	BP_EXPORT void *_Zn##suffix##mSt11align_val_t(size_t n, size_t alignment)                                      \
	{                                                                                                              \
		return aligned(alignment, n);                                                                          \
	}                                                                                                              \
	BP_EXPORT void *_Zn##suffix##mSt11align_val_tRKSt9nothrow_t(size_t n, size_t alignment, const void *tag)       \
	{                                                                                                              \
		(void)tag;                                                                                             \
		return aligned_or_null(alignment, n);                                                                  \
	}

#define DELETE(suffix)                                                                                                 \
	BP_EXPORT void _Zd##suffix##PvRKSt9nothrow_t(void *p, const void *tag)                                         \
	{                                                                                                              \
		(void)tag;                                                                                             \
		_Zd##suffix##Pv(p);                                                                                    \
	}                                                                                                              \
	BP_EXPORT void _Zd##suffix##Pvm(void *p, size_t n)                                                             \
	{                                                                                                              \
		if (has_own_delete())                                                                                  \
			_Zd##suffix##Pv(p);                                                                            \
		else                                                                                                   \
			bp_shim_release_sized(p, n);                                                                   \
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
