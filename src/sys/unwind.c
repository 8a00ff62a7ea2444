/* SPDX-License-Identifier: BSD-2-Clause
 *
 * See unwind.h. Frames of this library are left out: those within the library's file, or, where that is the program
 * itself, those up to the outermost of its known functions. Static functions may lie between two of these, few at a
 * time; where the compiler turned calls into jumps there are none.
 */
#include "sys/unwind.h"

#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

enum {
	DEPTH_MOST = 32,
	GAP = 3, /* frames from one known function to the next */
};

/* By the linker: where the file that this is part of lies in memory. */
extern const char __ehdr_start[] BP_HIDDEN;
extern const char _end[] BP_HIDDEN;

static __thread struct {
	uint32_t number;
	bool inside;
} thread __attribute__((tls_model("initial-exec")));

struct walk {
	uintptr_t frames[DEPTH_MOST];
	unsigned count, own, wanted;
	bool in_program;
};

static bool is_in_file(uintptr_t address)
{
	return address >= (uintptr_t)__ehdr_start && address < (uintptr_t)_end;
}

static bool is_entry(const void *function)
{
	for (unsigned i = 0; &bp_unwind_entry_count != NULL && i < bp_unwind_entry_count; i++)
		if (bp_unwind_entries[i] == function && function != NULL)
			return true;
	for (unsigned i = 0; bp_unwind_mallocs != NULL && bp_unwind_mallocs[i] != NULL; i++)
		if (bp_unwind_mallocs[i] == function)
			return true;
	return false;
}

static bool is_own(const struct walk *w, struct _Unwind_Context *context, uintptr_t address)
{
	if (!w->in_program)
		return w->own == w->count && is_in_file(address);
	return w->count <= w->own + GAP && is_entry((void *)_Unwind_GetRegionStart(context));
}

static _Unwind_Reason_Code step(struct _Unwind_Context *context, void *argument)
{
	struct walk *w = argument;
	uintptr_t address = _Unwind_GetIP(context);
	if (address == 0)
		return _URC_END_OF_STACK;
	bool own = is_own(w, context, address);
	w->frames[w->count++] = address;
	if (own)
		w->own = w->count;
	return w->count == DEPTH_MOST || w->count - w->own > w->wanted + GAP ? _URC_END_OF_STACK : _URC_NO_REASON;
}

/* glibc allocates in a static program before it has listed the program, and while it makes the list: libgcc, which looks
 * for its caller there, aborts or crashes. Before constructors run that is over. */
static bool listed;

__attribute__((constructor(101))) static void note_listed(void)
{
	listed = true;
}

static bool can_walk(void)
{
	return listed || getauxval(AT_BASE) != 0;
}

unsigned bp_unwind(uintptr_t *out, unsigned most)
{
	struct walk w = { .wanted = most, .in_program = is_in_file(getauxval(AT_PHDR)) };
	if (thread.inside || !can_walk())
		return 0;
	thread.inside = true;
	atomic_signal_fence(memory_order_seq_cst);
	_Unwind_Backtrace(step, &w);
	atomic_signal_fence(memory_order_seq_cst);
	thread.inside = false;
	unsigned n = 0;
	for (unsigned i = w.own; i < w.count && n < most; i++)
		out[n++] = w.frames[i];
	return n;
}

uint32_t bp_unwind_thread(void)
{
	if (thread.number == 0)
		thread.number = (uint32_t)syscall(SYS_gettid);
	return thread.number;
}

void bp_unwind_child(void)
{
	thread.number = 0;
}
