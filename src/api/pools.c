/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Named pools: their public functions. The work is done in cache/pools.c.
 */
#include <errno.h>
#include <stddef.h>

#include "api/engine.h"
#include "bufpool/bufpool.h"
#include "cache/fill.h"
#include "cache/pools.h"

enum { CAP_LEAST = 4096 };

_Static_assert(sizeof(((struct bp_pool *)NULL)->name) == BUFPOOL_NAME_MAX + 1, "as the header says");

/* What a caller compiled against a later header wants that this library doesn't know must not be passed over. */
static bool is_known(const struct bufpool_conf *conf)
{
	const unsigned char *rest = (const unsigned char *)conf + sizeof(*conf);
	for (size_t i = sizeof(*conf); i < conf->size; i++)
		if (*rest++ != 0)
			return false;
	return (conf->flags & ~(unsigned)BUFPOOL_WIPE) == 0;
}

int bufpool_create(struct bufpool **out, const struct bufpool_conf *conf)
{
	static const struct bufpool_conf none = { .size = sizeof(none) };
	if (conf == NULL)
		conf = &none;
	if (conf->size < sizeof(*conf) || !is_known(conf))
		return -EINVAL;
	if (conf->cap != 0 && (conf->cap < CAP_LEAST || conf->cap > BP_CLASS_SIZE_MAX))
		return -EINVAL;
	struct bp_pool_rules rules = {
		.name = conf->name,
		.cap = conf->cap,
		.budget = conf->budget,
		.wipes = (conf->flags & BUFPOOL_WIPE) != 0,
	};
	struct bp_pool *pool;
	int failed = bp_pools_create(&pool, &rules);
	if (failed == 0)
		*out = (struct bufpool *)pool;
	return failed;
}

void bufpool_destroy(struct bufpool *pool)
{
	int saved = errno;
	struct bp_pool *engine = bp_engine(pool);
	if (engine != &bp_default_pool)
		bp_pools_destroy(engine);
	errno = saved;
}

size_t bufpool_prefill(struct bufpool *pool, size_t count, size_t n)
{
	struct bp_pool *engine = bp_engine(pool);
	if (!bp_pools_start()) {
		errno = ENOMEM;
		return 0;
	}
	if (n > engine->cap || count > UINT32_MAX) {
		errno = EINVAL;
		return 0;
	}
	return bp_pool_prefill(engine, bp_class_of(n), count);
}
