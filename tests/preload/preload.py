#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Real programs with and without the shim: what they say, write and return must be the same, byte for byte.

    preload.py --shim LIBRARY --census LIBRARY [--long] [--mode MODE]... [--only TEXT] GROUP...

A GROUP is a file in groups/. Its dictionaries QUICK and LONG map names to shell scripts; the first word of a name is
the program that must be installed, and a script that ends with 77 lacks something else, which its last line on
standard error names. So one more line there is one more test. A script runs in an empty directory, without the shim
and then in each mode; standard output, standard error, status and all files that it leaves are compared, so it
removes what differs by nature (times, process ids). It finds the input in $IN, what writes input in $BENCH
(bench/programs), and its group's file, which may be a program as well, in $GROUP; what it writes to $NOTES is printed and
not compared. Its shell runs under the shim, too.

Beyond the comparison, every process that ended by exit must have left statistics (census.c) without misuse, in the mode
that was asked for, and where no other thread ran any more they must add up: created = in use + cached + victim + queued +
set aside + dropped. Output is TAP.
"""
import argparse
import collections
import ctypes
import glob
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.normpath(os.path.join(HERE, '..', '..', 'bench', 'programs'))
MODES = {'rseq': 'percpu:rseq', 'fallback': 'percpu:fallback', 'pass': 'mode:pass'}
LIMIT = 150         # seconds for one run of a script
LACKING = 77
SHOWN = 400         # bytes of a difference

Outcome = collections.namedtuple('Outcome', 'status stdout stderr files')


class Place:
    """The directory of all runs. Each run sees the same paths, since programs print them."""

    def __init__(self, root, shim, census):
        self.root, self.preload = root, f'{shim}:{census}'
        self.run, self.stats, self.inputs, self.notes = (os.path.join(root, name)
                                                         for name in ('run', 'stats', 'in', 'notes'))

    def environment(self, group, conf):
        env = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin:' + os.environ.get('PATH', ''), 'HOME': self.run,
               'LC_ALL': 'C.UTF-8', 'TZ': 'UTC', 'TMPDIR': self.root, 'IN': self.inputs, 'GROUP': group,
               'BENCH': BENCH, 'NOTES': self.notes}
        if 'GLIBC_TUNABLES' in os.environ:
            env['GLIBC_TUNABLES'] = os.environ['GLIBC_TUNABLES']
        if conf:
            env.update(LD_PRELOAD=self.preload, CENSUS=self.stats, BUFPOOL_CONF=f'{conf},stats_print:true')
        return env

    def execute(self, script, group, conf=None):
        for folder in (self.run, self.stats):
            shutil.rmtree(folder, ignore_errors=True)
            os.mkdir(folder)
        open(self.notes, 'wb').close()
        out, err = os.path.join(self.root, 'out'), os.path.join(self.root, 'err')
        with open(out, 'wb') as stdout, open(err, 'wb') as stderr:
            child = subprocess.Popen(['/bin/sh', '-c', script], cwd=self.run, env=self.environment(group, conf),
                                     stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True)
            try:
                status = child.wait(LIMIT)
            except subprocess.TimeoutExpired:
                status = f'not ended after {LIMIT} s'
            try:
                os.killpg(child.pid, signal.SIGKILL)    # it, or what it left behind
            except ProcessLookupError:
                pass
            child.wait()
        return Outcome(status, contents(out), contents(err), tree(self.run))


def contents(path):
    with open(path, 'rb') as source:
        return source.read()


def tree(top):
    """What a script left: path -> bytes, or the kind of what is no plain file."""
    found = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                what = b'link to ' + os.fsencode(os.readlink(path))
            else:
                what = contents(path) if os.path.isfile(path) else b'folder' if os.path.isdir(path) else b'special'
            found[os.path.relpath(path, top)] = what
    return found


def excerpt(plain, shim):
    """Where two texts part."""
    at = next((n for n, (a, b) in enumerate(zip(plain, shim)) if a != b), min(len(plain), len(shim)))
    start = max(plain.rfind(b'\n', 0, at) + 1, at - SHOWN)
    return [f'at byte {at}', f'plain: {plain[start:start + SHOWN]!r}', f'shim:  {shim[start:start + SHOWN]!r}']


def differences(plain, shim):
    said = []
    if plain.status != shim.status:
        said.append(f'status {plain.status} without the shim, {shim.status} with it')
    for what in ('stdout', 'stderr'):
        a, b = getattr(plain, what), getattr(shim, what)
        if a != b:
            said += [f'{what} differs'] + excerpt(a, b)
    for path in sorted(plain.files.keys() | shim.files.keys()):
        a, b = plain.files.get(path), shim.files.get(path)
        if a is None or b is None:
            said.append(f'{path} is there {"with" if a is None else "without"} the shim only')
        elif a != b:
            said += [f'{path} differs'] + excerpt(a, b)
    return said


def has_rseq():
    """Whether glibc registered restartable sequences here; the shim can have no better percpu than that."""
    try:
        return ctypes.c_uint.in_dll(ctypes.CDLL(None), '__rseq_size').value > 0
    except ValueError:
        return False


def sums(stats):
    """What must be equal where no thread works any more."""
    classes = stats['classes']
    dropped = sum(stats[name] for name in ('dropped_cap', 'dropped_budget', 'dropped_epoch'))
    held = sum(stats[name] for name in ('in_use', 'cached', 'victim', 'queued', 'set_aside'))
    checks = [
        ('from_backend = in_use + cached + victim + queued + set_aside + dropped',
         stats['from_backend'], held + dropped),
        ('in_use = acquired - released', stats['in_use'], stats['acquired'] - stats['released']),
        ('from_backend = those of the classes + over_cap', stats['from_backend'],
         sum(row['from_backend'] for row in classes) + stats['over_cap']),
    ]
    return checks + [(f'{name} = those of the classes', stats[name], sum(row[name] for row in classes))
                     for name in ('cached', 'victim', 'queued')]


def at_rest(stats, name):
    """Whether no thread worked while these were written; the file's name says what there was before (census.c)."""
    before = name.rpartition('-busy-')[0]
    over_cap = {'acquired': stats['over_cap'], 'released': stats['dropped_cap']}
    return not before or all(int(number) == stats[key] == sum(row[key] for row in stats['classes']) + over_cap[key]
                             for number, key in zip(before.split('-'), over_cap))


