/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The schedules with few preemptions, depth first: the other actor is tried wherever he may go on and the bound allows
 * it. Which variables both use is learned on the way; whenever something new is, it begins again.
 */
#include "sets.h"
#include "steps.h"

struct node {
	bool wanted;   /* the other one is to be tried here as well */
	int preempted; /* so often up to here */
};

static struct node nodes[U_STEPS_MAX];

static int choose(void)
{
	struct node *n = &nodes[u_length];
	int last = u_length == 0 ? 0 : u_steps[u_length - 1].who;
	bool goes_on = !u_has_ended(last);
	n->preempted = u_length == 0 ? 0 : n[-1].preempted;
	return goes_on ? last : !last;
}

/* Where this run went on with one actor and could have gone on with the other. */
static bool find_preemptions(int bound)
{
	int last[2] = { -1, -1 };
	bool learned = false;
	for (int i = 0; i < u_length; i++) {
		const struct u_made *made = &u_steps[i];
		learned |= u_learn(made->who, made->step.at, made->step.kind);
		last[made->who] = i;
	}
	for (int i = u_repeated; i < u_length; i++) {
		const struct u_made *made = &u_steps[i];
		bool goes_on = i > 0 && made[-1].who == made->who && last[!made->who] > i;
		nodes[i].wanted = i == 0 || (goes_on && nodes[i].preempted < bound && u_is_shared(made->step.at));
	}
	return learned;
}

static bool turn_off(void)
{
	for (int i = u_length - 1; i >= 0; i--) {
		if (!nodes[i].wanted)
			continue;
		nodes[i].wanted = false;
		nodes[i].preempted += i > 0;
		u_steps[i].who = !u_steps[i].who;
		u_repeated = i + 1;
		return true;
	}
	return false;
}

unsigned u_explore_bounded(const struct u_plan *plan, int preemptions)
{
	unsigned n;
	bool learned;
	u_variables_forget();
	do {
		u_repeated = 0;
		learned = false;
		n = 0;
		do {
			u_run(plan, choose);
			learned |= find_preemptions(preemptions);
			n++;
		} while (turn_off());
	} while (learned);
	return n;
}
