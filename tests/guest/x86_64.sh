#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# x86_64.sh [PART...]: what this project's usual machines don't have, in a guest of its own (guest.sh) and as root, for
# it changes the whole machine: cgroup 2, CPUs that go and come, overcommit_memory=2, huge pages always and never. TAP;
# figures are comments. With no PART: all but criu and small.
set -u

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/guest/tap.sh
. "$here/tap.sh"

group=/sys/fs/cgroup/guest

# grouped MAX HIGH ALLOCATOR CMD...: in a group below the limited one, so that the limit is an ancestor's
grouped() {
	mkdir -p "$group/below" && echo "$1" >"$group/memory.max" && echo "$2" >"$group/memory.high" || return
	shift 2
	# shellcheck disable=SC2016 # the inner shell's
	sh -c 'echo $$ >"$0/below/cgroup.procs"; here=$1; . "$here/tap.sh"; shift; as "$@"' "$group" "$here" "$@"
	status=$?
	kills=$(sed -n 's/^oom_kill //p' "$group/memory.events")
	printf '# %s: memory.peak %s, killed %s\n' "$1" "$(cat "$group/memory.peak" 2>/dev/null || echo '?')" "$kills"
	rmdir "$group/below" "$group"
	return $status
}

part_facts() {
	LD_SHOW_AUXV=1 /bin/true | grep -i rseq | sed 's/^/# /'
	check 'restartable sequences serve on this kernel' says 'percpu=rseq' as shim work facts
	check 'every possible CPU works' as shim work storm 6 5
}

part_cgroup() {
	mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
	if ! echo +memory >/sys/fs/cgroup/cgroup.subtree_control; then
		skip 'cgroup 2' 'there is no memory controller'
		return
	fi
	check 'the budget knows a limit of 24 MiB on an ancestor' says 'budget_now=3145728' grouped 24M max shim work facts
	check 'and none where there is none' says 'budget_now=[^3]' grouped max max shim work facts
	for limit in 128M 64M 28M; do
		[ $limit != 28M ] || gap='a block of 16 KiB and more takes a page more, and the pool keeps a share of the limit'
		for allocator in glibc jemalloc shim; do
			note_or_check $allocator "blocks of seven sizes in turn, 20 MiB each, under memory.max $limit" \
				timeout 60 sh "$here/x86_64.sh" --grouped $limit max $allocator work phases 20 3
		done
	done
	todo 'the limit is read once' 'a limit that comes down to 64 MiB meanwhile' lowered
	gap=
	for limit in 64M 40M; do
		[ $limit != 40M ] || gap="where huge pages come unasked, jemalloc's own tables take one each"
		for allocator in glibc jemalloc shim; do
			note_or_check $allocator "the same under memory.high $limit" \
				timeout 25 sh "$here/x86_64.sh" --grouped max $limit $allocator work phases 20 3
		done
	done
	gap=
}

lowered() {
	mkdir -p "$group/below"
	# shellcheck disable=SC2016
	sh -c 'echo $$ >"$0/below/cgroup.procs"; here=$1; . "$here/tap.sh"; as shim work phases 20 8' "$group" "$here" &
	sleep 2
	echo 64M >"$group/memory.max"
	wait $!
	status=$?
	rmdir "$group/below" "$group"
	return $status
}

part_offline() {
	if ! [ -w /sys/devices/system/cpu/cpu1/online ]; then
		skip 'CPUs go and come' 'no CPU here can go'
		return
	fi
	for conf in percpu:rseq percpu:fallback; do
		check "CPUs go and come under a storm of six threads ($conf)" going_and_coming $conf
	done
	check 'a CPU that was not there at the start is used later' late_cpu
}

cpus() { # 0|1
	for cpu in /sys/devices/system/cpu/cpu[1-9]*; do
		[ "$(cat "$cpu/online")" = "$1" ] || echo "$1" >"$cpu/online" || return
	done
}

going_and_coming() {
	BUFPOOL_CONF=$1 as shim work storm 6 15 &
	storm=$!
	turns=0
	while kill -0 $storm 2>/dev/null && [ $turns -lt 200 ]; do
		for cpu in 1 2 3; do
			echo 0 >/sys/devices/system/cpu/cpu$cpu/online
			sleep 0.05
		done
		cpus 1
		sleep 0.05
		turns=$((turns + 1))
	done
	wait $storm
	status=$?
	cpus 1
	echo "# $turns times each of three CPUs"
	[ $turns -ge 3 ] && return $status
}

late_cpu() {
	cpus 0
	as shim work storm 6 6 &
	storm=$!
	sleep 2
	cpus 1
	wait $storm
}

part_lock() {
	# Of 16 MiB the libraries and the pool take too much: the call is refused, as under bare jemalloc.
	for limit in 16 64 1024; do
		answer='mlockall done'
		[ $limit != 16 ] || answer='mlockall'
		for allocator in glibc jemalloc shim; do
			note_or_check $allocator "mlockall and 8 MiB of blocks under RLIMIT_MEMLOCK of $limit MiB" \
				says 'refused=0' says "$answer" as $allocator prlimit --memlock=$((limit << 20)) setpriv --reuid=65534 \
				--regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all "$here/work" lock 8
		done
	done
	check 'mlockall where it is not limited' says 'mlockall done' as shim work lock 8
}

