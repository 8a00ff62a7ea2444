/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool-control: what it changes, tells and refuses, of this process, of its children and of other programs. What
 * counts is what the program does afterwards. SHIM_LINKED, SHIM_STATIC and SHIM_PRELOADED are control_target.c with the
 * shared library, the static one and none. toggle.c is about changes in mid-flight.
 */
#include "control_tool.h"

#include <sys/stat.h>

/* ---- changes ---- */

TEST(pass_and_back_while_it_runs, T_SHIM)
{
	const char *start = t_pooling() ? "pool" : "pass";

	CHECK(is("mode", start));
	for (int i = 0; i < 3; i++) {
		CHECK(!*ask(0, getpid(), "10", calls, "mode:pass"));
		CHECK(is("mode", "pass") && is("percpu", "pass"));
		char *p = malloc(65536);
		CHECK(p && !API(bufpool_owns)(p));
		CHECK(!*ask(0, getpid(), "10", calls, "mode:pool"));
		CHECK(is("mode", "pool") && !is("percpu", "pass"));
		char *q = malloc(65536);
		CHECK(q && API(bufpool_owns)(q));
		CHECK(!*ask(0, getpid(), "10", calls, "mode:pass"));
		free(q);
		CHECK(!*ask(0, getpid(), "10", calls, "mode:pool"));
		free(p);
	}
	CHECK(stats().misuse == 0 && stats().set_aside == 0);
}

TEST(options_that_may_change_do, T_SHIM)
{
	static const char *const pairs[][2] = {{"epoch_ms", "250"}, {"budget", "16777216"}, {"misuse", "report"},
					       {"stats_path", "/tmp/none.json"}, {"stats_path", ""}, {"misuse", "abort"}};
	char pair[64];

	for (size_t i = 0; i < COUNT(pairs); i++) {
		snprintf(pair, sizeof(pair), "%s:%s", pairs[i][0], pairs[i][1]);
		CHECK(!*ask(0, getpid(), "10", calls, pair));
		CHECK(is(pairs[i][0], pairs[i][1]));
	}
	CHECK(!*ask(0, getpid(), "10", calls, "budget:3m"));
	CHECK(is("budget", "3145728"));
}

TEST(every_option_is_answered, T_SHIM, .conf = "epoch_ms:1234,cap:32k,misuse:report")
{
	static const char *const keys[] = {"mode", "cap", "budget", "epoch_ms", "percpu", "thp", "check", "leaks",
					   "background", "deny", "misuse", "stats_print", "stats_path", "leaks_path",
					   "abort_conf", "confirm_conf", "backend"};
	const char *words[4 + COUNT(keys) + 1] = {"bufpool-control", "-t", "10", text_of(getpid())};
	char expected[1024] = "";
	struct answer a;

	for (size_t i = 0; i < COUNT(keys); i++) {
		words[4 + i] = keys[i];
		strcat(strcat(expected, option(keys[i])), "\n");
	}
	run_tool(&a, words, 0, calls);
	CHECK(a.status == 0);
	CHECK(!strcmp(a.text, expected));
	CHECK(strstr(a.text, "\n1234\n") && strstr(a.text, "\n32768\n"));
}

/* ---- refusals ---- */

TEST(what_is_fixed_unknown_or_wrong_is_refused, T_SHIM)
{
	static const struct { const char *pair, *why; } cases[] = {
		{"cap:8k", "fixed when the program started"}, {"percpu:fallback", "fixed when the program started"},
		{"thp:true", "fixed when the program started"}, {"check:off", "fixed when the program started"},
		{"background:true", "fixed when the program started"}, {"deny:x", "fixed when the program started"},
		{"abort_conf:true", "fixed when the program started"},
		{"nothing:1", "no such option"}, {"nothing", "no such option"}, {":", "no such option"},
		{"mode:poo", "Invalid argument"}, {"mode:", "Invalid argument"}, {"epoch_ms:9", "Invalid argument"},
		{"budget:much", "Invalid argument"}, {"misuse:ignore", "Invalid argument"},
	};
	char before[256], key[32], line[256];

	for (size_t i = 0; i < COUNT(cases); i++) {
		snprintf(key, sizeof(key), "%.*s", (int)strcspn(cases[i].pair, ":"), cases[i].pair);
		strcpy(before, option(key));
		snprintf(line, sizeof(line), "bufpool-control: %s: %s\n", cases[i].pair, cases[i].why);
		const char *said = ask(1, getpid(), "10", calls, cases[i].pair);
		if (strcmp(said, line))
			t_note("said: %s", said);
		CHECK(!strcmp(said, line));
		CHECK(is(key, before));
	}
	strcpy(before, option("backend"));
	ask(1, getpid(), "10", calls, "backend:shared");
	CHECK(is("backend", before));
}

