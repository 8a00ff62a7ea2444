/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What bytes.c counts, for the statistics.
 */
#ifndef BP_API_BYTES_H
#define BP_API_BYTES_H

#include <stdatomic.h>
#include <stdint.h>

/* Process-wide. At rest pinned <= BUFPOOL_PIN_RATIO * referenced + excess, and excess <= BUFPOOL_PIN_SLACK; why, is in
 * bytes.c. Signed: while other threads work, a reader may see a release before its acquire. */
struct bp_bytes_account {
	_Atomic int64_t referenced; /* lengths of all bytes */
	_Atomic int64_t pinned;     /* capacities of the blocks behind them, each once */
	_Atomic int64_t excess;     /* capacity beyond the ratio that frozen buffers hold */
};

extern struct bp_bytes_account bp_bytes_account __attribute__((visibility("hidden")));

#endif
