/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tables cost where the kernel counts address space or locks all memory, and what of them a core file has.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/epoch.h"
#include "pools.h"
#include "support.h"

enum { MIB = 1 << 20 };

/* One block of each class that is kept, all at once. */
static size_t use_every_class(void)
{
	static void *blocks[BP_CLASS_COUNT];
	size_t bytes = 0;
	for (unsigned class = 0; class < BP_CLASS_COUNT_64K; class++) {
		blocks[class] = u_get(bp_class_size(class), false);
		if (blocks[class] != NULL)
			memset(blocks[class], 1, bp_class_size(class));
		bytes += bp_class_size(class);
	}
	for (unsigned class = 0; class < BP_CLASS_COUNT_64K; class++)
		bp_pool_release(U_POOL, blocks[class]);
	return bytes;
}

/* Everything but the pages that hold the blocks themselves; jemalloc's own tables are among it. */
Test(limits, locked_memory_is_what_is_used)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		cr_skip_test("mlockall is not permitted");
	size_t before = u_status_kb("VmRSS") << 10;
	u_start(NULL);
	size_t bytes = use_every_class();
	size_t grown = (u_status_kb("VmRSS") << 10) - before;
	size_t tables = grown - (grown < bytes ? grown : bytes);
	cr_assert(bp_range_has(u_get(U_SIZE, false)), "there is no range: nothing was tested");
	cr_assert_leq(tables, 16 * MIB, "%zu KiB for %zu KiB of blocks", grown >> 10, bytes >> 10);
	cr_assert_leq(u_mapped((char *)bp_range.table, bp_range.reserved / BP_PAGE * 4).resident, 256 << 10);
	size_t slabs = u_mapped(U_POOL->slabs.base, U_POOL->slabs.cpus * BP_SLAB_BYTES).resident;
	cr_assert_leq(slabs, U_POOL->slabs.cpus * BP_SLAB_BYTES);
}

/* Later growth is in proportion to the use. */
Test(limits, locked_memory_grows_with_use)
{
	enum { MANY = 2048 };
	static void *blocks[MANY];
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		cr_skip_test("mlockall is not permitted");
	u_start(NULL);
	use_every_class();
	size_t before = u_status_kb("VmRSS") << 10;
	u_acquire(blocks, MANY, U_SIZE);
	size_t grown = (u_status_kb("VmRSS") << 10) - before;
	cr_assert_leq(grown, MANY * U_SIZE + 40 * MIB, "%zu MiB for %zu", grown >> 20, MANY * U_SIZE >> 20);
}

static void work_with_little_locked_memory(void)
{
	struct rlimit little = { 48 * MIB, 48 * MIB };
	if (setrlimit(RLIMIT_MEMLOCK, &little) != 0 || setresgid(65534, 65534, 65534) != 0 ||
	    setresuid(65534, 65534, 65534) != 0)
		_exit(77);
	if (mlockall(MCL_FUTURE) != 0)
		_exit(78);
	u_options("epoch_ms:3600000");
	for (int i = 0; i < 100; i++)
		use_every_class();
	void *p = u_get(100000, true);
	if (p == NULL)
		_exit(1);
	bp_pool_release(U_POOL, p);
	_exit(0);
}

Test(limits, where_little_may_be_locked_it_works_all_the_same)
{
	char err[512];
	int status = u_in_child(work_with_little_locked_memory, err, sizeof(err));
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 78))
		cr_skip_test("%s", WEXITSTATUS(status) == 77 ? "only root can become somebody else" : "no mlockall");
	cr_assert_eq(status, 0, "%x: %s", status, err);
}

