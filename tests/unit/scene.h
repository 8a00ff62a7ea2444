/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The scene of two actors on a pool (schedules_pool.c), and what must hold when both have ended: every block and every
 * magazine is in one place, the pool's numbers add up, boundaries came in order and waited for what was queued, and
 * everything can be given back.
 *
 * Clock, CPUs and jemalloc are the test's (the linker's --wrap). Time stands still, or each look at it is later than any
 * bound; what the looks of the two differ by decides nothing. jemalloc is a dozen blocks: any order in which calls may come
 * there comes, but not what happens inside it. A scene starts from the pool's state of the first time, copied back, with
 * all blocks given back.
 */
#ifndef BUFPOOL_TESTS_UNIT_SCENE_H
#define BUFPOOL_TESTS_UNIT_SCENE_H

#include <stdbool.h>
#include <stdint.h>

/* Places of blocks. */
enum { U_SHARED, U_VICTIM, U_QUEUE, U_OVER, U_CPU0, U_CPU1, U_PLACES };

struct u_scene {
	unsigned char of[U_PLACES]; /* blocks, in one magazine each; a CPU has room for one */
	bool idle;                  /* CPU 1 has stood still for two epochs */
	bool two_cpus;              /* the second actor is on CPU 1, otherwise on CPU 0 like the first */
	bool due;                   /* the epoch's time is over */
	bool holds[2];              /* a block in that actor's hands */
	unsigned boundaries;        /* that may come */
	uint64_t ns_a_look;         /* what each look at the clock takes */
	bool looked;                /* somebody did */
};
extern struct u_scene u_scene;
/* A block to be released, and one acquired. */
extern void *u_held[2], *u_got[2];

/* Once: starts the pool. */
void u_scene_start(void);
/* Before, in the middle of and after each schedule. */
void u_scene_set(void);
uint64_t u_scene_state(void);
void u_scene_check(void);
/* Marks a block as out of use, and to the pool's slow path with it. */
void u_scene_release(void *p);

/* Seats are there (schedules_seats.c). */
extern bool u_seats;

#endif
