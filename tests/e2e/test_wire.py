# SPDX-License-Identifier: Apache-2.0
"""What tshark sees between the routers: well-formed Geneve, right checksums, TTL, DSCP."""
import contextlib
import pathlib
import subprocess
import tempfile

from labkit import main, network, steering, traffic
from runner import test, tool_output

AR1, AR1_6 = "10.99.0.1", "fd00:99::1"
CHECK = [word for protocol in ("ip", "tcp", "udp") for word in ("-o", f"{protocol}.check_checksum:TRUE")]


class Capture:
    """tcpdump in `core` on the link to a forwarder, while the block runs."""

    def __init__(self, e2e, forwarder, expression="udp port 6081"):
        e2e.need("tcpdump", "tcpdump")
        e2e.need("tshark", "tshark")
        self.e2e, self.directory = e2e, tempfile.TemporaryDirectory(prefix="catsbpf-capture-")
        self.file = pathlib.Path(self.directory.name) / "core.pcap"
        words = ["tcpdump", "-U", "-Z", "root", "-s", "0", "--immediate-mode", "-i", forwarder, "-w", str(self.file), expression]
        self.process = subprocess.Popen(main.arguments_in(e2e.lab, "core", words), env=e2e.lab.environment("core"),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        self.e2e.eventually("tcpdump listens", lambda: self.file.exists() and self.file.stat().st_size >= 24)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.directory.cleanup()

    def fields(self, names, at_least, *options, where=""):
        """One list of tshark's fields per packet, outer value first, once so many packets were captured."""
        words = ["tshark", "-n", "-r", self.file, *CHECK, *options, "-T", "fields", "-E", "occurrence=a", "-E", "separator=|"]
        for name in names:
            words += ["-e", name]
        if where:
            words += ["-Y", where]
        rows = []

        def enough():
            rows[:] = [[f.split(",") for f in line.split("|")] for line in tool_output(words).stdout.splitlines()]
            return len(rows) >= at_least
        self.e2e.eventually(f"{at_least} packets with {where or 'the tunnel port'}", enough)
        return rows


@test
def tunnel_packets_are_well_formed_geneve_with_the_cats_option(e2e):
    steering.set_gas(e2e.lab, 1, 0)      # so that AR1 goes to CSCI-ID 3 at f3
    with Capture(e2e, "f1") as capture:
        e2e.curl(f"http://{AR1}/")
        e2e.curl(f"http://[{AR1_6}]/")
        e2e.run("client", ["ping", "-c", "2", "-i", "0.05", AR1])
        rows = capture.fields(["ip.src", "ip.dst", "ip.ttl", "ip.flags.df", "ip.checksum.status", "udp.dstport", "udp.srcport"], 12)
        geneve = capture.fields(["geneve.vni", "geneve.proto_type", "geneve.option.class", "geneve.option.type", "_ws.malformed"], 12)
        raw = capture.fields(["udp.payload"], 12, "--disable-protocol", "geneve")
    for source, destination, ttl, df, checksum, port, source_port in rows:
        assert source[0] == "10.255.0.1" and destination[0] == "10.255.0.3", (source, destination)
        assert ttl[0] == "64" and df[0] in ("1", "True"), (ttl, df)
        assert set(checksum) == {"1"}, checksum
        assert port[0] == "6081" and int(source_port[0]) >= 49152, (port, source_port)
    assert len({r[6][0] for r in rows}) == 3, "one outer source port per flow"
    for vni, kind, option_class, option_type, malformed in geneve:
        assert int(vni[0], 0) == e2e.topology.vni and int(kind[0], 0) in (0x0800, 0x86DD), (vni, kind)
        assert int(option_class[0], 0) == 0xFF0C and int(option_type[0], 0) == 1, (option_class, option_type)
        assert malformed == [""], malformed
    for payload in raw:
        option = bytes.fromhex(payload[0][0].replace(":", ""))[8:24]
        assert option[3] & 0x1F == 3 and option[4] == 1, option.hex()
        assert int.from_bytes(option[8:12], "big") == 1 and int.from_bytes(option[12:16], "big") == 3, option.hex()


@test
def inner_packets_have_right_checksums_and_one_hop_less(e2e):
    with Capture(e2e, "f1") as capture:
        e2e.curl(f"http://{AR1}/")
        e2e.curl(f"http://[{AR1_6}]/")
        traffic.new_udp_flows(e2e.lab, AR1, 2)
        four = capture.fields(["ip.ttl", "ip.checksum.status", "tcp.checksum.status"], 4, where="tcp && !ipv6")
        six = capture.fields(["ipv6.hlim", "tcp.checksum.status"], 4, where="tcp && ipv6")
        udp = capture.fields(["ip.ttl", "udp.checksum.status"], 2, where="udp.dstport == 7")
    assert all(ttl[1] == "63" and set(ip) == {"1"} and tcp == ["1"] for ttl, ip, tcp in four), four
    assert all(hops == ["63"] and tcp == ["1"] for hops, tcp in six), six
    assert all(ttl[1] == "63" and status[1] == "1" for ttl, status in udp), udp


@test
def forwarders_take_one_hop_each_and_the_core_none(e2e):
    for hops, answered in (("2", False), ("3", True)):
        out = e2e.run("client", ["ping", "-c", "1", "-t", hops, "-W", "1", "10.99.0.3"], check=False).stdout
        assert ("1 received" in out) == answered, out


@test
def dscp_is_copied_to_the_outer_header(e2e):
    with Capture(e2e, "f1") as capture:
        e2e.run("client", ["ping", "-c", "2", "-i", "0.05", "-Q", "0xb8", AR1])
        rows = capture.fields(["ip.dsfield.dscp"], 2)
    assert all(r == [["46", "46"]] for r in rows), rows


@test
def packet_too_large_for_the_tunnel_is_answered_with_the_mtu_that_fits(e2e):
    for node, interface in (("f1", "core0"), ("core", "f1")):
        network.in_node(e2e.lab, node, ["ip", "link", "set", interface, "mtu", "1500"])
        e2e.undo.append(lambda n=node, i=interface: network.in_node(e2e.lab, n, ["ip", "link", "set", i, "mtu", "1600"]))
    for family in ("-4", "-6"):
        e2e.undo.append(lambda f=family: e2e.run("client", ["ip", f, "route", "flush", "cache"]))
    e2e.eventually("the lower MTU at f1", lambda: all(p["mtu"] == 1500 for p in e2e.operator("f1").get("/v1/paths")["paths"]))
    for address in (AR1, AR1_6):
        e2e.run("client", ["ping", "-c", "2", "-i", "0.05", "-W", "1", "-M", "do", "-s", "1450", address], check=False)
        route = e2e.run("client", ["ip", "route", "get", address]).stdout
        assert "mtu 14" in route, route
        # TCP, which has learned it, gets a request of several full segments through.
        out = e2e.curl(f"http://[{address}]/" if ":" in address else f"http://{address}/", "-H", "X: " + "y" * 5000)
        assert "AR1 at s" in out, out
