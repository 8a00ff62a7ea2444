/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See leaks.h. Fields are relaxed: the node's address orders them (release by who notes, acquire by who reads).
 */
#include "cache/leaks.h"

#include "sys/unwind.h"

enum {
	BUCKET_BITS = 18,
	PLACES_MOST = 1 << 23, /* blocks that can be noted at once: 1.3 GB of addresses, used as needed */
	PLACES_LEAST = 1 << 16,
	PLACES_STEP = 1 << 12, /* whose memory is asked for at once */
};

/* What a node's address is where it is none's: free, or in somebody's hands. */
#define FREE ((uintptr_t)0)
#define TAKEN ((uintptr_t)1)

struct node {
	_Atomic uintptr_t address;
	_Atomic uint32_t record;
	uint32_t next; /* in the bucket's chain: index + 1; never changes */
};

struct record {
	_Atomic size_t size;
	_Atomic uint64_t ms;
	_Atomic(struct bp_pool *) pool;
	_Atomic int64_t referenced;
	_Atomic uint32_t thread, depth;
	_Atomic uint32_t next; /* where free: index + 1 of the next free one */
	_Atomic uintptr_t stack[BP_LEAK_DEPTH];
};

/* A row of things of which the first `used` have been taken once. */
struct row {
	char *data;
	size_t each;
	_Atomic uint32_t used, committed;
};

static struct row nodes = { .each = sizeof(struct node) }, records = { .each = sizeof(struct record) };
static uint32_t places;
static _Atomic uint64_t free_records; /* tag << 32 | index + 1: every change counts the tag up (stack.h says why) */
static _Atomic uint64_t missed;
BP_REMOTE _Atomic uint32_t bp_leaks_buckets[1 << BUCKET_BITS]; /* index + 1 of the first node */

_Static_assert(PLACES_STEP * sizeof(struct node) % BP_PAGE == 0 && PLACES_STEP * sizeof(struct record) % BP_PAGE == 0 &&
	       PLACES_LEAST % PLACES_STEP == 0, "steps are whole pages");

#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
/* Both ways: who takes something sees what became of it before, and who finds that another has, too. */
#define EXCHANGE(field, expected, value)                                                                        \
	atomic_compare_exchange_strong_explicit(&(field), (expected), (value), memory_order_acq_rel, memory_order_acquire)

static struct node *node_at(uint32_t i)
{
	return (struct node *)(nodes.data + i * sizeof(struct node));
}

static struct record *record_at(uint32_t i)
{
	return (struct record *)(records.data + i * sizeof(struct record));
}

bool bp_leaks_start(void)
{
	for (uint32_t n = PLACES_MOST; n >= PLACES_LEAST; n /= 2) {
		char *all = bp_os_reserve(n * (sizeof(struct node) + sizeof(struct record)), BP_PAGE);
		if (all == NULL)
			continue;
		nodes.data = all;
		records.data = all + n * sizeof(struct node);
		places = n;
		return true;
	}
	return false;
}

void bp_leaks_child(void)
{
	bp_unwind_child();
}

/* ---- places ---- */

/* One that was never taken. PLACES_MOST: there is no memory. Committing twice does no harm: nobody waits for another
 * who does. */
static uint32_t extend(struct row *r)
{
	uint32_t i = GET(r->used);
	do {
		uint32_t committed = GET(r->committed);
		while (i >= committed) {
			size_t bytes = PLACES_STEP * r->each;
			if (committed == places || !bp_os_commit(r->data + committed * r->each, bytes))
				return PLACES_MOST;
			if (EXCHANGE(r->committed, &committed, committed + PLACES_STEP))
				committed += PLACES_STEP;
		}
	} while (!EXCHANGE(r->used, &i, i + 1));
	return i;
}

static uint32_t new_record(void)
{
	uint64_t head = atomic_load_explicit(&free_records, memory_order_acquire);
	while ((uint32_t)head != 0) {
		uint64_t next = ((head >> 32) + 1) << 32 | GET(record_at((uint32_t)head - 1)->next);
		if (EXCHANGE(free_records, &head, next))
			return (uint32_t)head - 1;
	}
	return extend(&records);
}

static void free_record(uint32_t i)
{
	uint64_t head = GET(free_records), next;
	do {
		SET(record_at(i)->next, (uint32_t)head);
		next = ((head >> 32) + 1) << 32 | (i + 1);
	} while (!EXCHANGE(free_records, &head, next));
}

static _Atomic uint32_t *bucket_of(const void *p)
{
	return &bp_leaks_buckets[(uintptr_t)p / 16 * 0x9e3779b97f4a7c15u >> (64 - BUCKET_BITS)];
}

static struct node *next_of(uint32_t link)
{
	return link == 0 ? NULL : node_at(link - 1);
}

static struct node *first_for(const void *p)
{
	return next_of(atomic_load_explicit(bucket_of(p), memory_order_acquire));
}

