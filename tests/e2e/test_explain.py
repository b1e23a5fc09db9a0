# SPDX-License-Identifier: Apache-2.0
"""`explain` says what becomes of a new flow, and new flows do that: bypass before session before ring."""
from labkit import api, traffic
from runner import test

AR1 = "10.99.0.1"
CLIENT = "10.1.0.2"


def explain(e2e, *words):
    return e2e.catsbpf("f1", "explain", "AR1", *words)


@test
def explain_says_what_new_flows_of_a_client_do(e2e):
    e2e.undo.append(lambda: e2e.run("f1", ["catsbpf", "bypass", "off"]))
    assert explain(e2e, "--client", CLIENT)["decided_by"] == "ring"
    client = api.requests(e2e.lab)
    granted = client.call("POST", "/v1/requests", {"service_id": "AR1", "cost": 6})
    assert granted.status == 201, granted.body
    said = explain(e2e, "--client", CLIENT)
    assert (said["decided_by"], said["csci_id"]) == ("session", 3) and len(said["candidates"]) == 2, said
    assert granted.headers["Location"].rsplit("/", 1)[1] in said["rule"], said
    assert traffic.new_flows(e2e.lab, AR1, 20) == {3: 20}
    assert explain(e2e, "--client", "10.1.0.77")["decided_by"] == "ring"

    e2e.run("f1", ["catsbpf", "bypass", "on"])
    said = explain(e2e, "--client", CLIENT)
    assert (said["decided_by"], said["csci_id"]) == ("bypass", 0) and len(said["candidates"]) == 2, said
    text = e2e.run("f1", ["catsbpf", "explain", "AR1", "--client", CLIENT]).stdout
    assert "plain routing" in text and all(len(line) <= 100 for line in text.splitlines()), text
    assert traffic.new_flows(e2e.lab, AR1, 20) == {1: 20}, "plain routing leads to site 2"
    plain = e2e.catsbpf("f1", "flows", "--csci", "plain", "--limit", "0")["flows"]
    assert len(plain) >= 20 and not any(f["csci_id"] for f in plain), plain

    e2e.run("f1", ["catsbpf", "bypass", "off"])
    assert client.call("DELETE", granted.headers["Location"]).status == 200
    assert explain(e2e, "--client", CLIENT)["decided_by"] == "ring"
    client.close()


@test
def refused_request_is_told_why_and_what_to_do(e2e):
    client = api.requests(e2e.lab)
    for wanted, why in (({"gas": 90}, "< 90 asked"), ({"delay_ms": 0.001}, "> 1 us asked")):
        refused = client.call("POST", "/v1/requests", {"service_id": "AR1"} | wanted)
        assert refused.status == 409 and refused.json["success"] is False, refused.body
        assert why in refused.json["error"] and "instance" in refused.json["error"] and refused.json["hint"], refused.body
        assert "csci" not in refused.json["error"].lower(), "which instances there are stays with the ingress"
    client.close()
    said = e2e.run("client", ["catsbpf", "request", "AR1", "--gas", "90"], check=False)
    assert said.returncode == 1 and "< 90 asked" in said.stderr and "hint: " in said.stderr, said
    for words, field in ((["--gas", "0"], "gas 0"), (["--lease", "0"], "lease_s 0")):
        said = e2e.run("client", ["catsbpf", "request", "AR1", *words], check=False)
        assert said.returncode == 1 and f"request: {field}" in said.stderr and "hint: leave it out" in said.stderr, said
    said = e2e.run("f1", ["catsbpf", "explain", "AR1", "--gas", "0"], check=False)
    assert said.returncode == 1 and "request: gas 0 asks for nothing" in said.stderr, said
