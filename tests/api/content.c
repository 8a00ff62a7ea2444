/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The books, the content of blocks, and owners that check both: without Criterion, so that the helper program has them
 * too. Nothing here allocates between two readings of the statistics.
 */
#include "support.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t t_dropped(const struct bufpool_stats *s)
{
	return s->dropped_cap + s->dropped_budget + s->dropped_epoch;
}

int64_t t_imbalance(const struct bufpool_stats *s)
{
	return (int64_t)(s->from_backend - s->in_use - s->cached - s->victim - s->queued - s->set_aside - t_dropped(s));
}

bool t_balanced(void)
{
	struct bufpool_stats s = { .size = sizeof(s) };

	for (int i = 0; i < 1000; i++) {
		if (bufpool_stats_get(&s, NULL))
			return false;
		if (!t_imbalance(&s) && s.in_use == s.acquired - s.released)
			return true;
		t_sleep_ms(1);
	}
	fprintf(stderr, "imbalance %" PRId64 ": from_backend %" PRIu64 ", in_use %" PRIu64 ", cached %" PRIu64
		", victim %" PRIu64 ", queued %" PRIu64 ", set_aside %" PRIu64, t_imbalance(&s), s.from_backend,
		s.in_use, s.cached, s.victim, s.queued, s.set_aside);
	fprintf(stderr, ", dropped %" PRIu64 " (cap) %" PRIu64 " (budget) %" PRIu64 " (epoch), acquired %" PRIu64
		", released %" PRIu64 "\n", s.dropped_cap, s.dropped_budget, s.dropped_epoch, s.acquired, s.released);
	return false;
}

/* splitmix64 */
uint64_t t_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

size_t t_random_size(uint64_t *state)
{
	const uint64_t r = t_random(state);

	switch (r & 15) {
	case 0:
		return (r >> 8) % (3 * T_CAP);
	case 1: case 2: case 3:
		return (r >> 8) % (T_CAP + 1);
	case 4: case 5: case 6: case 7:
		return (r >> 8) % 4096;
	default:
		return (r >> 8) % 256;
	}
}

void t_fill(void *p, size_t n, uint64_t seed)
{
	unsigned char *at = p;

	for (; n >= 8; n -= 8, at += 8, seed += 0x9e3779b97f4a7c15u)
		memcpy(at, &seed, 8);
	if (n > 0) /* at may be NULL */
		memcpy(at, &seed, n);
}

bool t_check(const void *p, size_t n, uint64_t seed)
{
	const unsigned char *at = p;

	for (; n >= 8; n -= 8, at += 8, seed += 0x9e3779b97f4a7c15u)
		if (memcmp(at, &seed, 8))
			return false;
	return n == 0 || !memcmp(at, &seed, n);
}

bool t_all(const void *p, size_t n, unsigned char value)
{
	const unsigned char *at = p;

	return !n || (*at == value && !memcmp(at, at + 1, n - 1));
}

bool t_aligned(const void *p, size_t alignment)
{
	return !((uintptr_t)p & (alignment - 1));
}

static unsigned owner_acquire(struct t_owner *o)
{
	const size_t n = t_random_size(&o->random);
	void *p = t_random(&o->random) & 7 ? bufpool_acquire(n) : bufpool_acquire_zeroed(n);

	if (!p || bufpool_capacity(p) < n)
		return 1;
	o->held[o->count].p = p;
	o->held[o->count].n = n;
	o->held[o->count].seed = t_random(&o->random);
	t_fill(p, n, o->held[o->count].seed);
	o->count++;
	return 0;
}

static unsigned owner_resize(struct t_owner *o, size_t i)
{
	const size_t n = t_random_size(&o->random), kept = n < o->held[i].n ? n : o->held[i].n;
	void *p = bufpool_resize(o->held[i].p, n);
	unsigned wrong;

	if (!p)
		return 1;
	wrong = !t_check(p, kept, o->held[i].seed);
	o->held[i].p = p;
	o->held[i].n = n;
	t_fill(p, n, o->held[i].seed);
	return wrong;
}

static unsigned owner_release(struct t_owner *o, size_t i)
{
	const size_t n = o->held[i].n;
	const unsigned wrong = !t_check(o->held[i].p, n, o->held[i].seed);

	if (t_random(&o->random) & 3)
		bufpool_release(o->held[i].p);
	else
		bufpool_release_sized(o->held[i].p, n);
	o->held[i] = o->held[--o->count];
	return wrong;
}

unsigned t_owner_step(struct t_owner *o)
{
	const uint64_t r = t_random(&o->random);

	if (!o->count || (o->count < T_COUNT(o->held) && (r & 1)))
		return owner_acquire(o);
	if ((r & 30) == 0)
		return owner_resize(o, (r >> 8) % o->count);
	return owner_release(o, (r >> 8) % o->count);
}

unsigned t_owner_finish(struct t_owner *o)
{
	unsigned wrong = 0;

	while (o->count)
		wrong += owner_release(o, o->count - 1);
	return wrong;
}

unsigned t_owner_run(struct t_owner *o, unsigned steps)
{
	unsigned wrong = 0;

	while (steps--)
		wrong += t_owner_step(o);
	return wrong + t_owner_finish(o);
}
