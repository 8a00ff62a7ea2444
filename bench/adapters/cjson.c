/* SPDX-License-Identifier: BSD-2-Clause
 *
 * cJSON: a tree is made of a document, looked at, and deleted.
 */
#include "workload.h"

#include <cjson/cJSON.h>

#include <bufpool/adapters/cjson.h>

static char *text;
static size_t size;
static unsigned records;

void bench_install(void)
{
	bufpool_cjson_install_process();
}

static void prepare_message(void)
{
	text = bench_json(&size, records = 8);
}

static void prepare_file(void)
{
	text = bench_json(&size, records = 4000);
}

static void parse(void)
{
	cJSON *tree = cJSON_ParseWithLength(text, size);

	bench_expect(cJSON_GetArraySize(cJSON_GetObjectItem(tree, "records")) == (int)records, "cJSON: a wrong tree");
	cJSON_Delete(tree);
}

static size_t lap_message(void)
{
	for (int i = 0; i < 50; i++)
		parse();
	return 50;
}

static size_t lap_file(void)
{
	parse();
	return 1;
}

const struct bench_workload bench_workloads[] = {
	{ "cjson-message", "documents", prepare_message, lap_message, 1.1, 0 },
	{ "cjson-file", "documents", prepare_file, lap_file, 1.1, 0 },
	{ 0 },
};
