# SPDX-License-Identifier: Apache-2.0
"""Namespaces, links, addresses, routes. Comes in: topology. Each step puts right what is missing, so that
`up` on a lab that is up changes nothing and repairs what is broken."""
import contextlib
import ctypes
import json
import os
import pathlib
import signal
import subprocess

from .topology import LabError, family
from .lab import command
from .wait import until

libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000

# Of every node. Service addresses stand on `lo` of several nodes: ARP must not speak of them.
SYSCTLS = {
    "net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.default.rp_filter": 0,   # answers come by another way
    "net.ipv4.conf.all.arp_announce": 2, "net.ipv4.conf.all.arp_ignore": 1,
    "net.ipv4.conf.all.send_redirects": 0, "net.ipv4.conf.default.send_redirects": 0,
    "net.ipv6.conf.all.accept_dad": 0, "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.all.keep_addr_on_down": 1, "net.ipv6.conf.default.keep_addr_on_down": 1,
    "net.ipv6.conf.default.accept_ra": 0, "net.ipv6.conf.default.router_solicitations": 0,
    "net.ipv4.ip_unprivileged_port_start": 0,   # STAMP's port 862 without CAP_NET_BIND_SERVICE
    "net.ipv4.icmp_ratelimit": 0, "net.ipv6.icmp.ratelimit": 0,               # traceroute sees every hop
}
ROUTER_SYSCTLS = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}


@contextlib.contextmanager
def inside(lab, node):
    """The calling thread in a node's network: sockets made here stay there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        try:
            there = os.open(lab.namespace_path(node), os.O_RDONLY)
        except FileNotFoundError:
            raise LabError(f"lab {lab.name} has no node {node} up", f"vagrant/lab --name {lab.name} up") from None
        try:
            if libc.setns(there, CLONE_NEWNET) != 0:
                raise LabError(f"cannot enter namespace {lab.namespace(node)}: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(there)
        try:
            yield
        finally:
            if libc.setns(home, CLONE_NEWNET) != 0:
                raise LabError(f"cannot leave namespace {lab.namespace(node)}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(home)


def in_node(lab, node, arguments, **options):
    """A system tool in a node's network (the host's mounts stay visible, bpffs among them)."""
    return command(["nsenter", f"--net={lab.namespace_path(node)}", "--", *arguments], **options)


def service_addresses(lab, node):
    return [a for i in lab.topology.instances(node) for a in i.service.addresses]


def up(lab):
    pathlib.Path("/run/netns").mkdir(exist_ok=True)
    for node in lab.nodes():
        if not has_namespace(lab, node.name):
            pathlib.Path(lab.namespace_path(node.name)).unlink(missing_ok=True)
            # A machine that is the node gets the namespace's name for its own network.
            command(["ip", "netns", *(["attach", lab.namespace(node.name), "1"] if lab.only else ["add", lab.namespace(node.name)])])
        _set_sysctls(lab, node)
    for link in [] if lab.only else lab.topology.links:
        _put_link(lab, link)
    for node in lab.nodes():
        _put_addresses(lab, node)
    for node in lab.nodes():
        _put_routes(lab, node)
    _set_offloads(lab)


def has_namespace(lab, node):
    """False also for the plain file that an unmounted namespace leaves."""
    path = lab.namespace_path(node)
    return os.path.exists(path) and os.stat(path).st_dev != os.stat("/run").st_dev


def missing_interfaces(lab, node):
    return sorted(set(lab.topology.nodes[node].interfaces) - set(interfaces(lab, node)))


def _set_sysctls(lab, node):
    wanted = SYSCTLS | (ROUTER_SYSCTLS if node.router else {})
    in_node(lab, node.name, ["sysctl", "-q", *[f"{key}={value}" for key, value in wanted.items()]])


def interfaces(lab, node):
    return {i["ifname"]: i for i in json.loads(command(["ip", "-n", lab.namespace(node), "-j", "addr"]))}


def _batch(lab, node, lines):
    if lines:
        command(["ip", "-n", lab.namespace(node), "-batch", "-"], input="\n".join(lines) + "\n")


def _put_link(lab, link):
    (a, a_if), (b, b_if) = link.ends
    there = [end for end in link.ends if end[1] in interfaces(lab, end[0])]
    if len(there) == 2:
        return
    for node, interface in there:       # its peer is in a namespace that lost its name
        command(["ip", "-n", lab.namespace(node), "link", "delete", interface])
    command(["ip", "link", "add", a_if, "mtu", link.mtu, "netns", lab.namespace(a), "type", "veth",
             "peer", b_if, "mtu", link.mtu, "netns", lab.namespace(b)])


def _put_addresses(lab, node):
    have = interfaces(lab, node.name)
    wanted = {"lo": [f"{a}/{32 if family(a) == 4 else 128}" for a in
                     service_addresses(lab, node.name) + ([node.tunnel] if node.tunnel else [])]}
    wanted |= node.interfaces
    lines = []
    for name, addresses in wanted.items():
        present = {f"{a['local']}/{a['prefixlen']}" for a in have[name]["addr_info"]}
        if "UP" not in have[name]["flags"]:
            lines.append(f"link set {name} up")
        lines += [f"addr add {a} dev {name}{' nodad' if family(a) == 6 else ''}" for a in addresses if a not in present]
    _batch(lab, node.name, lines)


def _put_routes(lab, node):
    lines = []
    for destination, gateways in node.routes.items():
        for gateway in gateways:
            lines.append(f"route replace {destination} via {gateway}")
    _batch(lab, node.name, lines)


def _set_offloads(lab):
    """XDP cannot see that a checksum is unfinished, nor forward packets larger than the MTU: no offloads.
    A redirect into a veth arrives only where its peer runs NAPI: gro on."""
    sides = {(n.name, i): side for n in lab.topology.agents() for i, side in n.agent.get("sides", {}).items()}
    for link in [] if lab.only else lab.topology.links:     # veth only; a VM's virtio has complete checksums
        for end, peer in (link.ends, link.ends[::-1]):
            gro = ["gro", "on"] if peer in sides else []
            in_node(lab, end[0], ["ethtool", "-K", end[1], "tx", "off", "tso", "off", "gso", "off", *gro])


def processes(lab, node):
    """Ids of all processes in the node's network, ours and those of people who work in it."""
    out = subprocess.run(["ip", "netns", "pids", lab.namespace(node)], capture_output=True, text=True)
    return [int(pid) for pid in out.stdout.split()]


def end_processes(lab, node):
    """Ends what still runs in the node."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes(lab, node):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if until(lambda: not processes(lab, node), 3):
            return
    raise LabError(f"processes {processes(lab, node)} of {lab.namespace(node)} do not end")


def down(lab):
    for node in lab.existing_namespaces():
        command(["ip", "netns", "delete", lab.namespace(node)])

