/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See sizing.h: the rules, one function each.
 */
#include "cache/sizing.h"

#define load(p) atomic_load_explicit(p, memory_order_relaxed)
#define store(p, value) atomic_store_explicit(p, value, memory_order_relaxed)
#define add(p, n) atomic_fetch_add_explicit(p, n, memory_order_relaxed)

/* ---- the beginning ---- */

/* Twice as much, or half; never over the cap, and below the smallest none at all. */
static size_t changed(size_t start, bool up, size_t cap)
{
	if (!up)
		return start <= BP_SIZING_FIRST ? 0 : start / 2;
	size_t more = start == 0 ? BP_SIZING_FIRST : start * 2;
	return more <= cap ? more : start;
}

/* Who changed its mind before needs twice as much evidence: between two sizes that are equally right a program comes
 * to rest. */
static int32_t needed(struct bp_sizing *s, int32_t voice)
{
	return BP_SIZING_SURE * voice << load(&s->turns);
}

static void change(struct bp_sizing *s, size_t start, size_t fresh)
{
	bool up = fresh > start, before = load(&s->rose), first = start == 0 && load(&s->turns) == 0;
	uint16_t turns = load(&s->turns);
	if (!atomic_compare_exchange_strong_explicit(&s->start, &start, fresh, memory_order_relaxed, memory_order_relaxed))
		return; /* somebody else just did */
	if (!first && up != before && turns < BP_SIZING_TURNS)
		store(&s->turns, turns + 1);
	store(&s->rose, up);
	store(&s->votes, 0);
}

/* Larger where more than one buffer in twenty outgrows the start, if it is not too large for others: then nineteen fifths
 * of them count as much as one that outgrows it. Smaller by the same measure: who would outgrow half of it speaks against. */
static void vote(struct bp_sizing *s, struct bp_use use, size_t cap)
{
	size_t start = load(&s->start);
	int32_t before = load(&s->votes), voice;
	if (use.outgrown && use.content > start)
		voice = changed(start, true, cap) == start ? 0 : BP_SIZING_OUTGROWN;
	else if (bp_sizing_is_poor_start(start, use))
		voice = -BP_SIZING_POOR;
	else if (before < 0)
		voice = use.content > start / 2 ? BP_SIZING_OUTGROWN : BP_SIZING_FITS;
	else
		voice = before > 0 ? -BP_SIZING_FITS : 0;
	if (voice == 0)
		return;
	int32_t now = add(&s->votes, voice) + voice;
	if (now >= needed(s, BP_SIZING_OUTGROWN))
		change(s, start, changed(start, true, cap));
	else if (now <= -needed(s, BP_SIZING_POOR))
		change(s, start, changed(start, false, cap));
}

/* ---- keeping ---- */

/* A window that is over takes its rows with it. */
static uint32_t rows_now(struct bp_sizing *s, uint32_t epoch)
{
	uint32_t window = epoch / BP_SIZING_WINDOW;
	if (load(&s->window) != window) {
		store(&s->window, window);
		store(&s->rows, 0);
	}
	return load(&s->rows);
}

/* Well used: that ends the row. */
static void end_row(struct bp_sizing *s, struct bp_use use)
{
	if (use.capacity > BP_SIZING_SMALL && !bp_sizing_is_too_large(use) && load(&s->strikes) != 0)
		store(&s->strikes, 0);
}

/* The one after the last strike is given back. What began too large on this pool's own advice is no strike: the votes see to
 * that. Who goes on all the same asks for such blocks because it wants them: after a few rows nothing is counted any more
 * until the window is over. */
static bool keeps(struct bp_sizing *s, struct bp_use use, uint32_t epoch)
{
	if (!bp_sizing_is_too_large(use) || bp_sizing_is_poor_start(load(&s->start), use))
		return true;
	uint32_t rows = rows_now(s, epoch);
	if (rows >= BP_SIZING_ROWS || add(&s->strikes, 1) < (uint32_t)BP_SIZING_STRIKES << rows)
		return true;
	store(&s->strikes, 0);
	add(&s->rows, 1);
	add(&s->given_back, 1);
	return false;
}

/* ---- how often ---- */

/* By chance, since what takes turns in a program would always meet the same turn of a count. */
static bool is_looked_at(struct bp_sizing *s)
{
	static __thread uint32_t random __attribute__((tls_model("initial-exec")));
	uint32_t looks = load(&s->looks), rarely = 0;
	while (rarely < BP_SIZING_RARELY && looks >> rarely >= BP_SIZING_LOOKS)
		rarely++;
	random = random * 1664525 + 1013904223;
	if (random >> 16 & ((1u << rarely) - 1))
		return false;
	if (looks >> rarely < BP_SIZING_LOOKS)
		store(&s->looks, looks + 1);
	return true;
}

bool bp_sizing_learn(struct bp_sizing *s, struct bp_use use, size_t cap, uint32_t epoch)
{
	if (use.outgrown)
		add(&s->outgrown, 1);
	end_row(s, use);
	if (!is_looked_at(s))
		return true;
	vote(s, use, cap);
	return use.capacity > cap || keeps(s, use, epoch);
}
