# SPDX-License-Identifier: Apache-2.0
"""What is wrong is refused with a clear error, and running traffic does not notice."""
import contextlib
import copy
import json
import re
import signal

from labkit import api, certificates, configurations, network, processes, ready, steering, traffic
from runner import test

AR1 = "10.99.0.1"


def configuration(e2e, node, change):
    """catsbpfd.yaml of a node after `change(dictionary)`, in a file beside the real one."""
    value = copy.deepcopy(configurations.agent(e2e.lab, e2e.topology.nodes[node]))
    change(value)
    file = e2e.lab.files(node) / "changed.yaml"
    file.write_text(configurations.dump(value))
    e2e.undo.append(lambda: file.unlink(missing_ok=True))
    return file


def refused(e2e, node, file, capabilities=processes.CAPABILITIES, before="true"):
    """Starts an agent as the lab does, with this configuration, in a mount namespace of its own in which the shell has run
    `before`; it must end by itself with status 1. Its words."""
    words = processes.agent(e2e.lab, node, capabilities).arguments[:-1]
    done = e2e.run(node, ["sh", "-c", f'{before} && exec "$@"', "sh", *words, file], check=False, timeout=20)
    assert done.returncode == 1, f"ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@contextlib.contextmanager
def undisturbed(e2e):
    """UDP through the ingress while the block runs: nothing lost, nothing moved."""
    with traffic.EchoLoad(e2e.lab, [AR1, "fd00:99::1"], flows=20, rate=50) as load:
        yield load
        load.wait_for(200)
    assert load.lost == 0 and load.moved == 0, f"{load.lost} of {load.sent} lost, {load.moved} moved"


@test
def wrong_configuration_is_refused_with_file_line_field_and_hint(e2e):
    def change(value):
        value["tunnel"]["address"] = "10.255.0"
        value["roles"] = ["ingres"]
        value["nonsense"] = 1
    file = configuration(e2e, "f1", change)
    with undisturbed(e2e):
        said = refused(e2e, "f1", file)
    for field in ("roles", "tunnel", "nonsense"):
        line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.startswith(field))
        assert re.search(rf"changed\.yaml:{line}: .*{field}|changed\.yaml:{line + 1}: .*{field}", said), (field, line, said)
    assert "hint:" in said, said


@test
def second_agent_on_the_same_pins_is_refused(e2e):
    def change(value):
        value["operator_socket"] += ".second"
        value["state_directory"] += ".second"
        value["path_selector"]["listen"] = "10.255.0.1:7999"
        value["requests"]["listen"] = "10.1.0.1:6999"
    file = configuration(e2e, "f1", change)
    with undisturbed(e2e):
        said = refused(e2e, "f1", file)
    assert str(e2e.lab.pins("f1")) in said and "error" in said, said
    assert e2e.operator("f1").get("/v1/status")["programming"] == "in sync"


@test
def pins_of_another_layout_are_refused_and_left_alone(e2e):
    control = next(e2e.lab.pins("f1").rglob("control"))
    agent = e2e.agent("f1")
    with undisturbed(e2e) as load:
        agent.stop(signal.SIGKILL)
        own = _write_layout(control, 99)
        try:
            said = refused(e2e, "f1", e2e.lab.files("f1") / "catsbpfd.yaml")
            load.wait_for(200)
        finally:
            _write_layout(control, own)
        assert "layout" in said and "99" in said and "hint:" in said, said
        agent.start()
        ready.cats(e2e.lab)


def _write_layout(control, number):
    """Changes the first 4 bytes (struct control: layout) of the pinned array's one element; returns what they were."""
    shown = json.loads(network.command(["bpftool", "map", "lookup", "pinned", control, "key", "0", "0", "0", "0", "-j"]))
    value = [int(b, 16) for b in shown["value"]]
    before = int.from_bytes(bytes(value[:4]), "little")
    value[:4] = number.to_bytes(4, "little")
    network.command(["bpftool", "map", "update", "pinned", control, "key", "0", "0", "0", "0", "value", *value])
    return before


def restart_refused(e2e, node, file, **options):
    """The node's agent is killed; one with this file is refused in its place. Its words, after the real one is back."""
    agent = e2e.agent(node)
    with undisturbed(e2e) as load:
        agent.stop(signal.SIGKILL)
        said = refused(e2e, node, file, **options)
        load.wait_for(200)
        agent.start()
        ready.cats(e2e.lab)
    return said


