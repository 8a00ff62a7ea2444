/* SPDX-License-Identifier: BSD-2-Clause
 *
 * expat: a parser for each document, whose elements are counted. It allocates little after its start, so that only
 * small documents show the allocator.
 */
#include "workload.h"

#include <expat.h>

#include <bufpool/adapters/expat.h>

static char *text;
static size_t size;
static unsigned records;

void bench_install(void)
{
}

static void prepare_message(void)
{
	text = bench_xml(&size, records = 8);
}

static void prepare_file(void)
{
	text = bench_xml(&size, records = 4000);
}

static void XMLCALL count(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
	(void)attributes;
	*(unsigned *)ctx += !strcmp(name, "record");
}

static void parse(void)
{
	XML_Parser parser = bench_hooked ? bufpool_expat_create(NULL, NULL) : XML_ParserCreate(NULL);
	unsigned counted = 0;

	bench_expect(parser, "expat: no parser");
	XML_SetUserData(parser, &counted);
	XML_SetStartElementHandler(parser, count);
	bench_expect(XML_Parse(parser, text, (int)size, 1) == XML_STATUS_OK, "expat: an error");
	bench_expect(counted == records, "expat: a wrong document");
	XML_ParserFree(parser);
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
	{ "expat-message", "documents", prepare_message, lap_message, 0, 0 },
	{ "expat-file", "documents", prepare_file, lap_file, 0, 0 },
	{ 0 },
};
