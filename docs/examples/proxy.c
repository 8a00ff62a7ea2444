/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A TCP proxy on 127.0.0.1 with pooled workers: what bufpool/copy.h is for, and a pool of something that is alive.
 *
 *     proxy [-e EPOCH_MS] [-w WORKERS] PORT UPSTREAM_PORT      PORT 0: any, see what it prints
 *
 * A worker is a thread that serves one connection at a time, both ways, and then puts itself back into the pool. Idle
 * workers live as blocks do in bufpool: one that wasn't called for a whole epoch becomes a victim, one more idle epoch
 * and it is dismissed. So the threads follow the load, up at once and down two epochs after it fell.
 *
 * The trap is the moment in which a worker has put itself back and is being dismissed, or called, before it waits (or
 * while it wakes up). Here that moment is no case of its own:
 *   - a worker is a variable of its own thread, so nobody else ever frees one;
 *   - others reach it only through the two lists, under the pool's lock, and who takes it out of a list tells it
 *     exactly one thing before unlocking: a connection, or that it is dismissed. What was said stays said until it
 *     looks;
 *   - it looks under the same lock, after which nobody else has its address.
 * The other trap, a worker that the pool forgot and that waits for ever, can't be: who leaves a list was told
 * something.
 *
 * Half-closes are passed on as half-closes, resets as resets. A slow reader makes the other side wait: between the two
 * lie at most 32 KiB a direction, and none while a connection is idle.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <bufpool/bufpool.h>
#include <bufpool/copy.h>

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
	struct worker *next;
	int connection; /* -1: none yet */
	bool dismissed;
	pthread_cond_t called;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a worker is back, or has ended */
	struct worker *idle, *victims;
	unsigned threads, most;
	bool stopping;
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .most = 256 };

static struct worker *take_from(struct worker **list)
{
	struct worker *w = *list;

	if (w != NULL)
		*list = w->next;
	return w;
}

/* Puts itself back and waits for what it is told. False: to end. */
static bool put_back(struct worker *self)
{
	pthread_mutex_lock(&pool.lock);
	self->connection = -1;
	self->dismissed = pool.stopping;
	if (!self->dismissed) {
		self->next = pool.idle;
		pool.idle = self;
		pthread_cond_signal(&pool.changed);
	}
	while (self->connection < 0 && !self->dismissed)
		pthread_cond_wait(&self->called, &pool.lock);
	if (self->dismissed) {
		pool.threads--;
		pthread_cond_signal(&pool.changed);
	}
	pthread_mutex_unlock(&pool.lock);
	return !self->dismissed;
}

static void *work(void *connection)
{
	struct worker self = { .connection = (int)(intptr_t)connection, .called = PTHREAD_COND_INITIALIZER };

	do
		serve(self.connection);
	while (put_back(&self));
	pthread_cond_destroy(&self.called);
	return NULL;
}

static bool start_worker(int connection)
{
	pthread_attr_t detached;
	pthread_t id;
	int r;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&id, &detached, work, (void *)(intptr_t)connection);
	pthread_attr_destroy(&detached);
	return r == 0;
}

/* Gives the connection to a worker: the one that came back last, else a victim, else a new one. */
static void hand_over(int connection)
{
	struct worker *w;

	pthread_mutex_lock(&pool.lock);
	if ((w = take_from(&pool.idle)) == NULL)
		w = take_from(&pool.victims);
	if (w != NULL) {
		w->connection = connection;
		pthread_cond_signal(&w->called);
	} else if (start_worker(connection)) {
		pool.threads++;
	} else {
		close_with_reset(connection);
	}
	pthread_mutex_unlock(&pool.lock);
}

/* Go's sync.Pool, with workers for objects. */
static void end_epoch(void)
{
	struct worker *w;

	pthread_mutex_lock(&pool.lock);
	while ((w = take_from(&pool.victims)) != NULL) {
		w->dismissed = true;
		pthread_cond_signal(&w->called);
	}
	pool.victims = pool.idle;
	pool.idle = NULL;
	pthread_mutex_unlock(&pool.lock);
}

/* Waits a moment for a worker to come back if there may be no more. */
static bool have_room(void)
{
	struct timespec soon;
	bool room;

	clock_gettime(CLOCK_REALTIME, &soon);
	if ((soon.tv_nsec += 10000000) >= 1000000000) {
		soon.tv_nsec -= 1000000000;
		soon.tv_sec++;
	}
	pthread_mutex_lock(&pool.lock);
	room = pool.idle != NULL || pool.victims != NULL || pool.threads < pool.most ||
	       pthread_cond_timedwait(&pool.changed, &pool.lock, &soon) == 0;
	pthread_mutex_unlock(&pool.lock);
	return room;
}

/* Idle workers end now, others after their connection. */
static void stop(void)
{
	pthread_mutex_lock(&pool.lock);
	pool.stopping = true;
	pthread_mutex_unlock(&pool.lock);
	end_epoch();
	end_epoch();
	pthread_mutex_lock(&pool.lock);
	while (pool.threads > 0)
		pthread_cond_wait(&pool.changed, &pool.lock);
	pthread_mutex_unlock(&pool.lock);
}

/* ---- the listener ---- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * (int64_t)1000 + t.tv_nsec / 1000000;
}

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
	int connection;

	if (!have_room())
		return;
	connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (connection >= 0)
		hand_over(connection);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		poll(NULL, 0, 10);
}

/* Until a signal asks for the end. */
static void run(int listener, int signals, int epoch_ms)
{
	struct pollfd waits[2] = { { .fd = listener, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	int64_t due = now_ms() + epoch_ms;

	for (;;) {
		int64_t left = due - now_ms();

		if (left <= 0) {
			end_epoch();
			bufpool_tick(); /* the blocks' epochs: nobody else may be calling */
			due = now_ms() + epoch_ms;
			continue;
		}
		if (poll(waits, 2, (int)left) <= 0)
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
	struct bufpool_stats s = { .size = sizeof(s) };
	int option, listener, signals, epoch_ms = 1000;
	sigset_t end;

	while ((option = getopt(argc, argv, "e:w:")) != -1) {
		if (option == 'e')
			epoch_ms = atoi(optarg);
		else if (option == 'w')
			pool.most = (unsigned)atoi(optarg);
		else
			return usage();
	}
	if (argc - optind != 2 || epoch_ms < 1 || pool.most < 1)
		return usage();
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	pthread_sigmask(SIG_BLOCK, &end, NULL);
	if ((signals = signalfd(-1, &end, SFD_CLOEXEC)) < 0) {
		perror("proxy: signalfd");
		return 1;
	}
	upstream_port = htons((in_port_t)atoi(argv[optind + 1]));
	listener = listen_at(htons((in_port_t)atoi(argv[optind])));
	run(listener, signals, epoch_ms);
	close(listener);
	stop();
	if (bufpool_stats_get(&s, NULL) != 0 || s.in_use != 0) {
		fprintf(stderr, "proxy: %llu blocks are still out\n", (unsigned long long)s.in_use);
		return 1;
	}
	return 0;
}