@test
def missing_capability_is_named_and_traffic_goes_on(e2e):
    said = restart_refused(e2e, "f1", e2e.lab.files("f1") / "catsbpfd.yaml", capabilities=["net_admin", "net_raw", "sys_nice"])
    assert "CAP_BPF" in said and "hint:" in said, said


@test
def missing_kernel_feature_is_named_and_traffic_goes_on(e2e):
    """A kernel without type information, as one built without CONFIG_DEBUG_INFO_BTF looks to a program."""
    said = restart_refused(e2e, "f1", e2e.lab.files("f1") / "catsbpfd.yaml", before="mount -t tmpfs none /sys/kernel/btf")
    assert "lacks type information" in said and "CONFIG_DEBUG_INFO_BTF" in said and "hint: use kernel" in said, said


@test
def missing_bpf_filesystem_is_named(e2e):
    said = restart_refused(e2e, "f1", e2e.lab.files("f1") / "catsbpfd.yaml", before="mount -t tmpfs none /sys/fs/bpf")
    assert str(e2e.lab.pins("f1")) in said and "bpf" in said and "hint:" in said, said


def with_interface(e2e, name):
    """What f3's agent says when its configuration has that interface, too."""
    new = {"name": name, "side": "service", "mode": "native"}
    return restart_refused(e2e, "f3", configuration(e2e, "f3", lambda value: value["interfaces"].append(new)))


@test
def interface_that_does_not_exist_is_named(e2e):
    said = with_interface(e2e, "nowhere0")
    assert "nowhere0" in said, said


@test
def interface_without_native_xdp_is_named_with_the_way_out(e2e):
    said = with_interface(e2e, "lo")
    assert "to lo" in said and "generic" in said and "hint:" in said, said


def cannot_listen(value):
    """Found out after the data plane is in place: no interface has that address, no socket can be there."""
    if "path_selector" in value:
        value["path_selector"]["listen"] = "192.0.2.1:7900"
    else:
        value["operator_socket"] = "/proc/catsbpfd.sock"


@test
def start_that_fails_late_leaves_the_data_plane_of_the_agent_before(e2e):
    said = restart_refused(e2e, "f1", configuration(e2e, "f1", cannot_listen))
    assert "192.0.2.1" in said, said


@test
def first_start_that_fails_late_leaves_nothing(e2e):
    agent, real = e2e.agent("f3"), e2e.lab.files("f3") / "catsbpfd.yaml"
    agent.stop()
    e2e.run("f3", ["catsbpfd", "--config", real, "--uninstall"])
    said = refused(e2e, "f3", configuration(e2e, "f3", cannot_listen))
    assert "/proc/catsbpfd.sock" in said, said
    assert not e2e.lab.pins("f3").exists()
    assert "xdp" not in e2e.run("f3", ["ip", "link"]).stdout
    assert "clsact" not in e2e.run("f3", ["tc", "qdisc"]).stdout
    agent.start()
    ready.cats(e2e.lab)


@test
def tunnel_address_of_another_host_is_refused_and_traffic_goes_on(e2e):
    """As the outer source it would cut all tunnels, silently at this end."""
    def change(value):
        value["tunnel"]["address"] = "192.0.2.1"
    for node in ("f1", "f3"):
        said = restart_refused(e2e, node, configuration(e2e, node, change))
        assert "tunnel address 192.0.2.1 is on no interface of this host" in said and "hint:" in said, said


@test
def agent_without_a_data_plane_speaks_of_none(e2e):
    agent, real = e2e.agent("sma3"), e2e.lab.files("sma3") / "catsbpfd.yaml"
    mark = agent.log_file.stat().st_size
    agent.stop()
    said = _said_since(e2e, "sma3", mark)
    assert "stopping" in said and "data plane" not in said, said
    said = e2e.run("sma3", ["catsbpfd", "--config", real, "--uninstall"]).stdout
    assert said == f"nothing was pinned at {e2e.lab.pins('sma3')}\n", said


def own_certificate(e2e, uri):
    """What sma3's agent says at its start when its certificate has that identity."""
    directory = e2e.lab.files("sma3")
    certificates.make((e2e.lab.authority, e2e.lab.authority.with_suffix(".key")), directory / "other.crt", directory / "other.key",
                      uri, ["10.3.1.20"])
    file = configuration(e2e, "sma3", lambda value: value["tls"].update({"certificate": "other.crt", "key": "other.key"}))
    return refused(e2e, "sma3", file)


