/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Threads that read and release parts of one block, whose next owner writes to it: what was read is ordered before
 * what is written. A plain program, because Criterion does not run under TSan, which is what sees the order.
 */
#include <bufpool/bytes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 4, ROUNDS = 200, BLOCK = 65536, PART = 40000 };

static struct bufpool_bytes common;
static pthread_barrier_t begun;
static _Atomic unsigned wrong;

static bool is_all(const struct bufpool_bytes *b, unsigned char value)
{
	size_t i = 0;

	while (i < b->len && b->data[i] == value)
		i++;
	return i == b->len;
}

static void *take_parts(void *value)
{
	struct bufpool_bytes mine, part, copy;

	wrong += bufpool_bytes_sub(&mine, &common, 0, PART) != 0;
	pthread_barrier_wait(&begun);
	for (int i = 0; i < 4; i++) {
		wrong += bufpool_bytes_sub(&part, &mine, 0, PART) || bufpool_bytes_sub(&copy, &part, 8, 100);
		bufpool_bytes_release(&mine);
		wrong += !is_all(&part, *(unsigned char *)value) || !is_all(&copy, *(unsigned char *)value);
		bufpool_bytes_release(&copy);
		mine = bufpool_bytes_steal(&part);
	}
	bufpool_bytes_release(&mine);
	return NULL;
}

static void share_once(unsigned char value)
{
	struct bufpool_buf b = BUFPOOL_BUF_INIT;
	pthread_t threads[THREADS];
	void *p = bufpool_buf_extend(&b, BLOCK);

	if (p == NULL) {
		wrong++;
		return;
	}
	memset(p, value, BLOCK);
	wrong += bufpool_bytes_freeze(&common, &b) != 0;
	for (int i = 0; i < THREADS; i++)
		wrong += pthread_create(&threads[i], NULL, take_parts, &value) != 0;
	pthread_barrier_wait(&begun);
	bufpool_bytes_release(&common);
	/* The block may be this one already, of whoever let go last. */
	p = bufpool_buf_extend(&b, BLOCK);
	if (p != NULL)
		memset(p, value + 1, BLOCK);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	bufpool_buf_release(&b);
}

int main(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	pthread_barrier_init(&begun, NULL, THREADS + 1);
	for (int round = 0; round < ROUNDS; round++)
		share_once((unsigned char)round);
	wrong += bufpool_stats_get(&s, NULL) != 0 || s.referenced_bytes != 0 || s.pinned_bytes != 0 || s.in_use != 0;
	printf("1..1\n%sok 1 - parts of one block by %d threads\n", wrong ? "not " : "", (int)THREADS);
	return wrong != 0;
}
