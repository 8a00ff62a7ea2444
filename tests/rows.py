#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Holds docs/seeds.md to the tests: the project's founding requirements are numbered S1 to S24, and each has tests named
after it (S17_...). Every row of the page must name exactly the files that have tests of that number, and every number must
have a row and a test. A test is one that is defined, in a file that is built: a name in a comment is none.

    rows.py ROOT
"""
import pathlib
import re
import sys

ROWS = range(1, 25)
NAMED = re.compile(r"^(?:Test\(\w+, |TEST\(|def )S(\d+)_\w", re.MULTILINE)
ROW = re.compile(r"^\| S(\d+) \|")


def is_built(path):
    """By the name of its file or, where the file's name is made of it, of its program."""
    build = path.parent / "meson.build"
    names = (path.name, path.stem)
    return build.exists() and any(f"'{name}'" in build.read_text(encoding="utf-8") for name in names)


def files_by_row(root):
    """Which files have a test of that number: Criterion's Test(suite, S1_...), the shim's TEST(S1_...), Python's def S1_..."""
    found = {row: set() for row in ROWS}
    for path in sorted((root / "tests").rglob("*")):
        if path.suffix in (".c", ".cpp", ".py") and is_built(path):
            for number in NAMED.findall(path.read_text(encoding="utf-8")):
                found.setdefault(int(number), set()).add(str(path.relative_to(root / "tests").with_suffix("")))
    return found


def main():
    root = pathlib.Path(sys.argv[1])
    page = {}
    for line in (root / "docs/seeds.md").read_text(encoding="utf-8").splitlines():
        row = ROW.match(line)
        if row:
            page[int(row.group(1))] = set(re.findall(r"`([a-z_/0-9]+)`", line.rsplit("|", 2)[-2]))
    found, failed = files_by_row(root), 0
    print(f"1..{len(found)}")
    for number, files in sorted(found.items()):
        said = page.get(number, set())
        good = number in ROWS and files and files == said
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - S{number} has tests, and the page names them")
        if not good:
            print(f"# the page: {' '.join(sorted(said)) or 'nothing'}\n# tests: {' '.join(sorted(files)) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
