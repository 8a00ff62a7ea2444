/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What jemalloc's heap profiler needs of libm, from libm. See math_x86_64.c.
 */
#include "sys/math.h"

#include <math.h>

double bp_log(double x)
{
	return log(x);
}

double bp_exp(double x)
{
	return exp(x);
}

double bp_round(double x)
{
	return round(x);
}
