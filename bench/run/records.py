# SPDX-License-Identifier: BSD-2-Clause
"""A program that ./run measures: reads a file of 48 000-byte records, takes them apart and puts them together again.

What a service written in Python does with messages of that size: every step makes a new bytes object of about
48 KB, and the last few stay alive as if they were waiting to be sent. CPython passes each of them to malloc.
"""

import collections
import sys

SIZE = 48_000
HEADER = 64
ROUNDS = 200


def main(path):
    waiting = collections.deque(maxlen=200)
    count = total = 0
    with open(path, 'rb', buffering=0) as source:
        for _ in range(ROUNDS):
            source.seek(0)
            while record := source.read(SIZE):
                body = record[HEADER:]
                message = body + record[:HEADER]
                waiting.append(message)
                total += message[-1] + body[0]
                count += 1
    print(count, total, sum(map(len, waiting)))


main(sys.argv[1])
