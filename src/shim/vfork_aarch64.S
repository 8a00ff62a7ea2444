/* SPDX-License-Identifier: BSD-2-Clause
 *
 * vfork with the child told apart: see vfork_x86_64.S for why. Run under an emulator (tests/aarch64), where vfork is fork,
 * and on a kernel in an emulated machine (tests/guest), where it is vfork; not on hardware.
 *
 * What is unusual against x86_64: the return address is in a register (x30), so nothing of ours is on the stack that
 * the child will overwrite; and there is no vfork system call, it is a clone. All registers but x0 survive it, in both
 * processes.
 */
#include <sys/syscall.h>

#define VFORK_FLAGS 0x4111 /* CLONE_VM | CLONE_VFORK | SIGCHLD */

	.text
	.globl	vfork
	.type	vfork, %function
	.balign	16
vfork:
	.cfi_startproc
	hint	#34                             /* bti c */
	mrs	x9, tpidr_el0
	adrp	x10, :gottprel:bp_thread
	ldr	x10, [x10, :gottprel_lo12:bp_thread]
	add	x9, x9, x10                     /* &bp_thread.rseq */
	ldr	x11, [x9]
	adrp	x12, bp_rseq_vfork
	add	x12, x12, :lo12:bp_rseq_vfork
	str	x12, [x9]
	mov	x0, #VFORK_FLAGS
	mov	x1, xzr                         /* the parent's stack */
	mov	x2, xzr
	mov	x3, xzr
	mov	x4, xzr
	mov	x8, #SYS_clone
	svc	#0
	cbz	x0, 1f
	str	x11, [x9]
	cmn	x0, #4095
	b.hs	2f
1:	ret
2:	stp	x29, x30, [sp, #-32]!
	.cfi_adjust_cfa_offset 32
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	neg	x0, x0
	str	x0, [sp, #16]
	bl	__errno_location
	ldr	x1, [sp, #16]
	str	w1, [x0]
	mov	x0, #-1
	ldp	x29, x30, [sp], #32
	.cfi_adjust_cfa_offset -32
	.cfi_restore x29
	.cfi_restore x30
	ret
	.cfi_endproc
	.size	vfork, . - vfork
	.section .note.GNU-stack, "", %progbits
