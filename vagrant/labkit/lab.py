# SPDX-License-Identifier: Apache-2.0
"""One lab by its name: where its namespaces, pins, files and programs are. Two labs share nothing."""
import os
import pathlib
import re
import subprocess

from .topology import REPOSITORY, LabError, Topology

BPFFS = pathlib.Path("/sys/fs/bpf")
RUN = pathlib.Path("/run/catsbpf-lab")
RESERVED = ("ip", "tc", "xdp")     # folders of other tools on the bpffs


class Lab:
    def __init__(self, name="cats", build=None, topology=None, only=None):
        if not re.fullmatch(r"[a-z][a-z0-9]{0,7}", name):
            raise LabError(f"lab name {name!r} is not usable", "1 to 8 of a-z and 0-9, a letter first")
        if name in RESERVED:
            raise LabError(f"lab name {name} is the folder of another tool in {BPFFS}", "take another name")
        self.name = name
        self.topology = topology or Topology()
        self.only = only                  # this machine is that one node (vagrant/Vagrantfile); None: all are here
        self.build = pathlib.Path(build or os.environ.get("CATSBPF_BUILD") or REPOSITORY / "build" / "release").resolve()
        self.run = RUN / name
        self.pin_root = BPFFS / name
        self.hosts = self.run / "hosts"
        self.authority = self.run / "tls" / "ca.crt"

    def nodes(self):
        """The nodes that are on this machine."""
        return [n for n in self.topology.nodes.values() if self.only in (None, n.name)]

    # ---- names ----
    def namespace(self, node):
        return f"{self.name}-{node}"

    def namespace_path(self, node):
        return f"/run/netns/{self.namespace(node)}"

    def files(self, node):
        return self.run / node

    def pins(self, node):
        return self.pin_root / node

    def socket(self, node):
        return self.files(node) / "catsbpfd.sock"

    def certificate(self, node):
        return self.files(node) / f"{node}.crt"

    def key(self, node):
        return self.files(node) / f"{node}.key"

    # ---- programs ----
    @property
    def agent_program(self):
        return self.build / "agent" / "catsbpfd"

    @property
    def platform_program(self):
        return self.build / "cmas" / "platform" / "cats-platformd"

    @property
    def cli_program(self):
        return self.build / "cli" / "catsbpf"

    # ---- the namespaces that exist now ----
    def existing_namespaces(self):
        directory = pathlib.Path("/run/netns")
        if not directory.is_dir():
            return []
        known = {self.namespace(n): n for n in self.topology.nodes}
        return [known[p.name] for p in sorted(directory.iterdir()) if p.name in known]

    def is_up(self):
        return len(self.existing_namespaces()) == len(self.topology.nodes)

    def environment(self, node):
        """What `exec` sets: the CLI and curl work without options."""
        t = self.topology
        env = dict(os.environ)
        programs = [self.cli_program.parent, self.agent_program.parent, self.platform_program.parent]
        path = [str(p) for p in programs] + ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        site = t.site_of(node)
        values = {
            "PATH": ":".join(path),
            "CURL_CA_BUNDLE": str(self.authority),
            "CATSBPF_LAB": self.name,
            "CATSBPF_NODE": node,
            "CATSBPF_DOMAIN": t.domain,
            "CATSBPF_AUTHORITY": str(self.authority),
            "CATSBPF_CERTIFICATE": str(self.certificate(node)),
            "CATSBPF_KEY": str(self.key(node)),
            "CATSBPF_PLATFORM_URL": f"https://{t.platform.platform}",
            "CATSBPF_INGRESS_URL": f"https://{t.ingress.agent['requests']}",
        }
        if t.nodes[node].agent:
            values["CATSBPF_SOCKET"] = str(self.socket(node))
            values["CATSBPF_PINS"] = str(self.pins(node))
        if site:
            values["CATSBPF_SITE_URL"] = f"https://{t.nodes[site.agent].agent['site_api']}"
        env.update(values)
        return env


def command(arguments, **options):
    """Runs a system tool; a failure is a LabError that says which and why."""
    options.setdefault("text", True)
    done = subprocess.run([str(a) for a in arguments], capture_output=True, **options)
    if done.returncode != 0:
        raise LabError(f"{' '.join(map(str, arguments[:6]))} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
