# SPDX-License-Identifier: BSD-2-Clause
"""python3: its own allocator takes large pools from malloc, and what is over 512 bytes straight; with
PYTHONMALLOC=malloc every object. A program in this file is called by its name: python3 "$GROUP" NAME."""
import collections
import hashlib
import json
import os
import subprocess
import sys
import threading
import zlib


def json_there_and_back():
    with open(os.path.join(os.environ['IN'], 'records.json'), encoding='utf-8') as source:
        data = json.load(source)
    text = json.dumps(data, indent=1, sort_keys=True)
    assert json.loads(text) == data
    print(text)


def blocks():
    """48 000-byte strings on four threads, and children meanwhile."""
    digests = {}

    def work(number):
        kept, digest = collections.deque(maxlen=50), hashlib.sha256()
        for n in range(1500):
            kept.append(bytes([(n + number) % 251]) * (48_000 + number))
            digest.update(kept[0][:100] + kept[-1][-100:])
        digest.update(b''.join(kept))
        digests[number] = digest.hexdigest()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(12):
        print(subprocess.run(['/bin/sh', '-c', f'echo {number}'], capture_output=True, check=True).stdout)
    for thread in threads:
        thread.join()
    print(sorted(digests.items()))


def growth():
    """What grows step by step, and what one thread makes and another one drops."""
    text, items, table = b'', [], {}
    for n in range(4000):
        text += b'%d,' % n
        items.append(str(n) * (n % 40))
        table[n, str(n)] = [n] * (n % 100)
    handed = collections.deque(bytes([n % 256]) * (n * 37 % 70_000) for n in range(2000))
    sums = []
    threads = [threading.Thread(target=lambda: sums.append(sum(zlib.crc32(handed.popleft()) for _ in range(500))))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(zlib.crc32(text), len(''.join(items)), sum(map(len, table.values())), sum(sums))


QUICK = {
    'python3, JSON there and back': 'python3 "$GROUP" json_there_and_back',
    'python3, 48 kB strings, threads and children': 'python3 "$GROUP" blocks',
    'python3, PYTHONMALLOC=malloc': 'PYTHONMALLOC=malloc python3 "$GROUP" json_there_and_back',
}

LONG = {
    'python3, growth and hand-over': 'python3 "$GROUP" growth',
    'python3, growth and hand-over, PYTHONMALLOC=malloc': 'PYTHONMALLOC=malloc python3 "$GROUP" growth',
    'python3, 48 kB strings, PYTHONMALLOC=malloc': 'PYTHONMALLOC=malloc python3 "$GROUP" blocks',
    'python3, PYTHONMALLOC=malloc_debug': 'PYTHONMALLOC=malloc_debug python3 "$GROUP" growth',
    'python3, compiling its own library':
        'cp -r /usr/lib/python3.*/json /usr/lib/python3.*/asyncio /usr/lib/python3.*/email . && '
        'rm -rf */__pycache__ && python3 -m compileall -q --invalidation-mode unchecked-hash .',
}

if __name__ == '__main__':
    globals()[sys.argv[1]]()
