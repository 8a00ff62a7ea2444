#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Programs of libraries without allocator hooks, linked with bufpool-malloc.pc and bufpool-malloc-static.pc as docs/shim.md says,
# against the same linked without: the same output, from the pool, and nothing is preloaded.
#
# Usage: linked.sh COMPILER PKG_CONFIG_DIRECTORY LIBRARY_DIRECTORIES SOURCES INPUT
set -u
LC_ALL=C
export LC_ALL
unset LD_PRELOAD BUFPOOL_CONF

compiler=$1
PKG_CONFIG_PATH=$2
export PKG_CONFIG_PATH
libraries=$3
sources=$4
input=$5
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
number=0
failed=0

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

# build NAME SOURCE [-static] PACKAGES...: Debian's linker flags, which drop what isn't needed
build() {
	name=$1
	source=$2
	shift 2
	form=
	[ "$1" != -static ] || { form=$1 && shift; }
	# shellcheck disable=SC2046,SC2086 # lists of words
	$compiler $form -O2 -o "$work/$name" "$sources/$source" -Wl,--as-needed $(pkg-config --cflags --libs "$@") \
		>"$work/log" 2>&1
}

# needs NAME: is the shim among what the program asks the dynamic linker for?
needs() { readelf -d "$work/$1" | grep -q 'NEEDED.*libbufpool_preload\.so'; }

# from_pool: does $work/stats say so? Without rseq small blocks pass through, and only large ones are the pool's.
from_pool() {
	least=10000
	grep -q 'percpu rseq' "$work/stats" || least=1
	[ "$(counted "$([ $least = 1 ] && echo acquired || echo hits)")" -ge $least ]
}

# counted FIELD: of the statistics in $work/stats, 0 where there are none
counted() {
	value=$(sed -n "s/^ *$1 \([0-9]*\) .*/\1/p" "$work/stats" | head -n 1)
	echo "${value:-0}"
}

# try LIBRARY SOURCE
try() {
	library=$1
	source=$2
	if ! pkg-config --exists "$library"; then
		number=$((number + 1))
		echo "ok $number - $library # SKIP not here"
		return
	fi
	build plain "$source" "$library"
	result $? "$library: a program is built" "$work/log"
	build linked "$source" "$library" bufpool-malloc
	result $? "$library: the same with bufpool-malloc" "$work/log"
	! needs plain && needs linked
	result $? "$library: the one asks for the shim, the other doesn't"

	"$work/plain" "$input" >"$work/expected" 2>"$work/log" && [ -s "$work/expected" ]
	result $? "$library: runs on libc" "$work/log"
	LD_LIBRARY_PATH=$libraries BUFPOOL_CONF=stats_print:true "$work/linked" "$input" \
		>"$work/printed" 2>"$work/stats" && cmp -s "$work/expected" "$work/printed"
	result $? "$library: runs on the pool, with the same output" "$work/stats"
	from_pool
	result $? "$library: its blocks come from the pool" "$work/stats"

	if ! pkg-config --exists bufpool-malloc-static; then
		number=$((number + 1))
		echo "ok $number - $library: the same with the archive # SKIP built with the shared jemalloc: there is none"
		return
	fi
	build archived "$source" bufpool-malloc-static "$library" && ! needs archived &&
		BUFPOOL_CONF=stats_print:true "$work/archived" "$input" >"$work/printed" 2>"$work/stats" &&
		cmp -s "$work/expected" "$work/printed" && from_pool
	result $? "$library: the same with the archive" "$work/stats"
}

try json-c json_c.c
try yaml-0.1 yaml.c

# static_program: nothing could be preloaded under it
static_program() {
	if ! pkg-config --exists bufpool-malloc-static || ! pkg-config --exists yaml-0.1; then
		number=$((number + 1))
		echo "ok $number - a static program # SKIP no archive, or no libyaml"
		number=$((number + 1))
		echo "ok $number - a static program's leak report # SKIP no archive, or no libyaml"
		return
	fi
	build plain yaml.c yaml-0.1 && "$work/plain" "$input" >"$work/expected" &&
		build static yaml.c -static bufpool-malloc-static yaml-0.1 &&
		! readelf -l "$work/static" | grep -q INTERP &&
		BUFPOOL_CONF=stats_print:true "$work/static" "$input" >"$work/printed" 2>"$work/stats" &&
		cmp -s "$work/expected" "$work/printed" && from_pool
	result $? 'a static program has the pool as well' "$work/log"

	# libc allocates before the unwinder can know the program.
	BUFPOOL_CONF=leaks:true,leaks_path:$work/leaks "$work/static" "$input" >"$work/printed" 2>"$work/log" &&
		cmp -s "$work/expected" "$work/printed" && grep -q '^bufpool:   .*: static+0x' "$work/leaks"
	result $? "a static program's leak report is printed" "$work/leaks"
}
static_program

build both both.c bufpool-malloc bufpool
LD_LIBRARY_PATH=$libraries "$work/both" >"$work/printed" 2>>"$work/log" && grep -qx 'one engine' "$work/printed"
result $? 'bufpool-malloc before bufpool: one engine' "$work/log"
echo "1..$number"
exit $failed
