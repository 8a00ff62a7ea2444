/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for libuv: the buffers that streams and UDP sockets read into, and, apart from that, libuv's own memory.
 * Include <uv.h> first.
 *
 *	uv_read_start(stream, bufpool_libuv_alloc_cb, on_read);
 *
 *	static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
 *	{
 *		if (nread > 0)
 *			consume(buf->base, nread);
 *		bufpool_libuv_release(buf);
 *	}
 *
 * libuv suggests 65536 bytes for each read: the pool's largest class under the default cap, where malloc would cut or
 * map it each time. A read gets a block only when there is something to read.
 *
 * Who frees: read_cb gets the buffer for good, in every case (also with nread 0, UV_EOF and other errors; base is NULL
 * where alloc_cb had none, and release takes that). It may keep the block and release it later, on any thread. A few
 * bytes of it that are to be kept are better copied out (bufpool/bytes.h) than left to hold 64 KiB.
 * UDP with UV_UDP_RECVMMSG is different: several callbacks share one buffer (flag UV_UDP_MMSG_CHUNK), and only the one
 * with UV_UDP_MMSG_FREE or without a chunk releases it; its suggestion is 1.3 MB, over the cap.
 */
#ifndef BUFPOOL_ADAPTERS_LIBUV_H
#define BUFPOOL_ADAPTERS_LIBUV_H

#include "bufpool/adapters/shapes.h"

#ifdef UV_H

/* For an alloc_cb of your own: with a named pool, or with less than libuv suggests. Where there is no memory buf->base
 * is NULL, and libuv calls read_cb with UV_ENOBUFS. */
static inline void bufpool_libuv_acquire(uv_buf_t *buf, struct bufpool *pool, size_t n)
{
	buf->base = (char *)bufpool_acquire_from(pool, n);
	buf->len = buf->base != NULL ? n : 0;
}

/* The alloc_cb of uv_read_start and uv_udp_recv_start: as much as libuv suggests, from the default pool. */
static inline void bufpool_libuv_alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	(void)handle;
	bufpool_libuv_acquire(buf, NULL, suggested);
}

/* In read_cb, once for each call of it. errno stays. */
static inline void bufpool_libuv_release(const uv_buf_t *buf)
{
	bufpool_release(buf->base);
}

/* libuv's own memory: requests' buffer lists, watchers, the directories and paths it returns. Programs only, a library
 * can't know who else uses libuv. Before any other function of libuv is called, even by another library's
 * constructor: what was allocated before would be released into the pool, which aborts. 0; libuv's error can't happen
 * (UV_EINVAL for functions that are NULL).
 *
 * Without memory libuv's functions return UV_ENOMEM, but where the table of descriptors can't grow it calls abort(), as
 * it does without hooks.
 *
 * What libuv returns goes to its own functions (uv_fs_req_cleanup, uv_free_cpu_info, uv_os_free_passwd, …) as before;
 * uv_loop_new's loop to uv_loop_delete. */
static inline int bufpool_libuv_install_process(void)
{
	return uv_replace_allocator(bufpool_acquire, bufpool_hook_realloc, bufpool_hook_calloc, bufpool_release);
}

#endif
#endif
