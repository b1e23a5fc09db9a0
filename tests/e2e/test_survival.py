# SPDX-License-Identifier: Apache-2.0
"""Agents and platform are stopped, killed, restarted under traffic: no packet is lost, no flow moves."""
import contextlib
import os
import signal

from labkit import processes, ready, steering, traffic
from runner import test

AR1, AR1_6 = "10.99.0.1", "fd00:99::1"


@contextlib.contextmanager
def traffic_that_must_not_suffer(e2e):
    """UDP on 40 flows and TCP on 10, IPv4 and IPv6, while the block runs."""
    udp = traffic.EchoLoad(e2e.lab, [AR1, AR1_6, "10.99.0.2", "fd00:99::3"], flows=40, rate=50)
    tcp = traffic.HttpLoad(e2e.lab, AR1, connections=10)
    with udp, tcp:
        assert {1, 2, 3, 4} == set(udp.instances()), udp.instances()
        yield udp
        udp.wait_for(400)
    assert udp.lost == 0, f"{udp.lost} of {udp.sent} UDP packets lost, longest gap {udp.longest_gap:.2f} s"
    assert udp.moved == 0, f"{udp.moved} UDP flows moved"
    assert not tcp.errors and tcp.moved == 0, (tcp.errors[:3], tcp.moved)


def killed_and_restarted(e2e, program):
    with traffic_that_must_not_suffer(e2e) as load:
        assert program.stop(signal.SIGKILL)
        if program.node in ("f1", "f2", "f3"):      # then the data plane asks the kernel for next hops
            e2e.eventually("an old heartbeat", lambda: e2e.catsbpf(program.node, "status")["heartbeat_age_s"] > 3.2)
        load.wait_for(1000)
        program.start()
        ready.cats(e2e.lab)
        load.wait_for(400)


def killed(what, program):
    """Makes the test in which that program is killed and restarted."""
    def one(e2e):
        killed_and_restarted(e2e, program(e2e))
    one.__name__ = f"killed_{what}_costs_no_packet_and_no_flow"
    test(one)


killed("ingress_agent", lambda e2e: e2e.agent("f1"))
killed("egress_agent", lambda e2e: e2e.agent("f2"))
killed("egress_without_own_agent", lambda e2e: e2e.agent("f3"))
killed("service_metric_agent", lambda e2e: e2e.agent("sma3"))
killed("platform", lambda e2e: processes.platform(e2e.lab, "platform"))


@test
def graceful_stop_and_start_of_every_agent_costs_nothing(e2e):
    with traffic_that_must_not_suffer(e2e) as load:
        for node in e2e.topology.agents():
            agent = e2e.agent(node.name)
            assert agent.stop(seconds=5), f"the agent of {node.name} does not end by SIGTERM"
            agent.start()
        ready.cats(e2e.lab)
        load.wait_for(400)


@test
def new_flows_are_steered_while_the_agent_is_dead(e2e):
    e2e.agent("f1").stop(signal.SIGKILL)
    assert set(traffic.new_flows(e2e.lab, AR1, 100)) == {1, 3}
    assert set(traffic.new_udp_flows(e2e.lab, AR1_6, 60)) == {1, 3}


@test
def command_line_reads_the_maps_while_the_agent_is_dead(e2e):
    e2e.agent("f1").stop(signal.SIGKILL)
    assert not e2e.catsbpf("f1", "status")["agent_running"]
    assert {i["csci_id"] for i in e2e.catsbpf("f1", "instances")["instances"]} == {1, 2, 3, 4}
    for verb in ("services", "paths", "rings", "flows", "stats", "outcomes", "map"):
        e2e.catsbpf("f1", verb)


@test
def restarted_ingress_takes_up_its_view_and_its_grants(e2e):
    before = {r["cs_id"]: r for r in e2e.operator("f1").get("/v1/rings")["rings"]}
    out = e2e.run("client", ["curl", "-sS", "-D", "-", "-o", "/dev/null", "-d", '{"service_id":"AR1","cost":6}',
                             f"https://{e2e.topology.ingress.agent['requests']}/v1/requests"]).stdout
    assert " 201" in out.splitlines()[0], out
    e2e.agent("f1").stop(signal.SIGKILL)
    e2e.agent("f1").start()
    ready.cats(e2e.lab)
    assert len(e2e.operator("f1").get("/v1/requests")["requests"]) == 1
    e2e.eventually("the client's flows on its grant", lambda: traffic.new_flows(e2e.lab, AR1, 20) == {3: 20})
    after = {r["cs_id"]: r for r in e2e.operator("f1").get("/v1/rings")["rings"]}
    assert {c: r["slots"] for c, r in after.items()} == {c: r["slots"] for c, r in before.items()}


@test
def stopped_platform_leaves_agents_working_and_a_restart_uses_the_cache(e2e):
    processes.platform(e2e.lab, "platform").stop()
    with traffic_that_must_not_suffer(e2e) as load:
        steering.set_gas(e2e.lab, 1, 2)
        steering.set_gas(e2e.lab, 1, 3)
        e2e.agent("f1").stop(signal.SIGKILL)
        e2e.agent("f1").start()
        ready.cats(e2e.lab)
        load.wait_for(400)
        status = e2e.operator("f1").get("/v1/status")
        assert status["platform"].startswith("away"), status["platform"]
        assert len(e2e.operator("f1").get("/v1/services")["services"]) == 4
    processes.platform(e2e.lab, "platform").start()
    e2e.eventually("connected again", lambda: e2e.operator("f1").get("/v1/status")["platform"] == "connected", 30)


@test
def silent_service_metric_agent_freezes_its_rows_and_returns(e2e):
    with traffic.EchoLoad(e2e.lab, [AR1], flows=20, rate=20) as load:
        e2e.agent("sma3").stop(signal.SIGKILL)
        e2e.eventually("frozen rows of site 3",
                       lambda: steering.table(e2e.lab)[3]["state"] == "frozen" and steering.table(e2e.lab)[1]["state"] == "active", 15)
        e2e.eventually("new flows at site 2 only", lambda: traffic.new_flows(e2e.lab, AR1, 20) == {1: 20})
        e2e.agent("sma3").start()
        ready.cats(e2e.lab)
        assert set(traffic.new_flows(e2e.lab, AR1, 100)) == {1, 3}
    assert load.lost == 0 and load.moved == 0, (load.lost, load.moved)


@test
def restarted_agents_leak_neither_descriptors_nor_maps(e2e):
    def descriptors():
        return len(os.listdir(f"/proc/{e2e.agent('f1').pid()}/fd"))
    def restart():
        e2e.agent("f1").stop()
        e2e.agent("f1").start()
        ready.cats(e2e.lab)
    restart()
    before, pins = descriptors(), sorted(p.name for p in e2e.lab.pins("f1").rglob("*"))
    for gas in [1, 2] * 10 + [3]:
        steering.set_gas(e2e.lab, 1, gas)
    e2e.eventually("as many descriptors as before", lambda: descriptors() <= before + 2, 5)
    restart()
    assert sorted(p.name for p in e2e.lab.pins("f1").rglob("*")) == pins
