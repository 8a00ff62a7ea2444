/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: blocks from a pool in front of jemalloc.
 *
 * A block that is released stays on the CPU that released it and is handed out again from there, in a few nanoseconds
 * and without a lock. What lies unused for two epochs (2 s by default) goes back to jemalloc and from there to the
 * kernel. Blocks over the cap (64 KiB by default, inclusive) are never kept.
 *
 * Conventions of every header of this library
 *   - What is written to comes first, as in memcpy and snprintf. Sizes are bytes.
 *   - Functions that return a pointer return NULL and set errno on failure; functions that return int return 0 or a
 *     negative errno, unless they say otherwise. Out-parameters are untouched on failure.
 *   - Release never changes errno and accepts NULL.
 *   - A `struct bufpool *` may be NULL everywhere: the process's default pool.
 *   - Structures that the caller fills or hands in carry their own `size` first, so that they can grow.
 *
 * Safety, unless a function says otherwise
 *   - Thread-safe. No acquire that the pool can serve and no release within the cap waits for another thread. A miss
 *     enters jemalloc and may wait there; so may the one thread at a time that gives back what is due, in bounded steps.
 *   - After fork the child may use everything at once; what other threads had in their hands at that moment is lost
 *     to the child, nothing is handed out twice.
 *   - Not async-signal-safe by contract (neither is malloc), but a handler that calls in never corrupts the pool: hits
 *     work, and a miss inside a miss of the same thread fails with ENOMEM instead of hanging.
 *   - Misuse (releasing what is no block, the inside of a block, a block twice; writing to a block after its release)
 *     is detected in every build: one line on standard error, then abort; `misuse:report` in the options counts it and
 *     goes on.
 *
 * Origins: the epochs and the victim are Go's sync.Pool's; magazines are Bonwick's (Magazines and Vmem, USENIX 2001);
 * the per-CPU arrays with one committing store follow tcmalloc's use of restartable sequences (rseq(2)).
 */
#ifndef BUFPOOL_BUFPOOL_H
#define BUFPOOL_BUFPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of this header; bufpool_version() is the library's. major * 10000 + minor * 100 + patch. */
#define BUFPOOL_VERSION 100u

/* noplt: one jump less in each call of the shared library; a direct call where the static one is linked. */
#if defined(__GNUC__) && !defined(__clang__)
#define BUFPOOL_API __attribute__((visibility("default"), noplt))
#elif defined(__GNUC__)
#define BUFPOOL_API __attribute__((visibility("default")))
#else
#define BUFPOOL_API
#endif
#if defined(__GNUC__) && __GNUC__ >= 4
#define BUFPOOL_NODISCARD __attribute__((warn_unused_result))
#define BUFPOOL_NONNULL(...) __attribute__((nonnull(__VA_ARGS__)))
#define BUFPOOL_ALLOC_ALIGN(position) __attribute__((alloc_align(position)))
#define BUFPOOL_ALLOC_SIZE(...) __attribute__((alloc_size(__VA_ARGS__)))
#else
#define BUFPOOL_NODISCARD
#define BUFPOOL_NONNULL(...)
#define BUFPOOL_ALLOC_ALIGN(position)
#define BUFPOOL_ALLOC_SIZE(...)
#endif
/* Which function takes a block back: gcc (11 and later) then warns of releasing locals, of mismatched deallocators and,
 * under -fanalyzer, of leaks. clang knows only the plain attribute. */
#if defined(__GNUC__) && __GNUC__ >= 11 && !defined(__clang__)
#define BUFPOOL_BLOCK __attribute__((malloc, malloc(bufpool_release, 1), warn_unused_result))
#elif defined(__GNUC__)
#define BUFPOOL_BLOCK __attribute__((malloc, warn_unused_result))
#else
#define BUFPOOL_BLOCK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- release ---- */

/* Gives a block back. NULL is a no-op. errno is preserved. O(1). */
BUFPOOL_API void bufpool_release(void *p);

/* The same where the caller knows the size: n as it was asked for, or the capacity. Another size is misuse. */
BUFPOOL_API void bufpool_release_sized(void *p, size_t n);
BUFPOOL_API void bufpool_release_aligned_sized(void *p, size_t alignment, size_t n);

