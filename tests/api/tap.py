# SPDX-License-Identifier: BSD-2-Clause
"""Runs functions as tests, the name of each being what it shows, and says in TAP how they ended."""
import sys
import traceback


def run(tests):
    """The exit status: 1 where one has raised."""
    failed = 0
    print(f"1..{len(tests)}")
    for number, test in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {test.__name__}")
        except Exception:
            failed += 1
            print(f"not ok {number} - {test.__name__}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="")
        sys.stdout.flush()
    return 1 if failed else 0