/* p's node, in this caller's hands from now on. NULL: p is not noted. */
static struct node *take(const void *p)
{
	for (struct node *n = first_for(p); n != NULL; n = next_of(n->next)) {
		uintptr_t address = (uintptr_t)p;
		if (GET(n->address) == address && EXCHANGE(n->address, &address, TAKEN))
			return n;
	}
	return NULL;
}

static void put(struct node *n, uintptr_t address)
{
	atomic_store_explicit(&n->address, address, memory_order_release);
}

static struct node *new_node(const void *p)
{
	for (struct node *n = first_for(p); n != NULL; n = next_of(n->next)) {
		uintptr_t address = FREE;
		if (GET(n->address) == FREE && EXCHANGE(n->address, &address, TAKEN))
			return n;
	}
	uint32_t i = extend(&nodes);
	if (i == PLACES_MOST)
		return NULL;
	struct node *n = node_at(i);
	SET(n->address, TAKEN);
	_Atomic uint32_t *bucket = bucket_of(p);
	uint32_t first = GET(*bucket);
	do
		n->next = first;
	while (!EXCHANGE(*bucket, &first, i + 1));
	return n;
}

/* ---- notes ---- */

static void write(struct record *r, size_t size, struct bp_pool *pool)
{
	uintptr_t stack[BP_LEAK_DEPTH];
	unsigned depth = bp_unwind(stack, BP_LEAK_DEPTH);
	SET(r->size, size);
	SET(r->ms, bp_os_now_ms());
	SET(r->pool, pool);
	SET(r->referenced, -1);
	SET(r->thread, bp_unwind_thread());
	SET(r->depth, depth);
	for (unsigned i = 0; i < depth; i++)
		SET(r->stack[i], stack[i]);
}

void bp_leaks_note(const void *p, size_t size, struct bp_pool *pool)
{
	if (places == 0)
		return;
	struct node *n = take(p);
	if (n == NULL) {
		uint32_t i = new_record();
		n = i == PLACES_MOST ? NULL : new_node(p);
		if (n == NULL) {
			if (i != PLACES_MOST)
				free_record(i);
			atomic_fetch_add_explicit(&missed, 1, memory_order_relaxed);
			return;
		}
		SET(n->record, i);
	}
	write(record_at(GET(n->record)), size, pool);
	put(n, (uintptr_t)p);
}

static void forget(struct node *n)
{
	uint32_t i = GET(n->record);
	put(n, FREE);
	free_record(i);
}

void bp_leaks_forget(const void *p)
{
	struct node *n = places == 0 ? NULL : take(p);
	if (n != NULL)
		forget(n);
}

void bp_leaks_resize(const void *p, size_t size)
{
	struct node *n = places == 0 ? NULL : take(p);
	if (n == NULL)
		return;
	SET(record_at(GET(n->record))->size, size);
	put(n, (uintptr_t)p);
}

void bp_leaks_refer(const void *p, int64_t bytes)
{
	for (struct node *n = places == 0 ? NULL : first_for(p); n != NULL; n = next_of(n->next)) {
		if (atomic_load_explicit(&n->address, memory_order_acquire) != (uintptr_t)p)
			continue;
		_Atomic int64_t *referenced = &record_at(GET(n->record))->referenced;
		int64_t none = -1;
		/* The first to refer to it is alone with it. */
		if (!EXCHANGE(*referenced, &none, bytes))
			atomic_fetch_add_explicit(referenced, bytes, memory_order_relaxed);
		return;
	}
}

void bp_leaks_forget_pool(struct bp_pool *pool)
{
	for (uint32_t i = 0; i < bp_leaks_places(); i++) {
		struct node *n = node_at(i);
		uintptr_t address = atomic_load_explicit(&n->address, memory_order_acquire);
		if (address > TAKEN && GET(record_at(GET(n->record))->pool) == pool &&
		    EXCHANGE(n->address, &address, TAKEN))
			forget(n);
	}
}

/* ---- reading ---- */

uint32_t bp_leaks_places(void)
{
	return GET(nodes.used);
}

uint64_t bp_leaks_missed(void)
{
	return GET(missed);
}

bool bp_leaks_get(struct bp_leak *out, uint32_t i)
{
	struct node *n = node_at(i);
	uintptr_t address = atomic_load_explicit(&n->address, memory_order_acquire);
	if (address <= TAKEN)
		return false;
	uint32_t at = GET(n->record);
	struct record *r = record_at(at);
	*out = (struct bp_leak){
		.address = address,
		.size = GET(r->size),
		.ms = GET(r->ms),
		.pool = GET(r->pool),
		.referenced = GET(r->referenced),
		.thread = GET(r->thread),
		.depth = GET(r->depth) < BP_LEAK_DEPTH ? GET(r->depth) : BP_LEAK_DEPTH,
	};
	for (unsigned k = 0; k < out->depth; k++)
		out->stack[k] = GET(r->stack[k]);
	atomic_thread_fence(memory_order_acquire); /* the address is looked at again after that */
	return GET(n->address) == address && GET(n->record) == at;
}
