# SPDX-License-Identifier: Apache-2.0
"""Real traffic from a node of the lab, and what became of it: which instance answered, what was lost, what moved."""
import collections
import contextlib
import errno
import hashlib
import re
import selectors
import socket
import subprocess
import tempfile
import threading
import time

from . import echo, ports
from .network import inside
from .processes import big_content
from .topology import LabError
from .wait import Missing, must, until

INSTANCE = re.compile(rb"\(CSCI-ID (\d+)\)")


def csci_id(answer):
    """The instance that answered, 0 when the answer names none."""
    found = INSTANCE.search(answer)
    return int(found.group(1)) if found else 0


def new_socket(lab, node, address, kind):
    """A socket of that kind (SOCK_STREAM, SOCK_DGRAM) in a node, on a port that no flow had before."""
    protocol = "tcp" if kind == socket.SOCK_STREAM else "udp"
    with inside(lab, node):
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    while True:
        try:
            made.bind(("", ports.fresh(lab, node, protocol).start))
            return made
        except OSError as error:
            if error.errno != errno.EADDRINUSE:     # a program of this machine listens there
                raise


def connect(lab, address, port=80, node="client", timeout=5):
    connection = new_socket(lab, node, address, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    connection.connect((address, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def ask(connection):
    """One HTTP request on a kept-alive connection; the CSCI-ID that answered."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: service\r\n\r\n")
    data = b""
    while not INSTANCE.search(data):
        more = connection.recv(4096)
        if not more:
            raise ConnectionResetError("closed by the instance")
        data += more
    return csci_id(data)


def new_flows(lab, address, count, node="client"):
    """Counter of the instances that `count` new TCP connections reached."""
    reached = collections.Counter()
    for _ in range(count):
        with contextlib.closing(connect(lab, address, node=node)) as connection:
            reached[ask(connection)] += 1
    return reached


def new_udp_flows(lab, address, count, node="client"):
    reached = collections.Counter()
    for number in range(count):
        with contextlib.closing(new_socket(lab, node, address, socket.SOCK_DGRAM)) as probe:
            probe.settimeout(2)
            probe.connect((address, echo.PORT))
            probe.send(b"%d" % number)
            reached[csci_id(probe.recv(2048))] += 1
    return reached


class _Load:
    """Traffic in a thread of its own while a block runs."""

    def __init__(self, sockets):
        self._sockets, self._end = sockets, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        until(self._under_way, 5)
        return self

    def __exit__(self, *_):
        if not self._end.is_set():
            self._end.set()
            self._thread.join()
            for each in self._sockets:
                each.close()


class EchoLoad(_Load):
    """UDP echo on many flows at once: every datagram has its sequence number, every answer names its instance."""

    def __init__(self, lab, addresses, flows=20, rate=50, node="client"):
        self.interval, self.flows = 1 / rate, []
        for number in range(flows):
            address = addresses[number % len(addresses)]
            probe = new_socket(lab, node, address, socket.SOCK_DGRAM)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            probe.setblocking(False)
            probe.connect((address, echo.PORT))
            self.flows.append(_EchoFlow(probe))
        super().__init__([flow.socket for flow in self.flows])

    def _under_way(self):
        return self.received >= len(self.flows)

    @property
    def sent(self):
        return sum(f.sent for f in self.flows)

    @property
    def received(self):
        return sum(len(f.answered) for f in self.flows)

    @property
    def lost(self):
        return self.sent - self.received

    @property
    def moved(self):
        """Flows that more than one instance answered."""
        return sum(len(f.instances) > 1 for f in self.flows)

    @property
    def longest_gap(self):
        """Seconds: the longest time between two answers of a flow."""
        return max(f.longest_gap for f in self.flows)

    def instances(self):
        return collections.Counter(i for f in self.flows for i in f.instances)

    def wait_for(self, datagrams, seconds=30):
        """Goes on until that many more were sent."""
        goal = self.sent + datagrams
        return until(lambda: self.sent >= goal, seconds)

    def _run(self):
        selector = selectors.DefaultSelector()
        for flow in self.flows:
            selector.register(flow.socket, selectors.EVENT_READ, flow)
        due = time.monotonic()
        while not self._end.is_set():
            self._receive(selector, max(0, due - time.monotonic()))
            if time.monotonic() >= due:
                for flow in self.flows:
                    flow.send()
                due = max(due + self.interval, time.monotonic() - self.interval)
        late = time.monotonic() + 1.5
        while self.lost and time.monotonic() < late:
            self._receive(selector, 0.05)

    def _receive(self, selector, seconds):
        for key, _ in selector.select(seconds):
            key.data.receive()


class _EchoFlow:
    def __init__(self, probe):
        self.socket, self.sent, self.refused = probe, 0, 0
        self.answered, self.instances = set(), collections.Counter()
        self.longest_gap, self.last = 0.0, None

    def send(self):
        self.sent += 1
        try:
            self.socket.send(b"%d" % self.sent)
        except OSError:
            self.refused += 1     # stays unanswered, so it counts as lost

    def receive(self):
        while True:
            try:
                answer = self.socket.recv(2048)
            except BlockingIOError:
                return
            except OSError:
                self.refused += 1
                return
            now = time.monotonic()
            if self.last:
                self.longest_gap = max(self.longest_gap, now - self.last)
            self.last = now
            self.answered.add(int(answer.rpartition(b" ")[2]))
            self.instances[csci_id(answer)] += 1


class HttpLoad(_Load):
    """Kept-alive HTTP connections that ask again and again."""

    def __init__(self, lab, address, connections=8, pause=0.01, node="client"):
        self.connections = [connect(lab, address, node=node) for _ in range(connections)]
        self.answers, self.errors, self.pause = 0, [], pause
        self.instances = [collections.Counter() for _ in self.connections]
        super().__init__(self.connections)

    def _under_way(self):
        return self.answers >= len(self.connections)

    @property
    def moved(self):
        return sum(len(reached) > 1 for reached in self.instances)

    def _run(self):
        alive = list(range(len(self.connections)))
        while alive and not self._end.wait(self.pause):
            for number in list(alive):
                try:
                    self.instances[number][ask(self.connections[number])] += 1
                    self.answers += 1
                except OSError as error:
                    self.errors.append(f"connection {number}: {error}")
                    alive.remove(number)


class Download:
    """curl of /big at a limited rate. Knows its instance as soon as the answer's head is there."""

    def __init__(self, run_in_arguments, lab, host, rate, family=4):
        self.directory = tempfile.TemporaryDirectory(prefix="catsbpf-download-")
        self.body, self.head = f"{self.directory.name}/body", f"{self.directory.name}/head"
        words = ["curl", "-sS", f"-{family}", "-N", "-D", self.head, "-o", self.body, f"http://{host}/big?rate={rate}"]
        self.started = time.monotonic()
        self.process = subprocess.Popen(run_in_arguments(lab, "client", words), env=lab.environment("client"),
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            self.csci_id = must(f"answer of {host}", self._instance, 10)
        except LabError:
            self.abort()
            raise

    def _instance(self):
        with contextlib.suppress(FileNotFoundError), open(self.head, "rb") as head:
            text = head.read()
            if b"\r\n\r\n" in text:
                return csci_id(text) or Missing(text.decode(errors="replace").splitlines()[0])
        if not self.running():
            raise LabError(f"curl ended with {self.process.returncode}: {self.process.stdout.read().strip()}")
        return Missing("no answer")

    @classmethod
    def of_instance(cls, run_in_arguments, lab, host, rate, wanted, family=4, tries=64):
        """A download that comes from that instance: others are given up."""
        for _ in range(tries):
            download = cls(run_in_arguments, lab, host, rate, family)
            if download.csci_id == wanted:
                return download
            download.abort()
        return None

    def running(self):
        return self.process.poll() is None

    def abort(self):
        self.process.kill()
        self.process.communicate()
        self.directory.cleanup()

    def finish(self, seconds=60):
        """(curl's status and words, whether the bytes are the instance's own, seconds it took)."""
        words, _ = self.process.communicate(timeout=seconds)
        took = time.monotonic() - self.started
        try:
            with open(self.body, "rb") as body:
                whole = hashlib.sha256(body.read()).digest() == hashlib.sha256(big_content(self.csci_id)).digest()
        except FileNotFoundError:
            whole = False
        self.directory.cleanup()
        return self.process.returncode, words.strip(), whole, took