/* Clears the first `used` bytes (at most the capacity) and releases. The compiler can't drop the clearing. */
BUFPOOL_API void bufpool_release_wiped(void *p, size_t used);

/* Releases `count` blocks; NULLs among them are skipped. */
BUFPOOL_API void bufpool_release_many(void *const *blocks, size_t count);

/* ---- acquire ---- */

/* A block of at least n bytes with unspecified content, aligned for every type that fits into it (16 bytes from 16
 * bytes on). n may be 0: a distinct block. Errors: ENOMEM. */
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_ALLOC_SIZE(1) void *bufpool_acquire(size_t n);

/* The same with the first n bytes zero. */
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_ALLOC_SIZE(1) void *bufpool_acquire_zeroed(size_t n);

/* count * size bytes, the product checked. Errors: ENOMEM, also where the product overflows. */
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_ALLOC_SIZE(1, 2) void *bufpool_acquire_array(size_t count, size_t size);

/* Aligned to `alignment`, a power of two. Errors: EINVAL where it is none, ENOMEM. */
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_ALLOC_ALIGN(1) BUFPOOL_ALLOC_SIZE(2)
void *bufpool_acquire_aligned(size_t alignment, size_t n);

/* At least n bytes; *capacity is how many, and all of them may be used. */
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_NONNULL(1) void *bufpool_acquire_at_least(size_t *capacity, size_t n);

/* Up to `count` blocks of n bytes into out[]. Returns how many; the rest of out[] is NULL, and errno is ENOMEM where
 * it is fewer than asked for. */
BUFPOOL_API BUFPOOL_NODISCARD size_t bufpool_acquire_many(void **out, size_t count, size_t n);

/* realloc that never frees: p NULL acquires, n == 0 is a block of no bytes. Keeps min(old, new) bytes. On failure p is
 * still the caller's. Errors: ENOMEM. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_ALLOC_SIZE(2) void *bufpool_resize(void *p, size_t n);

/* The same, but only the first `used` bytes (at most n) are kept: what is unused isn't copied. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_ALLOC_SIZE(3) void *bufpool_resize_used(void *p, size_t used, size_t n);

/* Copies of text (at most n bytes of it, NUL added) and of bytes. Errors: ENOMEM. */
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_NONNULL(1) char *bufpool_strndup(const char *s, size_t n);
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_ALLOC_SIZE(2) void *bufpool_memdup(const void *src, size_t n);

/* ---- about blocks ---- */

/* Bytes in the block, 0 for NULL. To be used whole only after bufpool_acquire_at_least: compilers that fortify
 * accesses take the size asked for as the bound. Constant while the block is owned. */
BUFPOOL_API BUFPOOL_NODISCARD size_t bufpool_capacity(const void *p);

/* The capacity that a request for n bytes would get; 0 where no block can be that large. */
BUFPOOL_API BUFPOOL_NODISCARD size_t bufpool_good_size(size_t n);

/* Does p point to the start of a block of this library's range (blocks over the cap included)? p may be anything. A
 * block that has been released counts as long as the pool keeps it. */
BUFPOOL_API BUFPOOL_NODISCARD bool bufpool_owns(const void *p);

/* ---- pools ---- */

/* A named pool has its own cap, budget and statistics, so that two libraries in one process do not share limits, and all of
 * its blocks end with it. Release needs no pool: a block knows its own. */
struct bufpool;

enum { BUFPOOL_WIPE = 1 /* blocks are cleared when they are released, the whole capacity */ };
#define BUFPOOL_NAME_MAX 31 /* bytes of a name that are kept */

struct bufpool_conf {
	size_t size;      /* of this structure */
	const char *name; /* for reports and statistics, copied; may be NULL */
	size_t cap;       /* largest block that is kept, inclusive: 4 KiB to 4 MiB; 0: as the option `cap` says */
	size_t budget;    /* most bytes to keep cached beside the CPUs' stacks; 0: as the option `budget` says */
	unsigned flags;   /* BUFPOOL_… */
};

/* Makes a pool; conf NULL: a default one. Costs microseconds, and memory as it is used: per CPU that uses it.
 * Errors: -EINVAL (a size, cap or flag that is none), -ENOMEM, -EMFILE: about 4 000 pools exist already, as many as jemalloc
 * has arenas for. Under valgrind and where the pool could not reserve address space, its blocks are jemalloc's own: then
 * destroy leaves them to be released, and BUFPOOL_WIPE is -ENOTSUP. */
