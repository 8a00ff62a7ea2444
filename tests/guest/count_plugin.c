/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A plugin of qemu's emulation (TCG), whose x86_64 has no counter of instructions: counts what a guest executes in user
 * space between the two instructions of count.h, and writes the number as a line to the file that the argument `to`
 * names (a pipe, whose other end is a port of the guest).
 *
 * Exact for a guest of one CPU, but that an instruction that a page fault interrupts counts twice. A repeated string
 * instruction counts once, as in a processor's counter: the emulator executes it anew for each step, and those after the
 * first are known by nothing else having been counted since. User space is the lower half of the addresses.
 *
 * The declarations below are qemu's, of version 1 of its interface (Debian has no package of them).
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "count.h"

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
struct qemu_info {
	const char *target_name; /* more follows */
};

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
						  void (*cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
						   void (*cb)(unsigned cpu, void *data),
						   enum qemu_plugin_cb_flags flags, void *data);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, enum qemu_plugin_op op, void *to,
						       uint64_t addend);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info,
							       int argc, char **argv);

static const struct machine {
	const char *name;
	uint8_t bytes, from[8], to[8];
	bool repeats;
} machines[] = {
	{ "x86_64", 7, { COUNT_FROM_X86_64 }, { COUNT_TO_X86_64 }, true },
	{ "aarch64", 4, { COUNT_FROM_AARCH64 }, { COUNT_TO_AARCH64 }, false },
};

static const struct machine *machine;
static FILE *out;
static uint64_t executed;

static void counting_from(unsigned cpu, void *data)
{
	(void)cpu, (void)data;
	executed = 0;
}

static void counting_to(unsigned cpu, void *data)
{
	(void)cpu, (void)data;
	fprintf(out, "%llu\n", (unsigned long long)executed);
	fflush(out);
}

static void a_step_of(unsigned cpu, void *address)
{
	static void *last;
	static uint64_t executed_then;
	(void)cpu;
	if (last != address || executed_then != executed)
		executed++;
	last = address;
	executed_then = executed;
}

static bool is_repeated(const uint8_t *code, size_t bytes)
{
	/* ins, outs, movs, cmps, stos, lods, scas */
	static const uint8_t strings[] = { 0x6c, 0x6d, 0x6e, 0x6f, 0xa4, 0xa5, 0xa6,
					   0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf };
	bool rep = false;
	for (size_t i = 0; i < bytes; i++) {
		if (code[i] == 0xf2 || code[i] == 0xf3)
			rep = true;
		else if (code[i] != 0x66 && code[i] != 0x67 && (code[i] & 0xf0) != 0x40) /* not a prefix */
			return rep && memchr(strings, code[i], sizeof(strings)) != NULL;
	}
	return false;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *code = qemu_plugin_insn_data(insn);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		size_t bytes = qemu_plugin_insn_size(insn);
		void (*call)(unsigned, void *) = NULL;
		if (address >> 63 != 0)
			continue;
		if (bytes == machine->bytes && memcmp(code, machine->from, bytes) == 0)
			call = counting_from;
		else if (bytes == machine->bytes && memcmp(code, machine->to, bytes) == 0)
			call = counting_to;
		else if (machine->repeats && is_repeated(code, bytes))
			call = a_step_of;
		if (call != NULL)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, call, QEMU_PLUGIN_CB_NO_REGS,
							       (void *)(uintptr_t)address);
		else
			qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &executed, 1);
	}
}

int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(machines) / sizeof(*machines); i++)
		if (strcmp(machines[i].name, info->target_name) == 0)
			machine = &machines[i];
	if (machine == NULL || argc != 1 || strncmp(argv[0], "to=", 3) != 0 || (out = fopen(argv[0] + 3, "r+")) == NULL)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
