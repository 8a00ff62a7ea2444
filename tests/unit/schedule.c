/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See schedule.h. Depth first: a schedule is the list of who made each step. After each run its steps are searched for
 * pairs of two actors that have to do with each other and whose order does not follow from others in between; the
 * second one's actor is then wanted at the first one's place, too, and the last such place is where the next schedule
 * turns off. Whoever was run at a place before sleeps there until somebody makes a step that has to do with his: until
 * then his step leads nowhere new. A run in which everybody who is left sleeps is none of the schedules.
 *
 * With a bound on preemptions nobody sleeps, and the other one is wanted wherever he may go on.
 *
 * All this holds only where a schedule that is run again makes the same steps: that is looked at in each run. An actor
 * that has ended must never be resumed (it would go on from its last point and do everything after it once more).
 */
#include "schedule.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include "sys/backend.h"

enum { STACK = 256 << 10, STEPS_MAX = 4096, ACCESSES_MAX = 2 };

/* What a step used. */
struct step {
	unsigned count;
	struct {
		const volatile void *at;
		int kind;
	} of[ACCESSES_MAX];
};

struct node {
	int who;
	int known;            /* the other's last step that is bound to come before this one */
	int preempted;        /* so often up to here */
	bool wanted;          /* the other one is to be tried here as well */
	struct step step;
	bool asleep[2];
	struct step sleep[2]; /* the step that the sleeper would make */
};

static ucontext_t scheduler, contexts[2];
static char stacks[2][STACK] __attribute__((aligned(64)));
static void (*bodies[2])(void);
static bool begun[2], ended[2];
static int running = -1;

static struct node nodes[STEPS_MAX];
static int length, prefix; /* steps made; those that a run repeats of the one before it */
static struct step step;   /* the one being made */
static bool blocked;       /* whoever is left sleeps */
static bool strayed;       /* a repeated step was another one */
static bool complete;
static int bound = -1;     /* of preemptions; -1: none */

bool u_complete(void)
{
	return complete;
}

int u_actor(void)
{
	return running;
}

const char *u_schedule(void)
{
	static char text[STEPS_MAX + 1];
	for (int i = 0; i < length; i++)
		text[i] = (char)('0' + nodes[i].who);
	text[length] = '\0';
	return text;
}

void u_fail(const char *condition, const char *format, ...)
{
	static char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	cr_assert_fail("not %s: %s; schedule %s", condition, text, u_schedule());
	abort();
}

/* ---- steps ---- */

static bool meet(const struct step *a, const struct step *b)
{
	for (unsigned i = 0; i < a->count; i++)
		for (unsigned j = 0; j < b->count; j++)
			if (a->of[i].at == b->of[j].at && (a->of[i].kind != b->of[j].kind || a->of[i].kind == U_WRITE))
				return true;
	return false;
}

static void end_step(void)
{
	if (length == 0)
		return;
	struct step *s = &nodes[length - 1].step;
	/* The last repeated one is another actor's than before. */
	strayed |= length < prefix && memcmp(s, &step, sizeof(step)) != 0;
	*s = step;
}

static void start_node(struct node *n, const struct node *parent)
{
	n->wanted = false;
	for (int i = 0; i < 2; i++) {
		n->asleep[i] = parent != NULL && parent->asleep[i] && i != parent->who &&
			       !meet(&parent->sleep[i], &parent->step);
		if (n->asleep[i])
			n->sleep[i] = parent->sleep[i];
	}
	int last = parent == NULL ? 0 : parent->who;
	n->who = ended[last] || n->asleep[last] ? !last : last;
	blocked = ended[n->who] || n->asleep[n->who];
}

static int preempted_at(int i)
{
	const struct node *n = &nodes[i], *parent = n - 1;
	return i == 0 ? 0 : parent->preempted + (parent->who != n->who && !ended[parent->who]);
}

/* Who makes the next step. */
static int choose(void)
{
	if (!blocked) {
		struct node *n = &nodes[length];
		end_step();
		if (length >= prefix)
			start_node(n, length == 0 ? NULL : n - 1);
		n->preempted = preempted_at(length);
		strayed |= !blocked && ended[n->who];
		memset(&step, 0, sizeof(step));
		blocked |= strayed || length + 1 == STEPS_MAX;
	}
	if (blocked) /* to an end, somehow */
		return running >= 0 && !ended[running] ? running : ended[0];
	return nodes[length++].who;
}

static void note(const volatile void *at, int kind)
{
	for (unsigned i = 0; i < step.count; i++)
		if (step.of[i].at == at)
			return;
	if (step.count < ACCESSES_MAX) {
		step.of[step.count].at = at;
		step.of[step.count++].kind = kind;
	}
}

void u_access(const volatile void *at, int kind)
{
	static const char jemalloc; /* stands for all that is in there, and for the page table */
	if (running < 0 || blocked)
		return;
	if (bp_backend_busy()) {
		note(&jemalloc, U_WRITE);
		return;
	}
	int from = running, to = from;
	if (begun[from])
		to = choose();
	begun[from] = true; /* the first step was chosen when the actor was entered */
	if (to != from) {
		running = to;
		swapcontext(&contexts[from], &contexts[to]);
	}
	if (!blocked)
		note(at, kind);
}