BUFPOOL_API BUFPOOL_NODISCARD BUFPOOL_NONNULL(1) int bufpool_create(struct bufpool **out, const struct bufpool_conf *conf);

/* Ends the pool and every block of it, at once: those that are out are counted in one line on standard error and are gone, so
 * that using or releasing one afterwards is misuse. Nobody may be using the pool meanwhile. NULL is a no-op, errno is
 * preserved. O(classes x CPUs that used it + blocks of its own beyond those of slabs). */
BUFPOOL_API void bufpool_destroy(struct bufpool *pool);

/* A block from that pool. Errors: ENOMEM. */
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_ALLOC_SIZE(2) void *bufpool_acquire_from(struct bufpool *pool, size_t n);

/* Has `count` blocks for requests of n bytes cached, and keeps that many over all epochs to come, on top of the budget; what
 * bufpool_trim gives back is not replaced. count 0: no longer. Returns how many are cached of them now; where that is
 * fewer, errno is ENOMEM, EINVAL (n is over the pool's cap) or ENOTSUP (requests of that size pass through). */
BUFPOOL_API size_t bufpool_prefill(struct bufpool *pool, size_t count, size_t n);

/* ---- time ---- */

/* Does what is due (epochs, giving back) in one bounded step for each pool. Returns the ms until the next call is worth while, -1
 * where nothing is pending at that moment: what other threads release later is. For event loops: a program that makes no other call gives its memory back this way. */
BUFPOOL_API int bufpool_tick(void);

/* Ends the epoch now: what was cached becomes the victim, what was the victim goes back to jemalloc. O(classes x CPUs)
 * plus the giving back of what was dropped. */
BUFPOOL_API void bufpool_advance_epoch(struct bufpool *pool);

/* Gives back all but `keep` bytes of what is cached, and the memory to the kernel. Returns the bytes given back.
 * O(blocks given back): not for latency-critical threads. */
BUFPOOL_API size_t bufpool_trim(struct bufpool *pool, size_t keep);

/* ---- statistics ---- */

/* Set size to sizeof before the call. Counts are blocks unless the name says bytes. While other threads work, each
 * number is true for some moment during the call; at rest, created = in_use + cached + victim + queued + set_aside +
 * dropped, where created is from_backend and dropped is the sum of the dropped_ ones. Blocks over the cap are
 * counted in over_cap and dropped_cap and belong to acquired, released and in_use as well. */
struct bufpool_stats {
	size_t size;
	uint64_t acquired, released, hits, from_shared, from_victim, from_steal, from_backend, over_cap;
	uint64_t dropped_cap, dropped_budget, dropped_epoch, set_aside, misuse, epochs;
	uint64_t in_use, cached, victim, queued;
	uint64_t in_use_bytes, cached_bytes, victim_bytes, queued_bytes, budget_bytes, referenced_bytes, pinned_bytes;
	uint64_t passed_through; /* requests that went straight to jemalloc; of other threads', up to 255 each are not yet in it */
	uint64_t buf_outgrown, buf_given_back; /* bufs copied to grow; blocks far too large for them, among dropped_budget */
	uint64_t buf_start_bytes; /* what a buf begins with at least; 0: as much as is asked for */
};

/* One size class. */
struct bufpool_class_stats {
	size_t size;
	size_t class_size;
	uint64_t acquired, released, hits, from_shared, from_victim, from_steal, from_backend, in_use, cached, victim, queued;
};

/* Errors: -EINVAL where out->size is smaller than the structure's first version. A larger one is filled as far as this
 * library knows it, and out->size says how far. */
BUFPOOL_API BUFPOOL_NONNULL(1) int bufpool_stats_get(struct bufpool_stats *out, struct bufpool *pool);

/* The class that n bytes fall into. Errors: -EINVAL as above, -ERANGE for n over the largest class (4 MiB). */
BUFPOOL_API BUFPOOL_NONNULL(1)
int bufpool_class_stats_get(struct bufpool_class_stats *out, struct bufpool *pool, size_t n);

typedef void bufpool_write_fn(void *ctx, const char *text);

