# SPDX-License-Identifier: BSD-2-Clause
"""Parts of CPython's own suite (Debian's libpython3.N-testsuite), test by test.

Run as a program: cpython.py NAME runs test_NAME and prints each test's outcome; how long they took is left out.
"""
import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree

MISSING = 77
# What mostly sleeps, or does again what another class does; and what fills 2 GB and more.
LEFT_OUT = {
    'subprocess': ('*NoPoll*', '*timeout*', '*_dead', '*repeated_call*'),
    'threading': ('*timeout*',),
    'fork1': ('test.fork_wait.*',),
    'weakref': ('*deepcopy*',),
    'lzma': ('*bigmem*',),
}


# Of a failure that is not given a second chance: a process died, or the shim said something.
NEVER_TWICE = re.compile(r'bufpool|return code is -|returncode -|SIG(SEGV|ABRT|BUS|ILL)|core dumped')


def outcome(case):
    for kind in ('failure', 'error', 'skipped'):
        if case.find(kind) is not None:
            return kind
    return 'ok'


def text_of(case):
    return '\n'.join((part.get('message') or '') + (part.text or '') for part in case)


def cases_of(path):
    """name -> outcome. CPython's suite goes by the clock here and there, so it has a way to run again what failed (-w);
    the last outcome counts, and what the first one was is noted."""
    found = {}
    for case in xml.etree.ElementTree.parse(path).iter('testcase') if os.path.exists(path) else ():
        name, what = case.get('name'), outcome(case)
        if name in found:
            before, text = found[name]
            with open(os.environ['NOTES'], 'a', encoding='utf-8') as notes:
                print(f'{name}: {before}, then {what}: {text.strip()[-300:]!r}', file=notes)
            if NEVER_TWICE.search(text):
                continue
        found[name] = what, text_of(case)
    return {name: what for name, (what, _) in found.items()}


def main(name):
    if importlib.util.find_spec('test.test_' + name) is None:
        print(f"test_{name} of CPython's suite is not installed", file=sys.stderr)
        return MISSING
    left_out = [word for pattern in LEFT_OUT.get(name, ()) for word in ('-i', pattern)]
    result = os.path.abspath('result.xml')
    done = subprocess.run([sys.executable, '-m', 'test', '-w', '--junit-xml', result, *left_out, 'test_' + name],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    cases = cases_of(result)
    print(*sorted(f'{case} {what}' for case, what in cases.items()), sep='\n')
    print('status', done.returncode, 'tests', len(cases))
    if done.returncode:     # what the suite said of it, for who reads the log of a failure
        print(done.stdout.decode(errors='replace')[-3000:], file=sys.stderr)
    if os.path.exists(result):
        os.unlink(result)
    return 0


NAMES = ('json', 'bytes', 'zlib', 'threading', 'subprocess', 'fork1', 'memoryview', 'array', 'gc', 'weakref', 'thread',
         'mmap', 'unicode', 'dict', 'bz2', 'lzma', 'struct', 'hashlib', 'pyexpat', 'ctypes')

QUICK = {}
LONG = {f'python3, test_{name}': f'python3 "$GROUP" {name}' for name in NAMES}
LONG.update({f'python3, test_{name}, PYTHONMALLOC=malloc': f'PYTHONMALLOC=malloc python3 "$GROUP" {name}'
             for name in ('json', 'bytes', 'zlib')})

if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