TEST(what_does_not_fit_is_refused, T_SHIM)
{
	char pair[300] = "stats_path:";

	memset(pair + 11, 'x', 288);
	CHECK(strstr(ask(1, getpid(), "10", calls, pair), "too long"));
	CHECK(is("stats_path", ""));
}

TEST(one_refusal_among_several_keeps_none_of_the_others_back, T_SHIM)
{
	const char *const words[] = {"bufpool-control", "-t", "10", text_of(getpid()), "epoch_ms:321", "cap:8k",
				     "misuse:report", "epoch_ms", NULL};
	struct answer a;

	run_tool(&a, words, 0, calls);
	CHECK(WIFEXITED(a.status) && WEXITSTATUS(a.status) == 1);
	CHECK(is("epoch_ms", "321") && is("misuse", "report"));
	CHECK(strstr(a.text, "cap:8k") && strstr(a.text, "321\n"));
}

TEST(who_asks_wrongly_is_told_how, T_SHIM)
{
	static const char *const wrong[][5] = {{"bufpool-control", NULL}, {"bufpool-control", "1", NULL},
		{"bufpool-control", "x", "mode", NULL}, {"bufpool-control", "-5", "mode", NULL},
		{"bufpool-control", "-t", "soon", "1", "mode"}, {"bufpool-control", "0", "mode", NULL}};
	struct answer a;

	for (size_t i = 0; i < COUNT(wrong); i++) {
		const char *words[6] = {NULL};
		memcpy(words, wrong[i], sizeof(wrong[i]));
		run_tool(&a, words, 0, calls);
		CHECK(WIFEXITED(a.status) && WEXITSTATUS(a.status) == 2);
		CHECK(strstr(a.text, "usage: bufpool-control"));
	}
}

/* Whom the kernel does not let ptrace this process may neither read nor write. */
TEST(another_user_is_refused, T_SHIM)
{
	const char *const words[] = {"bufpool-control", "-t", "10", text_of(getpid()), "mode:pass", NULL};
	const char *const query[] = {"bufpool-control", "-t", "10", text_of(getpid()), "mode", NULL};
	struct answer a;

	if (getuid() != 0)
		t_skip("only root can ask as somebody else");
	if (access(getenv("SHIM_CONTROL"), X_OK) != 0)
		t_skip("the tool can't be reached");
	run_tool(&a, words, 65534, calls);
	if (WIFEXITED(a.status) && WEXITSTATUS(a.status) == 98)
		t_skip("the other user can't reach the tool");
	CHECK(WIFEXITED(a.status) && WEXITSTATUS(a.status) == 1);
	CHECK(strstr(a.text, "ermi") || strstr(a.text, "not permitted")); /* EACCES or EPERM */
	CHECK(is("mode", t_pooling() ? "pool" : "pass"));
	run_tool(&a, query, 65534, calls);
	CHECK(WIFEXITED(a.status) && WEXITSTATUS(a.status) == 1);
}

