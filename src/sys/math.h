/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BP_SYS_MATH_H
#define BP_SYS_MATH_H

double bp_log(double x) __attribute__((visibility("hidden")));
double bp_exp(double x) __attribute__((visibility("hidden")));
double bp_round(double x) __attribute__((visibility("hidden")));

#endif
