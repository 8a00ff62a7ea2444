/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libevent on the pool: an HTTP server and its client in one loop on the loopback, and buffers on a pair of sockets.
 * The hooks are the process's; what is compared with is made before they are set, and libevent shut down in between.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include <bufpool/adapters/libevent.h>
#include "support.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(libevent, .timeout = 120);

static bool hooked;

static void install(void)
{
	hooked = true;
	bufpool_libevent_install_process();
}

static void quiet(int severity, const char *text)
{
	(void)severity, (void)text;
}

/* ---- HTTP ---- */

enum { REQUESTS = 12 };

struct web {
	struct event_base *base;
	FILE *heard;
	int answered;
};

/* Says what it was asked and sends the body back, twice. */
static void serve(struct evhttp_request *request, void *unused)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(request), *out = evbuffer_new();
	const size_t size = evbuffer_get_length(body);
	char *copy = malloc(size + 1);

	(void)unused;
	evbuffer_copyout(body, copy, size);
	evbuffer_add_printf(out, "%s %s\n", evhttp_request_get_uri(request),
			    evhttp_find_header(evhttp_request_get_input_headers(request), "X-Test"));
	evbuffer_add(out, copy, size);
	evbuffer_add_buffer(out, body);
	evhttp_add_header(evhttp_request_get_output_headers(request), "X-Answer", "of the test");
	evhttp_send_reply(request, 200, "OK", out);
	evbuffer_free(out);
	free(copy);
}

static void on_answer(struct evhttp_request *request, void *ctx)
{
	struct web *web = ctx;
	struct evbuffer *body;
	char *line;
	size_t size;

	cr_assert_not_null(request);
	cr_assert_eq(evhttp_request_get_response_code(request), 200);
	body = evhttp_request_get_input_buffer(request);
	line = evbuffer_readln(body, &size, EVBUFFER_EOL_LF);
	cr_assert_not_null(line);
	fprintf(web->heard, "%s: %zu, %s\n", line, evbuffer_get_length(body),
		evhttp_find_header(evhttp_request_get_input_headers(request), "X-Answer"));
	if (hooked)
		bufpool_release(line);
	else
		free(line);
	if (evbuffer_get_length(body) > 0)
		fwrite(evbuffer_pullup(body, -1), 1, evbuffer_get_length(body), web->heard);
	if (++web->answered == REQUESTS)
		event_base_loopbreak(web->base);
}

static void ask(struct web *web, struct evhttp_connection *connection, int number)
{
	struct evhttp_request *request = evhttp_request_new(on_answer, web);
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *body = evhttp_request_get_output_buffer(request);
	char path[64];

	snprintf(path, sizeof(path), "/question?number=%d", number);
	evhttp_add_header(headers, "Host", "localhost");
	evhttp_add_header(headers, "X-Test", "a header of the test's own");
	for (int i = 0; i < number * 300; i++)
		evbuffer_add_printf(body, "line %d of %d\n", i, number);
	cr_assert_eq(evhttp_make_request(connection, request, EVHTTP_REQ_POST, path), 0);
}

/* What the client heard, from malloc. */
static char *web_talk(void)
{
	struct web web = { .base = event_base_new() };
	struct evhttp *server = evhttp_new(web.base);
	struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(server, "127.0.0.1", 0);
	struct evhttp_connection *connection;
	struct sockaddr_in at;
	socklen_t length = sizeof(at);
	char *text;
	size_t size;

	cr_assert_not_null(bound);
	cr_assert_eq(getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&at, &length), 0);
	web.heard = open_memstream(&text, &size);
	evhttp_set_gencb(server, serve, NULL);
	connection = evhttp_connection_base_new(web.base, NULL, "127.0.0.1", ntohs(at.sin_port));
	cr_assert_not_null(connection);
	for (int i = 0; i < REQUESTS; i++)
		ask(&web, connection, i);
	event_base_dispatch(web.base);
	cr_assert_eq(web.answered, REQUESTS);
	evhttp_connection_free(connection);
	evhttp_free(server);
	event_base_free(web.base);
	libevent_global_shutdown();
	fclose(web.heard);
	return text;
}

