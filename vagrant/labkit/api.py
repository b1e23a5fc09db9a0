# SPDX-License-Identifier: Apache-2.0
"""Calls to the APIs of the lab's programs, with kept-alive connections: the operator's UNIX socket, and HTTPS from
inside a node with that node's certificate."""
import http.client
import json
import socket
import ssl

from .network import inside
from .topology import LabError


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Client:
    """One connection that is made again when it broke. `connect` makes a http.client connection."""

    def __init__(self, name, connect):
        self.name, self._connect, self._connection = name, connect, None

    def call(self, method, path, body=None, headers=None):
        """The Answer, whatever its status; OSError when there is none."""
        headers = dict(headers or {})
        if body is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(body)
        for attempt in (1, 2):
            fresh = self._connection is None
            if fresh:
                self._connection = self._connect()
            try:
                self._connection.request(method, path, body, headers)
                response = self._connection.getresponse()
                return Answer(response.status, response.headers, response.read())
            except (http.client.HTTPException, OSError) as error:
                self.close()
                if fresh or attempt == 2:
                    raise OSError(f"{method} {self.name}{path}: {error or type(error).__name__}") from error
        raise AssertionError

    def get(self, path):
        return self.want(200, "GET", path)

    def want(self, status, method, path, body=None, headers=None):
        """The JSON of an answer with that status (2xx: any 2xx), else a LabError with the API's own words."""
        answer = self.call(method, path, body, headers)
        if answer.status != status and not (200 <= status < 300 and 200 <= answer.status < 300):
            raise LabError(f"{method} {self.name}{path} answered {answer.status}: {answer.body.decode(errors='replace').strip()}")
        return answer.json if answer.body else None

    def close(self):
        if self._connection:
            self._connection.close()
        self._connection = None


def operator(lab, node, timeout=5):
    """The operator's API of a node's agent."""
    return Client(f"{node}", lambda: _UnixConnection(lab.socket(node), timeout))


def https(lab, node, host_port, timeout=5, certificate=True):
    """HTTPS from inside `node`, as that node (its certificate), or without one."""
    host, _, port = host_port.rpartition(":")

    def connect():
        context = ssl.create_default_context(cafile=str(lab.authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if certificate:
            context.load_cert_chain(lab.certificate(node), lab.key(node))
        connection = http.client.HTTPSConnection(host.strip("[]"), int(port), context=context, timeout=timeout)
        with inside(lab, node):
            connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    return Client(f"https://{host_port}", connect)


def site(lab, name, timeout=5):
    """The site's API on its C-SMA, called by the site."""
    s = lab.topology.sites[name]
    return https(lab, s.node, lab.topology.nodes[s.agent].agent["site_api"], timeout)


def requests(lab, node="client", timeout=5):
    """The request API of the ingress, called by an anonymous client."""
    return https(lab, node, lab.topology.ingress.agent["requests"], timeout, certificate=False)


def platform(lab, node="client", timeout=5):
    return https(lab, node, lab.topology.platform.platform, timeout, certificate=False)
