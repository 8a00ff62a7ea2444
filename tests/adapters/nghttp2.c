/* SPDX-License-Identifier: BSD-2-Clause
 *
 * nghttp2 on a pool: a client and a server of this process that hand each other their bytes. The requests have headers
 * and bodies, the responses are larger than the flow control's window. What the client heard is the result.
 */
#include <nghttp2/nghttp2.h>

#include <bufpool/adapters/nghttp2.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(nghttp2, .timeout = 120);

enum { MOST = 64 }; /* streams of an exchange */

struct peer {
	nghttp2_session *session;
	FILE *heard;           /* the client's */
	size_t left[MOST];     /* of the body that a stream still has to send */
	size_t got[MOST];      /* bytes of body that it has received */
	unsigned sum[MOST];    /* and a sum over them */
	size_t ended, failed;  /* streams that the client saw the end of */
	uint32_t went;         /* why the server gave the connection up, as the client heard it */
};

static size_t slot(int32_t stream)
{
	return (size_t)stream / 2 % MOST;
}

/* ---- what both do ---- */

static ssize_t body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t room, uint32_t *flags,
		    nghttp2_data_source *source, void *user_data)
{
	struct peer *peer = user_data;
	size_t *left = &peer->left[slot(stream)], n = *left < room ? *left : room;

	(void)session, (void)source;
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)((size_t)stream * 31 + *left - i);
	*left -= n;
	if (*left == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
		   void *user_data)
{
	struct peer *peer = user_data;

	(void)session, (void)flags;
	for (size_t i = 0; i < size; i++)
		peer->sum[slot(stream)] = peer->sum[slot(stream)] * 33 + data[i];
	peer->got[slot(stream)] += size;
	return 0;
}

/* ---- the server: answers a stream that has ended ---- */

#define HEADER(name, value) { (uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE }

static int answer(struct peer *server, int32_t stream)
{
	const nghttp2_data_provider provider = { { 0 }, body };
	char received[32];

	snprintf(received, sizeof(received), "%zu-%08x", server->got[slot(stream)], server->sum[slot(stream)]);
	const nghttp2_nv headers[] = {
		HEADER(":status", "200"), HEADER("content-type", "application/octet-stream"), HEADER("x-received", received),
		HEADER("set-cookie", "session=0123456789abcdef0123456789abcdef; HttpOnly"),
	};
	server->left[slot(stream)] = (size_t)stream * 5000;
	return nghttp2_submit_response(server->session, stream, headers, T_COUNT(headers), &provider);
}

static int on_request(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	(void)session;
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    frame->hd.flags & NGHTTP2_FLAG_END_STREAM && answer(user_data, frame->hd.stream_id))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

/* ---- the client: writes down what it hears ---- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
		     const uint8_t *value, size_t value_size, uint8_t flags, void *user_data)
{
	struct peer *client = user_data;

	(void)session, (void)flags;
	fprintf(client->heard, "%d %.*s: %.*s\n", frame->hd.stream_id, (int)name_size, name, (int)value_size, value);
	return 0;
}

static int on_end(nghttp2_session *session, int32_t stream, uint32_t error, void *user_data)
{
	struct peer *client = user_data;

	(void)session;
	fprintf(client->heard, "%d ended: %u, %zu bytes, %08x\n", stream, error, client->got[slot(stream)],
		client->sum[slot(stream)]);
	if (error == NGHTTP2_NO_ERROR)
		client->ended++;
	else
		client->failed++;
	return 0;
}

static int on_goaway(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
	struct peer *client = user_data;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		client->went = frame->goaway.error_code;
	return 0;
}

static int submit(struct peer *client, int number)
{
	const nghttp2_data_provider provider = { { 0 }, body };
	char path[64];
	int32_t stream;

	snprintf(path, sizeof(path), "/what/is/asked/for?number=%d", number);
	const nghttp2_nv headers[] = {
		HEADER(":method", "POST"), HEADER(":scheme", "https"), HEADER(":authority", "localhost"),
		HEADER(":path", path), HEADER("user-agent", "a test of its adapter"), HEADER("accept", "*/*"),
		HEADER("cookie", "a=1; b=2; c=a rather long value that says nothing at all to anybody"),
	};
	stream = nghttp2_submit_request(client->session, NULL, headers, T_COUNT(headers), &provider, NULL);
	if (stream >= 0)
		client->left[slot(stream)] = (size_t)number * 1000;
	return stream;
}

/* ---- the exchange ---- */

/* Moves what one has to say to the other. Bytes, 0 where there is nothing, or nghttp2's error. */
static ssize_t carry(struct peer *from, struct peer *to)
{
	const uint8_t *data;
	const ssize_t n = nghttp2_session_mem_send(from->session, &data);

	return n > 0 ? nghttp2_session_mem_recv(to->session, data, (size_t)n) : n;
}

static int converse(struct peer *client, struct peer *server, int requests)
{
	ssize_t there = nghttp2_submit_settings(server->session, NGHTTP2_FLAG_NONE, NULL, 0), back = 0;

	if (there == 0)
		there = nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, NULL, 0);
	for (int i = 0; i < requests && there >= 0; i++)
		there = submit(client, i);
	do {
		if (there >= 0)
			there = carry(client, server);
		if (there >= 0)
			back = carry(server, client);
	} while (there >= 0 && back >= 0 && there + back > 0);
	return there < 0 ? (int)there : (int)back;
}

