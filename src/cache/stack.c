/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See stack.h. Links and counts lie apart from the rows of pointers, so that walking a list of free magazines touches
 * 8 bytes each and the rows can be given back to the kernel while their magazines are free.
 *
 * Memory order. A push publishes a magazine's row and count: release on the head. A pop that wins reads them: acquire on
 * the head. The load of `next` before the exchange may be of a magazine that is gone; then the tag has changed and the
 * exchange fails, so relaxed is enough.
 */
#include "cache/stack.h"

#include <sched.h>

#include "sys/os.h"

enum {
	MAGAZINES_MAX = 1 << 18,      /* 64 million cached blocks; beyond that releases go to the backend */
	ROW_BYTES = BP_MAGAZINE_SLOTS * sizeof(void *),
	ROWS_PER_PAGE = BP_PAGE / ROW_BYTES,
	SPARE = 16,                   /* so many left: time to commit more */
	COMMIT = 64,                  /* magazines at a time: 128 KiB of rows, 512 bytes of links */
};

struct link {
	_Atomic uint32_t next;
	uint32_t count; /* the holder's */
};

static struct link *links;
static void *(*rows)[BP_MAGAZINE_SLOTS];
static struct bp_stack free_list;
static _Atomic uint32_t free_count;
static _Atomic uint32_t table_size;
static _Atomic uint32_t used = 1;      /* magazines ever taken; 0 is none */
static _Atomic uint32_t committed = 0; /* below this, rows and links are there */
static atomic_flag committing = ATOMIC_FLAG_INIT;
static atomic_flag purging = ATOMIC_FLAG_INIT;
/* Magazines that this thread has taken and not put anywhere yet; in between more, but never fewer: a signal handler that forks
 * looks at it, before which the fences keep what the compiler would put behind. */
static __thread unsigned in_hands __attribute__((tls_model("initial-exec")));

static void takes_one(void)
{
	in_hands++;
	atomic_signal_fence(memory_order_seq_cst);
}

static void has_put_one(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	in_hands--;
}

bool bp_magazines_start(size_t magazines)
{
	uint32_t size = magazines < MAGAZINES_MAX ? (uint32_t)(magazines & ~(size_t)(COMMIT - 1)) : MAGAZINES_MAX;
	size_t link_bytes = bp_round_up(size * sizeof(struct link), BP_PAGE);
	size_t row_bytes = (size_t)size * ROW_BYTES;
	if (size == 0)
		return false;
	char *space = bp_os_reserve(link_bytes, BP_PAGE);
	char *more = space == NULL ? NULL : bp_os_reserve(row_bytes, BP_PAGE);
	if (more == NULL) {
		if (space != NULL)
			bp_os_unmap(space, link_bytes);
		return false;
	}
	links = (struct link *)space;
	rows = (void *(*)[BP_MAGAZINE_SLOTS])more;
	atomic_store_explicit(&table_size, size, memory_order_seq_cst);
	return true;
}

/* Ends the table there, or behind what may be being committed now: what the last value of `committed` leads to. Who
 * starts from a later one finds the new end, for both sides look at one after the other (seq_cst; see commit). */
static uint32_t end_table(uint32_t now, size_t wanted)
{
	uint32_t from, size;
	do {
		from = atomic_load_explicit(&committed, memory_order_seq_cst);
		size = from + COMMIT > wanted ? from + COMMIT : (uint32_t)wanted;
		size = size < now ? size : now;
		atomic_store_explicit(&table_size, size, memory_order_seq_cst);
	} while (atomic_load_explicit(&committed, memory_order_seq_cst) != from);
	return size;
}

size_t bp_magazines_reserved(void)
{
	return atomic_load_explicit(&table_size, memory_order_relaxed) * (ROW_BYTES + sizeof(struct link));
}

void bp_magazines_shrink(size_t magazines)
{
	while (atomic_flag_test_and_set_explicit(&committing, memory_order_acquire))
		sched_yield();
	uint32_t now = atomic_load_explicit(&table_size, memory_order_relaxed);
	size_t wanted = magazines & ~(size_t)(COMMIT - 1);
	uint32_t size = wanted < now ? end_table(now, wanted) : now;
	if (size < now) {
		size_t link_bytes = bp_round_up(size * sizeof(struct link), BP_PAGE);
		size_t before = bp_round_up(now * sizeof(struct link), BP_PAGE);
		bp_os_unmap(rows + size, (size_t)(now - size) * ROW_BYTES);
		if (link_bytes < before)
			bp_os_unmap((char *)links + link_bytes, before - link_bytes);
	}
	atomic_flag_clear_explicit(&committing, memory_order_release);
}

/* Those from `from` on, a value of `committed`. Any number of threads may do it at once, and a handler in the middle of
 * it: all do the same, and the first to have done it says so. */
static void commit(uint32_t from)
{
	if (from + COMMIT > atomic_load_explicit(&table_size, memory_order_seq_cst) ||
	    !bp_os_commit(rows + from, (size_t)COMMIT * ROW_BYTES) ||
	    (from * sizeof(struct link) % BP_PAGE == 0 && !bp_os_commit(links + from, BP_PAGE)))
		return;
	atomic_compare_exchange_strong_explicit(&committed, &from, from + COMMIT, memory_order_seq_cst,
						memory_order_relaxed);
}

