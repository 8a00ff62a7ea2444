/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Buffers that grow. include/bufpool/buf.h is the documentation of the public functions.
 *
 * Invariant, from call to call: data is NULL and cap 0, or data is a block that is out and cap its whole capacity; len is
 * at most cap. Functions that fail leave the structure as it was.
 *
 * What is unusual: of priv_ the first word is the pool, the second what the pool is to learn when the buffer ends: twice
 * the most that it held, plus one if it had to be copied. Both are zero in zeroed memory.
 */
#define BUFPOOL_NO_MACROS /* the functions themselves are defined here */
#include "bufpool/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/engine.h"
#include "cache/block.h"
#include "cache/options.h"
#include "cache/release.h"
#include "cache/sizing.h"
#include "cache/watch.h"
#include "sys/text.h"

enum { POOL_WORD, USE_WORD, OUTGROWN = 1, LINES_MAX = 100 };

static const struct bufpool_buf empty = BUFPOOL_BUF_INIT;

static struct bufpool *pool_of(const struct bufpool_buf *b)
{
	return (struct bufpool *)b->priv_[POOL_WORD];
}

static struct bp_pool *engine_of(const struct bufpool_buf *b)
{
	return bp_engine(pool_of(b));
}

static struct bp_sizing *sizing_of(const struct bufpool_buf *b)
{
	return &engine_of(b)->sizing;
}

/* ---- structures that can't be right ---- */

static __attribute__((cold)) void print_wrong(const struct bufpool_buf *b, const char *what)
{
	char line[256];
	struct bp_text t = BP_TEXT_ON(line);
	bp_text_add(&t, "bufpool: misuse: corrupted buffer: ");
	bp_text_hex(&t, (uintptr_t)b);
	bp_text_add(&t, ": ");
	bp_text_add(&t, what);
	bp_text_add(&t, " (data ");
	bp_text_hex(&t, (uintptr_t)b->data);
	bp_text_add(&t, ", len ");
	bp_text_number(&t, b->len);
	bp_text_add(&t, ", cap ");
	bp_text_number(&t, b->cap);
	bp_text_add(&t, ")\n");
	bp_os_write(STDERR_FILENO, line, t.length);
}

/* As misuse.h has it: counted, and the end of the program unless misuse:report was asked for. */
static __attribute__((cold, noinline)) bool is_wrong(const struct bufpool_buf *b, const char *what)
{
	uint64_t before = atomic_fetch_add_explicit(&bp_default_pool.misuse, 1, memory_order_relaxed);
	bool goes_on = atomic_load_explicit(&bp_options.misuse, memory_order_relaxed) == BP_MISUSE_REPORT;
	if (!goes_on || before < LINES_MAX)
		print_wrong(b, what);
	if (!goes_on)
		abort();
	return false;
}

/* By its numbers alone. */
static inline bool is_sound(const struct bufpool_buf *b)
{
	if (bp_unlikely(b->len > b->cap))
		return is_wrong(b, "len is over cap");
	if (bp_unlikely(b->data == NULL && b->cap != 0))
		return is_wrong(b, "cap without data");
	return true;
}

/* And by its block: does one start at data, and of that size? What has jemalloc's own size is not asked for it, and a
 * block that has been released is found out by the release of it. */
static bool is_whole(const struct bufpool_buf *b)
{
	if (!is_sound(b))
		return false;
	if (b->data == NULL)
		return true;
	if (!bp_range_has(b->data))
		return !bp_block_is_foreign(b->data) || is_wrong(b, "data is no block");
	unsigned tag = bp_range_start_of(b->data);
	if (tag == 0)
		return is_wrong(b, "data is no block");
	return tag == BP_TAG_HUGE || b->cap == bp_class_size(tag - 1) || is_wrong(b, "cap is not the block's");
}

/* ---- growing ---- */

/* The most that it held so far. Each reset halves what lies before it: what a buffer held long ago it no longer needs. */
static size_t content_of(const struct bufpool_buf *b)
{
	size_t before = b->priv_[USE_WORD] >> 1;
	return b->len > before ? b->len : before;
}

