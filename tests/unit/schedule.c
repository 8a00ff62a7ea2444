/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See schedule.h. Here the actors are run, as coroutines; explore.c and bounded.c choose.
 *
 * A schedule that is run again must make the same steps: that is looked at in each run, and at the last repeated step,
 * where there are states, that everything is as it was. An actor that has ended must never be resumed (it would go on
 * from its last point and do everything after it once more).
 *
 * The state is digested from three parts. Variables: a sum over all that were changed, kept up at each step. Actors that
 * wait at a point: what is on their stacks, where the point has put the registers as well; what earlier calls have left
 * below them doesn't count, what uninitialised variables have of it does (the compiler is told to clear those). What is
 * shared besides: the plan knows. Two states with the same digest of 64 bits are taken for one: among the ten million of
 * the longest exploration that any two are not has a chance of 1 in 100 000.
 */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include "steps.h"

enum { STACK = 256 << 10, USED = 32 << 10, WIPED = 4 << 10, WIPED_DEEP = 8 << 10 /* rows of 2 KiB lie there */ };

static ucontext_t scheduler, contexts[2];
static char stacks[2][STACK] __attribute__((aligned(64)));
static const struct u_plan *plan;
static int (*pick)(void);
static bool begun[2], ended[2];
static int running = -1;
static const char *failed; /* a condition that an actor was to meet */
static char failure[512];

struct u_made u_steps[U_STEPS_MAX];
int u_length, u_repeated;
static bool strayed;              /* a repeated step was another one */
static struct u_step step;        /* the one being made */
static size_t size;               /* of its variable, */
static uint64_t before;           /* and what that was */
static const volatile void *coming[2];

static bool looking;              /* at the state, by which nothing is stepped */
static uint64_t memory;           /* digest of the variables */
static const uint64_t *tops[2];   /* of the stacks of those who wait, */
static uint64_t digests[2];       /* and the digests of what is there; 0: not known yet */

int u_actor(void)
{
	return running;
}

const char *u_schedule(void)
{
	static char text[U_STEPS_MAX + 1];
	for (int i = 0; i < u_length; i++)
		text[i] = (char)('0' + u_steps[i].who);
	text[u_length] = '\0';
	return text;
}

static __attribute__((noreturn)) void report(void)
{
	cr_assert_fail("not %s: %s; schedule %s", failed, failure, u_schedule());
	abort();
}

/* Out of an actor first: an assertion that fails leaves the test by longjmp. */
void u_fail(const char *condition, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(failure, sizeof(failure), format, args);
	va_end(args);
	failed = condition;
	looking = false;
	if (running >= 0)
		setcontext(&scheduler);
	report();
}

void (*u_resumed)(int who);

/* ---- states ---- */

uint64_t u_mix(uint64_t digest, uint64_t value)
{
	digest = (digest ^ value) * 0x9e3779b97f4a7c15u;
	return digest ^ digest >> 32;
}

uint64_t u_memory(void)
{
	return memory;
}

static uint64_t value(void)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)step.at;
	case 2:
		return *(const volatile uint16_t *)step.at;
	case 4:
		return *(const volatile uint32_t *)step.at;
	default:
		return *(const volatile uint64_t *)step.at;
	}
}

static uint64_t term(uint64_t v)
{
	return u_mix(u_mix(1, (uintptr_t)step.at), v);
}

/* What changed nothing has only read. */
static void settle(void)
{
	if (step.kind == U_READ || size == 0)
		return;
	uint64_t now = value();
	if (now == before)
		step.kind = U_READ;
	memory += term(now) - term(before);
}

/* Red zones, too. */
static __attribute__((no_sanitize("address"))) uint64_t digest_of(int who)
{
	if (!begun[who] || ended[who])
		return ended[who];
	uint64_t digest = digests[who];
	for (const uint64_t *at = tops[who]; digests[who] == 0 && at < (uint64_t *)(stacks[who] + STACK); at++)
		digest = u_mix(digest, *at);
	return digests[who] = digest;
}

uint64_t u_state(void)
{
	looking = true;
	uint64_t digest = plan->state();
	looking = false;
	return u_mix(u_mix(u_mix(digest, memory), digest_of(0)), digest_of(1)) | 1;
}

/* ---- steps ---- */

