/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See sets.h. Open addressing, at most half full.
 */
#include "sets.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 1 << 12, KEPT_ROOM = 1 << 16 };

static uint32_t *slot_of(const struct u_set *s, uint64_t key)
{
	uint32_t i = (uint32_t)(u_mix(0, key) >> 32) & (s->room - 1);
	while (s->slots[i] != 0 && s->keys[s->slots[i] - 1] != key)
		i = (i + 1) & (s->room - 1);
	return &s->slots[i];
}

static void grow(struct u_set *s)
{
	free(s->slots);
	s->room = s->room == 0 ? FIRST_ROOM : 2 * s->room;
	s->keys = realloc(s->keys, s->room / 2 * sizeof(*s->keys));
	s->slots = calloc(s->room, sizeof(*s->slots));
	u_check(s->keys != NULL && s->slots != NULL, "no memory");
	for (uint32_t i = 0; i < s->count; i++)
		*slot_of(s, s->keys[i]) = i + 1;
}

int u_set_find(const struct u_set *s, uint64_t key)
{
	return s->room == 0 ? -1 : (int)*slot_of(s, key) - 1;
}

int u_set_add(struct u_set *s, uint64_t key)
{
	if (s->count == s->room / 2)
		grow(s);
	uint32_t *slot = slot_of(s, key);
	if (*slot == 0) {
		s->keys[s->count] = key;
		*slot = ++s->count;
	}
	return (int)*slot - 1;
}

void u_set_clear(struct u_set *s)
{
	if (s->room > KEPT_ROOM) {
		free(s->keys);
		free(s->slots);
		*s = (struct u_set){ 0 };
	} else if (s->count > 0) {
		memset(s->slots, 0, s->room * sizeof(*s->slots));
		s->count = 0;
	}
}

/* ---- variables ---- */

struct u_set u_variables;
static unsigned char used[U_VARIABLES][2]; /* a bit for each kind of access */

int u_variable(const volatile void *at)
{
	int v = u_set_add(&u_variables, (uintptr_t)at);
	u_check(v < U_VARIABLES, "too many variables");
	return v;
}

void u_variables_forget(void)
{
	u_set_clear(&u_variables);
	memset(used, 0, sizeof(used));
}

bool u_learn(int who, const volatile void *at, int kind)
{
	unsigned char *kinds = &used[u_variable(at)][who];
	bool new = !(*kinds >> kind & 1);
	*kinds |= (unsigned char)(1 << kind);
	return new;
}

bool u_is_shared(const volatile void *at)
{
	const unsigned char *kinds = used[u_variable(at)];
	unsigned both = kinds[0] | kinds[1];
	return kinds[0] != 0 && kinds[1] != 0 && (both >> U_WRITE & 1 || both == (1 << U_READ | 1 << U_ADD));
}
