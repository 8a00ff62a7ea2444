/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Lua on a pool. The script (data/script.lua) uses what Lua allocates: strings, tables that grow, closures, coroutines,
 * userdata of the libraries, patterns, errors, collections; its result must be that of a state on malloc.
 */
#include <lua.h>
#include <lualib.h>
#include <lauxlib.h>

#include <bufpool/adapters/lua.h>
#include "script.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(lua, .timeout = 120);

/* All of it under lua_pcall: outside, an error in Lua is a panic. */
static int work(lua_State *L)
{
	const struct t_script *script = lua_touserdata(L, 1);

	luaL_openlibs(L);
	if (luaL_loadbuffer(L, script->text, script->size, "script") != LUA_OK)
		return lua_error(L);
	lua_pushinteger(L, script->rounds);
	lua_call(L, 1, 1);
	return 1;
}

/* The script's result, from malloc; NULL where Lua said that it has no memory. */
static char *result(lua_State *L, const struct t_script *script)
{
	char *text = NULL;
	int status;

	if (!L)
		return NULL;
	lua_pushcfunction(L, work);
	lua_pushlightuserdata(L, (void *)script);
	status = lua_pcall(L, 1, 1, 0);
	if (status == LUA_OK)
		text = strdup(lua_tostring(L, -1));
	else
		cr_assert_eq(status, LUA_ERRMEM, "%s", lua_tostring(L, -1));
	lua_close(L);
	return text;
}

static char *run(const struct t_script *script)
{
	return result(script->hooked ? bufpool_lua_create(script->pool) : luaL_newstate(), script);
}

Test(lua, a_script_gives_what_it_gives_without_hooks)
{
	t_script_same(run, "script.lua", 200, 20000);
}

Test(lua, everything_lies_in_the_pool_until_the_state_is_closed)
{
	lua_State *L;
	int64_t before;

	t_begin();
	L = bufpool_lua_create(NULL);
	cr_assert_not_null(L);
	luaL_openlibs(L);
	before = t_out();
	cr_assert_gt(before, 100);
	cr_assert_eq(luaL_dostring(L, "kept = {} for i = 1, 1000 do kept[i] = {i} end"), LUA_OK);
	cr_assert_gt(t_out(), before + 1000);
	lua_close(L);
	t_end();
}

Test(lua, a_pool_of_ones_own)
{
	t_script_own_pool(run, "script.lua");
}

Test(lua, destroying_the_pool_ends_a_state)
{
	const struct bufpool_conf conf = { .size = sizeof(conf), .name = "of a state" };
	struct bufpool *pool;
	lua_State *L;

	cr_assert_eq(bufpool_create(&pool, &conf), 0);
	L = bufpool_lua_create(pool);
	cr_assert_not_null(L);
	luaL_openlibs(L);
	cr_assert_eq(luaL_dostring(L, "kept = {} for i = 1, 1000 do kept[i] = {i} end"), LUA_OK);
	bufpool_destroy(pool);
}

/* A refusal makes Lua collect and ask again, so that many runs survive the one where a single request is refused. */
Test(lua, every_refusal_is_reported_or_survived)
{
	struct t_script script;
	struct t_sweep s;

	t_script_begin(&script, run, "script.lua", 1);
	t_begin();
	s = t_sweep(t_script_work, &script);
	cr_assert_gt(s.asked, 500);
	cr_assert_eq(s.reported + s.survived, 2 * s.asked);
	cr_assert_geq(s.reported, s.asked - 50, "of %zu refused onwards %zu were reported", s.asked, s.reported);
	cr_assert_gt(s.survived, 0);
	t_end();
	t_script_end(&script);
}
