# SPDX-License-Identifier: BSD-2-Clause
"""A program that is measured: packs and unpacks many small messages with zlib, each with a stream of its own.

What servers do that compress each answer. Every deflate stream asks for four blocks of up to 64 KiB and gives them
back at its end.
"""
import sys
import zlib

SIZE = 2_000
ROUNDS = 2


def main(path):
    with open(path, 'rb') as source:
        data = source.read(8_000_000)
    total = count = 0
    for _ in range(ROUNDS):
        for at in range(0, len(data), SIZE):
            message = data[at:at + SIZE]
            packed = zlib.compress(message, 1)
            assert zlib.decompress(packed) == message
            total += len(packed)
            count += 1
    print(count, total)


main(sys.argv[1])
