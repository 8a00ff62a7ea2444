/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

void bench_limit_push(void *p);
void *bench_limit_pop(void);

/* The same two, from a library of their own (meson.build compiles limit.c a second time). */
void bench_shared_push(void *p);
void *bench_shared_pop(void);

#endif
