/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Vectors filled with one text that goes on from block to block, so that wherever a vector was cut, what is left and what
 * was written can be told. Sizes are multiples of 8, t_fill's step.
 */
#ifndef BUFPOOL_TESTS_API_VEC_TEXT_H
#define BUFPOOL_TESTS_API_VEC_TEXT_H

#include "support.h"

#include <bufpool/vec.h>

enum { T_VEC_SEED = 21 };

/* One more block of n bytes, with the text's next n. */
void t_vec_add(struct bufpool_vec *v, size_t n);
/* Mostly under 200 bytes, some up to 20 000, some 0. */
size_t t_vec_random_size(uint64_t *random);
/* Copies the content to one piece; returns how much. */
size_t t_vec_gather(unsigned char *to, const struct bufpool_vec *v);

#endif
