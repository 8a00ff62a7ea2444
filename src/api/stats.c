/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Statistics as structures and as text. The structures come from cache/account.h; the three formats of text walk one
 * table of fields, so that none of them can miss one.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "api/bytes.h"
#include "api/engine.h"
#include "bufpool/bufpool.h"
#include "cache/account.h"
#include "cache/options.h"
#include "cache/sizing.h"
#include "sys/backend.h"
#include "sys/text.h"

#define POOL (&bp_default_pool)

static uint64_t get(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint64_t get_signed(_Atomic int64_t *counter)
{
	int64_t value = atomic_load_explicit(counter, memory_order_relaxed);
	return value > 0 ? (uint64_t)value : 0;
}

static void add_large(struct bufpool_stats *s, struct bp_pool *pool)
{
	uint64_t in = get(&pool->large_acquired), out = get(&pool->large_released);
	s->acquired += in;
	s->released += out;
	s->from_backend += in;
	s->over_cap = in;
	s->dropped_cap = out;
	s->in_use += in > out ? in - out : 0;
	s->in_use_bytes += get_signed(&pool->large_bytes);
}

static void collect(struct bufpool_stats *s, struct bp_pool *pool)
{
	struct bp_account a;
	struct bp_account_bytes bytes;
	bp_account_all(&a, &bytes, pool);
	*s = (struct bufpool_stats){
		.size = sizeof(*s),
		.acquired = a.acquired,
		.released = a.released,
		.hits = a.hits,
		.from_shared = a.from_shared,
		.from_victim = a.from_victim,
		.from_steal = a.from_steal,
		.from_backend = a.created,
		.dropped_budget = a.dropped_budget,
		.dropped_epoch = a.dropped_epoch,
		.set_aside = a.set_aside,
		.misuse = get(&pool->misuse),
		.epochs = bp_pool_epoch(pool),
		.in_use = a.in_use,
		.cached = a.cached,
		.victim = a.victim,
		.queued = a.queued,
		.in_use_bytes = bytes.in_use,
		.cached_bytes = bytes.cached,
		.victim_bytes = bytes.victim,
		.queued_bytes = bytes.queued,
		.budget_bytes = bp_account_budget(pool),
		.passed_through = get(&pool->passed),
		.buf_outgrown = get(&pool->sizing.outgrown),
		.buf_given_back = get(&pool->sizing.given_back),
		.buf_start_bytes = atomic_load_explicit(&pool->sizing.start, memory_order_relaxed),
	};
	add_large(s, pool);
	if (pool != POOL)
		return;
	s->referenced_bytes = get_signed(&bp_bytes_account.referenced);
	s->pinned_bytes = get_signed(&bp_bytes_account.pinned);
	s->passed_through += bp_thread.passed; /* of the other threads, whole rows */
}

/* Copies as much as the caller's structure holds; its size says how much that is. */
static int hand_out(void *out, const void *full, size_t full_size, size_t first_version)
{
	size_t size;
	memcpy(&size, out, sizeof(size));
	if (size < first_version)
		return -EINVAL;
	size = size < full_size ? size : full_size;
	memcpy(out, full, size);
	memcpy(out, &size, sizeof(size));
	return 0;
}

int bufpool_stats_get(struct bufpool_stats *out, struct bufpool *pool)
{
	struct bufpool_stats all;
	struct bp_pool *engine = bp_engine(pool);
	if (out->size < sizeof(all))
		return -EINVAL;
	bp_pool_start(engine);
	collect(&all, engine);
	return hand_out(out, &all, sizeof(all), sizeof(all));
}

int bufpool_class_stats_get(struct bufpool_class_stats *out, struct bufpool *pool, size_t n)
{
	struct bp_pool *engine = bp_engine(pool);
	if (out->size < sizeof(*out))
		return -EINVAL;
	bp_pool_start(engine);
	if (n > BP_CLASS_SIZE_MAX)
		return -ERANGE;
	struct bp_account a;
	unsigned class = bp_class_of(n);
	bp_account_class(&a, engine, class);
	struct bufpool_class_stats one = {
		.size = sizeof(one),
		.class_size = bp_class_size(class),
		.acquired = a.acquired,
		.released = a.released,
		.hits = a.hits,
		.from_shared = a.from_shared,
		.from_victim = a.from_victim,
		.from_steal = a.from_steal,
		.from_backend = a.created,
		.in_use = a.in_use,
		.cached = a.cached,
		.victim = a.victim,
		.queued = a.queued,
	};
	return hand_out(out, &one, sizeof(one), sizeof(one));
}

/* ---- text ---- */

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
	bp_text_add(&o->t, "# EOF");
	end_line(o);
}

void bufpool_stats_print(bufpool_write_fn *write, void *ctx, const char *opts)
{
	struct out o = { .write = write != NULL ? write : to_stderr, .ctx = ctx };
	struct bufpool_stats s;
	o.t = (struct bp_text)BP_TEXT_ON(o.line);
	bp_pool_start(POOL);
	collect(&s, POOL);
	if (opts != NULL && strchr(opts, 'J') != NULL)
		print_json(&o, &s);
	else if (opts != NULL && strchr(opts, 'M') != NULL)
		print_metrics(&o, &s);
	else
		print_text(&o, &s);
}
