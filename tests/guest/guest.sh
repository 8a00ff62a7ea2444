#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# guest.sh DIRECTORY [PART...]: whole machines under qemu's emulation, for what the one at hand does not have. Parts:
#
#	aarch64        the core's tests and the shim's where a kernel restarts the aarch64 sections; two CPUs
#	instructions_aarch64, instructions_x86_64
#	               user instructions of real programs under glibc, jemalloc and the shim
#	x86_64         cgroup 2, CPUs that go and come, locked memory, overcommit_memory=2, huge pages, core files
#	criu           dump and restore; for the tables over 1 TiB of addresses criu 3.17 wants 2 GiB of memory itself
#	small          a machine with 112 MiB
#
# Without any: all of them. TAP comes out; what a guest printed in whole stays in DIRECTORY/PART.log. Everything is
# Debian 12's own, its kernels included; but its jemalloc for aarch64 is built for pages of 64 KiB, with which
# everything passes through: there the same source (JEMALLOC_SOURCE, or DIRECTORY/jemalloc) is built for 4 KiB.
#
# As root, on x86_64. Packages: qemu-system-arm qemu-system-x86 mmdebstrap kmod cpio e2fsprogs meson ninja-build
# gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libcriterion-dev libjemalloc-dev; 8 GB in DIRECTORY. Half an hour on two
# cores, the first time ten minutes more.
set -u

