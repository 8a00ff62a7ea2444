#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Makes one object of jemalloc's PIC archive: embed_jemalloc.sh OUTPUT NAMES COMPILER. The public names are those that
# NAMES (sys/jemalloc_names.h) maps; everything else becomes local to the object. What the profiler needs of libm is
# asked of sys/math.h instead.
set -eu
output=$1 names=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
archive=
for dir in $(gcc -print-search-dirs | sed -n 's/^libraries: =//p' | tr ':' ' '); do
	[ -f "$dir/libjemalloc_pic.a" ] && archive=$dir/libjemalloc_pic.a && break
done
[ -n "$archive" ] || { echo "libjemalloc_pic.a not found (Debian: libjemalloc-dev); or configure -Djemalloc=shared" >&2; exit 1; }
cp "$archive" "$work/pic.a"
ar d "$work/pic.a" jemalloc_cpp.pic.o
sed -n 's/^#define je_\([a-z_]*\) \(bp_je_[a-z_]*\)$/\1 \2/p' "$names" >"$work/map"
sed 's/.* //' "$work/map" >"$work/keep"
# What it would register by itself runs inside handlers of ours (backend.c).
echo "pthread_atfork bp_jemalloc_atfork" >>"$work/map"
for name in exp log round; do echo "$name bp_$name"; done >>"$work/map"
ld -r --whole-archive "$work/pic.a" -o "$work/all.o"
objcopy --redefine-syms="$work/map" "$work/all.o" "$work/renamed.o"
objcopy --keep-global-symbols="$work/keep" "$work/renamed.o" "$output"