/* Early: while one thread is at it, or has been interrupted there, the others take from the rest. */
static void commit_ahead(uint32_t from)
{
	if (atomic_flag_test_and_set_explicit(&committing, memory_order_acquire))
		return;
	commit(from);
	atomic_flag_clear_explicit(&committing, memory_order_release);
}

uint32_t bp_magazine_new(void)
{
	uint32_t m = bp_stack_pop(&free_list);
	if (m != 0) {
		atomic_fetch_sub_explicit(&free_count, 1, memory_order_relaxed);
		return m;
	}
	takes_one();
	uint32_t next = atomic_load_explicit(&used, memory_order_relaxed);
	do {
		uint32_t end = atomic_load_explicit(&committed, memory_order_seq_cst);
		/* There is no rest at first, nor where it was used up: nobody waits for who is at it, nor does without.
		 * What a handler inside jemalloc releases has nowhere else to go. */
		if (next >= end)
			commit(end);
		else if (next + SPARE >= end)
			commit_ahead(end);
		if (next >= atomic_load_explicit(&committed, memory_order_acquire)) {
			has_put_one();
			return 0;
		}
	} while (!atomic_compare_exchange_weak_explicit(&used, &next, next + 1, memory_order_relaxed,
							memory_order_relaxed));
	return next;
}

void bp_magazine_free(uint32_t m)
{
	links[m].count = 0;
	atomic_fetch_add_explicit(&free_count, 1, memory_order_relaxed);
	bp_stack_push(&free_list, m);
}

void **bp_magazine_slots(uint32_t m)
{
	return rows[m];
}

uint32_t bp_magazine_count(uint32_t m)
{
	return links[m].count;
}

void bp_magazine_set_count(uint32_t m, uint32_t count)
{
	links[m].count = count;
}

/* ---- order: descending, so that the lowest is popped first ---- */

/* Ends early where more than `moves` would have to be made. */
static void insert(void **slots, uint32_t n, ptrdiff_t moves)
{
	for (void **next = slots + 1; next < slots + n && moves >= 0; next++) {
		void *p = *next, **place = next;
		for (; place > slots && (uintptr_t)place[-1] < (uintptr_t)p; place--)
			*place = place[-1];
		*place = p;
		moves -= next - place;
	}
}

/* Divides what lies between the least and the most into equal parts and puts the blocks in the order of those: one step of
 * a bucket sort, which leaves little to insertion. */
static void spread(void **slots, void *const *from, uint32_t n)
{
	uint16_t place[BP_MAGAZINE_SLOTS + 1] = { 0 };
	uintptr_t least = UINTPTR_MAX, most = 0;
	for (uint32_t i = 0; i < n; i++) {
		least = (uintptr_t)from[i] < least ? (uintptr_t)from[i] : least;
		most = (uintptr_t)from[i] > most ? (uintptr_t)from[i] : most;
	}
	/* Parts of 2^shift bytes: at most as many as slots, and half as many or more unless the row is that short. */
	int shift = 1 + __builtin_clzl(BP_MAGAZINE_SLOTS) - __builtin_clzl((most - least) | BP_MAGAZINE_SLOTS);
	for (uint32_t i = 0; i < n; i++)
		place[((most - (uintptr_t)from[i]) >> shift) + 1]++;
	for (uint32_t i = 1; i < BP_MAGAZINE_SLOTS; i++)
		place[i] += place[i - 1];
	for (uint32_t i = 0; i < n; i++)
		slots[place[(most - (uintptr_t)from[i]) >> shift]++] = from[i];
}

static bool are_neighbours(void *const *blocks, uint32_t n)
{
	uint32_t far = 0;
	for (uint32_t i = 1; i < n; i++)
		far += (uintptr_t)blocks[i - 1] - (uintptr_t)blocks[i] + BP_ROW_NEAR > 2 * (uintptr_t)BP_ROW_NEAR;
	return far <= n / BP_ROW_FAR;
}

/* A row of neighbours is as good in any order. In any other one blocks near each other are brought together first. That leaves
 * little to insertion, unless one block lies so far away that all others share a bucket; then it is given up. */
void bp_magazine_fill(uint32_t m, void *const *blocks, uint32_t n, bool sorted)
{
	void **slots = rows[m];
	if (!sorted || are_neighbours(blocks, n)) {
		__builtin_memcpy(slots, blocks, n * sizeof(*slots));
	} else {
		spread(slots, blocks, n);
		insert(slots, n, 8 * (ptrdiff_t)n);
	}
	links[m].count = n;
}

void bp_row_turn_round(void **slots, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		void *p = slots[i];
		slots[i] = slots[n - 1 - i];
		slots[n - 1 - i] = p;
	}
}

static uint64_t head_of(uint64_t old, uint32_t top)
{
	return ((old >> 32) + 1) << 32 | top;
}

