/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for libevent (2.x): bases, events, buffers, connections. Include <event2/event.h> first.
 *
 * Who frees: libevent's own functions (event_free, evbuffer_free, evhttp_uri_free, …). What evbuffer_readln,
 * evhttp_encode_uri, evhttp_decode_uri, evhttp_htmlescape and their like return is said to go to free(): with these
 * hooks it goes to bufpool_release, and free() aborts or crashes. What evbuffer_add_reference points to stays the
 * caller's business.
 */
#ifndef BUFPOOL_ADAPTERS_LIBEVENT_H
#define BUFPOOL_ADAPTERS_LIBEVENT_H

#include "bufpool/adapters/shapes.h"

#ifdef EVENT2_EVENT_H_INCLUDED_

/* Programs only: a library can't know who else uses libevent. Before any other function of libevent,
 * evthread_use_pthreads included: what was allocated before would be released into the pool, which aborts. Can't fail,
 * and can't tell that it came too late. */
static inline void bufpool_libevent_install_process(void)
{
	event_set_mem_functions(bufpool_acquire, bufpool_hook_realloc, bufpool_release);
}

#endif
#endif
