/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BP_API_BACKGROUND_H
#define BP_API_BACKGROUND_H

#include <stdbool.h>

#include "sys/os.h"

/* Ends the helper thread and waits until it is gone; false: there was none. What must be alone in its process calls this
 * before, and resume after. */
bool bp_background_pause(void) BP_HIDDEN;
void bp_background_resume(void) BP_HIDDEN;

#endif
