/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libcurl: a handle for each transfer of a small file, and URLs taken apart and put together.
 */
#include "workload.h"

#include <curl/curl.h>

#include <bufpool/adapters/libcurl.h>

static size_t received;
static char path[64], url[80];

void bench_install(void)
{
	bench_expect(bufpool_libcurl_install_process(CURL_GLOBAL_NOTHING) == CURLE_OK, "libcurl: no hooks");
}

static void prepare(void)
{
	if (!bench_hooked)
		bench_expect(curl_global_init(CURL_GLOBAL_NOTHING) == CURLE_OK, "libcurl: no beginning");
}

/* ---- files ---- */

enum { SIZE = 4000 };

static size_t receive(char *data, size_t size, size_t count, void *unused)
{
	(void)data, (void)unused;
	received += size * count;
	return size * count;
}

static void remove_file(void)
{
	unlink(path);
}

static void prepare_files(void)
{
	FILE *f;

	prepare();
	snprintf(path, sizeof(path), "/tmp/bufpool-bench-%d", (int)getpid());
	snprintf(url, sizeof(url), "file://%s", path);
	f = fopen(path, "w");
	bench_expect(f != NULL, "no file");
	atexit(remove_file);
	for (int i = 0; i < SIZE; i++)
		fputc('x', f);
	fclose(f);
}

static size_t lap_files(void)
{
	for (int i = 0; i < 20; i++) {
		CURL *curl = curl_easy_init();

		received = 0;
		curl_easy_setopt(curl, CURLOPT_URL, url);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
		bench_expect(curl_easy_perform(curl) == CURLE_OK && received == SIZE, "libcurl: no transfer");
		curl_easy_cleanup(curl);
	}
	return 20;
}

/* ---- URLs ---- */

static void take_apart(void)
{
	CURLU *u = curl_url();
	char *host = NULL, *query = NULL, *whole = NULL, *escaped;

	curl_url_set(u, CURLUPART_URL, "https://user@host.example:8080/a/path/../to?query=some&other=text#end", 0);
	curl_url_get(u, CURLUPART_HOST, &host, 0);
	curl_url_get(u, CURLUPART_QUERY, &query, 0);
	escaped = curl_easy_escape(NULL, query, 0);
	curl_url_set(u, CURLUPART_QUERY, escaped, 0);
	curl_url_get(u, CURLUPART_URL, &whole, 0);
	bench_expect(host && !strcmp(host, "host.example") && whole && strcasestr(whole, "/a/to?query%3dsome"),
		     "libcurl: a wrong URL");
	curl_free(host);
	curl_free(query);
	curl_free(escaped);
	curl_free(whole);
	curl_url_cleanup(u);
}

static size_t lap_urls(void)
{
	for (int i = 0; i < 200; i++)
		take_apart();
	return 200;
}

const struct bench_workload bench_workloads[] = {
	{ "libcurl-files", "transfers", prepare_files, lap_files, 0, 0 },
	{ "libcurl-urls", "URLs", prepare, lap_urls, 0, 0 },
	{ 0 },
};
