/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program that makes calls until its standard input ends or says something. It says on its standard output how
 * it started and how it ends: the mode, and what of the deny list names it. control.c and deny.c run it, linked
 * with the shared library (with and without the shim), with the static one, and with none (PRELOADED): the shim's
 * is found by name.
 */
#include <bufpool/bufpool.h>
#include <dlfcn.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#ifdef PRELOADED
#define API(name) ((__typeof__(&name))dlsym(RTLD_DEFAULT, #name))
#else
#define API(name) (&name)
#endif

static void say(const char *when)
{
	char mode[16] = "?", denied[64] = "?";

	API(bufpool_option_get)(mode, sizeof(mode), "mode");
	API(bufpool_option_get)(denied, sizeof(denied), "deny");
	dprintf(STDOUT_FILENO, "%s %s %s\n", when, mode, *denied ? denied : "-");
}

int main(void)
{
	__typeof__(&bufpool_acquire) acquire = API(bufpool_acquire);
	__typeof__(&bufpool_release) release = API(bufpool_release);
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};

	say("started");
	do {
		for (int i = 0; i < 100000; i++)
			release(acquire(65536));
	} while (poll(&input, 1, 0) == 0);
	say("ends");
	return 0;
}
