/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libuv on the pool: what TCP and UDP sockets of the loopback read into, and libuv's own memory.
 *
 * Unusual: libuv ends in abort() where the table of its descriptors can't grow, hooks or not. Refusals of its own
 * memory are therefore tried in children, which may report, survive or abort, but nothing else.
 */
#include <uv.h>

#include <bufpool/adapters/libuv.h>
#include "support.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(libuv, .timeout = 120);

/* ---- an exchange: a client sends `size` bytes, the server sends them back from the blocks it read them into ---- */

struct exchange {
	uv_tcp_t listener, served, client;
	uv_connect_t connecting;
	uv_write_t sending;
	const char *data;
	size_t size, received;
	int error; /* the first one */
};

struct echo {
	uv_write_t request;
	uv_buf_t block;
};

static void note(struct exchange *x, int error)
{
	if (error < 0 && !x->error)
		x->error = error;
}

static void close_once(void *handle)
{
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void give_up(struct exchange *x, int error)
{
	note(x, error);
	close_once(&x->client);
	close_once(&x->listener);
}

static void on_echoed(uv_write_t *request, int status)
{
	struct echo *echo = (struct echo *)request;

	note(request->handle->data, status == UV_ECANCELED ? 0 : status);
	bufpool_libuv_release(&echo->block);
	free(echo);
}

static void on_served(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
	if (nread > 0) {
		struct echo *echo = malloc(sizeof(*echo));
		const uv_buf_t written = uv_buf_init(buf->base, (unsigned)nread);

		echo->block = *buf;
		note(stream->data, uv_write(&echo->request, stream, &written, 1, on_echoed));
		return;
	}
	bufpool_libuv_release(buf);
	if (nread < 0) {
		note(stream->data, nread == UV_EOF ? 0 : (int)nread);
		close_once(stream);
	}
}

static void on_received(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
	struct exchange *x = stream->data;

	if (nread > 0) {
		cr_assert_leq(x->received + (size_t)nread, x->size);
		cr_assert_eq(memcmp(buf->base, x->data + x->received, (size_t)nread), 0);
		x->received += (size_t)nread;
	}
	bufpool_libuv_release(buf);
	if (nread < 0 || x->received == x->size)
		give_up(x, nread < 0 ? (int)nread : 0);
}

static void on_sent(uv_write_t *request, int status)
{
	note(request->handle->data, status == UV_ECANCELED ? 0 : status);
}

static void on_connected(uv_connect_t *request, int status)
{
	struct exchange *x = request->handle->data;
	const uv_buf_t all = uv_buf_init((char *)x->data, (unsigned)x->size);

	if (status == 0)
		status = uv_read_start(request->handle, bufpool_libuv_alloc_cb, on_received);
	if (status == 0)
		status = uv_write(&x->sending, request->handle, &all, 1, on_sent);
	if (status < 0)
		give_up(x, status);
}

static void on_connection(uv_stream_t *listener, int status)
{
	struct exchange *x = listener->data;

	cr_assert_eq(status, 0);
	cr_assert_eq(uv_tcp_init(listener->loop, &x->served), 0);
	x->served.data = x;
	status = uv_accept(listener, (uv_stream_t *)&x->served);
	if (status == 0)
		status = uv_read_start((uv_stream_t *)&x->served, bufpool_libuv_alloc_cb, on_served);
	if (status < 0) {
		note(x, status);
		close_once(&x->served);
	}
	close_once(listener);
}

static int begin(struct exchange *x, uv_loop_t *loop)
{
	struct sockaddr_in at;
	int length = sizeof(at), r;

	cr_assert_eq(uv_ip4_addr("127.0.0.1", 0, &at), 0);
	cr_assert(!uv_tcp_init(loop, &x->listener) && !uv_tcp_init(loop, &x->client));
	x->listener.data = x->client.data = x;
	r = uv_tcp_bind(&x->listener, (const struct sockaddr *)&at, 0);
	if (r == 0)
		r = uv_listen((uv_stream_t *)&x->listener, 8, on_connection);
	if (r == 0)
		r = uv_tcp_getsockname(&x->listener, (struct sockaddr *)&at, &length);
	if (r == 0)
		r = uv_tcp_connect(&x->connecting, &x->client, (const struct sockaddr *)&at, on_connected);
	return r;
}

/* A loop from its making to its end, and an exchange in it; the first error. */
static int exchange(const char *data, size_t size)
{
	struct exchange x = { .data = data, .size = size };
	uv_loop_t loop;
	int r = uv_loop_init(&loop);

	if (r < 0)
		return r;
	r = begin(&x, &loop);
	if (r < 0)
		give_up(&x, r);
	uv_run(&loop, UV_RUN_DEFAULT);
	cr_assert_eq(uv_loop_close(&loop), 0);
	cr_assert(x.error || x.received == size);
	return x.error;
}

struct task {
	char *data;
	size_t size;
};

static struct task task_of(size_t size)
{
	struct task task = { malloc(size), size };

	for (size_t i = 0; i < size; i++)
		task.data[i] = (char)(i * 31 + i / 251);
	return task;
}

static enum t_outcome run(void *ctx)
{
	const struct task *task = ctx;
	const int error = exchange(task->data, task->size);

	return error == 0 ? T_DONE : T_REPORTED;
}

/* ---- what is read into ---- */

Test(libuv, streams_read_into_the_pool)
{
	struct task task = task_of(3 << 20);

	t_begin();
	cr_assert_eq(run(&task), T_DONE);
	cr_assert_gt(t_asked(), 2 * task.size / 65536);
	t_end();
	free(task.data);
}

static void on_datagram(uv_udp_t *handle, ssize_t nread, const uv_buf_t *buf,
			const struct sockaddr *from, unsigned flags)
{
	(void)flags;
	if (nread > 0 || from) {
		cr_assert_eq(nread, 5);
		cr_assert(!memcmp(buf->base, "hello", 5) && bufpool_capacity(buf->base) >= 65536);
		uv_close((uv_handle_t *)handle, NULL);
	}
	bufpool_libuv_release(buf);
}

Test(libuv, datagrams_are_read_into_the_pool)
{
	uv_buf_t hello = uv_buf_init("hello", 5);
	struct sockaddr_in at;
	int length = sizeof(at);
	uv_udp_t socket;
	uv_loop_t loop;

	t_begin();
	cr_assert(!uv_loop_init(&loop) && !uv_udp_init(&loop, &socket) && !uv_ip4_addr("127.0.0.1", 0, &at));
	cr_assert_eq(uv_udp_bind(&socket, (const struct sockaddr *)&at, 0), 0);
	cr_assert_eq(uv_udp_getsockname(&socket, (struct sockaddr *)&at, &length), 0);
	cr_assert_eq(uv_udp_try_send(&socket, &hello, 1, (const struct sockaddr *)&at), 5);
	cr_assert_eq(uv_udp_recv_start(&socket, bufpool_libuv_alloc_cb, on_datagram), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	cr_assert_eq(uv_loop_close(&loop), 0);
	cr_assert_gt(t_asked(), 0);
	t_end();
}

Test(libuv, a_buffer_of_ones_own_pool)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	struct bufpool *pool;
	uv_buf_t buf;

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	t_begin();
	bufpool_libuv_acquire(&buf, pool, 40000);
	cr_assert_not_null(buf.base);
	cr_assert_eq(buf.len, 40000);
	cr_assert(bufpool_stats_get(&s, pool) == 0 && s.in_use + s.passed_through == 1);
	bufpool_libuv_release(&buf);
	t_refuse(1, false);
	bufpool_libuv_acquire(&buf, pool, 40000);
	cr_assert(buf.base == NULL && buf.len == 0);
	bufpool_libuv_release(&buf);
	t_end();
	bufpool_destroy(pool);
}

Test(libuv, a_refused_buffer_is_an_error_of_that_stream)
{
	struct task task = task_of(3000);
	struct t_sweep s;

	t_begin();
	t_refuse(1, false);
	cr_assert_neq(exchange(task.data, task.size), 0);
	s = t_sweep(run, &task);
	cr_assert_geq(s.asked, 2);
	cr_assert_geq(s.reported, 2);
	cr_assert_eq(s.survived, 0);
	t_end();
	free(task.data);
}

/* ---- libuv's own memory ---- */

/* Names and sizes of the files beside the tests' data, through the thread pool; NULL where libuv reported an error. */
static char *listing(void)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	uv_fs_t list, one;
	uv_dirent_t entry;
	uv_loop_t loop;
	int r = uv_loop_init(&loop);

	cr_assert_not_null(out);
	if (r == 0) {
		r = uv_fs_scandir(&loop, &list, T_DATA, 0, NULL);
		while (r >= 0 && uv_fs_scandir_next(&list, &entry) != UV_EOF) {
			char path[4096];

			snprintf(path, sizeof(path), T_DATA "/%s", entry.name);
			r = uv_fs_stat(&loop, &one, path, NULL);
			fprintf(out, "%s %lld\n", entry.name, r < 0 ? -1 : (long long)one.statbuf.st_size);
			uv_fs_req_cleanup(&one);
		}
		uv_fs_req_cleanup(&list);
		cr_assert_eq(uv_loop_close(&loop), 0);
	}
	fclose(out);
	if (r >= 0)
		return text;
	cr_assert_eq(r, UV_ENOMEM, "%s", uv_strerror(r));
	free(text);
	return NULL;
}

