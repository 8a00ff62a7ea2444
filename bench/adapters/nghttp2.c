/* SPDX-License-Identifier: BSD-2-Clause
 *
 * nghttp2: requests and responses between a client and a server in memory, on connections that are made for twenty
 * requests and on one that stays.
 */
#include "workload.h"

#include <nghttp2/nghttp2.h>

#include <bufpool/adapters/nghttp2.h>

enum { REQUESTS = 20, BODY = 2000 };

static nghttp2_session *client, *server;
static nghttp2_session_callbacks *of_client, *of_server;
static size_t received, left[2 * REQUESTS];

void bench_install(void)
{
}

static size_t *left_of(int32_t stream)
{
	return &left[(size_t)stream / 2 % (2 * REQUESTS)];
}

static ssize_t body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
		    nghttp2_data_source *source, void *user_data)
{
	size_t n = *left_of(stream) < room ? *left_of(stream) : room;

	(void)session, (void)source, (void)user_data;
	memset(to, 'x', n);
	*left_of(stream) -= n;
	if (*left_of(stream) == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

#define HEADER(name, value) \
	{ (uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE }

static int on_request(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	static const nghttp2_nv headers[] = {
		HEADER(":status", "200"), HEADER("content-type", "text/html"), HEADER("server", "bench"),
		HEADER("cache-control", "max-age=3600"), HEADER("set-cookie", "id=0123456789abcdef"),
	};
	const nghttp2_data_provider provider = { { 0 }, body };

	(void)user_data;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	*left_of(frame->hd.stream_id) = BODY;
	return nghttp2_submit_response(session, frame->hd.stream_id, headers, 5, &provider);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
		   void *user_data)
{
	(void)session, (void)flags, (void)stream, (void)data, (void)user_data;
	received += size;
	return 0;
}

static ssize_t carry(nghttp2_session *from, nghttp2_session *to)
{
	const uint8_t *data;
	const ssize_t n = nghttp2_session_mem_send(from, &data);

	bench_expect(n >= 0 && nghttp2_session_mem_recv(to, data, (size_t)n) == n, "nghttp2: a broken connection");
	return n;
}

static void request(int number)
{
	static const nghttp2_nv headers[] = {
		HEADER(":method", "GET"), HEADER(":scheme", "https"), HEADER(":authority", "localhost"),
		HEADER(":path", "/some/page?that=is+there"), HEADER("user-agent", "bench/1.0 (of bufpool's adapters)"),
		HEADER("accept", "text/html,application/xhtml+xml;q=0.9"), HEADER("cookie", "id=0123456789abcdef"),
	};

	for (int i = 0; i < number; i++)
		bench_expect(nghttp2_submit_request(client, NULL, headers, 7, NULL, NULL) > 0, "nghttp2: no request");
	received = 0;
	while (carry(client, server) + carry(server, client) > 0)
		;
	bench_expect(received == (size_t)number * BODY, "nghttp2: responses are missing");
}

static void prepare(void)
{
	bench_expect(!nghttp2_session_callbacks_new(&of_client) && !nghttp2_session_callbacks_new(&of_server), "no memory");
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(of_client, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(of_server, on_request);
}

/* The limit is also how many ended streams the server remembers. */
static void connect(void)
{
	const nghttp2_settings_entry limit = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100 };
	nghttp2_mem mem;

	bufpool_nghttp2_use(&mem, NULL);
	bench_expect(!nghttp2_session_client_new3(&client, of_client, NULL, NULL, bench_hooked ? &mem : NULL) &&
		     !nghttp2_session_server_new3(&server, of_server, NULL, NULL, bench_hooked ? &mem : NULL) &&
		     !nghttp2_submit_settings(client, NGHTTP2_FLAG_NONE, NULL, 0) &&
		     !nghttp2_submit_settings(server, NGHTTP2_FLAG_NONE, &limit, 1), "nghttp2: no session");
}

static size_t lap_connections(void)
{
	for (int i = 0; i < 5; i++) {
		connect();
		request(REQUESTS);
		nghttp2_session_del(client);
		nghttp2_session_del(server);
	}
	return 5 * REQUESTS;
}

/* The window of the connection never closes: nghttp2 updates it by itself.. */
static void prepare_requests(void)
{
	prepare();
	connect();
}

static size_t lap_requests(void)
{
	for (int i = 0; i < 5; i++)
		request(REQUESTS);
	return 5 * REQUESTS;
}

const struct bench_workload bench_workloads[] = {
	{ "nghttp2-connections", "requests", prepare, lap_connections, 0, 0 },
	{ "nghttp2-requests", "requests", prepare_requests, lap_requests, 0, 0 },
	{ 0 },
};
