/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See leaks_report.h. One pass over the table puts each block into a group: one for each pool and source line, where
 * the call left a note of it, else for each pool and stack. The groups' memory is the kernel's, for as long as the
 * report takes.
 */
#include "cache/leaks_report.h"

#include <string.h>
#include <unistd.h>

#include "cache/leaks.h"
#include "cache/pool.h"
#include "sys/sites.h"

enum {
	GROUPS = 16384, /* what does not fit is summed up */
	THREADS = 4,    /* named for each group */
	LINES = 64,     /* groups that the text has; JSON has all */
};

struct group {
	uint64_t key, blocks, bytes, pinned, referenced, oldest, newest;
	struct bp_pool *pool;
	const char *file;
	uint32_t line, threads;
	uint32_t thread[THREADS];
	unsigned depth;
	uintptr_t stack[BP_LEAK_DEPTH]; /* the oldest's */
};

struct report {
	const struct bp_leaks_out *out;
	struct group *groups;
	uint32_t *order;   /* the groups, sorted in the end */
	uint32_t *index;   /* open hashing: group + 1 */
	uint32_t count;
	uint64_t blocks, bytes, left_out, left_out_bytes, now;
	char line[1024];
	struct bp_text t;
};

enum { INDEX = 2 * GROUPS, MEMORY = GROUPS * sizeof(struct group) + (GROUPS + INDEX) * sizeof(uint32_t) };

/* ---- grouping ---- */

static uint64_t mix(uint64_t key, uint64_t value)
{
	key = (key ^ value) * 0x9e3779b97f4a7c15u;
	return key ^ key >> 29;
}

static uint64_t key_of(const struct bp_leak *l, const struct bp_site *site)
{
	uint64_t key = mix(1, (uintptr_t)l->pool);
	if (site->file != NULL) {
		for (const char *c = site->file; *c != '\0'; c++)
			key = mix(key, (unsigned char)*c);
		return mix(key, site->line);
	}
	for (unsigned i = 0; i < l->depth; i++)
		key = mix(key, l->stack[i]);
	return key;
}

/* NULL: there are too many. */
static struct group *group_of(struct report *r, const struct bp_leak *l)
{
	struct bp_site site = { 0 };
	if (l->depth > 0)
		bp_site_find(&site, l->stack[0]);
	uint64_t key = key_of(l, &site);
	uint32_t i = key % INDEX;
	for (; r->index[i] != 0; i = (i + 1) % INDEX)
		if (r->groups[r->index[i] - 1].key == key)
			return &r->groups[r->index[i] - 1];
	if (r->count == GROUPS)
		return NULL;
	struct group *g = &r->groups[r->count];
	*g = (struct group){ .key = key, .pool = l->pool, .file = site.file, .line = site.line, .oldest = UINT64_MAX };
	r->order[r->count] = r->count;
	r->index[i] = ++r->count;
	return g;
}

static void add_thread(struct group *g, uint32_t thread)
{
	uint32_t named = g->threads < THREADS ? g->threads : THREADS;
	for (uint32_t i = 0; i < named; i++)
		if (g->thread[i] == thread)
			return;
	if (named < THREADS)
		g->thread[named] = thread;
	g->threads = named + 1; /* one more than are named: there are others */
}

static void add(struct report *r, const struct bp_leak *l)
{
	struct group *g = group_of(r, l);
	r->blocks++;
	r->bytes += l->size;
	if (g == NULL) {
		r->left_out++;
		r->left_out_bytes += l->size;
		return;
	}
	g->blocks++;
	g->bytes += l->size;
	if (l->referenced >= 0) {
		g->pinned += l->size;
		g->referenced += (uint64_t)l->referenced;
	}
	if (l->ms < g->oldest) {
		g->oldest = l->ms;
		g->depth = l->depth;
		memcpy(g->stack, l->stack, sizeof(g->stack));
	}
	g->newest = l->ms > g->newest ? l->ms : g->newest;
	add_thread(g, l->thread);
}

static void collect(struct report *r)
{
	struct bp_leak leak;
	for (uint32_t i = 0, n = bp_leaks_places(); i < n; i++)
		if (bp_leaks_get(&leak, i) && (r->out->pool == NULL || leak.pool == r->out->pool))
			add(r, &leak);
}

/* Shell's sort: qsort may allocate. */
static void sort(struct report *r)
{
	for (uint32_t gap = r->count / 2; gap > 0; gap /= 2)
		for (uint32_t i = gap; i < r->count; i++) {
			uint32_t one = r->order[i], k = i;
			for (; k >= gap && r->groups[r->order[k - gap]].bytes < r->groups[one].bytes; k -= gap)
				r->order[k] = r->order[k - gap];
			r->order[k] = one;
		}
}

/* ---- words ---- */

