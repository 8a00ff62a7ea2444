/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Every schedule, but for those that come to the same. Depth first: a schedule is the list of who made each step. After
 * each run its steps are searched for pairs of two actors that have to do with each other and whose order does not follow
 * from others in between; the second one's actor is then wanted at the first one's place, too, and the last such place is
 * where the next schedule turns off. Whoever was run at a place before sleeps there until somebody makes a step that has
 * to do with his: until then his step leads nowhere new. A run in which everybody who is left sleeps is none of the
 * schedules (Flanagan and Godefroid, "Dynamic partial-order reduction", 2005, with sleep sets).
 *
 * Where the plan tells states apart, a run ends at the first one that is known: everything from there on has been seen.
 * Not seen is what that has to do with the steps that led there this time. So each state that has been gone through
 * remembers what the actors did from there on, in whatever order (Yang, Chen, Gopalakrishnan and Kirby, "Efficient
 * stateful dynamic partial order reduction", 2008), and an actor that may use there what a step of the other one's used
 * is wanted at the last such step: too often rather than too seldom, for on the way there their order may have come to
 * follow from others. No state comes after itself, since nobody waits for the other by looking again and again: a schedule
 * that did would have no end. A state in which somebody sleeps is known only where it was met with the same
 * one or nobody asleep.
 *
 * States are looked up only before steps on variables with which both have to do, as far as that is known: where nobody
 * turns off there is nothing to save.
 */
#include <string.h>

#include "futures.h"
#include "sets.h"
#include "steps.h"

enum { STATES_MAX = 1 << 23, UNKNOWN = -1 };

struct node {
	int who;
	int known;              /* the other's last step that is bound to come before this one */
	int state;              /* its number; -1: not looked up */
	bool wanted;            /* the other one is to be tried here as well, */
	bool both;              /* or has been */
	struct u_step step;
	bool asleep[2];
	struct u_step sleep[2]; /* the step that the sleeper would make */
	struct u_future future; /* from here on, as far as it was gone through */
};

static struct node nodes[U_STEPS_MAX];
static bool has_states, alike;
static bool complete;

static struct u_set states;
static int *futures;            /* of the states, once they have been gone through */
static int met;                 /* the state at which the run was cut short; -1: none */

bool u_complete(void)
{
	return complete;
}

/* ---- during a run ---- */

static void inherit_sleep(struct node *n, const struct node *parent)
{
	for (int i = 0; i < 2; i++) {
		n->asleep[i] = parent->asleep[i] && i != parent->who && !u_meet(&parent->sleep[i], &parent->step);
		n->sleep[i] = parent->sleep[i];
	}
}

/* Is it new? */
static bool note_state(struct node *n)
{
	uint64_t state = u_state(), key = state;
	int awake = u_set_find(&states, state);
	if (n->asleep[0] || n->asleep[1])
		key = u_mix(state, n->asleep[1]);
	met = awake >= 0 ? awake : u_set_find(&states, key);
	u_check(met < 0 || futures[met] != UNKNOWN, "a state comes after itself");
	if (met >= 0)
		return false;
	n->state = u_set_add(&states, key);
	u_check(n->state < STATES_MAX, "too many states");
	futures[n->state] = UNKNOWN;
	u_steps[u_length].state = state;
	return true;
}

static int choose(void)
{
	struct node *n = &nodes[u_length], *parent = n - 1;
	n->wanted = n->both = false;
	n->state = -1;
	n->asleep[0] = n->asleep[1] = false;
	int last = 0;
	if (u_length > 0) {
		parent->step = u_steps[u_length - 1].step;
		inherit_sleep(n, parent);
		last = parent->who;
	}
	n->who = u_has_ended(last) || n->asleep[last] ? !last : last;
	if (u_has_ended(n->who) || n->asleep[n->who])
		return -1;
	if (!has_states)
		return n->who;
	memset(&n->future, 0, sizeof(n->future));
	bool matters = n->who != last || u_coming() == NULL || u_is_shared(u_coming());
	return matters && !note_state(n) ? -1 : n->who;
}

/* ---- after it ---- */

static void want(struct node *n, int who)
{
	n->wanted |= !n->both && !n->asleep[who] && !(alike && n == nodes);
}

/* Finds the pairs whose order could be the other one; those within what was repeated are known. last: each one's last
 * step. */
static void find_races(int last[2])
{
	for (int e = 0; e < u_length; e++) {
		struct node *n = &nodes[e];
		int before = last[n->who];
		last[n->who] = e;
		if (e + 1 < u_repeated)
			continue;
		n->step = u_steps[e].step;
		u_learn(n->who, n->step.at, n->step.kind);
		n->known = before < 0 ? -1 : nodes[before].known;
		for (int d = e - 1; d > n->known; d--) {
			if (nodes[d].who == n->who || !u_meet(&nodes[d].step, &n->step))
				continue;
			want(&nodes[d], n->who);
			n->known = d;
			break;
		}
	}
}

/* The same for pairs of which the second one would come after the state at which the run was cut short. */
static void find_later_races(const int last[2])
{
	struct u_future left = *u_future_kept(futures[met]);
	for (int who = 0; who < 2; who++) {
		int known = last[who] < 0 ? -1 : nodes[last[who]].known;
		for (int d = u_length - 1; d > known; d--)
			if (nodes[d].who != who && u_future_meets(&left, who, &nodes[d].step))
				want(&nodes[d], who);
	}
}

/* All that was gone through behind it. */
static void add_future(struct node *n, const struct u_future *behind)
{
	u_future_add_step(&n->future, n->who, &n->step);
	if (behind != NULL)
		u_future_add(&n->future, behind);
}

/* Turns off at the last place where somebody is wanted; what lies behind it has been gone through. */
static bool turn_off(void)
{
	const struct u_future *behind = met < 0 ? NULL : u_future_kept(futures[met]);
	for (int i = u_length - 1; i >= 0; i--) {
		struct node *n = &nodes[i];
		if (has_states)
			add_future(n, behind);
		behind = &n->future;
		if (n->wanted) {
			n->wanted = false;
			n->both = true;
			n->asleep[n->who] = true;
			n->sleep[n->who] = n->step;
			u_steps[i].who = n->who = !n->who;
			u_repeated = i + 1;
			return true;
		}
		if (n->state >= 0)
			futures[n->state] = u_future_keep(&n->future);
	}
	return false;
}

static void forget(void)
{
	static int room[STATES_MAX];
	futures = room;
	u_variables_forget();
	u_futures_forget();
	u_set_clear(&states);
	u_repeated = 0;
}

unsigned u_explore(const struct u_plan *plan, unsigned most)
{
	unsigned whole = 0;
	forget();
	has_states = plan->state != NULL;
	alike = plan->alike;
	for (unsigned runs = 1;; runs++) {
		int last[2] = { -1, -1 };
		met = -1;
		whole += u_run(plan, choose);
		find_races(last);
		if (met >= 0)
			find_later_races(last);
		complete = !turn_off();
		if (complete || runs == most)
			return whole;
	}
}
