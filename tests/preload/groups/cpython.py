# SPDX-License-Identifier: BSD-2-Clause
"""Parts of CPython's own suite (Debian's libpython3.N-testsuite), test by test.

Run as a program: cpython.py NAME runs test_NAME and prints each test's outcome; how long they took is left out.
"""
import importlib.util
import os
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


def outcome(case):
    for kind in ('failure', 'error', 'skipped'):
        if case.find(kind) is not None:
            return kind
    return 'ok'


def main(name):
    if importlib.util.find_spec('test.test_' + name) is None:
        print(f"test_{name} of CPython's suite is not installed", file=sys.stderr)
        return MISSING
    left_out = [word for pattern in LEFT_OUT.get(name, ()) for word in ('-i', pattern)]
    done = subprocess.run([sys.executable, '-m', 'test', '--junit-xml', os.path.abspath('result.xml'), *left_out,
                           'test_' + name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    cases = [f'{case.get("name")} {outcome(case)}' for case in
             xml.etree.ElementTree.parse('result.xml').iter('testcase')] if os.path.exists('result.xml') else []
    print(*sorted(cases), sep='\n')
    print('status', done.returncode, 'tests', len(cases))
    if done.returncode:     # what the suite said of it, for who reads the log of a failure
        print(done.stdout.decode(errors='replace')[-3000:], file=sys.stderr)
    if os.path.exists('result.xml'):
        os.unlink('result.xml')
    return 0


NAMES = ('json', 'bytes', 'zlib', 'threading', 'subprocess', 'fork1', 'memoryview', 'array', 'gc', 'weakref', 'thread',
         'mmap', 'unicode', 'dict', 'bz2', 'lzma', 'struct', 'hashlib', 'pyexpat', 'ctypes')

QUICK = {}
LONG = {f'python3, test_{name}': f'python3 "$GROUP" {name}' for name in NAMES}
LONG.update({f'python3, test_{name}, PYTHONMALLOC=malloc': f'PYTHONMALLOC=malloc python3 "$GROUP" {name}'
             for name in ('json', 'bytes', 'zlib')})

if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
