/* SPDX-License-Identifier: BSD-2-Clause
 *
 * std::pmr: a request is parsed into a map of strings and a list, looked at, and dropped; and a table that grows.
 * Without hooks the containers take the standard's resource over operator new.
 */
#include "workload.h"

#include <bufpool/adapters/pmr.hpp>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

extern "C" void bench_install(void)
{
	bufpool_pmr_install_process();
}

static char *text;
static size_t text_size;

static void prepare()
{
	text = bench_json(&text_size, 200);
}

/* The words between quotation marks: how often, and where. */
static size_t words_of(size_t from, size_t to)
{
	std::pmr::map<std::pmr::string, std::pmr::vector<size_t>> where;
	std::pmr::list<std::pmr::string> order;

	for (size_t at = from; at < to;) {
		const char *begin = static_cast<const char *>(memchr(text + at, '"', to - at));
		const char *end = begin ? strchr(begin + 1, '"') : nullptr;

		if (!end || end >= text + to)
			break;
		order.emplace_back(begin, end + 1);
		where[order.back()].push_back(at);
		at = end + 1 - text;
	}
	return where.size() < order.size() ? order.size() : 0;
}

static size_t lap_requests()
{
	for (size_t i = 0; i < 40; i++)
		bench_expect(words_of(i * 1000, i * 1000 + 1500) > 30, "pmr: too few words");
	return 40;
}

static size_t lap_table()
{
	std::pmr::unordered_map<size_t, std::pmr::string> table;

	for (size_t i = 0; i < 20000; i++)
		table.emplace(i * 7919, std::pmr::string(20 + i % 50, 'x'));
	bench_expect(table.size() == 20000, "pmr: a wrong table");
	return 1;
}

const struct bench_workload bench_workloads[] = {
	{ "pmr-requests", "requests", prepare, lap_requests, 0, 0 },
	{ "pmr-table", "tables", nullptr, lap_table, 0, 0 },
	{ nullptr, nullptr, nullptr, nullptr, 0, 0 },
};
