/* SPDX-License-Identifier: BSD-2-Clause */
#include "schedule.h"

#include <criterion/criterion.h>
#include <ucontext.h>

enum { STACK = 256 << 10, CHOICES_MAX = 4096 };

static ucontext_t scheduler, contexts[2];
static char stacks[2][STACK] __attribute__((aligned(64)));
static bool ended[2];
static int running = -1; /* -1: nobody's coroutine, yields are nothing */
static void (*bodies[2])(void);

/* The choices of this run, and whether the other one could have been made. */
static char choice[CHOICES_MAX + 1];
static bool open_choice[CHOICES_MAX];
static unsigned prefix, length;

const char *u_schedule(void)
{
	return choice;
}

void u_yield(void)
{
	if (running >= 0)
		swapcontext(&contexts[running], &scheduler);
}

static void enter(int who)
{
	bodies[who]();
	ended[who] = true;
}

static void run_once(const struct u_plan *plan)
{
	plan->before();
	for (int i = 0; i < 2; i++) {
		ended[i] = false;
		bodies[i] = plan->actor[i];
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = STACK;
		contexts[i].uc_link = &scheduler;
		makecontext(&contexts[i], (void (*)(void))enter, 1, i);
	}
	for (length = 0; !ended[0] || !ended[1]; length++) {
		cr_assert_lt(length, CHOICES_MAX, "a schedule without an end");
		/* Also where this run is shorter than the one before it: giving back goes by the clock. */
		if (length >= prefix || ended[choice[length] - '0'])
			choice[length] = ended[0] ? '1' : '0';
		open_choice[length] = !ended[0] && !ended[1];
		if (length + 1 >= prefix)
			choice[length + 1] = '\0';
		running = choice[length] - '0';
		swapcontext(&scheduler, &contexts[running]);
		running = -1;
	}
	plan->after();
}

/* The last choice that can be made otherwise; false: all have been. */
static bool next(void)
{
	while (length-- > 0)
		if (open_choice[length] && choice[length] == '0') {
			choice[length] = '1';
			prefix = length + 1;
			return true;
		}
	return false;
}

unsigned u_explore(const struct u_plan *plan, unsigned most)
{
	unsigned n = 0, met = 0;
	prefix = 0;
	do {
		run_once(plan);
		for (unsigned i = 2; i < length; i++)
			if (choice[i] != choice[i - 1] && choice[i - 1] != choice[i - 2]) {
				met++;
				break;
			}
	} while (++n < most && next());
	cr_assert_gt(met, 0, "the actors were never between each other's steps");
	return n;
}
