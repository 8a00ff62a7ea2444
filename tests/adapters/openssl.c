/* SPDX-License-Identifier: BSD-2-Clause
 *
 * OpenSSL on the pool: a TLS client and server of this process that shake hands and talk through memory. The hooks are
 * set before main, because libraries that Criterion uses make OpenSSL allocate; what is compared with is made by this
 * program started anew with T_ALONE in its environment, which ends before main.
 *
 * Unusual: OpenSSL keeps a lot for the process (providers, caches of algorithms) and the thread (errors, random
 * numbers). A first run fetches what the process keeps; each run gives back what the thread has.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <bufpool/adapters/openssl.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(openssl, .timeout = 120);

struct identity {
	EVP_PKEY *key;
	X509 *certificate;
};

static struct identity identity_new(void)
{
	struct identity id = { EVP_EC_gen("P-256"), X509_new() };
	X509_NAME *name = X509_get_subject_name(id.certificate);

	cr_assert(id.key && X509_set_version(id.certificate, 2));
	cr_assert(ASN1_INTEGER_set(X509_get_serialNumber(id.certificate), 1));
	cr_assert(X509_gmtime_adj(X509_getm_notBefore(id.certificate), -3600));
	cr_assert(X509_gmtime_adj(X509_getm_notAfter(id.certificate), 3600));
	cr_assert(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0));
	cr_assert(X509_set_issuer_name(id.certificate, name) && X509_set_pubkey(id.certificate, id.key));
	cr_assert(X509_sign(id.certificate, id.key, EVP_sha256()));
	return id;
}

static void identity_free(struct identity *id)
{
	X509_free(id->certificate);
	EVP_PKEY_free(id->key);
}

struct talk {
	SSL_CTX *of_server, *of_client;
	SSL *server, *client;
	char heard[256];
};

/* Both ends, joined by a pair of buffers; false where OpenSSL reported an error. */
static bool open_ends(struct talk *t, const struct identity *id)
{
	BIO *left = NULL, *right = NULL;

	t->of_server = SSL_CTX_new(TLS_server_method());
	t->of_client = SSL_CTX_new(TLS_client_method());
	if (!t->of_server || !t->of_client || SSL_CTX_use_certificate(t->of_server, id->certificate) != 1 ||
	    SSL_CTX_use_PrivateKey(t->of_server, id->key) != 1 ||
	    X509_STORE_add_cert(SSL_CTX_get_cert_store(t->of_client), id->certificate) != 1)
		return false;
	SSL_CTX_set_verify(t->of_client, SSL_VERIFY_PEER, NULL);
	t->server = SSL_new(t->of_server);
	t->client = SSL_new(t->of_client);
	if (!t->server || !t->client || SSL_set1_host(t->client, "localhost") != 1 ||
	    BIO_new_bio_pair(&left, 0, &right, 0) != 1)
		return false;
	SSL_set_bio(t->server, left, left);
	SSL_set_bio(t->client, right, right);
	SSL_set_accept_state(t->server);
	SSL_set_connect_state(t->client);
	return true;
}

