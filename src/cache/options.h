/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The options, read once at start from the built-in defaults, the file and the environment (BUFPOOL_CONF), in that
 * order. One table feeds the parser, bufpool_option_get and _set and the documentation's test.
 *
 * Grammar (jemalloc's): key:value,key:value. A pair that can't be read is reported on standard error and passed over;
 * abort_conf makes it fatal. Under AT_SECURE neither file nor environment is read.
 */
#ifndef BP_CACHE_OPTIONS_H
#define BP_CACHE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum bp_option_mode { BP_MODE_POOL, BP_MODE_PASS };
enum bp_option_percpu { BP_WANT_AUTO, BP_WANT_RSEQ, BP_WANT_FALLBACK };
enum bp_option_misuse { BP_MISUSE_ABORT, BP_MISUSE_REPORT };
enum bp_option_path { BP_PATH_STATS, BP_PATH_LEAKS, BP_PATHS };
enum bp_option_check { BP_CHECK_AUTO, BP_CHECK_OFF, BP_CHECK_ON, BP_CHECK_STRICT };

/* X(key, kind, default, smallest, largest, may change while the program runs, what it is). For words the range is of the
 * index in the list of that name in options.c; of a PATH, the default is its place in `paths`. */
#define BP_OPTIONS(X)                                                                                                  \
	X(mode, WORD, BP_MODE_POOL, 0, 1, true, "pool, or pass: everything straight to jemalloc")                      \
	X(cap, BYTES, 65536, 4096, 4194304, false, "largest block that is kept, inclusive")                            \
	X(budget, BYTES, 0, 0, UINT64_MAX / 2, true, "most bytes to keep cached; 0: an eighth of memory or cgroup limit") \
	X(epoch_ms, NUMBER, 1000, 10, 3600000, true, "length of an epoch; unused blocks go back after two")            \
	X(percpu, WORD, BP_WANT_AUTO, 0, 2, false, "auto, rseq or fallback")                                           \
	X(thp, FLAG, 0, 0, 1, false, "huge pages for what the pool's range grows by beyond its first 16 MiB")           \
	X(check, WORD, BP_CHECK_AUTO, 0, 3, false, "off, on, strict, or auto: on, but under the shim a write after release is not fatal") \
	X(leaks, FLAG, 0, 0, 1, false, "note each block that is out: reported on demand, and when the program ends")           \
	X(background, FLAG, 0, 0, 1, false, "a helper thread ends epochs and gives back where the program makes no calls") \
	X(deny, PROGRAM, 0, 0, 0, false, "a program whose requests all pass through; NAME or NAME*, any number of times")   \
	X(misuse, WORD, BP_MISUSE_ABORT, 0, 1, true, "abort, or report: count it and go on")                           \
	X(stats_print, FLAG, 0, 0, 1, true, "print statistics when the program ends")                                  \
	X(stats_path, PATH, BP_PATH_STATS, 0, 0, true, "where to; standard error if empty; JSON if the name ends in .json") \
	X(leaks_path, PATH, BP_PATH_LEAKS, 0, 0, true, "the same for what leaks has to say when the program ends")     \
	X(abort_conf, FLAG, 0, 0, 1, false, "an option that can't be read is fatal")                                   \
	X(confirm_conf, FLAG, 0, 0, 1, false, "print the options at start")

#define BP_PATH_MAX 256

struct bp_options {
#define BP_FIELD(key, kind, preset, low, high, live, what) _Atomic uint64_t key;
	BP_OPTIONS(BP_FIELD)
#undef BP_FIELD
	char paths[BP_PATHS][BP_PATH_MAX];
	char denied[64];        /* what of `deny` names this program */
};

extern struct bp_options bp_options __attribute__((visibility("hidden")));

/* Reads file and environment, the first time. Before anything else looks. */
void bp_options_start(void);

/* 0, -ENOENT, -EINVAL, -EPERM. starting: options that are fixed later may be set still. */
int bp_options_set(const char *key, size_t key_length, const char *value, size_t value_length, bool starting);
/* 0, -ENOENT, -ERANGE. */
int bp_options_get(char *value, size_t size, const char *key);
/* Row by row: NULL behind the last. For docs and tools. */
const char *bp_options_row(unsigned i, const char **what);

#endif