static int start(struct peer *client, struct peer *server, bool hooked, struct bufpool *pool)
{
	nghttp2_session_callbacks *of_client, *of_server;
	nghttp2_mem mem, *with = hooked ? &mem : NULL;
	int r;

	cr_assert(!nghttp2_session_callbacks_new(&of_client) && !nghttp2_session_callbacks_new(&of_server));
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(of_client, on_data);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(of_server, on_data);
	nghttp2_session_callbacks_set_on_header_callback(of_client, on_header);
	nghttp2_session_callbacks_set_on_stream_close_callback(of_client, on_end);
	nghttp2_session_callbacks_set_on_frame_recv_callback(of_client, on_goaway);
	nghttp2_session_callbacks_set_on_frame_recv_callback(of_server, on_request);
	bufpool_nghttp2_use(&mem, pool);
	r = nghttp2_session_client_new3(&client->session, of_client, client, NULL, with);
	if (r == 0)
		r = nghttp2_session_server_new3(&server->session, of_server, server, NULL, with);
	nghttp2_session_callbacks_del(of_client);
	nghttp2_session_callbacks_del(of_server);
	return r;
}

/* What the client heard; NULL where nghttp2 said that something failed. */
static char *exchange(int requests, bool hooked, struct bufpool *pool)
{
	struct peer client = { 0 }, server = { 0 };
	char *text;
	size_t size;
	int r;

	client.heard = open_memstream(&text, &size);
	cr_assert_not_null(client.heard);
	r = start(&client, &server, hooked, pool);
	if (r == 0)
		r = converse(&client, &server, requests);
	nghttp2_session_del(client.session);
	nghttp2_session_del(server.session);
	fclose(client.heard);
	if (r == 0 && client.ended == (size_t)requests)
		return text;
	/* A callback fails because its nghttp2_submit_response did. Headers that could not be packed or unpacked end
	 * streams, or the connection, and the session says so to the other side. */
	cr_assert(r == NGHTTP2_ERR_NOMEM || r == NGHTTP2_ERR_CALLBACK_FAILURE ||
		  (r == 0 && (client.went != NGHTTP2_NO_ERROR || client.ended + client.failed == (size_t)requests)),
		  "%zu of %d ended, error %d: %s\n%s", client.ended, requests, r, nghttp2_strerror(r), text);
	free(text);
	return NULL;
}

struct task {
	int requests;
	char *expected;
	struct bufpool *pool;
};

static enum t_outcome run(void *ctx)
{
	const struct task *task = ctx;
	char *text = exchange(task->requests, true, task->pool);

	if (!text)
		return T_REPORTED;
	cr_assert_str_eq(text, task->expected);
	free(text);
	return T_DONE;
}

Test(nghttp2, client_and_server_say_what_they_say_without_hooks)
{
	struct task task = { 40, exchange(40, false, NULL), NULL };

	cr_assert_not_null(task.expected);
	t_begin();
	cr_assert_eq(run(&task), T_DONE);
	cr_assert_gt(t_asked(), 400);
	t_end();
	free(task.expected);
}

Test(nghttp2, a_pool_of_ones_own)
{
	struct task task = { 10, exchange(10, false, NULL), NULL };
	struct bufpool_stats s = { .size = sizeof(s) };

	cr_assert_eq(bufpool_create(&task.pool, NULL), 0);
	t_begin();
	cr_assert_eq(run(&task), T_DONE);
	cr_assert_eq(bufpool_stats_get(&s, task.pool), 0);
	cr_assert_gt(s.acquired + s.passed_through, 100);
	cr_assert_eq(s.in_use, 0);
	t_end();
	bufpool_destroy(task.pool);
	free(task.expected);
}

Test(nghttp2, headers_alone)
{
	const nghttp2_nv headers[] = { HEADER("name", "a value"), HEADER("accept-language", "eo") };
	nghttp2_hd_deflater *deflater;
	nghttp2_hd_inflater *inflater;
	nghttp2_mem mem;
	nghttp2_nv back;
	uint8_t packed[256], *at = packed;
	ssize_t left, n;
	int flags = 0;
	size_t seen = 0;

	t_begin();
	bufpool_nghttp2_use(&mem, NULL);
	cr_assert_eq(nghttp2_hd_deflate_new2(&deflater, 4096, &mem), 0);
	cr_assert_eq(nghttp2_hd_inflate_new2(&inflater, &mem), 0);
	left = nghttp2_hd_deflate_hd(deflater, packed, sizeof(packed), headers, T_COUNT(headers));
	cr_assert_gt(left, 0);
	while (!(flags & NGHTTP2_HD_INFLATE_FINAL)) {
		flags = 0;
		n = nghttp2_hd_inflate_hd2(inflater, &back, &flags, at, (size_t)left, 1);
		cr_assert_geq(n, 0);
		at += n;
		left -= n;
		if (flags & NGHTTP2_HD_INFLATE_EMIT) {
			cr_assert(back.valuelen == headers[seen].valuelen &&
				  !memcmp(back.value, headers[seen].value, back.valuelen));
			seen++;
		}
	}
	cr_assert_eq(seen, T_COUNT(headers));
	cr_assert_gt(t_out(), 4);
	nghttp2_hd_inflate_end_headers(inflater);
	nghttp2_hd_inflate_del(inflater);
	nghttp2_hd_deflate_del(deflater);
	t_end();
}

Test(nghttp2, every_refusal_is_reported)
{
	struct task task = { 6, exchange(6, false, NULL), NULL };
	struct t_sweep s;

	t_begin();
	s = t_sweep(run, &task);
	cr_assert_gt(s.asked, 60);
	cr_assert_eq(s.reported, 2 * s.asked, "%zu of %zu refusals were reported", s.reported, 2 * s.asked);
	t_end();
	free(task.expected);
}
