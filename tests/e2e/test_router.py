# SPDX-License-Identifier: Apache-2.0
"""A router first: what is not for a service passes f1 as without catsbpf."""
import json
import re

from labkit import traffic
from runner import test

FAR, FAR_6 = "10.2.0.11", "fd00:2::11"      # s2's own addresses: no service


def scapy(e2e, node, text):
    """Runs scapy lines in a node; they print what the test looks at."""
    return e2e.run(node, ["/usr/bin/python3", "-c", "from scapy.all import *\nconf.verb = 0\n" + text]).stdout


@test
def ping_through_and_to_the_router(e2e):
    for address in (FAR, FAR_6, "10.1.0.1", "fd00:1::1", "10.255.0.1", "10.255.0.2"):
        out = e2e.run("client", ["ping", "-c", "5", "-i", "0.05", "-W", "2", address]).stdout
        assert " 0% packet loss" in out, out


@test
def ping_with_fragments_passes(e2e):
    for address in (FAR, FAR_6):
        out = e2e.run("client", ["ping", "-s", "3000", "-c", "5", "-i", "0.05", "-W", "2", address]).stdout
        assert " 0% packet loss" in out, out


@test
def fragmented_ping_to_a_service_follows_plain_routing(e2e):
    before = e2e.outcome("f1", "fragment")
    for address in ("10.99.0.2", "fd00:99::2"):
        out = e2e.run("client", ["ping", "-s", "3000", "-c", "3", "-i", "0.05", "-W", "2", address]).stdout
        assert " 0% packet loss" in out, out
    assert e2e.outcome("f1", "fragment") >= before + 12


@test
def ip_options_pass_and_are_filled_in(e2e):
    out = e2e.run("client", ["ping", "-R", "-c", "2", "-i", "0.05", "-W", "2", FAR]).stdout
    assert " 0% packet loss" in out, out
    for hop in ("172.16.1.1", "172.16.2.254", "10.2.0.1", "10.2.0.11"):
        assert hop in out, out


@test
def ipv6_extension_headers_pass(e2e):
    out = scapy(e2e, "client", f"""
pad = PadN(optdata=bytes(4))     # Linux takes no other padding
for number, header in enumerate([IPv6ExtHdrDestOpt(options=[pad]), IPv6ExtHdrHopByHop(options=[pad]),
                                 IPv6ExtHdrFragment(offset=0, m=0, id=7)]):
    seen = AsyncSniffer(iface="net0", timeout=3, count=1, started_callback=lambda: send(packet),
                        lfilter=lambda p: ICMPv6EchoReply in p and p[ICMPv6EchoReply].id == 100 + number)
    packet = IPv6(dst="{FAR_6}") / header / ICMPv6EchoRequest(id=100 + number, seq=1, data=b"x" * 40)
    seen.start()
    seen.join()
    print(type(header).__name__, len(seen.results) == 1)
""")
    assert out.count("True") == 3, out


@test
def traceroute_sees_every_router(e2e):
    for family, address, hops in ((4, FAR, ["10.1.0.1", "172.16.1.254", "172.16.2.1", FAR]),
                                  (6, FAR_6, ["fd00:1::1", "fd00:f1::254", "fd00:f2::1", FAR_6])):
        out = e2e.run("client", ["traceroute", f"-{family}", "-n", "-q", "1", "-w", "2", address]).stdout
        assert re.findall(r"^ *\d+  (\S+)", out, re.M) == hops, out


@test
def traceroute_to_a_service_ends_at_its_instance(e2e):
    for words in (["-I"], ["-T", "-p", "80"]):
        out = e2e.run("client", ["traceroute", "-4", "-n", "-q", "1", "-w", "2", *words, "10.99.0.3"]).stdout
        hops = re.findall(r"^ *\d+  (\S+)", out, re.M)
        assert hops[0] == "10.1.0.1" and hops[-1] == "10.99.0.3", out


