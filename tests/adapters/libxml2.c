/* SPDX-License-Identifier: BSD-2-Clause
 *
 * libxml2 through its hooks, which are the process's: the test that compares makes what it compares with before they
 * are set, and libxml2 gives back what it keeps for itself in between.
 */
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>

#include <bufpool/adapters/libxml2.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

TestSuite(libxml2, .timeout = 60);

static char *document;
static size_t document_size;

static void quiet(void *ctx, const char *format, ...)
{
	(void)ctx;
	(void)format;
}

static xmlDocPtr read_document(void)
{
	return xmlReadMemory(document, (int)document_size, "feed.xml", NULL,
			     XML_PARSE_NOENT | XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
}

/* libxml2 seeds its hash tables by it; which requests it makes depends on the seed. */
time_t time(time_t *t)
{
	if (t)
		*t = 1700000000;
	return 1700000000;
}

/* From libc's malloc; NULL where libxml2 failed. */
static char *dumped(xmlDocPtr doc)
{
	xmlChar *text = NULL;
	char *copy = NULL;
	int size = 0;

	xmlDocDumpMemory(doc, &text, &size);
	if (text) {
		copy = strndup((const char *)text, (size_t)size);
		xmlFree(text);
	}
	return copy;
}

static char *read_and_dumped(void)
{
	xmlDocPtr doc = read_document();
	char *text;

	cr_assert_not_null(doc);
	text = dumped(doc);
	cr_assert_not_null(text);
	xmlFreeDoc(doc);
	return text;
}

static void set_up(void)
{
	t_begin();
	cr_assert_eq(bufpool_libxml2_install_process(), 0);
	xmlInitParser();
}

static void tear_down(void)
{
	xmlResetLastError();
	xmlCleanupParser();
	t_end();
}

Test(libxml2, a_document_comes_out_as_without_hooks)
{
	char *without, *with;

	document = t_read(&document_size, "feed.xml");
	without = read_and_dumped();
	xmlCleanupParser();
	set_up();
	with = read_and_dumped();
	cr_assert_str_eq(with, without);
	cr_assert_gt(t_asked(), 200);
	tear_down();
	free(with);
	free(without);
	free(document);
}

Test(libxml2, text_for_the_caller_goes_to_xmlFree)
{
	xmlDocPtr doc;
	xmlChar *text;
	int64_t before;

	document = t_read(&document_size, "feed.xml");
	set_up();
	doc = read_document();
	cr_assert_not_null(doc);
	before = t_out();
	text = xmlNodeGetContent(xmlDocGetRootElement(doc));
	cr_assert(strstr((const char *)text, "Under BSD-2-Clause, see the file LICENSE."));
	cr_assert_eq(t_out(), before + 1);
	xmlFree(text);
	text = xmlStrdup((const xmlChar *)"a copy");
	cr_assert_eq(t_out(), before + 1);
	xmlFree(text);
	text = (xmlChar *)xmlMemStrdup("the hook's own");
	cr_assert_str_eq((const char *)text, "the hook's own");
	bufpool_release(text);
	cr_assert_eq(t_out(), before);
	xmlFreeDoc(doc);
	tear_down();
	free(document);
}

/* How many nodes an XPath expression finds; -1 where libxml2 failed. */
static double found(xmlDocPtr doc)
{
	xmlXPathContextPtr context = xmlXPathNewContext(doc);
	xmlXPathObjectPtr object = NULL;
	double count = -1;

	if (context && !xmlXPathRegisterNs(context, (const xmlChar *)"r", (const xmlChar *)"http://example.org/r"))
		object = xmlXPathEval((const xmlChar *)"count(//r:s[. > 1 or @c]/preceding-sibling::r:s)", context);
	if (object)
		count = object->floatval;
	xmlXPathFreeObject(object);
	xmlXPathFreeContext(context);
	return count;
}

static enum t_outcome read_find_and_dump(void *expected)
{
	xmlDocPtr doc = read_document();
	char *text = doc && found(doc) == 1 ? dumped(doc) : NULL;
	const bool said = !text || (xmlGetLastError() && xmlGetLastError()->code == XML_ERR_NO_MEMORY);
	const enum t_outcome outcome = text && !strcmp(text, expected) ? T_DONE : said ? T_REPORTED : T_WRONG;

	free(text);
	xmlFreeDoc(doc);
	xmlResetLastError();
	return outcome;
}

static char small[] =
	"<?xml version='1.0'?><!DOCTYPE r [<!ENTITY e 'an <i>entity</i>'><!ATTLIST r d CDATA 'default'>]>\n"
	"<r xmlns='http://example.org/r' xmlns:x='http://example.org/x' a='1' x:b='&lt;2&gt;'>text &e; &#xe9;"
	"<x:s><![CDATA[a < b]]></x:s><!-- a comment --><s>1</s><s>2</s><?pi data?></r>";

/* From the same state, so that both sweeps see the same requests. */
static struct t_sweep swept(char *expected)
{
	struct t_sweep s;

	xmlInitParser();
	s = t_sweep_apart(read_find_and_dump, expected);
	xmlCleanupParser();
	return s;
}

/* libxml2 2.9 leaks, and crashes, in places when it runs out of memory: with libc as with the pool, refusal by
 * refusal. */
Test(libxml2, every_refusal_is_reported_as_with_libc)
{
	struct t_sweep adapter, libc;
	char *expected;

	document = small;
	document_size = strlen(small);
	expected = read_and_dumped();
	xmlCleanupParser();
	xmlSetGenericErrorFunc(NULL, quiet);
	cr_assert_eq(xmlMemSetup(t_libc_free, t_libc_malloc, t_libc_realloc, t_libc_strdup), 0);
	libc = swept(expected);
	t_begin();
	cr_assert_eq(bufpool_libxml2_install_process(), 0);
	adapter = swept(expected);
	t_end();
	t_expect_same(&adapter, &libc);
	cr_assert_gt(adapter.asked, 100);
	cr_assert_gt(adapter.reported, adapter.asked);
	free(expected);
}
