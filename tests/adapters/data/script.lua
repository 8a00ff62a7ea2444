-- What a program in Lua allocates: tables that grow, strings, closures, coroutines, errors. The argument says how often.
local rounds = ...
local out = {}

local function say(...)
	out[#out + 1] = string.format(...)
end

local function index(text)
	local where = {}
	for at, word in text:gmatch("()(%a+)") do
		local list = where[word]
		if not list then
			list = {}
			where[word] = list
		end
		list[#list + 1] = at
	end
	local words = {}
	for word, list in pairs(where) do
		words[#words + 1] = word .. "=" .. table.concat(list, ",")
	end
	table.sort(words)
	return table.concat(words, " ")
end

local function tree(depth)
	if depth == 0 then
		return { value = 1 }
	end
	local left, right = tree(depth - 1), tree(depth - 1)
	return { left, right, sum = function()
		return (left.value or left.sum()) + (right.value or right.sum())
	end }
end

local function numbers(limit)
	return coroutine.wrap(function()
		for i = 1, limit do
			coroutine.yield(i)
		end
	end)
end

local point = {}
point.__index = point
point.__add = function(a, b)
	return setmetatable({ x = a.x + b.x, y = a.y + b.y }, point)
end
point.__gc = function() end

local text = "the quick brown fox jumps over the lazy dog while the other dog sleeps "
for round = 1, rounds do
	say("%s", index(text:rep(round % 3 + 1)))
	say("tree %d", tree(5).sum())
	local sum = 0
	for i in numbers(40) do
		sum = sum + i
	end
	say("sum %d", sum)
	local p = setmetatable({ x = 0, y = 0 }, point)
	for i = 1, 30 do
		p = p + setmetatable({ x = i, y = -i }, point)
	end
	say("point %d %d", p.x, p.y)
	local ok, message = pcall(error, { code = round })
	say("%s %d", ok, message.code)
	say("%s", (text:upper():gsub("%u+", function(word)
		return word:sub(1, 1) .. #word
	end)))
	local grown = ""
	for i = 1, 20 do
		grown = grown .. i
	end
	say("%d %s", #grown, grown:reverse())
	if round % 50 == 0 then
		collectgarbage()
	end
end
return table.concat(out, "\n")
