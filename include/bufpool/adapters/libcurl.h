/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for libcurl: everything that libcurl itself allocates; the libraries under it (TLS, HTTP/2, resolvers) have
 * hooks of their own or none. Include <curl/curl.h> first.
 *
 * Who frees: curl_easy_cleanup and the like, as always. What is documented to go to curl_free (curl_easy_escape,
 * curl_url_get, curl_maprintf, …) may go to bufpool_release as well; free(), which happens to work without hooks,
 * aborts or crashes. A buffer that the caller collects in a write callback is the caller's own business.
 */
#ifndef BUFPOOL_ADAPTERS_LIBCURL_H
#define BUFPOOL_ADAPTERS_LIBCURL_H

#include "bufpool/adapters/shapes.h"

#ifdef CURLINC_CURL_H

/* In place of curl_global_init(flags). Programs only: a library can't know who else uses libcurl. Before any other
 * function of libcurl (the first curl_easy_init initialises it) and before a second thread does the same. CURLE_OK, or
 * what curl_global_init returns. Where libcurl is initialised already it only counts the call and returns CURLE_OK:
 * nothing breaks, but libcurl stays on malloc. curl_global_cleanup ends it. */
static inline CURLcode bufpool_libcurl_install_process(long flags)
{
	return curl_global_init_mem(flags, bufpool_acquire, bufpool_release, bufpool_hook_realloc, bufpool_hook_strdup,
				    bufpool_hook_calloc);
}

#endif
#endif
