# shellcheck shell=sh
# SPDX-License-Identifier: BSD-2-Clause
#
# For the scripts that run in a guest: TAP, and programs under one allocator or another. SHIM and JEMALLOC are paths;
# `work` is the program of that name beside the scripts, in $here.
# shellcheck disable=SC2154 # whoever includes this has set it

cases=0
failures=0

result() { # STATUS TITLE OUTPUT
	cases=$((cases + 1))
	word='ok'
	if [ "$1" != 0 ]; then
		word='not ok'
		failures=$((failures + 1))
	fi
	printf '%s %d - %s\n' "$word" $cases "$2"
	[ -z "$3" ] || printf '%s\n' "$3" | sed 's/^\(# \)*/# /'
}

skip() { # TITLE REASON
	cases=$((cases + 1))
	printf 'ok %d - %s # SKIP %s\n' $cases "$1" "$2"
}

check() { # TITLE CMD...
	title=$1
	shift
	said=$("$@" 2>&1)
	result $? "$title" "$said"
}

# What is known not to hold yet: told, and a failure only where it is believed to hold.
todo() { # REASON TITLE CMD...
	reason=$1
	title=$2
	shift 2
	if said=$("$@" 2>&1); then
		result 0 "$title" "$said"
		return
	fi
	cases=$((cases + 1))
	printf 'not ok %d - %s # TODO %s\n' $cases "$title" "$reason"
	printf '%s\n' "$said" | sed 's/^\(# \)*/# /'
}

# What another allocator does is told, not judged. With a reason in `gap`, the shim need not do it yet.
note_or_check() { # ALLOCATOR TITLE CMD...
	if [ "$1" = shim ]; then
		shift
		if [ "${gap-}" ]; then
			todo "$gap" "$@"
		else
			check "$@"
		fi
		return
	fi
	printf '# %s: %s\n' "$1" "$2"
	shift 2
	said=$("$@" 2>&1)
	printf '%s\n' "$said" "status $?" | sed 's/^\(# \)*/#   /'
}

says() { # PATTERN CMD...: it ends well and prints that
	pattern=$1
	shift
	heard=$("$@" 2>&1)
	status=$?
	printf '%s\n' "$heard"
	[ $status = 0 ] && printf '%s\n' "$heard" | grep -q -e "$pattern"
}

as() { # glibc|jemalloc|shim CMD...
	case $1 in
	glibc) under= ;;
	jemalloc) under=$JEMALLOC ;;
	shim) under=$SHIM ;;
	esac
	shift
	if [ "$1" = work ]; then
		shift
		set -- "$here/work" "$@"
	fi
	LD_PRELOAD=$under "$@"
}

plan() {
	echo "1..$cases"
	[ $failures = 0 ]
}
