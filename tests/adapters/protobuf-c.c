/* SPDX-License-Identifier: BSD-2-Clause
 *
 * protobuf-c's messages from a pool: what is unpacked packs to the same bytes again.
 */
#include "record.h"

#include <bufpool/adapters/protobuf-c.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

TestSuite(protobuf_c, .timeout = 60);

enum { CHILDREN = 50 };

static uint8_t packed[65536];
static size_t packed_size;

/* A record with children that have names, numbers and data. */
static void prepare(void)
{
	static struct record root, children[CHILDREN], *pointers[CHILDREN];
	static char names[CHILDREN][64];
	static uint32_t numbers[CHILDREN];

	record_init(&root);
	for (uint32_t i = 0; i < CHILDREN; i++) {
		record_init(pointers[i] = &children[i]);
		snprintf(names[i], sizeof(names[i]), "child number %u", i);
		numbers[i] = i * i * i;
		children[i].name = names[i];
		children[i].n_numbers = i;
		children[i].numbers = numbers;
		children[i].data = (ProtobufCBinaryData){ 3 * i, (uint8_t *)names };
	}
	root.n_children = CHILDREN;
	root.children = pointers;
	packed_size = protobuf_c_message_pack(&root.base, packed);
	cr_assert(packed_size > 5000 && packed_size <= sizeof(packed));
}

/* False where protobuf-c reports that it got no memory. */
static bool unpacks(ProtobufCAllocator *allocator)
{
	ProtobufCMessage *message = protobuf_c_message_unpack(&record_descriptor, allocator, packed_size, packed);
	static uint8_t again[sizeof(packed)];

	if (!message)
		return false;
	cr_assert_eq(((struct record *)message)->n_children, CHILDREN);
	cr_assert_eq(protobuf_c_message_pack(message, again), packed_size);
	cr_assert(!memcmp(again, packed, packed_size));
	protobuf_c_message_free_unpacked(message, allocator);
	return true;
}

Test(protobuf_c, messages_are_what_they_are_without_hooks, .init = prepare)
{
	ProtobufCAllocator allocator = bufpool_protobuf_c_allocator(NULL);

	cr_assert(unpacks(NULL));
	t_begin();
	cr_assert(unpacks(&allocator));
	cr_assert_gt(t_asked(), 4 * CHILDREN - 10);
	t_end();
}

Test(protobuf_c, a_pool_of_ones_own, .init = prepare)
{
	struct bufpool_stats s = { .size = sizeof(s) };
	ProtobufCAllocator allocator;
	struct bufpool *pool;

	cr_assert_eq(bufpool_create(&pool, NULL), 0);
	t_begin();
	allocator = bufpool_protobuf_c_allocator(pool);
	cr_assert(unpacks(&allocator));
	cr_assert_eq(bufpool_stats_get(&s, pool), 0);
	cr_assert_eq(s.acquired, t_asked());
	cr_assert_eq(s.in_use, 0);
	t_end();
	bufpool_destroy(pool);
}

Test(protobuf_c, a_buffer_grows_in_the_pool, .init = prepare)
{
	ProtobufCAllocator allocator = bufpool_protobuf_c_allocator(NULL);
	ProtobufCMessage *message;
	uint8_t first[16];
	int64_t out;

	t_begin();
	message = protobuf_c_message_unpack(&record_descriptor, &allocator, packed_size, packed);
	cr_assert_not_null(message);
	{
		ProtobufCBufferSimple buffer = PROTOBUF_C_BUFFER_SIMPLE_INIT(first);

		buffer.allocator = &allocator;
		out = t_out();
		cr_assert_eq(protobuf_c_message_pack_to_buffer(message, &buffer.base), packed_size);
		cr_assert_eq(buffer.len, packed_size);
		cr_assert(!memcmp(buffer.data, packed, packed_size));
		cr_assert(buffer.data != first && t_out() == out + 1);
		PROTOBUF_C_BUFFER_SIMPLE_CLEAR(&buffer);
		cr_assert_eq(t_out(), out);
	}
	protobuf_c_message_free_unpacked(message, &allocator);
	t_end();
}

static enum t_outcome work(void *unused)
{
	ProtobufCAllocator allocator = bufpool_protobuf_c_allocator(NULL);

	(void)unused;
	return unpacks(&allocator) ? T_DONE : T_REPORTED;
}

Test(protobuf_c, every_refusal_is_reported, .init = prepare)
{
	struct t_sweep s;

	t_begin();
	s = t_sweep(work, NULL);
	cr_assert_gt(s.asked, 4 * CHILDREN - 10);
	cr_assert_eq(s.reported, 2 * s.asked);
	t_end();
}
