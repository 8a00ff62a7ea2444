#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# instructions.sh [PROGRAM...]: user instructions of real programs under glibc, jemalloc and the shim, as the emulator
# counts them (count_plugin.c; nearly the same number each time: one run each). A program is held to at most 1 % more
# than under bare jemalloc. Bare jemalloc's start costs more than the shim's (it brings libstdc++ along), which weighs in
# a short run: the ratio without what `true` costs stands beside it. Input is made here. TAP; figures are comments.
set -u

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/guest/tap.sh
. "$here/tap.sh"

data=/tmp/data

# Small enough for a machine of a hundred million instructions a second.
inputs() {
	mkdir -p $data && cd $data || exit 1
	python3 - <<-'EOF'
	import json, random
	random.seed(1)
	rows = [{"id": i, "name": "n%d" % random.randrange(10**6), "nested": {"a": random.random(), "b": [i, i + 1]},
	         "tags": ["t%d" % random.randrange(50) for _ in range(6)], "text": "x" * random.randrange(200)}
	        for i in range(2500)]
	json.dump(rows, open("in.json", "w"))
	row = '<row id="%(id)d"><name>%(name)s</name><text>%(text)s</text></row>'
	with open("in.xml", "w") as f:
	    f.write("<rows>%s</rows>" % "".join(row % r for r in rows * 2))
	with open("in.c", "w") as f:
	    for i in range(120):
	        f.write("struct s%d { int a[%d]; char *b; }; int f%d(struct s%d *p, int n)"
	                " { int t = 0; for (int i = 0; i < n; i++) t += p[i].a[i %% %d] * %d; return t; }\n"
	                % (i, i + 1, i, i, i + 1, i))
	EOF
	echo 'import json, sys; d = json.load(open(sys.argv[1])); print(len(json.dumps(d)))' >in.py
	cat >in.pl <<-'EOF'
	my %h;
	for my $i (1 .. 60000) { $h{$i % 5000} .= "x$i"; }
	print length(join ",", map { $h{$_} } sort keys %h), "\n";
	EOF
	git init -q repository 2>/dev/null && cd repository || return
	python3 - <<-'EOF' | git fast-import --quiet
	import random
	random.seed(2)
	lines = ["line %d %s" % (i, "y" * random.randrange(80)) for i in range(1500)]
	for n in range(1, 61):
	    for _ in range(25):
	        lines[random.randrange(len(lines))] = "change %d %d" % (n, random.random() * 10**9)
	    text = "\n".join(lines)
	    print("commit refs/heads/main\ncommitter g <g@example.org> %d +0000\ndata 8\ncommit%2d" % (n, n))
	    print("M 644 inline file%d\ndata %d\n%s" % (n % 4, len(text), text))
	EOF
}

count=$here/count
export PYTHONHASHSEED=0 PERL_HASH_SEED=0 # else each run hashes differently

command_of() {
	case $1 in
	true) echo "$count true" ;;
	jq) echo "$count jq -c 'map(select(.id % 3 == 0) | .nested.b) | add | length' $data/in.json" ;;
	xmllint) echo "$count xmllint --format -o /dev/null $data/in.xml" ;;
	sqlite3) echo "$count sqlite3 :memory: 'create table t(a, b); with recursive n(i) as (select 1 union all
		select i + 1 from n where i < 15000) insert into t select i, hex(i * 7919) from n; create index x on t(b);
		select count(*), max(b) from t where b like \"3%\";'" ;;
	python) echo "$count python3 $data/in.py $data/in.json" ;;
	python-malloc) echo "PYTHONMALLOC=malloc $count python3 $data/in.py $data/in.json" ;;
	git) echo "$count git -C $data/repository log -p main" ;;
	perl) echo "$count perl $data/in.pl" ;;
	gcc) echo "$count gcc -O1 -S -o - $data/in.c" ;;
	pairs) echo "$count $here/work pairs $2 $3" ;;
	esac
}

# counted ALLOCATOR PROGRAM...: its instructions; what it prints goes to a file
counted() {
	preload=
	[ "$1" = glibc ] || preload=$JEMALLOC
	[ "$1" = shim ] && preload=$SHIM
	out=/tmp/out.$1
	shift
	eval "LD_PRELOAD='$preload' $(command_of "$@")" >"$out" 2>/tmp/err 3<&-
	status=$?
	read -r instructions <&3
	[ $status = 0 ] && echo "$instructions"
}

ratio() { # A B
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.4f", a / b }'
}

pair() { # BYTES
	line="# a pair of $1 bytes, in rows of 100:"
	for allocator in glibc jemalloc shim; do
		few=$(counted $allocator pairs "$1" 20000)
		many=$(counted $allocator pairs "$1" 120000)
		line="$line $allocator $(((many - few) / 100000)),"
	done
	echo "${line%,}"
}

inputs
modprobe virtio_console
exec 3</dev/vport0p1
jemalloc_start=$(counted jemalloc true)
shim_start=$(counted shim true)
echo "# true: glibc $(counted glibc true), jemalloc $jemalloc_start, shim $shim_start;" \
	"shim/jemalloc $(ratio "$shim_start" "$jemalloc_start")"
for bytes in 64 1024 16384 40000; do
	pair $bytes
done
[ $# -gt 0 ] || set -- jq xmllint sqlite3 python python-malloc git perl gcc
for program in "$@"; do
	glibc=$(counted glibc "$program")
	jemalloc=$(counted jemalloc "$program")
	shim=$(counted shim "$program")
	if [ -z "$glibc" ] || [ -z "$jemalloc" ] || [ -z "$shim" ]; then
		result 1 "$program runs" "$(cat /tmp/err)"
		continue
	fi
	echo "# $program: glibc $glibc, jemalloc $jemalloc, shim $shim; shim/jemalloc $(ratio "$shim" "$jemalloc")," \
		"without start $(ratio $((shim - shim_start)) $((jemalloc - jemalloc_start)))," \
		"shim/glibc $(ratio "$shim" "$glibc")"
	cmp -s /tmp/out.glibc /tmp/out.shim
	result $? "$program prints the same" ''
	[ "$((shim * 100))" -le "$((jemalloc * 101))" ]
	result $? "$program: at most 1 % more user instructions than under bare jemalloc" ''
done
plan
