/* SPDX-License-Identifier: BSD-2-Clause
 *
 * vfork with the child told apart. A vfork child runs on its parent's memory, thread-local variables included, but the
 * kernel gives it no rseq registration: it would read the parent's last cpu_id and change a CPU's stack unprotected
 * (measured elsewhere: blocks handed out twice beside an allocating thread). So the thread's area is replaced before
 * the call by one that belongs to no CPU, and put back when the parent goes on. The child then allocates from the
 * shared level and from jemalloc.
 *
 * The return address leaves the stack before the call, since the child's further calls overwrite its place (as in
 * glibc's own). Registers other than rax, rcx and r11 survive a system call, in both processes.
 */
#include <sys/syscall.h>

	.text
	.globl	vfork
	.type	vfork, @function
vfork:
	.cfi_startproc
	endbr64
	popq	%rdi
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rdi
	movq	bp_thread@gottpoff(%rip), %r8
	movq	%fs:(%r8), %rsi
	leaq	bp_rseq_vfork(%rip), %rdx
	movq	%rdx, %fs:(%r8)
	movl	$SYS_vfork, %eax
	syscall
	pushq	%rdi
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rip, 0
	testq	%rax, %rax
	jz	1f
	movq	%rsi, %fs:(%r8)
	cmpq	$-4095, %rax
	jae	2f
1:	ret
2:	negl	%eax
	pushq	%rax
	.cfi_adjust_cfa_offset 8
	call	__errno_location@PLT
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	movl	%ecx, (%rax)
	movq	$-1, %rax
	ret
	.cfi_endproc
	.size	vfork, . - vfork
	.section .note.GNU-stack, "", @progbits
