#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The table of ./run: real programs on glibc, on bare jemalloc and under the shim.

table.py --shim LIBRARY [--jemalloc LIBRARY] --inputs DIRECTORY

Every program runs once on each allocator before any runs twice (interleaved: what disturbs the machine hits all
three), up to RUNS times; medians are shown. All runs must end well and print the same; the status is 1 where one
did not. The share from the pool is what the shim's own statistics say after one more run, which is not timed.
"""

import argparse
import collections
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

RUNS = 5
SECONDS = 30    # no further round is begun after that many, so that the table is there within a minute
HERE = os.path.dirname(os.path.abspath(__file__))
JQ_FILTER = 'group_by(.address.city) | map({city: .[0].address.city, n: length, mean: (map(.price) | add / length)})'
PROGRAMS = (
    ('jq: group 22 MB of JSON', ['jq', '-c', JQ_FILTER, 'records.json']),
    ('xmllint: parse 15 MB of XML', ['xmllint', '--noout', 'records.xml']),
    ('python3: 48 000-byte bytes', [sys.executable, os.path.join(HERE, 'records.py'), 'records.bin']),
)
# Set by whoever tries the table, these would change what is compared.
FOREIGN = ('LD_PRELOAD', 'MALLOC_CONF', 'MALLOC_ARENA_MAX', 'GLIBC_TUNABLES', 'PYTHONMALLOC')

Run = collections.namedtuple('Run', 'cpu peak output failure')


def say(text):
    print(f'run: {text}', file=sys.stderr, flush=True)


def environment(preload, conf=''):
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    if preload:
        env['LD_PRELOAD'] = preload
    if conf:
        env['BUFPOOL_CONF'] = ','.join(filter(None, (env.get('BUFPOOL_CONF'), conf)))
    return env


def measure(argv, env):
    """One run. wait4 tells what this child alone used; a peak below this script's own (10 MB) would not show."""
    with open('output', 'wb') as out:
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, out.fileno(), 2)]
        pid = os.posix_spawnp(argv[0], argv, env, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
    with open('output', 'rb') as out:
        output = out.read()
    code = os.waitstatus_to_exitcode(status)
    failure = f'killed by {signal.Signals(-code).name}' if code < 0 else f'status {code}' if code else ''
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output, failure)


def pool_share(argv, shim):
    """Percent of the calls served from the pool; None where the shim wrote no statistics: was it there at all?"""
    if os.path.exists('stats.json'):
        os.unlink('stats.json')
    measure(argv, environment(shim, 'stats_print:true,stats_path:stats.json'))
    try:
        with open('stats.json', encoding='utf-8') as stats:
            counts = json.load(stats)
        return 100 * counts['hits'] / counts['acquired']
    except (OSError, ValueError, KeyError, ZeroDivisionError) as error:
        say(f'no statistics from the shim: {error}')
        return None


def installed():
    found = []
    for label, argv in PROGRAMS:
        if shutil.which(argv[0]):
            found.append((label, argv))
        else:
            say(f'skipped: {argv[0]} is not installed')
    return found


def measure_all(programs, allocators):
    runs = collections.defaultdict(list)
    until = time.monotonic() + SECONDS
    for number in range(RUNS):
        if number and time.monotonic() > until:
            break
        say(f'round {number + 1} of {RUNS}')
        for label, argv in programs:
            for allocator, preload in allocators:
                runs[label, allocator].append(measure(argv, environment(preload)))
    return runs


def failures(runs):
    """What went wrong, by row: a run that failed, or that printed something else than the first run on glibc."""
    wrong = {}
    for (label, allocator), rows in runs.items():
        ended_badly = [run.failure for run in rows if run.failure]
        if ended_badly:
            wrong[label, allocator] = ended_badly[0]
        elif any(run.output != runs[label, 'glibc'][0].output for run in rows):
            wrong[label, allocator] = 'other output'
    return wrong


def print_row(first, allocator, cpu, ratio, peak, share):
    print(f'{first:<30}{allocator:<10}{cpu:>10}{ratio:>10}{peak:>13}{share:>12}'.rstrip())


def print_table(programs, allocators, runs, wrong, shares):
    print()
    print_row('', '', 'CPU time', 'to glibc', 'peak memory', 'from pool')
    for label, _ in programs:
        base = statistics.median(run.cpu for run in runs[label, 'glibc'])
        for allocator, _ in allocators:
            first = label if allocator == allocators[0][0] else ''
            if (label, allocator) in wrong:
                print(f'{first:<30}{allocator:<10}  failed: {wrong[label, allocator]}')
                continue
            rows = runs[label, allocator]
            cpu = statistics.median(run.cpu for run in rows)
            peak = statistics.median(run.peak for run in rows)
            share = f'{shares[label]:.1f} %' if allocator == 'bufpool' else ''
            print_row(first, allocator, f'{cpu:.3f} s', f'{cpu / base:.2f} x', f'{peak:.0f} MB', share)
    count = min(len(rows) for rows in runs.values())
    print(f'\nMedians of {count} interleaved runs. CPU time: user + system. From pool: share of the calls for memory\n'
          'that the cache of their CPU served.', flush=True)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument('--shim', required=True)
    parser.add_argument('--jemalloc')
    parser.add_argument('--inputs', required=True)
    return parser.parse_args()


def main():
    options = arguments()
    allocators = [('glibc', None), ('jemalloc', options.jemalloc), ('bufpool', options.shim)]
    if not options.jemalloc:
        say('skipped: the column for jemalloc (no libjemalloc.so.2 here)')
        del allocators[1]
    programs = installed()
    if not programs:
        say('none of the programs is installed: nothing to measure')
        return 1
    say('writing the input')
    subprocess.run([sys.executable, os.path.join(HERE, 'inputs.py'), options.inputs], check=True)
    os.chdir(options.inputs)
    runs = measure_all(programs, allocators)
    wrong = failures(runs)
    shares = {label: pool_share(argv, options.shim) for label, argv in programs if (label, 'bufpool') not in wrong}
    for label, share in shares.items():
        if share is None:
            wrong[label, 'bufpool'] = 'no statistics from the shim'
    print_table(programs, allocators, runs, wrong, shares)
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