def wrong_in(stats, mode, resting):
    """What one process's statistics have against them."""
    checks = [('misuse = 0', stats['misuse'], 0), ('mode', stats['mode'], 'pass' if mode == 'pass' else 'pool')]
    if mode != 'pass':
        checks.append(('percpu', stats['percpu'], 'rseq' if mode == 'rseq' and has_rseq() else 'fallback'))
    if resting:
        checks += sums(stats)
    wrong = [f'{what}: {ours} and {theirs}' for what, ours, theirs in checks if ours != theirs]
    for row in stats['classes'] if resting else ():
        if sum(row[name] for name in ('in_use', 'cached', 'victim', 'queued')) > row['from_backend']:
            wrong.append(f'more blocks than were created: {row}')
    return wrong


def accounting(folder, mode):
    """What is wrong with the statistics that a run's processes left. None at all: the shim was not there."""
    said, files, served = [], sorted(glob.glob(os.path.join(folder, '*.json'))), 0
    for path in files:
        text = contents(path).decode(errors='replace')
        try:
            stats, name = json.loads(text), os.path.basename(path)
            said += [f'accounting of {name}: {wrong}' for wrong in wrong_in(stats, mode, at_rest(stats, name))]
            served += stats['acquired']
        except (ValueError, KeyError) as error:
            said.append(f'{os.path.basename(path)} is no statistics: {error!r}, {text[:100]!r}')
    if not files:
        said.append('no process left statistics')
    elif mode == 'rseq' and has_rseq() and not served:
        said.append('no request was served by the pool')
    return said


class Tap:
    def __init__(self):
        self.count, self.failed = 0, 0

    def point(self, name, wrong=(), skip=None):
        self.count += 1
        self.failed += bool(wrong)
        print(f'{"not " if wrong else ""}ok {self.count} - {name}' + (f' # SKIP {skip}' if skip else ''))
        for line in list(wrong)[:20]:
            print(f'#   {line}')
        sys.stdout.flush()


def why_not(name, plain):
    """The reason to skip a test, if there is one."""
    program = name.split()[0].rstrip(':,')
    if plain is None:
        path = '/usr/sbin:/usr/bin:/sbin:/bin:' + os.environ.get('PATH', '')
        return None if shutil.which(program, path=path) else f'{program} is not installed'
    if plain.status == LACKING:
        return (plain.stderr.decode(errors='replace').strip().splitlines() or ['something is not installed'])[-1]
    return None


def test(tap, place, name, script, group, modes):
    begun, reason = time.monotonic(), why_not(name, None)
    if not reason:
        plain = place.execute(script, group)
        reason = why_not(name, plain)
    if reason:
        return tap.point(name, skip=reason)
    if plain.status != 0 or not (plain.stdout or plain.files):
        text = plain.stderr.decode(errors='replace').splitlines()
        return tap.point(name, [f'without the shim: status {plain.status}, {len(plain.stdout)} bytes'] + text[-10:])
    for mode in modes:
        wrong = differences(plain, place.execute(script, group, MODES[mode]))
        tally = accounting(place.stats, mode)
        notes = contents(place.notes).decode(errors='replace').splitlines()
        if wrong and differences(plain, place.execute(script, group)):
            wrong.append('(two runs without the shim differ as well: the test itself is at fault)')
        tap.point(f'{name} [{mode}]', wrong + tally)
        for line in notes:
            print(f'#   noted: {line}')
    print(f'# {time.monotonic() - begun:.1f} s: {name}', flush=True)


def load(path):
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3] + '_', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arguments():
    names = sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(HERE, 'groups', '*.py')))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--shim', required=True)
    parser.add_argument('--census', required=True)
    parser.add_argument('--long', action='store_true', help='LONG instead of QUICK')
    parser.add_argument('--mode', action='append', choices=MODES, help='all, unless given')
    parser.add_argument('--only', default='', help='tests whose name has this in it')
    parser.add_argument('groups', nargs='+', metavar='GROUP', choices=names, help=', '.join(names))
    return parser.parse_args()


def main():
    options = arguments()
    sys.dont_write_bytecode = True
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix='preload-') as root:
        place = Place(root, os.path.abspath(options.shim), os.path.abspath(options.census))
        load(os.path.join(BENCH, 'inputs.py')).write(place.inputs, 4 if options.long else 1)
        for name in options.groups:
            path = os.path.join(HERE, 'groups', name + '.py')
            module = load(path)
            for title, script in (module.LONG if options.long else module.QUICK).items():
                if options.only in title:
                    test(tap, place, title, script, path, options.mode or MODES)
    print(f'1..{tap.count}')
    return 1 if tap.failed else 0


if __name__ == '__main__':
    sys.exit(main())
