/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libevent: messages to and fro between pairs of sockets, and buffers that are filled and read line by line.
 */
#include "workload.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <sys/socket.h>

#include <bufpool/adapters/libevent.h>

enum { PAIRS = 16, ROUNDS = 20, SIZE = 3000 };

static struct event_base *base;
static struct bufferevent *clients[PAIRS];
static unsigned rounds[PAIRS], done;
static char text[SIZE];

void bench_install(void)
{
	bufpool_libevent_install_process();
}

/* ---- messages that stay in libevent's buffers ---- */

static void echo(struct bufferevent *b, void *unused)
{
	(void)unused;
	if (evbuffer_get_length(bufferevent_get_input(b)) >= SIZE)
		bufferevent_write_buffer(b, bufferevent_get_input(b));
}

static void hear(struct bufferevent *b, void *number)
{
	unsigned *round = number;

	if (evbuffer_get_length(bufferevent_get_input(b)) < SIZE)
		return;
	evbuffer_drain(bufferevent_get_input(b), SIZE);
	if (++*round < ROUNDS)
		bufferevent_write(b, text, SIZE);
	else if (++done == PAIRS)
		event_base_loopbreak(base);
}

static void prepare_messages(void)
{
	memset(text, 'x', SIZE);
	base = event_base_new();
	for (int i = 0; i < PAIRS; i++) {
		struct bufferevent *server;
		int ends[2];

		bench_expect(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), "libevent: no sockets");
		clients[i] = bufferevent_socket_new(base, ends[0], 0);
		server = bufferevent_socket_new(base, ends[1], 0);
		bufferevent_setcb(clients[i], hear, NULL, NULL, &rounds[i]);
		bufferevent_setcb(server, echo, NULL, NULL, NULL);
		bench_expect(!bufferevent_enable(clients[i], EV_READ | EV_WRITE) &&
			     !bufferevent_enable(server, EV_READ | EV_WRITE), "libevent: no events");
	}
}

static size_t lap_messages(void)
{
	done = 0;
	for (int i = 0; i < PAIRS; i++) {
		rounds[i] = 0;
		bufferevent_write(clients[i], text, SIZE);
	}
	event_base_dispatch(base);
	bench_expect(done == PAIRS, "libevent: messages are missing");
	return 2 * PAIRS * ROUNDS;
}

/* ---- what programs build and take apart beside a loop ---- */

static size_t lap_buffers(void)
{
	for (int i = 0; i < 100; i++) {
		struct evbuffer *in = evbuffer_new(), *out = evbuffer_new();
		size_t size, lines = 0;
		char *line;

		for (int k = 0; k < 40; k++)
			evbuffer_add_printf(in, "name %d: a value that goes with it\r\n", k);
		while ((line = evbuffer_readln(in, &size, EVBUFFER_EOL_CRLF)) != NULL) {
			evbuffer_add(out, line, size);
			lines++;
			if (bench_hooked)
				bufpool_release(line);
			else
				free(line);
		}
		bench_expect(lines == 40, "libevent: lines are missing");
		evbuffer_free(in);
		evbuffer_free(out);
	}
	return 100;
}

const struct bench_workload bench_workloads[] = {
	{ "libevent-messages", "messages", prepare_messages, lap_messages, 0, 0 },
	{ "libevent-buffers", "buffers", NULL, lap_buffers, 0, 0 },
	{ 0 },
};
