/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool: protobuf-c's messages from a pool.
 *
 *	#include <protobuf-c/protobuf-c.h>
 *	#include <bufpool/adapters/protobuf-c.h>
 *
 *	ProtobufCAllocator allocator = bufpool_protobuf_c_allocator(NULL);
 *	Person *person = person__unpack(&allocator, length, data);
 *	person__free_unpacked(person, &allocator);
 *
 * Who frees: …__free_unpacked with an allocator of these, that of the same pool or of any other; with NULL it would
 * call free(), which doesn't know the blocks. Fields that the program sets in an unpacked message are freed along
 * with it and must be from bufpool_acquire then. A ProtobufCBufferSimple whose `allocator` points to one of these is
 * emptied by PROTOBUF_C_BUFFER_SIMPLE_CLEAR.
 */
#ifndef BUFPOOL_ADAPTERS_PROTOBUF_C_H
#define BUFPOOL_ADAPTERS_PROTOBUF_C_H

#include "bufpool/adapters/shapes.h"

#ifdef PROTOBUF_C_H

static inline ProtobufCAllocator bufpool_protobuf_c_allocator(struct bufpool *pool)
{
	ProtobufCAllocator allocator = { bufpool_hook_ctx_malloc, bufpool_hook_ctx_free, pool };

	return allocator;
}

#endif
#endif
