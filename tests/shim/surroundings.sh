#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The shim beside other libraries and in places that are not made for it: another preloaded allocator, an environment
# that is written over, dlopen, core files, no huge pages, ASan, programs that it can't get into.
#
# Usage: surroundings.sh SHIM LIBBUFPOOL GUEST COUNTER PLUGIN RUN; GUEST is guest.c, COUNTER counter.c, RUN ./run
set -u
LC_ALL=C
export LC_ALL
unset ASAN_OPTIONS BUFPOOL_CONF GLIBC_TUNABLES MALLOC_PERTURB_

shim=$1 library=$2 guest=$3 counter=$4 plugin=$5 run=$6
number=0
failed=0
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

# check NAME STATUS: the status of what has just been looked at; on failure what is in out and err is shown
check() {
	number=$((number + 1))
	if [ "$2" = 0 ]; then
		echo "ok $number - $1"
		return
	fi
	failed=1
	echo "not ok $number - $1"
	cat out err 2>/dev/null | head -n 8 | sed 's/^/#   /'
}

skip() {
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}

# with PRELOAD CMD...: into out and err
with() {
	preload=$1
	shift
	env LD_PRELOAD="$preload" "$@" > out 2> err
}

# ---- another preloaded library ----

"$guest" work > plain || exit 99

# Whoever is first gets the calls; either way the blocks come from the pool and find back to it.
export COUNTER=yes
with "$shim:$counter" "$guest" work && cmp -s plain out && grep -qx 'counter: none' err
check 'before another preloaded malloc' $?
with "$counter:$shim" env BUFPOOL_CONF="stats_print:true,stats_path:$work/stats.json" "$guest" work &&
	cmp -s plain out && grep -qx 'counter: all' err
check 'behind another preloaded malloc' $?
unset COUNTER
with "$counter:$shim" env BUFPOOL_CONF="stats_print:true,stats_path:$work/stats.json" "$guest" work &&
	grep -q '"misuse": *0[,}]' stats.json && grep -q '"hits": *[1-9]' stats.json
check 'blocks that come by way of another malloc are in the pool' $?

# ---- the start ----

case $(ldd "$shim") in
*libjemalloc*)
	skip 'the pool starts with the first call' "the shared jemalloc brings libstdc++, which allocates when it is loaded"
	;;
*)
	with "$shim" "$guest" start
	check 'the pool starts with the first call, not when it is loaded' $?
	;;
esac

# ---- the environment goes away ----

rm -f stats.json
with "$shim" env BUFPOOL_CONF="stats_print:true,stats_path:$work/stats.json" "$guest" overwrite &&
	cmp -s plain out && [ ! -s err ] && grep -q '"hits": *[1-9]' stats.json
check 'statistics at exit although the environment is overwritten' $?
with "$shim" env BUFPOOL_CONF=stats_print:true "$guest" overwrite && cmp -s plain out && grep -q '^bufpool ' err
check 'the same on standard error' $?

# ---- no huge pages ----

with "$shim" env BUFPOOL_CONF=thp:true "$guest" nohuge && cmp -s plain out && [ ! -s err ]
check 'huge pages asked for and forbidden' $?

# ---- dlopen ----

with '' "$guest" open "$library"
[ $? = 3 ] && grep -q 'cannot allocate memory in static TLS block' out
check "dlopen of the library: ld.so's message" $?
with '' env GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096 "$guest" open "$library" && grep -qx opened out
check 'dlopen of the library with the tunable' $?
with "$shim" env GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096 "$guest" open "$library" && grep -qx opened out
check 'dlopen of the library under the shim with the tunable' $?
with "$library" "$guest" open "$library" && grep -qx opened out
check 'dlopen of the library where it is preloaded' $?
with "$shim" "$guest" deep "$plugin" && grep -qx opened out && grep -q "RTLD_DEEPBIND" err && grep -q "$plugin" err &&
	[ "$(wc -l < err)" = 1 ]
check 'RTLD_DEEPBIND: a line that names the library' $?

# ---- core files ----

# Their size on disk: the tables are address space, not memory. du's unit is 1 KiB.
core_of() {
	rm -f core*
	sh -c "ulimit -c unlimited; LD_PRELOAD=$1 exec '$guest' dump $2" > out 2> err
	du -k core* 2>/dev/null | cut -f 1
}

can_dump=no
case $(cat /proc/sys/kernel/core_pattern) in
core*) sh -c 'ulimit -c unlimited' 2> err && can_dump=yes ;;
esac
for size in 1 60; do
	if [ "$can_dump" = no ]; then
		skip "a core file of $size MB" 'no core files in the current directory here'
		continue
	fi
	plain=$(core_of '' $size)
	under=$(core_of "$shim" $size)
	rm -f core*
	echo "# core file of $size MB: $plain kB, under the shim $under kB"
	[ -n "$plain" ] && [ -n "$under" ] && [ "$under" -le $((plain + plain / 20 + 4096)) ]
	check "a core file of $size MB has no tables in it" $?
done

# ---- where it can't get in ----

echo 'int main(void) { return 0; }' > empty.c
if cc -fsanitize=address -o asan empty.c 2> err && ./asan; then
	! with "$shim" ./asan && [ "$(wc -l < err)" = 1 ] && grep -q 'ASan runtime does not come first' err
	check 'an ASan program: one line' $?
else
	skip 'an ASan program' 'cc can not make one'
fi

# A copy of ./run beside a shim that needs no building; it changes nothing else.
mkdir -p tree/build/release/src/shim bin
cp "$run" tree/run
cp "$shim" tree/build/release/src/shim/
: > tree/build/release/build.ninja
printf '#!/bin/sh\nexit 0\n' > bin/ninja
chmod +x bin/ninja
PATH=$work/bin:$PATH

sh tree/run -- "$guest" work > out 2> err && cmp -s plain out && [ ! -s err ]
check './run -- of a usual program' $?
if cc -static -o static empty.c 2> err; then
	sh tree/run -- ./static > out 2> err && [ "$(wc -l < err)" = 1 ] && grep -q 'statically linked' err
	check './run -- of a static program: one line' $?
else
	skip './run -- of a static program' 'cc can not make one'
fi
cp "$guest" suid
if [ "$(id -u)" = 0 ] && chown 65534 suid && chmod u+s suid; then
	sh tree/run -- ./suid work > out 2> err && [ "$(wc -l < err)" = 1 ] && grep -q setuid err
	check './run -- of a setuid program: one line' $?
else
	skip './run -- of a setuid program' 'only root can make one'
fi

echo "1..$number"
exit $failed
