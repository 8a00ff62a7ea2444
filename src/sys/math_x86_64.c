/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The three functions of libm that the embedded jemalloc's heap profiler calls, by the x87 unit's own instructions: for a
 * profiler's sampling rate they are exact enough, and no process has to load libm for them at its start (13 page faults
 * and 8 system calls for /bin/true). Other architectures: math_libm.c.
 */
#include "sys/math.h"

double bp_log(double x)
{
	double y;
	asm("fldln2\n\t"
	    "fxch\n\t"
	    "fyl2x"
	    : "=t"(y)
	    : "0"(x)
	    : "st(1)");
	return y;
}

/* 2^(x log2 e), its exponent split into a whole number and the rest. */
double bp_exp(double x)
{
	long double y, whole, rest;
	asm("fldl2e\n\t"
	    "fmulp"
	    : "=t"(y)
	    : "0"((long double)x)
	    : "st(1)");
	asm("frndint" : "=t"(whole) : "0"(y));
	rest = y - whole;
	asm("f2xm1" : "=t"(rest) : "0"(rest));
	rest += 1;
	asm("fscale" : "=t"(y) : "0"(rest), "u"(whole));
	return (double)y;
}

/* Halves away from zero. From 2^52 on every double is whole. */
double bp_round(double x)
{
	if (!(x > -0x1p52 && x < 0x1p52))
		return x;
	return (double)(long long)(x < 0 ? x - 0.5 : x + 0.5);
}
