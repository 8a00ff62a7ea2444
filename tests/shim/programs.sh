#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Real programs with and without the shim: the same output, the same words on standard error, the same exit status.
# What isn't installed is skipped by name.
#
# Usage: programs.sh SHIM
# shellcheck disable=SC2016 # the scripts expand their own variables
set -u
LC_ALL=C
export LC_ALL

shim=$1
number=0
failed=0
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99

ok() {
	number=$((number + 1))
	echo "ok $number - $1"
}

not_ok() {
	number=$((number + 1))
	failed=1
	echo "not ok $number - $1"
}

# same NAME PROGRAM SCRIPT: the script, run by sh, says the same under the shim. PROGRAM is what it needs.
same() {
	if ! command -v "$2" > which.txt 2>&1; then
		ok "$1 # SKIP $2 is not installed"
		return
	fi
	timeout 50 sh -c "$3" > plain.out 2> plain.err < input.txt
	echo "status $?" >> plain.err
	timeout 50 env LD_PRELOAD="$shim" sh -c "$3" > shim.out 2> shim.err < input.txt
	echo "status $?" >> shim.err
	if [ ! -s plain.out ] || ! grep -qx 'status 0' plain.err; then
		not_ok "$1 (fails without the shim)"
		sed 's/^/#   /' plain.err | head -n 5
	elif cmp plain.out shim.out > difference.txt 2>&1 && cmp plain.err shim.err > difference.txt 2>&1; then
		ok "$1"
	else
		not_ok "$1"
		cat difference.txt shim.err | head -n 8 | sed 's/^/#   /'
	fi
}

# ---- input ----

awk 'BEGIN {
	print "["
	for (i = 0; i < 6000; i++) {
		printf "%s{\"id\": %d, \"name\": \"name %d\", \"tags\": [", i ? "," : "", i, i * 7919 % 6007
		for (j = 0; j < i % 9; j++)
			printf "%s\"tag-%d\"", j ? ", " : "", j * i
		printf "], \"nested\": {\"a\": %d.5, \"b\": null, \"c\": [true, false]}}\n", i % 100
	}
	print "]"
}' > input.json
awk 'BEGIN {
	print "<?xml version=\"1.0\"?>\n<root>"
	for (i = 0; i < 6000; i++)
		printf "<item id=\"%d\" kind=\"k%d\"><name>name %d</name><empty/><text>%d &amp; more</text></item>\n",
			i, i % 17, i * 7919 % 6007, i
	print "</root>"
}' > input.xml
awk 'BEGIN { for (i = 0; i < 120000; i++) printf "%d some words to sort %d\n", i * 7919 % 120011, i % 100 }' > input.txt
awk 'BEGIN {
	print "create table t(a integer primary key, b text, c real);\nbegin;"
	for (i = 0; i < 8000; i++)
		printf "insert into t values(%d, \"row %d\", %d.25);\n", i, i * 7919 % 8009, i
	print "commit;\ncreate index i on t(b);"
	print "select count(*), sum(c), min(b), max(b) from t;"
	print "select a, b from t where b like \"row 1%\" order by b limit 500;"
	print "select x.a, y.b from t x join t y on x.a = y.a + 1 order by y.b desc limit 500;\nvacuum;"
}' | tr '"' "'" > input.sql

# Without this one the others could compare glibc with glibc.
if [ "$(env LD_PRELOAD="$shim" grep -c "$shim" /proc/self/maps)" -gt 0 ]; then
	ok "the shim is loaded"
else
	not_ok "the shim is loaded"
fi

# ---- programs ----