/* One step of one end: 1 done, 0 the other one's turn, -1 an error. */
static int step(SSL *ssl, int r)
{
	const int error = SSL_get_error(ssl, r);

	return r > 0 ? 1 : error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static bool shake_hands(struct talk *t)
{
	int at_client = 0, at_server = 0;

	for (int turn = 0; turn < 100 && (at_client != 1 || at_server != 1); turn++) {
		at_client = step(t->client, SSL_do_handshake(t->client));
		at_server = at_client < 0 ? -1 : step(t->server, SSL_do_handshake(t->server));
		if (at_client < 0 || at_server < 0)
			return false;
	}
	cr_assert(at_client == 1 && at_server == 1, "the handshake stands still");
	return true;
}

/* `size` bytes from one end to the other, in pieces that the other end reads at once. */
static bool send_through(SSL *from, SSL *to, size_t size, unsigned *sum)
{
	unsigned char piece[5000], back[5000];

	for (size_t done = 0; done < size;) {
		const int wanted = (int)(size - done < sizeof(piece) ? size - done : sizeof(piece));
		int got = 0;

		for (int i = 0; i < wanted; i++)
			piece[i] = (unsigned char)((done + (size_t)i) * 7);
		if (SSL_write(from, piece, wanted) != wanted)
			return false;
		while (got < wanted) {
			const int n = SSL_read(to, back + got, wanted - got);

			if (n <= 0)
				return false;
			got += n;
		}
		cr_assert_eq(memcmp(piece, back, (size_t)wanted), 0);
		for (int i = 0; i < wanted; i++)
			*sum = *sum * 33 + back[i];
		done += (size_t)wanted;
	}
	return true;
}

static bool converse(struct talk *t, const struct identity *id, size_t size)
{
	unsigned there = 0, back = 0;

	if (!open_ends(t, id) || !shake_hands(t) || !send_through(t->client, t->server, size, &there) ||
	    !send_through(t->server, t->client, size, &back) || SSL_shutdown(t->client) < 0 || SSL_shutdown(t->server) < 0)
		return false;
	snprintf(t->heard, sizeof(t->heard), "%s %s %08x %08x", SSL_get_version(t->client), SSL_get_cipher_name(t->client),
		 there, back);
	return true;
}

struct task {
	struct identity id;
	size_t size;
	char *expected;
};

static enum t_outcome run(void *ctx)
{
	const struct task *task = ctx;
	struct talk t = { 0 };
	const bool good = converse(&t, &task->id, task->size);

	if (good && t_refused() == 0)
		cr_assert_str_eq(t.heard, task->expected);
	else if (good) /* it may have agreed on an older protocol */
		cr_assert_str_eq(strrchr(t.heard, ' '), strrchr(task->expected, ' '));
	SSL_free(t.client);
	SSL_free(t.server);
	SSL_CTX_free(t.of_client);
	SSL_CTX_free(t.of_server);
	OPENSSL_thread_stop();
	return good ? T_DONE : T_REPORTED;
}

/* ---- before main ---- */

static int installed;

/* Without hooks: the talk, written to standard output, or with a size of 0 the attempt to set them too late. */
static void alone(size_t size)
{
	struct talk t = { 0 };
	struct identity id;
	void *p = OPENSSL_malloc(10);

	if (size == 0 && bufpool_openssl_install_process() != 0)
		_exit(1);
	id = identity_new();
	if (!p || !converse(&t, &id, size))
		_exit(2);
	OPENSSL_free(p);
	if (t_asked() != 0 || write(STDOUT_FILENO, t.heard, strlen(t.heard)) < 0)
		_exit(3);
	_exit(0);
}

__attribute__((constructor)) static void before_main(void)
{
	const char *size = getenv("T_ALONE");

	if (size)
		alone((size_t)atol(size));
	t_begin();
	installed = bufpool_openssl_install_process();
}

static char *without(size_t size)
{
	char *heard = calloc(1, sizeof(((struct talk *)0)->heard)), text[32];
	int ends[2], status;
	pid_t child;

	cr_assert_eq(pipe(ends), 0);
	snprintf(text, sizeof(text), "%zu", size);
	child = fork();
	if (child == 0) {
		setenv("T_ALONE", text, 1);
		dup2(ends[1], STDOUT_FILENO);
		execl("/proc/self/exe", "openssl", (char *)NULL);
		_exit(127);
	}
	cr_assert(waitpid(child, &status, 0) == child && status == 0, "status %x", status);
	cr_assert_gt(read(ends[0], heard, sizeof(((struct talk *)0)->heard) - 1), 0);
	close(ends[0]);
	close(ends[1]);
	return heard;
}

/* ---- tests ---- */

Test(openssl, a_conversation_is_what_it_is_without_hooks)
{
	struct task task = { .size = 300000, .expected = without(300000) };

	cr_assert_eq(installed, 1);
	t_books();
	task.id = identity_new();
	cr_assert_eq(run(&task), T_DONE);
	cr_assert_gt(t_asked(), 1000);
	identity_free(&task.id);
	OPENSSL_cleanup();
	t_end();
	free(task.expected);
}

Test(openssl, what_it_returns_is_a_block_of_the_pool)
{
	struct identity id = identity_new();
	const int64_t before = t_out();
	unsigned char *der = NULL;

	cr_assert_gt(before, 0);
	cr_assert_gt(i2d_X509(id.certificate, &der), 100);
	cr_assert_eq(t_out(), before + 1);
	bufpool_release(der);
	cr_assert_eq(t_out(), before);
	identity_free(&id);
	OPENSSL_cleanup();
	t_end();
}

Test(openssl, too_late_it_refuses_and_nothing_changes)
{
	free(without(0));
}

/* Blocks that a run with a refusal leaves. What OpenSSL fetches then for the first time (an older protocol's
 * algorithms) it keeps for the process, so a run that leaves something is tried again. */
static int64_t left_by(struct task *task, size_t nth, bool onwards, size_t *refused, size_t *reported)
{
	int64_t left = 1;

	for (int attempt = 0; attempt < 3 && left != 0; attempt++) {
		const int64_t before = t_out();
		enum t_outcome outcome;

		t_books();
		t_refuse(nth, onwards);
		outcome = run(task);
		*refused = t_refused();
		t_books();
		left = t_out() - before;
		cr_assert(*refused > 0 || outcome == T_DONE);
		*reported += attempt == 0 && outcome == T_REPORTED;
	}
	return left;
}

Test(openssl, every_refusal_is_reported_or_survived)
{
	struct task task = { .size = 6000, .expected = without(6000) };
	size_t nth = 0, refused, reported = 0;

	task.id = identity_new();
	cr_assert_eq(run(&task), T_DONE);
	do {
		nth++;
		for (int onwards = 0; onwards < 2; onwards++)
			cr_expect_eq(left_by(&task, nth, onwards, &refused, &reported), 0, "refusal %zu%s", nth,
				     onwards ? " onwards" : "");
	} while (refused > 0);
	cr_assert_gt(nth, 300);
	cr_assert_gt(reported, nth);
	identity_free(&task.id);
	OPENSSL_cleanup();
	t_end();
	free(task.expected);
}
