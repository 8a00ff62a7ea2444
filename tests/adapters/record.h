/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A protobuf-c message as protoc-c would describe it, written by hand so that no compiler is needed; bench/adapters
 * uses it, too.
 *
 *	message Record {
 *		string name = 1;
 *		repeated uint32 numbers = 2;
 *		repeated Record children = 3;
 *		bytes data = 4;
 *	}
 */
#ifndef BUFPOOL_TESTS_ADAPTERS_RECORD_H
#define BUFPOOL_TESTS_ADAPTERS_RECORD_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <string.h>

struct record {
	ProtobufCMessage base;
	char *name;
	size_t n_numbers;
	uint32_t *numbers;
	size_t n_children;
	struct record **children;
	ProtobufCBinaryData data;
};

static const ProtobufCMessageDescriptor record_descriptor;

static void record_init(struct record *r)
{
	static const struct record zero = { .base = PROTOBUF_C_MESSAGE_INIT(&record_descriptor),
		.name = (char *)protobuf_c_empty_string };

	*r = zero;
}

static const ProtobufCFieldDescriptor record_fields[] = {
	{ .name = "name", .id = 1, .label = PROTOBUF_C_LABEL_NONE, .type = PROTOBUF_C_TYPE_STRING,
	  .offset = offsetof(struct record, name), .default_value = protobuf_c_empty_string },
	{ .name = "numbers", .id = 2, .label = PROTOBUF_C_LABEL_REPEATED, .type = PROTOBUF_C_TYPE_UINT32,
	  .quantifier_offset = offsetof(struct record, n_numbers), .offset = offsetof(struct record, numbers),
	  .flags = PROTOBUF_C_FIELD_FLAG_PACKED },
	{ .name = "children", .id = 3, .label = PROTOBUF_C_LABEL_REPEATED, .type = PROTOBUF_C_TYPE_MESSAGE,
	  .quantifier_offset = offsetof(struct record, n_children), .offset = offsetof(struct record, children),
	  .descriptor = &record_descriptor },
	{ .name = "data", .id = 4, .label = PROTOBUF_C_LABEL_NONE, .type = PROTOBUF_C_TYPE_BYTES,
	  .offset = offsetof(struct record, data) },
};
static const unsigned record_by_name[] = { 2, 3, 0, 1 };
static const ProtobufCIntRange record_ranges[] = { { 1, 0 }, { 0, 4 } };

static const ProtobufCMessageDescriptor record_descriptor = {
	.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC, .name = "Record", .short_name = "Record", .c_name = "Record",
	.package_name = "", .sizeof_message = sizeof(struct record), .n_fields = 4, .fields = record_fields,
	.fields_sorted_by_name = record_by_name, .n_field_ranges = 1, .field_ranges = record_ranges,
	.message_init = (ProtobufCMessageInit)record_init,
};

#endif