static void add_number(struct report *r, uint64_t n, const char *behind)
{
	bp_text_number(&r->t, n);
	bp_text_add(&r->t, behind);
}

static void end_line(struct report *r)
{
	bp_text_add(&r->t, "\n");
	r->out->write(r->out->ctx, r->line);
	r->t.length = 0;
}

/* The kernel's name of a thread of ours; "" where it has ended. */
static void thread_name(char *name, size_t size, uint32_t thread)
{
	char path[64];
	struct bp_text t = BP_TEXT_ON(path);
	bp_text_add(&t, "/proc/self/task/");
	bp_text_number(&t, thread);
	bp_text_add(&t, "/comm");
	if (bp_os_read_file(name, size, path) <= 0)
		name[0] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

static void add_seconds(struct report *r, uint64_t ms)
{
	char digits[] = { (char)('0' + ms / 100 % 10), (char)('0' + ms / 10 % 10), (char)('0' + ms % 10), '\0' };
	add_number(r, ms / 1000, ".");
	bp_text_add(&r->t, digits);
}

static uint64_t age(const struct report *r, uint64_t since)
{
	return r->now > since ? r->now - since : 0;
}

static uint32_t named_threads(const struct group *g)
{
	return g->threads < THREADS ? g->threads : THREADS;
}

static const char *blocks_in_words(uint64_t n)
{
	return n == 1 ? " block" : " blocks";
}

/* ---- text ---- */

static void add_place(struct report *r, const struct group *g)
{
	struct bp_site site;
	if (g->file != NULL) {
		bp_text_add(&r->t, g->file);
		bp_text_add(&r->t, ":");
		bp_text_number(&r->t, g->line);
	} else if (g->depth > 0) {
		bp_site_find(&site, g->stack[0]);
		bp_site_text(&r->t, &site, g->stack[0]);
	} else {
		bp_text_add(&r->t, "an unknown place");
	}
}

static void add_facts(struct report *r, const struct group *g)
{
	char name[64];
	if (g->pool != NULL && g->pool->name[0] != '\0') {
		bp_text_add(&r->t, "; pool ");
		bp_text_add(&r->t, g->pool->name);
	}
	if (g->pinned != 0) {
		bp_text_add(&r->t, "; ");
		add_number(r, g->pinned, " of them pinned by ");
		add_number(r, g->referenced, " referenced");
	}
	bp_text_add(&r->t, "; age ");
	add_seconds(r, age(r, g->newest));
	bp_text_add(&r->t, " to ");
	add_seconds(r, age(r, g->oldest));
	bp_text_add(&r->t, " s; thread");
	for (uint32_t i = 0; i < named_threads(g); i++) {
		thread_name(name, sizeof(name), g->thread[i]);
		bp_text_add(&r->t, i == 0 ? " " : ", ");
		add_number(r, g->thread[i], name[0] == '\0' ? " (ended)" : " ");
		bp_text_add(&r->t, name);
	}
	bp_text_add(&r->t, g->threads > THREADS ? " and others" : "");
}

static void print_group(struct report *r, const struct group *g)
{
	bp_text_add(&r->t, "bufpool:   ");
	add_number(r, g->bytes, " bytes in ");
	add_number(r, g->blocks, blocks_in_words(g->blocks));
	bp_text_add(&r->t, ": ");
	add_place(r, g);
	add_facts(r, g);
	end_line(r);
	/* Where the place is a line of source, its frame is worth no line of its own. */
	for (unsigned i = g->file == NULL ? 1 : 0; i < g->depth; i++) {
		struct bp_site site;
		bp_site_find(&site, g->stack[i]);
		bp_text_add(&r->t, "bufpool:       ");
		bp_site_text(&r->t, &site, g->stack[i]);
		end_line(r);
	}
}

static void print_text(struct report *r)
{
	bp_text_add(&r->t, "bufpool: out: ");
	add_number(r, r->bytes, " bytes in ");
	add_number(r, r->blocks, blocks_in_words(r->blocks));
	bp_text_add(&r->t, " from ");
	add_number(r, r->count, r->count == 1 ? " place" : " places");
	end_line(r);
	for (uint32_t i = 0; i < r->count && i < LINES; i++)
		print_group(r, &r->groups[r->order[i]]);
	for (uint32_t i = LINES; i < r->count; i++) {
		r->left_out += r->groups[r->order[i]].blocks;
		r->left_out_bytes += r->groups[r->order[i]].bytes;
	}
	if (r->left_out != 0) {
		bp_text_add(&r->t, "bufpool:   ");
		add_number(r, r->left_out_bytes, " bytes in ");
		add_number(r, r->left_out, blocks_in_words(r->left_out));
		bp_text_add(&r->t, " from other places");
		end_line(r);
	}
	if (bp_leaks_missed() != 0) {
		bp_text_add(&r->t, "bufpool:   not noted, for want of memory: ");
		add_number(r, bp_leaks_missed(), blocks_in_words(bp_leaks_missed()));
		end_line(r);
	}
}

/* ---- JSON ---- */

static void add_string(struct report *r, const char *before, const char *s)
{
	bp_text_add(&r->t, before);
	bp_text_add(&r->t, "\"");
	for (; *s != '\0'; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\')
			bp_text_add(&r->t, "\\");
		bp_text_bytes(&r->t, c < ' ' ? " " : s, 1);
	}
	bp_text_add(&r->t, "\"");
}

static void add_field(struct report *r, const char *name, uint64_t value)
{
	bp_text_add(&r->t, ", \"");
	bp_text_add(&r->t, name);
	bp_text_add(&r->t, "\": ");
	bp_text_number(&r->t, value);
}

static void print_group_json(struct report *r, const struct group *g, bool first)
{
	char text[512];
	bp_text_add(&r->t, first ? "  {\"blocks\": " : "  ,{\"blocks\": ");
	bp_text_number(&r->t, g->blocks);
	add_field(r, "bytes", g->bytes);
	add_field(r, "pinned_bytes", g->pinned);
	add_field(r, "referenced_bytes", g->referenced);
	add_field(r, "newest_ms", age(r, g->newest));
	add_field(r, "oldest_ms", age(r, g->oldest));
	add_string(r, ", \"pool\": ", g->pool != NULL ? g->pool->name : "");
	if (g->file != NULL) {
		add_string(r, ", \"file\": ", g->file);
		add_field(r, "line", g->line);
	}
	end_line(r);
	bp_text_add(&r->t, "   , \"threads\": [");
	for (uint32_t i = 0; i < named_threads(g); i++) {
		thread_name(text, sizeof(text), g->thread[i]);
		bp_text_add(&r->t, i == 0 ? "{\"id\": " : ", {\"id\": ");
		bp_text_number(&r->t, g->thread[i]);
		add_string(r, ", \"name\": ", text);
		bp_text_add(&r->t, "}");
	}
	bp_text_add(&r->t, "]");
	bp_text_add(&r->t, g->threads > THREADS ? ", \"more_threads\": true" : ", \"more_threads\": false");
	end_line(r);
	for (unsigned i = 0; i < g->depth; i++) {
		struct bp_text t = BP_TEXT_ON(text);
		struct bp_site site;
		bp_site_find(&site, g->stack[i]);
		bp_site_text(&t, &site, g->stack[i]);
		add_string(r, i == 0 ? "   , \"stack\": [" : "    , ", text);
		end_line(r);
	}
	bp_text_add(&r->t, g->depth == 0 ? "   , \"stack\": []}" : "   ]}");
	end_line(r);
}

static void print_json(struct report *r)
{
	bp_text_add(&r->t, "{\"blocks\": ");
	bp_text_number(&r->t, r->blocks);
	add_field(r, "bytes", r->bytes);
	add_field(r, "blocks_elsewhere", r->left_out);
	add_field(r, "blocks_not_noted", bp_leaks_missed());
	bp_text_add(&r->t, ", \"places\": [");
	end_line(r);
	for (uint32_t i = 0; i < r->count; i++)
		print_group_json(r, &r->groups[r->order[i]], i == 0);
	bp_text_add(&r->t, "]}");
	end_line(r);
}

/* ---- both ---- */

uint64_t bp_leaks_report(const struct bp_leaks_out *out)
{
	char *memory = bp_os_reserve(MEMORY, BP_PAGE);
	if (memory == NULL || !bp_os_commit(memory, bp_round_up(MEMORY, BP_PAGE))) {
		out->write(out->ctx, out->json ? "{\"error\": \"no memory\"}\n" :
						 "bufpool: out: no memory for the report\n");
		return 0;
	}
	struct report r = { .out = out, .now = bp_os_now_ms() };
	r.t = (struct bp_text)BP_TEXT_ON(r.line);
	r.groups = (struct group *)memory;
	r.order = (uint32_t *)(r.groups + GROUPS);
	r.index = r.order + GROUPS;
	collect(&r);
	sort(&r);
	if (out->json)
		print_json(&r);
	else if (r.blocks != 0 || !out->silent)
		print_text(&r);
	bp_os_unmap(memory, bp_round_up(MEMORY, BP_PAGE));
	return r.blocks;
}

static void to_stderr(void *ctx, const char *text)
{
	(void)ctx;
	bp_os_write(STDERR_FILENO, text, strlen(text));
}

void bp_leaks_say(struct bp_pool *pool)
{
	bp_leaks_report(&(struct bp_leaks_out){ .write = to_stderr, .pool = pool, .silent = true });
}
