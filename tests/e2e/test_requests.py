# SPDX-License-Identifier: Apache-2.0
"""Section 6 of the CMAS draft: request, grant, pinned flows, finish, lease."""
import json
import signal

from labkit import api, ready, steering, traffic
from runner import test

AR1 = "10.99.0.1"


def ask(e2e, **wanted):
    body = {"service_id": "AR1", "gas": 1, "cost": 4, "delay_ms": 100, "lease_s": 60} | wanted
    client = api.requests(e2e.lab)
    try:
        return client.call("POST", "/v1/requests", body)
    finally:
        client.close()


def finish(e2e, location, node="client"):
    client = api.requests(e2e.lab, node)
    try:
        return client.call("DELETE", location).status
    finally:
        client.close()


def gas_becomes(e2e, csci_id, gas, seconds=5):
    e2e.eventually(f"GAS {gas} of CSCI-ID {csci_id}", lambda: steering.table(e2e.lab)[csci_id]["gas"] == gas, seconds)


@test
def request_is_granted_closest_to_its_cost_and_pins_the_clients_flows(e2e):
    for cost, csci_id in ((4, 1), (6, 3)):
        before = steering.table(e2e.lab)[csci_id]["gas"]
        granted = ask(e2e, cost=cost)
        assert granted.status == 201, granted.body
        assert set(granted.json) == {"service_id", "gas", "real_cost", "real_delay_ms", "success"}, granted.json
        assert granted.json["success"] and granted.json["real_cost"] == cost, granted.json
        gas_becomes(e2e, csci_id, before - 1)
        assert traffic.new_flows(e2e.lab, AR1, 30) == {csci_id: 30}
        assert finish(e2e, granted.headers["Location"]) // 100 == 2
        gas_becomes(e2e, csci_id, before)
    assert set(traffic.new_flows(e2e.lab, AR1, 100)) == {1, 3}


@test
def request_by_the_command_line_and_its_finish(e2e):
    out = e2e.run("client", ["catsbpf", "request", "AR1", "--gas", "1", "--cost", "6", "--delay", "100", "--json"]).stdout
    assert json.loads(out)["success"], out
    held = e2e.operator("f1").get("/v1/requests")["requests"]
    assert [(r["csci_id"], r["client"]) for r in held] == [(3, "10.1.0.2")], held
    e2e.run("client", ["catsbpf", "finish", held[0]["id"]])
    gas_becomes(e2e, 3, 4)


@test
def request_that_nobody_can_serve_is_refused_with_reasons(e2e):
    for wanted in ({"gas": 1000}, {"delay_ms": 0.001}):
        refused = ask(e2e, **wanted)
        assert refused.status >= 400 or not refused.json["success"], refused.body
    unknown = ask(e2e, service_id="NOPE")
    assert unknown.status == 404 and "NOPE" in unknown.json["error"], unknown.body


@test
def heartbeat_of_the_instance_returns_the_slot(e2e):
    granted = ask(e2e, cost=4, gas=2)
    assert granted.status == 201, granted.body
    gas_becomes(e2e, 1, 1)
    client = api.site(e2e.lab, "site-2")
    client.want(200, "POST", "/v1/finished", {"csci_id": 1, "gas": 2})
    client.close()
    gas_becomes(e2e, 1, 3)
    e2e.eventually("no session left", lambda: e2e.operator("f1").get("/v1/requests")["requests"] == [])
    assert set(traffic.new_flows(e2e.lab, AR1, 100)) == {1, 3}


@test
def lease_that_runs_out_returns_the_slot(e2e):
    granted = ask(e2e, cost=6, lease_s=1)
    assert granted.status == 201, granted.body
    gas_becomes(e2e, 3, 3)
    gas_becomes(e2e, 3, 4, 8)
    e2e.eventually("no session left", lambda: e2e.operator("f1").get("/v1/requests")["requests"] == [])


@test
def last_slot_is_granted_once(e2e):
    first, second = ask(e2e, service_id="ST1", cost=2, delay_ms=2000), ask(e2e, service_id="ST1", cost=2, delay_ms=2000)
    assert first.status == 201, first.body
    assert second.status >= 400, second.body
    assert finish(e2e, first.headers["Location"]) // 100 == 2
    gas_becomes(e2e, 4, 1)


@test
def another_client_cannot_finish_a_request(e2e):
    granted = ask(e2e)
    assert granted.status == 201, granted.body
    assert finish(e2e, granted.headers["Location"], "core") in (403, 404)
    assert len(e2e.operator("f1").get("/v1/requests")["requests"]) == 1


def no_grant_is_left(e2e, csci_id, gas):
    e2e.eventually("no grant at the ingress", lambda: e2e.operator("f1").get("/v1/requests")["requests"] == [], 15)
    gas_becomes(e2e, csci_id, gas, 15)


@test
def heartbeat_while_both_agents_die_ends_the_grant_on_their_return(e2e):
    assert ask(e2e, cost=4, gas=2).status == 201
    e2e.agent("f1").stop(signal.SIGKILL)
    site = api.site(e2e.lab, "site-2")
    site.want(200, "POST", "/v1/finished", {"csci_id": 1, "gas": 2})
    site.close()
    for node in ("f2", "f1"):
        e2e.agent(node).stop(signal.SIGKILL)     # nobody remembers what was to be said
        e2e.agent(node).start()
    no_grant_is_left(e2e, 1, 3)


@test
def slots_of_an_ingress_that_forgot_its_grants_are_free_at_once(e2e):
    assert ask(e2e, cost=6, gas=2, lease_s=600).status == 201
    e2e.agent("f1").stop(signal.SIGKILL)
    (e2e.lab.files("f1") / "state" / "requests.json").unlink()
    e2e.agent("f1").start()
    no_grant_is_left(e2e, 3, 4)
    ready.cats(e2e.lab)     # until then the view of the agent before this one stays, with its grants
    assert set(traffic.new_flows(e2e.lab, AR1, 60)) == {1, 3}
