# SPDX-License-Identifier: Apache-2.0
"""When the lab is ready: asked of the programs themselves."""
import contextlib
import http.client
import json

from . import api, configurations, processes, traffic
from .network import inside
from .topology import LabError
from .wait import Missing, must


def sites(lab):
    """Every instance answers with its own name on its contact addresses."""
    for instance in lab.topology.instances(lab.only):
        for address in instance.contacts:
            must(f"nginx of {instance.text}", lambda: _answers(lab, instance, address), 10,
                 f"vagrant/lab --name {lab.name} logs {instance.node}")
            must(f"UDP echo of {instance.text}", lambda: _echoes(lab, instance, address), 10,
                 f"vagrant/lab --name {lab.name} logs {instance.node}")


def _echoes(lab, instance, address):
    with contextlib.suppress(OSError):
        return traffic.new_udp_flows(lab, address, 1, instance.node) == {instance.csci_id: 1}
    return Missing("no answer")


def _answers(lab, instance, address):
    try:
        with inside(lab, instance.node):
            connection = http.client.HTTPConnection(address, 80, timeout=2)
            connection.connect()
        connection.request("GET", "/")
        body = connection.getresponse().read().decode().strip()
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        return Missing(str(error))
    return body == instance.text or Missing(f"answers {body!r}")


def publish_tables(lab, seconds=15):
    """Each site puts its whole table (R033) where its C-SMA has other rows."""
    for site in lab.topology.sites.values():
        if lab.only not in (None, site.node):
            continue
        client = api.site(lab, site.name)
        must(f"site API of {site.agent}", lambda: _has_table(lab, client, site), seconds,
             f"vagrant/lab --name {lab.name} logs {site.agent}")
        client.close()


def _has_table(lab, client, site):
    if not lab.only:
        _must_run(lab, site.agent)
    wanted = {i.csci_id for i in site.instances}
    try:
        table = client.get("/v1/table")
        if {row["csci_id"] for row in table.get("rows", [])} == wanted:
            return True
        client.want(200, "PUT", "/v1/table", configurations.site_table(site))
    except (OSError, LabError) as error:
        return Missing(str(error))
    return Missing("table just put")


def cats(lab, seconds=30):
    """All sessions up, all paths measured, all rings there, nothing left to program."""
    for node in lab.topology.agents():
        must(f"agent of {node.name}", lambda: _in_sync(lab, node), seconds, f"vagrant/lab --name {lab.name} logs {node.name}")
    must("steering at the ingress", lambda: steering(lab), seconds, f"vagrant/lab --name {lab.name} logs {lab.topology.ingress.name}")


def _in_sync(lab, node):
    _must_run(lab, node.name)
    try:
        status = api.operator(lab, node.name).get("/v1/status")
    except (OSError, LabError) as error:
        return Missing(str(error))
    return status["programming"] in ("in sync", "") or Missing(f"programming: {status['programming']}")


def _must_run(lab, node):
    program = processes.agent(lab, node)
    if not program.pid():
        raise LabError(f"the agent of {node} has ended{program.ending()}: {program.log(6).strip()}", f"vagrant/lab --name {lab.name} logs {node}")


def steering(lab):
    """True, or Missing with what the ingress still lacks."""
    t = lab.topology
    client = api.operator(lab, t.ingress.name)
    try:
        sessions = client.get("/v1/sessions")["sessions"]
        paths = client.get("/v1/paths")["paths"]
        instances = client.get("/v1/instances")["instances"]
        rings = client.get("/v1/rings")["rings"]
    except (OSError, LabError, json.JSONDecodeError) as error:
        return Missing(str(error))
    finally:
        client.close()
    up = {s["peer"] for s in sessions if s["state"] == "up"}
    lacking = set(t.path_selector.agent["sessions"]["from"]) - up
    if lacking:
        return Missing(f"session from {', '.join(sorted(lacking))}")
    measured = {p["egress"] for p in paths if p["delay_ms"] > 0 and p["state"] == "resolved"}
    lacking = {e for s in t.sites.values() for e in s.egresses} - measured
    if lacking:
        return Missing(f"measured path to {', '.join(sorted(lacking))}")
    programmed = {i["csci_id"] for i in instances if i["slot"] and i["network_delay_ms"] >= 0}
    lacking = {i.csci_id for i in t.instances()} - programmed
    if lacking:
        return Missing(f"instance {', '.join(map(str, sorted(lacking)))}")
    members = {(r["cs_id"], m["csci_id"]) for r in rings for m in r["members"]}
    offering = {i["csci_id"] for i in instances if i["gas"] > 0 and i["state"] == "active"}
    lacking = {i.csci_id for i in t.instances() if i.csci_id in offering} - {c for _, c in members}
    return not lacking or Missing(f"ring member {', '.join(map(str, sorted(lacking)))}")
