/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See vec_text.h.
 */
#include "vec_text.h"

#include <criterion/criterion.h>
#include <string.h>

void t_vec_add(struct bufpool_vec *v, size_t n)
{
	const size_t before = bufpool_vec_bytes(v);

	cr_assert_eq(bufpool_vec_add(v, n), 0);
	cr_assert_eq(v->iov[v->count - 1].iov_len, n);
	t_fill(v->iov[v->count - 1].iov_base, n, T_VEC_SEED + before / 8 * 0x9e3779b97f4a7c15u);
}

size_t t_vec_random_size(uint64_t *random)
{
	const uint64_t r = t_random(random);

	return (r >> 8) % ((r & 3) ? 200 : 20000) / 8 * 8;
}

size_t t_vec_gather(unsigned char *to, const struct bufpool_vec *v)
{
	size_t n = 0;

	for (size_t i = 0; i < v->count; n += v->iov[i++].iov_len)
		memcpy(to + n, v->iov[i].iov_base, v->iov[i].iov_len);
	return n;
}
