# SPDX-License-Identifier: Apache-2.0
"""topology.yaml as objects. Comes in: the file. Goes out: Topology, checked: every name that is used exists."""
import ipaddress
import pathlib
from dataclasses import dataclass, field

import yaml

DIRECTORY = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = DIRECTORY.parent


class LabError(Exception):
    """What failed, on which object, why; then what to do."""

    def __init__(self, what, hint=""):
        super().__init__(what)
        self.hint = hint


def family(address):
    return ipaddress.ip_interface(address).version


def of_family(addresses, version):
    """The first address of that IP version, without its prefix length, or ""."""
    return next((str(ipaddress.ip_interface(a).ip) for a in addresses if family(a) == version), "")


@dataclass
class Node:
    name: str
    purpose: str
    interfaces: dict                      # name -> addresses with prefix length
    routes: dict = field(default_factory=dict)   # prefix or "default" -> gateways
    router: bool = False
    tunnel: str = ""
    agent: dict = None                    # of the catsbpfd that runs here
    platform: str = ""                    # where the cats-platformd that runs here listens

    def addresses(self):
        all_of_them = [str(ipaddress.ip_interface(a).ip) for list_ in self.interfaces.values() for a in list_]
        return all_of_them + ([self.tunnel] if self.tunnel else [])


@dataclass
class Link:
    ends: tuple                           # ((node, interface), (node, interface))
    mtu: int


@dataclass
class Service:
    name: str
    cs_id: int
    addresses: list


@dataclass
class Instance:
    service: Service
    csci_id: int
    gas: int
    cost: float
    contacts: list
    site: str
    node: str

    @property
    def text(self):
        """What the instance answers to a request for /."""
        return f"{self.service.name} at {self.node} (CSCI-ID {self.csci_id})"


@dataclass
class Site:
    name: str
    node: str
    agent: str
    egresses: list
    instances: list


class Topology:
    def __init__(self, path=DIRECTORY / "topology.yaml"):
        raw = yaml.safe_load(path.read_text())
        self.domain, self.vni = raw["domain"], raw["vni"]
        self.nodes = {name: Node(name, n["is"], n["interfaces"], n.get("routes", {}), n.get("router", False),
                                 n.get("tunnel", ""), n.get("agent"), n.get("platform", ""))
                      for name, n in raw["nodes"].items()}
        self.links = [Link(tuple(tuple(end.split(".")) for end in link["ends"]), link["mtu"]) for link in raw["links"]]
        self.services = {name: Service(name, s["cs_id"], s["addresses"]) for name, s in raw["services"].items()}
        self.sites = {}
        for name, s in raw["sites"].items():
            instances = [Instance(self.services[i["service"]], i["csci_id"], i["gas"], i["cost"], i["contacts"], name, s["node"])
                         for i in s["instances"]]
            self.sites[name] = Site(name, s["node"], s["agent"], s["egresses"], instances)
        self._check()

    def _check(self):
        for link in self.links:
            for node, interface in link.ends:
                if node not in self.nodes or interface not in self.nodes[node].interfaces:
                    raise LabError(f"topology.yaml: link end {node}.{interface} is no interface of a node")
        for site in self.sites.values():
            for name in [site.node, site.agent, *site.egresses]:
                if name not in self.nodes:
                    raise LabError(f"topology.yaml: {site.name} names the node {name}, which does not exist")

    # ---- what others ask ----
    def instances(self, node=None):
        return [i for site in self.sites.values() for i in site.instances if node in (None, site.node)]

    def instance(self, csci_id):
        return next(i for i in self.instances() if i.csci_id == csci_id)

    def site_of(self, node):
        """The site that runs on this node, or whose C-SMA does."""
        return next((s for s in self.sites.values() if node in (s.node, s.agent)), None)

    def agents(self):
        return [n for n in self.nodes.values() if n.agent]

    def forwarders(self):
        return [n for n in self.nodes.values() if n.tunnel]

    def with_role(self, role):
        return next(n for n in self.agents() if role in n.agent["roles"])

    @property
    def ingress(self):
        return self.with_role("ingress")

    @property
    def path_selector(self):
        return self.with_role("path-selector")

    @property
    def platform(self):
        return next(n for n in self.nodes.values() if n.platform)

    @property
    def client(self):
        return self.nodes["client"]
