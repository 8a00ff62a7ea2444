#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check.sh DIRECTORY: what can be shown of the aarch64 port without such a machine, as TAP. The engine compiles at three
# levels of optimisation and links into a shared library; the sections and vfork compute the right thing under qemu-user
# (which has no rseq: see straight.c for what that leaves open). DIRECTORY: where what is built goes.
set -u

root=$(dirname -- "$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")")
out=$1
cross=aarch64-linux-gnu-gcc
qemu=$(command -v qemu-aarch64-static || command -v qemu-aarch64)
flags="-std=gnu2x -D_GNU_SOURCE -DBP_JEMALLOC_EMBEDDED=1 -fno-builtin-malloc -Wall -Wextra -Wno-unused-label -Werror"
status=0
cases=0

result() { # TITLE STATUS OUTPUT
	cases=$((cases + 1))
	if [ "$2" = 0 ]; then
		printf 'ok %d - %s\n' $cases "$1"
	else
		printf 'not ok %d - %s\n' $cases "$1"
		[ -z "$3" ] || printf '%s\n' "$3" | sed 's/^/# /'
		status=1
	fi
}

skip() { # TITLE REASON
	cases=$((cases + 1))
	printf 'ok %d - %s # SKIP %s\n' $cases "$1" "$2"
}

compile() { # ARGUMENTS...
	# shellcheck disable=SC2086 # flags are a list of words
	$cross $flags -I"$root/src" -I"$root/include" -I"$root/size_classes" "$@" 2>&1
}

# The file that includes jemalloc's header is left out where there is none. (A header for this machine serves.)
sources() {
	for file in "$root"/src/sys/*.c "$root"/src/percpu/*.c "$root"/src/cache/*.c "$root"/src/api/*.c \
		"$root"/src/shim/*.c \
		"$root"/src/shim/vfork_aarch64.S "$root"/size_classes/*.c; do
		case $file in
		*_x86_64.c) continue ;;
		*/sys/backend.c) printf '#include <jemalloc/jemalloc.h>\n' | $cross -E - >/dev/null 2>&1 || continue ;;
		esac
		printf '%s\n' "$file"
	done
}

compiled() { # LEVEL
	said=
	bad=0
	for file in $(sources); do
		object=$out/aarch64$1-$(printf '%s' "${file#"$root"/}" | tr / _).o
		said=$said$(compile "$1" -fPIC -fvisibility=hidden -c "$file" -o "$object") || bad=1
	done
	result "the engine compiles with $1" $bad "$said"
	[ $bad = 0 ] || return
	# What C++ defines is left out: its compiler for aarch64 may not be there, and nothing in it knows the machine.
	said=$($cross -shared -Wl,-z,text -Wl,--defsym=bp_shim_caught=0 "$out/aarch64$1"-*.o -lm -o "$out/aarch64$1.so" 2>&1)
	result "and links into a shared library ($1)" $? "$said"
}

# program NAME LEVEL SOURCE...: its own cases, under the number that they have here
program() {
	name=$1
	level=$2
	shift 2
	title="$name ($level)"
	[ -n "$qemu" ] || { skip "$title" 'qemu-aarch64 is not installed'; return; }
	said=$(compile "$level" -static "$@" "$root"/src/percpu/*.c "$root/src/sys/os.c" "$root/src/sys/limits.c" "$root/src/sys/text.c" \
		"$root/src/sys/barrier.c" "$root"/size_classes/size_classes.c -o "$out/aarch64-$name" -lpthread)
	result "$title compiles" $? "$said"
	[ -x "$out/aarch64-$name" ] || return
	said=$("$qemu" "$out/aarch64-$name" 2>&1)
	ended=$?
	# A program that died has not printed its plan; one that failed says so by its status, too.
	printf '%s\n' "$said" | grep -q '^1\.\.[1-9]' || ended=1
	printf '%s\n' "$said" >"$out/aarch64-$name.txt"
	while IFS= read -r line; do
		case $line in
		*'# SKIP '*)
			case_title=${line#ok * - }
			skip "$name $level: ${case_title%% # SKIP *}" "${line#*# SKIP }"
			;;
		'ok '*) result "$name $level: ${line#ok * - }" 0 '' ;;
		'not ok '*) result "$name $level: ${line#not ok * - }" 1 '' ;;
		esac
	done <"$out/aarch64-$name.txt"
	result "$title ends well" $ended "$said"
	rm -f "$out/aarch64-$name"
}

if ! command -v $cross >/dev/null; then
	skip 'the aarch64 port' "$cross is not installed"
	echo 1..1
	exit 0
fi
mkdir -p "$out" || exit 1
for level in -O0 -O2 -O3; do
	compiled "$level"
	program straight "$level" "$root/tests/aarch64/straight.c"
	program vfork "$level" "$root/tests/aarch64/vfork.c" "$root/src/shim/vfork_aarch64.S"
	rm -f "$out/aarch64$level"*
done
echo "1..$cases"
exit $status
