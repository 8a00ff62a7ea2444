/* SPDX-License-Identifier: BSD-2-Clause
 *
 * OpenSSL: TLS connections through memory, from the handshake (whose arithmetic is most of it) to the end, and records
 * on one that stays.
 */
#include "workload.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <bufpool/adapters/openssl.h>

enum { SIZE = 4000, RECORDS = 100 };

static EVP_PKEY *key;
static X509 *certificate;
static SSL_CTX *of_server, *of_client;
static SSL *server, *client;

void bench_install(void)
{
	bench_expect(bufpool_openssl_install_process() == 1, "OpenSSL: the hooks came too late");
}

static void prepare(void)
{
	X509_NAME *name;

	key = EVP_EC_gen("P-256");
	certificate = X509_new();
	name = X509_get_subject_name(certificate);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
	X509_set_issuer_name(certificate, name);
	X509_set_pubkey(certificate, key);
	bench_expect(X509_sign(certificate, key, EVP_sha256()) > 0, "OpenSSL: no certificate");
	of_server = SSL_CTX_new(TLS_server_method());
	of_client = SSL_CTX_new(TLS_client_method());
	bench_expect(SSL_CTX_use_certificate(of_server, certificate) == 1 && SSL_CTX_use_PrivateKey(of_server, key) == 1,
		     "OpenSSL: no context");
}

static void connect(void)
{
	BIO *left, *right;

	server = SSL_new(of_server);
	client = SSL_new(of_client);
	bench_expect(server && client && BIO_new_bio_pair(&left, 0, &right, 0), "OpenSSL: no connection");
	SSL_set_bio(server, left, left);
	SSL_set_bio(client, right, right);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (int i = 0; i < 10 && !(SSL_is_init_finished(client) && SSL_is_init_finished(server)); i++) {
		SSL_do_handshake(client);
		SSL_do_handshake(server);
	}
	bench_expect(SSL_is_init_finished(client) && SSL_is_init_finished(server), "OpenSSL: no handshake");
}

static void send_record(void)
{
	static unsigned char out[SIZE], in[SIZE];

	bench_expect(SSL_write(client, out, SIZE) == SIZE && SSL_read(server, in, SIZE) == SIZE, "OpenSSL: no record");
}

static size_t lap_connections(void)
{
	connect();
	send_record();
	SSL_free(client);
	SSL_free(server);
	return 1;
}

static void prepare_records(void)
{
	prepare();
	connect();
}

/* With the option that gives buffers back between records, as servers with many quiet connections set it. */
static size_t lap_records(void)
{
	SSL_set_mode(client, SSL_MODE_RELEASE_BUFFERS);
	SSL_set_mode(server, SSL_MODE_RELEASE_BUFFERS);
	for (int i = 0; i < RECORDS; i++)
		send_record();
	return RECORDS;
}

const struct bench_workload bench_workloads[] = {
	{ "openssl-connections", "connections", prepare, lap_connections, 0, 0 },
	{ "openssl-records", "records", prepare_records, lap_records, 0, 0 },
	{ 0 },
};
