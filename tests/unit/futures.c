/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See futures.h: sets of bits, of which many states have the same.
 */
#include "futures.h"

#include <stdlib.h>

enum { KEPT_MAX = 1 << 18 };

static struct u_set known; /* by their digests */
static struct u_future *kept;

static int words(void)
{
	return (int)(u_variables.count + 63) / 64;
}

void u_future_add_step(struct u_future *f, int who, const struct u_step *s)
{
	int v = u_variable(s->at);
	f->of[who][s->kind][v / 64] |= (uint64_t)1 << v % 64;
}

void u_future_add(struct u_future *f, const struct u_future *more)
{
	for (int i = 0, n = words(); i < 2 * U_KINDS; i++)
		for (int word = 0; word < n; word++)
			f->of[i / U_KINDS][i % U_KINDS][word] |= more->of[i / U_KINDS][i % U_KINDS][word];
}

bool u_future_meets(struct u_future *f, int who, const struct u_step *s)
{
	int v = u_variable(s->at);
	uint64_t bit = (uint64_t)1 << v % 64, any = 0;
	for (int kind = 0; kind < U_KINDS; kind++) {
		uint64_t *word = &f->of[who][kind][v / 64];
		uint64_t met = kind != s->kind || kind == U_WRITE ? *word & bit : 0;
		*word ^= met;
		any |= met;
	}
	return any != 0;
}

int u_future_keep(const struct u_future *f)
{
	uint64_t digest = 0;
	for (int i = 0, n = words(); i < 2 * U_KINDS; i++)
		for (int word = 0; word < n; word++)
			if (f->of[i / U_KINDS][i % U_KINDS][word] != 0)
				digest = u_mix(u_mix(digest, f->of[i / U_KINDS][i % U_KINDS][word]), (uint64_t)(i << 8 | word));
	uint32_t before = known.count;
	int number = u_set_add(&known, digest);
	if (kept == NULL)
		kept = calloc(KEPT_MAX, sizeof(*kept));
	u_check(kept != NULL && number < KEPT_MAX, "too many futures");
	if (known.count > before)
		kept[number] = *f;
	return number;
}

const struct u_future *u_future_kept(int number)
{
	return &kept[number];
}

void u_futures_forget(void)
{
	u_set_clear(&known);
}
