#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The shim as one object, for an archive: archive.sh OUTPUT EXPORTS OBJCOPY COMPILER... -- OBJECTS... One, so that whoever
# links malloc gets vfork, prctl and the rest of it, too. Its names are those of EXPORTS (preload.map). C++'s operators
# are weak: a program may define some of them itself.
set -eu
output=$1 exports=$2 objcopy=$3
shift 3
compiler=
while [ "$1" != -- ]; do
	compiler="$compiler $1"
	shift
done
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sed -n '/global:/,/local:/p' "$exports" | tr ';' '\n' |
	sed -n 's/^[[:space:]]*\([a-zA-Z_][a-zA-Z0-9_*]*\)$/\1/p' >"$work/keep"
# One a program, of which the linker keeps one.
echo DW.ref.__gxx_personality_v0 >>"$work/keep"
# -d: tables that are common become this object's own.
# shellcheck disable=SC2086 # a list of words
$compiler -r -nostdlib -Wl,-d -o "$work/all.o" "$@"
"$objcopy" --wildcard --keep-global-symbols="$work/keep" --weaken-symbol='_Z*' "$work/all.o" "$output"
