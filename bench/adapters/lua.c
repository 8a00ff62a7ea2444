/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Lua: a script from a state's creation to its end. A small one, which is mostly the libraries' tables, and one with
 * ten thousand objects.
 */
#include "workload.h"

#include <lua.h>
#include <lualib.h>
#include <lauxlib.h>

#include <bufpool/adapters/lua.h>

static const char script[] =
	"local people = ...\n"
	"local sum, names, index = 0, {}, {}\n"
	"local function person(i)\n"
	"	local p = { id = i, name = 'person ' .. i, tags = { 'a' .. i % 7, 'b' .. i % 11 } }\n"
	"	p.older = function(years) return p.id + years end\n"
	"	return p\n"
	"end\n"
	"for i = 1, people do\n"
	"	local p = person(i)\n"
	"	names[#names + 1] = p.name:upper()\n"
	"	for _, tag in ipairs(p.tags) do\n"
	"		index[tag] = index[tag] or {}\n"
	"		table.insert(index[tag], p)\n"
	"	end\n"
	"end\n"
	"for tag, list in pairs(index) do\n"
	"	for _, p in ipairs(list) do sum = sum + p.older(1) end\n"
	"end\n"
	"return sum + #table.concat(names, ',')\n";

void bench_install(void)
{
}

static int people;
static lua_Integer expected; /* each person is in two lists; then the names with their commas */

static void prepare(int n)
{
	people = n;
	expected = -1;
	for (int i = 1; i <= n; i++)
		expected += 2 * (i + 1) + snprintf(NULL, 0, "person %d,", i);
}

static void prepare_small(void)
{
	prepare(20);
}

static void prepare_objects(void)
{
	prepare(2000);
}

static void run(void)
{
	lua_State *L = bench_hooked ? bufpool_lua_create(NULL) : luaL_newstate();

	bench_expect(L != NULL, "Lua: no state");
	luaL_openlibs(L);
	bench_expect(luaL_loadbuffer(L, script, sizeof(script) - 1, "script") == LUA_OK, "Lua: the script is wrong");
	lua_pushinteger(L, people);
	bench_expect(lua_pcall(L, 1, 1, 0) == LUA_OK, "Lua: the script failed");
	bench_expect(lua_tointeger(L, -1) == expected, "Lua: a wrong result");
	lua_close(L);
}

static size_t lap_small(void)
{
	for (int i = 0; i < 20; i++)
		run();
	return 20;
}

static size_t lap_objects(void)
{
	run();
	return 1;
}

const struct bench_workload bench_workloads[] = {
	{ "lua-small", "scripts", prepare_small, lap_small, 1.1, 0 },
	{ "lua-objects", "scripts", prepare_objects, lap_objects, 1.1, 0 },
	{ 0 },
};