bool u_has_ended(int who)
{
	return ended[who];
}

const volatile void *u_coming(void)
{
	return running < 0 || ended[running] ? NULL : coming[running];
}

static void end_step(void)
{
	settle();
	if (u_length == 0)
		return;
	struct u_made *made = &u_steps[u_length - 1];
	/* The last repeated one is another actor's than before. */
	strayed |= u_length < u_repeated && (made->step.at != step.at || made->step.kind != step.kind);
	made->step = step;
	step.kind = U_READ;
}

/* Who makes the next step; -1: nobody any more. */
static int choose(void)
{
	end_step();
	struct u_made *next = &u_steps[u_length];
	if (u_length >= u_repeated)
		next->state = 0;
	else if (u_length + 1 == u_repeated && next->state != 0)
		strayed |= next->state != u_state();
	int who = u_length < u_repeated ? next->who : pick();
	strayed |= who >= 0 && (ended[who] || u_length + 1 == U_STEPS_MAX);
	if (who < 0 || strayed)
		return -1;
	next->who = who;
	u_length++;
	return who;
}

/* What calls have left below: later ones would have it in what they don't use. */
static __attribute__((noinline)) void wipe(size_t bytes)
{
	static void *(*volatile set)(void *, int, size_t) = memset; /* inline it is slower */
	char below[bytes];
	set(below, 0, bytes);
	__asm__ volatile("" : : "r"(below) : "memory");
}

static __attribute__((noinline)) void point(void)
{
	int from = running;
	if (!begun[from]) { /* the first step was chosen when the actor was entered */
		begun[from] = true;
		return;
	}
	tops[from] = __builtin_frame_address(0);
	digests[from] = 0;
	bool picks = u_length >= u_repeated; /* down in explore.c */
	int to = choose();
	running = to;
	if (to != from) {
		swapcontext(&contexts[from], to < 0 ? &scheduler : &contexts[to]);
		if (u_resumed != NULL)
			u_resumed(from);
	}
	wipe(picks ? WIPED_DEEP : WIPED);
}

/* Nothing of the scheduler's may be in here, nor in enter: it would be part of the state. */
void u_access(const volatile void *at, int kind, size_t bytes)
{
	if (running < 0 || looking)
		return;
	__builtin_unwind_init(); /* all registers that outlast a call are on the stack now */
	coming[running] = at;
	point();
	step = (struct u_step){ at, kind == U_ADD && at == plan->ordered ? U_WRITE : kind };
	size = bytes;
	if (kind != U_READ && bytes != 0)
		before = value();
}

/* ---- runs ---- */

static void enter(int who)
{
	plan->actor[who]();
	ended[who] = true;
}

/* Actors that were cut short have left their frames. */
extern void __asan_unpoison_memory_region(const volatile void *at, size_t bytes) __attribute__((weak));

static void prepare(void)
{
	static ucontext_t fresh; /* with the same registers each time */
	static bool taken;
	if (!taken)
		getcontext(&fresh);
	taken = true;
	if (__asan_unpoison_memory_region != NULL)
		__asan_unpoison_memory_region(stacks, sizeof(stacks));
	u_length = 0;
	strayed = false;
	memory = 0;
	step.kind = U_READ;
	for (int i = 0; i < 2; i++) {
		begun[i] = ended[i] = false;
		memset(stacks[i] + STACK - USED, 0, USED);
		contexts[i] = fresh;
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = STACK;
		contexts[i].uc_link = &scheduler;
		makecontext(&contexts[i], (void (*)(void))enter, 1, i);
	}
}

bool u_run(const struct u_plan *which, int (*next)(void))
{
	plan = which;
	pick = next;
	plan->before();
	prepare();
	do {
		running = choose();
		if (running >= 0)
			swapcontext(&scheduler, &contexts[running]);
		if (failed != NULL)
			running = -1;
	} while (running >= 0 && (!ended[0] || !ended[1]));
	bool whole = running >= 0;
	running = -1;
	if (failed != NULL)
		report();
	u_check(u_length + 1 < U_STEPS_MAX, "a schedule without an end");
	u_check(!strayed, "the same schedule went another way: the scene is not the same each time");
	if (!whole)
		return false;
	end_step();
	plan->after();
	return true;
}
