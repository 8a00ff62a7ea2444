/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The proof that parts do not pin: requests that each read 64 KiB and keep 40 bytes of it.
 */
#ifndef BUFPOOL_TESTS_API_REQUESTS_H
#define BUFPOOL_TESTS_API_REQUESTS_H

#include <stddef.h>

/* Serves `count` requests, checks every header that was kept and that the process has grown by less than `most`
 * bytes. */
void expect_requests_do_not_pin(size_t count, size_t most);

#endif
