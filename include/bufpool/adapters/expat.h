/* SPDX-License-Identifier: BSD-2-Clause
 *
 * bufpool for expat, parser by parser, so libraries may use it, too. Include <expat.h> first.
 *
 * Who frees what: the parser goes to XML_ParserFree as before, and with it all that it has. A content model that an
 * element declaration handler gets goes to XML_FreeContentModel with that parser; free() aborts in glibc ("invalid
 * pointer") or crashes. What the program takes from XML_MemMalloc is from the pool, too, and goes to XML_MemFree.
 *
 * expat's hooks carry no context: the blocks are the default pool's. Parsers made by XML_ExternalEntityParserCreate
 * have their parent's hooks.
 */
#ifndef BUFPOOL_ADAPTERS_EXPAT_H
#define BUFPOOL_ADAPTERS_EXPAT_H

#include "bufpool/adapters/shapes.h"

#ifdef Expat_INCLUDED
/* XML_ParserCreate(encoding), or where sep is not NULL XML_ParserCreateNS(encoding, *sep). NULL: out of memory. */
static inline XML_Parser bufpool_expat_create(const XML_Char *encoding, const XML_Char *sep)
{
	/* The pool's own functions: one jump less than its hooks. */
	const XML_Memory_Handling_Suite suite = { bufpool_acquire, bufpool_hook_realloc, bufpool_release };

	return XML_ParserCreate_MM(encoding, &suite, sep);
}
#endif

#endif
