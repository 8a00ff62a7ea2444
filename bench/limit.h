/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

void bench_limit_push(void *p);
void *bench_limit_pop(void);

#endif
