/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The books and the sweep. Every function of bufpool.h that hands out, moves or takes back a block is wrapped, so that
 * an adapter may use any of them.
 *
 * Unusual: the counters are atomic because libraries (libuv, OpenSSL) call their hooks on other threads, too; refusing
 * goes by the order in which requests come, which only a single thread makes predictable.
 */
#include "support.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_size_t asked, refused, refuse_from, refuse_until;
static atomic_int_least64_t out;
static struct bufpool_stats begun;

size_t t_asked(void)
{
	return asked;
}

size_t t_refused(void)
{
	return refused;
}

int64_t t_out(void)
{
	return out;
}

void t_books(void)
{
	asked = 0;
	refused = 0;
	t_refuse(0, false);
}

void t_refuse(size_t nth, bool onwards)
{
	refuse_from = nth ? asked + nth : 0;
	refuse_until = !nth ? 0 : onwards ? SIZE_MAX : refuse_from;
}

/* True where this request is to be refused. */
static bool request(void)
{
	const size_t number = atomic_fetch_add(&asked, 1) + 1;

	if (!refuse_from || number < refuse_from || number > refuse_until)
		return false;
	atomic_fetch_add(&refused, 1);
	errno = ENOMEM;
	return true;
}

static void *handed_out(void *p)
{
	if (p)
		atomic_fetch_add(&out, 1);
	return p;
}

/* ---- what the linker calls instead ---- */

/* ACQUIRE(name, (parameters), (arguments)) */
#define ACQUIRE(type, name, parameters, arguments)                                               \
	type __real_##name parameters;                                                           \
	type __wrap_##name parameters;                                                           \
	type __wrap_##name parameters                                                            \
	{                                                                                        \
		return request() ? NULL : handed_out(__real_##name arguments);                   \
	}

ACQUIRE(void *, bufpool_acquire, (size_t n), (n))
ACQUIRE(void *, bufpool_acquire_class_, (unsigned i, size_t n), (i, n))
ACQUIRE(void *, bufpool_acquire_zeroed, (size_t n), (n))
ACQUIRE(void *, bufpool_acquire_array, (size_t count, size_t size), (count, size))
ACQUIRE(void *, bufpool_acquire_aligned, (size_t alignment, size_t n), (alignment, n))
ACQUIRE(void *, bufpool_acquire_at_least, (size_t *capacity, size_t n), (capacity, n))
ACQUIRE(void *, bufpool_acquire_from, (struct bufpool *pool, size_t n), (pool, n))
ACQUIRE(char *, bufpool_strndup, (const char *s, size_t n), (s, n))
ACQUIRE(void *, bufpool_memdup, (const void *src, size_t n), (src, n))

/* A refused resize leaves the block with its owner; one of NULL is an acquire. */
#define RESIZE(name, parameters, arguments)                                                      \
	void *__real_##name parameters;                                                          \
	void *__wrap_##name parameters;                                                          \
	void *__wrap_##name parameters                                                           \
	{                                                                                        \
		if (request())                                                                   \
			return NULL;                                                             \
		return p ? __real_##name arguments : handed_out(__real_##name arguments);        \
	}

RESIZE(bufpool_resize, (void *p, size_t n), (p, n))
RESIZE(bufpool_resize_used, (void *p, size_t used, size_t n), (p, used, n))

#define RELEASE(name, parameters, arguments)                                                     \
	void __real_##name parameters;                                                           \
	void __wrap_##name parameters;                                                           \
	void __wrap_##name parameters                                                            \
	{                                                                                        \
		if (p)                                                                           \
			atomic_fetch_sub(&out, 1);                                               \
		__real_##name arguments;                                                         \
	}

RELEASE(bufpool_release, (void *p), (p))
RELEASE(bufpool_release_class_, (void *p, unsigned i), (p, i))
RELEASE(bufpool_release_sized, (void *p, size_t n), (p, n))
RELEASE(bufpool_release_aligned_sized, (void *p, size_t alignment, size_t n), (p, alignment, n))
RELEASE(bufpool_release_wiped, (void *p, size_t used), (p, used))

/* ---- tests ---- */

static struct bufpool_stats pool_stats(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	cr_assert_eq(bufpool_stats_get(&s, NULL), 0);
	return s;
}

void t_begin(void)
{
	begun = pool_stats();
	t_books();
}

void t_end(void)
{
	const struct bufpool_stats now = pool_stats();

	t_books();
	cr_assert_eq(t_out(), 0, "%lld blocks are still out", (long long)t_out());
	cr_assert_eq(now.in_use, begun.in_use, "in use: %llu blocks, before the test %llu",
		     (unsigned long long)now.in_use, (unsigned long long)begun.in_use);
	cr_assert_eq(now.misuse, begun.misuse);
}

/* What came of one run. */
struct run {
	enum t_outcome outcome;
	size_t asked, refused;
	int64_t lost;
	bool ended;
};

static void run_refusing(struct run *r, t_work *work, void *ctx, size_t nth, bool onwards)
{
	const int64_t out_before = t_out();

	t_books();
	t_refuse(nth, onwards);
	r->outcome = work(ctx);
	r->refused = t_refused();
	r->asked = t_asked();
	r->lost = t_out() - out_before;
	r->ended = true;
	t_books();
}

/* In this process: nothing may be left out. */
static void run_here(struct run *r, t_work *work, void *ctx, size_t nth, bool onwards)
{
	const uint64_t in_use = pool_stats().in_use;

	run_refusing(r, work, ctx, nth, onwards);
	cr_assert_eq(r->lost, 0, "refusal %zu%s: %lld blocks more than before are out", nth, onwards ? " onwards" : "",
		     (long long)r->lost);
	cr_assert_eq(pool_stats().in_use, in_use, "refusal %zu%s: the pool has blocks out", nth,
		     onwards ? " onwards" : "");
}

static void run_apart(struct run *r, t_work *work, void *ctx, size_t nth, bool onwards)
{
	const struct rlimit no_core = { 0, 0 };
	pid_t child;

	memset(r, 0, sizeof(*r));
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		run_refusing(r, work, ctx, nth, onwards);
		_exit(0);
	}
	cr_assert_eq(waitpid(child, NULL, 0), child);
}

