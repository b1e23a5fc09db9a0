# SPDX-License-Identifier: Apache-2.0
"""Starts, finds and ends the programs of the lab. A program is known by run/NODE/NAME.pid, which holds process id and
start time, so that a reused id is never taken for it. It runs while that process is in its node's network: a process in a
namespace that has lost its name serves nobody."""
import contextlib
import hashlib
import os
import secrets
import signal
import subprocess
import sys

from . import configurations
from .network import inside
from .topology import DIRECTORY, LabError
from .wait import until

CAPABILITIES = ("bpf", "net_admin", "net_raw", "perfmon", "sys_nice")   # DESIGN section 3, and no more


class Program:
    def __init__(self, lab, node, name, arguments, prepare=None):
        self.lab, self.node, self.name, self.arguments, self.prepare = lab, node, name, arguments, prepare
        self.pid_file = lab.files(node) / f"{name}.pid"
        self.log_file = lab.files(node) / f"{name}.log"

    def process(self):
        """The id of its process wherever that lives, else None."""
        try:
            pid, started = self.pid_file.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if start_time(int(pid)) == started else None

    def pid(self):
        """Its process id while it runs in its node's network, else None."""
        pid = self.process()
        try:
            return pid if pid and os.path.samefile(f"/proc/{pid}/ns/net", self.lab.namespace_path(self.node)) else None
        except (FileNotFoundError, ProcessLookupError):
            return None

    def is_lost(self):
        """It lives, but its node's network is another by now, or gone."""
        return bool(self.process()) and not self.pid()

    def start(self):
        """Starts it unless it runs. True: it did not."""
        if self.pid():
            return False
        if self.prepare:
            self.prepare()
        with open(self.log_file, "ab") as log, inside(self.lab, self.node):
            process = subprocess.Popen(
                [str(a) for a in self.arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.lab.files(self.node), start_new_session=True, env=self.lab.environment(self.node))
        children[process.pid] = process
        self.pid_file.write_text(f"{process.pid} {start_time(process.pid)}\n")
        return True

    def send(self, number):
        pid = self.process()
        if pid:
            os.kill(pid, number)
        return pid

    def stop(self, number=signal.SIGTERM, seconds=10):
        """Ends it and waits for its end. True: the signal was enough; False: it did not run, or had to be killed."""
        pid = self.send(number)
        ended = bool(pid) and until(lambda: _gone(pid, self), seconds)
        if pid and not ended:
            self.send(signal.SIGKILL)
            if not until(lambda: _gone(pid, self), 5):
                raise LabError(f"{self.name} of {self.node} (process {pid}) does not end")
        self.pid_file.unlink(missing_ok=True)
        return ended

    def ending(self):
        """How it ended, where that is worth a word: " by SIGSEGV". Known of what this process started."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            status = children[int(self.pid_file.read_text().split()[0])].poll()
            if status is not None and status < 0:
                return f" by {signal.Signals(-status).name}"
        return ""

    def log(self, lines=30):
        try:
            return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


children = {}   # of this process: must be waited for, else they stay as zombies


def _gone(pid, program):
    if pid in children and children[pid].poll() is not None:
        del children[pid]
    return program.process() is None


def start_time(pid):
    """Clock ticks since boot at which a process started; None for no process and for one that only waits to be reaped.
    A dead main thread says nothing yet: files and locks go with the last thread."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" and threads <= 1 else fields[19]


def agent(lab, node, capabilities=CAPABILITIES):
    limits = ["setpriv", "--bounding-set", "-all" + "".join(f",+{c}" for c in capabilities),
              "--inh-caps", "-all", "--ambient-caps", "-all", "--no-new-privs", "--"]
    return Program(lab, node, "catsbpfd", [*limits, lab.agent_program, "--config", lab.files(node) / "catsbpfd.yaml"])


def platform(lab, node):
    files = lab.files(node)
    user = configurations.UNPRIVILEGED

    def prepare():
        token = files / "write-token"
        if not token.exists():
            token.write_text(secrets.token_hex(16) + "\n")
        token.chmod(0o600)
        os.chown(files, user, user)
        for path in files.iterdir():
            os.chown(path, user, user)

    limits = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--bounding-set", "-all",
              "--inh-caps", "-all", "--no-new-privs", "--"]
    return Program(lab, node, "cats-platformd",
                   [*limits, lab.platform_program, "--config", files / "cats-platformd.yaml"], prepare)


def nginx(lab, instance):
    name = f"nginx-{instance.csci_id}"
    prefix = lab.files(instance.node) / name

    def prepare():
        files = prefix / "files"
        files.mkdir(parents=True, exist_ok=True)
        configurations.write(prefix / "nginx.conf", configurations.nginx(lab, instance))
        configurations.write(files / "name", instance.text + "\n")
        if not (files / "big").exists():
            (files / "big").write_bytes(big_content(instance.csci_id))

    return Program(lab, instance.node, name, ["nginx", "-e", "stderr", "-p", prefix, "-c", prefix / "nginx.conf"], prepare)


def big_content(csci_id):
    """What /big of an instance holds: its own bytes, so that a download proves where it came from."""
    return hashlib.shake_256(f"CSCI-ID {csci_id}".encode()).digest(configurations.BIG_BYTES)


def echo(lab, node):
    arguments = [sys.executable, "-B", DIRECTORY / "labkit" / "echo.py"]
    for instance in lab.topology.instances(node):
        arguments += [f"{a}={instance.text}" for a in instance.service.addresses + instance.contacts]
    return Program(lab, node, "echo", arguments)


def of_sites(lab):
    programs = [nginx(lab, i) for i in lab.topology.instances()] + [echo(lab, s.node) for s in lab.topology.sites.values()]
    return [p for p in programs if lab.only in (None, p.node)]


def of_cats(lab):
    programs = [platform(lab, lab.topology.platform.name)] + [agent(lab, n.name) for n in lab.topology.agents()]
    return [p for p in programs if lab.only in (None, p.node)]


def all_of(lab):
    return of_sites(lab) + of_cats(lab)
