# SPDX-License-Identifier: Apache-2.0
"""Runs the e2e tests: brings the lab `e2e` up once, runs every function that @test marks, takes it down.
   tests/e2e [--build DIR] [--report FILE] [--keep] [--list] [WORD...]   WORD: part of a test's name"""
import argparse
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[0] = str(HERE)
sys.path.insert(1, str(HERE.parent.parent / "vagrant"))
import comparing  # noqa: E402
import runner  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="tests/e2e")
    parser.add_argument("--build")
    parser.add_argument("--report", help="JUnit report to write")
    parser.add_argument("--name", default="e2e", help="name of the lab")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    parser.add_argument("--list", action="store_true", help="only list the tests")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    for path in sorted(HERE.glob("test_*.py")):
        comparing.load(path)
    chosen = {word: [t for t in runner.tests if word in t.name or word in t.module] for word in options.words}
    for word, found in chosen.items():
        if not found:
            print(f"error: no test has '{word}' in its name\nhint: tests/e2e --list names them all", file=sys.stderr)
            return 1
    tests = [t for t in runner.tests if not chosen or any(t in found for found in chosen.values())]
    if options.list:
        print("\n".join(f"{t.module}: {t.name}" for t in tests))
        return 0
    os.umask(0o022)
    return runner.run(tests, options)


sys.exit(main())
