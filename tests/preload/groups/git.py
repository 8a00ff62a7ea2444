# SPDX-License-Identifier: BSD-2-Clause
"""git on a repository that is always the same one (bench/programs/repository.py): fixed dates, two authors."""


def repository(commits):
    """A script that makes it, says what it does, and leaves its shell in it."""
    return ('export GIT_CONFIG_NOSYSTEM=1 && git init -q -b main r && cd r && '
            'git config user.name "Author One" && git config user.email one@example.org && '
            'git config gc.auto 0 && git config pack.threads 1 && '
            f'python3 "$BENCH/repository.py" {commits} > ../stream && '
            'git fast-import --quiet --done < ../stream && rm ../stream && ')


# The index and the logs hold times.
FORGET = ' && rm -rf .git/index .git/logs'

QUICK = {
    'git, log and gc': repository(60) + 'git log -p --stat && git gc -q && git fsck --strict 2>&1' + FORGET,
}

LONG = {
    'git, log of all kinds':
        repository(300) + 'git log -p --stat -M -C && git log --graph --oneline --word-diff -p -20 && '
        'git blame HEAD -- dir0/file0.txt && git log -S alpha --oneline && git shortlog -se HEAD' + FORGET,
    'git, gc and repack':
        repository(300) + 'git gc -q --aggressive --prune=now && git repack -q -a -d -f --window=50 && '
        'git fsck --strict 2>&1 && git verify-pack -v .git/objects/pack/*.idx' + FORGET,
    'git, gc on two threads':    # which deltas it takes depends on the threads: what is in it must not
        repository(300) + 'git config pack.threads 2 && git gc -q --aggressive && git fsck --strict 2>&1 && '
        'git cat-file --batch-all-objects --batch | cksum && rm -rf .git',
    'git, checkout, clone, merge, rebase':
        repository(100) + 'git reset -q --hard && git checkout -q -b side HEAD~30 && echo side > side.txt && '
        'git add side.txt && export GIT_AUTHOR_DATE="1700000000 +0000" GIT_COMMITTER_DATE="1700000000 +0000" && '
        'git commit -q -m Side && git merge -q main -m Merge && git log -1 -p -m && git rebase -q main 2>&1 && '
        'git format-patch -q -3 --stdout main~5 && git archive HEAD | cksum && git grep -n sigma | cksum && '
        'cd .. && git clone -q --no-local r c 2>&1 && git -C c log --format=%H && git -C c fsck 2>&1 && rm -rf r c',
}
