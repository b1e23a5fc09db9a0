# SPDX-License-Identifier: Apache-2.0
"""What an egress cannot deliver to takes no new flows, and what it can it delivers on a full disk, too."""
import contextlib
import shutil
import signal
import subprocess

from labkit import api, steering, traffic
from runner import test

AR1, AR1_6 = "10.99.0.1", "fd00:99::1"


@test
def contact_on_no_service_network_is_refused_and_changes_nothing(e2e):
    client = api.site(e2e.lab, "site-2")
    before = client.get("/v1/table")
    for contact in ("99.99.99.99", "10.3.0.11", "172.16.2.254", "fd00:3::11"):
        rows = [*before["rows"], {"service_id": "AR1", "csci_id": 9, "gas": 3, "cost": 1, "contact": contact}]
        answer = client.call("PUT", "/v1/table", {"rows": [{k: v for k, v in r.items() if k != "in_use"} for r in rows]})
        assert answer.status == 400, (contact, answer.status, answer.body)
        assert f"rows[2].contact: {contact} is on no network" in answer.json["error"], answer.body
        assert answer.json["hint"] == "give an address on a service interface of this egress (site0)", answer.body
    for contact in ("10.2.0.1", "10.255.0.2", "10.2.0.255", "127.0.0.1"):
        answer = client.call("PUT", "/v1/table", {"rows": [{"service_id": "AR1", "csci_id": 9, "contact": contact}]})
        assert answer.status == 400, (contact, answer.status, answer.body)
        assert answer.json["error"].startswith(f"rows[0].contact: {contact} is "), answer.body
        assert answer.json["error"].endswith(", no host of the site's network"), answer.body
    assert client.get("/v1/table") == before
    client.close()
    assert e2e.catsbpf("f2", "status")["programming"] == "in sync"
    assert 9 not in steering.table(e2e.lab)


@test
def instance_that_its_egress_has_no_way_to_takes_no_new_flows_until_it_has(e2e):
    network = ["10.2.0.0/24", "dev", "site0", "proto", "kernel", "scope", "link", "src", "10.2.0.1"]
    e2e.undo.append(lambda: e2e.run("f2", ["ip", "route", "replace", *network]))

    def state(node):
        return {row["csci_id"]: row["state"] for row in e2e.catsbpf(node, "instances")["instances"]}
    e2e.run("f2", ["ip", "route", "del", *network])
    e2e.eventually("the instances of site 2 take no new flows", lambda: state("f1") == {1: "draining", 2: "draining", 3: "active",
                                                                                       4: "active"})
    assert state("f2") == {1: "draining", 2: "draining"}
    assert traffic.new_flows(e2e.lab, AR1, 20) == {3: 20}
    assert traffic.new_udp_flows(e2e.lab, AR1_6, 20) == {3: 20}
    assert any("10.2.0.11 of CSCI-ID 1" in w and "not on-link" in w for w in e2e.catsbpf("f2", "status")["warnings"])
    # A start of the agent finds the rows in its file, and what it can deliver to in the kernel.
    agent = e2e.agent("f2")
    agent.stop()
    agent.start()
    e2e.eventually("f1 has its rows", lambda: e2e.catsbpf("f2", "sessions")["sessions"][0]["acknowledged"] > 0)
    assert state("f1")[1] == "draining"
    assert traffic.new_flows(e2e.lab, AR1, 20) == {3: 20}
    e2e.run("f2", ["ip", "route", "add", *network])
    e2e.eventually("both sites again", lambda: set(traffic.new_flows(e2e.lab, AR1, 40)) == {1, 3})


@contextlib.contextmanager
def full_disk(agent, state):
    """The agent, killed, has its state on a file system of its own that is full. Gives the file that fills it."""
    kept = state.with_name("state-before")
    agent.stop(signal.SIGKILL)
    shutil.copytree(state, kept)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", state], check=True)
    try:
        shutil.copytree(kept, state, dirs_exist_ok=True)
        with contextlib.suppress(OSError), open(state / "filler", "wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        yield state / "filler"
    finally:
        agent.stop()
        subprocess.run(["umount", state], check=True)
        shutil.rmtree(kept)


@test
def egress_killed_on_a_full_disk_starts_and_its_sessions_wait_for_room(e2e):
    agent = e2e.agent("f2")

    def sessions():
        return e2e.catsbpf("f2", "sessions")["sessions"]

    def unstored():
        return [text for text in e2e.catsbpf("f2", "status")["warnings"] if "stored" in text]
    with full_disk(agent, e2e.lab.files("f2") / "state") as filler:
        agent.start()
        waiting = e2e.eventually("it says that its sessions wait", unstored)
        assert waiting[0].startswith("unstored: sessions") and "site.db: No space left on device" in waiting[0], waiting
        e2e.eventually("it delivers", lambda: e2e.catsbpf("f2", "status")["programming"] == "in sync")
        assert sessions() == []
        filler.unlink()
        e2e.eventually("f1 has its rows", lambda: any(s["acknowledged"] > 0 for s in sessions()))
        e2e.eventually("both sites take new flows", lambda: set(traffic.new_flows(e2e.lab, AR1, 40)) == {1, 3})
        assert unstored() == []