static void set_content(struct bufpool_buf *b, size_t content)
{
	b->priv_[USE_WORD] = (uintptr_t)content << 1 | (b->priv_[USE_WORD] & OUTGROWN);
}

/* Keeps len bytes in a block of at least n. 0 or a negative errno. */
static int move(struct bufpool_buf *b, size_t n)
{
	void *p;
	if (b->data == NULL || pool_of(b) != NULL) {
		p = bufpool_acquire_from(pool_of(b), n);
		if (p != NULL && b->data != NULL) {
			memcpy(p, b->data, b->len);
			bufpool_release(b->data);
		}
	} else {
		p = bufpool_resize_used(b->data, b->len, n);
	}
	if (p == NULL)
		return -errno;
	size_t capacity = bufpool_capacity(p);
	b->cap = capacity > n ? capacity : n;
	b->data = p;
	return 0;
}

/* Twice as much, so that a byte is copied once on the average; but not over the cap, where blocks are not kept, for the sake
 * of that. Over it half as much again: there it may grow where it lies, and what is unused is large. */
static size_t grown(const struct bufpool_buf *b, size_t needed)
{
	size_t cap = engine_of(b)->cap, size = b->cap * 2;
	if (b->data == NULL)
		return bp_sizing_begin(sizing_of(b), needed, cap);
	if (size > cap)
		size = needed <= cap ? cap : b->cap + b->cap / 2;
	return size > needed ? size : needed;
}

static __attribute__((noinline)) int grow(struct bufpool_buf *b, size_t extra)
{
	size_t needed;
	if (!is_whole(b))
		return -EINVAL;
	if (__builtin_add_overflow(b->len, extra, &needed))
		return -EOVERFLOW;
	void *before = b->data;
	size_t wanted = grown(b, needed);
	int error = move(b, wanted);
	if (error == -ENOMEM && wanted > needed)
		error = move(b, needed);
	if (error != 0)
		return error;
	if (before != NULL && before != b->data)
		b->priv_[USE_WORD] |= OUTGROWN;
	return 0;
}

int bufpool_buf_reserve(struct bufpool_buf *b, size_t extra)
{
	if (!is_sound(b))
		return -EINVAL;
	return extra <= b->cap - b->len ? 0 : grow(b, extra);
}

void *bufpool_buf_extend(struct bufpool_buf *b, size_t n)
{
	int error = is_sound(b) ? 0 : -EINVAL;
	if (bp_unlikely(n > b->cap - b->len || b->data == NULL) && error == 0)
		error = grow(b, n);
	if (bp_unlikely(error != 0)) {
		errno = error == -EOVERFLOW ? ENOMEM : -error;
		return NULL;
	}
	void *at = b->data + b->len;
	b->len += n;
	return at;
}

int bufpool_buf_append(struct bufpool_buf *b, const void *src, size_t n)
{
	size_t offset = (uintptr_t)src - (uintptr_t)b->data;
	bool own = offset < b->len;
	int error = bufpool_buf_reserve(b, n);
	if (error != 0 || n == 0)
		return error;
	/* Of its own content there may be less than n bytes from src on; what follows is the caller's error. */
	memmove(b->data + b->len, own ? b->data + offset : src, n);
	b->len += n;
	return 0;
}

/* ---- text ---- */

/* Bytes of the text, as much of it as fits written behind len; or a negative errno. */
static int print_once(struct bufpool_buf *b, const char *format, va_list arguments)
{
	size_t room = b->cap - b->len;
	errno = 0;
	int n = vsnprintf(room == 0 ? NULL : (char *)b->data + b->len, room, format, arguments);
	return n >= 0 ? n : errno != 0 ? -errno : -EINVAL;
}

static int print(struct bufpool_buf *b, const char *format, va_list arguments)
{
	va_list again;
	va_copy(again, arguments);
	int n = print_once(b, format, arguments), error = n < 0 ? n : 0;
	if (n >= 0 && (size_t)n >= b->cap - b->len) {
		error = grow(b, (size_t)n + 1);
		if (error == 0) {
			n = print_once(b, format, again);
			error = n < 0 ? n : (size_t)n >= b->cap - b->len ? -EAGAIN : 0;
		}
	}
	va_end(again);
	if (error != 0)
		return error;
	b->len += (size_t)n;
	return n;
}

