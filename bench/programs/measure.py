# SPDX-License-Identifier: BSD-2-Clause
"""One run of a program on one allocator, and all of them in turns."""
import collections
import glob
import hashlib
import os
import shutil
import subprocess
import tempfile

import subjects

# cpu in seconds, memory in MB; instructions are None where the machine does not count them
Run = collections.namedtuple('Run', 'cpu instructions peak final faults output failure')
LIMIT = 120


class Machine:
    """Where it happens: the meter, the input, and the allocators (name -> environment with LD_PRELOAD)."""

    def __init__(self, build, inputs, allocators):
        self.inputs, self.allocators = inputs, allocators
        self.meter = os.path.join(build, 'bench', 'programs', 'meter')
        self.final = os.path.join(build, 'bench', 'programs', 'final.so')
        self.perf = shutil.which('perf') if self.counts() else None

    def counts(self):
        """Whether perf can count instructions here; in many virtual machines it can't."""
        if not shutil.which('perf'):
            return False
        done = subprocess.run(['perf', 'stat', '-x,', '-e', 'instructions:u', 'true'], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, check=False)
        return done.stderr.split(',')[0].isdigit()

    def run(self, subject, allocator, instructions):
        with tempfile.TemporaryDirectory(prefix='programs-') as top:
            work, final = os.path.join(top, 'run'), os.path.join(top, 'final')
            os.mkdir(work)
            os.mkdir(final)
            if subject.before:
                done = subjects.script(subject.before, work, self.inputs)
                if done.returncode:
                    return Run(0, None, 0, 0, 0, '', f'its preparation failed: {done.stdout.decode()[-200:]}')
            return self.measured(subject, allocator, top, instructions)

    def measured(self, subject, allocator, top, instructions):
        env = dict(self.allocators[allocator])
        preload = ':'.join(filter(None, (env.pop('LD_PRELOAD', None), self.final)))
        env = {**subjects.table.environment(None), **env, 'FINAL': os.path.join(top, 'final'), 'LC_ALL': 'C.UTF-8'}
        env.pop('BUFPOOL_CONF', None)
        used, counted, said = (os.path.join(top, name) for name in ('used', 'counted', 'said'))
        count = ['perf', 'stat', '-x,', '-e', 'instructions:u', '-o', counted] if instructions else []
        argv = count + [self.meter, used, preload] + [word.replace('{in}', self.inputs) for word in subject.argv]
        source = subject.stdin.replace('{in}', self.inputs) if subject.stdin else os.devnull
        work, beside = os.path.join(top, 'run'), b''
        with open(said, 'wb') as out, open(source, 'rb') as stdin:
            child = subprocess.Popen(argv, cwd=work, env=env, stdin=stdin, stdout=out, stderr=subprocess.STDOUT)
            if subject.beside:
                beside = subjects.script(subject.beside, work, self.inputs).stdout
            try:
                child.wait(LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                return Run(0, None, 0, 0, 0, '', f'not ended after {LIMIT} s')
        return self.read(top, beside, instructions)

    def read(self, top, beside, instructions):
        with open(os.path.join(top, 'said'), 'rb') as said:
            text = said.read()
        # The loader goes on without a library that it can't preload: that would measure glibc under another name.
        if b'cannot be preloaded' in text:
            return Run(0, None, 0, 0, 0, '', text.decode(errors='replace')[:200])
        with open(os.path.join(top, 'used'), encoding='ascii') as used:
            cpu, peak, faults, status = used.read().split()
        ends = []
        for path in glob.glob(os.path.join(top, 'final', '*')):
            with open(path, encoding='ascii') as final:
                ends.append(int(final.read()))
        failure = f'status {status}' if status != '0' else '' if ends else 'no process ended by exit'
        number = None
        if instructions:
            with open(os.path.join(top, 'counted'), encoding='utf-8') as counted:
                number = next((int(line.split(',')[0]) for line in counted if 'instructions' in line), None)
        return Run(float(cpu), number, int(peak) / 1024, max(ends, default=0) / 1024, int(faults),
                   hashlib.sha256(beside or text).hexdigest(), failure)

    def in_turns(self, names, rounds, progress):
        """All programs on all allocators once, then again, each round beginning with another allocator."""
        runs = collections.defaultdict(list)
        total, done = rounds * len(names) * len(self.allocators), 0
        for number in range(rounds):
            order = list(self.allocators)
            order = order[number % len(order):] + order[:number % len(order)]
            for name in names:
                for allocator in order:
                    done += 1
                    progress(f'{done} of {total}: round {number + 1} of {rounds}, {name} on {allocator}')
                    subject = subjects.SUBJECTS[name]
                    run = self.run(subject, allocator, False)
                    if self.perf and not run.failure:    # counting costs time: not in the run whose time is taken
                        run = run._replace(instructions=self.run(subject, allocator, True).instructions)
                    runs[name, allocator].append(run)
        return runs
