/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What is printed when the program ends goes to a file of the options' or to standard error.
 */
#ifndef BP_API_END_H
#define BP_API_END_H

#include <stdbool.h>

#include "sys/os.h"

/* Standard error where the path is empty. -1: it can't be opened. */
int bp_end_open(const char *path) BP_HIDDEN;
void bp_end_close(int fd) BP_HIDDEN;
bool bp_end_is_json(const char *path) BP_HIDDEN;
/* A bufpool_write_fn. ctx: the descriptor. */
void bp_end_write(void *ctx, const char *text) BP_HIDDEN;

#endif