TEST(a_process_that_is_gone_or_has_no_bufpool, T_SHIM)
{
	pid_t gone = fork();

	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	CHECK(strstr(ask(1, gone, "10", calls, "mode:pass"), "No such process"));

	int begun[2];
	char c;
	NEED(pipe2(begun, O_CLOEXEC) == 0);
	pid_t other = fork();
	if (other == 0) {
		unsetenv("LD_PRELOAD");
		execl("/bin/sleep", "sleep", "100", (char *)NULL);
		_exit(1);
	}
	close(begun[1]);
	CHECK(read(begun[0], &c, 1) == 0); /* until exec has closed the child's end */
	close(begun[0]);
	CHECK(strstr(ask(1, other, "10", calls, "mode:pass"), "no bufpool in it"));
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

/* ---- who makes no calls ---- */

TEST(a_program_without_calls_answers_later, T_SHIM)
{
	const char *start = t_pooling() ? "pool" : "pass", *other = t_pooling() ? "pass" : "pool";
	const char *pair = t_pooling() ? "mode:pass" : "mode:pool";
	double began = t_now();
	int n = 0;

	calls();
	CHECK(strstr(ask(1, getpid(), "1", no_calls, pair), "the program has not called the library since"));
	CHECK(t_now() - began >= 1);
	CHECK(is("mode", start));
	/* The mailbox has room for one request. */
	CHECK(strstr(ask(1, getpid(), "0.1", no_calls, "epoch_ms:77"), "the program has not called the library since"));
	for (; n < 1000000 && !strcmp(option("mode"), start); n++)
		free(malloc(65536));
	t_note("in force after %d calls", n);
	CHECK(is("mode", other));
	CHECK(!is("epoch_ms", "77"));
	CHECK(!*ask(0, getpid(), "10", calls, "epoch_ms:77"));
	CHECK(is("epoch_ms", "77"));
}

TEST(the_helper_thread_answers_for_it, T_POOL, .conf = "background:true,epoch_ms:100")
{
	CHECK(!*ask(0, getpid(), "10", no_calls, "mode:pass"));
	CHECK(is("mode", "pass"));
	CHECK(!strcmp(ask(0, getpid(), "10", no_calls, "mode"), "pass\n"));
}

/* ---- the tool's own part ---- */

struct mailbox { /* as src/cache/control.h has it */
	char magic[16];
	uint32_t version, asked, answered;
	int32_t result;
	char pair[216];
} __attribute__((aligned(64)));

static struct mailbox ours[3 * 65536 / sizeof(struct mailbox)] = {{.pair = "not in the zeroed part"}};

static struct mailbox *at_offset(uintptr_t offset)
{
	unsigned long from = 0, to = 0;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");

	while (maps && fgets(line, sizeof(line), maps) && sscanf(line, "%lx-%lx", &from, &to) == 2)
		if ((uintptr_t)ours >= from && (uintptr_t)ours < to)
			break;
	if (maps)
		fclose(maps);
	return (struct mailbox *)(from + 65536 + offset);
}

/* The tool reads 64 KiB at a time: wherever in the data the mailbox lies, across such a border too, it is found. */
TEST(the_mailbox_is_found_wherever_it_lies)
{
	static const uintptr_t offsets[] = {-(uintptr_t)512, -(uintptr_t)256, -(uintptr_t)192, -(uintptr_t)128,
					    -(uintptr_t)64, 0, 64};

	if (getenv("LD_PRELOAD")) { /* again, without the shim, whose mailbox is taken first */
		unsetenv("LD_PRELOAD");
		execl("/proc/self/exe", "shim-control", __func__, (char *)NULL);
	}
	for (size_t i = 0; i < COUNT(offsets); i++) {
		struct mailbox *m = at_offset(offsets[i]);
		NEED((char *)m >= (char *)ours && (char *)(m + 1) <= (char *)(ours + COUNT(ours)));
		*m = (struct mailbox){.version = 2};
		memcpy(m->magic, "bufpool mailbox\n", 16);
		CHECK(strstr(ask(1, getpid(), "0", no_calls, "x"), "another version of bufpool"));
		*m = (struct mailbox){.version = 0};
	}
}

/* ---- fork ---- */

TEST(a_fork_child_has_its_own_mailbox, T_POOL)
{
	int from_child[2], to_child[2];
	char mode[16] = "";

	NEED(pipe(from_child) == 0 && pipe(to_child) == 0);
	calls();
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
		fcntl(to_child[0], F_SETFL, O_NONBLOCK);
		for (char c; read(to_child[0], &c, 1) != 1;)
			calls();
		(void)!write(from_child[1], option("mode"), 5);
		_exit(stats().misuse == 0 ? 0 : 1);
	}
	CHECK(!*ask(0, child, "10", no_calls, "mode:pass"));
	CHECK(is("mode", "pool"));
	CHECK(!strcmp(ask(0, child, "10", no_calls, "mode"), "pass\n"));
	CHECK(!*ask(0, getpid(), "10", calls, "mode:pass"));
	CHECK(!*ask(0, child, "10", no_calls, "mode:pool"));
	CHECK(is("mode", "pass"));
	CHECK(write(to_child[1], "", 1) == 1);
	CHECK(read(from_child[0], mode, sizeof(mode) - 1) == 5 && !strcmp(mode, "pool"));
	int status = -1;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* ---- other programs ---- */

struct program {
	pid_t pid;
	int input, output;
};

static bool line_is(int fd, const char *expected)
{
	char line[128] = "";

	for (size_t n = 0; n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n'; n++)
		;
	line[strcspn(line, "\n")] = '\0';
	if (strcmp(line, expected))
		t_note("it says %s, not %s", line, expected);
	return !strcmp(line, expected);
}

static struct program start(const char *path, bool with_shim)
{
	int in[2], out[2];

	CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		unsetenv("BUFPOOL_CONF");
		if (!with_shim)
			unsetenv("LD_PRELOAD");
		execl(path, path, (char *)NULL);
		_exit(98);
	}
	close(in[0]);
	close(out[1]);
	return (struct program){pid, in[1], out[0]};
}

static void end(struct program p, const char *expected)
{
	int status = -1;

	close(p.input);
	CHECK(line_is(p.output, expected));
	close(p.output);
	CHECK(waitpid(p.pid, &status, 0) == p.pid && status == 0);
}

static void switched_off(const char *path, bool with_shim)
{
	struct program p = start(path, with_shim);

	CHECK(line_is(p.output, "started pool -"));
	CHECK(!*ask(0, p.pid, "10", no_calls, "mode:pass"));
	CHECK(!strcmp(ask(0, p.pid, "10", no_calls, "mode"), "pass\n"));
	end(p, "ends pass -");
}

TEST(a_program_that_knows_of_none, T_POOL)
{
	switched_off(getenv("SHIM_PRELOADED"), true);
}

TEST(the_static_library_inside_a_program, T_POOL)
{
	switched_off(getenv("SHIM_STATIC"), false);
}

TEST(the_shared_library, T_POOL)
{
	switched_off(getenv("SHIM_LINKED"), false);
}

/* Two mailboxes are in the process then: the tool has to leave its request in the one of the engine at work. */
TEST(the_shared_library_under_the_shim, T_POOL)
{
	switched_off(getenv("SHIM_LINKED"), true);
}

static bool copied_set_uid(const char *to_path, const char *from_path)
{
	static char bytes[1 << 16];
	int from = open(from_path, O_RDONLY), to = open(to_path, O_WRONLY | O_CREAT | O_EXCL, 0700);
	ssize_t n = 0;

	while (from >= 0 && to >= 0 && (n = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, (size_t)n) != n)
			break;
	bool done = from >= 0 && to >= 0 && n == 0 && fchown(to, 65534, (gid_t)-1) == 0 && fchmod(to, 04755) == 0;
	close(from);
	close(to);
	return done;
}

/* root may write to the mailbox; the program must not look. */
TEST(a_set_uid_program_does_not_answer, T_POOL)
{
	char path[64], uids[64] = "";

	snprintf(path, sizeof(path), "/tmp/shim-control-%d", (int)getpid());
	if (getuid() != 0 || !copied_set_uid(path, getenv("SHIM_STATIC"))) {
		unlink(path);
		t_skip("only root can give a program to somebody else");
	}
	struct program p = start(path, false);
	CHECK(line_is(p.output, "started pool -"));
	unlink(path);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)p.pid);
	FILE *f = fopen(path, "r");
	for (char line[256]; f && fgets(line, sizeof(line), f);)
		sscanf(line, "Uid: %63[^\n]", uids);
	if (strstr(uids, "65534")) {
		CHECK(strstr(ask(1, p.pid, "0.5", no_calls, "mode:pass"), "has not called the library since"));
		end(p, "ends pool -");
		return;
	}
	kill(p.pid, SIGKILL);
	t_skip("set-uid has no effect here");
}