void u_unchanged(void)
{
	if (running >= 0 && !blocked && !bp_backend_busy())
		step.of[0].kind = U_READ;
}

/* ---- schedules ---- */

static void enter(int who)
{
	bodies[who]();
	ended[who] = true;
}

static void run_once(const struct u_plan *plan)
{
	plan->before();
	length = 0;
	blocked = strayed = false;
	for (int i = 0; i < 2; i++) {
		begun[i] = ended[i] = false;
		bodies[i] = plan->actor[i];
		getcontext(&contexts[i]);
		contexts[i].uc_stack.ss_sp = stacks[i];
		contexts[i].uc_stack.ss_size = STACK;
		contexts[i].uc_link = &scheduler;
		makecontext(&contexts[i], (void (*)(void))enter, 1, i);
	}
	while (!ended[0] || !ended[1]) {
		running = choose();
		swapcontext(&scheduler, &contexts[running]);
	}
	running = -1;
	if (!blocked)
		end_step();
	u_check(length + 1 < STEPS_MAX, "a schedule without an end");
	u_check(!strayed, "the same schedule went another way: the scene is not the same each time");
	plan->after();
}

/* Finds the pairs whose order could be the other one; those within what was repeated are known. */
static void find_races(void)
{
	int last[2] = { -1, -1 };
	for (int e = 0; e < length; e++) {
		struct node *n = &nodes[e];
		int before = last[n->who];
		last[n->who] = e;
		if (e + 1 < prefix)
			continue;
		n->known = before < 0 ? -1 : nodes[before].known;
		for (int d = e - 1; d > n->known; d--) {
			if (nodes[d].who == n->who || !meet(&nodes[d].step, &n->step))
				continue;
			nodes[d].wanted |= !nodes[d].asleep[n->who];
			n->known = d;
			break;
		}
	}
}

/* ---- a bound on preemptions ---- */

enum { VARIABLES = 4096 };
static struct {
	const volatile void *at;
	unsigned char used[2]; /* a bit for each kind of access */
} variables[VARIABLES];
static bool learned; /* something new about them */

static unsigned find_variable(const volatile void *at)
{
	unsigned i = (unsigned)((uintptr_t)at >> 2) % VARIABLES, tries = 0;
	while (variables[i].at != at && variables[i].at != NULL && ++tries < VARIABLES)
		i = (i + 1) % VARIABLES;
	u_check(tries < VARIABLES, "too many variables");
	variables[i].at = at;
	return i;
}

static void learn(const struct node *n)
{
	for (unsigned i = 0; i < n->step.count; i++) {
		unsigned char *used = &variables[find_variable(n->step.of[i].at)].used[n->who];
		learned |= !(*used >> n->step.of[i].kind & 1);
		*used |= (unsigned char)(1 << n->step.of[i].kind);
	}
}

/* Does it use what the other one has to do with? */
static bool concerns_both(const struct step *s)
{
	for (unsigned i = 0; i < s->count; i++) {
		const unsigned char *used = variables[find_variable(s->of[i].at)].used;
		unsigned both = used[0] | used[1];
		if (used[0] != 0 && used[1] != 0 && (both >> U_WRITE & 1 || both == (1 << U_READ | 1 << U_ADD)))
			return true;
	}
	return false;
}

/* Where this run went on with one actor and could have gone on with the other. */
static void find_preemptions(void)
{
	int last[2] = { -1, -1 };
	for (int i = 0; i < length; i++) {
		learn(&nodes[i]);
		last[nodes[i].who] = i;
	}
	for (int i = prefix; i < length; i++) {
		struct node *n = &nodes[i];
		bool goes_on = i > 0 && nodes[i - 1].who == n->who && last[!n->who] > i;
		n->wanted = i == 0 || (goes_on && n->preempted < bound && concerns_both(&n->step));
	}
}

static bool next(void)
{
	for (int i = length - 1; i >= 0; i--) {
		struct node *n = &nodes[i];
		if (!n->wanted)
			continue;
		n->wanted = false;
		n->asleep[n->who] = bound < 0;
		n->sleep[n->who] = n->step;
		n->who = !n->who;
		prefix = i + 1;
		return true;
	}
	return false;
}

unsigned u_explore(const struct u_plan *plan, unsigned most)
{
	unsigned n = 0;
	prefix = 0;
	bound = -1;
	do {
		run_once(plan);
		find_races();
		n += !blocked;
		complete = !next();
	} while (!complete && n != most);
	return n;
}

unsigned u_explore_bounded(const struct u_plan *plan, int preemptions)
{
	unsigned n;
	memset(variables, 0, sizeof(variables));
	bound = preemptions;
	do {
		prefix = 0;
		learned = false;
		n = 0;
		do {
			run_once(plan);
			find_preemptions();
			n++;
		} while (next());
	} while (learned);
	return n;
}
