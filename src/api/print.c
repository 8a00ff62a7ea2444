/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Statistics as text. The three formats walk one table of fields, so that none of them can miss one; what they say of each
 * named pool is one more.
 */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "api/stats.h"
#include "bufpool/bufpool.h"
#include "cache/account.h"
#include "cache/options.h"
#include "cache/pools.h"
#include "sys/text.h"

#define POOL (&bp_default_pool)

/* X(field, is it a counter that only grows, what it is) */
#define FIELDS(X)                                                                                                      \
	X(acquired, true, "blocks handed out")                                                                         \
	X(released, true, "blocks taken back")                                                                         \
	X(hits, true, "acquires served by the CPU's own cache")                                                        \
	X(from_shared, true, "acquires served by the shared level")                                                    \
	X(from_victim, true, "acquires served by the victim")                                                          \
	X(from_steal, true, "acquires served from another CPU")                                                        \
	X(from_backend, true, "blocks fetched from jemalloc")                                                          \
	X(over_cap, true, "acquires over the cap")                                                                     \
	X(dropped_cap, true, "blocks given back because they are over the cap")                                        \
	X(dropped_budget, true, "blocks given back because of the budget")                                             \
	X(dropped_epoch, true, "blocks given back because they lay unused for two epochs")                             \
	X(set_aside, true, "blocks never used again")                                                                  \
	X(misuse, true, "misuses found")                                                                               \
	X(epochs, true, "epochs ended")                                                                                \
	X(passed_through, true, "requests that went straight to jemalloc")                                                \
	X(buf_outgrown, true, "growing buffers that were copied into a larger block")                                  \
	X(buf_given_back, true, "of dropped_budget: blocks far too large for their buffers' content")                  \
	X(in_use, false, "blocks out")                                                                                 \
	X(cached, false, "blocks cached on CPUs and in the shared level")                                              \
	X(victim, false, "blocks in the victim")                                                                       \
	X(queued, false, "blocks about to be given back")                                                              \
	X(in_use_bytes, false, "bytes out")                                                                            \
	X(cached_bytes, false, "bytes cached on CPUs and in the shared level")                                         \
	X(victim_bytes, false, "bytes in the victim")                                                                  \
	X(queued_bytes, false, "bytes about to be given back")                                                         \
	X(budget_bytes, false, "bytes that may be cached now")                                                         \
	X(referenced_bytes, false, "lengths of all owned bytes")                                                       \
	X(pinned_bytes, false, "bytes of the blocks behind them")                                                      \
	X(buf_start_bytes, false, "bytes that a growing buffer begins with at least")

#define FIELD(name, grows, what) { #name, what, grows, offsetof(struct bufpool_stats, name) },
static const struct {
	const char *name, *what;
	bool grows;
	size_t offset;
} fields[] = { FIELDS(FIELD) };

struct out {
	bufpool_write_fn *write;
	void *ctx;
	char line[512];
	struct bp_text t;
	size_t rows, field; /* of pools: printed so far, and the one being printed */
};

static void to_stderr(void *ctx, const char *text)
{
	(void)ctx;
	bp_os_write(STDERR_FILENO, text, strlen(text));
}

static void end_line(struct out *o)
{
	bp_text_add(&o->t, "\n");
	o->write(o->ctx, o->line);
	o->t.length = 0;
}

static void pair(struct out *o, const char *before, const char *name, const char *between, uint64_t value,
		 const char *after)
{
	bp_text_add(&o->t, before);
	bp_text_add(&o->t, name);
	bp_text_add(&o->t, between);
	bp_text_number(&o->t, value);
	bp_text_add(&o->t, after);
}

static uint64_t value_of(const struct bufpool_stats *s, size_t i)
{
	uint64_t value;
	memcpy(&value, (const char *)s + fields[i].offset, sizeof(value));
	return value;
}

#define EACH_FIELD(i) for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
/* The classes that were ever used. */
#define EACH_CLASS(c, a)                                                                                               \
	for (unsigned c = 0; c < BP_CLASS_COUNT; c++)                                                                  \
		if (bp_account_class(&(a), POOL, c), (a).created != 0)

