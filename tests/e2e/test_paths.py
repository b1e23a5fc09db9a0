# SPDX-License-Identifier: Apache-2.0
"""Paths that fail: what flows that are under way do, and where new ones go."""
import contextlib
import os
import signal

from labkit import steering, traffic
from runner import test

AR1, AR1_6 = "10.99.0.1", "fd00:99::1"


def state(e2e, csci_id):
    return steering.table(e2e.lab)[csci_id]["state"]


def candidate(e2e, service, csci_id):
    return next(c for c in e2e.catsbpf("f1", "explain", service)["candidates"] if c["csci_id"] == csci_id)


@contextlib.contextmanager
def stopped(pid):
    """A process that stands still while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@test
def egress_that_answers_no_probe_takes_no_new_flows_and_keeps_its_old_ones(e2e):
    with traffic.EchoLoad(e2e.lab, [AR1, AR1_6], flows=40, rate=20) as load:
        assert {1, 3} == set(load.instances())
        with stopped(e2e.agent("f3").pid()):
            e2e.eventually("site 3 silent", lambda: state(e2e, 3) == state(e2e, 4) == "silent")
            assert state(e2e, 1) == "active"
            load.wait_for(40 * 20 * 4)      # four seconds: what would move has moved
            assert traffic.new_flows(e2e.lab, AR1, 20) == {1: 20}
            assert "answers no probe" in candidate(e2e, "AR1", 3)["reason"]
            warnings = e2e.catsbpf("f1", "status")["warnings"]
            assert "egress f3 answers no probe: it takes no new flows and keeps those it has" in warnings, warnings
            path = next(p for p in e2e.catsbpf("f1", "paths")["paths"] if p["egress"] == "f3")
            assert path["loss"] == 1 and path["silent"] and path["state"] == "resolved", path
        e2e.eventually("new flows at both sites", lambda: set(traffic.new_flows(e2e.lab, AR1, 40)) == {1, 3})
    assert load.moved == 0 and load.lost == 0, (load.moved, load.lost)


@test
def underlay_that_loses_all_packets_stops_new_flows_and_a_dead_agent_does_not(e2e):
    tunnel, next_hop = "10.255.0.2/32", "172.16.2.1"
    with traffic.EchoLoad(e2e.lab, [AR1, "10.99.0.2"], flows=40, rate=20) as load:
        assert {1, 2, 3} == set(load.instances())
        e2e.agent("f3").stop(signal.SIGKILL)            # its kernel still refuses the probes
        e2e.undo.append(lambda: e2e.run("core", ["ip", "route", "replace", tunnel, "via", next_hop]))
        e2e.run("core", ["ip", "route", "replace", "blackhole", tunnel])
        e2e.eventually("site 2 silent", lambda: state(e2e, 1) == "silent")
        assert state(e2e, 3) == "active"
        assert traffic.new_flows(e2e.lab, AR1, 20) == {3: 20}
        e2e.run("core", ["ip", "route", "replace", tunnel, "via", next_hop])
        e2e.eventually("site 2 is back", lambda: state(e2e, 1) == "active")
        before = load.received
        e2e.eventually("all flows go on", lambda: load.received > before + 400)
        e2e.eventually("new flows at both sites", lambda: set(traffic.new_flows(e2e.lab, AR1, 40)) == {1, 3})
    assert load.moved == 0, load.moved


@test
def path_without_a_route_loses_its_flows_to_others_at_once(e2e):
    tunnel = "10.255.0.2/32"
    with traffic.EchoLoad(e2e.lab, [AR1, AR1_6], flows=40, rate=20) as load:
        assert {1, 3} == set(load.instances())
        on_site_2 = load.instances()[1]
        e2e.undo.append(lambda: e2e.run("f1", ["ip", "route", "del", "unreachable", tunnel], check=False))
        e2e.run("f1", ["ip", "route", "add", "unreachable", tunnel])
        e2e.eventually("all flows at site 3", lambda: all(f.instances[3] for f in load.flows), 3)
        e2e.eventually("site 2 unreachable", lambda: state(e2e, 1) == "unreachable", 3)
        assert traffic.new_flows(e2e.lab, AR1, 20) == {3: 20}
        path = next(p for p in e2e.catsbpf("f1", "paths")["paths"] if p["egress"] == "f2")
        assert path["state"] == "dead", path
        assert "the path to its egress is dead" in candidate(e2e, "AR1", 1)["reason"]
        e2e.eventually("a warning that says why", lambda: any(
            "path to f2 (10.255.0.2) is dead: no route leads there" in w for w in e2e.catsbpf("f1", "status")["warnings"]))
        e2e.run("f1", ["ip", "route", "del", "unreachable", tunnel])
        e2e.eventually("new flows at both sites", lambda: set(traffic.new_flows(e2e.lab, AR1, 40)) == {1, 3})
    assert load.moved == on_site_2, (load.moved, on_site_2)
