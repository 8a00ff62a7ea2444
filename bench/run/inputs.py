#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The input of the programs that ./run measures: inputs.py DIRECTORY

Written once, always the same bytes (a fixed seed), in the shape such files have: records with short and long
strings, numbers and lists.
"""

import json
import os
import random
import sys

WORDS = ('account agent amber arrival basket beacon border bridge budget candle carbon cedar circle cotton delta '
         'desert dollar engine estate fabric falcon garden gravel harbor helmet island jacket kernel ladder lantern '
         'market meadow mirror nickel number office orange oxygen parcel pepper planet pocket quartz rabbit ribbon '
         'saddle salmon signal silver socket spiral square summer switch tablet temple timber tunnel valley velvet '
         'violet walnut window winter wonder yellow').split()
JSON_RECORDS = 50_000
XML_RECORDS = 60_000
BLOCKS = 400
BLOCK_SIZE = 48_000    # as in the workload that reads them, records.py


def text(rng, words):
    return ' '.join(rng.choices(WORDS, k=words))


def write_json(out, rng):
    out.write(b'[')
    for number in range(JSON_RECORDS):
        record = {
            'id': number,
            'name': text(rng, 2),
            'price': rng.randrange(100, 1_000_000) / 100,
            'in_stock': rng.random() < 0.8,
            'tags': rng.choices(WORDS, k=rng.randrange(2, 9)),
            'address': {'street': text(rng, 2), 'number': rng.randrange(1, 300), 'city': rng.choice(WORDS)},
            'notes': text(rng, rng.randrange(4, 60)),
        }
        out.write((',\n' if number else '\n').encode() + json.dumps(record).encode())
    out.write(b'\n]\n')


def write_xml(out, rng):
    out.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<catalogue>\n')
    for number in range(XML_RECORDS):
        tags = ''.join(f'<tag>{tag}</tag>' for tag in rng.choices(WORDS, k=rng.randrange(1, 5)))
        record = (f'  <item id="i{number}" stock="{rng.randrange(500)}">\n    <name>{text(rng, 2)}</name>\n'
                  f'    <tags>{tags}</tags>\n    <notes>{text(rng, rng.randrange(4, 24))}</notes>\n  </item>\n')
        out.write(record.encode())
    out.write(b'</catalogue>\n')


def write_blocks(out, rng):
    for _ in range(BLOCKS):
        out.write(rng.randbytes(BLOCK_SIZE))


def main(directory):
    os.makedirs(directory, exist_ok=True)
    for name, write in (('records.json', write_json), ('records.xml', write_xml), ('records.bin', write_blocks)):
        path = os.path.join(directory, name)
        if os.path.exists(path):
            continue
        with open(path + '.new', 'wb') as out:
            write(out, random.Random(name))
        os.rename(path + '.new', path)


if __name__ == '__main__':
    main(sys.argv[1])