/* What a core file would hold of everything that is mapped. */
Test(limits, core_files_have_what_is_used)
{
	size_t before = u_mapped(NULL, SIZE_MAX / 2).dumped;
	size_t mapped = u_mapped(NULL, SIZE_MAX / 2).size;
	u_start(NULL);
	size_t bytes = use_every_class();
	struct u_mapped all = u_mapped(NULL, SIZE_MAX / 2);
	cr_assert_geq(all.size - mapped, (size_t)1 << 30, "little was reserved: nothing was tested");
	cr_assert_leq(all.dumped - before, bytes + 24 * MIB, "a core file has %zu KiB more for %zu KiB of blocks",
		      (all.dumped - before) >> 10, bytes >> 10);
	/* And what is in use is there, or a core file would be of no use. */
	void *p = u_get(U_SIZE, false);
	cr_assert_eq(u_mapped(p, U_SIZE).dumped, U_SIZE);
	cr_assert_eq(u_mapped(bp_slab_of(U_POOL->slabs, u_slab()), BP_SLAB_BYTES).dumped, BP_SLAB_BYTES);
}

static size_t room;

static void work_with_little_address_space(void)
{
	struct rlimit little = { 0, RLIM_INFINITY };
	little.rlim_cur = (u_status_kb("VmSize") << 10) + room;
	if (setrlimit(RLIMIT_AS, &little) != 0)
		_exit(77);
	u_options("epoch_ms:3600000");
	for (int i = 0; i < 100; i++)
		use_every_class();
	/* All there is, and it comes back. */
	for (int round = 0; round < 3; round++) {
		void *last = NULL, *p;
		size_t got = 0;
		while (got < 2 * room && (p = u_get(65536, false)) != NULL) {
			memset(p, 0x55, 65536);
			*(void **)p = last;
			last = p;
			got += 65536;
		}
		if (got < room / 8 || (got < 2 * room && errno != ENOMEM))
			_exit(round + 1);
		while (last != NULL) {
			p = last;
			last = *(void **)p;
			bp_pool_release(U_POOL, p);
		}
	}
	_exit(0);
}

static size_t take_all(size_t n, size_t most, void **last)
{
	size_t got = 0;
	void *p;
	*last = NULL;
	while (got < most && (p = u_get(n, false)) != NULL) {
		*(void **)p = *last;
		*last = p;
		got += n;
	}
	return got;
}

static void release_all(void *last)
{
	for (void *p; (p = last) != NULL;) {
		last = *(void **)p;
		bp_pool_release(U_POOL, p);
	}
}

/* All memory is cached as blocks of one size, and blocks of another are asked for. */
static void take_what_is_cached_otherwise(void)
{
	struct rlimit little = { 0, RLIM_INFINITY };
	void *last;
	room = 200 * MIB;
	little.rlim_cur = (u_status_kb("VmSize") << 10) + room;
	if (setrlimit(RLIMIT_AS, &little) != 0)
		_exit(77);
	u_options("epoch_ms:3600000,budget:1g");
	size_t all = take_all(65536, 2 * room, &last);
	release_all(last);
	if (all < room / 8 || all >= 2 * room || u_account(65536).cached * 65536 < all / 2)
		_exit(1);
	if (take_all(U_SIZE, all, &last) < all / 2)
		_exit(2);
	release_all(last);
	if (u_account(U_SIZE).cached * U_SIZE < all / 4)
		_exit(3);
	if (take_all(MIB, all, &last) < all / 2)
		_exit(4);
	_exit(0);
}

Test(limits, what_is_cached_is_no_reason_to_fail, .timeout = 60)
{
	char err[512];
	int status = u_in_child(take_what_is_cached_otherwise, err, sizeof(err));
	cr_assert_eq(status, 0, "status %x: %s", status, err);
}

static void works_in(size_t bytes)
{
	char err[512];
	room = bytes;
	int status = u_in_child(work_with_little_address_space, err, sizeof(err));
	cr_assert_eq(status, 0, "with %zu MiB: status %x: %s", bytes >> 20, status, err);
}

Test(limits, it_works_in_little_address_space, .timeout = 60)
{
	works_in(64 * MIB);
	works_in(200 * MIB);
	works_in(800 * MIB);
}
