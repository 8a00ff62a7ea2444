#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compiles and runs the C in README.md and docs/*.md. A failure names the file and the line.

The rules, which need no marks in the pages:
  - a block ```c with a `main(` is a program: it is compiled as it stands, run, and must exit with 0; where the text
    after it begins with "It prints", the block that follows is what it must have printed;
  - any other block ```c is the beginning of a file (its #include lines) and the body of a function; it is compiled and
    run as that;
  - a block whose fence says ```c declarations is what it says: it is compiled, and there is nothing to run;
  - other words of a fence are the pkg-config names of libraries that the block needs (```c zlib); without them it is skipped;
  - C that is merely indented is refused: nobody would compile it.
All with -Wall -Wextra -Werror against the shared library; so are the programs in docs/examples, which have tests of
their own to run them. Writes TAP, a test a block.

    docs.py ROOT LIBRARY [CC]
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FENCE = re.compile(r"^ {0,3}```(.*)$")
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
PRINTS = "It prints"


class Block:
    def __init__(self, path, line, kind, packages=()):
        self.path, self.line, self.kind, self.packages = path, line, kind, packages
        self.lines, self.prints = [], None

    def source(self):
        """With #line, so that the compiler itself names the page's lines."""
        def at(number, lines):
            return f'#line {number} "{self.path}"\n' + "".join(line + "\n" for line in lines)

        if self.kind != "body":
            return at(self.line + 1, self.lines)
        includes = [number for number, line in enumerate(self.lines) if line.startswith("#include")]
        split = includes[-1] + 1 if includes else 0
        return (at(self.line + 1, self.lines[:split]) + "static void body(void)\n{\n" +
                at(self.line + 1 + split, self.lines[split:]) + "}\nint main(void)\n{\n\tbody();\n\treturn 0;\n}\n")


def kind_of(words, lines):
    if words[:1] != ["c"]:
        return None
    if words[1:] == ["declarations"]:
        return "declarations"
    return "program" if any(re.search(r"\bmain\(", line) for line in lines) else "body"


def blocks_of(path, name):
    """Every C block of a page; the output that one promises goes with it."""
    found, opened, lines, between, last = [], None, [], [], None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None:
            if fence:
                opened, lines = (number, fence.group(1).split()), []
            elif re.match(r"\s+#include\b", line):
                raise ValueError(f"{name}:{number}: C outside of a block ```c")
            elif line.strip():
                between.append(line.strip())
            continue
        if not fence:
            lines.append(line)
            continue
        kind = kind_of(opened[1], lines)
        if kind:
            last = Block(name, opened[0], kind, [word for word in opened[1][1:] if word != "declarations"])
            last.lines = lines
            found.append(last)
        elif last and len(between) == 1 and between[0].startswith(PRINTS):
            last.prints = "".join(text + "\n" for text in lines)
            last = None
        opened, between = None, []
    if opened:
        raise ValueError(f"{name}:{opened[0]}: a block without an end")
    return found


def run(command, **how):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=60, check=False, **how)


def flags_of(packages):
    """What the compiler needs for them, or None where they are not here."""
    if not packages:
        return []
    try:
        result = run(["pkg-config", "--cflags", "--libs", *packages])
    except FileNotFoundError:
        return None
    return result.stdout.split() if result.returncode == 0 else None


def on_one_cpu():
    """Pools cache by CPU: a program that is moved amid two calls makes anew, and prints, what it had."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def check(block, root, library, compiler, folder, flags):
    """What is wrong with it, or None."""
    source, program = folder / "block.c", folder / "block"
    source.write_text(block.source(), encoding="utf-8")
    command = [compiler, *FLAGS, "-I", str(root / "include"), str(source), *flags]
    if block.kind in ("declarations", "example"):
        result = run([*command, "-fsyntax-only"])
        return result.stdout if result.returncode else None
    result = run([*command, "-o", str(program), str(library), f"-Wl,-rpath,{library.parent}"])
    if result.returncode:
        return result.stdout
    result = subprocess.run([program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, errors="replace", timeout=60, cwd=folder, check=False,
                            preexec_fn=on_one_cpu if block.prints is not None else None)
    if result.returncode:
        return f"ended with {result.returncode}\n{result.stdout}{result.stderr}"
    if block.prints is not None and result.stdout != block.prints:
        return f"printed\n{result.stdout}where the page says\n{block.prints}"
    return None


def main():
    root, library = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
    compiler = sys.argv[3] if len(sys.argv) > 3 else "cc"
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    blocks = [block for page in pages for block in blocks_of(page, str(page.relative_to(root)))]
    for example in sorted((root / "docs/examples").glob("*.c")):
        blocks.append(Block(str(example.relative_to(root)), 0, "example"))
        blocks[-1].lines = example.read_text(encoding="utf-8").splitlines()
    failed = 0
    print(f"1..{len(blocks) + 1}")
    for number, block in enumerate(blocks, 1):
        flags = flags_of(block.packages)
        if flags is None:
            print(f"ok {number} - {block.path}:{block.line} # SKIP not here: {' '.join(block.packages)}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            wrong = check(block, root, library, compiler, pathlib.Path(folder), flags)
        print(f"{'not ok' if wrong else 'ok'} {number} - {block.path}:{block.line} {block.kind}")
        if wrong:
            failed += 1
            print("".join(f"# {line}\n" for line in wrong.splitlines()), end="")
    covered = any(block.path == "README.md" for block in blocks)
    print(f"{'ok' if covered else 'not ok'} {len(blocks) + 1} - README.md has C that was compiled and run")
    return 1 if failed or not covered else 0


if __name__ == "__main__":
    sys.exit(main())
