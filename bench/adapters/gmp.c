/* SPDX-License-Identifier: BSD-2-Clause
 *
 * GMP: sums of fractions, whose numbers grow, and factorials with their digits.
 */
#include "workload.h"

#include <gmp.h>

#include <bufpool/adapters/gmp.h>

void bench_install(void)
{
	bufpool_gmp_install_process();
}

/* 1/1 + ... + 1/60, each term a number of its own. */
static void sum(void)
{
	mpq_t all;

	mpq_init(all);
	for (unsigned i = 1; i <= 60; i++) {
		mpq_t term;

		mpq_init(term);
		mpq_set_ui(term, 1, i);
		mpq_add(all, all, term);
		mpq_clear(term);
	}
	bench_expect(mpz_fdiv_ui(mpq_denref(all), 59) == 0, "GMP: a wrong sum");
	mpq_clear(all);
}

static size_t lap_fractions(void)
{
	for (int i = 0; i < 20; i++)
		sum();
	return 20;
}

static size_t lap_factorials(void)
{
	void (*release)(void *, size_t);
	char *digits;
	mpz_t n;

	mp_get_memory_functions(NULL, NULL, &release);
	for (unsigned i = 0; i < 50; i++) {
		mpz_init(n);
		mpz_fac_ui(n, 200 + i);
		digits = mpz_get_str(NULL, 10, n);
		bench_expect(digits[strlen(digits) - 1] == '0', "GMP: a wrong factorial");
		release(digits, strlen(digits) + 1);
		mpz_clear(n);
	}
	return 50;
}

const struct bench_workload bench_workloads[] = {
	{ "gmp-fractions", "sums", NULL, lap_fractions, 0, 0 },
	{ "gmp-factorials", "numbers", NULL, lap_factorials, 0, 0 },
	{ 0 },
};
