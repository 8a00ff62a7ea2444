/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A program that uses bufpool's functions and links bufpool-malloc as well: one engine must serve both.
 */
#include <bufpool/bufpool.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	void *volatile mine = malloc(40000); /* no mode passes that through */
	void *volatile block = bufpool_acquire(40000); /* volatile: the compiler warns of mixing them, rightly */

	printf("%s\n", bufpool_owns(mine) && bufpool_owns(block) ? "one engine" : "two engines");
	bufpool_release(mine);
	free(block);
	return 0;
}
