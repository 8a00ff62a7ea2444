# SPDX-License-Identifier: BSD-2-Clause
"""The usual tools for text, and shells with many children."""

QUICK = {
    'sort, in parallel': 'sort --parallel=2 -S 4M -k2 -k1n "$IN/words.txt"',
    'perl, hashes and lists':
        "perl -ne 'push @{$h{$1 % 97}}, $_ if /(\\d+)/; END { for (sort keys %h) { print sort @{$h{$_}} } }' "
        '"$IN/words.txt"',
    'sh, many children': 'i=0; while [ $i -lt 30 ]; do /bin/echo $i; (exit 0); x=$(expr $i + 1); i=$x; done',
}

LONG = {
    'awk, arrays':
        'awk "{ n[\\$1 % 1000] = n[\\$1 % 1000] \\" \\" NR } END { for (i = 0; i < 1000; i++) print i, n[i] }" '
        '"$IN/words.txt"',
    'sed, backreferences': 'sed -E "s/([0-9]+) (.*) ([0-9]+)/\\3 \\2 \\1/; s/words/WORDS/g" "$IN/words.txt"',
    'grep, patterns':
        'grep -E "(1|2)[0-9]*7 some .*9$" "$IN/words.txt"; grep -c -P "(?<=o)rd+s \\w+ s" "$IN/words.txt"',
    'diff, large files':
        'sort "$IN/words.txt" > a; sed "s/1 some/2 some/" a > b; diff -u --label a --label b a b; [ $? = 1 ]',
    'perl, large strings and sorting':
        "perl -e 'for (1 .. 4000) { $s .= \"$_ \" x ($_ % 50); push @a, substr($s, -$_ % 3000) if $_ % 7 == 0 } "
        "print length $s, \" \", length join(\"\", sort @a), \"\\n\"; $s =~ s/(\\d)(\\d)/$2$1/g; print $s'",
    'tar, there and back':
        'tar cf a.tar --sort=name --mtime=@0 --owner=0 --group=0 -C "$IN" . && tar tf a.tar && tar xOf a.tar | cksum',
    'bash, arrays and children':
        "bash -c 'x=(); for i in {1..4000}; do x+=(\"$i $((i * i))\"); done; printf \"%s\\n\" \"${x[@]}\"; "
        "for i in {1..20}; do y=$(echo $i | cat); echo $y; done'",
    'find, into xargs': 'find /usr/include -name "*.h" | sort | head -n 2000 | xargs -n 50 cksum',
    'make, two jobs': 'printf \'all: a b c d\\n%%:\\n\\t@echo $@ $(words $(shell seq 3000))\\n\' > Makefile && '
                      'make -s -j2 -Otarget | sort',
    'file, kinds': 'file -b "$IN/records.json" "$IN/records.xml" "$IN/records.bin" "$IN/items.c" /bin/sh',
    'curl, a file': 'curl -s "file://$IN/records.json"',
}
