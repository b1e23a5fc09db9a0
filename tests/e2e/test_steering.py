# SPDX-License-Identifier: Apache-2.0
"""The main job: unmodified clients reach services, one delta moves new flows and only those."""
import contextlib

from labkit import api, main, network, ready, steering, traffic
from runner import test

AR1, AR1_6 = "10.99.0.1", "fd00:99::1"


@test
def curl_reaches_every_service_over_ipv4_and_ipv6(e2e):
    for service in e2e.topology.services.values():
        wanted = {i.text for i in e2e.topology.instances() if i.service is service}
        for address in service.addresses if wanted else []:
            url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
            assert e2e.curl(url).strip() in wanted, url


@test
def names_of_services_resolve_in_exec(e2e):
    assert e2e.curl("http://st1/", "-4").strip() == "ST1 at s3 (CSCI-ID 4)"
    assert e2e.curl("http://tp1/", "-6").strip() == "TP1 at s2 (CSCI-ID 2)"


@test
def instances_shows_exactly_the_four_rows_of_the_figure(e2e):
    rows = e2e.catsbpf("f1", "instances")["instances"]
    assert [(r["service_id"], r["cs_id"], r["csci_id"], r["gas"], r["cost"], r["computing_time_ms"]) for r in
            sorted(rows, key=lambda r: r["csci_id"])] == [
        ("AR1", 1, 1, 3, 4, 1), ("TP1", 2, 2, 6, 5, 20), ("AR1", 1, 3, 4, 6, 1), ("ST1", 3, 4, 1, 2, 1000)], rows
    assert all(0 < r["network_delay_ms"] < 50 for r in rows), rows


@test
def new_flows_use_both_sites(e2e):
    shares = {m["csci_id"]: m["share"] for r in e2e.operator("f1").get("/v1/rings")["rings"] if r["cs_id"] == 1 for m in r["members"]}
    reached = traffic.new_flows(e2e.lab, AR1, 300)
    assert set(reached) == {1, 3}, reached
    assert abs(reached[1] / 300 - shares[1]) < 0.12, (reached, shares)


@test
def one_delta_moves_new_flows_and_only_those(e2e):
    with contextlib.ExitStack() as open_flows:
        held = [open_flows.enter_context(contextlib.closing(traffic.connect(e2e.lab, a))) for a in [AR1, AR1_6] * 20]
        before = [traffic.ask(c) for c in held]
        assert {1, 3} <= set(before)
        delta = steering.set_gas(e2e.lab, 1, 0)
        assert traffic.new_flows(e2e.lab, AR1, 50) == {3: 50}
        assert traffic.new_flows(e2e.lab, AR1_6, 50) == {3: 50}
        assert [traffic.ask(c) for c in held] == before, "a flow moved"
        assert 0 < delta.milliseconds < 1000, delta.milliseconds
        assert 0 < delta.wire_bytes <= 64, delta.wire_bytes
        steering.set_gas(e2e.lab, 1, 3)
        assert set(traffic.new_flows(e2e.lab, AR1, 100)) == {1, 3}
        assert [traffic.ask(c) for c in held] == before, "a flow moved"


@test
def old_download_finishes_while_new_flows_move(e2e):
    download = traffic.Download.of_instance(main.arguments_in, e2e.lab, "ar1", "6m", 1, family=6)
    assert download, "no download from site 2"
    steering.set_gas(e2e.lab, 1, 0)
    assert traffic.new_flows(e2e.lab, AR1_6, 40) == {3: 40}
    assert download.running()
    status, words, whole, _ = download.finish()
    assert status == 0 and whole, words


@test
def price_delta_shifts_shares(e2e):
    def share():
        return next(m["share"] for r in e2e.operator("f1").get("/v1/rings")["rings"] if r["cs_id"] == 1
                    for m in r["members"] if m["csci_id"] == 1)
    before = share()
    steering.apply_delta(e2e.lab, "site-2", [{"csci_id": 1, "cost": 40}])
    after = e2e.eventually("a smaller share", lambda: share() < before / 2 and share())
    reached = traffic.new_flows(e2e.lab, AR1, 200)
    assert abs(reached[1] / 200 - after) < 0.12, (reached, after)