/* What listing() gives in a process without hooks. */
static char *listing_without(void)
{
	char *text = malloc(1 << 20);
	size_t size = 0;
	int ends[2], status;
	ssize_t n;
	pid_t child;

	cr_assert_eq(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		char *list = listing();

		_exit(write(ends[1], list, strlen(list)) != (ssize_t)strlen(list));
	}
	close(ends[1]);
	while ((n = read(ends[0], text + size, (1 << 20) - 1 - size)) > 0)
		size += (size_t)n;
	close(ends[0]);
	cr_assert(waitpid(child, &status, 0) == child && status == 0);
	text[size] = 0;
	return text;
}

Test(libuv, its_own_memory_comes_from_the_pool)
{
	struct task task = task_of(1 << 20);
	char *without = listing_without(), *with;

	t_begin();
	cr_assert_eq(bufpool_libuv_install_process(), 0);
	with = listing();
	cr_assert_gt(strlen(with), 10);
	cr_assert_str_eq(with, without);
	cr_assert_gt(t_asked(), 0); /* how much depends on the numbers that descriptors get */
	cr_assert_eq(run(&task), T_DONE);
	t_end();
	free(with);
	free(without);
	free(task.data);
}

static int both(const struct task *task)
{
	char *list = listing();
	const int error = list ? exchange(task->data, task->size) : UV_ENOMEM;

	free(list);
	return error;
}

