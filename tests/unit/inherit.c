/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the child of a threaded fork makes of the caches that it got a copy of: it gives back a few blocks at a step, none of
 * which the child's program may have. What jemalloc gets, and what it gives, passes here first (the linker's --wrap).
 */
#include "cache/inherit.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/objects.h"
#include "cache/epoch.h"
#include "cache/giveback.h"
#include "cache/policy.h"
#include "cache/pools.h"
#include "cache/release.h"
#include "percpu/stacks.h"
#include "pools.h"
#include "support.h"

enum { MANY = 640, SMALL = 64 };
static void *blocks[MANY];

static unsigned class(void)
{
	return u_class(SMALL);
}

static void start(void)
{
	u_start(NULL);
	if (class() < U_POOL->first_class)
		cr_skip_test("small blocks pass through");
}

/* ---- on the way to jemalloc ---- */

static bool has(void *const *slots, uint32_t n, const void *p)
{
	while (n > 0 && slots[n - 1] != p)
		n--;
	return n > 0;
}

static bool is_on_a_stack(struct bp_slabs s, const void *p)
{
	for (unsigned cpu = 0; cpu < s.cpus; cpu++)
		for (unsigned c = 0; c < U_POOL->classes; c++)
			if (has((void **)bp_slab_of(s, (int)cpu) + bp_bottoms[c], bp_percpu_count(s, (int)cpu, c), p))
				return true;
	return false;
}

static struct bp_pool *engine; /* of the object pool, where there is one */

/* Would the child of a fork find it? */
static bool is_found(const void *p)
{
	for (uint32_t m = 1; m < bp_magazines_used(); m++)
		if (has(bp_magazine_slots(m), bp_magazine_count(m), p))
			return true;
	for (unsigned i = 0; i < U_POOL->inherited.slab_count; i++)
		if (is_on_a_stack(U_POOL->inherited.slabs[i], p))
			return true;
	return is_on_a_stack(U_POOL->slabs, p) || (engine != NULL && is_on_a_stack(engine->slabs, p));
}

static unsigned given, found; /* of what was given back, what would be found still */

bool __real_bp_backend_give_back(void *const *some, size_t count, unsigned of_class, struct bp_heap *heap);
bool __real_bp_backend_large_free(void *p);
size_t __real_bp_backend_fill(void **out, size_t count, unsigned of_class, struct bp_heap *heap);

bool __wrap_bp_backend_give_back(void *const *some, size_t count, unsigned of_class, struct bp_heap *heap)
{
	for (size_t i = 0; i < count; i++, given++)
		found += is_found(some[i]);
	return __real_bp_backend_give_back(some, count, of_class, heap);
}

bool __wrap_bp_backend_large_free(void *p)
{
	given++;
	found += is_found(p);
	return __real_bp_backend_large_free(p);
}

static void (*in_fill)(void **out); /* once, in the middle of one */

size_t __wrap_bp_backend_fill(void **out, size_t count, unsigned of_class, struct bp_heap *heap)
{
	void (*then)(void **) = in_fill;
	in_fill = NULL;
	if (then != NULL)
		then(out);
	return __real_bp_backend_fill(out, count, of_class, heap);
}

/* ---- children ---- */

static void in_threaded_child(void (*run)(void))
{
	char err[256];
	__libc_single_threaded = false;
	int status = u_in_child(run, err, sizeof(err));
	cr_assert_eq(status, 0, "status %x, line %d (or 200 more): %s", status, (WEXITSTATUS(status) - 1) % 200, err);
}

/* As releases leave them. */
static void put(struct bp_level *l, void **some, size_t count)
{
	for (size_t i = 0; i < count; i++)
		*bp_mark_of(some[i]) = bp_mark_value(some[i]);
	atomic_fetch_add(&U_POOL->counts[class()].released, count);
	bp_pool_put_blocks(U_POOL, l, class(), some, count);
}

static struct bp_level *shared(void)
{
	return bp_pool_shared(U_POOL, bp_pool_epoch(U_POOL));
}

static void give_back_in_steps(void)
{
	uint64_t gone = 0, aside = u_account(SMALL).set_aside;
	u_surely(aside >= 2 * BP_GIVEBACK_BLOCKS);
	while (bp_inherit_step(U_POOL)) {
		uint64_t now = u_account(SMALL).dropped_epoch;
		u_surely(now - gone <= BP_GIVEBACK_BLOCKS);
		gone = now;
	}
	u_surely(gone == aside && given == aside);
	u_surely(u_account(SMALL).set_aside == 0);
	u_surely(u_balanced());
	u_surely(found == 0);
}

Test(inherit, of_a_row_a_step_takes_a_part)
{
	start();
	u_acquire(blocks, MANY, SMALL);
	put(shared(), blocks, MANY);
	cr_assert_leq(atomic_load(&shared()->magazines), MANY / BP_GIVEBACK_BLOCKS, "these are no large ones");
	in_threaded_child(give_back_in_steps);
}

Test(inherit, and_of_a_stack)
{
	start();
	u_acquire(blocks, MANY, SMALL);
	u_release(blocks, MANY);
	cr_assert_gt(u_on_cpus(SMALL), BP_GIVEBACK_BLOCKS);
	in_threaded_child(give_back_in_steps);
}

