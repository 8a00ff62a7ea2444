/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Jansson: values are made of a document, looked at, and dropped.
 */
#include "workload.h"

#include <jansson.h>

#include <bufpool/adapters/jansson.h>

static char *text;
static size_t size;
static unsigned records;

void bench_install(void)
{
	bufpool_jansson_install_process();
}

static void prepare_message(void)
{
	text = bench_json(&size, records = 8);
}

static void prepare_file(void)
{
	text = bench_json(&size, records = 4000);
}

static void load(void)
{
	json_t *value = json_loadb(text, size, 0, NULL);

	bench_expect(json_array_size(json_object_get(value, "records")) == records, "Jansson: wrong values");
	json_decref(value);
}

static size_t lap_message(void)
{
	for (int i = 0; i < 50; i++)
		load();
	return 50;
}

static size_t lap_file(void)
{
	load();
	return 1;
}

const struct bench_workload bench_workloads[] = {
	{ "jansson-message", "documents", prepare_message, lap_message, 1.1, 0 },
	{ "jansson-file", "documents", prepare_file, lap_file, 1.1, 0 },
	{ 0 },
};