/* Writes the statistics as text, with "J" in opts as JSON, with "M" as OpenMetrics. write NULL: standard error.
 * Named pools have a line each. Allocates nothing; `write` may, but must not destroy a pool. */
BUFPOOL_API void bufpool_stats_print(bufpool_write_fn *write, void *ctx, const char *opts);

/* Writes what is out now, of all pools, by the place where it was acquired (file and line where the call went through the macros
 * below, else function and offset, with the callers), the most bytes first: bytes, blocks, age, threads, and what bytes pin.
 * With "J" in opts as JSON. write NULL: standard error. Only under leaks:true is it known. For a program that hangs: it waits
 * for no thread, takes no lock of this library's and allocates nothing; `write` may. Blocks that come and go meanwhile may be in it or not.
 * O(blocks that were ever out at once). Not async-signal-safe. */
BUFPOOL_API void bufpool_leaks_print(bufpool_write_fn *write, void *ctx, const char *opts);

/* ---- options ---- */

/* The value of an option, or of a fact about this process ("percpu", "backend", "mode"). Errors: -ENOENT, -ERANGE where
 * `size` bytes do not hold it. */
BUFPOOL_API BUFPOOL_NONNULL(1, 3) int bufpool_option_get(char *value, size_t size, const char *key);

/* Errors: -ENOENT no such option, -EINVAL no such value, -EPERM for what start-up fixed. */
BUFPOOL_API BUFPOOL_NONNULL(1, 2) int bufpool_option_set(const char *key, const char *value);

/* The library's version, in the form of BUFPOOL_VERSION and as text. */
BUFPOOL_API unsigned bufpool_version(void);
BUFPOOL_API const char *bufpool_version_string(void);

/* ---- constant sizes ---- */

/* What bufpool_acquire(n) and bufpool_release_sized(p, n) become where the compiler knows n, up to the default cap: the
 * size class is then known as well. Not to be called by name. `index` counts jemalloc's classes for 4 KiB pages from 0, the
 * one of 8 bytes; it is part of the ABI. A function pointer, or the name in parentheses, gives the functions above. */
BUFPOOL_API BUFPOOL_BLOCK BUFPOOL_ALLOC_SIZE(2) void *bufpool_acquire_class_(unsigned index, size_t n);
BUFPOOL_API void bufpool_release_class_(void *p, unsigned index);

#include "bufpool/sites.h"

#if defined(__GNUC__) && !defined(BUFPOOL_NO_MACROS)
/* n is evaluated once: the first arm is there only where it is a constant. */
#define bufpool_acquire(n)                                                                       \
	BUFPOOL_SITE_(BUFPOOL_KNOWN_(n) ? bufpool_acquire_class_(BUFPOOL_CLASS_(n), n) : (bufpool_acquire)(n))
#define bufpool_release_sized(p, n)                                                              \
	(BUFPOOL_KNOWN_(n) ? bufpool_release_class_(p, BUFPOOL_CLASS_(n)) : (bufpool_release_sized)(p, n))

#define BUFPOOL_KNOWN_(n) (__builtin_constant_p(n) && BUFPOOL_SMALL_(n) != 0)
/* 16 bytes is the smallest class in use; every 16 up to 64, then four in each doubling. */
#define BUFPOOL_CLASS_(n)                                                                        \
	(BUFPOOL_SMALL_(n) <= 64 ? (BUFPOOL_SMALL_(n) + 15) / 16 :                               \
	 4 * BUFPOOL_LOG2_(n) - 23 + ((BUFPOOL_SMALL_(n) - 1) >> (BUFPOOL_LOG2_(n) - 2)))
#define BUFPOOL_LOG2_(n) BUFPOOL_SMALL_(31 & ~__builtin_clz(BUFPOOL_SMALL_(n) - 1))

/* n, and 0 where that is more than 65536. In C++ a program may want to hear of casts, C's and needless ones. */
#ifdef __cplusplus
inline unsigned bufpool_small_(size_t n)
{
	return n <= 65536 ? static_cast<unsigned>(n) : 0;
}
#define BUFPOOL_SMALL_(n) bufpool_small_(n)
#else
#define BUFPOOL_SMALL_(n) ((size_t)(n) - 1 < 65536 ? (unsigned)(n) : 0)
#endif
#endif

#ifdef __cplusplus
}
#endif
#endif