part_overcommit() {
	echo 2 >/proc/sys/vm/overcommit_memory
	for allocator in glibc jemalloc shim; do
		note_or_check $allocator 'memory to the end under overcommit_memory=2' as $allocator work fill 6000
		note_or_check $allocator 'a storm there' as $allocator work storm 6 3
	done
	check 'the pool serves there' says 'mode=pool' as shim work facts
	check 'Python there' says '^499999500000' as shim python3 -c 'print(sum(list(range(10**6))))'
	echo 0 >/proc/sys/vm/overcommit_memory
}

# Twice the time that is needed: a million small blocks go back in a sixteenth of the time, and time is slow here.
part_huge() {
	huge=/sys/kernel/mm/transparent_hugepage
	before=$(sed 's/.*\[\(.*\)\].*/\1/' $huge/enabled)
	echo 100 >$huge/khugepaged/scan_sleep_millisecs
	echo 65536 >$huge/khugepaged/pages_to_scan
	for how in never madvise always; do
		echo $how >$huge/enabled
		for allocator in jemalloc shim; do
			note_or_check $allocator "256 MiB and back, 20 s later, huge pages $how" grows_by 16384 \
				as $allocator work burst 256 20
		done
	done
	echo "$before" >$huge/enabled
}

# grows_by KIB CMD...: at most, by the line `# from X to Y KiB`
grows_by() {
	most=$1
	shift
	"$@" >/tmp/said
	status=$?
	cat /tmp/said
	grown=$(awk '/^# from/ { print $5 - $3 }' /tmp/said)
	[ $status = 0 ] && [ "${grown:-$((most + 1))}" -le "$most" ]
}

part_core() {
	for allocator in glibc jemalloc shim; do
		rm -rf /tmp/core && mkdir /tmp/core && cd /tmp/core || return
		echo core >/proc/sys/kernel/core_pattern
		# shellcheck disable=SC3045 # dash has it
		(ulimit -c unlimited && as $allocator work dump 32) >/dev/null 2>&1
		# shellcheck disable=SC2012
		size=$(ls -s --block-size=1K core* 2>/dev/null | awk '{ print $1 }')
		apparent=$(stat -c %s core* 2>/dev/null)
		echo "# $allocator: core of ${size:-no} KiB, $((${apparent:-0} >> 10)) by its length"
		note_or_check $allocator 'a core file is not larger than 64 MiB' test "${apparent:-999999999}" -le $((64 << 20))
		cd / || return
	done
	rm -rf /tmp/core
}

part_criu() {
	if ! command -v criu >/dev/null || ! criu check >/tmp/criu.txt 2>&1; then
		skip 'dump and restore' "criu: $(tail -n 1 /tmp/criu.txt)"
		return
	fi
	for allocator in glibc jemalloc shim; do
		note_or_check $allocator 'a storm is dumped, restored and goes on' restored $allocator
	done
	check 'a storm in the portable mode is dumped, restored and goes on' restored shim percpu:fallback
}

restored() { # ALLOCATOR [CONF]
	rm -rf /tmp/images && mkdir /tmp/images || return
	export BUFPOOL_CONF="${2-}"
	case $1 in
	jemalloc) under=$JEMALLOC ;;
	shim) under=$SHIM ;;
	*) under= ;;
	esac
	LD_PRELOAD=$under setsid "$here/work" storm 4 0 >/tmp/storm.txt 2>&1 </dev/null &
	shell=$!
	unset BUFPOOL_CONF
	sleep 3
	storm=$(pgrep -x work)
	if ! timeout 200 criu dump -t "$storm" -D /tmp/images -o log.txt --tcp-close --shell-job >/dev/null 2>&1; then
		grep Error /tmp/images/log.txt | sed 's/^/# dump: /'
		kill -KILL "$storm"
		wait $shell
		return 1
	fi
	wait $shell
	if ! timeout 200 criu restore -d -D /tmp/images -o back.txt --tcp-close --shell-job >/dev/null 2>&1; then
		grep Error /tmp/images/back.txt | sed 's/^/# restore: /'
		return 1
	fi
	du -sm /tmp/images | sed 's/^/# MiB of images: /'
	sleep 3
	kill -TERM "$storm" || return
	timeout 15 tail -f --pid="$storm" /dev/null
	cat /tmp/storm.txt
	grep -q '^done .* wrong=0' /tmp/storm.txt
}

part_small() {
	free -m | sed 's/^/# /'
	for allocator in glibc jemalloc shim; do
		note_or_check $allocator 'blocks of seven sizes in turn, 10 MiB each, on a machine with little memory' \
			timeout 60 sh "$here/x86_64.sh" --as $allocator work phases 10 3
	done
	check 'the pool serves there' says 'mode=pool' as shim work facts
	check 'jq there' says '^4999950000' as shim jq -n '[range(100000)]|add'
}

if [ "${1-}" = --grouped ]; then
	shift
	grouped "$@"
	exit
fi
if [ "${1-}" = --as ]; then # for timeout, which knows no functions
	shift
	as "$@"
	exit
fi
[ $# -gt 0 ] || set -- facts cgroup offline lock overcommit huge core
for part in "$@"; do
	echo "# part $part"
	"part_$part"
done
plan