Test(libevent, http_says_what_it_says_without_hooks)
{
	char *without = web_talk(), *with;

	t_begin();
	install();
	with = web_talk();
	cr_assert_gt(strlen(with), 10000);
	cr_assert_str_eq(with, without);
	cr_assert_gt(t_asked(), 300);
	t_end();
	free(with);
	free(without);
}

/* ---- buffers ---- */

struct pair {
	struct bufferevent *left, *right;
	struct event_base *base;
	size_t wanted, got;
	unsigned sum;
	bool failed;
};

static void on_bytes(struct bufferevent *b, void *ctx)
{
	struct pair *pair = ctx;
	unsigned char part[1000];
	size_t n;

	while ((n = bufferevent_read(b, part, sizeof(part))) > 0 && n <= sizeof(part))
		for (size_t i = 0; i < n; i++, pair->got++)
			pair->sum = pair->sum * 33 + part[i];
	if (pair->got >= pair->wanted)
		event_base_loopbreak(pair->base);
}

static void on_trouble(struct bufferevent *b, short what, void *ctx)
{
	struct pair *pair = ctx;

	(void)b, (void)what;
	pair->failed = true;
	event_base_loopbreak(pair->base);
}

/* Were an event lost for lack of memory, nothing else would end the loop: that is the test's failure. */
static void set_limit(struct pair *pair)
{
	const struct timeval limit = { 10, 0 };

	if (event_base_loopexit(pair->base, &limit))
		pair->failed = true;
}

static bool open_pair(struct pair *pair, int ends[2])
{
	pair->base = event_base_new();
	if (!pair->base)
		return false;
	pair->left = bufferevent_socket_new(pair->base, ends[0], 0);
	pair->right = bufferevent_socket_new(pair->base, ends[1], 0);
	if (!pair->left || !pair->right)
		return false;
	bufferevent_setcb(pair->right, on_bytes, NULL, on_trouble, pair);
	bufferevent_setcb(pair->left, NULL, NULL, on_trouble, pair);
	set_limit(pair);
	return !bufferevent_enable(pair->right, EV_READ) && !bufferevent_enable(pair->left, EV_WRITE);
}

static bool write_lines(struct pair *pair, unsigned *sum)
{
	char line[64];

	for (int i = 0; i < 400; i++) {
		const int n = snprintf(line, sizeof(line), "line %d of what is written\n", i);

		if (bufferevent_write(pair->left, line, (size_t)n))
			return false;
		for (int k = 0; k < n; k++)
			*sum = *sum * 33 + (unsigned char)line[k];
		pair->wanted += (size_t)n;
	}
	return true;
}

static enum t_outcome run_pair(void *unused)
{
	struct pair pair = { 0 };
	unsigned sum = 0;
	int ends[2];
	bool good;

	(void)unused;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	good = open_pair(&pair, ends) && write_lines(&pair, &sum) && !pair.failed && event_base_dispatch(pair.base) == 0;
	cr_assert(!pair.base || !event_base_got_exit(pair.base), "the loop waits for what won't come");
	good = good && !pair.failed && pair.got == pair.wanted;
	cr_assert(!good || pair.sum == sum);
	if (pair.left)
		bufferevent_free(pair.left);
	if (pair.right)
		bufferevent_free(pair.right);
	if (pair.base)
		event_base_free(pair.base);
	libevent_global_shutdown();
	close(ends[0]);
	close(ends[1]);
	return good ? T_DONE : T_REPORTED;
}

Test(libevent, a_line_is_a_block_of_the_pool)
{
	struct evbuffer *buffer;
	size_t size;
	char *line;

	t_begin();
	install();
	buffer = evbuffer_new();
	cr_assert_not_null(buffer);
	evbuffer_add_printf(buffer, "a line\nmore");
	line = evbuffer_readln(buffer, &size, EVBUFFER_EOL_LF);
	cr_assert_str_eq(line, "a line");
	evbuffer_free(buffer);
	cr_assert_eq(t_out(), 1);
	bufpool_release(line);
	libevent_global_shutdown();
	t_end();
}

Test(libevent, every_refusal_is_reported)
{
	struct t_sweep s;

	t_begin();
	event_set_log_callback(quiet);
	install();
	s = t_sweep(run_pair, NULL);
	cr_assert_gt(s.asked, 20);
	cr_assert_geq(s.reported, 2 * s.asked - 6, "%zu of %zu refusals were reported", s.reported, 2 * s.asked);
	t_end();
}
