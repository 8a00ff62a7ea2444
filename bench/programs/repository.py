# SPDX-License-Identifier: BSD-2-Clause
"""repository.py COMMITS: a repository that is always the same one, as a stream for `git fast-import`.

Many small changes to 25 files of text. Dates, authors and contents are fixed, so the objects have the same names on
every run.
"""
import random
import sys

WORDS = 'alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau'.split()
AUTHORS = ('Author One <one@example.org>', 'Author Two <two@example.org>')
BEGIN = 1_600_000_000


def stream(commits, out):
    rng = random.Random('repository')
    files = {f'dir{n % 5}/file{n}.txt': [' '.join(rng.choices(WORDS, k=8)) for _ in range(120)] for n in range(25)}
    changed = list(files)
    for number in range(commits):
        who = f'{AUTHORS[number % 2]} {BEGIN + 3600 * number} +0000'
        message = f'Change {number}\n\n{" ".join(rng.choices(WORDS, k=20))}\n'
        out.write(f'commit refs/heads/main\nauthor {who}\ncommitter {who}\ndata {len(message)}\n{message}')
        for name in changed:
            text = '\n'.join(files[name]) + '\n'
            out.write(f'M 100644 inline {name}\ndata {len(text)}\n{text}')
        out.write('\n')
        changed = sorted(rng.sample(sorted(files), 3))
        for name in changed:
            lines = files[name]
            lines[rng.randrange(len(lines))] = ' '.join(rng.choices(WORDS, k=8))
            lines.insert(rng.randrange(len(lines)), ' '.join(rng.choices(WORDS, k=rng.randrange(1, 30))))
    out.write('done\n')


if __name__ == '__main__':
    stream(int(sys.argv[1]), sys.stdout)
