#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Counts what a test run really did: summary.py LOG...

meson counts programs, and where a program speaks TAP it takes some deaths for less than they are: a program
that prints nothing passes as skipped, and neither a timeout nor a plan that was not fulfilled shows among the
cases of its junit file. So the cases are counted here, from what the programs printed.

A LOG is what `meson test` wrote (NAME.json, one JSON object per program, and as its last line {"ended": STATUS},
which ./run appends), or the TAP of something that is not meson's (NAME.tap). A case that was announced and never
reported is a failed one; so is a program that crashed, ran into its time limit, or printed no result.

Prints the output of what failed and the reason of every skip; the last line is
`N passed, N failed, N skipped`. The status is 1 when anything failed and when no test ran.
"""

import json
import os
import re
import signal
import sys

POINT = re.compile(r'(not )?ok\b\s*(?:\d+\b)?\s*(?:- )?(.*)')
PLAN = re.compile(r'1\.\.(\d+)\s*(?:#\s*(.*))?$')
DIRECTIVE = re.compile(r'(.*?)\s*#\s*(SKIP|TODO)\S*\s*(.*)', re.IGNORECASE)
OUTPUT_LINES = 200


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = []     # what failed, one line each
        self.skipped = []    # (what, why)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def tap_cases(text, tally, where):
    """Counts the cases of a TAP text; returns how many there were and how many were planned (None: no plan)."""
    seen, planned = 0, None
    for line in text.splitlines():
        plan = PLAN.match(line)
        if plan:
            planned = int(plan.group(1))
            if planned == 0:
                why = re.sub(r'(?i)^skip\S*\s*', '', plan.group(2) or '') or 'it has no tests'
                tally.skipped.append((where, why))
        point = POINT.match(line)
        if not point:
            continue
        seen += 1
        bad, name = point.groups()
        directive = DIRECTIVE.match(name)
        kind = directive.group(2).upper() if directive else ''
        name = f'{where}: {directive.group(1) if directive else name}'.rstrip()
        if kind == 'SKIP':
            tally.skipped.append((name, directive.group(3) or 'no reason given'))
        elif kind == 'TODO' and bad:
            tally.skipped.append((name, f'known to fail: {directive.group(3)}'))
        elif kind == 'TODO':
            tally.failed.append(f'{name}: passes although it is marked TODO')
        elif bad:
            tally.failed.append(name)
        else:
            tally.passed += 1
    return seen, planned


def ending(program):
    """How the program ended, in words; '' where it ended well."""
    status = program.get('returncode', 0)
    if program['result'] == 'TIMEOUT':
        return 'ran into its time limit'
    if status < 0:
        try:
            return f'killed by {signal.Signals(-status).name}'
        except ValueError:
            return f'killed by signal {-status}'
    return f'status {status}' if status else ''


def count_tap_program(program, where, tally):
    seen, planned = tap_cases(program.get('stdout', ''), tally, where)
    end = ending(program)
    died = program['result'] == 'TIMEOUT' or program.get('returncode', 0) < 0
    if planned is None:
        tally.failed.append(f'{where}: no plan ({end or "ended well"})')
    elif seen < planned:
        tally.failed += [f'{where}: a planned test never reported ({end or "it just ended"})'] * (planned - seen)
    elif seen > planned:
        tally.failed.append(f'{where}: {seen} tests reported, {planned} planned')
    elif died:
        tally.failed.append(f'{where}: {end}')
    if not tally.failed and (end or program['result'] not in ('OK', 'SKIP')):
        tally.failed.append(f'{where}: {end or "meson says " + program["result"]}')


def is_tap(program):
    """meson's log doesn't say which protocol a test speaks; its text does. With 77 a plain program says 'skipped'."""
    text = program.get('stdout', '')
    if any(PLAN.match(line) for line in text.splitlines()) or text.startswith('TAP version'):
        return True
    return program['result'] == 'SKIP' and program.get('returncode') != 77


def count_program(program, where):
    tally = Tally()
    result = program['result']
    if is_tap(program):
        count_tap_program(program, where, tally)
    elif result in ('OK', 'EXPECTEDFAIL'):
        tally.passed += 1
    elif result == 'SKIP':
        text = (program.get('stdout', '') + program.get('stderr', '')).strip()
        tally.skipped.append((where, text.splitlines()[-1] if text else 'no reason given'))
    elif result == 'UNEXPECTEDPASS':
        tally.failed.append(f'{where}: passes although it is meant to fail')
    else:
        tally.failed.append(f'{where}: {ending(program) or result}')
    return tally


def show(title, program):
    print(f'\n--- output of {title}')
    text = program.get('stdout', '') + program.get('stderr', '')
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > OUTPUT_LINES:
        print(f'    (the last {OUTPUT_LINES} of {len(lines)} lines)')
    for line in lines[-OUTPUT_LINES:]:
        print('    ' + line)


def read_meson_log(path, part):
    """Yields (title, program, tally) for each program of a meson log, and a last one if meson itself failed."""
    ended, failed = None, False
    with open(path, encoding='utf-8', errors='replace') as log:
        for line in log:
            program = json.loads(line)
            if 'ended' in program:
                ended = program['ended']
                continue
            where = f'{part}: {program["name"].split(" / ", 1)[-1]}'
            tally = count_program(program, where)
            failed = failed or bool(tally.failed)
            yield where, program, tally
    if ended is None or (ended != 0 and not failed):
        tally = Tally()
        tally.failed.append(f'{part}: meson test ' + ('never ended' if ended is None else f'ended with status {ended}'))
        yield part, {}, tally


def read_tap_log(path, part):
    with open(path, encoding='utf-8', errors='replace') as log:
        program = {'name': part, 'result': 'OK', 'returncode': 0, 'stdout': log.read()}
    tally = Tally()
    seen, planned = tap_cases(program['stdout'], tally, part)
    if seen == 0 and planned != 0:
        tally.failed.append(f'{part}: no result')
    yield part, program, tally


def read_log(path):
    part, kind = os.path.splitext(os.path.basename(path))
    try:
        yield from read_tap_log(path, part) if kind == '.tap' else read_meson_log(path, part)
    except (OSError, ValueError) as error:
        tally = Tally()
        tally.failed.append(f'{part}: its log cannot be read ({error})')
        yield part, {}, tally


def main(paths):
    total = Tally()
    for path in paths:
        for title, program, tally in read_log(path):
            if tally.failed and program:
                show(title, program)
            total.add(tally)
    print()
    for name, why in total.skipped:
        print(f'skipped  {name} ({why})')
    for name in total.failed:
        print(f'FAILED   {name}')
    ran = total.passed + len(total.failed)
    if not ran:
        print('no test ran')
    print(f'{total.passed} passed, {len(total.failed)} failed, {len(total.skipped)} skipped', flush=True)
    return 1 if total.failed or not ran else 0


if __name__ == '__main__':
    sys.stdout.reconfigure(errors='replace')
    sys.exit(main(sys.argv[1:]))
