#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""That no compiler dropped a wipe: who clears memory and then gives it away clears what nobody reads, and a plain memset there
may go. So the built library is looked at: from each function that wipes, direct calls and jumps must lead to a function whose
effect may not be dropped. Writes TAP.

    wiped.py LIBRARY
"""
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import tap  # noqa: E402, beside this file

CLEARING = {"explicit_bzero", "__explicit_bzero_chk", "memset_explicit"}

BEGIN = re.compile(r"^([0-9a-f]+) <([^>@]+)(@[^>]*)?>:$")
TARGET = re.compile(r"\b([0-9a-f]+) <([^>@+]+)(?:@[^>+]*)?(?:\+0x([0-9a-f]+))?>")


class Code:
    """Which function leads where. By address: static functions of two files may have the same name."""

    def __init__(self, text):
        self.targets, self.named, targets = {}, {}, set()
        for line in text.splitlines():
            begin = BEGIN.match(line)
            if begin:
                at, name, kind = int(begin[1], 16), begin[2], begin[3] or ""
                targets = self.targets.setdefault(at, set())
                if not kind.startswith("@plt"):
                    self.named.setdefault(name, set()).add(at)
                continue
            for at, name, offset in TARGET.findall(line):
                targets.add((int(at, 16) - int(offset or "0", 16), name))

    def function(self, name):
        found = self.named.get(name, set())
        assert len(found) == 1, f"{len(found)} functions are named {name}"
        return next(iter(found))

    def follow(self, at, name):
        """Where the PLT or a table leads to, its name says."""
        if at in self.targets:
            return at
        found = self.named.get(name, set())
        return next(iter(found)) if len(found) == 1 else None

    def clears(self, name, without=()):
        """Does it come to a function that clears, other than through those?"""
        waiting, seen = [self.function(name)], {self.function(other) for other in without}
        while waiting:
            at = waiting.pop()
            if at in seen:
                continue
            seen.add(at)
            for target, named in self.targets[at]:
                if named in CLEARING:
                    return True
                following = self.follow(target, named)
                if following is not None:
                    waiting.append(following)
        return False


# All releases of blocks of named pools come by here, and here those of wiping pools are cleared.
NAMED = "bp_pool_release_elsewhere"


def S2_a_wiping_release_clears():
    assert CODE.clears("bufpool_release_wiped", without=[NAMED])


def S2_each_release_clears_where_the_pool_wipes():
    assert CODE.clears(NAMED)
    for name in ("bufpool_release", "bufpool_release_sized", "bufpool_release_aligned_sized", "bufpool_release_many",
                 "bufpool_release_class_", "bufpool_resize", "bufpool_resize_used"):
        assert CODE.clears(name), name
        assert not CODE.clears(name, without=[NAMED]), f"{name} has a way of its own: it belongs into a test of its own"


def S2_what_buffers_give_back_is_cleared():
    assert CODE.clears("bufpool_buf_release", without=[NAMED])


def what_may_be_dropped_does_not_count():
    assert not CODE.clears("bufpool_acquire_zeroed", without=[NAMED])


TESTS = [S2_a_wiping_release_clears, S2_each_release_clears_where_the_pool_wipes, S2_what_buffers_give_back_is_cleared,
         what_may_be_dropped_does_not_count]


if __name__ == "__main__":
    if not shutil.which("objdump"):
        print("1..0 # SKIP objdump is not here")
        sys.exit(0)
    CODE = Code(subprocess.run(["objdump", "-d", "--no-show-raw-insn", sys.argv[1]], check=True, text=True,
                               stdout=subprocess.PIPE).stdout)
    sys.exit(tap.run(TESTS))
