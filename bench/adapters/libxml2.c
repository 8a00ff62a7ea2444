/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libxml2: a DOM is made of a document, looked at, and freed.
 */
#include "workload.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

#include <bufpool/adapters/libxml2.h>

static char *text;
static size_t size;
static unsigned records;

void bench_install(void)
{
	if (bufpool_libxml2_install_process())
		bench_fail("xmlMemSetup");
}

static void prepare_message(void)
{
	text = bench_xml(&size, records = 8);
}

static void prepare_file(void)
{
	text = bench_xml(&size, records = 4000);
}

static void read_dom(void)
{
	xmlDocPtr doc = xmlReadMemory(text, (int)size, NULL, NULL, XML_PARSE_NONET);

	bench_expect(doc && xmlChildElementCount(xmlDocGetRootElement(doc)) == records, "libxml2: a wrong document");
	xmlFreeDoc(doc);
}

static size_t lap_message(void)
{
	for (int i = 0; i < 50; i++)
		read_dom();
	return 50;
}

static size_t lap_file(void)
{
	read_dom();
	return 1;
}

const struct bench_workload bench_workloads[] = {
	{ "libxml2-message", "documents", prepare_message, lap_message, 1.1, 0 },
	{ "libxml2-file", "documents", prepare_file, lap_file, 1.1, 0 },
	{ 0 },
};
