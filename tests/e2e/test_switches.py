# SPDX-License-Identifier: Apache-2.0
"""The operator's switches: bypass and drain."""
import contextlib

from labkit import traffic
from runner import test

AR1, AR1_6 = "10.99.0.1", "fd00:99::1"


@test
def bypass_sends_new_flows_to_plain_routing_and_leaves_old_ones(e2e):
    with contextlib.ExitStack() as held:
        old = [held.enter_context(contextlib.closing(traffic.connect(e2e.lab, AR1))) for _ in range(30)]
        before = [traffic.ask(c) for c in old]
        e2e.run("f1", ["catsbpf", "bypass", "on"])
        assert e2e.catsbpf("f1", "status")["bypass"]
        # Plain routing leads to site 2 alone.
        assert traffic.new_flows(e2e.lab, AR1, 30) == {1: 30}
        assert traffic.new_udp_flows(e2e.lab, AR1_6, 30) == {1: 30}
        assert [traffic.ask(c) for c in old] == before, "a flow moved"
        begun = [held.enter_context(contextlib.closing(traffic.connect(e2e.lab, AR1))) for _ in range(20)]
        assert {traffic.ask(c) for c in begun} == {1}
        e2e.run("f1", ["catsbpf", "bypass", "off"])
        assert set(traffic.new_flows(e2e.lab, AR1, 100)) == {1, 3}
        assert {traffic.ask(c) for c in begun} == {1}, "a flow of the bypass moved"
        assert [traffic.ask(c) for c in old] == before, "a flow moved"


def drained(e2e, words, rest):
    with contextlib.ExitStack() as held:
        old = [held.enter_context(contextlib.closing(traffic.connect(e2e.lab, AR1))) for _ in range(30)]
        before = [traffic.ask(c) for c in old]
        assert set(before) == {1, 3}
        e2e.run("f1", ["catsbpf", "drain", *words])
        e2e.eventually("new flows elsewhere", lambda: traffic.new_flows(e2e.lab, AR1, 20) == {rest: 20})
        assert [traffic.ask(c) for c in old] == before, "a flow moved"
        e2e.run("f1", ["catsbpf", "drain", *words, "--off"])
        e2e.eventually("both sites again", lambda: set(traffic.new_flows(e2e.lab, AR1, 40)) == {1, 3})
        assert [traffic.ask(c) for c in old] == before, "a flow moved"


@test
def drain_of_an_instance_keeps_its_flows(e2e):
    drained(e2e, ["instance", "1"], 3)


@test
def drain_of_a_site_keeps_its_flows(e2e):
    drained(e2e, ["site", "site-3"], 1)


@test
def drain_of_an_egress_keeps_its_flows(e2e):
    drained(e2e, ["egress", "f2"], 3)
