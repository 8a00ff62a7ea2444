#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The layers of src/: layers.py ROOT. Speaks TAP.

Each folder includes itself and what lies below it; conditional compilation stands where the toolchain, the architecture
or the kernel is met, nowhere else; one file knows jemalloc's header.
"""

import os
import re
import sys

BELOW = {
    'sys': {'sys'},
    'percpu': {'sys', 'percpu'},
    'cache': {'sys', 'percpu', 'cache'},
    'api': {'sys', 'percpu', 'cache', 'api', 'bufpool'},
    'shim': {'sys', 'percpu', 'cache', 'api', 'shim', 'bufpool'},
    'tools': {'sys', 'percpu', 'cache', 'bufpool'},
}
CONDITIONALS_ALLOWED = {'sys', 'percpu'}
# File and what it may test there: places where tests hook in, or what the language itself makes necessary.
EXCEPTIONS = set()
SOURCE = re.compile(r'\.(c|h|S|cpp)$')
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
CONDITIONAL = re.compile(r'^\s*#\s*(if|ifdef|ifndef|elif)\b.*')


def sources(root, folder):
    for where, _, names in sorted(os.walk(os.path.join(root, folder))):
        for name in sorted(names):
            if SOURCE.search(name):
                path = os.path.join(where, name)
                with open(path, encoding='utf-8') as f:
                    yield os.path.relpath(path, root), f.read().split('\n')


def guard_line(lines):
    """The line of the include guard: the first directive, an #ifndef, with its #define behind it."""
    directives = [i for i, line in enumerate(lines) if line.startswith('#')]
    if len(directives) < 2:
        return None
    first, second = directives[:2]
    name = re.match(r'#ifndef (\w+)$', lines[first])
    return first if name and lines[second] == '#define ' + name[1] else None


def layer_errors(path, lines):
    folder = path.split('/')[1]
    if folder not in BELOW:
        return [path + ': a folder that has no place among the layers']
    found = []
    for i, line in enumerate(lines):
        include = INCLUDE.match(line)
        if not include or '/' not in include[1]:
            continue
        first = include[1].split('/')[0]
        if first in set(BELOW) | {'bufpool', '..', '.'} and first not in BELOW[folder]:
            found.append(f'{path}:{i + 1}: {folder}/ includes {include[1]}')
    return found


def conditional_errors(path, lines):
    if path.split('/')[1] in CONDITIONALS_ALLOWED:
        return []
    guard = guard_line(lines) if path.endswith('.h') else None
    return [f'{path}:{i + 1}: {line.strip()}' for i, line in enumerate(lines)
            if CONDITIONAL.match(line) and i != guard and (path, line.strip()) not in EXCEPTIONS]


def guard_errors(path, lines):
    """Headers are included once, but for those that percpu.h includes itself, one for each architecture."""
    if not path.endswith('.h') or re.search(r'/rseq_\w+\.h$', path):
        return []
    return [] if guard_line(lines) is not None else [path + ': no include guard']


def jemalloc_errors(files):
    users = [path for path, lines in files
             if any(INCLUDE.match(line) and 'jemalloc/jemalloc' in line for line in lines)]
    return [] if users == ['src/sys/jemalloc.h'] else ['jemalloc.h is included by ' + (', '.join(users) or 'nobody')]


def stale_exceptions(files):
    known = {(path, line.strip()) for path, lines in files for line in lines}
    return [f'{path}: {line}: this exception is needed no longer' for path, line in EXCEPTIONS - known]


def report(number, title, errors):
    print(f'{"not " if errors else ""}ok {number} - {title}')
    for error in errors:
        print('# ' + error)
    return bool(errors)


def self_test():
    """That the checks can fail."""
    bad = ['/* a */', '#ifndef X', '#define X', '#include "cache/pool.h"', '#ifdef __linux__', '#endif', '#endif']
    return [what for what, errors in (
        ('layers', layer_errors('src/percpu/x.h', bad)),
        ('public header', layer_errors('src/cache/x.h', ['#include "bufpool/bufpool.h"'])),
        ('conditionals', conditional_errors('src/cache/x.h', bad)),
        ('guards', guard_errors('src/cache/x.h', bad[3:])),
        ('jemalloc', jemalloc_errors([('src/sys/jemalloc.h', ['#include <jemalloc/jemalloc.h>']),
                                      ('src/api/x.c', ['#include <jemalloc/jemalloc.h>'])])),
    ) if len(errors) != 1]


def main():
    root = sys.argv[1]
    files = list(sources(root, 'src'))
    each = lambda check: [error for path, lines in files for error in check(path, lines)]
    print('1..7')
    failed = report(1, 'there are sources', [] if len(files) > 20 else ['only %d' % len(files)])
    failed |= report(2, 'the checks can fail', self_test())
    failed |= report(3, 'each folder includes itself and what is below it', each(layer_errors))
    failed |= report(4, 'conditionals only in sys/, percpu/ and where listed', each(conditional_errors))
    failed |= report(5, 'no exception is listed in vain', stale_exceptions(files))
    failed |= report(6, 'headers have guards', each(guard_errors))
    failed |= report(7, "one file includes jemalloc's header", jemalloc_errors(files))
    return failed


if __name__ == '__main__':
    sys.exit(main())
