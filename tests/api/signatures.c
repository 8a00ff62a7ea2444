/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The public face, type by type: every function has exactly the signature that programs are compiled against, every
 * structure its members in their order, and each function is there to be linked. It is C and C++ (signatures.cpp), and is
 * linked with the shared and with the static library. What is wrong here does not compile.
 */
#include <bufpool/auto.h>
#include <bufpool/buf.h>
#include <bufpool/bufpool.h>
#include <bufpool/bytes.h>
#include <bufpool/copy.h>
#include <bufpool/objects.h>
#include <bufpool/vec.h>

#include <stdio.h>

#ifdef __cplusplus
#include <type_traits>
#define IS(expression, ...) std::is_same<decltype(expression), __VA_ARGS__>::value
#define ASSERT(condition) static_assert(condition, #condition)
#else
#define IS(expression, ...) __builtin_types_compatible_p(__typeof__(expression), __VA_ARGS__)
#define ASSERT(condition) _Static_assert(condition, #condition)
#endif

/* ---- functions: result, name, parameters ---- */

#define BLOCKS(F)                                                                                \
	F(void *, bufpool_acquire, (size_t))                                                     \
	F(void *, bufpool_acquire_zeroed, (size_t))                                              \
	F(void *, bufpool_acquire_array, (size_t, size_t))                                       \
	F(void *, bufpool_acquire_aligned, (size_t, size_t))                                     \
	F(void *, bufpool_acquire_at_least, (size_t *, size_t))                                  \
	F(size_t, bufpool_acquire_many, (void **, size_t, size_t))                               \
	F(void *, bufpool_resize, (void *, size_t))                                              \
	F(void *, bufpool_resize_used, (void *, size_t, size_t))                                 \
	F(char *, bufpool_strndup, (const char *, size_t))                                       \
	F(void *, bufpool_memdup, (const void *, size_t))                                        \
	F(void, bufpool_release, (void *))                                                       \
	F(void, bufpool_release_sized, (void *, size_t))                                         \
	F(void, bufpool_release_aligned_sized, (void *, size_t, size_t))                         \
	F(void, bufpool_release_wiped, (void *, size_t))                                         \
	F(void, bufpool_release_many, (void *const *, size_t))                                   \
	F(size_t, bufpool_capacity, (const void *))                                              \
	F(size_t, bufpool_good_size, (size_t))                                                   \
	F(bool, bufpool_owns, (const void *))

#define POOLS(F)                                                                                 \
	F(int, bufpool_create, (struct bufpool **, const struct bufpool_conf *))                 \
	F(void *, bufpool_acquire_from, (struct bufpool *, size_t))                              \
	F(size_t, bufpool_prefill, (struct bufpool *, size_t, size_t))                           \
	F(void, bufpool_destroy, (struct bufpool *))                                             \
	F(int, bufpool_tick, (void))                                                             \
	F(void, bufpool_advance_epoch, (struct bufpool *))                                       \
	F(size_t, bufpool_trim, (struct bufpool *, size_t))                                      \
	F(int, bufpool_stats_get, (struct bufpool_stats *, struct bufpool *))                    \
	F(int, bufpool_class_stats_get, (struct bufpool_class_stats *, struct bufpool *, size_t)) \
	F(void, bufpool_stats_print, (bufpool_write_fn *, void *, const char *))                 \
	F(void, bufpool_leaks_print, (bufpool_write_fn *, void *, const char *))                 \
	F(int, bufpool_option_get, (char *, size_t, const char *))                               \
	F(int, bufpool_option_set, (const char *, const char *))                                 \
	F(unsigned, bufpool_version, (void))                                                     \
	F(const char *, bufpool_version_string, (void))

#define BUFS(F)                                                                                  \
	F(void, bufpool_buf_init, (struct bufpool_buf *, struct bufpool *))                      \
	F(int, bufpool_buf_reserve, (struct bufpool_buf *, size_t))                              \
	F(void *, bufpool_buf_extend, (struct bufpool_buf *, size_t))                            \
	F(int, bufpool_buf_append, (struct bufpool_buf *, const void *, size_t))                 \
	F(int, bufpool_buf_printf, (struct bufpool_buf *, const char *, ...))                    \
	F(const char *, bufpool_buf_cstr, (struct bufpool_buf *))                                \
	F(void, bufpool_buf_reset, (struct bufpool_buf *))                                       \
	F(int, bufpool_buf_shrink, (struct bufpool_buf *))                                       \
	F(void *, bufpool_buf_detach, (size_t *, struct bufpool_buf *))                          \
	F(struct bufpool_buf, bufpool_buf_steal, (struct bufpool_buf *))                         \
	F(void, bufpool_buf_release, (struct bufpool_buf *))

