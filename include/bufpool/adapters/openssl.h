/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for OpenSSL (1.1 and 3): everything that libcrypto and libssl allocate. Include <openssl/crypto.h> (or what
 * includes it, such as <openssl/ssl.h>) first.
 *
 * Who frees: the objects' own functions, as always. What is documented to go to OPENSSL_free (i2d_* into a NULL
 * pointer, BN_bn2hex, ASN1_STRING_to_UTF8, …) may go to bufpool_release as well; free(), which happens to work without
 * hooks, aborts or crashes.
 *
 * Secrets: OpenSSL clears what it knows to be secret before it frees it (OPENSSL_clear_free). The rest (records that
 * were decrypted, for one) stays in the block until its next owner writes there, as with malloc.
 */
#ifndef BUFPOOL_ADAPTERS_OPENSSL_H
#define BUFPOOL_ADAPTERS_OPENSSL_H

#include "bufpool/adapters/shapes.h"

#ifdef OPENSSL_CRYPTO_H

/* Programs only: a library can't know who else uses OpenSSL. The first thing in main: OpenSSL refuses as soon as it has
 * allocated anything, which a shared library's constructor may have made it do. 1, or 0 where it was too late (as
 * CRYPTO_set_mem_functions): nothing has changed then. */
static inline int bufpool_openssl_install_process(void)
{
	return CRYPTO_set_mem_functions(bufpool_hook_malloc_at, bufpool_hook_realloc_at, bufpool_hook_free_at);
}

#endif
#endif