typedef void run_fn(struct run *r, t_work *work, void *ctx, size_t nth, bool onwards);

/* False where nothing was refused any more. A run that died had been refused something: nothing else ends one. */
static bool counted(struct t_sweep *s, const struct run *r)
{
	s->asked = r->ended ? r->asked : s->asked;
	if (r->ended && !r->refused) {
		cr_assert_eq(r->outcome, T_DONE, "a run without a refusal fails");
		return false;
	}
	if (!r->ended)
		cr_assert_lt(++s->died, 16, "it dies of everything");
	else
		*(r->outcome == T_REPORTED ? &s->reported : r->outcome == T_DONE ? &s->survived : &s->wrong) += 1;
	s->lost += r->lost;
	return true;
}

static struct t_sweep sweep(run_fn *run, t_work *work, void *ctx)
{
	struct run *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct t_sweep s = { 0 };
	size_t nth = 1;

	cr_assert_neq(r, MAP_FAILED);
	for (;; nth++) {
		run(r, work, ctx, nth, true);
		if (!counted(&s, r))
			break;
		run(r, work, ctx, nth, false);
		counted(&s, r);
	}
	cr_assert_gt(nth, 1, "the library asked the adapter for nothing");
	munmap(r, sizeof(*r));
	return s;
}

struct t_sweep t_sweep(t_work *work, void *ctx)
{
	return sweep(run_here, work, ctx);
}

struct t_sweep t_sweep_apart(t_work *work, void *ctx)
{
	return sweep(run_apart, work, ctx);
}

void *t_libc_malloc(size_t n)
{
	return request() ? NULL : handed_out(malloc(n));
}

void *t_libc_realloc(void *p, size_t n)
{
	if (p && !n) {
		t_libc_free(p);
		return NULL;
	}
	if (request())
		return NULL;
	return p ? realloc(p, n) : handed_out(malloc(n));
}

char *t_libc_strdup(const char *s)
{
	const size_t n = strlen(s) + 1;
	char *copy = t_libc_malloc(n);

	return copy ? memcpy(copy, s, n) : NULL;
}

void t_libc_free(void *p)
{
	if (p)
		atomic_fetch_sub(&out, 1);
	free(p);
}

static size_t runs(const struct t_sweep *s)
{
	return s->reported + s->survived + s->wrong + s->died;
}

void t_expect_same(const struct t_sweep *adapter, const struct t_sweep *libc)
{
	cr_log_info("asked %zu: reported %zu, survived %zu, wrong %zu, died %zu, lost %lld", libc->asked,
		    libc->reported, libc->survived, libc->wrong, libc->died, (long long)libc->lost);
	cr_expect_eq(adapter->asked, libc->asked, "requests: %zu, libc %zu", adapter->asked, libc->asked);
	cr_expect_eq(runs(adapter), runs(libc), "runs: %zu, libc %zu", runs(adapter), runs(libc));
	cr_expect_leq(adapter->died, libc->died, "died: %zu, libc %zu", adapter->died, libc->died);
	if (adapter->died != libc->died)
		return; /* glibc stopped a run for a double free that jemalloc, where blocks pass through, didn't see */
	cr_expect_eq(adapter->reported, libc->reported, "reported: %zu, libc %zu", adapter->reported, libc->reported);
	cr_expect_eq(adapter->survived, libc->survived, "survived: %zu, libc %zu", adapter->survived, libc->survived);
	cr_expect_eq(adapter->wrong, libc->wrong, "wrong: %zu, libc %zu", adapter->wrong, libc->wrong);
	cr_expect_eq(adapter->lost, libc->lost, "lost: %lld, libc %lld", (long long)adapter->lost,
		     (long long)libc->lost);
}

/* ---- data ---- */

char *t_read(size_t *size, const char *path)
{
	char below[4096], *text;
	FILE *f;
	long end;

	snprintf(below, sizeof(below), "%s%s", path[0] == '/' ? "" : T_DATA "/", path);
	f = fopen(below, "rb");
	cr_assert_not_null(f, "%s can't be opened", below);
	cr_assert(!fseek(f, 0, SEEK_END) && (end = ftell(f)) > 0 && !fseek(f, 0, SEEK_SET), "%s is empty", below);
	text = malloc((size_t)end + 1);
	cr_assert_not_null(text);
	cr_assert_eq(fread(text, 1, (size_t)end, f), (size_t)end);
	fclose(f);
	text[end] = 0;
	*size = (size_t)end;
	return text;
}

char *t_read_json(size_t *size)
{
	return t_read(size, T_JSON);
}

const char t_json_small[] =
	"{\"name\":\"a name with \\u00e9 and \\\"quotes\\\"\",\"numbers\":[0,-1,2.5,1e30],"
	"\"nested\":{\"empty\":{},\"list\":[[],[null,true,false]],\"text\":\"\"}}";

void t_json_same(void (*install)(void), char *(*printed)(const char *text))
{
	size_t size;
	char *text = t_read_json(&size), *without = printed(text), *with;

	t_begin();
	install();
	with = printed(text);
	cr_assert_str_eq(with, without);
	cr_assert_gt(t_asked(), 1000);
	t_end();
	free(with);
	free(without);
	free(text);
}