/* What a run of both() with a refusal came to, in a child. libuv's abort() says nothing, everybody else's does. */
enum end { NONE_REFUSED, SURVIVED, REPORTED, ABORTED, WRONG };

static void refusing(const struct task *task, size_t nth, bool onwards, int said)
{
	int error;

	dup2(said, STDERR_FILENO);
	t_refuse(nth, onwards);
	error = both(task);
	if (t_refused() == 0)
		_exit(error == 0 && t_out() == 0 ? NONE_REFUSED : WRONG);
	_exit(t_out() != 0 ? WRONG : error == 0 ? SURVIVED : REPORTED);
}

static enum end end_of(const struct task *task, size_t nth, bool onwards)
{
	FILE *said = tmpfile();
	int status;
	bool silent;
	const pid_t child = fork();

	if (child == 0)
		refusing(task, nth, onwards, fileno(said));
	cr_assert_eq(waitpid(child, &status, 0), child);
	silent = lseek(fileno(said), 0, SEEK_END) == 0;
	fclose(said);
	if (!silent)
		return WRONG;
	return WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status) == SIGABRT ? ABORTED : WRONG;
}

Test(libuv, refusals_of_its_own_memory_are_reported_or_abort_as_without_hooks)
{
	struct task task = task_of(3000);
	unsigned ends[WRONG + 1] = { 0 };

	t_begin();
	cr_assert_eq(bufpool_libuv_install_process(), 0);
	for (size_t n = 1; ends[NONE_REFUSED] == 0; n++)
		for (int onwards = 0; onwards < 2; onwards++) {
			const enum end end = end_of(&task, n, onwards);

			cr_assert_lt(end, WRONG, "refusal %zu%s", n, onwards ? " onwards" : "");
			ends[end]++;
		}
	cr_assert_gt(ends[REPORTED], 0);
	cr_assert_gt(ends[ABORTED], 0, "libuv no longer aborts: its header says it does");
	t_end();
	free(task.data);
}
