/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For options.c: a program that has read its options when main begins, and says by its status whether they are those
 * that the tests give it (else 1), and whether the kernel started it as one that must not trust its environment (2).
 */
#include <stdatomic.h>
#include <sys/auxv.h>

#include "cache/options.h"

int main(void)
{
	bp_options_start();
	bool read = atomic_load(&bp_options.cap) == 8192 && atomic_load(&bp_options.epoch_ms) == 20;
	return (read ? 0 : 1) + (getauxval(AT_SECURE) != 0 ? 2 : 0);
}