#define BYTES(F)                                                                                 \
	F(int, bufpool_view_of, (struct bufpool_view *, const struct bufpool_buf *, size_t, size_t)) \
	F(int, bufpool_bytes_copy, (struct bufpool_bytes *, const void *, size_t))               \
	F(int, bufpool_bytes_freeze, (struct bufpool_bytes *, struct bufpool_buf *))             \
	F(int, bufpool_bytes_sub, (struct bufpool_bytes *, const struct bufpool_bytes *, size_t, size_t)) \
	F(void, bufpool_bytes_release, (struct bufpool_bytes *))                                 \
	F(struct bufpool_bytes, bufpool_bytes_steal, (struct bufpool_bytes *))

#define VECS(F)                                                                                  \
	F(int, bufpool_vec_add, (struct bufpool_vec *, size_t))                                  \
	F(int, bufpool_vec_push, (struct bufpool_vec *, void *, size_t))                         \
	F(void, bufpool_vec_advance, (struct bufpool_vec *, size_t))                             \
	F(void, bufpool_vec_truncate, (struct bufpool_vec *, size_t))                            \
	F(void, bufpool_vec_release, (struct bufpool_vec *))                                     \
	F(struct bufpool_vec, bufpool_vec_steal, (struct bufpool_vec *))

#define OBJECTS(F)                                                                               \
	F(int, bufpool_objects_create,                                                           \
	  (struct bufpool_objects **, const struct bufpool_objects_ops *, void *))               \
	F(void *, bufpool_objects_acquire, (struct bufpool_objects *))                           \
	F(void *, bufpool_objects_acquire_cached, (struct bufpool_objects *))                    \
	F(void, bufpool_objects_release, (struct bufpool_objects *, void *))                     \
	F(void, bufpool_objects_destroy, (struct bufpool_objects *))

#define COPIES(F)                                                                                \
	F(int, bufpool_copy_begin, (struct bufpool_copy *, int, int, uint64_t))                  \
	F(int, bufpool_copy_step, (struct bufpool_copy *))                                       \
	F(void, bufpool_copy_end, (struct bufpool_copy *))                                       \
	F(int, bufpool_copy_all, (uint64_t *, int, int, uint64_t))

#define ALL(F) BLOCKS(F) POOLS(F) BUFS(F) BYTES(F) VECS(F) OBJECTS(F) COPIES(F)

#define IS_EXACT(result, name, parameters) ASSERT(IS(&name, result(*) parameters));
ALL(IS_EXACT)
ASSERT(IS((bufpool_write_fn *)NULL, void (*)(void *, const char *)));

/* ---- structures: structure, type, member; in order, without a gap but for what their types need ---- */

#define CONF(M, s) M(s, size_t, size) M(s, const char *, name) M(s, size_t, cap) M(s, size_t, budget) M(s, unsigned, flags)
#define STATS(M, s)                                                                              \
	M(s, size_t, size)                                                                       \
	M(s, uint64_t, acquired) M(s, uint64_t, released) M(s, uint64_t, hits)                   \
	M(s, uint64_t, from_shared) M(s, uint64_t, from_victim) M(s, uint64_t, from_steal)       \
	M(s, uint64_t, from_backend) M(s, uint64_t, over_cap) M(s, uint64_t, dropped_cap)        \
	M(s, uint64_t, dropped_budget) M(s, uint64_t, dropped_epoch) M(s, uint64_t, set_aside)   \
	M(s, uint64_t, misuse) M(s, uint64_t, epochs) M(s, uint64_t, in_use)                     \
	M(s, uint64_t, cached) M(s, uint64_t, victim) M(s, uint64_t, queued)                     \
	M(s, uint64_t, in_use_bytes) M(s, uint64_t, cached_bytes) M(s, uint64_t, victim_bytes)   \
	M(s, uint64_t, queued_bytes) M(s, uint64_t, budget_bytes) M(s, uint64_t, referenced_bytes) \
	M(s, uint64_t, pinned_bytes)
