#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# aarch64.sh [PROGRAM...]: the core's tests and the shim's, as they were cross-built (BUILD, at its own path), on a
# kernel that restarts the sections. TAP: a program is a case; what failed in it follows as comments. Time limits are
# those of a machine ten times slower than usual, those inside the programs are not.
set -u

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/guest/tap.sh
. "$here/tap.sh"

tests=$BUILD/tests
export SHIM_LIB="$SHIM" SHIM_PERCPU=rseq SHIM_HOTPLUG=yes SHIM_CONTROL="$BUILD/src/tools/bufpool-control" \
	SHIM_PLUGIN="$tests/shim/shim-plugin.so" SHIM_LINKED="$tests/shim/shim-target-linked" \
	SHIM_PRELOADED="$tests/shim/shim-target-preloaded" SHIM_STATIC="$tests/shim/shim-target-static" \
	SHIM_DEEP="$tests/shim/shim-deep" SHIM_OUTER="$tests/shim/shim-outer.so" SHIM_INNER="$tests/shim/shim-inner.so" \
	SHIM_IFUNC="$tests/shim/shim-ifunc-plugin.so"

# program NAME SECONDS CMD...: passes where each of its cases does
program() {
	name=$1
	shift
	timeout "$@" >/tmp/said 2>&1
	ended=$?
	passed=$(grep -c '^ok' /tmp/said)
	skipped=$(grep -c '^ok.*# SKIP' /tmp/said)
	bad=$(grep -v -e '^ok' -e '^1\.\.' -e '^TAP' -e '^# Criterion' -e '^#$' -e '^# Running' /tmp/said | head -n 30)
	grep -q '^1\.\.[1-9]' /tmp/said || ended=1
	[ $ended = 0 ] && bad=
	result $ended "$name: $((passed - skipped)) passed, $skipped skipped" "$bad"
	grep '^ok.*# SKIP' /tmp/said | sed 's/^/# /'
}

# Debian's kernel gives huge pages unasked; the tests that look for single pages expect the others' default.
echo madvise >/sys/kernel/mm/transparent_hugepage/enabled
check 'restartable sequences serve on this kernel' says 'mode=pool percpu=rseq' as shim work facts
check 'a storm of six threads' as shim work storm 6 10
[ $# -gt 0 ] || set -- percpu percpu_taking percpu_same inject fallback seats seats_threads stack level range bump \
	backend pooled large os policy sizing acquire release block epoch giveback limits account misuse pool objects leaks \
	start vfork family aligned info libc early threads process forks cxx ends engine jemalloc_api misuse.shim \
	leaks.shim sandbox storms
for name in "$@"; do
	if [ "$name" = pool ]; then # it pretends to have one thread, and glibc here goes by that where Criterion has two
		program 'unit pool' 300 "$tests/unit/unit-pool" --tap -j1 \
			--filter 'pool/!(a_child_of_one_thread_has_everything_as_it_was)'
	elif [ -x "$tests/unit/unit-$name" ]; then
		program "unit $name" 300 "$tests/unit/unit-$name" --tap -j1
	elif [ -x "$tests/shim/shim-${name%.shim}" ]; then
		program "shim ${name%.shim}" 300 "$tests/shim/shim-${name%.shim}"
	else
		skip "$name" 'it was not built'
	fi
done
for name in parts pool; do
	program "unit tsan_$name" 120 "$tests/unit/unit-tsan_$name"
done
plan