@test
def own_certificate_that_does_not_fit_the_configuration_is_refused_at_start(e2e):
    domain = e2e.topology.domain
    for uri, reason in ((f"spiffe://{domain}/site/sma3", "role is site"), (f"spiffe://{domain}/service-metric-agent/sma9", "sma9"),
                        ("spiffe://elsewhere/service-metric-agent/sma3", "elsewhere"),
                        ([f"spiffe://{domain}/site/s3", f"spiffe://{domain}/service-metric-agent/sma3"], "URI")):
        said = own_certificate(e2e, uri)
        assert reason in said and re.search(r"changed\.yaml:\d+: tls\.", said), (uri, said)


@contextlib.contextmanager
def impostor(e2e, change, uri, authority=None):
    """An agent with another identity in sma3's place; yields what a node's agent has said since. Meanwhile f1 freezes the
    rows of site 3 and takes nothing from it."""
    directory = e2e.lab.files("sma3")
    certificates.make(authority or (e2e.lab.authority, e2e.lab.authority.with_suffix(".key")), directory / "other.crt",
                      directory / "other.key", uri, ["10.3.1.20"])

    def changed(value):
        value["tls"] |= {"certificate": "other.crt", "key": "other.key"}
        change(value)
    file = configuration(e2e, "sma3", changed)
    agent = e2e.agent("sma3")
    agent.stop()
    marks = {n: e2e.agent(n).log_file.stat().st_size for n in ("f1", "sma3")}
    agent.arguments = [*agent.arguments[:-1], file]
    agent.start()
    try:
        yield lambda node: _said_since(e2e, node, marks[node])
        e2e.eventually("site 3 frozen", lambda: steering.table(e2e.lab)[3]["state"] == "frozen")
        assert traffic.new_flows(e2e.lab, AR1, 20) == {1: 20}
    finally:
        agent.stop()


def _said_since(e2e, node, mark):
    with open(e2e.agent(node).log_file, errors="replace") as log:
        log.seek(mark)
        return log.read()


def reason_in_log(e2e, said, node, pattern):
    e2e.eventually(f"the reason ({pattern}) in the log of {node}", lambda: re.search(pattern, said(node), re.I), 15)


@test
def agent_that_nobody_configured_is_refused_with_the_reason_on_both_sides(e2e):
    def change(value):
        value["node"] = "sma9"
    with impostor(e2e, change, f"spiffe://{e2e.topology.domain}/service-metric-agent/sma9") as said:
        for node in ("f1", "sma3"):
            reason_in_log(e2e, said, node, "refused.*sma9.*expected name")


@test
def agent_that_speaks_for_another_site_is_refused_with_the_reason_on_both_sides(e2e):
    def change(value):
        value["service_metric_agent"]["site"] = "site-2"
        value["state_directory"] += "-elsewhere"
        (e2e.lab.files("sma3") / "state-elsewhere").mkdir(exist_ok=True)
    with impostor(e2e, change, f"spiffe://{e2e.topology.domain}/service-metric-agent/sma3") as said:
        for node in ("f1", "sma3"):
            reason_in_log(e2e, said, node, "site-2")


@test
def certificate_of_another_authority_is_refused_with_the_reason_on_both_sides(e2e):
    foreign = certificates.make_authority(e2e.lab.files("sma3") / "foreign", "lab.cats")
    with impostor(e2e, lambda value: None, f"spiffe://{e2e.topology.domain}/service-metric-agent/sma3", foreign) as said:
        for node in ("f1", "sma3"):
            reason_in_log(e2e, said, node, "unknown ca|authority|issuer|self.signed|verif")


@test
def certificate_of_another_role_is_refused_with_the_reason(e2e):
    mark = e2e.agent("f1").log_file.stat().st_size
    words = ["openssl", "s_client", "-connect", "10.255.0.1:7900", "-quiet", "-CAfile", e2e.lab.authority,
             "-cert", e2e.lab.certificate("s3"), "-key", e2e.lab.key("s3")]
    e2e.run("s3", words, check=False, input="hello")
    reason_in_log(e2e, lambda node: _said_since(e2e, node, mark), "f1", "role")


