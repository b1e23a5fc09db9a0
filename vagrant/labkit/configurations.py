# SPDX-License-Identifier: Apache-2.0
"""What the programs of the lab read: agents' and platform's YAML, hosts file, nginx. All made from the topology,
written only when they differ."""
import ipaddress

import yaml

from .topology import REPOSITORY, of_family

SHIPPED_CATALOGUE = REPOSITORY / "cmas" / "platform" / "services.yaml"
BIG_BYTES = 16 << 20
BIG_RATE = "2m"
UNPRIVILEGED = 65534        # nobody: cats-platformd needs no privilege


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def hosts(lab):
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    for service in lab.topology.services.values():
        lines += [f"{a} {service.name.lower()}" for a in service.addresses]
    for node in lab.topology.nodes.values():
        four, six = of_family(node.addresses(), 4), of_family(node.addresses(), 6)
        lines += [f"{a} {node.name}" for a in (four, six) if a]
    return "\n".join(lines) + "\n"


def agent(lab, node):
    """catsbpfd.yaml of a node as a dictionary, so that tests can change it."""
    t, a = lab.topology, node.agent
    files = lab.files(node.name)
    out = {
        "node": node.name,
        "roles": a["roles"],
        "state_directory": str(files / "state"),
        "pin_directory": str(lab.pins(node.name)),
        "operator_socket": str(lab.socket(node.name)),
        "log_level": "info",
        "tls": {"domain": t.domain, "certificate": f"{node.name}.crt", "key": f"{node.name}.key",
                "authority": str(lab.authority)},
    }
    if node.tunnel:
        out["tunnel"] = {"address": node.tunnel, "vni": t.vni}
        out["interfaces"] = [{"name": i, "side": side, "mode": "native"} for i, side in a["sides"].items()]
        out["forwarders"] = [{"name": f.name, "address": f.tunnel} for f in t.forwarders() if f is not node]
        out["flow_table"] = {"entries": 524288}
        out["restart_hold"] = "30s"
    if "icmp_source" in a:
        out["icmp_source"] = a["icmp_source"]
    if {"path-selector", "egress"} & set(a["roles"]):
        platform = t.platform
        out["platform"] = {"url": f"https://{platform.platform}", "name": platform.name}
    if "path-selector" in a["roles"]:
        out["path_selector"] = {
            "listen": f"{node.tunnel}:{a['sessions']['port']}", "hold_time": "30s", "freeze_after": "3s",
            "ring_threshold": 0.1,
            "agents": [{"name": name, "site": t.site_of(name).name} for name in a["sessions"]["from"]],
        }
    if "network-metric-agent" in a["roles"]:
        out["network_metric_agent"] = {"interval": "100ms", "window": 32, "port": 862}
    if "requests" in a:
        out["requests"] = {"listen": a["requests"], "rate_per_source": 20, "token_file": ""}
    if "service-metric-agent" in a["roles"]:
        site = t.site_of(node.name)
        selector = t.path_selector
        out["service_metric_agent"] = {
            "site": site.name, "egresses": site.egresses,
            "path_selectors": [{"name": selector.name,
                                "address": f"{selector.tunnel}:{selector.agent['sessions']['port']}"}],
            "hold_time": "30s", "listen": a["site_api"], "site_clients": [site.node],
        }
    if "egress" in a["roles"]:
        out["reflector"] = {"port": 862}
    if "delivers_for" in a:
        out["instances"] = [{"cs_id": i.service.cs_id, "csci_id": i.csci_id, "contact": of_family(i.contacts, 4),
                             "contact6": of_family(i.contacts, 6)} for i in t.sites[a["delivers_for"]].instances]
    return out


def catalogue(lab):
    """The draft's example services as they ship, with the lab's addresses."""
    shipped = yaml.safe_load(SHIPPED_CATALOGUE.read_text())
    for row in shipped["services"]:
        service = lab.topology.services.get(row["service_id"])
        if service:
            row["cs_id"] = service.cs_id
            row["locators"] = [{"prefix": a} for a in service.addresses]
    return shipped


def platform(lab, node):
    return {
        "listen": node.platform, "database": str(lab.files(node.name) / "platform.db"),
        "catalogue": str(lab.files(node.name) / "services.yaml"), "log_level": "info",
        "write_token_file": str(lab.files(node.name) / "write-token"),
        "tls": {"domain": lab.topology.domain, "certificate": f"{node.name}.crt", "key": f"{node.name}.key",
                "authority": str(lab.authority)},
    }


def site_table(site):
    """Body of PUT /v1/table: what the site offers at the start."""
    return {"site": site.name, "rows": [
        {"service_id": i.service.name, "cs_id": i.service.cs_id, "csci_id": i.csci_id, "gas": i.gas, "cost": i.cost,
         "contact": of_family(i.contacts, 4), "contact6": of_family(i.contacts, 6)} for i in site.instances]}


def nginx(lab, instance):
    """One nginx per service contact instance, on the service's address and on its own contact address."""
    prefix = lab.files(instance.node) / f"nginx-{instance.csci_id}"
    listens = "".join(f"    listen {_bracketed(a)}:80;\n" for a in instance.service.addresses + instance.contacts)
    temporary = "".join(f"  {kind}_temp_path {prefix}/{kind};\n"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""# {instance.text}
daemon off;
worker_processes 1;
pid {prefix}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
{temporary}  log_format flow '$time_iso8601 $remote_addr:$remote_port $server_addr "$request" $status $bytes_sent';
  access_log {prefix}/access.log flow;
  default_type text/plain;
  keepalive_timeout 3600;
  keepalive_requests 100000000;
  map $arg_rate $rate {{ default $arg_rate; "" {BIG_RATE}; }}
  server {{
{listens}    location / {{ return 200 "{instance.text}\\n"; }}
    # The same answer after more than a second: a slow instance.
    location = /slow {{ root {prefix}/files; try_files /name =404; limit_rate 200; }}
    # {BIG_BYTES >> 20} MiB at {BIG_RATE}B/s, or what ?rate= says.
    location = /big {{
      root {prefix}/files; try_files /big =404; limit_rate $rate;
      add_header Instance "{instance.text}";
    }}
  }}
}}
"""


def _bracketed(address):
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address


def dump(value):
    return yaml.safe_dump(value, sort_keys=False, width=110)


def up(lab):
    """Writes all of it; an agent that runs reads its file at the next start."""
    write(lab.hosts, hosts(lab))
    for node in lab.nodes():
        if node.agent:
            (lab.files(node.name) / "state").mkdir(parents=True, exist_ok=True)
            write(lab.files(node.name) / "catsbpfd.yaml", dump(agent(lab, node)))
        if node.platform:
            write(lab.files(node.name) / "cats-platformd.yaml", dump(platform(lab, node)))
            if SHIPPED_CATALOGUE.exists():
                write(lab.files(node.name) / "services.yaml", dump(catalogue(lab)))
