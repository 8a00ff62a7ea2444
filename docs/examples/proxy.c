/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A TCP proxy on 127.0.0.1 with pooled workers: what bufpool/copy.h is for, and a pool of something that is alive.
 *
 *     proxy [-e EPOCH_MS] [-w WORKERS] PORT UPSTREAM_PORT      PORT 0: any, see what it prints
 *
 * A worker is a thread that serves one connection at a time, both ways, and then puts itself back into a pool of objects
 * (bufpool/objects.h). A worker that wasn't called for two epochs is destructed, which means that it is told to end. So the
 * threads follow the load, up at once and down two epochs after it fell.
 *
 * The trap is the moment in which a worker has put itself back and is being dismissed, or called, before it waits (or
 * while it wakes up). Here that moment is no case of its own:
 *   - who has taken a worker out of the pool, or destructs it, tells it exactly one thing under its lock: a connection, or
 *     that it is dismissed. What was said stays said until it looks;
 *   - a worker frees itself, when it was dismissed, and nobody else ever does: after a destruct the pool has forgotten it.
 * The other trap, a worker that the pool forgot and that waits for ever, can't be: each is destructed exactly once.
 *
 * Half-closes are passed on as half-closes, resets as resets. A slow reader makes the other side wait: between the two
 * lie at most 32 KiB a direction, and none while a connection is idle.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <bufpool/bufpool.h>
#include <bufpool/copy.h>
#include <bufpool/objects.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- one connection ---- */

static in_port_t upstream_port;

static int connect_upstream(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = upstream_port };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Whoever still waits at the other end gets a reset, and not an end that looks like a good one. */
static void close_with_reset(int fd)
{
	const struct linger at_once = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

/* One step in one direction. 1: there is more to do at once; 0: not now, or never again (*open then says so); or an
 * error. */
static int pump_once(struct bufpool_copy *way, bool *open)
{
	int r = bufpool_copy_step(way);

	if (r == 1) {
		*open = false;
		shutdown(way->out, SHUT_WR);
		return 0;
	}
	return r == 0 ? 1 : r == -EAGAIN ? 0 : r;
}

/* Until both directions have ended; false where one of them broke. */
static bool pump(struct bufpool_copy ways[2])
{
	bool open[2] = { true, true };

	while (open[0] || open[1]) {
		struct pollfd waits[4];
		nfds_t n = 0;
		int more = 0;

		for (int i = 0; i < 2; i++) {
			int r = open[i] ? pump_once(&ways[i], &open[i]) : 0;

			if (r < 0)
				return false;
			more |= r;
			if (!open[i] || r != 0)
				continue;
			waits[n++] = ways[i].poll;
			waits[n++] = (struct pollfd){ .fd = ways[i].out }; /* that it is gone is told unasked */
		}
		if (more || n == 0)
			continue;
		if (poll(waits, n, -1) < 0 && errno != EINTR)
			return false;
		for (nfds_t i = 0; i < n; i++)
			if (waits[i].revents & POLLERR)
				return false;
	}
	return true;
}

static void serve(int client)
{
	struct bufpool_copy ways[2];
	int server = connect_upstream();
	bool good = false;

	if (server < 0) {
		close_with_reset(client);
		return;
	}
	if (bufpool_copy_begin(&ways[0], server, client, UINT64_MAX) == 0 &&
	    bufpool_copy_begin(&ways[1], client, server, UINT64_MAX) == 0) {
		good = pump(ways);
		bufpool_copy_end(&ways[0]);
		bufpool_copy_end(&ways[1]);
	}
	(good ? (void)close(client) : close_with_reset(client));
	(good ? (void)close(server) : close_with_reset(server));
}

/* ---- workers ---- */

struct worker {
	pthread_mutex_t lock;
	pthread_cond_t called;
	int connection; /* -1: none */
	bool dismissed;
};

static struct bufpool_objects *workers;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a worker is back, or has ended */
	unsigned threads, most;
} all = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .most = 256 };

static void tell_all(int started)
{
	pthread_mutex_lock(&all.lock);
	all.threads += (unsigned)started;
	pthread_cond_signal(&all.changed);
	pthread_mutex_unlock(&all.lock);
}

static void call(struct worker *w, int connection)
{
	pthread_mutex_lock(&w->lock);
	w->connection = connection;
	pthread_cond_signal(&w->called);
	pthread_mutex_unlock(&w->lock);
}

/* What it was told: a connection, or -1: to end. */
static int wait_for_call(struct worker *self)
{
	int connection;

	pthread_mutex_lock(&self->lock);
	while (self->connection < 0 && !self->dismissed)
		pthread_cond_wait(&self->called, &self->lock);
	connection = self->connection;
	self->connection = -1;
	pthread_mutex_unlock(&self->lock);
	return connection;
}

static void *work(void *worker)
{
	struct worker *self = worker;
	int connection;

	while ((connection = wait_for_call(self)) >= 0) {
		serve(connection);
		bufpool_objects_release(workers, self); /* from here on it may be called, or dismissed */
		tell_all(0);
	}
	pthread_cond_destroy(&self->called);
	pthread_mutex_destroy(&self->lock);
	bufpool_release(self);
	tell_all(-1);
	return NULL;
}