here=$(dirname -- "$(readlink -f -- "$0")")
root=$(dirname -- "$(dirname -- "$here")")
[ $# -gt 0 ] || { sed -n '4,/^set -u/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1" && out=$(readlink -f -- "$1") || exit
shift
status=0

die() { echo "Bail out! $*"; exit 1; }

# step NAME CMD...: quiet; where it fails, what it said
step() {
	doing=$1
	shift
	echo "# $doing" >&2
	"$@" >"$out/step.log" 2>&1 </dev/null && return
	tail -n 30 "$out/step.log" >&2
	die "failed: $doing"
}

# ---- the machine: Debian's packages unpacked, nothing configured --------------------------------------------------

shared=base-files,dash,bash,mawk,sed,grep,findutils,diffutils,tar,gzip,coreutils,util-linux,mount,procps
shared=$shared,busybox-static,kmod,libc-bin,libc6-dev,libjemalloc2,libjemalloc-dev,libcriterion-dev,jq,python3
subjects=gcc,libxml2-utils,sqlite3,perl,git

userland() { # ARCHITECTURE PACKAGES
	tree=$out/$1
	if [ -f "$tree.complete" ]; then
		initrd "$tree"
		return
	fi
	rm -rf "$tree"
	step "unpacking Debian for $1" mmdebstrap --architectures="$1" --variant=extract \
		--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --include="$shared,$2" bookworm "$tree"
	# What the packages' scripts would have done, as far as it is needed.
	[ -e "$tree/bin/sh" ] || ln -s dash "$tree/bin/sh"
	[ -e "$tree/usr/bin/awk" ] || ln -s mawk "$tree/usr/bin/awk"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' >"$tree/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$tree/etc/group"
	echo '127.0.0.1 localhost' >"$tree/etc/hosts"
	depmod -b "$tree" "$(ls "$tree/lib/modules")" || die "depmod $tree"
	: >"$tree.complete"
	initrd "$tree"
}

# What must be loaded before there is a disk.
initrd() { # TREE
	work=$1.initrd.tmp
	rm -rf "$work"
	mkdir -p "$work/bin" "$work/modules" "$work/proc" "$work/sys" "$work/dev" "$work/root"
	cp "$1/bin/busybox" "$work/bin/"
	number=100
	for module in virtio_pci virtio_blk ext4; do
		modprobe -d "$1" -S "$(ls "$1/lib/modules")" --show-depends "$module"
	done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
		number=$((number + 1))
		cp "$file" "$work/modules/$number-${file##*/}"
	done
	cp "$here/initrd.sh" "$work/init" && chmod +x "$work/init"
	(cd "$work" && find . | cpio -o -H newc --quiet) >"$1.initrd" || die 'cpio'
	rm -rf "$work"
}

# ---- what runs in it ----------------------------------------------------------------------------------------------

jemalloc_4k() {
	source=${JEMALLOC_SOURCE-$out/jemalloc}
	[ ! -f "$out/4k/libjemalloc_pic.a" ] || return 0
	[ -d "$source" ] || die "no source of jemalloc in $source: apt-get source jemalloc, with deb-src in apt's sources"
	rm -rf "$out/4k.tmp" && cp -r "$source" "$out/4k.tmp" && cd "$out/4k.tmp" || exit
	[ -f configure ] || step 'jemalloc: autoconf' autoconf
	step 'jemalloc: configure' ./configure --host=aarch64-linux-gnu --with-lg-page=12 --with-lg-hugepage=21
	step 'jemalloc: make' make -j1 build_lib
	mkdir -p "$out/4k" && cp lib/libjemalloc_pic.a lib/libjemalloc.so.2 "$out/4k/" || exit
	cd "$out" && rm -rf "$out/4k.tmp"
}

cross_file() {
	cat <<-EOF
	[binaries]
	c = ['aarch64-linux-gnu-gcc', '--sysroot=$out/arm64', '-B$out/4k']
	cpp = ['aarch64-linux-gnu-g++', '--sysroot=$out/arm64']
	ar = 'aarch64-linux-gnu-ar'
	objcopy = 'aarch64-linux-gnu-objcopy'
	strip = 'aarch64-linux-gnu-strip'
	pkgconfig = 'pkg-config'
	[properties]
	sys_root = '$out/arm64'
	pkg_config_libdir = '$out/arm64/usr/lib/aarch64-linux-gnu/pkgconfig:$out/arm64/usr/share/pkgconfig'
	[host_machine]
	system = 'linux'
	cpu_family = 'aarch64'
	cpu = 'aarch64'
	endian = 'little'
	EOF
}

# built NAME TYPE SUITES MESON_OPTION...: the shim, and the programs of these suites (a pattern)
built() {
	name=$1 type=$2 suites=$3
	dir=$out/$1
	shift 3
	grep -qs "\"source\": \"$root\"" "$dir/meson-info/meson-info.json" || rm -rf "$dir" # another tree's
	[ -f "$dir/build.ninja" ] ||
		step "$name: meson" meson setup "$dir" "$root" --buildtype="$type" -Dtests=enabled -Dbench=false "$@"
	# shellcheck disable=SC2046 # a list of words
	step "$name: ninja" ninja -C "$dir" -j1 src/shim/libbufpool_preload.so src/libbufpool.so.0.1.0 \
		src/tools/bufpool-control \
		$(ninja -C "$dir" -t targets all | sed -n "s#^\(tests/\($suites\)/[^.:]*\(\.so\)\{0,1\}\): .*LINKER.*#\1#p")
}

workers() { # COMPILER DIRECTORY
	# It may not know malloc.
	step 'work' "$1" -std=gnu2x -D_GNU_SOURCE -O2 -fno-builtin -I"$root/include" "$here/work.c" -o "$2/work" -lpthread
	step 'count' "$1" -std=gnu2x -D_GNU_SOURCE -O2 -static "$here/count.c" -o "$2/count"
}

# The core's assembly with delays inside.
injected() { # TARGET
	step 'unit-inject' aarch64-linux-gnu-gcc --sysroot="$out/arm64" -std=gnu2x -D_GNU_SOURCE -O2 -fno-builtin-malloc \
		-DBP_JEMALLOC_EMBEDDED=1 -Wno-unused-label -include "$here/inject.h" -I"$root/src" -I"$root/include" \
		-I"$root/size_classes" "$root/tests/unit/inject.c" "$root/tests/unit/support.c" "$root"/src/percpu/*.c \
		"$root/src/sys/os.c" "$root/src/sys/limits.c" "$root/src/sys/text.c" "$root/src/sys/barrier.c" "$root/size_classes/size_classes.c" \
		-o "$1" -lcriterion -lpthread
}

scripts() { # ARCHITECTURE
	rm -rf "$out/$1/guest" && mkdir -p "$out/$1/guest" && cp "$here"/*.sh "$out/$1/guest/" || exit
}

# payload ARCHITECTURE BUILD STRIP: what was built, at its own path, for tests know each other by path
payload() {
	rm -rf "${out:?}/$1$out/$2"
	(cd "$out/$2" && find src tests -perm -u+x ! -type d ! -path '*.p/*') | while read -r file; do
		mkdir -p "$out/$1$out/$2/${file%/*}"
		cp -a "$out/$2/$file" "$out/$1$out/$2/$file"
		[ -h "$out/$1$out/$2/$file" ] || "$3" -g "$out/$1$out/$2/$file" 2>/dev/null
	done
}

# ---- running it ---------------------------------------------------------------------------------------------------

image() { # ARCHITECTURE
	rm -f "$out/$1.img"
	step "image of $1" mke2fs -q -t ext4 -O ^has_journal -d "$out/$1" "$out/$1.img" 3G
}

# run PART ARCHITECTURE SECONDS COMMAND QEMU_ARGUMENT...
run() {
	part=$1 architecture=$2 limit=$3
	printf '%s\n' "$4" >"$out/$architecture/guest/job"
	shift 4
	image "$architecture"
	case $architecture in
	arm64) set -- qemu-system-aarch64 -machine virt -cpu max,pauth=off "$@" && console=ttyAMA0 ;;
	amd64) set -- qemu-system-x86_64 -cpu max "$@" && console=ttyS0 ;;
	esac
	echo "# running: $part" >&2
	nice timeout "$limit" "$@" -nodefaults -display none -no-reboot -serial "file:$out/$part.raw" \
		-kernel "$out/$architecture"/boot/vmlinuz-* -initrd "$out/$architecture.initrd" \
		-append "console=$console quiet panic=-1 mitigations=off" \
		-drive "file=$out/$architecture.img,if=none,id=disk,format=raw,cache=unsafe,snapshot=on" \
		-device virtio-blk-pci,drive=disk </dev/null 2>"$out/$part.err"
	tr -d '\r' <"$out/$part.raw" >"$out/$part.log" && rm -f "$out/$part.raw"
	rm -f "$out/$architecture.img"
	results "$part"
}

# Numbered anew, with the part's name; a guest that did not come to its end is a failure.
results() {
	awk -v part="$1" '
		/^(not )?ok [0-9]+ / { title = $0; sub(/^(not )?ok [0-9]+ - /, "", title)
			print (/^not/ ? "not ok - " : "ok - ") part ": " title; next }
		/^#/ { print }
		/^@@@ end/ { ended = 1 }
		END { if (!ended) print "not ok - " part ": the guest came to its end" }' "$out/$1.log" >"$out/$1.tap"
	cat "$out/$1.tap"
	! grep '^not ok' "$out/$1.tap" | grep -qv '# TODO' || status=1
}

with_arm64() {
	[ ! "${arm64-}" ] || return 0
	userland arm64 "linux-image-arm64,$subjects"
	jemalloc_4k
	cross_file >"$out/arm64.cross"
	scripts arm64
	workers aarch64-linux-gnu-gcc "$out/arm64/guest"
	cp "$out/4k/libjemalloc.so.2" "$out/arm64/guest/"
	arm64=yes
}

with_amd64() {
	[ ! "${amd64-}" ] || return 0
	userland amd64 "linux-image-cloud-amd64,criu,$subjects"
	scripts amd64
	workers gcc "$out/amd64/guest"
	amd64=yes
}

settings() { # BUILD JEMALLOC
	echo "export BUILD=$out/$1 SHIM=$out/$1/src/shim/libbufpool_preload.so JEMALLOC=$2"
}

part_aarch64() {
	with_arm64
	built build-arm64 debugoptimized 'unit\|shim' --cross-file "$out/arm64.cross"
	injected "$out/build-arm64/tests/unit/unit-inject"
	payload arm64 build-arm64 aarch64-linux-gnu-strip
	run aarch64 arm64 2400 "$(settings build-arm64 /guest/libjemalloc.so.2)
sh /guest/aarch64.sh" -m 2048 -smp 2
}

# One CPU, for the counter's sake, and a clock that goes by instructions: epochs come as on a machine of 10^9 a second.
counting() { # PART ARCHITECTURE SETTINGS
	step 'count_plugin.so' gcc -std=gnu2x -O2 -fPIC -shared -fvisibility=hidden "$here/count_plugin.c" \
		-o "$out/count_plugin.so"
	rm -f "$out/counts" && mkfifo "$out/counts" || exit
	run "$1" "$2" 2400 "$3
sh /guest/instructions.sh" -m 2048 -smp 1 -icount shift=0,sleep=off -plugin "$out/count_plugin.so,to=$out/counts" \
		-chardev "pipe,id=counts,path=$out/counts" -device virtio-serial-pci -device virtserialport,chardev=counts
	rm -f "$out/counts"
}

part_instructions_aarch64() {
	with_arm64
	built build-arm64-release release none --cross-file "$out/arm64.cross"
	payload arm64 build-arm64-release aarch64-linux-gnu-strip
	counting instructions_aarch64 arm64 "$(settings build-arm64-release /guest/libjemalloc.so.2)"
}

debian_jemalloc=/usr/lib/x86_64-linux-gnu/libjemalloc.so.2

part_instructions_x86_64() {
	with_amd64
	built build-amd64-release release none
	payload amd64 build-amd64-release strip
	counting instructions_x86_64 amd64 "$(settings build-amd64-release "$debian_jemalloc")"
}

# usual PART SECONDS ARGUMENTS QEMU_ARGUMENT...
usual() {
	with_amd64
	built build-amd64 debugoptimized none
	payload amd64 build-amd64 strip
	name=$1 limit=$2 arguments=$3
	shift 3
	run "$name" amd64 "$limit" "$(settings build-amd64 "$debian_jemalloc")
sh /guest/x86_64.sh $arguments" "$@"
}

part_x86_64() { usual x86_64 1200 '' -m 2048 -smp 4; }

part_criu() { usual criu 600 criu -m 6144 -smp 2; }

part_small() { usual small 300 small -m 112 -smp 1; }

[ $# -gt 0 ] || set -- aarch64 instructions_aarch64 instructions_x86_64 x86_64 criu small
for chosen in "$@"; do
	case $chosen in
	aarch64 | instructions_aarch64 | instructions_x86_64 | x86_64 | criu | small) "part_$chosen" ;;
	*) die "there is no part $chosen" ;;
	esac
done
exit $status
