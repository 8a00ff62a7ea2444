/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libuv: messages to and fro over TCP on the loopback. Each side reads into a buffer as large as libuv suggests, as
 * most programs do, and sends back what it read from that very buffer.
 */
#include "workload.h"

#include <uv.h>

#include <bufpool/adapters/libuv.h>

enum { PAIRS = 16, ROUNDS = 20 };

struct end {
	uv_tcp_t tcp;
	uv_connect_t connecting;
	uv_write_t writing;
	uv_buf_t block; /* what is being sent */
	size_t rest;    /* bytes of this round still to come */
	unsigned rounds;
};

static uv_loop_t loop;
static uv_tcp_t listener;
static struct end clients[PAIRS], served[PAIRS];
static size_t message, accepted, done;

void bench_install(void)
{
	bench_expect(bufpool_libuv_install_process() == 0, "libuv: no hooks");
}

static void plain_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle;
	*buf = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static void release(const uv_buf_t *buf)
{
	if (bench_hooked)
		bufpool_libuv_release(buf);
	else
		free(buf->base);
}

static void on_written(uv_write_t *request, int status)
{
	struct end *end = request->data;

	bench_expect(status == 0, "libuv: not written");
	release(&end->block);
}

static void send_block(struct end *end, const uv_buf_t *block, size_t size)
{
	const uv_buf_t part = uv_buf_init(block->base, (unsigned)size);

	end->block = *block;
	end->writing.data = end;
	bench_expect(!uv_write(&end->writing, (uv_stream_t *)&end->tcp, &part, 1, on_written), "libuv: no write");
}

/* Whoever has a message whole sends it back; a client that has done its rounds stays quiet. */
static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
	struct end *end = stream->data;
	const bool client = end >= clients && end < clients + PAIRS;

	bench_expect(nread >= 0, "libuv: a broken connection");
	end->rest -= (size_t)nread;
	if (end->rest > 0 || nread == 0) {
		release(buf);
		return;
	}
	end->rest = message;
	if (client && ++end->rounds == ROUNDS) {
		release(buf);
		if (++done == PAIRS)
			uv_stop(&loop);
		return;
	}
	send_block(end, buf, message);
}

static void start(struct end *end)
{
	end->tcp.data = end;
	end->rest = message;
	bench_expect(!uv_read_start((uv_stream_t *)&end->tcp, bench_hooked ? bufpool_libuv_alloc_cb : plain_alloc_cb, on_read),
		     "libuv: no reading");
}

static void on_connection(uv_stream_t *stream, int status)
{
	struct end *end = &served[accepted++];

	bench_expect(status == 0 && !uv_tcp_init(&loop, &end->tcp) && !uv_accept(stream, (uv_stream_t *)&end->tcp),
		     "libuv: no connection");
	start(end);
	if (accepted == PAIRS)
		uv_stop(&loop);
}

static void on_connected(uv_connect_t *request, int status)
{
	bench_expect(status == 0, "libuv: not connected");
	start((struct end *)request->handle);
}

static void prepare(size_t size)
{
	struct sockaddr_in at;
	int length = sizeof(at);

	message = size;
	bench_expect(!uv_loop_init(&loop) && !uv_tcp_init(&loop, &listener) && !uv_ip4_addr("127.0.0.1", 0, &at) &&
		     !uv_tcp_bind(&listener, (const struct sockaddr *)&at, 0) &&
		     !uv_listen((uv_stream_t *)&listener, PAIRS, on_connection) &&
		     !uv_tcp_getsockname(&listener, (struct sockaddr *)&at, &length), "libuv: no listener");
	for (int i = 0; i < PAIRS; i++)
		bench_expect(!uv_tcp_init(&loop, &clients[i].tcp) &&
			     !uv_tcp_connect(&clients[i].connecting, &clients[i].tcp, (const struct sockaddr *)&at, on_connected),
			     "libuv: no connection");
	uv_run(&loop, UV_RUN_DEFAULT);
}

static void prepare_small(void)
{
	prepare(1000);
}

static void prepare_large(void)
{
	prepare(40000);
}

static size_t lap(void)
{
	uv_buf_t first;

	done = 0;
	for (int i = 0; i < PAIRS; i++) {
		clients[i].rounds = 0;
		if (bench_hooked)
			bufpool_libuv_alloc_cb(NULL, 65536, &first);
		else
			plain_alloc_cb(NULL, 65536, &first);
		bench_expect(first.base != NULL, "libuv: no memory");
		send_block(&clients[i], &first, message);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	bench_expect(done == PAIRS, "libuv: messages are missing");
	return 2 * PAIRS * ROUNDS;
}

const struct bench_workload bench_workloads[] = {
	{ "libuv-small", "messages", prepare_small, lap, 0, 0 },
	{ "libuv-large", "messages", prepare_large, lap, 0, 0 },
	{ 0 },
};
