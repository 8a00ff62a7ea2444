/* SPDX-License-Identifier: BSD-2-Clause
 *
 * For options.c: a program that has read its options when main begins, and says by its status whether they are those
 * that the tests give it.
 */
#include <stdatomic.h>

#include "cache/options.h"

int main(void)
{
	bp_options_start();
	return atomic_load(&bp_options.cap) == 8192 && atomic_load(&bp_options.epoch_ms) == 20 ? 0 : 1;
}
