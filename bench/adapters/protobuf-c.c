/* SPDX-License-Identifier: BSD-2-Clause
 *
 * protobuf-c: messages are unpacked and freed, small ones and one with many parts. The message is that of the tests.
 */
#include "workload.h"
#include "../../tests/adapters/record.h"

#include <bufpool/adapters/protobuf-c.h>

static ProtobufCAllocator allocator, *used; /* NULL: libc's malloc */
static uint8_t *packed;
static size_t size;

void bench_install(void)
{
	allocator = bufpool_protobuf_c_allocator(NULL);
	used = &allocator;
}

static void prepare(size_t count)
{
	static uint32_t numbers[] = { 1, 20, 300, 4000, 50000, 600000, 7000000 };
	struct record root, *children = calloc(count, sizeof(*children)), **pointers = calloc(count, sizeof(*pointers));

	bench_expect(children && pointers, "out of memory");
	record_init(&root);
	for (size_t i = 0; i < count; i++) {
		record_init(pointers[i] = &children[i]);
		children[i].name = i % 2 ? "a name" : "another name, which is longer";
		children[i].numbers = numbers;
		children[i].n_numbers = i % 8;
		children[i].data = (ProtobufCBinaryData){ 10 * (i % 5), (uint8_t *)numbers };
	}
	root.name = "root";
	root.n_children = count;
	root.children = pointers;
	size = protobuf_c_message_get_packed_size(&root.base);
	packed = malloc(size);
	bench_expect(packed && protobuf_c_message_pack(&root.base, packed) == size, "protobuf-c: not packed");
	free(children);
	free(pointers);
}

static void prepare_small(void)
{
	prepare(5);
}

static void prepare_large(void)
{
	prepare(5000);
}

static void unpack(void)
{
	ProtobufCMessage *message = protobuf_c_message_unpack(&record_descriptor, used, size, packed);

	bench_expect(message && !strcmp(((struct record *)message)->name, "root"), "protobuf-c: not unpacked");
	protobuf_c_message_free_unpacked(message, used);
}

static size_t lap_small(void)
{
	for (int i = 0; i < 200; i++)
		unpack();
	return 200;
}

static size_t lap_large(void)
{
	unpack();
	return 1;
}

const struct bench_workload bench_workloads[] = {
	{ "protobuf-c-small", "messages", prepare_small, lap_small, 0, 0 },
	{ "protobuf-c-large", "messages", prepare_large, lap_large, 0, 0 },
	{ 0 },
};
