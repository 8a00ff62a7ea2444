/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The deny list: programs that pass everything through because of their name, from the environment and from the
 * configuration file. What is started is control_target.c (SHIM_PRELOADED), under names of its own; it says its
 * mode and what of the list names it.
 *
 * What is unusual: the file is /etc/bufpool.conf. It is only ever there in a mount namespace of a child, over
 * whose /etc a directory of ours is bound.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];

static const char *file(const char *name)
{
	static char path[4][128];
	static unsigned n;
	char *p = path[n++ % 4];

	snprintf(p, 128, "%s/%s", directory, name);
	return p;
}

static bool write_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return done;
}

/* A copy, a link and a script: three ways to a name. */
static bool begin(void)
{
	char script[256], line[1024];

	strcpy(directory, "/tmp/shim-deny-XXXXXX");
	if (!mkdtemp(directory))
		return false;
	snprintf(script, sizeof(script), "#!%s\n", file("copied-program"));
	snprintf(line, sizeof(line), "cp '%s' '%s'", getenv("SHIM_PRELOADED"), file("copied-program"));
	return system(line) == 0 && symlink("copied-program", file("linked-name")) == 0 &&
	       write_file(file("script-name"), script, 0755) && mkdir(file("etc"), 0755) == 0;
}

static void end(void)
{
	char line[128];

	snprintf(line, sizeof(line), "rm -rf '%s'", directory);
	CHECK(system(line) == 0);
}

/* In a mount namespace of its own in which /etc holds bufpool.conf alone. */
static void with_file(const char *text)
{
	if (!write_file(file("etc/bufpool.conf"), text, 0644))
		_exit(97);
	if ((unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount(file("etc"), "/etc", NULL, MS_BIND, NULL) != 0)
		_exit(96);
}

/* What the program says first, with its standard error before it. */
static const char *start(const char *name, const char *conf, const char *in_file)
{
	static char text[1024];
	size_t length = 0;
	ssize_t got;
	int pipes[2], status = -1;

	if (pipe2(pipes, O_CLOEXEC) != 0)
		return "no pipe";
	pid_t pid = fork();
	if (pid == 0) {
		dup2(pipes[1], STDOUT_FILENO);
		dup2(pipes[1], STDERR_FILENO);
		dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
		if (in_file)
			with_file(in_file);
		unsetenv("BUFPOOL_CONF");
		if (conf)
			setenv("BUFPOOL_CONF", conf, 1);
		execl(file(name), file(name), (char *)NULL);
		_exit(98);
	}
	close(pipes[1]);
	while ((got = read(pipes[0], text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)got;
	text[length] = '\0';
	close(pipes[0]);
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 96) {
		end();
		t_skip("no mount namespace to be had here");
	}
	CHECK(status == 0);
	if (strstr(text, "ends ") && strstr(text, "started "))
		*strstr(text, "ends ") = '\0'; /* as it began, see control.c for changes */
	return text;
}

static void expect(const char *name, const char *conf, const char *in_file, const char *expected)
{
	const char *said = start(name, conf, in_file);

	if (strcmp(said, expected))
		t_note("%s under %s (file: %s) says: %s", name, conf ? conf : "nothing", in_file ? in_file : "none", said);
	CHECK(!strcmp(said, expected));
}

#define POOLS "started pool -\n"

TEST(a_name_on_the_list_passes, T_POOL)
{
	NEED(begin());
	expect("copied-program", NULL, NULL, POOLS);
	expect("copied-program", "deny:copied-program", NULL, "started pass copied-program\n");
	expect("copied-program", "deny:another", NULL, POOLS);
	end();
}

TEST(only_the_whole_name_counts, T_POOL)
{
	static const char *const others[] = {"deny:copied-progra", "deny:copied-programs", "deny:opied-program",
		"deny:Copied-program", "deny:program", "deny:copied program", "deny:*program", "deny:copied-program**",
		"deny:copied-programs*", "deny:copied?program", "deny:tmp*"};

	NEED(begin());
	for (size_t i = 0; i < COUNT(others); i++)
		expect("copied-program", others[i], NULL, POOLS);
	end();
}

TEST(a_star_stands_for_any_end, T_POOL)
{
	NEED(begin());
	expect("copied-program", "deny:copied-*", NULL, "started pass copied-*\n");
	expect("copied-program", "deny:copied-program*", NULL, "started pass copied-program*\n");
	expect("copied-program", "deny:*", NULL, "started pass *\n");
	end();
}

TEST(there_may_be_several, T_POOL)
{
	NEED(begin());
	expect("copied-program", "deny:a,deny:copied-program,deny:b*", NULL, "started pass copied-program\n");
	expect("copied-program", "deny:a,deny:b*,deny:c", NULL, POOLS);
	expect("copied-program", "epoch_ms:50,deny:x,budget:1m,deny:cop*", NULL, "started pass cop*\n");
	end();
}

/* The file that runs has one name, what was asked to run may have another. */
TEST(links_and_scripts_have_both_names, T_POOL)
{
	NEED(begin());
	expect("linked-name", "deny:linked-name", NULL, "started pass linked-name\n");
	expect("linked-name", "deny:copied-program", NULL, "started pass copied-program\n");
	expect("script-name", "deny:script-name", NULL, "started pass script-name\n");
	expect("script-name", "deny:copied-program", NULL, "started pass copied-program\n");
	expect("script-name", "deny:linked-name", NULL, POOLS);
	end();
}

TEST(what_comes_after_the_list_wins, T_POOL)
{
	NEED(begin());
	expect("copied-program", "deny:copied-program,mode:pool", NULL, "started pool copied-program\n");
	expect("copied-program", "mode:pool,deny:copied-program", NULL, "started pass copied-program\n");
	end();
}

TEST(a_name_that_is_none_is_reported, T_POOL)
{
	char conf[128] = "deny:", expected[256];

	NEED(begin());
	expect("copied-program", "deny:", NULL, POOLS); /* as confirm_conf prints an empty list */
	memset(conf + 5, 'x', 63);
	expect("copied-program", conf, NULL, POOLS);
	memset(conf + 5, 'x', 64);
	snprintf(expected, sizeof(expected), "bufpool: invalid option: %s (at most 63 bytes)\n" POOLS, conf);
	expect("copied-program", conf, NULL, expected);
	end();
}

TEST(the_list_in_the_file, T_POOL)
{
	NEED(begin());
	expect("copied-program", NULL, "deny:another\ndeny:copied-program\n", "started pass copied-program\n");
	expect("copied-program", NULL, "deny:another\nepoch_ms:50\n", POOLS);
	expect("copied-program", "epoch_ms:50", "deny:copied-*", "started pass copied-*\n");
	expect("copied-program", "mode:pool", "deny:copied-program\n", "started pool copied-program\n");
	expect("copied-program", NULL, "deny:copied-program,mode:pool\n", "started pool copied-program\n");
	expect("copied-program", "deny:copied-program", "mode:pool\n", "started pass copied-program\n");
	end();
}