same "jq" jq 'jq -S "[.[] | select(.id % 3 == 0) | {id, name, n: (.tags | length)}] | group_by(.n)" input.json'
same "jq, streaming" jq 'jq -c --stream "select(length == 2)" input.json'
same "python3: JSON there and back" python3 'python3 -c "
import json, sys
data = json.load(open(\"input.json\"))
text = json.dumps(data, indent=1, sort_keys=True)
assert json.loads(text) == data
sys.stdout.write(text)"'
same "python3: 48 kB strings, threads, children" python3 'python3 -c "
import threading, subprocess, hashlib
def work(n, out):
    kept = []
    for i in range(3000):
        kept.append(bytes([i % 251]) * (48000 + n))
        if len(kept) > 50: kept.pop(0)
    out[n] = hashlib.sha256(b\"\".join(kept)).hexdigest()
out = {}
threads = [threading.Thread(target=work, args=(n, out)) for n in range(4)]
[t.start() for t in threads]
texts = [subprocess.run([\"sh\", \"-c\", \"echo \" + str(i)], capture_output=True).stdout for i in range(20)]
[t.join() for t in threads]
print(sorted(out.items()), texts)"'
same "sort, in parallel" sort 'sort --parallel=2 -S 4M -k2 -k1n input.txt'
same "gzip there and back" gzip 'gzip -9c input.json | tee gz.tmp | gzip -dc; gzip -c input.txt | cksum'
same "xz with threads" xz 'xz -T2 --block-size=500000 -1c input.json | xz -dc'
same "bzip2 there and back" bzip2 'bzip2 -c input.xml | bzip2 -dc'
same "zstd with threads" zstd 'zstd -q -T2 -5 -c input.json | zstd -dc'
same "xmllint, formatting" xmllint 'xmllint --format input.xml'
same "xmllint, XPath" xmllint "xmllint --xpath '//item[@kind=\"k3\"]/name/text()' input.xml"
same "sqlite3" sqlite3 'sqlite3 :memory: < input.sql'
same "perl" perl 'perl -ne "push @{\$h{\$1 % 97}}, \$_ if /(\d+)/; END { for (sort keys %h) { print sort @{\$h{\$_}} } }" input.txt'
same "awk" awk 'awk "{ n[\$1 % 1000] = n[\$1 % 1000] \" \" NR } END { for (i = 0; i < 1000; i++) print i, n[i] }" input.txt'
same "sed" sed 'sed -E "s/([0-9]+) (.*) ([0-9]+)/\3 \2 \1/; s/words/WORDS/g" input.txt'
same "grep" grep 'grep -E "(1|2)[0-9]*7 some .*9$" input.txt'
same "tar" tar 'tar cf - --sort=name --mtime=@0 --owner=0 --group=0 input.json input.xml input.txt | tar tvf - ; tar cf - input.xml | tar xOf -'
same "git" git 'rm -rf r && mkdir r && cd r && export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 && git init -q . 2> i.txt &&
	for i in 1 2 3 4 5; do sed "s/words/$i/" ../input.txt > f && git hash-object -w f; done && git fsck 2> f.txt
	git diff --no-index --stat ../input.txt f; true'
same "node" node 'node -e "
const d = JSON.parse(require(\"fs\").readFileSync(\"input.json\"));
const z = require(\"zlib\").deflateSync(JSON.stringify(d));
console.log(require(\"zlib\").inflateSync(z).toString() === JSON.stringify(d), d.length, z.length)"'
same "bash" bash 'bash -c "x=(); for i in {1..4000}; do x+=(\"\$i \$((i * i))\"); done; printf \"%s\n\" \"\${x[@]}\";
	for i in {1..20}; do y=\$(echo \$i | cat); echo \$y; done"'
same "sh with many children" sh 'i=0; while [ $i -lt 60 ]; do /bin/echo $i; (exit 0); x=$(expr $i + 1); i=$x; done'
same "find and xargs" find 'find /etc -maxdepth 2 -name "*.conf" 2> find.tmp | sort | xargs -n 3 -P 1 echo'
same "make" make 'printf "all: a b c\n%%:\n\t@echo \$@ \$(words \$(shell seq 1000))\n" > m.mk; make -s -f m.mk -j2 | sort'
same "cc" cc 'printf "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { return printf(\"%%d\", abs(-7)) != 1; }\n" > p.c
	cc -O2 -S -o - p.c'
same "openssl" openssl 'openssl dgst -sha256 input.json; openssl enc -aes-128-cbc -K 00 -iv 00 -in input.txt 2> e.tmp | cksum'
same "curl" curl 'curl -s "file://$PWD/input.json"'
same "file" file 'file -b input.json input.xml gz.tmp'
same "xsltproc" xsltproc 'printf "%s" "<xsl:stylesheet version=\"1.0\" xmlns:xsl=\"http://www.w3.org/1999/XSL/Transform\"><xsl:template match=\"/\"><out><xsl:for-each select=\"//item\"><xsl:sort select=\"name\"/><xsl:copy-of select=\"name\"/></xsl:for-each></out></xsl:template></xsl:stylesheet>" > t.xsl
	xsltproc t.xsl input.xml'

echo "1..$number"
exit $failed