void bp_stack_push(struct bp_stack *s, uint32_t m)
{
	uint64_t head = atomic_load_explicit(&s->head, memory_order_relaxed);
	do {
		atomic_store_explicit(&links[m].next, (uint32_t)head, memory_order_relaxed);
		/* Pairs with the acquire in bp_stack_pop: row, count and next go with it. */
	} while (!atomic_compare_exchange_weak_explicit(&s->head, &head, head_of(head, m), memory_order_release,
							memory_order_relaxed));
	has_put_one();
}

uint32_t bp_stack_pop(struct bp_stack *s)
{
	takes_one();
	uint64_t head = atomic_load_explicit(&s->head, memory_order_acquire);
	while ((uint32_t)head != 0) {
		uint32_t next = atomic_load_explicit(&links[(uint32_t)head].next, memory_order_relaxed);
		if (atomic_compare_exchange_weak_explicit(&s->head, &head, head_of(head, next), memory_order_acquire,
							  memory_order_acquire))
			return (uint32_t)head;
	}
	has_put_one();
	return 0;
}

bool bp_stack_is_empty(struct bp_stack *s)
{
	return (uint32_t)atomic_load_explicit(&s->head, memory_order_relaxed) == 0;
}

/* ---- memory ---- */

/* Which magazines are on the chain that this thread took off the free list: one bit each, used under `purging`. */
BP_REMOTE uint8_t bp_stack_on_chain[MAGAZINES_MAX / 8];

static uint32_t take_all(struct bp_stack *s)
{
	uint64_t head = atomic_load_explicit(&s->head, memory_order_acquire);
	while (!atomic_compare_exchange_weak_explicit(&s->head, &head, head_of(head, 0), memory_order_acquire,
						      memory_order_acquire))
		;
	return (uint32_t)head;
}

static bool is_free(uint32_t page)
{
	uint32_t first = page * ROWS_PER_PAGE, all = (1u << ROWS_PER_PAGE) - 1;
	_Static_assert(8 % ROWS_PER_PAGE == 0, "the bits of a page lie in one byte");
	return (bp_stack_on_chain[first / 8] >> first % 8 & all) == all;
}

static void purge_pages(uint32_t top)
{
	uint32_t pages = top / ROWS_PER_PAGE + 1, first = 0;
	for (uint32_t page = 0; page <= pages; page++) {
		bool whole = page < pages && is_free(page);
		if (whole && first == 0)
			first = page + 1;
		if (!whole && first != 0) {
			bp_os_purge(rows + (first - 1) * ROWS_PER_PAGE, (size_t)(page - first + 1) * BP_PAGE);
			first = 0;
		}
	}
	__builtin_memset(bp_stack_on_chain, 0, top / 8 + 1);
}

void bp_magazines_purge(void)
{
	if (atomic_flag_test_and_set_explicit(&purging, memory_order_acquire))
		return;
	takes_one(); /* the chain */
	uint32_t chain = take_all(&free_list), top = 0;
	for (uint32_t m = chain; m != 0; m = atomic_load_explicit(&links[m].next, memory_order_relaxed)) {
		bp_stack_on_chain[m / 8] |= (uint8_t)(1u << m % 8);
		top = m > top ? m : top;
	}
	purge_pages(top);
	while (chain != 0) {
		uint32_t next = atomic_load_explicit(&links[chain].next, memory_order_relaxed);
		takes_one();
		bp_stack_push(&free_list, chain);
		chain = next;
	}
	has_put_one();
	atomic_flag_clear_explicit(&purging, memory_order_release);
}

uint32_t bp_magazines_used(void)
{
	return atomic_load_explicit(&used, memory_order_relaxed);
}

void bp_magazines_child(uint32_t first)
{
	free_list = (struct bp_stack){ 0 };
	atomic_store_explicit(&free_count, 0, memory_order_relaxed);
	atomic_store_explicit(&used, first, memory_order_relaxed);
	atomic_flag_clear_explicit(&committing, memory_order_relaxed);
	atomic_flag_clear_explicit(&purging, memory_order_relaxed);
	__builtin_memset(bp_stack_on_chain, 0, atomic_load_explicit(&committed, memory_order_relaxed) / 8);
}

/* A copy that was made in the middle of something may have no end: it is given one. */
void bp_stack_forget(struct bp_stack *s)
{
	uint32_t m = (uint32_t)atomic_load_explicit(&s->head, memory_order_relaxed);
	for (uint32_t left = bp_magazines_used(); m != 0 && left > 0; left--) {
		links[m].count = 0;
		m = atomic_load_explicit(&links[m].next, memory_order_relaxed);
	}
}

void bp_magazine_adopt(uint32_t m)
{
	takes_one();
	bp_magazine_free(m);
}

bool bp_magazines_in_hands(void)
{
	return in_hands != 0;
}

size_t bp_magazines_bytes(void)
{
	return (size_t)atomic_load_explicit(&used, memory_order_relaxed) * (ROW_BYTES + sizeof(struct link));
}

uint32_t bp_magazines_free(void)
{
	return atomic_load_explicit(&free_count, memory_order_relaxed);
}
