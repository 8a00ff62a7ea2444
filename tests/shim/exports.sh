#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What the shim exports is its contract with the dynamic linker: a name that is missing binds to glibc's and mixes two
# heaps, one too many replaces what nobody asked to be replaced. Neither may carry a version: programs ask for
# malloc@GLIBC_2.2.5, and only an unversioned malloc satisfies every such reference.
#
# Usage: exports.sh SHIM HEADER [ARCHIVE]: the same names have to be in the archive
set -u
LC_ALL=C
export LC_ALL

shim=$1
header=$2
number=0
failed=0
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

# result STATUS NAME [FILE]: one line of TAP, the file's lines as its explanation
result() {
	number=$((number + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $number - $2"
	else
		failed=1
		echo "not ok $number - $2"
		[ $# -lt 3 ] || sed 's/^/#   /' "$3"
	fi
}

# all FILE NAME...: the names as a sorted file
all() {
	file=$1
	shift
	printf '%s\n' "$@" | sort -u > "$file"
}

# required NAME: everything in $work/expected is in $work/exported
required() {
	comm -23 "$work/expected" "$work/exported" > "$work/missing"
	cat "$work/expected" >> "$work/allowed"
	[ -s "$work/expected" ] && ! [ -s "$work/missing" ]
	result $? "$1" "$work/missing"
}

if ! command -v nm > "$work/which"; then
	echo "1..0 # SKIP nm is not installed"
	exit 0
fi
if ! nm -D --defined-only "$shim" > "$work/nm"; then
	echo "Bail out! nm can't read $shim"
	exit 1
fi
awk '{ print $NF }' "$work/nm" | sort -u > "$work/versioned"
sed 's/@.*//' "$work/versioned" | sort -u > "$work/exported"
: > "$work/allowed"

all "$work/expected" malloc free calloc realloc posix_memalign aligned_alloc memalign valloc pvalloc cfree \
	malloc_usable_size free_sized free_aligned_sized malloc_trim mallinfo mallinfo2 malloc_info mallopt malloc_stats
required "the malloc family"

# new, new[], their nothrow, aligned and aligned nothrow forms; delete and delete[] with, besides, the sized ones
all "$work/expected" _Znwm _Znam _ZnwmRKSt9nothrow_t _ZnamRKSt9nothrow_t _ZnwmSt11align_val_t _ZnamSt11align_val_t \
	_ZnwmSt11align_val_tRKSt9nothrow_t _ZnamSt11align_val_tRKSt9nothrow_t \
	_ZdlPv _ZdaPv _ZdlPvm _ZdaPvm _ZdlPvRKSt9nothrow_t _ZdaPvRKSt9nothrow_t \
	_ZdlPvSt11align_val_t _ZdaPvSt11align_val_t _ZdlPvmSt11align_val_t _ZdaPvmSt11align_val_t \
	_ZdlPvSt11align_val_tRKSt9nothrow_t _ZdaPvSt11align_val_tRKSt9nothrow_t
required "the twenty operators of C++"

all "$work/expected" mallocx rallocx xallocx sallocx dallocx sdallocx nallocx mallctl mallctlnametomib mallctlbymib \
	malloc_stats_print malloc_conf malloc_message
required "jemalloc's own API"

# Every function that the headers declare, comments removed. What auto.h defines is inline, so is C++'s bufpool_small_.
cat "$(dirname "$header")"/*.h |
	sed -e ':again' -e 's,/\*.*\*/,,' -e '/\/\*/{N' -e 'b again' -e '}' |
	grep -o 'bufpool_[a-z_]*(' | tr -d '(' | sort -u | grep -v -e '_fn$' -e '^bufpool_auto_' -e '^bufpool_small_$' > "$work/expected"
required "every function of the public headers"

all "$work/expected" vfork unshare setns dlopen
required "what a second thread or a second malloc would break"

all "$work/expected" setrlimit setrlimit64 prlimit prlimit64 mlockall chroot
required "what reserved addresses would break"

all "$work/expected" prctl syscall
required "the ways into a sandbox"

grep -xE 'reallocarray|strn?dup|wcsdup|asprintf|vasprintf' "$work/exported" > "$work/wrong"
[ ! -s "$work/wrong" ]
result $? "not what glibc builds on the family" "$work/wrong"

sort -u "$work/allowed" | comm -13 - "$work/exported" > "$work/wrong"
[ ! -s "$work/wrong" ]
result $? "nothing else" "$work/wrong"

grep @ "$work/versioned" > "$work/wrong"
[ ! -s "$work/wrong" ]
result $? "no versions" "$work/wrong"

if [ $# -gt 2 ]; then
	nm --defined-only --extern-only "$3" 2> "$work/which" | awk 'NF == 3 { print $3 }' | grep -v '^DW\.ref\.' |
		sort | diff - "$work/exported" > "$work/wrong"
	result $? "the archive's names are the shim's, each once" "$work/wrong"
	nm --extern-only "$3" 2> "$work/which" | grep -E ' [TDBRC] _Z' > "$work/wrong"
	[ ! -s "$work/wrong" ]
	result $? "its operators are weak: a program may have its own" "$work/wrong"
fi

# Thread-local memory that is asked for at run time is allocated, inside malloc.
objdump -d --no-show-raw-insn "$shim" | grep 'call.*__tls_get_addr' > "$work/wrong"
[ ! -s "$work/wrong" ]
result $? "no thread-local memory on demand" "$work/wrong"

# Whatever runs under the shim would have to load these too: libjemalloc drags the C++ runtime in.
readelf -d "$shim" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' > "$work/needed"
grep -E '^(libstdc\+\+|libm|libgcc_s)\.' "$work/needed" > "$work/wrong"
[ ! -s "$work/wrong" ]
result $? "needs no C++ runtime of its own" "$work/wrong"

# dlclose of the last user must leave code that interrupted threads may still be in.
readelf -d "$shim" > "$work/dynamic"
grep -q NODELETE "$work/dynamic"
result $? "can't be unloaded"

readelf -lW "$shim" | grep -E 'GNU_STACK .* RWE' > "$work/wrong"
[ ! -s "$work/wrong" ]
result $? "no executable stack" "$work/wrong"

echo "1..$number"
exit $failed
