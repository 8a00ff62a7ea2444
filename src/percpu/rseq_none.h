/* SPDX-License-Identifier: BSD-2-Clause
 *
 * No restartable sequences on this architecture, or none wanted (builds for TSan): every hit is "not here", and the slow
 * path's portable implementation serves.
 */
#define BP_PERCPU_HAS_RSEQ 0

static inline void *bp_rseq_pop(char *base, unsigned class)
{
	(void)base, (void)class;
	return bp_percpu_nothing;
}

static inline bool bp_rseq_push(char *base, unsigned class, void *p)
{
	(void)base, (void)class, (void)p;
	return false;
}

static inline size_t bp_rseq_pop_batch(void **out, size_t max, char *base, int cpu, unsigned class)
{
	(void)out, (void)max, (void)base, (void)cpu, (void)class;
	return 0;
}

static inline size_t bp_rseq_push_batch(char *base, int cpu, unsigned class, void *const *in, size_t count)
{
	(void)base, (void)cpu, (void)class, (void)in, (void)count;
	return 0;
}

static inline bool bp_rseq_recount(uint32_t *old, char *base, int cpu, unsigned class, uint32_t count)
{
	(void)old, (void)base, (void)cpu, (void)class, (void)count;
	return false;
}
