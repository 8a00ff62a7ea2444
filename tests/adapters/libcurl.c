/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libcurl on the pool: transfers from a small HTTP server of the test's own (a child that answers one connection after
 * the other) and from a file. Every run initialises libcurl and ends it, so that nothing may be left.
 */
#include <curl/curl.h>

#include <bufpool/adapters/libcurl.h>
#include "support.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(libcurl, .timeout = 120);

/* ---- the server ---- */

static void say(int to, const char *data, size_t size)
{
	while (size > 0) {
		const ssize_t n = send(to, data, size, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		data += n;
		size -= (size_t)n;
	}
}

/* /redirect leads to /body/1000; /chunked/N sends N chunks; /body/N (or the length of what was posted) N bytes. */
static void answer(int to, const char *request)
{
	char text[4096], body[65536];
	size_t n = 0;
	int length;

	memset(body, 'b', sizeof(body));
	if (strstr(request, "/redirect")) {
		length = snprintf(text, sizeof(text), "HTTP/1.1 302 Found\r\nLocation: /body/1000\r\nSet-Cookie: way=back; path=/\r\n"
				  "Content-Length: 0\r\n\r\n");
	} else if (sscanf(request, "%*s /chunked/%zu", &n) == 1) {
		length = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		while (n-- > 0)
			length += snprintf(text + length, sizeof(text) - (size_t)length, "10\r\n0123456789abcdef\r\n");
		length += snprintf(text + length, sizeof(text) - (size_t)length, "0\r\n\r\n");
		n = 0;
	} else {
		const char *cookie = strstr(request, "Cookie: ");

		sscanf(request, "%*s /body/%zu", &n);
		n = n < sizeof(body) ? n : sizeof(body);
		length = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Type: text/%s\r\nContent-Length: %zu\r\n"
				  "X-Cookie: %.*s\r\n\r\n", strncmp(request, "POST", 4) ? "plain" : "posted", n,
				  cookie ? (int)strcspn(cookie, "\r") : 0, cookie ? cookie : "");
	}
	say(to, text, (size_t)length);
	say(to, body, n);
}

/* Requests come without a body, or with one in the same packet. */
static void serve(int connection)
{
	const int at_once = 1;
	char request[8192];
	ssize_t n;

	setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once));
	while ((n = recv(connection, request, sizeof(request) - 1, 0)) > 0) {
		request[n] = 0;
		answer(connection, request);
	}
	close(connection);
}

static pid_t server;

/* Its port. It ends with the test. */
static int server_start(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(at);
	const int listener = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert(!bind(listener, (struct sockaddr *)&at, sizeof(at)) && !listen(listener, 16) &&
		  !getsockname(listener, (struct sockaddr *)&at, &length));
	server = fork();
	if (server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			serve(accept(listener, NULL, NULL));
	}
	close(listener);
	return ntohs(at.sin_port);
}

/* ---- the client ---- */

static size_t collect(char *data, size_t size, size_t count, void *out)
{
	return fwrite(data, size, count, out);
}

static CURLcode set_up(CURL *curl, FILE *out)
{
	const struct { CURLoption option; const char *value; } texts[] = {
		{ CURLOPT_USERAGENT, "a test of its adapter" }, { CURLOPT_COOKIEFILE, "" }, { CURLOPT_NOPROXY, "*" },
		{ CURLOPT_ACCEPT_ENCODING, "" },
	};
	CURLcode r = CURLE_OK;

	for (size_t i = 0; i < T_COUNT(texts) && r == CURLE_OK; i++)
		r = curl_easy_setopt(curl, texts[i].option, texts[i].value);
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, collect);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, out);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	return r;
}

static CURLcode fetch(CURL *curl, const char *url, const char *posted)
{
	CURLcode r = curl_easy_setopt(curl, CURLOPT_URL, url);

	curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
	if (r == CURLE_OK && posted)
		r = curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, posted);
	return r == CURLE_OK ? curl_easy_perform(curl) : r;
}

static CURLcode fetch_all(CURL *curl, int port)
{
	static const char *const paths[] = { "/body/10", "/redirect", "/chunked/40", "/body/60000", "/body/7" };
	char url[256];
	CURLcode r = CURLE_OK;

	for (size_t i = 0; i < T_COUNT(paths) && r == CURLE_OK; i++) {
		snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", port, paths[i]);
		r = fetch(curl, url, i == 4 ? "name=value&other=text" : NULL);
	}
	return r == CURLE_OK ? fetch(curl, "file://" T_DATA "/script.lua", NULL) : r;
}

