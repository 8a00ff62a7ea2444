/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Asking this process or another one through bufpool-control (SHIM_CONTROL), and what then holds.
 *
 * What is unusual: the tool runs as a child of the very process that it asks, which therefore goes on making calls (or
 * doesn't) until the tool has ended.
 */
#ifndef SHIM_CONTROL_TOOL_H
#define SHIM_CONTROL_TOOL_H

#include "harness.h"

#include <bufpool/bufpool.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define API(name) ((__typeof__(&name))t_shim_symbol(#name))

struct answer {
	int status;     /* of waitpid */
	char text[2048]; /* both of its outputs */
};

static inline void calls(void)
{
	for (int i = 0; i < 2000; i++)
		free(malloc(65536));
}

static inline void no_calls(void)
{
	usleep(1000);
}

static inline void become_tool(const char *const *words, int output, uid_t user)
{
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	if (user != 0 && setuid(user) != 0)
		_exit(99);
	for (char **e = environ; *e; e++)
		if (!strncmp(*e, "LD_PRELOAD=", 11) || !strncmp(*e, "BUFPOOL_CONF=", 13))
			(*e)[0] = '_';
	execv(getenv("SHIM_CONTROL"), (char *const *)words);
	_exit(98);
}

/* `words` are the tool's arguments behind `-t 5`. */
static inline void run_tool(struct answer *a, const char *const *words, uid_t user, void (*meanwhile)(void))
{
	int pipes[2];
	size_t length = 0;
	ssize_t got;

	*a = (struct answer){.status = -1};
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* where Yama restricts ptrace; elsewhere an error */
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK)) {
		CHECK(!"pipe2");
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		become_tool(words, pipes[1], user);
	close(pipes[1]);
	while ((got = read(pipes[0], a->text + length, sizeof(a->text) - 1 - length)) != 0) {
		if (got > 0)
			length += (size_t)got;
		else
			meanwhile();
	}
	close(pipes[0]);
	while (waitpid(pid, &a->status, 0) < 0 && errno == EINTR)
		;
}

static inline const char *text_of(pid_t pid)
{
	static char text[4][16];
	static unsigned n;
	char *t = text[n++ % 4];

	snprintf(t, 16, "%d", (int)pid);
	return t;
}

/* What the tool answers; its exit status must be the expected one. */
static inline const char *ask(int expected, pid_t pid, const char *seconds, void (*meanwhile)(void), const char *pair)
{
	static struct answer a;
	const char *const words[] = {"bufpool-control", "-t", seconds, text_of(pid), pair, NULL};

	run_tool(&a, words, 0, meanwhile);
	if (!WIFEXITED(a.status) || WEXITSTATUS(a.status) != expected)
		t_note("%s: status %#x: %s", pair, a.status, a.text);
	CHECK(WIFEXITED(a.status) && WEXITSTATUS(a.status) == expected);
	return a.text;
}

static inline const char *option(const char *key)
{
	static char value[256];

	if (API(bufpool_option_get)(value, sizeof(value), key) != 0)
		strcpy(value, "?");
	return value;
}

/* Says what it is instead. */
static inline bool is(const char *key, const char *value)
{
	bool same = !strcmp(option(key), value);

	if (!same)
		t_note("%s is %s, not %s", key, option(key), value);
	return same;
}

static inline struct bufpool_stats stats(void)
{
	struct bufpool_stats s = {.size = sizeof(s)};

	CHECK(API(bufpool_stats_get)(&s, NULL) == 0);
	return s;
}

/* created = in use + … + dropped: the right side. */
static inline uint64_t right(const struct bufpool_stats *s)
{
	return s->in_use + s->cached + s->victim + s->queued + s->set_aside + s->dropped_cap + s->dropped_budget +
	       s->dropped_epoch;
}

#endif
