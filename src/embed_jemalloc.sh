#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Makes one object of jemalloc's PIC archive: embed_jemalloc.sh OUTPUT NAMES AR OBJCOPY COMPILER... The public names are
# those that NAMES (sys/jemalloc_names.h) maps; everything else becomes local to the object. What the profiler needs of
# libm is asked of sys/math.h instead. The compiler, with its arguments, knows where the archive of its machine is.
set -eu
output=$1 names=$2 ar=$3 objcopy=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
archive=$("$@" -print-file-name=libjemalloc_pic.a)
[ -f "$archive" ] || { echo "libjemalloc_pic.a not found (Debian: libjemalloc-dev); or configure -Djemalloc=shared" >&2; exit 1; }
cp "$archive" "$work/pic.a"
"$ar" d "$work/pic.a" jemalloc_cpp.pic.o
sed -n 's/^#define je_\([a-z_]*\) \(bp_je_[a-z_]*\)$/\1 \2/p' "$names" >"$work/map"
sed 's/.* //' "$work/map" >"$work/keep"
# What it would register by itself runs inside handlers of ours (backend.c).
echo "pthread_atfork bp_jemalloc_atfork" >>"$work/map"
for name in exp log round; do echo "$name bp_$name"; done >>"$work/map"
"$@" -r -nostdlib -Wl,--whole-archive "$work/pic.a" -o "$work/all.o"
"$objcopy" --redefine-syms="$work/map" "$work/all.o" "$work/renamed.o"
"$objcopy" --keep-global-symbols="$work/keep" "$work/renamed.o" "$output"