#define CLASS_STATS(M, s)                                                                        \
	M(s, size_t, size) M(s, size_t, class_size)                                              \
	M(s, uint64_t, acquired) M(s, uint64_t, released) M(s, uint64_t, hits)                   \
	M(s, uint64_t, from_shared) M(s, uint64_t, from_victim) M(s, uint64_t, from_steal)       \
	M(s, uint64_t, from_backend) M(s, uint64_t, in_use) M(s, uint64_t, cached)               \
	M(s, uint64_t, victim) M(s, uint64_t, queued)
#define BUF(M, s) M(s, unsigned char *, data) M(s, size_t, len) M(s, size_t, cap) M(s, uintptr_t, priv_, [2])
#define VIEW(M, s) M(s, const unsigned char *, data) M(s, size_t, len)
#define BYTES_(M, s) VIEW(M, s) M(s, uintptr_t, priv_, [1])
#define VEC(M, s) M(s, struct iovec *, iov) M(s, size_t, count) M(s, uintptr_t, priv_, [4])
#define OPS(M, s)                                                                                \
	M(s, size_t, size) M(s, constructor *, construct) M(s, resetter *, reset) M(s, destructor *, destruct)
#define COPY(M, s)                                                                               \
	M(s, int, out) M(s, int, in) M(s, uint64_t, left) M(s, uint64_t, done)                   \
	M(s, struct pollfd, poll) M(s, uintptr_t, priv_, [6])

typedef void *constructor(void *ctx);
typedef bool resetter(void *obj, void *ctx);
typedef void destructor(void *obj, void *ctx, int reason);

#define MEMBER(s, type, name, ...) type name __VA_ARGS__;
#define SAME_MEMBER(s, type, name, ...)                                                          \
	ASSERT(IS(((struct s *)NULL)->name, type __VA_ARGS__));                                  \
	ASSERT(offsetof(struct s, name) == offsetof(struct as_##s, name));
/* `least`: statistics may have got more since, at the end. */
#define STRUCTURE(s, MEMBERS, size)                                                              \
	struct as_##s { MEMBERS(MEMBER, s) };                                                    \
	MEMBERS(SAME_MEMBER, s)                                                                  \
	ASSERT(sizeof(struct s) size sizeof(struct as_##s));

STRUCTURE(bufpool_conf, CONF, ==)
STRUCTURE(bufpool_stats, STATS, >=)
STRUCTURE(bufpool_class_stats, CLASS_STATS, ==)
STRUCTURE(bufpool_buf, BUF, ==)
STRUCTURE(bufpool_view, VIEW, ==)
STRUCTURE(bufpool_bytes, BYTES_, ==)
STRUCTURE(bufpool_vec, VEC, ==)
STRUCTURE(bufpool_objects_ops, OPS, ==)
STRUCTURE(bufpool_copy, COPY, ==)

/* ---- and each is there ---- */

typedef void any_function(void);
#define ADDRESS(result, name, parameters) reinterpret(&name),
#ifdef __cplusplus
#define reinterpret(f) reinterpret_cast<any_function *>(f)
#else
#define reinterpret(f) ((any_function *)(f))
#endif

static any_function *volatile all[] = { ALL(ADDRESS) };

/* Of all constant sizes: a class for each size that blocks have. */
static unsigned wrong_classes(void)
{
	unsigned wrong = BUFPOOL_CLASS_(1) != 1 || BUFPOOL_CLASS_(16) != 1, class_ = 1;

	for (size_t n = 17; n <= 65536; n++) {
		class_ += n == 17 || bufpool_good_size(n) != bufpool_good_size(n - 1);
		wrong += !BUFPOOL_KNOWN_(17) || BUFPOOL_CLASS_(n) != class_;
	}
	return wrong + BUFPOOL_KNOWN_(0) + BUFPOOL_KNOWN_(65537) + BUFPOOL_KNOWN_(-1);
}

int main(void)
{
	static const struct bufpool_buf buf = BUFPOOL_BUF_INIT;
	unsigned missing = 0, wrong = wrong_classes();

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		missing += all[i] == NULL;
	missing += bufpool_version() != BUFPOOL_VERSION;
	missing += buf.data != NULL || BUFPOOL_WIPE == 0;
	puts("1..2");
	printf("%s 1 - %u functions of the public headers\n", missing ? "not ok" : "ok", (unsigned)(sizeof(all) / sizeof(*all)));
	printf("%s 2 - the classes of constant sizes\n", wrong ? "not ok" : "ok");
	return missing || wrong;
}
