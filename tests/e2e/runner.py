# SPDX-License-Identifier: Apache-2.0
"""What a test is, what it gets, and how all of them run on one lab. A test is a function of one argument, `e2e`;
AssertionError or LabError: it failed; Skip: it cannot run here, and why."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as tree

from labkit import main as lab_commands
from labkit import api, processes, ready, steering
from labkit.lab import Lab
from labkit.topology import LabError
from labkit.wait import until

tests = []


class Skip(Exception):
    pass


class Test:
    def __init__(self, function, lab):
        self.function, self.name, self.lab = function, function.__name__, lab
        self.module = function.__module__.removeprefix("test_")


def test(function=None, *, lab=True):
    """Marks a test. lab=False: it makes its own lab, or needs none."""
    if function is None:
        return lambda f: test(f, lab=lab)
    tests.append(Test(function, lab))
    return function


class E2e:
    """What tests get: the lab, and short ways to ask it."""

    def __init__(self, lab):
        self.lab, self.topology = lab, lab.topology
        self.undo = []

    def run(self, node, words, check=True, **options):
        """A command in a node; its output must be a success unless check=False."""
        done = lab_commands.run_in(self.lab, node, words, **options)
        if check:
            assert done.returncode == 0, f"{node}: {' '.join(map(str, words))} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def curl(self, url, *options, node="client", check=True):
        return self.run(node, ["curl", "-sS", "--max-time", "5", *options, url], check).stdout

    def catsbpf(self, node, *words):
        """catsbpf --json as a value."""
        return json.loads(self.run(node, ["catsbpf", *words, "--json"]).stdout)

    def another_lab(self, letter):
        """A lab of a test's own, which is not up."""
        return Lab(self.lab.name + letter, self.lab.build)

    def operator(self, node):
        return api.operator(self.lab, node)

    def agent(self, node):
        return processes.agent(self.lab, node)

    def outcome(self, node, name):
        """Packets that ended in an outcome at a node, from the pinned maps."""
        return next(o["packets"] for o in self.catsbpf(node, "outcomes", "--all")["outcomes"] if o["name"] == name)

    def eventually(self, what, condition, seconds=10):
        """The condition's value, which must become true in time. While it raises, it is not true yet."""
        problem = None

        def ask():
            nonlocal problem
            try:
                return condition()
            except (AssertionError, LabError, OSError, KeyError, StopIteration) as error:
                problem = error
                return None
        value = until(ask, seconds)
        assert value, f"{what}: not within {seconds} s" + (f" ({problem})" if problem else "")
        return value

    def need(self, tool, package):
        if not shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            self.skip(f"{tool} is not installed (package {package})")

    def skip(self, reason):
        """Cannot run here. In CI that is a failure: there, everything must be installed."""
        assert not os.environ.get("CI"), f"cannot run in CI: {reason}"
        raise Skip(reason)

    def settle(self):
        """The state in which every test starts: everything runs, every site offers what the topology says."""
        for action in self.undo[::-1]:
            action()
        self.undo.clear()
        for program in processes.all_of(self.lab):
            program.start()
        ready.publish_tables(self.lab)
        ready.cats(self.lab)
        steering.restore(self.lab)


class SanitizerReports:
    """What programs built with sanitizers (preset asan) report, at their end too: one file each. A suite whose daemon
    leaks, or a CLI that reads beyond an array, must not pass because the traffic did."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="catsbpf-sanitizer-"))
        self.directory.chmod(0o1777)        # cats-platformd is nobody
        for variable in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            given = [o for o in (os.environ.get(variable), "print_stacktrace=1", f"log_path={self.directory}/report") if o]
            os.environ[variable] = ":".join(given)

    def take(self):
        """The reports since the last call, as one text; "" when there are none."""
        texts = []
        for file in sorted(self.directory.iterdir()):
            texts.append(file.read_text(errors="replace").strip())
            file.unlink()
        return "\n".join(texts)

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def run(selected, options):
    lab = Lab(options.name, options.build)
    e2e = E2e(lab)
    reports = SanitizerReports()
    results = []
    problem = None
    if any(t.lab for t in selected):
        began = time.monotonic()
        try:
            lab_commands.down(lab)
            lab_commands.up(lab)
            print(f"lab {lab.name} is up ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:   # every test that needs the lab has failed
            problem = f"the lab did not come up: {error}"
            print(problem, flush=True)
            _show_logs(lab)
    for one in selected:
        results.append(_run_one(one, e2e, reports, problem if one.lab else None))
    if not options.keep:
        try:
            lab_commands.down(lab)
            reported = reports.take()
            assert not reported, f"sanitizers report at the end of the lab's programs:\n{reported}"
        except (AssertionError, LabError) as error:
            print(f"error: {error}")
            results.append(("runner", "lab_goes_down", 0, "failed", str(error)))
    reports.remove()
    if options.report:
        _write_report(options.report, results)
    counts = {kind: sum(r[3] == kind for r in results) for kind in ("passed", "failed", "skipped")}
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


def _run_one(one, e2e, reports, problem):
    began = time.monotonic()
    logs = _log_ends(e2e.lab)
    kind, text = "passed", ""
    try:
        assert not problem, problem
        if one.lab:
            e2e.settle()
        one.function(e2e)
    except Skip as reason:
        kind, text = "skipped", str(reason)
    except (AssertionError, LabError) as error:
        place = traceback.extract_tb(error.__traceback__)
        here = next((f for f in reversed(place) if "/tests/e2e/test_" in f.filename), place[-1])
        kind, text = "failed", f"{str(error) or 'assertion failed: ' + (here.line or '')} ({os.path.basename(here.filename)}:{here.lineno})"
    except Exception:
        kind, text = "failed", traceback.format_exc()
    reported = reports.take()
    if reported:
        kind, text = "failed", f"{text}\nsanitizers report:\n{reported}".strip()
    took = time.monotonic() - began
    mark = {"passed": "ok  ", "failed": "FAIL", "skipped": "SKIP"}[kind]
    print(f"{mark} {one.name} ({took:.1f} s)" + (f": {text}" if text else ""), flush=True)
    if kind == "failed" and one.lab:
        _show_logs(e2e.lab, logs)
    return one.module, one.name, took, kind, text


def _log_ends(lab):
    return {p.log_file: p.log_file.stat().st_size for p in processes.of_cats(lab) if p.log_file.exists()}


def _show_logs(lab, since=None, lines=12):
    """What agents and platform have said since, the last lines of each."""
    for program in processes.of_cats(lab):
        with contextlib.suppress(FileNotFoundError), open(program.log_file, errors="replace") as log:
            log.seek((since or {}).get(program.log_file, 0))
            said = log.read().splitlines()[-lines:]
            if said:
                print("\n     ".join([f"     ==> {program.node} {program.name}", *said]), flush=True)


def _write_report(path, results):
    suite = tree.Element("testsuite", name="e2e")
    for module, name, took, kind, text in results:
        case = tree.SubElement(suite, "testcase", classname=f"e2e.{module}", name=name, time=f"{took:.3f}")
        if kind != "passed":
            tree.SubElement(case, "failure" if kind == "failed" else "skipped", message=text[:2000])
    tree.ElementTree(suite).write(path)


def tool_output(words, **options):
    """A tool of this machine, not of a node."""
    return subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=120, **options)
