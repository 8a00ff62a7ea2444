/* SPDX-License-Identifier: BSD-2-Clause
 *
 * expat through a parser's hooks. What its handlers see is written down as text; with and without hooks the text must
 * be the same.
 */
#include <expat.h>

#include <bufpool/adapters/expat.h>
#include "support.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(expat, .timeout = 60);

/* What the handlers saw, from libc's malloc. */
struct seen {
	FILE *file;
	char *text;
	size_t size;
	XML_Parser parser;
};

static void XMLCALL start(void *ctx, const XML_Char *name, const XML_Char **attributes)
{
	struct seen *s = ctx;

	fprintf(s->file, "<%s", name);
	for (; *attributes; attributes += 2)
		fprintf(s->file, " %s=%s", attributes[0], attributes[1]);
	fputs(">\n", s->file);
}

static void XMLCALL end(void *ctx, const XML_Char *name)
{
	fprintf(((struct seen *)ctx)->file, "</%s>\n", name);
}

static void XMLCALL text(void *ctx, const XML_Char *at, int length)
{
	fwrite(at, 1, (size_t)length, ((struct seen *)ctx)->file);
}

/* The model is the handler's to free. */
static void XMLCALL declaration(void *ctx, const XML_Char *name, XML_Content *model)
{
	struct seen *s = ctx;

	fprintf(s->file, "element %s of type %d with %u children\n", name, model->type, model->numchildren);
	XML_FreeContentModel(s->parser, model);
}

static XML_Parser usual(void)
{
	return XML_ParserCreateNS(NULL, '|');
}

static XML_Parser hooked(void)
{
	return bufpool_expat_create(NULL, "|");
}

/* In pieces of `piece` bytes, as they come from a socket. XML_ERROR_NONE, or why not; 0 and no text where there is no
 * parser. */
static enum XML_Error parsed(char **result, XML_Parser (*create)(void), const char *document, size_t size, size_t piece)
{
	struct seen s = { .parser = create() };
	enum XML_Status status = XML_STATUS_OK;
	enum XML_Error error;

	*result = NULL;
	if (!s.parser)
		return XML_ERROR_NO_MEMORY;
	s.file = open_memstream(&s.text, &s.size);
	XML_SetUserData(s.parser, &s);
	XML_SetElementHandler(s.parser, start, end);
	XML_SetCharacterDataHandler(s.parser, text);
	XML_SetElementDeclHandler(s.parser, declaration);
	for (size_t at = 0; at < size && status == XML_STATUS_OK; at += piece) {
		const size_t n = size - at < piece ? size - at : piece;

		status = XML_Parse(s.parser, document + at, (int)n, at + n == size);
	}
	error = status == XML_STATUS_OK ? XML_ERROR_NONE : XML_GetErrorCode(s.parser);
	XML_ParserFree(s.parser);
	fclose(s.file);
	*result = s.text;
	return error;
}

Test(expat, handlers_see_the_same_as_without_hooks)
{
	size_t size;
	char *document = t_read(&size, "feed.xml"), *without, *with;

	t_begin();
	cr_assert_eq(parsed(&without, usual, document, size, size), XML_ERROR_NONE);
	cr_assert_eq(t_asked(), 0);
	for (size_t piece = 1; piece < 2 * size; piece *= 3) {
		cr_assert_eq(parsed(&with, hooked, document, size, piece), XML_ERROR_NONE);
		cr_assert_str_eq(with, without);
		free(with);
	}
	cr_assert_gt(t_asked(), 100);
	cr_assert(strstr(without, "http://www.w3.org/2005/Atom|feed"));
	free(without);
	free(document);
	t_end();
}

Test(expat, without_a_separator_names_are_as_written)
{
	XML_Parser parser;

	t_begin();
	parser = bufpool_expat_create("UTF-8", NULL);
	cr_assert_not_null(parser);
	cr_assert_eq(XML_Parse(parser, "<a:b/>", 6, 1), XML_STATUS_OK); /* with namespaces: an unbound prefix */
	XML_ParserFree(parser);
	t_end();
}

static char *document;
static size_t document_size;

static enum t_outcome parse(void *expected)
{
	char *result;
	const enum XML_Error error = parsed(&result, hooked, document, document_size, 1000);

	if (error == XML_ERROR_NONE)
		cr_assert_str_eq(result, expected);
	else /* expat 2.5 takes a prefix that it could not store for one that was never declared */
		cr_assert(error == XML_ERROR_NO_MEMORY || error == XML_ERROR_UNBOUND_PREFIX, "%s",
			  XML_ErrorString(error));
	free(result);
	return error == XML_ERROR_NONE ? T_DONE : T_REPORTED;
}

Test(expat, every_refusal_is_reported)
{
	struct t_sweep s;
	char *expected;

	document = t_read(&document_size, "feed.xml");
	t_begin();
	cr_assert_eq(parsed(&expected, usual, document, document_size, 1000), XML_ERROR_NONE);
	s = t_sweep(parse, expected);
	cr_assert_gt(s.asked, 20);
	cr_assert_eq(s.reported, 2 * s.asked, "%zu of %zu requests, %zu survived", s.reported, s.asked, s.survived);
	t_end();
	free(expected);
	free(document);
}
