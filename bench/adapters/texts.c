/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The texts that the parsers share: records as an API or a feed has them. Generated, so that every machine measures
 * the same.
 */
#include "workload.h"

#include <stdarg.h>

static const char *const words[] = {
	"river", "signal", "copper", "yellow", "window", "engine", "letter", "harbour", "silent", "garden", "paper",
	"north", "market", "violet", "stone", "carriage",
};

struct text {
	char *data;
	size_t len, cap;
	uint64_t random;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
	va_list args;

	if (t->cap - t->len < 1024) {
		t->cap = t->cap * 2 + 4096;
		t->data = realloc(t->data, t->cap);
		if (!t->data)
			bench_fail("out of memory");
	}
	va_start(args, format);
	t->len += (size_t)vsnprintf(t->data + t->len, t->cap - t->len, format, args);
	va_end(args);
}

static unsigned below(struct text *t, unsigned n)
{
	return (unsigned)(bench_random(&t->random) % n);
}

static const char *word(struct text *t)
{
	return words[below(t, sizeof(words) / sizeof(*words))];
}

char *bench_json(size_t *size, unsigned records)
{
	struct text t = { NULL, 0, 0, 88172645463325252u };

	add(&t, "{\"version\": 3, \"records\": [");
	for (unsigned i = 0; i < records; i++) {
		add(&t, "%s\n  {\"id\": %u, \"name\": \"%s %s\", \"active\": %s, \"parent\": null, \"score\": %u.%u, ",
		    i ? "," : "", below(&t, 1000000), word(&t), word(&t), below(&t, 2) ? "true" : "false",
		    below(&t, 100), below(&t, 100));
		add(&t, "\"tags\": [\"%s\", \"%s\", \"%s\"], \"note\": \"%s said \\\"%s\\\"\\n%s %s %s\", ",
		    word(&t), word(&t), word(&t), word(&t), word(&t), word(&t), word(&t), word(&t));
		add(&t, "\"place\": {\"x\": -%u.5, \"y\": %ue-3, \"label\": \"\\u00e9%s\"}}", below(&t, 500),
		    below(&t, 500), word(&t));
	}
	add(&t, "\n]}\n");
	*size = t.len;
	return t.data;
}

char *bench_xml(size_t *size, unsigned records)
{
	struct text t = { NULL, 0, 0, 88172645463325252u };

	add(&t, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<records version=\"3\">");
	for (unsigned i = 0; i < records; i++) {
		add(&t, "\n  <record id=\"%u\" active=\"%s\">\n    <name>%s %s</name>\n    <score>%u.%u</score>\n",
		    below(&t, 1000000), below(&t, 2) ? "yes" : "no", word(&t), word(&t), below(&t, 100),
		    below(&t, 100));
		add(&t, "    <tag>%s</tag><tag>%s</tag>\n    <note>%s said &quot;%s&quot; &amp; %s</note>\n", word(&t),
		    word(&t), word(&t), word(&t), word(&t));
		add(&t, "    <place x=\"-%u.5\" y=\"%u\">\xc3\xa9%s</place>\n  </record>", below(&t, 500),
		    below(&t, 500), word(&t));
	}
	add(&t, "\n</records>\n");
	*size = t.len;
	return t.data;
}
