# SPDX-License-Identifier: Apache-2.0
"""What the control plane did: deltas and the moment at which the ingress published them, the whole service table."""
import time

from . import api
from .topology import LabError
from .wait import Missing, must


class Published:
    """One delta from the site's call to the flip of the view at the ingress. Times: CLOCK_MONOTONIC, one machine."""

    def __init__(self, posted_ns, result, publication):
        self.wire_bytes = result["wire_bytes"]
        self.sequence = result["sequence"]
        self.milliseconds = (publication["published_ns"] - posted_ns) / 1e6
        self.view_epoch = publication["epoch"]


def post_delta(client, deltas):
    """Posts on a site's API client; (CLOCK_MONOTONIC ns before the call, SiteDeltaResult)."""
    posted = time.monotonic_ns()
    return posted, client.want(200, "POST", "/v1/deltas", {"deltas": deltas})


def publication_of(publications, origin, result):
    """The first view that holds that delta of that origin, or None."""
    for publication in sorted(publications, key=lambda p: p["epoch"]):
        for applied in publication["applied"]:
            if applied["origin"] == origin and applied["epoch"] == result["epoch"] and applied["sequence"] >= result["sequence"]:
                return publication
    return None


def apply_delta(lab, site, deltas, client=None, seconds=10):
    """Posts a delta as the site and waits until the ingress' view holds it."""
    own = client is None
    client = client or api.site(lab, site)
    ingress = api.operator(lab, lab.topology.ingress.name)
    origin = lab.topology.sites[site].agent
    try:
        client.get("/v1/table")                       # the connection stands before the clock starts
        since = max([p["epoch"] for p in ingress.get("/v1/publications")["publications"]], default=0)
        posted, result = post_delta(client, deltas)

        def published():
            found = publication_of(ingress.get(f"/v1/publications?since={since}")["publications"], origin, result)
            return found or Missing(f"sequence {result['sequence']} of {origin} is not in the view")

        return Published(posted, result, must(f"publication of a delta of {site}", published, seconds))
    finally:
        ingress.close()
        if own:
            client.close()


def set_gas(lab, csci_id, gas, seconds=10):
    """GAS of one instance by one delta; nothing happens when it is that already."""
    instance = lab.topology.instance(csci_id)
    client = api.site(lab, instance.site)
    try:
        rows = {row["csci_id"]: row for row in client.get("/v1/table")["rows"]}
        if rows[csci_id]["gas"] == gas:
            return None
        return apply_delta(lab, instance.site, [{"csci_id": csci_id, "gas": gas}], client, seconds)
    finally:
        client.close()


def table(lab):
    """CSCI-ID -> row of the whole service table, as the ingress' C-PS has it."""
    client = api.operator(lab, lab.topology.path_selector.name)
    try:
        return {row["csci_id"]: row for row in client.get("/v1/instances")["instances"]}
    finally:
        client.close()


def restore(lab):
    """Every site offers again what the topology says; drains and bypass are off; requests are finished, their slots free."""
    operator = api.operator(lab, lab.topology.ingress.name)
    try:
        for request in operator.get("/v1/requests").get("requests", []):
            operator.call("DELETE", f"/v1/requests/{request['id']}")
        for drain in operator.get("/v1/drain").get("drains", []):
            operator.call("DELETE", "/v1/drain", {k: v for k, v in drain.items() if v})
        operator.call("PUT", "/v1/bypass", {"on": False})
        for site in lab.topology.sites.values():
            _restore_rows(lab, site)
        must("the lab's first state", lambda: _restored(lab, operator), 10)
    finally:
        operator.close()


def _restore_rows(lab, site):
    client = api.site(lab, site.name)
    try:
        rows = {row["csci_id"]: row for row in client.get("/v1/table")["rows"]}
        deltas = []
        for i in site.instances:
            if i.csci_id not in rows:
                raise LabError(f"{site.name} has no row for CSCI-ID {i.csci_id}")
            row = rows[i.csci_id]
            change = {k: v for k, v in (("gas", i.gas), ("cost", i.cost), ("draining", False)) if row.get(k, False) != v}
            if change:
                deltas.append({"csci_id": i.csci_id, **change})
        if deltas:
            apply_delta(lab, site.name, deltas, client)
    finally:
        client.close()


def _restored(lab, operator):
    """No client is pinned any more, and every slot is free: what a request held is back in the table and in the maps."""
    requests = operator.get("/v1/requests").get("requests", [])
    if requests:
        return Missing(f"{len(requests)} requests are held")
    rows = table(lab)
    shares = {m["csci_id"]: m["share"] for ring in operator.get("/v1/rings")["rings"] for m in ring["members"]}
    for i in lab.topology.instances():
        row = rows.get(i.csci_id, {})
        if (row.get("gas"), row.get("state")) != (i.gas, "active") or not shares.get(i.csci_id):
            return Missing(f"CSCI-ID {i.csci_id} is {row.get('state')}, GAS {row.get('gas')} of {i.gas}, "
                           f"share {shares.get(i.csci_id, 0)}")
    programming = operator.get("/v1/status")["programming"]
    return programming == "in sync" or Missing(f"programming: {programming}")