static CURLcode transfers(FILE *out, int port)
{
	CURL *curl = curl_easy_init();
	char *escaped = curl ? curl_easy_escape(curl, "a text & its signs", 0) : NULL;
	CURLcode r = curl ? set_up(curl, out) : CURLE_OUT_OF_MEMORY;

	if (r == CURLE_OK && !escaped)
		r = CURLE_OUT_OF_MEMORY;
	if (r == CURLE_OK) {
		fprintf(out, "%s\n", escaped);
		r = fetch_all(curl, port);
	}
	curl_free(escaped);
	curl_easy_cleanup(curl);
	return r;
}

struct task {
	int port;
	char *expected;
	char *forgotten; /* the same without cookies */
};

/* All that came, headers too; NULL where libcurl reported an error. */
static char *result(CURLcode initialised, int port)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	CURLcode r = initialised;

	if (r == CURLE_OK) {
		r = transfers(out, port);
		curl_global_cleanup();
	}
	fclose(out);
	if (r == CURLE_OK)
		return text;
	cr_assert(r == CURLE_OUT_OF_MEMORY || t_refused() > 0, "%s\n%s", curl_easy_strerror(r), text);
	free(text);
	return NULL;
}

/* libcurl drops cookies that it has no memory for, and doesn't say so. */
static char *forget_cookies(char *text)
{
	static const char cookie[] = "Cookie: way=back";
	char *at = text;

	while ((at = strstr(at, cookie)) != NULL)
		memmove(at, at + strlen(cookie), strlen(at + strlen(cookie)) + 1);
	return text;
}

static enum t_outcome run(void *ctx)
{
	struct task *task = ctx;
	char *text = result(bufpool_libcurl_install_process(CURL_GLOBAL_NOTHING), task->port);

	if (!text)
		return T_REPORTED;
	if (t_refused() > 0)
		cr_assert_str_eq(forget_cookies(text), task->forgotten);
	else
		cr_assert_str_eq(text, task->expected);
	free(text);
	return T_DONE;
}

static struct task prepare(void)
{
	struct task task = { server_start(), NULL, NULL };

	task.expected = result(curl_global_init(CURL_GLOBAL_NOTHING), task.port);
	cr_assert_not_null(task.expected);
	cr_assert_gt(strlen(task.expected), 62000);
	task.forgotten = forget_cookies(strdup(task.expected));
	cr_assert_lt(strlen(task.forgotten), strlen(task.expected));
	return task;
}

static void done(struct task *task)
{
	free(task->expected);
	free(task->forgotten);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

Test(libcurl, transfers_bring_what_they_bring_without_hooks)
{
	struct task task = prepare();

	t_begin();
	cr_assert_eq(run(&task), T_DONE);
	cr_assert_gt(t_asked(), 200);
	t_end();
	done(&task);
}

Test(libcurl, what_it_returns_is_a_block_of_the_pool)
{
	int64_t before;
	char *text;

	t_begin();
	cr_assert_eq(bufpool_libcurl_install_process(CURL_GLOBAL_DEFAULT), CURLE_OK);
	before = t_out();
	text = curl_easy_escape(NULL, "a b", 0);
	cr_assert_str_eq(text, "a%20b");
	cr_assert_eq(t_out(), before + 1);
	bufpool_release(text);
	curl_global_cleanup();
	t_end();
}

Test(libcurl, initialised_before_it_stays_on_malloc)
{
	char *text;

	t_begin();
	cr_assert_eq(curl_global_init(CURL_GLOBAL_DEFAULT), CURLE_OK);
	cr_assert_eq(bufpool_libcurl_install_process(CURL_GLOBAL_DEFAULT), CURLE_OK);
	text = curl_easy_escape(NULL, "a b", 0);
	cr_assert_not_null(text);
	cr_assert_eq(t_asked(), 0);
	free(text);
	curl_global_cleanup();
	curl_global_cleanup();
	t_end();
}

Test(libcurl, every_refusal_is_reported_or_survived)
{
	struct task task = prepare();
	struct t_sweep s;

	t_begin();
	s = t_sweep(run, &task);
	cr_assert_gt(s.asked, 200);
	cr_assert_gt(s.reported, s.asked);
	t_end();
	done(&task);
}