int bufpool_buf_vprintf(struct bufpool_buf *b, const char *format, va_list arguments)
{
	int saved = errno;
	if (!is_sound(b))
		return -EINVAL;
	int n = print(b, format, arguments);
	errno = saved;
	return n;
}

int bufpool_buf_printf(struct bufpool_buf *b, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int n = bufpool_buf_vprintf(b, format, arguments);
	va_end(arguments);
	return n;
}

const char *bufpool_buf_cstr(struct bufpool_buf *b)
{
	int error = bufpool_buf_reserve(b, 1);
	if (error != 0) {
		errno = error == -EOVERFLOW ? ENOMEM : -error;
		return NULL;
	}
	b->data[b->len] = '\0';
	return (const char *)b->data;
}

/* ---- beginning and end ---- */

void bufpool_buf_init(struct bufpool_buf *b, struct bufpool *pool)
{
	*b = empty;
	b->priv_[POOL_WORD] = (uintptr_t)pool;
}

void bufpool_buf_reset(struct bufpool_buf *b)
{
	if (!is_sound(b))
		return;
	size_t before = b->priv_[USE_WORD] >> 2;
	set_content(b, b->len > before ? b->len : before);
	b->len = 0;
}

/* To the queue of what goes back to jemalloc, where a slow path will find it: neither is a release to wait for that. A
 * block that is never kept, or that bears its mark already, takes the usual way. */
static void give_back(struct bp_pool *pool, void *p)
{
	int saved = errno;
	unsigned tag = bp_range_has(p) ? bp_range_start_of(p) : 0;
	if (tag == 0 || tag > pool->classes || *bp_mark_of(p) == bp_mark_value(p)) {
		bufpool_release(p);
		return;
	}
	/* As each release does. */
	if (pool->wipes)
		explicit_bzero(p, bp_class_size(tag - 1));
	if (bp_unlikely(bp_watch.on))
		bp_watch_back(p);
	*bp_mark_of(p) = bp_mark_value(p);
	atomic_fetch_add_explicit(&pool->counts[tag - 1].released, 1, memory_order_relaxed);
	bp_pool_put_blocks(pool, &pool->over, tag - 1, &p, 1);
	errno = saved;
}

static void release_block(const struct bufpool_buf *b)
{
	struct bp_pool *pool = engine_of(b);
	struct bp_sizing *s = sizing_of(b);
	struct bp_use use = { b->cap, content_of(b), (b->priv_[USE_WORD] & OUTGROWN) != 0 };
	if (bp_sizing_is_settled(s, use) || bp_sizing_learn(s, use, pool->cap, bp_pool_epoch(pool)))
		bufpool_release(b->data);
	else
		give_back(pool, b->data);
}

static void set_empty(struct bufpool_buf *b)
{
	bufpool_buf_init(b, pool_of(b));
}

int bufpool_buf_shrink(struct bufpool_buf *b)
{
	if (!is_whole(b))
		return -EINVAL;
	if (b->data == NULL)
		return 0;
	if (b->len == 0) {
		release_block(b);
		set_empty(b);
		return 0;
	}
	set_content(b, b->len);
	return bufpool_good_size(b->len) < b->cap ? move(b, b->len) : 0;
}

void *bufpool_buf_detach(size_t *len, struct bufpool_buf *b)
{
	if (!is_whole(b)) {
		errno = EINVAL;
		return NULL;
	}
	void *p = b->data;
	if (len != NULL)
		*len = b->len;
	set_empty(b);
	return p;
}

struct bufpool_buf bufpool_buf_steal(struct bufpool_buf *b)
{
	struct bufpool_buf stolen = *b;
	*b = empty;
	return stolen;
}

void bufpool_buf_release(struct bufpool_buf *b)
{
	if (b == NULL)
		return;
	if (is_whole(b) && b->data != NULL)
		release_block(b);
	*b = empty;
}