/* What goes to jemalloc without a child: the same must hold for one that is forked at that moment. */
Test(inherit, what_goes_has_left_before)
{
	start();
	u_acquire(blocks, MANY, SMALL);
	put(&U_POOL->over, blocks, MANY / 2);
	put(bp_pool_queue(U_POOL, bp_pool_epoch(U_POOL)), blocks + MANY / 2, MANY / 2);
	bp_giveback_later(U_POOL, u_get(1 << 20, false));
	bp_giveback_all(U_POOL);
	cr_assert_eq(given, MANY + 1);
	cr_assert_eq(found, 0);
}

/* The bytes outside decide on the budget; what was on the parent's CPUs is not the child's. */
static void count_what_is_outside(void)
{
	uint64_t held = 0;
	for (unsigned c = 0; c < BP_CLASS_COUNT; c++) {
		struct bp_account a;
		bp_account_class(&a, U_POOL, c);
		held += a.in_use * bp_class_size(c);
	}
	u_surely(held == 100 * bp_class_size(class()));
	u_surely(atomic_load(&U_POOL->outside) == (int64_t)held);
}

Test(inherit, what_is_outside_is_what_is_in_use)
{
	start();
	u_acquire(blocks, MANY, SMALL);
	u_release(blocks + 100, MANY - 100);
	cr_assert_gt(u_on_cpus(SMALL), 0);
	in_threaded_child(count_what_is_outside);
}

/* ---- what the program may release in the child ---- */

static struct bufpool_objects *o;
static size_t made;

static void *construct(void *ctx)
{
	(void)ctx;
	return blocks[made++];
}

static void destruct(void *obj, void *ctx, int reason)
{
	(void)ctx, (void)reason;
	given++;
	found += is_found(obj);
}

/* MANY objects, which are blocks: all of them cached. */
static void cache_objects(void)
{
	static const struct bufpool_objects_ops ops = { sizeof(ops), construct, NULL, destruct };
	static void *held[MANY];
	start();
	u_acquire(blocks, MANY, SMALL);
	cr_assert_eq(bufpool_objects_create(&o, &ops, NULL), 0);
	for (size_t i = 0; i < MANY; i++)
		held[i] = bufpool_objects_acquire(o);
	for (size_t i = 0; i < MANY; i++)
		bufpool_objects_release(o, held[i]);
	engine = bp_objects_engine(o);
	cr_assert_gt(atomic_load(&bp_pool_shared(engine, bp_pool_epoch(engine))->magazines), 1);
}

static void release_all_that_were_made(void)
{
	u_release(blocks, MANY);
	while (bp_inherit_step(engine))
		;
	bp_epoch_trim(U_POOL, 0);
	u_surely(given >= MANY);
	u_surely(found == 0);
}

/* Objects that are blocks, which their program knows and releases though their pool is lost to the child. */
Test(inherit, what_object_pools_keep_is_left_alone)
{
	cache_objects();
	in_threaded_child(release_all_that_were_made);
}

/* Its memory may be anybody's from its end on. */
Test(inherit, what_ends_has_left_before)
{
	cache_objects();
	bufpool_objects_destroy(o);
	cr_assert_eq(given, MANY);
	cr_assert_eq(found, 0);
}

/* ---- forks from a signal handler, above this thread's own slow path, which goes on in the child ---- */

static uint32_t in_hand;

static void go_on_with_a_magazine(void)
{
	for (size_t i = 0; i < 10; i++)
		*bp_mark_of(blocks[i]) = bp_mark_value(blocks[i]);
	bp_magazine_fill(in_hand, blocks, 10, false);
	bp_pool_put(U_POOL, shared(), class(), in_hand);
	while (bp_inherit_step(U_POOL))
		;
	u_surely(bp_pool_take(U_POOL, shared(), class()) == in_hand);
	u_surely(bp_magazine_count(in_hand) == 10);
	for (int i = 0; i < 1000; i++)
		u_surely(bp_magazine_new() != in_hand);
}

Test(inherit, a_magazine_in_this_threads_hands_stays_there)
{
	start();
	u_acquire(blocks, MANY, SMALL);
	put(shared(), blocks + 10, MANY - 10);
	in_hand = bp_magazine_new();
	in_threaded_child(go_on_with_a_magazine);
	bp_magazine_free(in_hand);
	in_threaded_child(give_back_in_steps);
}

static void **outer;

static void is_another(void **out)
{
	u_surely(out != outer);
}

static void fill_in_between(void)
{
	in_fill = is_another;
	u_surely(u_get(SMALL, false) != NULL);
	u_surely(in_fill == NULL);
}

static void fork_in_fill(void **out)
{
	outer = out;
	in_threaded_child(fill_in_between);
}

Test(inherit, a_fill_goes_on_in_its_own_buffer)
{
	start();
	in_fill = fork_in_fill;
	cr_assert_not_null(u_get(SMALL, false));
	cr_assert_null(in_fill);
}

static pid_t child = -1;

static void fork_on_a_visit(struct bp_pool *pool, void *ctx)
{
	(void)pool, (void)ctx;
	child = fork();
}

/* The end of a pool waits for visits: it must not for one that was begun in the parent. */
Test(inherit, a_visit_that_goes_on_is_none_of_the_child)
{
	static const struct bp_pool_rules rules = { .name = "visited" };
	struct bp_pool *pool;
	int status = -1;
	start();
	cr_assert_eq(bp_pools_create(&pool, &rules), 0);
	__libc_single_threaded = false;
	bp_pools_visit(fork_on_a_visit, NULL, false);
	if (child == 0) {
		alarm(10);
		bp_pools_destroy(pool);
		_exit(0);
	}
	cr_assert_gt(child, 0);
	waitpid(child, &status, 0);
	cr_assert_eq(status, 0, "status %x", status);
	bp_pools_destroy(pool);
}
