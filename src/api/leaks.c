/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The report of what is out, on demand and when the program ends; and which functions of this library a program
 * calls, by which a static library's frames are told from the program's.
 *
 * When the program ends: in the last destructor of the file that this is part of, after the program's atexit
 * functions and those of the libraries that use this one. Libraries that do not know of it (under the shim: most) may
 * still release something then.
 */
#include <string.h>
#include <unistd.h>

#include "api/end.h"
#include "api/provider.h"
#include "bufpool/buf.h"
#include "bufpool/bufpool.h"
#include "bufpool/bytes.h"
#include "bufpool/copy.h"
#include "bufpool/objects.h"
#include "bufpool/vec.h"
#include "cache/block.h"
#include "cache/leaks_report.h"
#include "cache/options.h"
#include "cache/watch.h"
#include "sys/unwind.h"

#define POOL (&bp_default_pool)

const char bp_leaks_here __attribute__((visibility("hidden")));

static void to_stderr(void *ctx, const char *text)
{
	(void)ctx;
	bp_os_write(STDERR_FILENO, text, strlen(text));
}

void bufpool_leaks_print(bufpool_write_fn *write, void *ctx, const char *opts)
{
	struct bp_leaks_out out = {
		.write = write != NULL ? write : to_stderr,
		.ctx = ctx,
		.json = opts != NULL && strchr(opts, 'J') != NULL,
	};
	bp_pool_start(POOL);
	if (bp_watch.leaks)
		bp_leaks_report(&out);
	else
		out.write(ctx, out.json ? "{\"error\": \"leaks:true is not set\"}\n" :
					  "bufpool: out: not known, leaks:true is not set\n");
}

/* 101: of those in the same file the last. Nothing out is no news, unless the options are to be confirmed. */
static __attribute__((destructor(101))) void print_at_end(void)
{
	const char *path = bp_options.paths[BP_PATH_LEAKS];
	if (!bp_watch.leaks || !bp_provider_is_this())
		return;
	int fd = bp_end_open(path);
	if (fd < 0)
		return;
	bp_leaks_report(&(struct bp_leaks_out){
		.write = bp_end_write,
		.ctx = &fd,
		.json = bp_end_is_json(path),
		.silent = !atomic_load_explicit(&bp_options.confirm_conf, memory_order_relaxed),
	});
	bp_end_close(fd);
}

/* Weak: out of the static library comes only what the program uses. */
#define CALLED(X)                                                                                                      \
	X(bufpool_buf_reserve) X(bufpool_buf_extend) X(bufpool_buf_append) X(bufpool_buf_printf)                        \
	X(bufpool_buf_cstr) X(bufpool_buf_shrink) X(bufpool_bytes_copy) X(bufpool_bytes_freeze) X(bufpool_bytes_sub)    \
	X(bufpool_objects_acquire) X(bufpool_objects_acquire_cached)                                                    \
	X(bufpool_vec_add) X(bufpool_vec_push) X(bufpool_copy_begin) X(bufpool_copy_step) X(bufpool_copy_all)

#define WEAK(name) extern __typeof__(name) name __attribute__((weak));
CALLED(WEAK)

#define ENTRY(name) (const void *)(name),
const void *const bp_unwind_entries[] = {
	CALLED(ENTRY)
	(const void *)bufpool_acquire, (const void *)bufpool_acquire_class_, (const void *)bufpool_acquire_from,
	(const void *)bufpool_acquire_zeroed, (const void *)bufpool_acquire_array, (const void *)bufpool_acquire_aligned,
	(const void *)bufpool_acquire_at_least, (const void *)bufpool_acquire_many, (const void *)bufpool_resize,
	(const void *)bufpool_resize_used, (const void *)bufpool_strndup, (const void *)bufpool_memdup,
	(const void *)bp_unwind, (const void *)bp_watch_acquired, (const void *)bp_pool_acquire_other,
	(const void *)bp_block_resize, (const void *)bp_block_aligned,
};
const unsigned bp_unwind_entry_count = sizeof(bp_unwind_entries) / sizeof(*bp_unwind_entries);
