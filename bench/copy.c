/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Copies between descriptors, each pair of kinds: a loop of read and write with a buffer of 32 KiB, what the kernel has
 * for the pair (copy_file_range, sendfile, splice), and bufpool_copy, which has to be as fast as the better one. This
 * is where it was decided which pairs go through the kernel.
 *
 * What is unusual: pipes and sockets have a thread at their other end that fills or drains them, with as few and as
 * large calls as it can. Its work is part of the wall time; what the copying thread itself used is said apart.
 *
 *     copy ROUNDS MEGABYTES [DIRECTORY]   ->  IN-OUT/WAY: MB/s; IN-OUT-cpu/WAY: MB a second of this thread's CPU;
 *                                             small/WAY: files of 4 KiB a second; one line a round
 */
#include "measure.h"

#include <arpa/inet.h>
#include <bufpool/copy.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

enum kind { FILE_END, PIPE_END, UNIX_END, TCP_END };
static const char *const kind_names[] = { "file", "pipe", "unix", "tcp" };

enum { LOOP_BYTES = 32768, PEER_BYTES = 1 << 20, CHUNK = 1 << 20 };

typedef uint64_t copy_fn(int out, int in, enum kind to, enum kind from);

static uint64_t by_loop(int out, int in, enum kind to, enum kind from)
{
	static char buffer[LOOP_BYTES];
	uint64_t done = 0;

	(void)to, (void)from;
	for (;;) {
		ssize_t got = read(in, buffer, sizeof(buffer));

		if (got <= 0)
			return done;
		for (ssize_t put = 0; put < got;) {
			ssize_t n = write(out, buffer + put, (size_t)(got - put));

			if (n < 0)
				bench_fail("write");
			put += n;
		}
		done += (uint64_t)got;
	}
}

static uint64_t by_kernel(int out, int in, enum kind to, enum kind from)
{
	uint64_t done = 0;
	ssize_t n;

	for (;; done += (uint64_t)n) {
		if (from == FILE_END && to == FILE_END)
			n = copy_file_range(in, NULL, out, NULL, CHUNK, 0);
		else if (from == FILE_END && to != PIPE_END)
			n = sendfile(out, in, NULL, CHUNK);
		else
			n = splice(in, NULL, out, NULL, CHUNK, 0);
		if (n <= 0)
			return done;
	}
}

static uint64_t by_pool(int out, int in, enum kind to, enum kind from)
{
	uint64_t done;

	(void)to, (void)from;
	if (bufpool_copy_all(&done, out, in, UINT64_MAX) < 0)
		bench_fail("bufpool_copy_all");
	return done;
}

static const struct {
	const char *name;
	copy_fn *copy;
} ways[] = { { "loop", by_loop }, { "kernel", by_kernel }, { "pool", by_pool } };

/* ---- ends ---- */

static const char *directory;
static uint64_t total;

static int file_open(uint64_t bytes)
{
	char path[256];
	char *text = calloc(1, PEER_BYTES);
	int fd;

	snprintf(path, sizeof(path), "%s/bench-copy-XXXXXX", directory);
	fd = mkstemp(path);
	if (fd < 0 || unlink(path) || !text)
		bench_fail(path);
	for (uint64_t done = 0; done < bytes;) {
		ssize_t n = write(fd, text, bytes - done < PEER_BYTES ? bytes - done : PEER_BYTES);

		if (n <= 0)
			bench_fail("write");
		done += (uint64_t)n;
	}
	free(text);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void tcp_pair(int ends[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(listener, (struct sockaddr *)&a, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&a, &length))
		bench_fail("listen");
	ends[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(ends[0], (struct sockaddr *)&a, length))
		bench_fail("connect");
	ends[1] = accept(listener, NULL, NULL);
	close(listener);
}

/* ends[0] is to be read from, ends[1] to be written to. */
static void make_ends(int ends[2], enum kind kind)
{
	if (kind == TCP_END)
		tcp_pair(ends);
	else if (kind == UNIX_END ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends))
		bench_fail("pipe");
}

static void *fill(void *fd)
{
	char *text = calloc(1, PEER_BYTES);

	for (uint64_t done = 0; done < total;) {
		ssize_t n = write(*(int *)fd, text, total - done < PEER_BYTES ? total - done : PEER_BYTES);

		if (n <= 0)
			break; /* what was tried doesn't work between these two: seen by the count */
		done += (uint64_t)n;
	}
	free(text);
	close(*(int *)fd);
	return NULL;
}

static void *drain(void *fd)
{
	char *text = malloc(PEER_BYTES);

	while (read(*(int *)fd, text, PEER_BYTES) > 0)
		;
	free(text);
	close(*(int *)fd);
	return NULL;
}

/* ---- samples ---- */

static void sample(enum kind to, enum kind from, int way)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	pthread_t filler, drainer;
	char name[64];
	double start, cpu;
	uint64_t done;

	if (from == FILE_END)
		in[0] = file_open(total);
	else
		make_ends(in, from);
	if (to == FILE_END)
		out[1] = file_open(0);
	else
		make_ends(out, to);
	start = bench_wall_ns();
	if (from != FILE_END && pthread_create(&filler, NULL, fill, &in[1]))
		bench_fail("pthread_create");
	if (to != FILE_END && pthread_create(&drainer, NULL, drain, &out[0]))
		bench_fail("pthread_create");
	cpu = bench_thread_ns();
	done = ways[way].copy(out[1], in[0], to, from);
	cpu = bench_thread_ns() - cpu;
	close(out[1]);
	close(in[0]);
	if (from != FILE_END)
		pthread_join(filler, NULL);
	if (to != FILE_END)
		pthread_join(drainer, NULL);
	if (done != total)
		return; /* the kernel has nothing for these two */
	snprintf(name, sizeof(name), "%s-%s/%s", kind_names[from], kind_names[to], ways[way].name);
	bench_sample(name, (double)total / BENCH_MB / ((bench_wall_ns() - start) / 1e9));
	snprintf(name, sizeof(name), "%s-%s-cpu/%s", kind_names[from], kind_names[to], ways[way].name);
	bench_sample(name, (double)total / BENCH_MB / (cpu / 1e9));
}

static void sample_small(int way)
{
	enum { TIMES = 2000 };
	int in = file_open(4096), out = file_open(0);
	char name[64];
	double start = bench_wall_ns();

	for (int i = 0; i < TIMES; i++) {
		lseek(in, 0, SEEK_SET);
		lseek(out, 0, SEEK_SET);
		if (ways[way].copy(out, in, FILE_END, FILE_END) != 4096)
			bench_fail("a small copy");
	}
	snprintf(name, sizeof(name), "small/%s", ways[way].name);
	bench_sample(name, TIMES / ((bench_wall_ns() - start) / 1e9));
	close(in);
	close(out);
}

int main(int argc, char **argv)
{
	long rounds = bench_number(argc > 1 ? argv[1] : "5");

	signal(SIGPIPE, SIG_IGN);
	total = (uint64_t)bench_number(argc > 2 ? argv[2] : "256") << 20;
	directory = argc > 3 ? argv[3] : "/tmp";
	for (long round = 0; round < rounds; round++) {
		for (enum kind from = FILE_END; from <= TCP_END; from++)
			for (enum kind to = FILE_END; to <= TCP_END; to++)
				for (int way = 0; way < 3; way++)
					sample(to, from, way);
		for (int way = 0; way < 3; way++)
			sample_small(way);
	}
	return 0;
}