static bool may_start(void)
{
	bool may;

	pthread_mutex_lock(&all.lock);
	may = all.threads < all.most;
	all.threads += may;
	pthread_mutex_unlock(&all.lock);
	return may;
}

static int start_thread(struct worker *w)
{
	pthread_attr_t detached;
	pthread_t id;
	int error;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&id, &detached, work, w);
	pthread_attr_destroy(&detached);
	return error;
}

static void *construct(void *ctx)
{
	struct worker *w;

	(void)ctx;
	if (!may_start()) {
		errno = EAGAIN;
		return NULL;
	}
	w = bufpool_acquire_zeroed(sizeof(*w));
	if (w != NULL) {
		w->connection = -1;
		pthread_mutex_init(&w->lock, NULL);
		pthread_cond_init(&w->called, NULL);
		if ((errno = start_thread(w)) == 0)
			return w;
		bufpool_release(w);
	}
	tell_all(-1);
	return NULL;
}

static void dismiss(void *worker, void *ctx, int reason)
{
	struct worker *w = worker;

	(void)ctx, (void)reason;
	pthread_mutex_lock(&w->lock);
	w->dismissed = true;
	pthread_cond_signal(&w->called);
	pthread_mutex_unlock(&w->lock);
}

/* There may be no more workers: waits a moment for one to come back. */
static void wait_a_moment(void)
{
	struct timespec soon;

	clock_gettime(CLOCK_REALTIME, &soon);
	if ((soon.tv_nsec += 10000000) >= 1000000000) {
		soon.tv_nsec -= 1000000000;
		soon.tv_sec++;
	}
	pthread_mutex_lock(&all.lock);
	pthread_cond_timedwait(&all.changed, &all.lock, &soon);
	pthread_mutex_unlock(&all.lock);
}

/* Idle workers end now, others after their connection. */
static void stop(void)
{
	bufpool_objects_destroy(workers);
	pthread_mutex_lock(&all.lock);
	while (all.threads > 0)
		pthread_cond_wait(&all.changed, &all.lock);
	pthread_mutex_unlock(&all.lock);
}

/* ---- the listener ---- */

static int listen_at(in_port_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = port };
	socklen_t length = sizeof(a);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, (struct sockaddr *)&a, length) != 0 || listen(fd, SOMAXCONN) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &length) != 0) {
		perror("proxy: listen");
		exit(1);
	}
	printf("listening on %d\n", ntohs(a.sin_port));
	fflush(stdout);
	return fd;
}

static void accept_one(int listener)
{
	struct worker *w = bufpool_objects_acquire(workers);
	int connection;

	if (w == NULL) {
		wait_a_moment();
		return;
	}
	connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (connection >= 0) {
		call(w, connection);
		return;
	}
	bufpool_objects_release(workers, w);
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		poll(NULL, 0, 10);
}

/* Until a signal asks for the end. The pools' epochs end in bufpool_tick: nobody else may be calling. What it says holds for
 * this moment: workers that put themselves back while this thread sleeps are seen an epoch later. */
static void run(int listener, int signals, int epoch_ms)
{
	struct pollfd waits[2] = { { .fd = listener, .events = POLLIN }, { .fd = signals, .events = POLLIN } };

	for (;;) {
		int ms = bufpool_tick();

		if (poll(waits, 2, ms < 0 || ms > epoch_ms ? epoch_ms : ms) <= 0)
			continue;
		if (waits[1].revents != 0)
			return;
		accept_one(listener);
	}
}

static int usage(void)
{
	fputs("usage: proxy [-e EPOCH_MS] [-w WORKERS] PORT UPSTREAM_PORT\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const struct bufpool_objects_ops ops = { sizeof(ops), construct, NULL, dismiss };
	struct bufpool_stats s = { .size = sizeof(s) };
	const char *epoch_ms = "1000";
	int option, listener, signals;
	sigset_t end;

	while ((option = getopt(argc, argv, "e:w:")) != -1) {
		if (option == 'e')
			epoch_ms = optarg;
		else if (option == 'w')
			all.most = (unsigned)atoi(optarg);
		else
			return usage();
	}
	if (argc - optind != 2 || all.most < 1 || bufpool_option_set("epoch_ms", epoch_ms) != 0)
		return usage();
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	pthread_sigmask(SIG_BLOCK, &end, NULL);
	if ((signals = signalfd(-1, &end, SFD_CLOEXEC)) < 0) {
		perror("proxy: signalfd");
		return 1;
	}
	if (bufpool_objects_create(&workers, &ops, NULL) != 0) {
		fputs("proxy: no memory\n", stderr);
		return 1;
	}
	upstream_port = htons((in_port_t)atoi(argv[optind + 1]));
	listener = listen_at(htons((in_port_t)atoi(argv[optind])));
	run(listener, signals, atoi(epoch_ms));
	close(listener);
	stop();
	if (bufpool_stats_get(&s, NULL) != 0 || s.in_use != 0) {
		fprintf(stderr, "proxy: %llu blocks are still out\n", (unsigned long long)s.in_use);
		return 1;
	}
	return 0;
}