static void facts(struct out *o, const char *before, const char *between, const char *after, const char *separator)
{
	static const char *const keys[] = { "mode", "percpu", "backend" };
	char value[BP_PATH_MAX];
	bp_text_add(&o->t, before);
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		bufpool_option_get(value, sizeof(value), keys[i]);
		bp_text_add(&o->t, i == 0 ? "" : separator);
		bp_text_add(&o->t, keys[i]);
		bp_text_add(&o->t, between);
		bp_text_add(&o->t, value);
		bp_text_add(&o->t, after);
	}
}

/* ---- named pools ---- */

/* What is said of each, by name in `fields`. */
static bool is_of_pools(const char *name)
{
	static const char *const names[] = { "acquired", "hits", "over_cap", "misuse", "in_use", "cached", "in_use_bytes",
					     "cached_bytes", "budget_bytes" };
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

/* Between quotation marks: JSON and OpenMetrics escape the same three. What is below a space becomes one. */
static void add_quoted(struct out *o, const char *name)
{
	for (; *name != '\0'; name++) {
		char c = (unsigned char)*name < ' ' ? ' ' : *name;
		if (c == '"' || c == '\\')
			bp_text_bytes(&o->t, "\\", 1);
		bp_text_bytes(&o->t, &c, 1);
	}
}

static void pool_as_text(struct bp_pool *pool, void *ctx)
{
	struct out *o = ctx;
	struct bufpool_stats s;
	bp_stats_collect(&s, pool);
	pair(o, "  pool ", "", "", (uint64_t)pool->id, " \"");
	add_quoted(o, pool->name);
	bp_text_add(&o->t, "\":");
	EACH_FIELD(i)
		if (is_of_pools(fields[i].name))
			pair(o, " ", fields[i].name, " ", value_of(&s, i), "");
	end_line(o);
}

static void pool_as_json(struct bp_pool *pool, void *ctx)
{
	struct out *o = ctx;
	struct bufpool_stats s;
	bp_stats_collect(&s, pool);
	bp_text_add(&o->t, o->rows++ == 0 ? "  {\"name\": \"" : "  ,{\"name\": \"");
	add_quoted(o, pool->name);
	pair(o, "\", \"", "id", "\": ", (uint64_t)pool->id, "");
	EACH_FIELD(i)
		if (is_of_pools(fields[i].name))
			pair(o, ", \"", fields[i].name, "\": ", value_of(&s, i), "");
	bp_text_add(&o->t, "}");
	end_line(o);
}

static void metric_type(struct out *o, size_t field)
{
	bp_text_add(&o->t, "# TYPE bufpool_pool_");
	bp_text_add(&o->t, fields[field].name);
	bp_text_add(&o->t, fields[field].grows ? " counter" : " gauge");
	end_line(o);
}

/* One field of all pools: OpenMetrics wants a metric's samples together, and its type before the first. */
static void pool_as_metric(struct bp_pool *pool, void *ctx)
{
	struct out *o = ctx;
	struct bufpool_stats s;
	bp_stats_collect(&s, pool);
	if (o->rows++ == 0)
		metric_type(o, o->field);
	bp_text_add(&o->t, "bufpool_pool_");
	bp_text_add(&o->t, fields[o->field].name);
	bp_text_add(&o->t, fields[o->field].grows ? "_total{pool=\"" : "{pool=\"");
	add_quoted(o, pool->name);
	pair(o, "\",", "id", "=\"", (uint64_t)pool->id, "\"} "); /* names need not differ */
	bp_text_number(&o->t, value_of(&s, o->field));
	end_line(o);
}

static void print_pool_metrics(struct out *o)
{
	EACH_FIELD(i) {
		if (!is_of_pools(fields[i].name))
			continue;
		o->field = i;
		o->rows = 0;
		bp_pools_visit(pool_as_metric, o, false);
	}
}

/* ---- the formats ---- */

static void print_text(struct out *o, const struct bufpool_stats *s)
{
	struct bp_account a;
	bp_text_add(&o->t, "bufpool ");
	bp_text_add(&o->t, bufpool_version_string());
	facts(o, ": ", " ", "", ", ");
	end_line(o);
	EACH_FIELD(i) {
		pair(o, "  ", fields[i].name, " ", value_of(s, i), "  (");
		bp_text_add(&o->t, fields[i].what);
		bp_text_add(&o->t, ")");
		end_line(o);
	}
	bp_text_add(&o->t, "  served from the pool: ");
	bp_text_percent(&o->t, s->hits + s->from_shared + s->from_victim + s->from_steal, s->acquired + s->passed_through);
	bp_text_add(&o->t, " %");
	end_line(o);
	EACH_CLASS(c, a) {
		pair(o, "  class ", "", "", bp_class_size(c), ":");
		pair(o, " ", "acquired", " ", a.acquired, "");
		pair(o, " ", "hits", " ", a.hits, "");
		pair(o, " ", "from_backend", " ", a.created, "");
		pair(o, " ", "in_use", " ", a.in_use, "");
		pair(o, " ", "cached", " ", a.cached, "");
		pair(o, " ", "victim", " ", a.victim, "");
		end_line(o);
	}
	bp_pools_visit(pool_as_text, o, false);
}

static void print_json(struct out *o, const struct bufpool_stats *s)
{
	struct bp_account a;
	bool first = true;
	bp_text_add(&o->t, "{\"version\": \"");
	bp_text_add(&o->t, bufpool_version_string());
	facts(o, "\", \"", "\": \"", "\"", ", \"");
	bp_text_add(&o->t, ",");
	end_line(o);
	EACH_FIELD(i) {
		pair(o, " \"", fields[i].name, "\": ", value_of(s, i), ",");
		end_line(o);
	}
	bp_text_add(&o->t, " \"classes\": [");
	end_line(o);
	EACH_CLASS(c, a) {
		pair(o, first ? "  {\"" : "  ,{\"", "class_size", "\": ", bp_class_size(c), "");
		pair(o, ", \"", "acquired", "\": ", a.acquired, "");
		pair(o, ", \"", "released", "\": ", a.released, "");
		pair(o, ", \"", "hits", "\": ", a.hits, "");
		pair(o, ", \"", "from_shared", "\": ", a.from_shared, "");
		pair(o, ", \"", "from_victim", "\": ", a.from_victim, "");
		pair(o, ", \"", "from_steal", "\": ", a.from_steal, "");
		pair(o, ", \"", "from_backend", "\": ", a.created, "");
		pair(o, ", \"", "in_use", "\": ", a.in_use, "");
		pair(o, ", \"", "cached", "\": ", a.cached, "");
		pair(o, ", \"", "victim", "\": ", a.victim, "");
		pair(o, ", \"", "queued", "\": ", a.queued, "}");
		end_line(o);
		first = false;
	}
	bp_text_add(&o->t, " ],");
	end_line(o);
	bp_text_add(&o->t, " \"pools\": [");
	end_line(o);
	bp_pools_visit(pool_as_json, o, false);
	bp_text_add(&o->t, " ]}");
	end_line(o);
}

static void print_metrics(struct out *o, const struct bufpool_stats *s)
{
	struct bp_account a;
	EACH_FIELD(i) {
		const char *kind = fields[i].grows ? " counter" : " gauge";
		bp_text_add(&o->t, "# TYPE bufpool_");
		bp_text_add(&o->t, fields[i].name);
		bp_text_add(&o->t, kind);
		end_line(o);
		bp_text_add(&o->t, "# HELP bufpool_");
		bp_text_add(&o->t, fields[i].name);
		bp_text_add(&o->t, " ");
		bp_text_add(&o->t, fields[i].what);
		end_line(o);
		pair(o, "bufpool_", fields[i].name, fields[i].grows ? "_total " : " ", value_of(s, i), "");
		end_line(o);
	}
	bp_text_add(&o->t, "# TYPE bufpool_class_hits counter");
	end_line(o);
	EACH_CLASS(c, a) {
		pair(o, "bufpool_class_hits_total{", "class", "=\"", bp_class_size(c), "\"} ");
		bp_text_number(&o->t, a.hits);
		end_line(o);
	}
	print_pool_metrics(o);
	bp_text_add(&o->t, "# EOF");
	end_line(o);
}

void bufpool_stats_print(bufpool_write_fn *write, void *ctx, const char *opts)
{
	struct out o = { .write = write != NULL ? write : to_stderr, .ctx = ctx };
	struct bufpool_stats s;
	o.t = (struct bp_text)BP_TEXT_ON(o.line);
	bp_pool_start(POOL);
	bp_stats_collect(&s, POOL);
	if (opts != NULL && strchr(opts, 'J') != NULL)
		print_json(&o, &s);
	else if (opts != NULL && strchr(opts, 'M') != NULL)
		print_metrics(&o, &s);
	else
		print_text(&o, &s);
}