@test
def unrelated_tcp_session_runs_at_full_rate(e2e):
    e2e.need("iperf3", "iperf3")
    import subprocess
    from labkit import main
    for options in (["-4", "-c", "10.2.0.12"], ["-6", "-c", "fd00:2::12", "-R"]):
        server = subprocess.Popen(main.arguments_in(e2e.lab, "s2", ["iperf3", "-s", "-1"]), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, env=e2e.lab.environment("s2"), text=True)
        try:
            e2e.eventually("iperf3 listens", lambda: ":5201" in e2e.run("s2", ["ss", "-Hltn", "sport", "=", "5201"]).stdout)
            out = json.loads(e2e.run("client", ["iperf3", "-J", "-t", "2", *options]).stdout)
        finally:
            server.terminate()
            server.communicate()
        assert out["end"]["sum_received"]["bits_per_second"] > 50e6, out["end"]["sum_received"]


def send_to_mac(e2e, mac, number=20):
    """UDP for a service in frames to this address; how many were steered, and how many were not f1's."""
    before = {name: e2e.outcome("f1", name) for name in ("forwarded", "martian")}
    scapy(e2e, "client", f'''sendp([Ether(dst="{mac}") / IP(dst="10.99.0.1") / UDP(sport=20000 + n, dport=9) for n in range({number})],
                              iface="net0")''')
    return tuple(e2e.outcome("f1", name) - count for name, count in before.items())


@test
def frames_to_another_host_are_not_steered(e2e):
    """A NIC in promiscuous mode and a switch that floods show a router what others are to forward."""
    def ip(*words):
        e2e.run("f1", ["ip", "link", *words])
    own = json.loads(e2e.run("f1", ["ip", "-j", "link", "show", "client0"]).stdout)[0]["address"]
    virtual = "00:00:5e:00:01:07"
    e2e.undo.append(lambda: ip("set", "client0", "promisc", "off"))
    ip("set", "client0", "promisc", "on")
    assert send_to_mac(e2e, own) == (20, 0)
    assert send_to_mac(e2e, "02:00:00:00:00:77") == (0, 20)
    assert send_to_mac(e2e, virtual) == (0, 20)      # another router's, while there is no such device here
    e2e.undo.append(lambda: ip("del", "vrrp7"))
    ip("add", "link", "client0", "name", "vrrp7", "address", virtual, "up", "type", "macvlan", "mode", "private")
    e2e.eventually("frames to the virtual router steered", lambda: send_to_mac(e2e, virtual) == (20, 0))
    assert send_to_mac(e2e, "02:00:00:00:00:77") == (0, 20)


@test
def new_mac_address_of_the_client_side_keeps_services_reachable(e2e):
    def change(mac):
        e2e.run("f1", ["ip", "link", "set", "client0", "address", mac])
        e2e.run("client", ["ip", "neigh", "flush", "dev", "net0"])
    own = json.loads(e2e.run("f1", ["ip", "-j", "link", "show", "client0"]).stdout)[0]["address"]
    e2e.undo.append(lambda: change(own))
    change("02:00:00:00:00:99")
    martian = e2e.eventually("frames to the new address steered", lambda: send_to_mac(e2e, "02:00:00:00:00:99") == (20, 0)) and e2e.outcome("f1", "martian")
    assert set(traffic.new_flows(e2e.lab, "10.99.0.1", 40)) == {1, 3}
    assert set(traffic.new_flows(e2e.lab, "fd00:99::1", 40)) == {1, 3}
    assert e2e.outcome("f1", "martian") == martian


@test
def nothing_is_counted_as_alarm_by_all_of_this(e2e):
    for node in e2e.topology.forwarders():
        for outcome in e2e.catsbpf(node.name, "outcomes")["outcomes"]:
            assert outcome["kind"] != "alarm" or outcome["name"] in ("redirect_dropped", "redirect_failed", "tunnel_unknown_peer",
                                                                    "unknown_instance") or outcome["packets"] == 0, (node.name, outcome)
