/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The leak report as the tests read it.
 */
#ifndef BUFPOOL_TESTS_API_LEAKS_COMMON_H
#define BUFPOOL_TESTS_API_LEAKS_COMMON_H

#include <stdbool.h>

/* Before the first call into the library. */
void t_note_leaks(void);
/* The report, in memory of its own that the next one takes. */
const char *t_leaks(const char *opts);
bool t_lists(const char *report, const char *part);

#endif
