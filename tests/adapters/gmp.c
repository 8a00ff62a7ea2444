/* SPDX-License-Identifier: BSD-2-Clause
 *
 * GMP's numbers from the default pool. The hooks are the process's: what is compared with is made before they are
 * set, and nothing of it is kept.
 */
#include <gmp.h>

#include <bufpool/adapters/gmp.h>
#include "support.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(gmp, .timeout = 60);

/* 1000! and the sum of 1/1 to 1/1000, in digits; from libc's malloc. */
static char *digits(void)
{
	size_t size = 20000, used;
	char *text = malloc(size);
	mpq_t sum, term;
	mpz_t product;

	mpz_init(product);
	mpz_fac_ui(product, 1000);
	mpq_inits(sum, term, NULL);
	for (unsigned i = 1; i <= 1000; i++) {
		mpq_set_ui(term, 1, i);
		mpq_add(sum, sum, term);
	}
	used = (size_t)gmp_snprintf(text, size, "%Zd %Qd", product, sum);
	cr_assert_lt(used, size);
	mpq_clears(sum, term, NULL);
	mpz_clear(product);
	return text;
}

Test(gmp, numbers_are_what_they_are_without_hooks)
{
	char *without = digits(), *with;

	t_begin();
	bufpool_gmp_install_process();
	with = digits();
	cr_assert_gt(t_asked(), 20);
	cr_assert_str_eq(with, without);
	t_end();
	free(with);
	free(without);
}

Test(gmp, text_is_a_block_of_the_pool)
{
	mpz_t number;
	char *text;

	t_begin();
	bufpool_gmp_install_process();
	mpz_init_set_str(number, "123456789012345678901234567890", 10);
	text = mpz_get_str(NULL, 10, number);
	cr_assert_str_eq(text, "123456789012345678901234567890");
	bufpool_release(text);
	cr_assert_gt(gmp_asprintf(&text, "<%Zx>", number), 0);
	cr_assert_str_eq(text, "<18ee90ff6c373e0ee4e3f0ad2>");
	bufpool_release(text);
	mpz_clear(number);
	t_end();
}

/* Temporary numbers of more than 64 KiB come through the hooks as well, and those over the pool's cap. */
Test(gmp, large_numbers)
{
	mpz_t a, b;

	t_begin();
	bufpool_gmp_install_process();
	mpz_inits(a, b, NULL);
	mpz_ui_pow_ui(a, 3, 2000000);
	mpz_sqrt(b, a);
	mpz_mul(b, b, b);
	cr_assert_eq(mpz_cmp(a, b), 0);
	mpz_clears(a, b, NULL);
	t_end();
}

/* The nth request is refused in a process of its own; the status that it ends with. */
static int refused(size_t nth, char *said, size_t room)
{
	int ends[2], status = -1;
	ssize_t got;
	pid_t pid;

	cr_assert_eq(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		signal(SIGABRT, SIG_DFL);
		dup2(ends[1], STDERR_FILENO);
		bufpool_gmp_install_process();
		t_refuse(nth, false);
		free(digits());
		_exit(t_refused() != 0);
	}
	close(ends[1]);
	got = read(ends[0], said, room - 1);
	said[got > 0 ? got : 0] = 0;
	close(ends[0]);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

Test(gmp, every_refusal_aborts_with_a_line)
{
	char said[256];
	size_t nth = 1;
	int status;

	while (WIFSIGNALED(status = refused(nth, said, sizeof(said)))) {
		cr_assert_eq(WTERMSIG(status), SIGABRT, "refusal %zu: %x", nth, status);
		cr_assert_eq(strncmp(said, "GNU MP: Cannot allocate memory (size=", 37), 0, "%s", said);
		nth++;
	}
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "refusal %zu: %x", nth, status);
	cr_assert_gt(nth, 20);
}