@test
def removed_row_moves_its_flows_and_returns(e2e):
    client = api.site(e2e.lab, "site-2")
    with contextlib.ExitStack() as held, traffic.EchoLoad(e2e.lab, [AR1], flows=20, rate=20) as load:
        held.callback(ready.publish_tables, e2e.lab)
        assert load.instances()[1], "no flow at site 2"
        steering.apply_delta(e2e.lab, "site-2", [{"csci_id": 1, "remove": True}], client)
        e2e.eventually("flows of the dead instance at site 3", lambda: traffic.new_udp_flows(e2e.lab, AR1, 10) == {3: 10})
        at_site_3 = load.instances()[3]
        load.wait_for(200)
        e2e.eventually("all flows at site 3", lambda: all(f.instances[3] for f in load.flows), 5)
        assert at_site_3 <= load.instances()[3]
    assert load.lost == 0, f"{load.lost} of {load.sent} lost"
    assert set(steering.table(e2e.lab)) >= {2, 3, 4}


@test
def udp_and_ping_reach_services(e2e):
    assert set(traffic.new_udp_flows(e2e.lab, AR1, 60)) == {1, 3}
    assert traffic.new_udp_flows(e2e.lab, "fd00:99::3", 10) == {4: 10}
    for address in (AR1, AR1_6, "10.99.0.2", "fd00:99::3"):
        out = e2e.run("client", ["ping", "-c", "5", "-i", "0.05", "-W", "2", address]).stdout
        assert " 0% packet loss" in out, out


@test
def paths_show_delay_jitter_loss_and_bandwidth(e2e):
    def paths():
        return {p["egress"]: p for p in e2e.catsbpf("f1", "paths")["paths"]}
    e2e.eventually("windows without loss", lambda: all(p["loss"] == 0 for p in paths().values()))
    for path in paths().values():
        assert 0 < path["delay_ms"] < 50 and 0 <= path["jitter_ms"] < 50, path
        assert path["measured_ago_s"] < 1 and path["speed_mbps"] > 0, path
    with traffic.EchoLoad(e2e.lab, [AR1], flows=20, rate=100):
        e2e.eventually("the load in the rate of f1's interface", lambda: all(p["transmit_mbps"] > 0.5 for p in paths().values()))
    network.in_node(e2e.lab, "core", ["ip", "route", "replace", "blackhole", "10.255.0.2/32"])
    e2e.undo.append(lambda: network.in_node(e2e.lab, "core", ["ip", "route", "replace", "10.255.0.2/32", "via", "172.16.2.1"]))
    e2e.eventually("loss on the path to f2", lambda: paths()["f2"]["loss"] > 0.1)
    assert paths()["f3"]["loss"] == 0


@test
def explain_names_all_candidates_and_the_rule(e2e):
    steering.set_gas(e2e.lab, 1, 0)
    said = e2e.catsbpf("f1", "explain", "AR1")
    candidates = {c["csci_id"]: c for c in said["candidates"]}
    assert set(candidates) == {1, 3} and said["rule"] and said["policy"] == "balanced", said
    assert not candidates[1]["eligible"] and candidates[3]["eligible"] and candidates[1]["reason"], said
    assert said["csci_id"] == 3, said
    text = e2e.run("f1", ["catsbpf", "explain", "AR1"]).stdout
    assert all(len(line) <= 100 for line in text.splitlines()), text


@test
def flows_show_real_addresses(e2e):
    with contextlib.closing(traffic.connect(e2e.lab, AR1)) as connection:
        reached = traffic.ask(connection)
        port = connection.getsockname()[1]
        flow = next(f for f in e2e.catsbpf("f1", "flows", "--limit", "0")["flows"] if f["source_port"] == port)
        assert (flow["source"], flow["destination"], flow["destination_port"], flow["protocol"], flow["csci_id"]) == \
            ("10.1.0.2", AR1, 80, "tcp", reached), flow
