/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for Lua 5.4 (the hook has been the same since 5.1): a state whose every object comes from a pool. Include
 * <lua.h> first, lua.hpp in C++.
 *
 *	lua_State *L = bufpool_lua_create(NULL);
 *	luaL_openlibs(L);
 *
 * Lua says how large a block is when it gives it back, so that each release is a sized one; a size that is wrong
 * (something wrote over Lua's own objects) is detected.
 *
 * Who frees: lua_close, everything. Strings and userdata are the state's. A pool for one state alone can be destroyed
 * instead of closing the state where nothing in it has a __gc or __close that must run.
 */
#ifndef BUFPOOL_ADAPTERS_LUA_H
#define BUFPOOL_ADAPTERS_LUA_H

#include "bufpool/adapters/shapes.h"

#ifdef lua_h

/* In place of luaL_newstate. NULL: no memory. Unlike there no panic function is set: an error outside of lua_pcall ends
 * in abort without a message; lua_atpanic and lua_setwarnf are the caller's. Any thread. */
static inline lua_State *bufpool_lua_create(struct bufpool *pool)
{
	return lua_newstate(bufpool_hook_ctx_sized_realloc, pool);
}

#endif
#endif
