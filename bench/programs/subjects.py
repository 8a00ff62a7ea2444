# SPDX-License-Identifier: BSD-2-Clause
"""The programs that are measured. One more is one more entry in SUBJECTS.

`argv` runs in an empty directory, `{in}` in it is the directory of the input; `before` is a script that runs there
first, not measured; `beside` a script that runs while the program does (a server), not measured either, and ends it.
What a program prints (with `beside`: what that prints) must be the same on every allocator.
"""
import collections
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
RUN = os.path.join(HERE, '..', 'run')
sys.path.insert(0, RUN)
import table    # noqa: E402, the programs of ./run are measured here, too

PYTHON = '/usr/bin/python3' if os.path.exists('/usr/bin/python3') else sys.executable
SCALE = 25      # of inputs.py: as much as ./run has
SCALE_C = 5     # and that much for the compiler
COMMITS = 800

Subject = collections.namedtuple('Subject', 'what argv stdin before beside', defaults=(None, None, None))

# What bytes(n) makes is zeroed: it comes from calloc.
LOOP = 'for _ in range(150_000): x = bytes(48_000)\nprint(len(x))'

JSON = '''import json, sys
data = json.load(open(sys.argv[1], encoding="utf-8"))
text = json.dumps(data, indent=1, sort_keys=True)
print(len(text), json.loads(text) == data)'''

NODE = '''const fs = require("fs"), zlib = require("zlib"), crypto = require("crypto");
const text = fs.readFileSync(process.argv[1], "utf8"), data = JSON.parse(text), hash = crypto.createHash("sha256");
for (const item of data.slice(0, 12000))
	hash.update(zlib.inflateSync(zlib.deflateSync(Buffer.from(JSON.stringify(item)))));
console.log(data.length, hash.digest("hex"));'''

PERL = ('last if $. > 200_000; push @{$h{$1 % 9973}}, [$1, split / /] if /^(\\d+)/; '
        'END { for (sort keys %h) { $n += @{$_} for @{$h{$_}}; $s .= join ",", sort map { $_->[1] } @{$h{$_}} } '
        'print "$n ", length $s, "\\n" }')

# The benchmark's own work is the same for all; only the server's is counted. What is set is read back. The final memory
# is that of a server which lost its data three seconds ago. Debian's redis links jemalloc: that is its "glibc", too.
REDIS = '''until redis-cli -s redis.sock ping > ping 2>&1 && grep -q PONG ping; do sleep 0.05; done
for kind in "-n 40000 -P 8 -d 64 -r 50000 -t set,get" "-n 10000 -d 3000 -r 5000 -t set,get,lpush" \
	"-n 10000 -d 40000 -r 500 -t set,get"; do
	redis-benchmark -s redis.sock -q $kind > said || echo failed
done
i=0; while [ $i -lt 200 ]; do echo "SET k$i $(printf %0$((i * 50 + 1))d $i)"; i=$((i + 1)); done |
	redis-cli -s redis.sock > answers; sort answers | uniq -c
i=0; while [ $i -lt 200 ]; do echo "GET k$i"; i=$((i + 1)); done | redis-cli -s redis.sock | cksum
redis-cli -s redis.sock flushall; sleep 3; redis-cli -s redis.sock dbsize; redis-cli -s redis.sock shutdown nosave'''

REPOSITORY = f'''export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
if [ ! -d "$IN/repository" ]; then
	git init -q -b main --bare "$IN/new" && git -C "$IN/new" config pack.threads 1 && git -C "$IN/new" config gc.auto 0 &&
	{PYTHON} {HERE}/repository.py {COMMITS} | git -C "$IN/new" fast-import --quiet --done && mv "$IN/new" "$IN/repository"
fi && cp -r "$IN/repository" r'''


def of_run(number):
    what, argv = table.PROGRAMS[number]
    argv = [PYTHON if word == sys.executable else word for word in argv[:-1]]
    return Subject(what, argv + ['{in}/' + table.PROGRAMS[number][1][-1]])


SUBJECTS = {
    'jq': of_run(0),
    'xmllint': of_run(1),
    'python': of_run(2),
    'python-loop': Subject('python3: bytes(48000) in a loop', [PYTHON, '-c', LOOP]),
    'python-json': Subject('python3: 22 MB of JSON there and back', [PYTHON, '-c', JSON, '{in}/records.json']),
    'zlib': Subject('python3: zlib, 8 000 messages', [PYTHON, os.path.join(HERE, 'messages.py'), '{in}/records.json']),
    'sqlite': Subject('sqlite3: 75 000 rows in memory', ['sqlite3', ':memory:'], stdin='{in}/rows.sql'),
    'perl': Subject('perl: lists in hashes', ['perl', '-ne', PERL, '{in}/words.txt']),
    'git-log': Subject(f'git log -p: {COMMITS} commits', ['git', '-C', 'r', 'log', '-p', '--stat'], before=REPOSITORY),
    'git-gc': Subject(f'git gc: {COMMITS} commits', ['git', '-C', 'r', 'gc', '-q', '--aggressive'], before=REPOSITORY),
    'gcc': Subject(f'gcc -O2: {40 * SCALE_C} functions', ['gcc', '-O2', '-g', '-c', '-o', 'items.o', '{in}/items.c']),
    'node': Subject('node: 12 000 messages through zlib', ['node', '-e', NODE, '{in}/records.json']),
    'redis': Subject('redis-server (links jemalloc)', ['./redis-server', '--port', '0', '--unixsocket', 'redis.sock',
                                                      '--save', '', '--loglevel', 'warning'],
                     before='ln -s "$(command -v redis-check-rdb)" redis-server', beside=REDIS),
}


def lacking(subject):
    """What keeps a program from being measured here."""
    needs = 'redis-check-rdb' if 'redis' in subject.argv[0] else subject.argv[0]
    return None if shutil.which(needs) else f'{needs} is not installed'


def script(text, folder, inputs):
    return subprocess.run(['/bin/sh', '-c', text], cwd=folder, env={**table.environment(None), 'IN': inputs},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