@test
def peer_that_offers_only_tls_1_2_is_refused_with_the_reason(e2e):
    mark = e2e.agent("f1").log_file.stat().st_size
    words = ["openssl", "s_client", "-connect", "10.255.0.1:7900", "-tls1_2", "-CAfile", e2e.lab.authority,
             "-cert", e2e.lab.certificate("sma3"), "-key", e2e.lab.key("sma3")]
    done = e2e.run("sma3", words, check=False, input="")
    assert "protocol version" in (done.stdout + done.stderr).lower(), done.stderr
    e2e.eventually("the reason in the log of f1", lambda: re.search("tls 1.2|protocol version|unsupported protocol",
                                                                    _said_since(e2e, "f1", mark), re.I))
    assert ready.steering(e2e.lab)


@test
def site_api_refuses_who_is_not_the_site(e2e):
    url = f"https://{e2e.topology.nodes['f2'].agent['site_api']}/v1/table"
    anonymous = e2e.run("s2", ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url], check=False)
    assert anonymous.returncode != 0 or anonymous.stdout[:1] == "4", anonymous
    other = e2e.run("s3", ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cert", e2e.lab.certificate("s3"), "--key",
                           e2e.lab.key("s3"), url], check=False)
    assert other.returncode != 0 or other.stdout[:1] == "4", other
    own = e2e.run("s2", ["curl", "-sS", "--cert", e2e.lab.certificate("s2"), "--key", e2e.lab.key("s2"), url])
    assert '"site-2"' in own.stdout, own.stdout


@test
def absurd_deltas_are_refused_and_change_nothing(e2e):
    client = api.site(e2e.lab, "site-2")
    before = client.get("/v1/table")
    for delta in ({"csci_id": 99, "gas": 1}, {"csci_id": 1, "gas_change": -1000}, {"csci_id": 1, "gas": 4000000000},
                  {"csci_id": 1, "cost": -1}, {"csci_id": 1, "gas": "many"}, {"csci_id": 1, "colour": "red"}):
        answer = client.call("POST", "/v1/deltas", {"deltas": [delta]})
        assert answer.status // 100 == 4 and answer.json["error"], (delta, answer.status, answer.body)
    assert client.get("/v1/table") == before
    client.close()


@test
def redirect_to_an_interface_that_is_down_counts_as_alarm(e2e):
    """`forwarded` means handed over; what the kernel then loses must be seen. The agent is dead, so that it cannot react."""
    def alarms():
        return sum(e2e.outcome("f2", name) for name in ("redirect_dropped", "redirect_failed"))
    before = alarms()
    with traffic.EchoLoad(e2e.lab, ["10.99.0.2"], flows=5, rate=100) as load:
        e2e.agent("f2").stop(signal.SIGKILL)
        network.in_node(e2e.lab, "s2", ["ip", "link", "set", "net0", "down"])
        e2e.eventually("alarms at f2", lambda: alarms() > before)
        network.up(e2e.lab)
        e2e.agent("f2").start()
        received = load.received
        e2e.eventually("answers again", lambda: load.received > received + 20)
    for address in ("10.2.0.11", "10.2.0.12", "fd00:2::11", "fd00:2::12"):
        e2e.eventually(f"plain routing to {address}", lambda a=address: e2e.run("f2", ["ping", "-c", "1", "-W", "1", a]))


@test
def running_agents_have_the_five_capabilities_and_no_more(e2e):
    wanted = 0
    for number in (12, 13, 23, 38, 39):      # NET_ADMIN NET_RAW SYS_NICE PERFMON BPF
        wanted |= 1 << number
    for node in e2e.topology.agents():
        with open(f"/proc/{e2e.agent(node.name).pid()}/status") as status:
            sets = dict(re.findall(r"^(Cap\w+):\s+(\w+)$", status.read(), re.M))
        assert int(sets["CapPrm"], 16) == int(sets["CapEff"], 16) == int(sets["CapBnd"], 16) == wanted, (node.name, sets)
        assert int(sets["CapInh"], 16) == int(sets["CapAmb"], 16) == 0, (node.name, sets)
    with open(f"/proc/{processes.platform(e2e.lab, 'platform').pid()}/status") as status:
        text = status.read()
    assert re.search(r"^Uid:\s+65534", text, re.M) and re.search(r"^CapEff:\s+0+$", text, re.M), text
