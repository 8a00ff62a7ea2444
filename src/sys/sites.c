/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See sites.h. A note's label stands before its call, and the compiler may put the computation of arguments between
 * the two; so the note of a call is the one with the greatest address before the return address, in the same
 * function, and not far away.
 */
#include "sys/sites.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <unwind.h>

enum {
	NOTE_TYPE = 1,   /* as in include/bufpool/sites.h */
	NOTE_REACH = 96  /* bytes from a label to the return address of its call */
};
#define NOTE_NAME "bufpool"

struct search {
	struct bp_site *out;
	uintptr_t address;  /* within the call */
	uintptr_t function; /* where its function begins; 0: unknown */
	bool found;
};

static uintptr_t at(const struct dl_phdr_info *info, const ElfW(Phdr) *h)
{
	return info->dlpi_addr + h->p_vaddr;
}

static bool holds(const struct dl_phdr_info *info, uintptr_t address)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		if (h->p_type == PT_LOAD && address - at(info, h) < h->p_memsz)
			return true;
	}
	return false;
}

/* ---- notes ---- */

struct description {
	int32_t distance; /* from here to the label */
	uint32_t line;
	char file[];
};

static void consider(struct search *s, uintptr_t *best, const struct description *d)
{
	uintptr_t label = (uintptr_t)d + (uintptr_t)(intptr_t)d->distance;
	if (label > s->address || s->address - label > NOTE_REACH || label < *best || label < s->function)
		return;
	*best = label;
	s->out->file = d->file;
	s->out->line = d->line;
}

static void look_through(struct search *s, uintptr_t *best, uintptr_t from, size_t bytes, size_t alignment)
{
	while (bytes >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const ElfW(Nhdr) *)from;
		size_t name = bp_round_up(note->n_namesz, alignment), whole = sizeof(*note) + name;
		const char *text = (const char *)(note + 1);
		whole += bp_round_up(note->n_descsz, alignment);
		if (whole > bytes)
			return;
		if (note->n_type == NOTE_TYPE && note->n_namesz == sizeof(NOTE_NAME) &&
		    memcmp(text, NOTE_NAME, sizeof(NOTE_NAME)) == 0)
			consider(s, best, (const struct description *)(text + name));
		from += whole;
		bytes -= whole;
	}
}

static void find_note(struct search *s, const struct dl_phdr_info *info)
{
	uintptr_t best = 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		if (h->p_type == PT_NOTE)
			look_through(s, &best, at(info, h), h->p_memsz, h->p_align == 8 ? 8 : 4);
	}
}

/* ---- symbols ---- */

struct tables {
	const ElfW(Sym) *symbols;
	const char *names;
	const uint32_t *hash, *gnu_hash;
};

/* The dynamic linker writes addresses over most offsets, but not everywhere. */
static const void *in_memory(const struct dl_phdr_info *info, uintptr_t value)
{
	return (const void *)(value < info->dlpi_addr ? info->dlpi_addr + value : value);
}

static bool find_tables(struct tables *t, const struct dl_phdr_info *info)
{
	const ElfW(Dyn) *d = NULL;
	*t = (struct tables){ 0 };
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			d = (const ElfW(Dyn) *)at(info, &info->dlpi_phdr[i]);
	for (; d != NULL && d->d_tag != DT_NULL; d++) {
		const void *place = in_memory(info, d->d_un.d_ptr);
		if (d->d_tag == DT_SYMTAB)
			t->symbols = place;
		else if (d->d_tag == DT_STRTAB)
			t->names = place;
		else if (d->d_tag == DT_HASH)
			t->hash = place;
		else if (d->d_tag == DT_GNU_HASH)
			t->gnu_hash = place;
	}
	return t->symbols != NULL && t->names != NULL;
}

/* Neither table says how many symbols there are in so many words; the second one's last chain ends with the last. */
static size_t count_symbols(const struct tables *t)
{
	if (t->hash != NULL)
		return t->hash[1];
	if (t->gnu_hash == NULL)
		return 0;
	uint32_t buckets = t->gnu_hash[0], first = t->gnu_hash[1], words = t->gnu_hash[2], last = 0;
	const uint32_t *bucket = t->gnu_hash + 4 + words * (sizeof(ElfW(Addr)) / 4), *chain = bucket + buckets;
	for (uint32_t i = 0; i < buckets; i++)
		last = bucket[i] > last ? bucket[i] : last;
	if (last < first)
		return first;
	while ((chain[last - first] & 1) == 0)
		last++;
	return last + 1;
}

static void find_symbol(struct search *s, const struct dl_phdr_info *info)
{
	struct tables t;
	if (!find_tables(&t, info))
		return;
	uintptr_t place = s->address - info->dlpi_addr;
	for (size_t i = 0, n = count_symbols(&t); i < n; i++) {
		const ElfW(Sym) *symbol = &t.symbols[i];
		if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF ||
		    place - symbol->st_value >= symbol->st_size)
			continue;
		s->out->function = t.names + symbol->st_name;
		s->out->in_function = place - symbol->st_value;
		return;
	}
}

/* ---- both ---- */

static int visit(struct dl_phdr_info *info, size_t size, void *argument)
{
	struct search *s = argument;
	(void)size;
	if (!holds(info, s->address))
		return 0;
	s->out->module = info->dlpi_name;
	s->out->in_module = s->address - info->dlpi_addr;
	find_note(s, info);
	find_symbol(s, info);
	return 1;
}

void bp_site_find(struct bp_site *out, uintptr_t address)
{
	/* Behind a call that does not return another function may begin. */
	struct search s = { .out = out, .address = address - 1 };
	s.function = (uintptr_t)_Unwind_FindEnclosingFunction((void *)s.address);
	*out = (struct bp_site){ 0 };
	dl_iterate_phdr(visit, &s);
}

void bp_site_text(struct bp_text *t, const struct bp_site *site, uintptr_t address)
{
	char program[256];
	if (site->module == NULL) {
		bp_text_hex(t, address);
		return;
	}
	if (site->function != NULL) {
		bp_text_add(t, site->function);
		bp_text_add(t, "+");
		bp_text_hex(t, site->in_function);
		bp_text_add(t, " (");
	}
	const char *slash = strrchr(site->module, '/'), *module = slash != NULL ? slash + 1 : site->module;
	if (module[0] == '\0')
		module = bp_os_program(program, sizeof(program), 0) ? program : "program";
	bp_text_add(t, module);
	bp_text_add(t, "+");
	bp_text_hex(t, site->in_module);
	bp_text_add(t, site->function != NULL ? ")" : "");
}
